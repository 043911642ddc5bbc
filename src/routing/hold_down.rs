//! Hold-down: a route in use is kept while it is nearly as good as the best one, and left for a reason that can be named.
//!
//! **Mechanism.** A route in use is left when it breaks a limit, or when another is better by more than [`BETTER`] percent and it has been in
//! use for [`HOLD_DOWN`]: so small changes do not make routes flap.
//!
//! **Failover.** A relay may drop messages although its links are up. When a flight is not confirmed in time, the alternate takes over at
//! once. It stays for as long as a route is held; each failover that follows soon doubles that time, up to [`LONGEST_HOLD`]. So a
//! relay that drops what it is given is tried again ever more seldom, and one that was suspected in vain is not lost for good.
//!
//! Invariants
//! 1. A route that keeps its limits is not left within its hold time, whatever else is found, unless it fails.
//! 2. Two failovers of one route are at least [`HOLD_DOWN`] apart.
//! 3. Whatever made a route give way, the cause that is named is one that the figures show.

use super::policy::{BALANCED, Criterion, Wants};
use super::search::Limit;
use super::totals::Totals;
use crate::time::Time;
use core::time::Duration;

/// A route in use is left for one that is better by more than this, in percent.
pub const BETTER: u64 = 15;
/// How long a route is in use before a better one is taken.
pub const HOLD_DOWN: Duration = Duration::from_secs(5);
/// How long it is at most, after failovers that followed one another.
pub const LONGEST_HOLD: Duration = Duration::from_secs(320);
/// Failures that have grown by more than this, in millionths of nats, are what made the delay: a hundredth. Links are reliable
/// streams, on which a lost packet is a late one.
const LOSS: u64 = 10_000;

/// Since when a route is in use, and for how long it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldDown {
    since: Time,
    /// When the alternate last took the place of a route that failed, and for how long it is held.
    failed_over: Option<(Time, Duration)>,
}

/// The one thing that made a route give way to another. Amounts are those of [`Totals::get`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It breaks a limit, by that much.
    Limit(Limit, u64),
    /// It has become worse in this criterion, from one amount to the other.
    Worse(Criterion, u64, u64),
    /// Its delay has grown because more is lost: failures before and now, delay before and now.
    Lossy([u64; 2], [u64; 2]),
    /// The other is better in this criterion: the amount of the one in use, and of the other.
    Better(Criterion, u64, u64),
    /// The other is better, in no single criterion.
    BetterInAll,
}

impl HoldDown {
    /// A route is in use from now on.
    pub fn new(now: Time) -> Self {
        Self { since: now, failed_over: None }
    }

    /// A route takes the place of this one for being better; what failovers there were is remembered.
    pub fn replaced(self, now: Time) -> Self {
        Self { since: now, ..self }
    }

    /// Since when the route is in use.
    pub fn since(&self) -> Time {
        self.since
    }

    /// Until when the route is kept although another is better.
    pub fn held_until(&self) -> Time {
        let hold = self.failed_over.filter(|(at, _)| *at == self.since).map_or(HOLD_DOWN, |(_, hold)| hold);
        self.since + hold
    }

    /// Whether the route in use, which has the totals `current` now, is kept although one with the totals `found` is the best.
    pub fn keeps(&self, current: &Totals, found: &Totals, wants: &Wants, now: Time) -> bool {
        let weights = &wants.policy.weights;
        let (old, new) = (current.weighed(weights), found.weighed(weights));
        let better = new < old - old / 100 * BETTER.min(100);
        let held = now < self.held_until();
        current.broken(wants).is_none() && (!better || held)
    }

    /// The route has failed and its alternate takes over, or `None` if that happened too short a time ago.
    pub fn fail_over(&self, now: Time) -> Option<Self> {
        if self.failed_over.is_some_and(|(before, _)| now < before + HOLD_DOWN) {
            return None;
        }
        // Soon after the last time: the route that failed then was tried again, and has failed again.
        let again = self.failed_over.filter(|(before, hold)| now < *before + *hold * 4);
        let hold = again.map_or(HOLD_DOWN, |(_, hold)| (hold * 2).min(LONGEST_HOLD));
        Some(Self { since: now, failed_over: Some((now, hold)) })
    }
}

/// Why a route gives way: `then` are its totals when it was chosen, `now` those that it has, `found` those of the other.
pub fn cause(then: &Totals, now: &Totals, found: &Totals, wants: &Wants) -> Cause {
    if let Some((limit, by)) = now.broken(wants) {
        return Cause::Limit(limit, by);
    }
    // That the old one became worse, or that the new one became better, whichever weighs more.
    let weights = &wants.policy.weights;
    let grown = now.grown_from(then, weights);
    let gain = found.gain_over(now, weights);
    match (grown, gain) {
        (Some((criterion, from, to)), _) if weighs(grown, weights) * 2 >= weighs(gain, weights) => {
            if criterion == Criterion::Delay && now.failures > then.failures + LOSS {
                Cause::Lossy([then.failures, now.failures], [from, to])
            } else {
                Cause::Worse(criterion, from, to)
            }
        }
        (_, Some((criterion, old, new))) => Cause::Better(criterion, old, new),
        _ => Cause::BetterInAll,
    }
}

/// How much a difference in one criterion weighs.
fn weighs(difference: Option<(Criterion, u64, u64)>, weights: &[u8; 4]) -> u64 {
    let Some((criterion, from, to)) = difference else { return 0 };
    let weights = if *weights == [0; 4] { &BALANCED } else { weights };
    from.abs_diff(to).saturating_mul(weights[criterion as usize].into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::data::Policy;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    fn totals(delay: u64, failures: u64) -> Totals {
        Totals { delay, failures, ..Totals::default() }
    }

    fn wants(time: Option<u64>) -> Wants {
        let policy = Policy { weights: [0, 1, 0, 0], ..Policy::default() };
        Wants { policy, time, bytes: 0 }
    }

    /// Invariant 1.
    #[test]
    fn a_route_is_left_for_a_clearly_better_one_once_it_has_been_held() {
        let hold = HoldDown::new(at(10));
        let keeps =
            |found, seconds, limit| hold.keeps(&totals(1_000, 0), &totals(found, 0), &wants(limit), at(seconds));
        assert!(keeps(100, 14, None), "it is held");
        assert!(!keeps(100, 15, None));
        assert!(keeps(850, 15, None) && !keeps(849, 15, None), "by more than 15 percent");
        assert!(!keeps(2_000, 11, Some(900)), "it breaks a limit");
        assert!(keeps(2_000, 11, Some(1_100)));
    }

    /// Invariant 2.
    #[test]
    fn failovers_that_follow_one_another_hold_ever_longer() {
        let mut hold = HoldDown::new(at(0));
        let mut held = |seconds| {
            let next = hold.fail_over(at(seconds))?;
            hold = next;
            Some(next.held_until().since(at(seconds)).as_secs())
        };
        assert_eq!([held(1), held(5), held(6), held(12)], [Some(5), None, Some(10), Some(20)]);
        let later: Vec<_> = [40, 100, 200, 400, 900, 2_000].map(&mut held).into();
        assert_eq!(later, [Some(40), Some(80), Some(160), Some(320), Some(320), Some(320)]);
        assert_eq!(held(2_000 + 4 * 320), Some(5), "long after, it is as new");
    }

    #[test]
    fn one_that_replaces_another_is_held_for_the_usual_time_and_remembers_failovers() {
        let failed = HoldDown::new(at(0)).fail_over(at(1)).and_then(|hold| hold.fail_over(at(10)));
        let replaced = failed.expect("ten seconds apart").replaced(at(30));
        assert_eq!((replaced.since(), replaced.held_until()), (at(30), at(35)));
        assert_eq!(replaced.fail_over(at(40)).map(|hold| hold.held_until()), Some(at(60)));
    }

    /// Invariant 3.
    #[test]
    fn the_cause_is_what_weighs_most() {
        let of = |then, now, found, limit| cause(&then, &now, &found, &wants(limit));
        let (fast, slow) = (totals(100, 0), totals(1_000, 0));
        assert_eq!(of(fast, slow, fast, Some(400)), Cause::Limit(Limit::Time, 600));
        assert_eq!(of(fast, slow, fast, None), Cause::Worse(Criterion::Delay, 100, 1_000));
        assert_eq!(of(slow, slow, fast, None), Cause::Better(Criterion::Delay, 1_000, 100));
        assert_eq!(of(fast, totals(1_000, 20_000), fast, None), Cause::Lossy([0, 20_000], [100, 1_000]));
        assert_eq!(of(fast, fast, fast, None), Cause::BetterInAll);
    }
}
