//! Submission: messages of the local application are checked and queued to leave.
//!
//! A message to a name without a card waits for one pull of cards (`strangers`). A refusal is told at once, with the
//! reason; an accepted message ends once, with its outcome (`endings`).

use crate::counter::Counter;
use crate::delivery::lane::Lane;
use crate::delivery::message::{Content, Submission};
use crate::delivery::unconfirmed::{self, MAX_LOAD};
use crate::engine::api::{Command, Load, Refused, Reply, Send, Timing, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::held::Parked;
use crate::engine::messages::objectives::Asked;
use crate::engine::messages::services::check_size;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::sender::Sender;
use crate::id::{InnerId, Name};
use crate::wire::batch::{Ack, MAX_MESSAGES};
use crate::wire::parcel::{RECORD, Records, put_record};
use core::time::Duration;

impl Messages {
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    fn submit_load(
        &mut self,
        core: &mut Core,
        token: Token,
        to: Name,
        records: Vec<u8>,
        count: u32,
        lane: Lane,
        lifetime: Duration,
        timing: &Timing,
    ) {
        let (class, mut records) = (lane.class, records);
        if timing.holds() {
            let policy = (*lane.send_policy).clone();
            let parked = Parked::Load { to: to.clone(), records, count, class, policy };
            match self.hold(core, token, parked, timing, lifetime) {
                Some(Parked::Load { records: back, .. }) => records = back,
                _ => return,
            }
        }
        let load = unconfirmed::Load { token: (token, to.clone()), records, count, lane, lifetime };
        if let Err(load) = self.sends.submit_load(to, load, core.now, &mut core.rng) {
            core.count(REFUSED[class as usize], load.count.into());
            let reason = format!("{} bytes of messages wait to leave", unconfirmed::MAX_BYTES);
            core.finish(token, Reply::Refused(Refused::Full(reason)));
        }
    }

    /// Queues a message. Returns its identity, or `None` if it was refused; the application has been told then.
    pub(in crate::engine) fn submit(
        &mut self,
        core: &mut Core,
        token: Token,
        to: &Name,
        message: Submission<Sender>,
    ) -> Option<InnerId> {
        if self.refuse_contact(core, token, to) {
            return None;
        }
        let class = message.lane.class;
        let taken = match self.sends.open_to(to) < OPEN_TO_ONE {
            true => self.sends.submit(to, message, core.now, &mut core.rng).map_err(|full| full.to_string()),
            false => Err(format!("{OPEN_TO_ONE} messages to that destination have not ended yet")),
        };
        taken
            .map_err(|full| {
                let why = self.why_waiting(to, core.now.time).map_or_else(String::new, |why| format!(": {why}"));
                core.count(REFUSED[class as usize], 1);
                core.finish(token, Reply::Refused(Refused::Full(format!("{full}{why}"))));
            })
            .ok()
    }

    /// Whether a payload is within the limit; if it is not, the application is told.
    pub(in crate::engine) fn may_send(&mut self, core: &mut Core, token: Token, payload: &[u8]) -> bool {
        match check_size(payload) {
            Ok(()) => true,
            Err(refused) => {
                core.finish(token, Reply::Refused(refused));
                false
            }
        }
    }

    /// Sends a message to a device's inbox.
    pub(in crate::engine) fn send(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        token: Token,
        send: Send,
        timing: &Timing,
    ) {
        if self.ask_again(core, token, send.id) || !self.may_send(core, token, &send.payload) {
            return;
        }
        if core.membership.contacts().get(&send.to).is_none() {
            return self.submit_after_pull(core, token, send.to.clone(), later(timing, Command::Send(send)));
        }
        if self.refuse_contact(core, token, &send.to) {
            return;
        }
        let Send { to, payload, ack, class, policy, lifetime, id, latest } = send;
        let asked = Asked { policy: policy.as_deref(), class, service: None, wait: timing.wait };
        let Some((send_policy, lifetime)) =
            self.send_policy_of(core, neighbours, routing, token, &to, &asked, lifetime, payload.len())
        else {
            return;
        };
        if latest.is_some() && ack == Ack::None || latest.as_ref().is_some_and(|key| key.len() > MAX_KEY) {
            return core.finish(token, Reply::Refused(Refused::Latest));
        }
        let timing = asked.timing(core, timing);
        let mut payload = payload;
        if timing.holds() && ack != Ack::None {
            let policy = (*send_policy).clone();
            if let Some(key) = &latest {
                self.supersede_held(core, neighbours, routing, &to, key);
            }
            let parked = Parked::Message { to: to.clone(), payload, ack, class, policy, id, latest: latest.clone() };
            match self.hold(core, token, parked, &timing, lifetime) {
                Some(Parked::Message { payload: back, .. }) => payload = back,
                _ => return,
            }
        }
        let lane = Lane { class, send_policy };
        if ack == Ack::None {
            let mut records = Vec::with_capacity(RECORD + payload.len());
            put_record(&mut records, 0, &payload);
            return self.submit_load(core, token, to, records, 1, lane, lifetime, &timing);
        }
        if let Some(key) = &latest {
            self.supersede(core, neighbours, routing, &to, key);
        }
        let sender = Sender::Message(Some(token), to.clone());
        let content = Content::Inbox;
        let message = Submission { token: sender, payload, content, ack, lane, lifetime, keep: true, id, latest };
        if self.submit(core, token, &to, message).is_some()
            && let Some(id) = id
        {
            self.outcomes.opened(id);
        }
    }

    /// Sends messages to a device's inbox that ask for no acknowledgement.
    pub(in crate::engine) fn send_load(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        token: Token,
        load: Load,
        timing: &Timing,
    ) {
        let (found, limit) = (load.records.len(), MAX_LOAD);
        let count = Records(&load.records).count();
        if found > limit || count > MAX_MESSAGES {
            return core.finish(token, Reply::Refused(Refused::TooLarge { found, limit }));
        }
        if core.membership.contacts().get(&load.to).is_none() {
            return self.submit_after_pull(core, token, load.to.clone(), later(timing, Command::SendLoad(load)));
        }
        if self.refuse_contact(core, token, &load.to) {
            return;
        }
        let Load { to, records, class, policy, lifetime } = load;
        let asked = Asked { policy: policy.as_deref(), class, service: None, wait: timing.wait };
        let Some((send_policy, lifetime)) =
            self.send_policy_of(core, neighbours, routing, token, &to, &asked, lifetime, found)
        else {
            return;
        };
        let timing = asked.timing(core, timing);
        let lane = Lane { class, send_policy };
        self.submit_load(core, token, to, records, u32::try_from(count).unwrap_or(0), lane, lifetime, &timing);
    }
}

/// A command with its timing.
pub(super) fn later(timing: &Timing, command: Command) -> Command {
    Command::Later { timing: timing.clone(), command: Box::new(command) }
}

/// The longest key of messages of which only the latest waits, in bytes.
pub(in crate::engine) const MAX_KEY: usize = 128;

/// The most messages to one destination that have not ended: a receiver that takes nothing leaves room for those to others.
pub(in crate::engine) const OPEN_TO_ONE: usize = 24_576;

/// The counters of messages that were refused for want of room, by class.
const REFUSED: [Counter; 4] =
    [Counter::RefusedFullAlarm, Counter::RefusedFullControl, Counter::RefusedFullTelemetry, Counter::RefusedFullBulk];
