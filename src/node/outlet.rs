//! Outlets: each sends messages to one device, many at a time and without asking for confirmation.
//!
//! Messages are packed here as they will travel, so that the node handles loads instead of messages. A load leaves at
//! once when no other is under way; while the node is busy with earlier ones, messages gather in the next, up to
//! [`LOAD`] bytes. So a single message is not delayed, and a flood of them costs the node little. When [`LOADS`] are
//! under way and the next is full, the caller waits: this is the back-pressure.

use super::handle::{CallError, hear};
use super::sending::DEADLINE;
use crate::client::{Caller, Command, Listener, Reply};
use crate::engine::api::{Load, Outcome, Refused};
use crate::id::Name;
use crate::store::SledReader;
use crate::wire::batch::MAX_PAYLOAD;
use crate::wire::data::Class;
use crate::wire::parcel::{RECORD, put_record};
use futures::{FutureExt, StreamExt};
use std::collections::VecDeque;
use std::time::Duration;

/// Sends unconfirmed messages to one device. See the module's documentation.
pub struct Outlet {
    caller: Caller<SledReader>,
    to: Name,
    class: Class,
    lifetime: Duration,
    records: Vec<u8>,
    count: u64,
    flying: VecDeque<(Listener, u64)>,
    counts: Counts,
}

/// What became of an outlet's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were handed to a link.
    pub sent: u64,
    /// Messages that were not: there was no route to the device in time, or no room.
    pub failed: u64,
}

impl Outlet {
    pub(super) fn new(caller: Caller<SledReader>, to: Name) -> Self {
        Self {
            caller,
            to,
            class: Class::Telemetry,
            lifetime: DEADLINE,
            records: Vec::with_capacity(LOAD),
            count: 0,
            flying: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Sets how urgent the messages sent from now on are.
    pub fn set_class(&mut self, class: Class) {
        self.class = class;
    }

    /// Sets how long the messages sent from now on are of use.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.lifetime = deadline;
    }

    /// Hands a message over. Call [`Self::flush`] when no more follow for now.
    ///
    /// # Errors
    /// Fails if the payload is longer than [`MAX_PAYLOAD`] bytes, if the node refuses an earlier load for another
    /// reason than a lack of room, or if it has stopped.
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), CallError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(Refused::TooLarge { found: payload.len(), limit: MAX_PAYLOAD }.into());
        }
        if self.records.len() + RECORD + payload.len() > LOAD && self.count > 0 {
            self.ship().await?;
        }
        put_record(&mut self.records, 0, payload);
        self.count += 1;
        if self.flying.is_empty() {
            self.ship().await?;
        }
        Ok(())
    }

    /// Hands over the messages gathered so far, without waiting for their outcome.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn flush(&mut self) -> Result<(), CallError> {
        if self.count > 0 { self.ship().await } else { Ok(()) }
    }

    /// Waits until the outcome of every message is known, and returns how many there were of each.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn finish(mut self) -> Result<Counts, CallError> {
        self.flush().await?;
        while let Some((mut listener, count)) = self.flying.pop_front() {
            let reply = hear(&mut listener).await;
            self.settle(reply, count)?;
        }
        Ok(self.counts)
    }

    /// Counts the messages whose outcome is known so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    async fn ship(&mut self) -> Result<(), CallError> {
        // Takes the outcomes that are there, without waiting; if too many loads are under way, waits for the first of
        // them to end.
        loop {
            let many = self.flying.len() >= LOADS;
            let Some((listener, count)) = self.flying.front_mut() else { break };
            let count = *count;
            let reply = if !many {
                let Some(heard) = listener.next().now_or_never() else { break };
                heard.map(|heard| heard.reply).ok_or(CallError::Stopped)
            } else {
                hear(listener).await
            };
            self.flying.pop_front();
            self.settle(reply, count)?;
        }
        let records = std::mem::replace(&mut self.records, Vec::with_capacity(LOAD));
        let (to, class, lifetime) = (self.to.clone(), self.class, self.lifetime);
        let listener =
            self.caller.start(Command::SendLoad(Load { to, records, class, policy: None, lifetime })).await?;
        self.flying.push_back((listener, std::mem::take(&mut self.count)));
        Ok(())
    }

    fn settle(&mut self, reply: Result<Reply, CallError>, count: u64) -> Result<(), CallError> {
        match reply {
            Ok(Reply::Outcome(Outcome::Sent { .. })) => self.counts.sent += count,
            Ok(Reply::Outcome(_)) => self.counts.failed += count,
            Ok(Reply::Refused(refused)) | Err(CallError::Refused(refused)) => {
                self.counts.failed += count;
                // A lack of room is temporary; another refusal would only be repeated.
                if !matches!(refused, Refused::Full(_)) {
                    return Err(refused.into());
                }
            }
            Ok(_) => return Err(CallError::Stopped),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Bytes of a load: as many as one seal covers.
const LOAD: usize = crate::delivery::unconfirmed::MAX_LOAD;
/// Loads that are under way at a time.
const LOADS: usize = 8;
