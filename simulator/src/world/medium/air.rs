//! Air: the radio channel of a bearer, on which the frames of devices interfere with each other.
//!
//! **Sharing.** On a bearer with a shared channel, a sender waits for others that it hears. On a bearer without
//! collisions and bursts, all devices in one square of the bearer's reach hear each other, and share its rate. On
//! another bearer, a sender waits for those within its reach, whatever their squares.
//!
//! **Collisions.** Two devices that do not hear each other may send at once. A frame that arrives while another within
//! the receiver's reach is under way is lost with a given probability: the receiver keeps receiving the frame that was
//! first. The sender's radio sends the lost frame again after a pause drawn from a range that doubles at each failure,
//! up to [`LINK_ATTEMPTS`] times; then its transport does, after a time-out.
//!
//! **Bursts.** A bearer may change from a good state to a bad one and back, at random, with a mean duration of each
//! (Gilbert 1960, Elliott 1963). In the bad state frames are lost with an additional probability; transports send them
//! again after their time-outs. The state of a shared channel holds for a whole square; other links have states of
//! their own. Losses in the good state, and all other properties of a line, are those of its
//! [`Shaper`](m2mesh::net::emulation::Shaper).
//!
//! Invariants
//! 1. The outcome depends only on the seed and on the frames that were sent with their times, and not on the times of
//!    queries.
//! - At most [`MOST_ON_AIR`] frames of one bearer are remembered, and only states from now on.

use super::NANOS;
use crate::plan::{self, Bursts};
use crate::virtual_os::splitmix;
use m2mesh::net::emulation::{MAX_ATTEMPTS, Recovery, Shape};
use std::collections::{BTreeMap, VecDeque};

/// The air of a bearer: see the module's documentation.
pub(super) struct Air {
    /// The rate that all devices on the channel share, in bits a second.
    channel: Option<u64>,
    reach: f64,
    /// The probability that a frame is lost that arrives while another does.
    collisions: Option<f64>,
    bursts: Option<Bursts>,
    recovery: Recovery,
    /// The time in nanoseconds at which the channel is free, by square, within which all devices hear each other.
    cells: BTreeMap<Square, u64>,
    on_air: VecDeque<OnAir>,
    fading: BTreeMap<Place, Fading>,
    seed: u64,
    chance: u64,
    /// The number of frames lost to collisions.
    pub(super) collided: u64,
    /// The number of frames lost in the bad state.
    pub(super) faded: u64,
}

type Square = (i64, i64);

/// The place throughout which the state is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Square(Square),
    Edge(usize),
}

/// A frame that is, or will be, under way, with times in nanoseconds.
struct OnAir {
    place: (f64, f64),
    begins: u64,
    ends: u64,
}

/// The two states that take turns.
struct Fading {
    /// The end of each state in nanoseconds, and whether it is the bad one: from now on, as far as has been asked.
    spells: VecDeque<(u64, bool)>,
    chance: u64,
}

/// A frame to be sent.
pub(super) struct Frame {
    pub(super) edge: usize,
    /// The positions of its sender and its receiver.
    pub(super) places: [(f64, f64); 2],
    /// The length in bytes, with all overhead.
    pub(super) length: u64,
    /// The shape of its line.
    pub(super) shape: Shape,
}

/// The outcome of sending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    /// The time at which the line takes it, in nanoseconds.
    pub(super) at: u64,
    /// The number of earlier attempts that failed.
    pub(super) again: u32,
    /// Whether its transport has given up.
    pub(super) lost: bool,
}

impl Air {
    /// Returns the air without frames, in a state that is drawn.
    pub(super) fn new(bearer: &plan::Bearer, number: usize, seed: u64) -> Self {
        let mut state = seed ^ AIR ^ (number as u64).rotate_left(40);
        Self {
            channel: bearer.channel,
            reach: bearer.reach.unwrap_or(f64::MAX),
            collisions: bearer.collisions,
            bursts: bearer.bursts,
            recovery: bearer.transport,
            cells: BTreeMap::new(),
            on_air: VecDeque::new(),
            fading: BTreeMap::new(),
            seed: splitmix(&mut state),
            chance: splitmix(&mut state),
            collided: 0,
            faded: 0,
        }
    }

    /// Returns whether frames are sent one by one, since the outcome of each is drawn.
    pub(super) fn is_rough(&self) -> bool {
        self.collisions.is_some() || self.bursts.is_some()
    }

    /// Sends a frame, now or when the channel is free.
    pub(super) fn send(&mut self, frame: &Frame, now: u64) -> Sending {
        let (mut at, mut again, mut attempts) = (now, 0, 0);
        loop {
            let (clear, collided) = self.access(frame, at, now, &mut again);
            at = clear;
            if !collided && !self.fades(frame, at, now) {
                return Sending { at, again, lost: false };
            }
            at = at.saturating_add(super::super::nanos(self.recovery.timeout(&frame.shape, attempts)));
            again += 1;
            attempts += 1;
            if attempts >= MAX_ATTEMPTS {
                return Sending { at, again, lost: true };
            }
        }
    }

    /// Makes one attempt of the transport. Returns when the frame is through, and whether the radio has given it up.
    fn access(&mut self, frame: &Frame, at: u64, now: u64, again: &mut u32) -> (u64, bool) {
        let Some(rate) = self.channel else { return (at, false) };
        let takes = frame.length * 8 * NANOS / rate.max(1);
        if !self.is_rough() {
            let free = self.cells.entry(square(frame.places[0], self.reach)).or_default();
            *free = (*free).max(at) + takes;
            return (*free, false);
        }
        self.on_air.retain(|other| other.ends > now);
        let mut at = at;
        for attempt in 1..=LINK_ATTEMPTS {
            let begins = self.clear(frame, at, takes);
            let ends = begins + takes;
            let overlaps = |other: &&OnAir| other.begins < ends && begins < other.ends;
            let hit = self.on_air.iter().filter(overlaps).any(|other| self.hears(frame.places[1], other.place));
            if self.on_air.len() >= MOST_ON_AIR {
                self.on_air.pop_front();
            }
            self.on_air.push_back(OnAir { place: frame.places[0], begins, ends });
            if !self.collisions.is_some_and(|share| hit && unit(&mut self.chance) < share) {
                return (ends, false);
            }
            self.collided += 1;
            at = ends;
            if attempt < LINK_ATTEMPTS {
                *again += 1;
                at += ((takes << attempt.min(LONGEST_BACKOFF)) as f64 * unit(&mut self.chance)) as u64;
            }
        }
        (at, true)
    }

    /// Returns the time from which on the sender hears no other for this duration.
    fn clear(&self, frame: &Frame, at: u64, takes: u64) -> u64 {
        let heard = self.on_air.iter().filter(|other| other.ends > at && self.hears(frame.places[0], other.place));
        let mut heard: Vec<(u64, u64)> = heard.map(|other| (other.begins, other.ends)).collect();
        heard.sort_unstable();
        let mut clear = at;
        for (begins, ends) in heard {
            if begins >= clear + takes {
                break;
            }
            clear = clear.max(ends);
        }
        clear
    }

    fn hears(&self, one: (f64, f64), other: (f64, f64)) -> bool {
        (one.0 - other.0).hypot(one.1 - other.1) <= self.reach
    }

    /// Returns whether a frame is lost to a burst.
    fn fades(&mut self, frame: &Frame, at: u64, now: u64) -> bool {
        let Some(bursts) = self.bursts else { return false };
        let place = match self.channel {
            Some(_) => Place::Square(square(frame.places[0], self.reach)),
            None => Place::Edge(frame.edge),
        };
        let seed = self.seed;
        let fading = self.fading.entry(place).or_insert_with(|| Fading::new(place, &bursts, seed));
        let faded = fading.is_bad(at, now, &bursts) && unit(&mut self.chance) < bursts.loss;
        self.faded += u64::from(faded);
        faded
    }
}

impl Fading {
    /// Returns the states at the start of the run: the first is bad with the bad state's share of time.
    fn new(place: Place, bursts: &Bursts, seed: u64) -> Self {
        let number = match place {
            Place::Edge(edge) => edge as u64,
            Place::Square((x, y)) => (x as u64).rotate_left(32) ^ y as u64 ^ SQUARES,
        };
        let mut chance = seed ^ number;
        let (good, bad) = (bursts.good.as_secs_f64(), bursts.bad.as_secs_f64());
        let bad_now = unit(&mut chance) < bad / (good + bad);
        let mut fading = Self { spells: VecDeque::new(), chance };
        fading.extend(0, bad_now, bursts);
        fading
    }

    /// Returns whether the state is bad at a time, now or later.
    fn is_bad(&mut self, at: u64, now: u64, bursts: &Bursts) -> bool {
        while let Some((until, bad)) = self.spells.back().copied().filter(|(until, _)| *until <= at) {
            self.extend(until, !bad, bursts);
        }
        while self.spells.pop_front_if(|(until, _)| *until <= now).is_some() {}
        self.spells.iter().find(|(until, _)| *until > at).is_some_and(|(_, bad)| *bad)
    }

    /// Adds a state that begins then, and whose duration is drawn from an exponential distribution.
    fn extend(&mut self, from: u64, bad: bool, bursts: &Bursts) {
        let mean = if bad { bursts.bad } else { bursts.good };
        let lasts = (-(1.0 - unit(&mut self.chance)).ln() * mean.as_nanos() as f64) as u64;
        self.spells.push_back((from.saturating_add(lasts.max(1)), bad));
    }
}

/// Returns the square of the reach that contains a position.
fn square((x, y): (f64, f64), reach: f64) -> Square {
    ((x / reach).floor() as i64, (y / reach).floor() as i64)
}

/// Draws a number from 0 to 1, excluding 1.
fn unit(state: &mut u64) -> f64 {
    (splitmix(state) >> 11) as f64 / (1u64 << 53) as f64
}

/// The number of times that a radio sends a frame which collides (IEEE 802.11, short retry limit).
const LINK_ATTEMPTS: u32 = 7;
/// The pause before the next attempt is drawn from a range of at most 2 to this power times a frame's duration.
const LONGEST_BACKOFF: u32 = 6;
/// The number of frames under way on one bearer that are remembered. Drop policy: the frame sent first no longer
/// collides.
const MOST_ON_AIR: usize = 10_000;
/// The part of this module's seeds that distinguishes them from others made from the plan's seed.
const AIR: u64 = 0xa170_0000_0000_0000;
/// The bit that distinguishes squares from edges.
const SQUARES: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn radio(change: impl FnOnce(&mut plan::Bearer)) -> Air {
        let mut bearer = plan::Bearer { reach: Some(100.0), ..plan::Bearer::wire("radio") };
        change(&mut bearer);
        Air::new(&bearer, 0, 1)
    }

    fn frame(edge: usize, sender: f64, receiver: f64) -> Frame {
        Frame {
            edge,
            places: [(sender, 0.0), (receiver, 0.0)],
            length: 125,
            shape: Shape { delay: Duration::from_millis(10), ..Shape::default() },
        }
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn those_who_hear_each_other_wait_and_those_who_do_not_collide() {
        let collide = |share| radio(|radio| (radio.channel, radio.collisions) = (Some(1_000_000), Some(share)));
        // Each frame takes a millisecond. The second sender hears the first; the third hears neither, and its receiver
        // hears both.
        let mut air = collide(1.0);
        assert_eq!(air.send(&frame(0, 0.0, 90.0), 0), Sending { at: MS, again: 0, lost: false });
        assert_eq!(air.send(&frame(1, 80.0, 90.0), 0), Sending { at: 2 * MS, again: 0, lost: false });
        let third = air.send(&frame(2, 185.0, 90.0), 0);
        assert!(third.again >= 1 && !third.lost && third.at > 3 * MS, "{third:?}");
        assert_eq!(air.collided, u64::from(third.again));
        // The receiver of another sender that is near it hears only that sender.
        assert_eq!(collide(1.0).send(&frame(2, 185.0, 280.0), 0).again, 0);
        let mut captures = collide(0.0);
        assert_eq!(captures.send(&frame(0, 0.0, 90.0), 0).at, MS);
        assert_eq!(captures.send(&frame(2, 185.0, 90.0), 0).at, MS);
        assert_eq!(captures.collided, 0);
    }

    #[test]
    fn without_collisions_a_square_shares_its_rate() {
        let mut air = radio(|radio| radio.channel = Some(1_000_000));
        let at = [(0.0, 0), (80.0, 0), (185.0, 0), (0.0, 5 * MS)].map(|(x, at)| air.send(&frame(0, x, 90.0), at).at);
        assert_eq!(at, [MS, 2 * MS, MS, 6 * MS]);
        let mut free = radio(|_| {});
        assert_eq!(free.send(&frame(0, 0.0, 90.0), 7), Sending { at: 7, again: 0, lost: false });
    }

    /// Invariant 1.
    #[test]
    fn a_link_is_bad_for_the_share_and_the_time_that_is_said() {
        let millis = Duration::from_millis;
        let bursts = Bursts { good: millis(900), bad: millis(100), loss: 1.0 };
        let mut fading = Fading::new(Place::Edge(3), &bursts, 1);
        let seen: Vec<bool> = (0..2_000_000).map(|at| fading.is_bad(at * MS, at * MS, &bursts)).collect();
        let bad = seen.iter().filter(|bad| **bad).count();
        let spells = seen.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        // 2,000 bursts of 100 ms are expected in 2,000 s; the bound is five standard deviations.
        assert!(spells.abs_diff(2_000) < 225 && bad.abs_diff(200_000) < 32_000, "{spells} {bad}");
        // The states are the same whenever they are queried.
        let mut rarely = Fading::new(Place::Edge(3), &bursts, 1);
        assert!(
            (0..20_000)
                .all(|at| rarely.is_bad(at * 100 * MS, (at - at % 7) * 100 * MS, &bursts) == seen[at as usize * 100])
        );
    }

    #[test]
    fn what_a_burst_takes_is_sent_again_after_it() {
        let millis = Duration::from_millis;
        let mut air = radio(|radio| {
            radio.bursts = Some(Bursts { good: millis(1_000), bad: millis(300), loss: 1.0 });
        });
        let mut held = 0;
        for at in 0..2_000u64 {
            let sending = air.send(&frame(0, 0.0, 50.0), at * 10 * MS);
            assert!(!sending.lost && (sending.again > 0) == (sending.at > at * 10 * MS));
            held += u64::from(sending.again > 0);
        }
        assert!(air.faded >= held && held > 200, "{held} of {}", air.faded);
        let mut broken = radio(|radio| {
            radio.bursts = Some(Bursts { good: millis(1), bad: Duration::from_secs(1 << 30), loss: 1.0 });
        });
        assert!((0..4).any(|at| broken.send(&frame(at, 0.0, 50.0), 60 * NANOS).lost));
    }
}
