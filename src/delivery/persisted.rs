//! Persisted: which records of the store hold which open messages, so that what was submitted outlives a restart.
//!
//! A turn's new messages to one destination become one record, or several of up to [`RECORD_BYTES`] each. A record is
//! removed when its last message has ended. Until then it still holds those of its messages that were delivered: after
//! a restart they are sent once more under their old numbers, and the receiver, which remembers the numbers, confirms
//! them again. If a message ended in a way that a second attempt could contradict (refused, expired), its record is
//! rewritten without it.
//!
//! Invariants
//! 1. After each [`Kept::poll_writes`] the records hold every open message that is to be kept.
//! 2. A message that ended otherwise than delivered is in no record.

use super::lane::SendPolicy;
use super::message::{Content, Submission};
use super::slot::Slot;
use crate::id::{InnerId, Name, SendId, StreamId};
use crate::time::Unix;
use crate::wire;
use crate::wire::batch::{Ack, MAX_MESSAGES, Purpose};
use crate::wire::data::Class;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The bytes of payload after which a record is closed.
const RECORD_BYTES: usize = 48 * 1024;

/// A record as it is stored. Its key is [`key`].
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptRecord<'a> {
    /// The destination of the messages.
    pub to: Name,
    /// The stream of the messages.
    pub stream: StreamId,
    /// The messages, ascending by sequence number.
    #[serde(borrow)]
    pub messages: Vec<KeptMessage<'a>>,
}

/// An open message as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptMessage<'a> {
    /// Its sequence number in the stream.
    pub sequence: u64,
    /// The payload.
    #[serde(borrow, with = "serde_bytes")]
    pub payload: Cow<'a, [u8]>,
    /// The confirmation that is wanted.
    pub ack: Ack,
    /// The urgency.
    pub class: Class,
    /// The time after which the message is of no use.
    pub expiry: Unix,
    /// The application's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SendId>,
    /// For a call: its kind (request, reply, refusal, or confirmation of publications).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// For a call: the service that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// For an answer: the message that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies_to: Option<InnerId>,
    /// What the message asks of its path.
    #[serde(default, rename = "terms", skip_serializing_if = "SendPolicy::is_default")]
    pub send_policy: SendPolicy,
    /// The lifetime at submission, in microseconds: whatever the clock shows after a restart, the message does not live
    /// longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
}

/// A change of the stored records: a key with its new value, or with `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// The key of a record: its stream and the number of its first message.
pub fn key(stream: StreamId, first: u64) -> Vec<u8> {
    [stream.as_bytes(), &first.to_be_bytes()].concat()
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Messages submitted since the last writes.
    pending: Vec<(Name, InnerId)>,
    pending_bytes: usize,
    records: BTreeMap<InnerId, Record>,
    touched: BTreeSet<InnerId>,
}

#[derive(Debug)]
struct Record {
    to: Name,
    last: u64,
    open: usize,
    /// Whether the record holds a message that must not be sent again.
    stale: bool,
}

impl Kept {
    pub(super) fn submitted(&mut self, to: &Name, id: InnerId, bytes: usize) {
        self.pending.push((to.clone(), id));
        self.pending_bytes += bytes;
    }

    /// The payload submitted since the last writes, in bytes.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Notes a record that was found in the store, with the number of its messages that are still open.
    pub(super) fn found(&mut self, to: &Name, first: InnerId, last: u64, open: usize, stale: bool) {
        self.records.insert(first, Record { to: to.clone(), last, open, stale });
        if open == 0 || stale {
            self.touched.insert(first);
        }
    }

    /// Notes that a kept message has ended. `delivered` says that sending it again would do no harm.
    pub(super) fn ended(&mut self, id: InnerId, delivered: bool) {
        let Some((first, record)) = self.records.range_mut(..=id).next_back() else { return };
        if first.stream == id.stream && id.sequence <= record.last {
            record.open -= 1;
            record.stale |= !delivered;
            if record.open == 0 || record.stale {
                self.touched.insert(*first);
            }
        }
    }

    /// Returns the changes to be written. `slot` finds an open message.
    pub(super) fn poll_writes<'a, T: 'a>(
        &mut self,
        slot: &dyn Fn(&Name, InnerId) -> Option<&'a Slot<T>>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        self.pending_bytes = 0;
        let pending = core::mem::take(&mut self.pending);
        let open: Vec<(&Name, InnerId, &Slot<T>)> =
            pending.iter().filter_map(|(to, id)| Some((to, *id, slot(to, *id)?))).collect();
        let mut rest = open.as_slice();
        while let Some((to, first, _)) = rest.first() {
            let mut bytes = 0;
            let fits = |(_, id, slot): &&(&Name, InnerId, &Slot<T>)| {
                let fits = bytes == 0 || bytes + slot.message.payload.len() <= RECORD_BYTES;
                bytes += slot.message.payload.len();
                fits && id.stream == first.stream
            };
            let count = rest.iter().take(MAX_MESSAGES).take_while(fits).count();
            let (record, others) = rest.split_at(count.max(1));
            changes.push(write(to, record));
            let last = record.last().map_or(first.sequence, |(_, id, _)| id.sequence);
            self.records.insert(*first, Record { to: (*to).clone(), last, open: record.len(), stale: false });
            rest = others;
        }
        for first in core::mem::take(&mut self.touched) {
            let Some(record) = self.records.get_mut(&first) else { continue };
            if record.open == 0 {
                self.records.remove(&first);
                changes.push((key(first.stream, first.sequence), None));
                continue;
            }
            record.stale = false;
            let to = record.to.clone();
            let ids = (first.sequence..=record.last).map(|sequence| InnerId { sequence, ..first });
            let open: Vec<_> = ids.filter_map(|id| Some((&to, id, slot(&to, id)?))).collect();
            let (_, value) = write(&to, &open);
            changes.push((key(first.stream, first.sequence), value));
        }
        changes
    }
}

fn write<T>(to: &Name, messages: &[(&Name, InnerId, &Slot<T>)]) -> Change {
    let first = messages.first().map_or(InnerId { stream: StreamId([0; 16]), sequence: 0 }, |(_, id, _)| *id);
    let messages = messages.iter().map(|(_, id, slot)| message(id.sequence, slot)).collect();
    let record = KeptRecord { to: to.clone(), stream: first.stream, messages };
    (key(first.stream, first.sequence), Some(wire::encode(&record)))
}

fn message<T>(sequence: u64, slot: &Slot<T>) -> KeptMessage<'_> {
    let Submission { payload, content, ack, lane, id, lifetime, .. } = &slot.message;
    let (purpose, service, replies_to) = match content {
        Content::Inbox => (None, None, None),
        Content::Call { purpose, service, replies_to } => (Some(*purpose), service.clone(), *replies_to),
    };
    let payload = Cow::Borrowed(payload.as_slice());
    KeptMessage {
        sequence,
        payload,
        ack: *ack,
        class: lane.class,
        expiry: slot.expiry,
        id: *id,
        purpose,
        service,
        replies_to,
        send_policy: (*lane.send_policy).clone(),
        lifetime: u64::try_from(lifetime.as_micros()).ok(),
    }
}
