//! Turnstile: how many members may come in at once, and when those that are too many come again.
//!
//! After a power cut all devices of a site boot at the same moment, and each wants a link at once. Every new link costs its listener
//! signatures, credentials, link state and sessions, and a node that takes all of them together serves none in time. So members come in
//! at a steady rate, after a burst (generic cell rate algorithm, ITU-T I.371). A member that is one too many is told in how many
//! milliseconds its turn is, and its turn is kept for it until [`KEPT`] after that. Turns lie a rate apart: whoever comes back when it
//! was told comes in, and those that come back make no wave of their own.
//!
//! Only members whose credential was verified have turns, one each. So does one that is linked
//! already: after a power cut its old connection still stands here.
//!
//! Invariants
//! 1. In any span of time, at most a burst of members comes in ([`BURST`]), and as many as the rate yields in that span and [`KEPT`].
//! 2. At most [`MAX_TURNS`] turns are kept. Drop policy: the newest is told to come back after all of them, and no turn is kept for it.

use crate::id::Pseudonym;
use crate::wire::hello::WAIT;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The turns of one network. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Turnstile(Arc<Mutex<Turns>>);

#[derive(Debug)]
struct Turns {
    /// The time between two turns.
    apart: Duration,
    /// How many come in at once.
    burst: u32,
    /// The first turn that nobody has, as if a burst had not been used.
    next: Option<Instant>,
    kept: BTreeMap<Pseudonym, Instant>,
}

impl Turnstile {
    /// One through which so many members come in a second.
    pub(crate) fn new(a_second: u32) -> Self {
        let (apart, burst) = (Duration::from_secs(1) / a_second.max(1), a_second.max(1).saturating_mul(BURST));
        Self(Arc::new(Mutex::new(Turns { apart, burst, next: None, kept: BTreeMap::new() })))
    }

    /// Lets a member in, or returns how long it is to wait.
    pub(crate) fn pass(&self, member: &Pseudonym, now: Instant) -> Result<(), Duration> {
        // Every statement leaves the turns consistent, so a panic of another holder does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(member, now)
    }
}

impl Turns {
    fn pass(&mut self, member: &Pseudonym, now: Instant) -> Result<(), Duration> {
        self.kept.retain(|_, turn| now.saturating_duration_since(*turn) <= KEPT);
        match self.kept.get(member) {
            Some(turn) if *turn <= now => {
                self.kept.remove(member);
                return Ok(());
            }
            Some(turn) => return Err(*turn - now),
            None => {}
        }
        let next = self.next.map_or(now, |next| next.max(now));
        let wait = (next - now).saturating_sub(self.apart * (self.burst - 1));
        if wait.is_zero() {
            self.next = Some(next + self.apart);
            return Ok(());
        }
        if self.kept.len() < MAX_TURNS {
            self.next = Some(next + self.apart);
            self.kept.insert(*member, now + wait);
        }
        Err(wait)
    }
}

/// Returns the body of the message that says how long to wait. A turn is never told too early.
pub(crate) fn tell_wait(wait: Duration) -> Vec<u8> {
    let millis = u32::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX);
    millis.to_be_bytes().to_vec()
}

/// Reads such a message: the longest wait is bounded, whatever it says.
pub(crate) fn hear_wait(body: &[u8]) -> Option<Duration> {
    let millis = <[u8; WAIT]>::try_from(body).map(u32::from_be_bytes).ok()?;
    Some(Duration::from_millis(millis.into()).min(LONGEST_WAIT))
}

/// How many members come in at once when none has lately: those of so many seconds.
pub(crate) const BURST: u32 = 2;
/// How long a turn is kept for a member that does not come: slow bearers take seconds to set up a connection.
pub(crate) const KEPT: Duration = Duration::from_secs(5);
/// The most turns that are kept.
pub(crate) const MAX_TURNS: usize = 1_024;
/// The longest wait that a dialer believes: longer than the last turn that is kept is away.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_AT_ONCE: u16 = 40;

    fn member(number: u16) -> Pseudonym {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        Pseudonym(key)
    }

    /// Invariant 1: a thousand members that come together come in at the rate, each at the time it was told.
    #[test]
    fn a_storm_comes_in_at_the_rate() {
        let (turnstile, start) = (Turnstile::new(20), Instant::now());
        let waits: Vec<_> = (0..1_000).map(|one| (one, turnstile.pass(&member(one), start))).collect();
        let admitted = waits.iter().filter(|(_, wait)| wait.is_ok()).count();
        assert_eq!(admitted, ALL_AT_ONCE as usize);
        let mut turns: Vec<(Duration, u16)> =
            waits.iter().filter_map(|(one, wait)| Some((wait.err()?, *one))).collect();
        turns.sort();
        assert!(turns.windows(2).all(|pair| pair[1].0 - pair[0].0 >= Duration::from_millis(50)));
        assert_eq!(
            turns.last().map(|(wait, _)| *wait),
            Some(Duration::from_millis(50) * (1_000 - u32::from(ALL_AT_ONCE)))
        );
        for (wait, one) in turns {
            // Who comes too early is told the same turn.
            let early = start + wait - Duration::from_millis(1);
            assert_eq!(turnstile.pass(&member(one), early), Err(Duration::from_millis(1)));
            assert_eq!(turnstile.pass(&member(one), start + wait), Ok(()));
        }
        // Nobody has used up anything of what comes later.
        assert_eq!(turnstile.pass(&member(2_000), start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn a_wait_is_told_no_shorter_than_it_is_and_believed_for_a_minute_at_most() {
        let told = tell_wait(Duration::from_micros(1_250_001));
        assert_eq!((&told[..], hear_wait(&told)), (&[0, 0, 4, 0xe3][..], Some(Duration::from_millis(1_251))));
        assert_eq!((hear_wait(&[0xff; 4]), hear_wait(&[0; 3])), (Some(LONGEST_WAIT), None));
    }

    #[test]
    fn a_turn_that_is_not_used_lapses() {
        let (turnstile, start) = (Turnstile::new(20), Instant::now());
        (0..ALL_AT_ONCE).for_each(|one| assert_eq!(turnstile.pass(&member(one), start), Ok(())));
        let wait = turnstile.pass(&member(99), start).expect_err("it is one too many");
        // Others take the turns in between; the burst is used up again.
        let late = start + wait + KEPT + Duration::from_millis(1);
        (100..100 + ALL_AT_ONCE).for_each(|one| assert_eq!(turnstile.pass(&member(one), late), Ok(())));
        assert!(turnstile.pass(&member(99), late).is_err());
    }

    /// Invariant 2.
    #[test]
    fn who_finds_no_turn_left_comes_after_all_of_them() {
        let (turnstile, start) = (Turnstile::new(20), Instant::now());
        let all = ALL_AT_ONCE + MAX_TURNS as u16;
        for one in 0..all {
            let _ = turnstile.pass(&member(one), start);
        }
        let wait = turnstile.pass(&member(all), start).expect_err("there is none left");
        assert_eq!(turnstile.pass(&member(all + 1), start), Err(wait), "and takes none");
        assert!(wait <= LONGEST_WAIT);
    }
}
