//! Duty cycle: how much of the time a bearer may be on air, and how much of it is left.
//!
//! Bands that anybody may use are shared by a limit on the time for which each device sends, in any hour (EU 868 MHz: ETSI
//! EN 300 220, ERC Recommendation 70-03). A [`Duty`] is the account of one bearer. A frame is admitted by its own time on
//! air and by that of everything admitted before it which still counts; if it is not admitted, the account says after how long it will be.
//!
//! The time on air is kept in bins of a 120th of the span. A bin counts until the span has passed since its end, so
//! that at any moment at least as much counts as was on air in the span before.
//!
//! Not everything may use all of the budget ([`Use`]): a quarter of it is kept from what is not an alarm, another eighth from
//! bulk, and what the mesh says by itself has a quarter at most. An eighth is kept for what the transport sends
//! without being asked, such as set-ups and pings, which are [charged](Duty::charge) when they have happened; and one
//! acknowledgement for the answer to whatever is heard.
//!
//! What is kept on disk is what was on air, and a *lease*: time that may have been used since. A frame that needs
//! more than is left of the lease takes a new one, which has to be durable before the frame leaves. A start counts
//! all of the last lease as used at that moment.
//!
//! Invariants
//! 1. What is admitted is on air for no longer than the budget in any span of that length, restarts included.
//! 2. What [`Duty::again`] names is the first moment at which the frame is admitted, if nothing else is until then.
//! - There are at most [`MOST_BINS`] bins: those of the span, and of what has been admitted ahead of the clock.

use crate::time::{Now, Time, Unix};
use crate::wire::data::Class;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The limit of a bearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The time on air that is allowed in any span.
    pub budget: Duration,
    /// The length of a span.
    pub over: Duration,
    /// What each packet costs besides its bytes: the preamble, the radio's turning round.
    pub preamble: Duration,
}

/// What a frame is, as far as the budget is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// What the mesh says by itself.
    Mesh,
    /// The acknowledgement of a message.
    Acknowledgement,
    /// A message of a class.
    Message(Class),
}

/// The account of one bearer. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Duty {
    limit: Limit,
    /// The time on air of an acknowledgement.
    acknowledgement: Duration,
    bins: VecDeque<Bin>,
    /// How much of the time on disk as a lease has not been used.
    lease: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bin {
    /// The time since two spans before the process's start, in bins.
    number: u64,
    all: Duration,
    mesh: Duration,
}

/// What the store keeps of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When this was kept.
    pub at: Unix,
    /// When each bin ends, how many milliseconds were on air in it, and how many of them for the mesh.
    pub bins: Vec<(Unix, u64, u64)>,
    /// The milliseconds that may have been on air since.
    pub lease: u64,
}

impl Duty {
    /// Creates an account on which nothing has been on air. `acknowledgement` is the time on air of one.
    pub fn new(limit: Limit, acknowledgement: Duration) -> Self {
        Self { limit, acknowledgement, bins: VecDeque::new(), lease: Duration::ZERO }
    }

    /// Restores what the store has kept. A clock that was set back makes nothing older than it was.
    pub fn restore(&mut self, kept: &Kept, now: Now) {
        let unix = now.unix.max(kept.at);
        let mut bins = kept.bins.clone();
        bins.sort_unstable();
        for (ended, all, mesh) in bins {
            let (age, ahead) = (unix.since(ended), ended.since(unix).min(self.limit.over));
            if age <= self.limit.over {
                let ends = (self.inner(now.time) + ahead) - age;
                self.put(Duration::from_millis(all), Duration::from_millis(mesh), ends);
            }
        }
        self.put(Duration::from_millis(kept.lease), Duration::ZERO, self.inner(now.time));
        self.lease = Duration::ZERO;
    }

    /// What the store is to keep, with a new lease for a frame that is on air for `air`.
    pub fn lease(&mut self, air: Duration, now: Now) -> Kept {
        self.lease = air.max(self.limit.budget / LEASES);
        let inner = self.inner(now.time);
        let bin = |bin: &Bin| {
            let ends = self.end(bin);
            let unix = Unix((now.unix + ends.since(inner)).0.saturating_sub(micros(inner.since(ends))));
            (unix, millis_up(bin.all), millis_up(bin.mesh))
        };
        Kept { at: now.unix, bins: self.bins.iter().map(bin).collect(), lease: millis_up(self.lease) }
    }

    /// Whether a frame that is on air for `air` from `at` on may leave.
    pub fn fits(&self, air: Duration, of: Use, at: Time) -> bool {
        let (all, mesh) = self.counted(at);
        all + air <= self.most(of) && (of != Use::Mesh || mesh + air <= self.limit.budget / MESH)
    }

    /// Charges a frame that leaves, if it fits, and is on air for `air` from `at` on; `at` never goes back. Returns whether a new lease
    /// has to be durable first.
    #[must_use]
    pub fn spend(&mut self, air: Duration, of: Use, at: Time) -> bool {
        self.put(air, if of == Use::Mesh { air } else { Duration::ZERO }, self.inner(at) + air);
        let leased = self.lease >= air;
        self.lease = self.lease.saturating_sub(air);
        !leased
    }

    /// Charges what the transport has sent without being asked.
    pub fn charge(&mut self, air: Duration, now: Time) {
        self.put(air, Duration::ZERO, self.inner(now));
        self.lease = self.lease.saturating_sub(air);
    }

    /// After how long a frame fits, if nothing else leaves until then. `None` if it never does.
    pub fn again(&self, air: Duration, of: Use, now: Time) -> Option<Duration> {
        let inner = self.inner(now);
        let waits = self.bins.iter().map(|bin| self.expiry(bin).since(inner));
        core::iter::once(Duration::ZERO).chain(waits).find(|wait| self.fits(air, of, now + *wait))
    }

    /// The time on air that is left for this use.
    pub fn left(&self, of: Use, now: Time) -> Duration {
        self.most(of).saturating_sub(self.counted(now).0)
    }

    /// The most time on air that everything together may have had when something of this use leaves.
    pub fn most(&self, of: Use) -> Duration {
        let budget = self.limit.budget;
        match of {
            Use::Acknowledgement => budget * 7 / 8,
            Use::Message(Class::Alarm) => (budget * 7 / 8).saturating_sub(self.acknowledgement),
            Use::Mesh | Use::Message(Class::Control | Class::Telemetry) => budget * 5 / 8,
            Use::Message(Class::Bulk) => budget * 4 / 8,
        }
    }

    /// The limit.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    fn width(&self) -> Duration {
        (self.limit.over / BINS).max(Duration::from_micros(1))
    }

    /// A time of the process, counted from two spans before its start: what was on air before it has a time, too.
    fn inner(&self, at: Time) -> Time {
        at + self.limit.over * 2
    }

    /// When a bin ends.
    fn end(&self, bin: &Bin) -> Time {
        Time(micros(self.width()).saturating_mul(bin.number + 1))
    }

    /// When a bin counts no longer.
    fn expiry(&self, bin: &Bin) -> Time {
        self.end(bin) + self.limit.over
    }

    /// What counts at a time: in all, and of the mesh.
    fn counted(&self, at: Time) -> (Duration, Duration) {
        let at = self.inner(at);
        let counting = self.bins.iter().filter(|bin| self.expiry(bin) > at);
        counting.fold((Duration::ZERO, Duration::ZERO), |(all, mesh), bin| (all + bin.all, mesh + bin.mesh))
    }

    /// Enters what ends at a time.
    fn put(&mut self, all: Duration, mesh: Duration, ends: Time) {
        // What ends before the last bin counts for longer than it has to.
        let number = self.bins.back().map_or(0, |last| last.number).max(ends.0 / micros(self.width()));
        match self.bins.back_mut().filter(|last| last.number == number) {
            Some(last) => (last.all, last.mesh) = (last.all + all, last.mesh + mesh),
            None => self.bins.push_back(Bin { number, all, mesh }),
        }
        while self.bins.len() > MOST_BINS {
            self.bins.pop_front();
        }
    }
}

fn millis_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The number of bins of a span.
const BINS: u32 = 120;
/// The most bins that are kept: frames may be admitted ahead of the clock by the twelve more.
const MOST_BINS: usize = BINS as usize + 14;
/// A lease is this part of the budget.
const LEASES: u32 = 32;
/// The mesh has this part of the budget for itself.
const MESH: u32 = 4;

/// The sub-bands of EU 868 MHz, by the names that settings have for them, with the part of the time that each allows, in
/// hundred-thousandths of an hour.
pub const PRESETS: [(&str, u32); 3] = [("eu868-1%", 1_000), ("eu868-0.1%", 100), ("eu868-10%", 10_000)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use proptest::prelude::*;

    const OVER: Duration = Duration::from_secs(3_600);
    const BULK: Use = Use::Message(Class::Bulk);
    const ALARM: Use = Use::Message(Class::Alarm);

    fn limit(budget: Duration) -> Limit {
        Limit { budget, over: OVER, preamble: Duration::ZERO }
    }

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    fn now(time: Time) -> Now {
        Now { time, unix: Unix::from_seconds(1_800_000_000) + Duration::from_micros(time.0) }
    }

    #[test]
    fn bulk_leaves_something_to_others_and_alarms_an_acknowledgement() {
        let mut duty = Duty::new(limit(second(36)), second(1));
        let mut spent = |of| {
            let mut count = 0;
            while duty.fits(second(1), of, at(100)) {
                let _ = duty.spend(second(1), of, at(100));
                count += 1;
            }
            count
        };
        assert_eq!(spent(Use::Mesh), 9);
        assert_eq!([spent(BULK), spent(Use::Message(Class::Telemetry))], [9, 4]);
        assert_eq!([spent(ALARM), spent(Use::Acknowledgement)], [8, 1]);
        assert_eq!(duty.left(ALARM, at(100)), Duration::ZERO);
    }

    /// Invariant 2.
    #[test]
    fn what_waits_is_told_when_it_may_leave() {
        let mut duty = Duty::new(limit(second(36)), second(1));
        assert_eq!(duty.again(second(18), BULK, at(0)), Some(Duration::ZERO));
        let _ = duty.spend(second(10), BULK, at(0));
        let _ = duty.spend(second(8), BULK, at(1_000));
        assert_eq!(duty.again(second(1), ALARM, at(2_000)), Some(Duration::ZERO));
        let wait = duty.again(second(1), BULK, at(2_000)).expect("it fits later");
        assert!(!duty.fits(second(1), BULK, at(2_000) + wait - Duration::from_micros(1)));
        assert!(duty.fits(second(1), BULK, at(2_000) + wait));
        // Ten seconds on air end in the bin that ends at 30 s.
        assert_eq!(wait, second(3_630 - 2_000));
        assert_eq!(duty.again(second(19), BULK, at(2_000)), None);
    }

    #[test]
    fn a_start_counts_what_may_have_been_sent() {
        let mut before = Duty::new(limit(second(36)), second(1));
        assert!(before.spend(second(2), BULK, at(50)), "nothing has been leased");
        let kept = before.lease(second(2), now(at(60)));
        assert!(!before.spend(second(1), BULK, at(60)));
        let kept: Kept = wire::decode(&wire::encode(&kept)).expect("our own");
        let mut after = Duty::new(limit(second(36)), second(1));
        let later = Now { time: at(5), unix: now(at(100)).unix };
        after.restore(&kept, later);
        assert_eq!(after.left(BULK, later.time), second(18 - 2 - 2));
        let long_after = Now { time: at(5), unix: now(at(8_000)).unix };
        let mut after = Duty::new(limit(second(36)), second(1));
        after.restore(&kept, long_after);
        assert_eq!(after.left(BULK, long_after.time), second(18 - 2), "the lease may have been used at the end");
    }

    /// A frame as the checker sees it: from when to when it was on air, in microseconds.
    type Aired = (u64, u64);

    /// The most time on air in any span, by brute force: a span that has most ends with some frame.
    fn worst(aired: &[Aired]) -> u64 {
        let over = u64::try_from(OVER.as_micros()).expect("an hour");
        let within = |from: u64, until: u64| -> u64 {
            aired.iter().map(|(begins, ends)| (*ends).min(until).saturating_sub((*begins).max(from))).sum()
        };
        let ends = aired.iter().flat_map(|(begins, ends)| [*ends, begins + over]);
        ends.map(|until| within(until.saturating_sub(over), until)).max().unwrap_or_default()
    }

    proptest! {
        /// Invariant 1: every frame that fits leaves, at any time, with crashes between.
        #[test]
        fn no_span_has_more_than_the_budget(
            steps in prop::collection::vec((0u64..200_000_000, 1u64..3_000_000, 0u8..7, 0u8..20), 1..600),
        ) {
            let budget = second(36);
            let (mut duty, mut clock, mut free) = (Duty::new(limit(budget), second(1)), 0, 0);
            // What the disk has, and since when the process runs, by the checker's clock.
            let (mut disk, mut started) = (None::<Kept>, 0);
            let mut aired: Vec<Aired> = Vec::new();
            for (pause, air, of, crash) in steps {
                clock += pause;
                let unix = Unix(1_800_000_000_000_000 + clock);
                if crash == 0 {
                    duty = Duty::new(limit(budget), second(1));
                    started = clock;
                    free = clock;
                    if let Some(kept) = &disk {
                        duty.restore(kept, Now { time: Time(0), unix });
                    }
                }
                let of = [Use::Mesh, Use::Acknowledgement, BULK, ALARM, ALARM, BULK, Use::Message(Class::Telemetry)][of as usize];
                let begins = free.max(clock);
                let (span, time) = (Duration::from_micros(air), Time(begins - started));
                if duty.fits(span, of, time) {
                    if duty.spend(span, of, time) {
                        disk = Some(duty.lease(span, Now { time: Time(clock - started), unix }));
                    }
                    free = begins + air;
                    aired.push((begins, free));
                }
            }
            prop_assert!(worst(&aired) <= u64::try_from(budget.as_micros()).expect("fits"));
        }
    }
}
