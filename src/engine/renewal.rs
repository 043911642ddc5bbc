//! This node's own renewal: credentials of the next epochs, and contact cards, from the issuer.
//!
//! Well before its credentials run out the node asks for the next ones as a device that enrols does, over
//! a connection of its own under its renewal key. A *pull* is a renewal that asks for no credentials, only for new
//! contact cards and the bulletin: it is made when a stranger speaks to us or the application names a stranger,
//! since the operator may have introduced them meanwhile.
//!
//! ```text
//!  due or pull ─▶ asking ──answer──▶ idle
//!                   └──failure──▶ waiting (10 s, doubling to a sixteenth of the time left, and 10 min) ─▶ asking
//! ```
//!
//! Invariants
//! 1. At most one request of our own at a time; pulls at most every [`PULL_INTERVAL`] where the issuer is elsewhere.
//! 2. Only what the issuer has sealed for a request ends it with a yes or a no; what others say is a hint, and it is
//!    tried again.

use super::{Engine, Origin, Output};
use crate::counter::Counter;
use crate::event_log::Event;
use crate::identity::enrolment::PendingEnrolment;
use crate::time::Time;
use crate::wire::hello::EnrolReply;
use core::time::Duration;

/// Least time between two pulls.
const PULL_INTERVAL: Duration = Duration::from_secs(5);
/// First and longest wait after a failed renewal, the latter where the credentials soon run out.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Our own requests.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    asking: Option<PendingEnrolment>,
    /// Whether the request asks for credentials, and not only for cards.
    asking_batch: bool,
    /// Something new was wanted while a request was under way.
    pull_again: bool,
    last_pull: Option<Time>,
    next_pull: Option<Time>,
    next_renewal: Option<Time>,
    failures: u32,
}

impl Renewal {
    pub(super) fn next_wake(&self) -> Option<Time> {
        [self.next_pull, self.next_renewal].into_iter().flatten().min()
    }

    /// Whether a request of our own is under way.
    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// What was refused by the old time may be granted by the new one.
    pub(super) fn handle_clock_step(&mut self) {
        self.failures = 0;
    }
}

impl Engine {
    pub(super) fn handle_renewed(&mut self, answer: Result<EnrolReply, String>) {
        let Some(pending) = self.renewal.asking.take() else { return };
        let result = answer.and_then(|reply| match (reply.sealed, reply.refused) {
            (Some(sealed), None) => {
                let (now, sure) = (self.now.unix, self.sure_time());
                self.membership.finish_renewal(&pending, &sealed, now, sure).map_err(|error| error.to_string())
            }
            (_, Some(refused)) => Err(refused.to_string()),
            _ => Err("the answer is empty".to_owned()),
        });
        match result {
            Ok(renewed) => {
                // What was granted may not reach the present: one of the clocks is wrong, and asking at once changes nothing.
                let again = self.renewal.asking_batch && self.membership.renewal_due(self.now.unix);
                self.renewal.failures = if again { self.renewal.failures + 1 } else { 0 };
                if renewed.credentials {
                    let until = self.membership.valid_until().seconds();
                    self.record(Event::Joined { until });
                }
                for (name, change) in self.membership.contacts().take_changes() {
                    self.record(Event::ContactChanged { name, what: change.text().to_owned() });
                }
                self.outputs.push_back(Output::MembershipChanged { save: true });
                self.rename_links();
                if renewed.bulletin {
                    self.heed_bulletin();
                }
                self.update_tags();
            }
            Err(reason) => {
                self.renewal.failures += 1;
                if self.renewal.asking_batch {
                    self.record(Event::RenewalFailed { reason });
                } else {
                    self.count(Counter::PullsFailed, 1);
                }
            }
        }
        self.plan_renewal();
        self.settle_strangers();
        if core::mem::take(&mut self.renewal.pull_again) {
            self.pull_cards();
        }
    }

    /// Asks the issuer for new cards, soon.
    pub(super) fn pull_cards(&mut self) {
        if self.renewal.asking.is_some() {
            self.renewal.pull_again = true;
            return;
        }
        // An issuer that is here costs nobody else anything.
        let interval = if self.issuer.is_some() { Duration::ZERO } else { PULL_INTERVAL };
        let earliest = self.renewal.last_pull.map(|last| last + interval);
        self.renewal.next_pull = Some(earliest.unwrap_or(self.now.time).max(self.now.time));
        self.start_pull_if_due();
    }

    pub(super) fn timeout_renewal(&mut self) {
        let now = self.now.time;
        if self.renewal.next_renewal.is_some_and(|at| at <= now) {
            self.renewal.next_renewal = None;
            self.ask_issuer(true);
        }
        self.start_pull_if_due();
    }

    /// When the next batch is to be asked for.
    pub(super) fn plan_renewal(&mut self) {
        let at = if self.renewal.failures > 0 {
            let (first, longest) = RETRY;
            let longest = longest.max(self.membership.valid_until().since(self.now.unix) / 16);
            let wait = first.saturating_mul(1 << (self.renewal.failures - 1).min(16)).min(longest);
            Some(self.now.time + wait)
        } else {
            self.membership.renewal_due(self.now.unix).then_some(self.now.time)
        };
        self.renewal.next_renewal = at.filter(|_| self.membership.renewal_due(self.now.unix));
    }

    fn start_pull_if_due(&mut self) {
        if self.renewal.asking.is_none() && self.renewal.next_pull.is_some_and(|at| at <= self.now.time) {
            self.renewal.next_pull = None;
            self.renewal.last_pull = Some(self.now.time);
            self.ask_issuer(false);
        }
    }

    fn ask_issuer(&mut self, batch: bool) {
        if self.renewal.asking.is_some() {
            return;
        }
        let begun = if batch {
            self.membership.begin_renewal(self.now.unix, &mut self.rng)
        } else {
            self.membership.begin_pull(self.now.unix, &mut self.rng)
        };
        let (hello, pending) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.record(Event::RenewalFailed { reason: error.to_string() }),
        };
        let (seed, judge) = (pending.connection_seed(), pending.judge());
        self.renewal.asking = Some(pending);
        self.renewal.asking_batch = batch;
        if self.issuer == Some(hello.issuer) {
            self.outputs.push_back(Output::Issue { origin: Origin::Own, hello });
        } else {
            self.outputs.push_back(Output::Renew { hello, seed, judge });
        }
    }
}
