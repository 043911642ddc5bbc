//! Outcomes: what became of messages that the application has named, so that it can ask again.
//!
//! An application that has lost its node, or the answer of its node, sends the same message under the same name. While
//! the first one is open, everybody who asks is told when it ends; once it has ended, the remembered outcome is told at
//! once. An outcome is written in the commit that removes the message itself from the outbox, so that a named message
//! is always either open or ended, also after a restart. An outcome that a crash could change is told only once it is
//! written. Prices are not remembered: a remembered outcome reports a price of 0.
//!
//! Invariants
//! 1. A message whose name is known is never sent a second time.
//! 2. Whoever asks for a name is told the same outcome. A success is told at once, before it is durable: after a crash
//!    within these moments the message is sent again, and ends as before unless its receiver is out of reach until the
//!    deadline: then who asks is told that it is *not known* to be delivered.
//! - At most [`MAX_ENDED`] outcomes are remembered. Drop policy: the oldest is forgotten (`outcomes_forgotten`).
//! - At most [`MAX_ASKERS`] wait for one open message. Drop policy: the newest is refused.

use crate::engine::api::{Outcome, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::id::SendId;
use crate::wire;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Most who wait for the end of one message, besides its first sender.
const MAX_ASKERS: usize = 64;
/// Most outcomes remembered: as many as an application may have messages open to one destination.
const MAX_ENDED: usize = 65_536;

/// How a message ended, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ended {
    id: SendId,
    how: How,
    /// Latency in microseconds.
    latency: u64,
    /// The number of hops (`Delivered`) or of neighbours (`Sent`).
    count: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum How {
    Delivered,
    Sent,
    Expired,
    Refused,
    Unreachable,
    Superseded,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Outcomes {
    /// The open messages, each with the tokens of those who have asked again.
    open: BTreeMap<SendId, Vec<Token>>,
    ended: BTreeMap<SendId, Ended>,
    /// The records in the store, oldest first, each with the names whose outcomes it holds.
    records: VecDeque<(u64, Vec<SendId>)>,
    pending: Vec<Ended>,
}

impl Outcomes {
    pub(in crate::engine) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let mut outcomes = Self::default();
        store.scan(Table::Outcomes, &[], &mut |key, value| {
            if let (Ok(key), Ok(ended)) = (key.try_into().map(u64::from_be_bytes), wire::decode::<Vec<Ended>>(value)) {
                outcomes.records.push_back((key, ended.iter().map(|ended| ended.id).collect()));
                outcomes.ended.extend(ended.into_iter().map(|ended| (ended.id, ended)));
            }
            true
        })?;
        Ok(outcomes)
    }

    /// Notes that a named message is on its way.
    pub(in crate::engine) fn opened(&mut self, id: SendId) {
        self.open.insert(id, Vec::new());
    }

    /// The same of a message for which these have asked already; those who did before wait on.
    pub(in crate::engine) fn opened_for(&mut self, id: SendId, asked: Vec<Token>) {
        self.open.entry(id).or_default().extend(asked);
    }

    /// A named request has its response. Returns the tokens of those who have asked again.
    pub(in crate::engine) fn closed(&mut self, id: &SendId) -> Vec<Token> {
        self.open.remove(id).unwrap_or_default()
    }

    /// Whether a named message has ended.
    pub(in crate::engine) fn has_ended(&self, id: &SendId) -> bool {
        self.ended.contains_key(id)
    }

    /// Remembers how a named message ended. Returns the tokens of those who have asked again.
    pub(in crate::engine) fn ended(&mut self, id: SendId, outcome: &Outcome) -> Vec<Token> {
        let asked = self.open.remove(&id).unwrap_or_default();
        let (how, latency, count, reason) = match outcome {
            Outcome::Delivered { latency_us, hops, price: _ } => (How::Delivered, *latency_us, *hops, String::new()),
            // Publications have no names.
            Outcome::Sent { latency_us, neighbours } | Outcome::Heard { latency_us, neighbours, .. } => {
                (How::Sent, *latency_us, *neighbours, String::new())
            }
            Outcome::Expired { reason } => (How::Expired, 0, 0, reason.clone()),
            Outcome::Refused { reason } => (How::Refused, 0, 0, reason.clone()),
            Outcome::Unreachable { reason } => (How::Unreachable, 0, 0, reason.clone()),
            Outcome::Superseded { reason } => (How::Superseded, 0, 0, reason.clone()),
        };
        let ended = Ended { id, how, latency, count, reason };
        self.pending.push(ended.clone());
        self.ended.insert(id, ended);
        asked
    }

    /// Returns the writes for the outcomes of this turn, and how many outcomes had to be forgotten.
    pub(in crate::engine) fn poll_writes(&mut self) -> (Vec<Write>, u64) {
        let (mut writes, mut forgotten) = (Vec::new(), 0);
        let key = |number: u64| number.to_be_bytes().to_vec();
        let pending = core::mem::take(&mut self.pending);
        // A name and a reason take some 100 bytes, so that a record stays far below the largest that the store accepts.
        for ended in pending.chunks(RECORD) {
            let number = self.records.back().map_or(1, |(number, _)| number + 1);
            writes.push(Write::Put { table: Table::Outcomes, key: key(number), value: wire::encode(&ended) });
            self.records.push_back((number, ended.iter().map(|ended| ended.id).collect()));
        }
        while self.ended.len() > MAX_ENDED
            && let Some((number, ids)) = self.records.pop_front()
        {
            for id in ids {
                forgotten += u64::from(self.ended.remove(&id).is_some());
            }
            writes.push(Write::Delete { table: Table::Outcomes, key: key(number) });
        }
        (writes, forgotten)
    }
}

impl Messages {
    /// Answers a send whose name is known already. Returns `false` if it is not known.
    pub(in crate::engine) fn ask_again(&mut self, core: &mut Core, token: Token, id: Option<SendId>) -> bool {
        let Some(id) = id else { return false };
        if let Some(ended) = self.outcomes.ended.get(&id) {
            let outcome = Outcome::from(ended.clone());
            // It may have been written only just now: a crash before that is durable could still change it.
            let certain = outcome.is_success() || core.journal.disk_fails;
            let reply = Reply::Outcome(outcome);
            if certain {
                core.finish(token, reply)
            } else {
                core.journal.finish_with(token, reply)
            }
            return true;
        }
        let Some(asked) = self.outcomes.open.get_mut(&id) else { return false };
        if asked.len() >= MAX_ASKERS {
            let reason = format!("{MAX_ASKERS} wait for the end of that message already");
            core.finish(token, Reply::Refused(Refused::Full(reason)));
        } else {
            asked.push(token);
        }
        true
    }
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        let Ended { id: _, how, latency: latency_us, count, reason } = ended;
        match how {
            How::Delivered => Self::Delivered { latency_us, hops: count, price: 0 },
            How::Sent => Self::Sent { latency_us, neighbours: count },
            How::Expired => Self::Expired { reason },
            How::Refused => Self::Refused { reason },
            How::Unreachable => Self::Unreachable { reason },
            How::Superseded => Self::Superseded { reason },
        }
    }
}

/// Most outcomes in one record.
const RECORD: usize = 256;
