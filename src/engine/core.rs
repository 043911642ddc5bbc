//! Core: what every wing of the engine needs: the time, randomness, who this device is, its settings, and where what it says goes.

use super::Output;
use super::api::{Outcome, Reply, Token};
use super::journal::Journal;
use super::settings::Settings;
use super::timers::Timers;
use crate::counter::Counter;
use crate::delivery::lane::SendPolicy;
use crate::event_log::{Event, EventLog};
use crate::id::{Lsn, Pseudonym};
use crate::identity::clock::NodeClock;
use crate::identity::membership::Membership;
use crate::routing::policies::Policies;
use crate::time::Now;
use ::core::time::Duration;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// See the module's documentation.
pub(super) struct Core {
    pub(super) now: Now,
    /// Whose time that is.
    pub(super) clock: NodeClock,
    pub(super) rng: ChaCha20Rng,
    pub(super) membership: Membership,
    pub(super) settings: Settings,
    pub(super) policies: Policies,
    /// What messages of each of them ask of their way.
    pub(super) send_policies: BTreeMap<String, Arc<SendPolicy>>,
    /// This device's pseudonym.
    pub(super) own: Pseudonym,
    /// Number of this process.
    pub(super) process: u64,
    /// Nothing becomes durable for now.
    pub(super) disk_fails: bool,
    pub(super) log: EventLog,
    pub(super) journal: Journal,
    pub(super) outputs: VecDeque<Output>,
    pub(super) counters: BTreeMap<Counter, u64>,
    /// When each room is due, as of the end of the last turn.
    pub(super) timers: Timers,
}

impl Core {
    /// Records an event.
    pub(super) fn record(&mut self, event: Event) {
        self.log.append(event, self.now);
    }

    /// Counts something dropped or refused, and lets the log say so once an interval.
    pub(super) fn count(&mut self, counter: Counter, count: u64) {
        if count > 0 {
            *self.counters.entry(counter).or_default() += count;
            self.log.note_dropped(counter.name(), count);
            self.timeout_log();
        }
    }

    /// By how much clocks may be off, in the realm's epochs.
    pub(super) fn skew(&self) -> Duration {
        self.membership.bulletin().epoch_length().skew()
    }

    pub(super) fn timeout_log(&mut self) {
        self.log.handle_timeout(self.now);
    }

    /// Lets the log say that a message or publication has failed, once an interval.
    pub(super) fn note_failure(&mut self, to: &str, outcome: &Outcome) {
        let (kind, reason) = match outcome {
            Outcome::Delivered { .. } | Outcome::Sent { .. } | Outcome::Heard { .. } => return,
            Outcome::Expired { reason } => ("expired", reason),
            Outcome::Refused { reason } => ("refused", reason),
            Outcome::Unreachable { reason } => ("unreachable", reason),
        };
        self.log.note_failed(to, kind, reason);
        self.timeout_log();
    }

    /// A reply that others may follow.
    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: false });
    }

    /// The last reply.
    pub(super) fn finish(&mut self, token: Token, reply: Reply) {
        self.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: true });
    }
}
