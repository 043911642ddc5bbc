//! Renewal: how this node gets credentials of the next epochs, and contact cards, from the issuer.
//!
//! Well before its credentials run out, the node asks for the next ones in the same way as a device that enrols, over a
//! connection of its own under its renewal key. A *pull* is a renewal that asks for no credentials, only for new
//! contact cards and the bulletin. The node makes one when a stranger speaks to it or the application names a stranger,
//! since the operator may have introduced them meanwhile.
//!
//! ```text
//!  due or pull ─▶ asking ──answer──▶ idle
//!                   └──failure──▶ waiting (10 s, doubling up to 10 min or a sixteenth of the time left) ─▶ asking
//! ```
//!
//! Invariants
//! - At most one own request is under way at a time, and a pull that is due meanwhile begins when that has ended; pulls are made at most every [`PULL_INTERVAL`] if the issuer is on
//!   another node.
//! - Only an answer that the issuer has sealed for a request ends it with a yes or a no. Other answers are hints, after
//!   which the request is tried again.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::membership::Member;
use crate::engine::{Origin, Output};
use crate::event_log::Event;
use crate::identity::enrolment::PendingEnrolment;
use crate::time::Time;
use crate::wire::hello::EnrolReply;
use core::time::Duration;
use rand_chacha::rand_core::Rng;

/// How long members have to tell the time before the issuer is asked for it.
const UNTOLD: Duration = Duration::from_secs(5);
/// Least time between two pulls.
const PULL_INTERVAL: Duration = Duration::from_secs(5);
/// Cards that a new bulletin may have changed are asked for within this time, or within a quarter of an epoch, so that not all ask at
/// once.
const SPREAD: Duration = Duration::from_secs(120);
/// Permits for which publications may wait are asked for within this time.
const PERMIT_SPREAD: Duration = Duration::from_secs(1);
/// A new prekey for mail is told to the issuer within this time.
const PREKEY_SPREAD: Duration = Duration::from_secs(30);
/// First and longest wait after a failed renewal, the latter where the credentials soon run out.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// This node's own requests to the issuer.
#[derive(Debug, Default)]
pub(in crate::engine) struct Renewal {
    asking: Option<PendingEnrolment>,
    /// Since when.
    asked: Time,
    /// Whether the request asks for credentials, and not only for cards.
    asking_batch: bool,
    /// Whether new cards were wanted while a request was under way.
    pull_again: bool,
    last_pull: Option<Time>,
    next_pull: Option<Time>,
    next_renewal: Option<Time>,
    failures: u32,
}

impl Renewal {
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        let pull = self.next_pull.filter(|_| self.asking.is_none());
        [pull, self.next_renewal].into_iter().flatten().min()
    }

    /// Whether an own request is under way.
    pub(in crate::engine) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Handles a step of the clock: a request that was refused at the old time may be granted at the new one.
    pub(in crate::engine) fn handle_clock_step(&mut self) {
        self.failures = 0;
    }
}

impl Member {
    /// Asks the issuer for new cards as soon as the interval between pulls allows.
    pub(in crate::engine) fn pull_cards(&mut self, core: &mut Core) {
        if self.renewal.asking.is_some() {
            self.renewal.pull_again = true;
            return;
        }
        // An issuer on this node costs no other node anything.
        let interval = if self.issuer.is_some() { Duration::ZERO } else { PULL_INTERVAL };
        let earliest = self.renewal.last_pull.map(|last| last + interval);
        self.renewal.next_pull = Some(earliest.unwrap_or(core.now.time).max(core.now.time));
        self.start_pull_if_due(core);
    }

    pub(in crate::engine) fn timeout_renewal(&mut self, core: &mut Core) {
        let now = core.now.time;
        if self.renewal.next_renewal.is_some_and(|at| at <= now) {
            self.renewal.next_renewal = None;
            // Which epochs it lacks it knows by the time alone.
            self.ask_issuer(core, !self.is_lost(core));
        }
        self.start_pull_if_due(core);
    }

    /// Asks for permits if those at hand are of another generation than the bulletin says, or soon run out.
    pub(in crate::engine) fn plan_permits(&mut self, core: &mut Core) {
        if core.membership.permits_are_stale() || core.membership.permits_run_out(core.now.unix) {
            self.ask_for_permits(core);
        }
    }

    /// Asks the issuer within [`PERMIT_SPREAD`], since publications may wait for the answer.
    pub(in crate::engine) fn ask_for_permits(&mut self, core: &mut Core) {
        if self.renewal.asking.is_some() {
            return;
        }
        let (spread, interval) =
            if self.issuer.is_some() { (Duration::ZERO, Duration::ZERO) } else { (PERMIT_SPREAD, PULL_INTERVAL) };
        let wait = match self.renewal.failures {
            0 => Duration::from_micros(core.rng.next_u64() % u64::try_from(spread.as_micros()).unwrap_or(1).max(1)),
            _ => self.patience(core),
        };
        let earliest = self.renewal.last_pull.map_or(core.now.time, |last| last + interval);
        let at = earliest.max(core.now.time + wait);
        self.renewal.next_pull = Some(self.renewal.next_pull.map_or(at, |planned| planned.min(at)));
    }

    /// A bulletin has come since the cards were asked for: a device may have been revoked, and others have new cards for it.
    pub(in crate::engine) fn plan_cards(&mut self, core: &mut Core) {
        if !core.membership.cards_are_due() || self.renewal.next_pull.is_some() {
            return;
        }
        let spread = if self.issuer.is_some() { Duration::ZERO } else { SPREAD };
        let spread = spread.min(Duration::from_secs(core.membership.epoch_length().seconds()) / 4);
        let wait = match self.renewal.failures {
            0 => Duration::from_micros(core.rng.next_u64() % u64::try_from(spread.as_micros()).unwrap_or(1).max(1)),
            _ => self.patience(core),
        };
        self.renewal.next_pull = Some(core.now.time + wait);
    }

    /// A device that takes mail tells the issuer the prekey of each day, within [`SPREAD`] of its beginning.
    pub(in crate::engine) fn plan_prekey(&mut self, core: &mut Core) {
        if !core.settings.mail {
            return;
        }
        let (now, sure) = (core.now.unix, self.sure_time(core));
        if core.membership.keep_prekeys(now, sure, &mut core.rng) {
            core.outputs.push_back(Output::MembershipChanged { save: true });
        }
        if self.renewal.asking.is_some() || !core.membership.prekey_is_due(now) {
            return;
        }
        // Nothing is kept for it before the first.
        let at_once = self.issuer.is_some() || !core.membership.has_told_prekey();
        let spread = if at_once { Duration::ZERO } else { PREKEY_SPREAD };
        let wait = match self.renewal.failures {
            0 => Duration::from_micros(core.rng.next_u64() % u64::try_from(spread.as_micros()).unwrap_or(1).max(1)),
            _ => self.patience(core),
        };
        let at = core.now.time + wait;
        self.renewal.next_pull = Some(self.renewal.next_pull.map_or(at, |planned| planned.min(at)));
    }

    /// How long it waits after so many failures.
    fn patience(&self, core: &Core) -> Duration {
        let (first, longest) = RETRY;
        let longest = longest.max(core.membership.valid_until().since(core.now.unix) / 16);
        first.saturating_mul(1 << self.renewal.failures.saturating_sub(1).min(16)).min(longest)
    }

    /// When the next batch is to be asked for.
    pub(in crate::engine) fn plan_renewal(&mut self, core: &Core) {
        let lost = self.is_lost(core);
        let at = if lost && self.renewal.failures == 0 {
            Some(core.now.time + UNTOLD)
        } else if self.renewal.failures > 0 {
            Some(core.now.time + self.patience(core))
        } else {
            core.membership.renewal_due(core.now.unix).then_some(core.now.time)
        };
        self.renewal.next_renewal = at.filter(|_| lost || core.membership.renewal_due(core.now.unix));
    }

    /// Whether it does not know the time, and the issuer is another.
    fn is_lost(&self, core: &Core) -> bool {
        core.clock.is_unset() && self.issuer.is_none()
    }

    fn start_pull_if_due(&mut self, core: &mut Core) {
        if self.renewal.asking.is_none() && self.renewal.next_pull.is_some_and(|at| at <= core.now.time) {
            self.renewal.next_pull = None;
            self.renewal.last_pull = Some(core.now.time);
            self.ask_issuer(core, false);
        }
    }

    fn ask_issuer(&mut self, core: &mut Core, batch: bool) {
        if self.renewal.asking.is_some() {
            return;
        }
        let begun = if batch {
            core.membership.begin_renewal(core.now.unix, &mut core.rng)
        } else {
            core.membership.begin_telling(core.now.unix, &mut core.rng)
        };
        let (hello, pending) = match begun {
            Ok(begun) => begun,
            Err(error) => return core.record(Event::RenewalFailed { reason: error.to_string() }),
        };
        let (seed, judge) = (pending.connection_seed(), pending.judge());
        self.renewal.asking = Some(pending);
        self.renewal.asked = core.now.time;
        self.renewal.asking_batch = batch;
        if self.issuer == Some(hello.issuer) {
            core.outputs.push_back(Output::Issue { origin: Origin::Own, hello });
        } else {
            core.outputs.push_back(Output::Renew { hello, seed, judge });
        }
    }
}

/// The effect of an answer of the issuer.
pub(in crate::engine) struct Renewed {
    /// Whether the membership has changed: its credentials, cards or bulletin.
    pub(in crate::engine) changed: bool,
    /// Whether a newer bulletin came with it.
    pub(in crate::engine) bulletin: bool,
}

impl Member {
    /// Tells what has been changed about contacts.
    pub(in crate::engine) fn note_contacts(&self, core: &mut Core) {
        for (name, change) in core.membership.contacts().take_changes() {
            core.record(Event::ContactChanged { name, what: change.text().to_owned() });
        }
    }

    /// The issuer has answered, or could not be reached; `None` if nothing was asked.
    pub(in crate::engine) fn take_renewal(
        &mut self,
        core: &mut Core,
        answer: Result<EnrolReply, String>,
    ) -> Option<Renewed> {
        let pending = self.renewal.asking.take()?;
        let mut told = None;
        let result = answer.and_then(|reply| match (reply.sealed, reply.refused) {
            (Some(sealed), None) => {
                let (now, sure) = (core.now.unix, self.sure_time(core));
                let due = core.membership.prekey_is_due(now);
                told = due.then_some(now);
                core.membership.finish_renewal(&pending, &sealed, now, sure).map_err(|error| error.to_string())
            }
            (_, Some(refused)) => Err(refused.to_string()),
            _ => Err("the answer is empty".to_owned()),
        });
        match result {
            Ok(renewed) => {
                // What was granted may not reach the present: one of the clocks is wrong, and asking at once changes nothing.
                self.hear_issuer(core, renewed.time, self.renewal.asked);
                let again = self.is_lost(core)
                    || (self.renewal.asking_batch && core.membership.renewal_due(core.clock.read(core.now).unix));
                self.renewal.failures = if again { self.renewal.failures + 1 } else { 0 };
                if renewed.credentials {
                    let until = core.membership.valid_until().seconds();
                    core.record(Event::Joined { until });
                }
                self.note_contacts(core);
                let told = told.is_some_and(|now| !core.membership.prekey_is_due(now));
                core.count(Counter::MailPrekeysTold, u64::from(told));
                core.outputs.push_back(Output::MembershipChanged { save: true });
                Some(Renewed { changed: true, bulletin: renewed.bulletin })
            }
            Err(reason) => {
                self.renewal.failures += 1;
                if self.renewal.asking_batch {
                    core.record(Event::RenewalFailed { reason });
                } else {
                    core.count(Counter::PullsFailed, 1);
                }
                self.plan_prekey(core);
                Some(Renewed { changed: false, bulletin: false })
            }
        }
    }

    /// Pulls again if cards were wanted while the request just answered was under way.
    pub(in crate::engine) fn pull_again(&mut self, core: &mut Core) {
        if core::mem::take(&mut self.renewal.pull_again) {
            self.pull_cards(core);
        }
    }
}
