//! Air: what devices on one bearer do to each other's frames, and what it does to them.
//!
//! **Sharing.** On a bearer with a shared channel, who hears another waits for it. On one without collisions and bursts, all in
//! one square of the bearer's reach hear each other, and share its rate. On another, a sender waits for those within its
//! reach, wherever squares lie.
//!
//! **Collisions.** Two that do not hear each other may send at once, and a frame that comes to its receiver while another
//! within the receiver's reach is under way is lost with a given chance: the receiver stays with the one that was there first.
//! The sender's radio sends it again after a pause drawn from twice as long a time at each failure, [`LINK_ATTEMPTS`] times;
//! then its transport does, after a time-out.
//!
//! **Bursts.** A bearer may go from a good state to a bad one and back, at random, with a mean duration of each (Gilbert
//! 1960, Elliott 1963). In the bad one frames are lost besides, with a chance of its own; transports send them again after
//! their time-outs. A shared channel is bad for all in a square at once, other links each for themselves. What is lost in the
//! good state, and everything else of a line, is its [`Shaper`](m2mesh::net::emulation::Shaper)'s.
//!
//! Invariants
//! 1. What happens depends on the seed and on what was sent when, not on when somebody looks.
//! 2. At most [`MOST_ON_AIR`] frames are remembered of one bearer, and states from now on.

use super::NANOS;
use crate::plan::{self, Bursts};
use crate::virtual_os::splitmix;
use m2mesh::net::emulation::{MAX_ATTEMPTS, Recovery, Shape};
use std::collections::{BTreeMap, VecDeque};

/// See the module's documentation.
pub(super) struct Air {
    /// Bits a second for all who share the channel.
    channel: Option<u64>,
    reach: f64,
    /// The chance that a frame is lost that comes while another does.
    collisions: Option<f64>,
    bursts: Option<Bursts>,
    recovery: Recovery,
    /// When the channel is free, by square: who is in one hears the others. Nanoseconds.
    cells: BTreeMap<Square, u64>,
    on_air: VecDeque<OnAir>,
    fading: BTreeMap<Place, Fading>,
    seed: u64,
    chance: u64,
    /// Frames lost to others.
    pub(super) collided: u64,
    /// Frames lost in the bad state.
    pub(super) faded: u64,
}

type Square = (i64, i64);

/// Where a state is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Square(Square),
    Edge(usize),
}

/// A frame that is, or will be, under way, in nanoseconds.
struct OnAir {
    place: (f64, f64),
    begins: u64,
    ends: u64,
}

/// One of the two states after the other.
struct Fading {
    /// Until when, in nanoseconds, and whether it is bad: from now on, as far as has been asked.
    spells: VecDeque<(u64, bool)>,
    chance: u64,
}

/// A frame that is to go.
pub(super) struct Frame {
    pub(super) edge: usize,
    /// Where its sender is, and its receiver.
    pub(super) places: [(f64, f64); 2],
    /// Bytes with all overhead.
    pub(super) length: u64,
    /// How its line behaves.
    pub(super) shape: Shape,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    /// When the line has it, in nanoseconds.
    pub(super) at: u64,
    /// How often it was sent before that in vain.
    pub(super) again: u32,
    /// Its transport has given up.
    pub(super) lost: bool,
}

impl Air {
    /// Silent, and in a state that is drawn.
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

    /// Whether frames go one by one, as what becomes of each is drawn.
    pub(super) fn is_rough(&self) -> bool {
        self.collisions.is_some() || self.bursts.is_some()
    }

    /// A frame goes, now or when the channel is free.
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

    /// One attempt of the transport: when the frame is through, and whether the radio has given it up.
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

    /// From when on the sender hears nobody for so long.
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

    /// Whether a frame is lost to a burst.
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
    /// As at the start of the run: bad with the share of time for which it is.
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

    /// Whether it is bad at a time, now or later.
    fn is_bad(&mut self, at: u64, now: u64, bursts: &Bursts) -> bool {
        while let Some((until, bad)) = self.spells.back().copied().filter(|(until, _)| *until <= at) {
            self.extend(until, !bad, bursts);
        }
        while self.spells.pop_front_if(|(until, _)| *until <= now).is_some() {}
        self.spells.iter().find(|(until, _)| *until > at).is_some_and(|(_, bad)| *bad)
    }

    /// Adds a state that begins then, and lasts for a time without memory.
    fn extend(&mut self, from: u64, bad: bool, bursts: &Bursts) {
        let mean = if bad { bursts.bad } else { bursts.good };
        let lasts = (-(1.0 - unit(&mut self.chance)).ln() * mean.as_nanos() as f64) as u64;
        self.spells.push_back((from.saturating_add(lasts.max(1)), bad));
    }
}

/// The square of the reach in which a place lies.
fn square((x, y): (f64, f64), reach: f64) -> Square {
    ((x / reach).floor() as i64, (y / reach).floor() as i64)
}

/// From 0 to 1, without 1.
fn unit(state: &mut u64) -> f64 {
    (splitmix(state) >> 11) as f64 / (1u64 << 53) as f64
}

/// Times that a radio sends a frame which collides: as many as are usual (IEEE 802.11, short retry limit).
const LINK_ATTEMPTS: u32 = 7;
/// The pause before the next of them is drawn from at most 2 to this of a frame's time.
const LONGEST_BACKOFF: u32 = 6;
/// Frames under way on one bearer that are remembered. Drop policy: the first that went collides no more.
const MOST_ON_AIR: usize = 10_000;
/// Of the plan's seed, what is drawn here.
const AIR: u64 = 0xa170_0000_0000_0000;
/// Squares are other places than edges.
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
        // A millisecond each. The second hears the first; the third hears neither, and its receiver hears both.
        let mut air = collide(1.0);
        assert_eq!(air.send(&frame(0, 0.0, 90.0), 0), Sending { at: MS, again: 0, lost: false });
        assert_eq!(air.send(&frame(1, 80.0, 90.0), 0), Sending { at: 2 * MS, again: 0, lost: false });
        let third = air.send(&frame(2, 185.0, 90.0), 0);
        assert!(third.again >= 1 && !third.lost && third.at > 3 * MS, "{third:?}");
        assert_eq!(air.collided, u64::from(third.again));
        // The receiver of another that is near it hears only that.
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

    #[test]
    fn a_link_is_bad_for_the_share_and_the_time_that_is_said() {
        let millis = Duration::from_millis;
        let bursts = Bursts { good: millis(900), bad: millis(100), loss: 1.0 };
        let mut fading = Fading::new(Place::Edge(3), &bursts, 1);
        let seen: Vec<bool> = (0..2_000_000).map(|at| fading.is_bad(at * MS, at * MS, &bursts)).collect();
        let bad = seen.iter().filter(|bad| **bad).count();
        let spells = seen.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        // 2,000 bursts of 100 ms are expected in 2,000 s; within five sigmas.
        assert!(spells.abs_diff(2_000) < 225 && bad.abs_diff(200_000) < 32_000, "{spells} {bad}");
        // The same whenever somebody looks.
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
