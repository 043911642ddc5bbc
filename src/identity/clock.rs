//! The node's clock: the machine's where that is set, else one of the node's own.
//!
//! **Mechanism.** The machine's wall clock is believed unless it says less than the *floor*: a time that must have passed. From then on
//! the node has a clock of its own, which begins at the floor, goes on with the monotonic clock, and is set by what others tell
//! ([`NodeClock::learn`]). The machine's is believed again once it says more than the floor, which moves on meanwhile: a clock that
//! goes, and was never set, does not get there by going. Nothing of this touches the machine's clock.
//!
//! Readings of both clocks come in, readings come out; who decides what is learnt is the engine.
//!
//! Invariants
//! 1. No reading is below the floor.
//! 2. A clock of the node's own stands still or leaps by nothing but what is learnt, whatever the machine's does below the floor.

use crate::time::{Now, Time, Unix};
use core::time::Duration;

/// Whose time the node goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The machine's: it is set.
    Machine,
    /// Nobody's: the floor, and what has passed since.
    Unset,
    /// What others have told.
    Learnt {
        /// Two of them that agree, or the issuer; one neighbour alone may say anything.
        sure: bool,
    },
}

/// What has become of the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It says less than the floor.
    Unset,
    /// It has been set.
    Set,
}

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeClock {
    standing: Standing,
    /// Whether the machine has a clock that may be believed.
    machine: bool,
    /// A reading of the node's own clock.
    own: Now,
    /// As of that time; it moves on while the machine's clock is not believed.
    floor: Now,
    /// By how much it was wrong at most when it was learnt, and when that was.
    error: (Duration, Time),
}

/// By which a clock that nothing sets goes wrong, as a part of the time: 200 ppm.
const DRIFT: u32 = 5_000;
/// No error yet.
const NONE: (Duration, Time) = (Duration::ZERO, Time(0));

impl Default for NodeClock {
    /// The machine's, whatever it says.
    fn default() -> Self {
        Self { standing: Standing::Machine, machine: true, own: Now::default(), floor: Now::default(), error: NONE }
    }
}

impl NodeClock {
    /// At a reading of the machine's clocks. What is `certain` to have passed tells whether it is set; where it is not, what is
    /// only `likely` to have passed counts too, since it is closer. A machine may have no clock that can be set.
    pub fn start(raw: Now, machine: bool, certain: Unix, likely: Unix) -> Self {
        if machine && raw.unix >= certain {
            let floor = Now { time: raw.time, unix: certain };
            return Self { standing: Standing::Machine, machine, own: raw, floor, error: NONE };
        }
        let floor = Now { time: raw.time, unix: certain.max(likely) };
        Self { standing: Standing::Unset, machine, own: floor, floor, error: NONE }
    }

    /// Whose time it is.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether nobody has told the time yet.
    pub fn is_unset(&self) -> bool {
        self.standing == Standing::Unset
    }

    /// Whether it may be told to others, and keys be erased by it.
    pub fn is_sure(&self) -> bool {
        matches!(self.standing, Standing::Machine | Standing::Learnt { sure: true })
    }

    /// What the node's clocks say when the machine's say this. Invariant 1.
    pub fn read(&self, raw: Now) -> Now {
        let unix = match self.standing {
            Standing::Machine => raw.unix,
            _ => self.own.unix + raw.time.since(self.own.time),
        };
        Now { time: raw.time, unix: unix.max(self.floor_at(raw.time)) }
    }

    /// What must have passed by then.
    pub fn floor_at(&self, time: Time) -> Unix {
        match self.standing {
            Standing::Machine => self.floor.unix,
            _ => self.floor.unix + time.since(self.floor.time),
        }
    }

    /// Looks at the machine's clock, when the node's own said `present` last. Answers what has changed.
    pub fn heed(&mut self, raw: Now, present: Now) -> Option<Change> {
        match self.standing {
            Standing::Machine if raw.unix < self.floor.unix => {
                // It was right until now, as far as anybody knows.
                let unix = (present.unix + raw.time.since(present.time)).max(self.floor.unix);
                self.own = Now { time: raw.time, unix };
                self.floor.time = raw.time;
                self.standing = Standing::Unset;
                Some(Change::Unset)
            }
            Standing::Unset | Standing::Learnt { .. } if self.machine && raw.unix >= self.floor_at(raw.time) => {
                self.floor = Now { time: raw.time, unix: self.floor_at(raw.time) };
                self.standing = Standing::Machine;
                Some(Change::Set)
            }
            _ => None,
        }
    }

    /// Something shows that this has passed. Answers whether the floor is another.
    pub fn raise_floor(&mut self, unix: Unix, time: Time) -> bool {
        let higher = unix > self.floor_at(time);
        if higher {
            self.floor = Now { time, unix };
        }
        higher
    }

    /// Takes the time from others, where the machine's clock is not set. Never below the floor.
    pub fn learn(&mut self, time: Now, sure: bool) {
        if self.standing != Standing::Machine {
            self.own = Now { time: time.time, unix: time.unix.max(self.floor_at(time.time)) };
            self.standing = Standing::Learnt { sure };
        }
    }

    /// By how much what was learnt may be wrong, as of a time.
    pub fn note_error(&mut self, error: Duration, time: Time) {
        self.error = (error, time);
    }

    /// By how much the clock is wrong at most, if that was learnt and is sure.
    pub fn learnt_error(&self, time: Time) -> Option<Duration> {
        let (error, since) = self.error;
        let sure = self.standing == Standing::Learnt { sure: true };
        sure.then(|| error.saturating_add(time.since(since) / DRIFT))
    }

    /// The issuer itself says that the floor is too high: somebody's clock was ahead.
    pub fn lower_floor(&mut self, unix: Unix, time: Time) {
        let lower = self.floor_at(time).min(unix);
        self.floor = Now { time, unix: lower };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Unix = Unix(1_800_000_000_000_000);

    fn at(seconds: u64, unix: u64) -> Now {
        Now { time: Time(seconds * 1_000_000), unix: Unix::from_seconds(unix) }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Invariant 1.
    #[test]
    fn no_reading_is_below_the_floor() {
        let starts = [(true, 0), (true, 1_900_000_000), (false, 0), (false, 1_900_000_000)];
        for (machine, unix) in starts {
            let mut clock = NodeClock::start(at(0, unix), machine, FLOOR, FLOOR + seconds(60));
            for learnt in [0, 5, 1_700_000_000, 1_800_000_100, 1_799_999_999] {
                clock.learn(at(10, learnt), true);
                for raw in [at(10, 0), at(20, 1_900_000_000), at(30, 7), at(40, u64::MAX)] {
                    assert!(clock.read(raw).unix >= FLOOR);
                    clock.heed(raw, at(10, 1_800_000_100));
                    assert!(clock.read(raw).unix >= FLOOR && clock.read(raw).time == raw.time);
                }
            }
        }
    }

    /// Invariant 2.
    #[test]
    fn a_clock_that_is_not_set_goes_on_from_the_floor_until_somebody_tells_the_time() {
        let mut clock = NodeClock::start(at(5, 77), true, FLOOR, FLOOR + seconds(60));
        assert_eq!((clock.standing(), clock.read(at(5, 77)).unix), (Standing::Unset, FLOOR + seconds(60)));
        for raw in [at(15, 87), at(15, 0), at(15, 1_000_000)] {
            assert_eq!((clock.heed(raw, raw), clock.read(raw).unix), (None, FLOOR + seconds(70)));
        }
        clock.learn(at(20, 1_800_500_000), false);
        assert!(!clock.is_sure() && !clock.is_unset());
        assert_eq!(clock.read(at(25, 97)), at(25, 1_800_500_005));
        // Its machine's clock is just behind the floor, and goes: that does not make it right.
        let mut behind = NodeClock::start(at(0, FLOOR.seconds() - 1), true, FLOOR, Unix(0));
        assert_eq!(behind.heed(at(3_600, FLOOR.seconds() + 3_599), at(0, 0)), None);
        assert!(behind.is_unset());
    }

    #[test]
    fn a_machines_clock_is_believed_again_once_it_is_set() {
        let mut clock = NodeClock::start(at(5, 77), true, FLOOR, Unix(0));
        clock.learn(at(20, 1_800_500_000), true);
        let set = at(30, 1_800_400_000);
        assert_eq!((clock.heed(set, at(20, 1_800_500_000)), clock.read(set)), (Some(Change::Set), set));
        // Where the machine has none, nothing that it says counts.
        let mut none = NodeClock::start(at(5, 1_900_000_000), false, FLOOR, Unix(0));
        assert_eq!((none.heed(set, set), none.read(at(6, 1_900_000_001)).unix), (None, FLOOR + seconds(1)));
    }

    #[test]
    fn a_clock_that_falls_below_the_floor_goes_on_as_it_went() {
        let mut clock = NodeClock::start(at(0, 1_800_100_000), true, FLOOR, Unix(0));
        assert_eq!(clock.standing(), Standing::Machine);
        assert!(clock.raise_floor(Unix::from_seconds(1_800_100_000), Time(0)));
        assert!(!clock.raise_floor(FLOOR, Time(0)), "it never goes back");
        let fallen = at(60, 12);
        assert_eq!(clock.heed(fallen, at(50, 1_800_100_050)), Some(Change::Unset));
        assert_eq!(clock.read(fallen).unix, Unix::from_seconds(1_800_100_060));
    }

    #[test]
    fn what_the_issuer_says_of_the_floor_counts() {
        let mut clock = NodeClock::start(at(0, 12), true, FLOOR + seconds(300_000), Unix(0));
        clock.learn(at(5, FLOOR.seconds()), true);
        assert_eq!(clock.read(at(5, 17)).unix, FLOOR + seconds(300_005), "below the floor");
        clock.lower_floor(FLOOR, Time(5_000_000));
        clock.learn(at(5, FLOOR.seconds() + 9), true);
        assert_eq!(clock.read(at(6, 18)).unix, FLOOR + seconds(10));
    }
}
