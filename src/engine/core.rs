//! Core: what every wing of the engine needs: time, randomness, the membership, the settings, and the places where
//! outputs gather.

use super::Output;
use super::api::{Outcome, Reply, Token};
use super::journal::Journal;
use super::settings::Settings;
use super::timers::Timers;
use crate::counter::Counter;
use crate::delivery::lane::SendPolicy;
use crate::event_log::{Event, EventLog};
use crate::id::{Lsn, Pseudonym};
use crate::identity::clock::{NodeClock, Standing};
use crate::identity::credential::OwnCredential;
use crate::identity::kdf::{self, label};
use crate::identity::membership::Membership;
use crate::routing::policies::Policies;
use crate::time::Now;
use ::core::time::Duration;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The state that every wing shares.
pub(super) struct Core {
    pub(super) now: Now,
    /// Whose time that is.
    pub(super) clock: NodeClock,
    pub(super) rng: ChaCha20Rng,
    pub(super) membership: Membership,
    pub(super) settings: Settings,
    pub(super) policies: Policies,
    /// The send policy of each of these policies.
    pub(super) send_policies: BTreeMap<String, Arc<SendPolicy>>,
    /// The pseudonym under which this device takes part.
    pub(super) own: Pseudonym,
    /// The one before, whose links are being drained.
    pub(super) former: Option<Pseudonym>,
    /// The random number of this process, which is not 0.
    pub(super) process: u64,
    pub(super) log: EventLog,
    pub(super) journal: Journal,
    pub(super) outputs: VecDeque<Output>,
    pub(super) counters: BTreeMap<Counter, u64>,
    /// When each room is due, as of the end of the last turn.
    pub(super) timers: Timers,
}

impl Core {
    /// This device's credential in force: that of the pseudonym under which it takes part.
    pub(super) fn credential(&self) -> Option<&Arc<OwnCredential>> {
        self.membership.credential_under(&self.own, self.now.unix)
    }

    /// Whether a pseudonym is this device's: the one in force, the one before while its links are drained, or that of the present epoch.
    pub(super) fn is_own(&self, key: &Pseudonym) -> bool {
        let present = || self.membership.credential(self.now.unix).is_some_and(|own| own.pseudonym() == *key);
        *key == self.own || self.former.as_ref() == Some(key) || present()
    }

    /// Whether links under a pseudonym of this device carry data: not before that is in force.
    pub(super) fn carries(&self, own: &Pseudonym) -> bool {
        *own == self.own || self.former.as_ref() == Some(own)
    }

    /// The number of this process, as neighbours under one of its pseudonyms are told it: under another it is another.
    pub(super) fn process_as(&self, own: &Pseudonym) -> u64 {
        u64::from_be_bytes(kdf::tag(&self.process.to_be_bytes(), label::PROCESS, &[&own.0]))
    }

    /// Records an event in the event log.
    pub(super) fn record(&mut self, event: Event) {
        self.log.append(event, self.now);
    }

    /// Counts what was dropped or refused, and lets the log report it once an interval.
    pub(super) fn count(&mut self, counter: Counter, count: u64) {
        if count > 0 {
            *self.counters.entry(counter).or_default() += count;
            self.log.note_dropped(counter.name(), count);
            self.timeout_log();
        }
    }

    /// Returns by how much clocks may differ, as the realm's epochs allow.
    pub(super) fn skew(&self) -> Duration {
        self.membership.bulletin().epoch_length().skew()
    }

    /// By how many microseconds this device's clock is wrong at most; `None` if nobody knows. A machine's clock is as wrong
    /// as the settings say, else as clocks may differ for links to come up. What was learnt gets worse as time passes.
    pub(super) fn clock_error(&self) -> Option<u64> {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        match self.clock.standing() {
            Standing::Machine => Some(micros(self.settings.clock_error.unwrap_or_else(|| self.skew()))),
            _ => self.clock.learnt_error(self.now.time).map(micros),
        }
    }

    pub(super) fn timeout_log(&mut self) {
        self.log.handle_timeout(self.now);
    }

    /// Lets the log report once an interval that a message or publication has failed.
    pub(super) fn note_failure(&mut self, to: &str, outcome: &Outcome) {
        let (kind, reason) = match outcome {
            Outcome::Delivered { .. } | Outcome::Sent { .. } | Outcome::Heard { .. } => return,
            Outcome::Expired { reason } => ("expired", reason),
            Outcome::Refused { reason } => ("refused", reason),
            Outcome::Unreachable { reason } => ("unreachable", reason),
            // As was asked for.
            Outcome::Superseded { .. } => return,
        };
        self.log.note_failed(to, kind, reason);
        self.timeout_log();
    }

    /// Lets the log report once an interval who keeps mail of this device, or does not and why.
    pub(super) fn note_custody(&mut self, to: &str, by: &str, refused: Option<&str>) {
        self.log.note_custody(to, by, refused);
        self.timeout_log();
    }

    /// Gives a reply that others may follow.
    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: false });
    }

    /// Gives the last reply under a token.
    pub(super) fn finish(&mut self, token: Token, reply: Reply) {
        self.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: true });
    }
}
