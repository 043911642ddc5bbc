//! The inbox as the embedding program reads it: durable messages from the store, unconfirmed ones from memory.
//!
//! Messages come as they were packed ([`InboxRecord`]), many at a time. A message with a number stays in the inbox
//! until it is consumed, and comes again after a restart; one without (its number is 0) asked for no confirmation and
//! comes once.

use super::handle::{CallError, hear};
use super::system::blocking;
use crate::client::{Caller, Command, Listener, Reading, Reply};
use crate::engine::api::InboxRecord;
use crate::engine::store::{Read, Table};
use crate::gateway::pages::first_batch;
use crate::store::SledReader;
use crate::wire::parcel::Records;
use futures::{Stream, StreamExt, stream};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// The inbox of this device, from where a consumer stopped reading. See the module's documentation.
pub struct Inbox {
    caller: Caller<SledReader>,
    reader: SledReader,
    consumer: String,
    listener: Listener,
    /// Records read from the store and not yet handed out.
    ready: VecDeque<InboxRecord<'static>>,
    /// Number of the next message to read; `None` until the node has said where the inbox starts.
    next: Option<u64>,
    /// Number of the last durable message.
    last: u64,
    skipped: u64,
}

impl Inbox {
    pub(super) async fn open(mut caller: Caller<SledReader>, consumer: &str) -> Result<Self, CallError> {
        let reader = caller.reader(Reading::Inbox)?;
        let consumer = consumer.to_owned();
        if !consumer.is_empty() {
            let make = Command::MakeConsumer { consumer: consumer.clone() };
            hear(&mut caller.start(make).await?).await?;
        }
        let command = Command::Receive { consumer: consumer.clone(), live: true };
        let mut listener = caller.start(command).await?;
        let (next, last) = match hear(&mut listener).await? {
            Reply::Inbox { first, last } => (first, last),
            _ => return Err(CallError::Stopped),
        };
        let ready = VecDeque::new();
        Ok(Self { caller, reader, consumer, listener, ready, next: Some(next), last, skipped: 0 })
    }

    /// Returns the next messages; waits until there are some.
    ///
    /// # Errors
    /// Fails if the store cannot be read, if an inbox record is damaged, or if the node has stopped.
    pub async fn next(&mut self) -> Result<Arc<InboxRecord<'static>>, CallError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(Arc::new(record));
            }
            if let Some(next) = self.next.filter(|next| *next <= self.last) {
                let (reader, last) = (self.reader.clone(), self.last);
                let read = blocking(move || read(&reader, next, last)).await;
                self.ready = read.and_then(|read| read).map_err(CallError::Store)?;
                self.next = Some(self.ready.back().map_or(last, InboxRecord::last) + 1);
                continue;
            }
            let heard = self.listener.next().await.ok_or(CallError::Stopped)?;
            self.skipped += heard.skipped;
            match heard.reply {
                Reply::Inbox { first, last } => {
                    self.next = Some(self.next.map_or(first, |next| next.max(first)));
                    self.last = last;
                }
                Reply::Live(record) => return Ok(record),
                Reply::Refused(refused) => return Err(refused.into()),
                _ => return Err(CallError::Stopped),
            }
        }
    }

    /// Consumes all messages up to this number: they will not come again, unless the node crashes before that is on its
    /// disk. Returns before the disk is written, so that consuming several messages by one call is no faster.
    pub async fn consume(&mut self, up_to: u64) -> Result<(), CallError> {
        self.tell_consumed(up_to, false).await
    }

    /// Consumes messages as [`Self::consume`] does, and returns once that is durable: they will never come again.
    pub async fn consume_durably(&mut self, up_to: u64) -> Result<(), CallError> {
        self.tell_consumed(up_to, true).await
    }

    async fn tell_consumed(&mut self, up_to: u64, durable: bool) -> Result<(), CallError> {
        let command = Command::Consume { consumer: self.consumer.clone(), up_to, durable };
        hear(&mut self.caller.start(command).await?).await.map(drop)
    }

    /// The number of unconfirmed messages that were dropped because they were not read in time.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Turns this inbox into a stream; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Arc<InboxRecord<'static>>, CallError>> {
        stream::unfold(Some(self), |inbox| async move {
            let mut inbox = inbox?;
            let next = inbox.next().await;
            let inbox = next.is_ok().then_some(inbox);
            Some((next, inbox))
        })
    }
}

/// Reads records with messages of the numbers from `start` to `last`, about [`PAGE`] bytes of them.
fn read(reader: &SledReader, start: u64, last: u64) -> Result<VecDeque<InboxRecord<'static>>, String> {
    let (mut records, mut bytes, mut damage) = (VecDeque::new(), 0, None);
    let from = first_batch(reader, start).map_err(|error| error.to_string())?;
    let scanned = reader.scan(Table::Inbox, &from, &mut |_, value| {
        match crate::wire::decode::<InboxRecord<'_>>(value) {
            Ok(record) if record.first > last => return false,
            Ok(record) if record.last() < start => {}
            Ok(record) => {
                bytes += record.records.len();
                records.push_back(from_number(record, start));
            }
            Err(error) => damage = Some(format!("the inbox is damaged near message {start}: {error}")),
        }
        bytes < PAGE && damage.is_none()
    });
    scanned.map_err(|error| error.to_string())?;
    match damage {
        // Records before the damage are still handed out.
        Some(damage) if records.is_empty() => Err(damage),
        _ => Ok(records),
    }
}

/// The record without its messages before the number `start`.
fn from_number(record: InboxRecord<'_>, start: u64) -> InboxRecord<'static> {
    let skip = start.saturating_sub(record.first);
    let mut rest = Records(&record.records);
    for _ in 0..skip {
        rest.next();
    }
    InboxRecord {
        first: record.first + skip,
        from: record.from.clone(),
        stream: record.stream,
        base: record.base + skip,
        sent: record.sent,
        received: record.received,
        records: Cow::Owned(rest.0.to_vec()),
        blob: record.blob.clone(),
        sent_error: record.sent_error,
    }
}

/// Bytes of messages after which a read stops.
const PAGE: usize = 1024 * 1024;
