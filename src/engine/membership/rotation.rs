//! Rotation: a device goes on under the pseudonym of a new epoch, make before break.
//!
//! ```text
//! settled ── the credential of the present epoch is under another pseudonym ──▶ due, after a jitter
//! due ── Output::Network: a second network with the new key ──▶ opening ── it listens ──▶ joining
//! joining ── every neighbour is linked to the new pseudonym and advertises that, or time is up ──▶ the engine takes part under it
//!         ──▶ draining: frames for the old pseudonym still arrive over its links ──▶ every neighbour is linked, or time is up:
//!             it advertises that it leaves ──▶ closing: what was sent before others heard of that still arrives ──▶ Output::Leave ──▶ settled
//! ```
//!
//! A device without a link waits for none: its clock alone says which pseudonym is the present one, and that is taken once its network is open. So
//! one that was suspended, and wakes in another epoch with links that are dead, is under that epoch's pseudonym when the last of them has gone.
//!
//! While it joins, the device takes part under the old pseudonym, whose credential is accepted for twice the allowed skew after its
//! epoch. While it drains, both are its own: data leaves over the links of either, and its router advertises the new links under the new
//! pseudonym. What it advertised under the old one stays in force until it leaves, so that frames under way arrive.
//!
//! A device that is not sure of the time may be told at an admission that it is another epoch. It then opens the network of that epoch's
//! pseudonym, and goes on under that if it gets a link within [`TOLD`]; otherwise somebody has told it a wrong time, and it closes that network.
//!
//! A clock that is set may make another pseudonym the present one while a network opens, or while nobody has linked to it yet: then it is closed
//! again, and the turn begins anew. So does one for which the epoch ends before anybody has linked.
//!
//! What it has kept by name (messages, streams, the inbox, outcomes) knows nothing of pseudonyms. Sessions and streams of publications
//! are bound to a credential; new ones are opened. See the table in ARCHITECTURE.
//!
//! Invariants
//! 1. At most two networks are open: under the pseudonym in force, and under the one before it or after it.
//! 2. The old pseudonym is left only once the new one has a link, unless the old one has none either or its credential is about to lapse.
//! - The jitter is drawn anew at each turn, so that a device cannot be recognised by it.

use crate::id::Pseudonym;
use crate::time::{Time, Unix};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

/// How long a network that does not come up is waited for before it is asked for again.
const RETRY: Duration = Duration::from_secs(10);
/// How long neighbours are given to link to the new pseudonym, and to advertise that, once one of them has linked.
const JOIN: Duration = Duration::from_secs(5);
/// How often it is seen whether they have.
const LOOK: Duration = Duration::from_millis(200);
/// How long a pseudonym of a time that others have told is given to get a link.
const TOLD: Duration = Duration::from_secs(30);
/// How long the links of the old pseudonym are kept for frames that are under way,
const DRAIN: Duration = Duration::from_secs(5);
/// and how much longer while a neighbour has no link to the new one.
const WAIT: Duration = Duration::from_secs(15);
/// How often it is seen whether one still has none.
const MISSING: Duration = Duration::from_secs(1);
/// How long they are kept once the old pseudonym is advertised as leaving: as long as that takes to reach everybody.
const CLOSE: Duration = Duration::from_secs(2);

/// How far the change of the pseudonym has come. See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) enum Phase {
    /// The pseudonym in force is that of the present epoch.
    #[default]
    Settled,
    /// Another one is to be taken.
    Due,
    /// Its network has been asked for.
    Opening(Pseudonym),
    /// Its network is open; once it has a link, neighbours are waited for until then at the latest.
    Joining(Pseudonym, Option<Time>),
    /// It is in force, and the one before is being drained, until then at the latest.
    Draining(Pseudonym, Time),
    /// The one before has been advertised as leaving.
    Closing(Pseudonym),
}

/// What is to be done now that time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Step {
    /// Nothing yet.
    Wait,
    /// The network of the new pseudonym is to be opened.
    Open,
    /// The device is to take part under this pseudonym, if every neighbour is linked to it and advertises that, or if the time is up, as this says.
    Take(Pseudonym, bool),
    /// The network of this pseudonym is to be closed again: nobody has linked to it.
    Abandon(Pseudonym),
    /// The pseudonym before is to be advertised as leaving, if every neighbour that has a link to it has one to that in force, or if the time
    /// is up, as this says.
    Retire(bool),
    /// The network of this pseudonym is to be closed.
    Leave(Pseudonym),
}

/// The state of a rotation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Rotation {
    phase: Phase,
    /// When the next step is due.
    at: Option<Time>,
    /// When the old pseudonym's links must be left whatever has become of the new one's.
    latest: Time,
    /// What the epoch allows clocks to differ.
    skew: Duration,
    /// The time that others have told, while this device is not sure of it.
    told: Option<Unix>,
}

impl Rotation {
    /// How far it has come.
    pub(in crate::engine) fn phase(&self) -> Phase {
        self.phase
    }

    /// When the next step is due.
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.at
    }

    /// The credential of the present epoch is under another pseudonym than the one in force. `skew` is what the epoch allows clocks to differ;
    /// the old credential is accepted until `lapses`; if it no longer is, there is nothing to wait for.
    pub(in crate::engine) fn begin(&mut self, skew: Duration, lapses: Time, now: Time, rng: &mut ChaCha20Rng) {
        if self.phase != Phase::Settled {
            return;
        }
        let span = u64::try_from(skew.as_micros() / 2).unwrap_or(u64::MAX).max(1);
        let jitter = if lapses <= now { Duration::ZERO } else { Duration::from_micros(rng.next_u64() % span) };
        (self.phase, self.at, self.skew) = (Phase::Due, Some(now + jitter), skew);
        self.latest = Time(lapses.0.saturating_sub(u64::try_from(skew.as_micros() / 2).unwrap_or(0))).max(now + jitter);
    }

    /// The present pseudonym is this one. If another is being opened, or has no link yet, that is given up. Returns whose network is to be closed.
    pub(in crate::engine) fn begin_anew(&mut self, present: &Pseudonym) -> Option<Pseudonym> {
        let (Phase::Opening(other) | Phase::Joining(other, None)) = self.phase else { return None };
        if other == *present || self.told.is_some() {
            return None;
        }
        (self.phase, self.at) = (Phase::Settled, None);
        Some(other)
    }

    /// The pseudonym in force is the present one: another that is due is not taken.
    pub(in crate::engine) fn call_off(&mut self) {
        if self.phase == Phase::Due && self.told.is_none() {
            (self.phase, self.at) = (Phase::Settled, None);
        }
    }

    /// The time that others have told, whose pseudonym is to be taken or is in force.
    pub(in crate::engine) fn told(&self) -> Option<Unix> {
        self.told
    }

    /// The device is sure of the time now.
    pub(in crate::engine) fn forget_told(&mut self) {
        self.told = None;
    }

    /// Others have told another time than this device supposes: the pseudonym of that is to be taken if it gets a link.
    pub(in crate::engine) fn begin_told(&mut self, told: Unix, skew: Duration, now: Time) {
        if self.phase == Phase::Settled {
            (self.phase, self.at, self.skew) = (Phase::Due, Some(now), skew);
            (self.latest, self.told) = (now + TOLD, Some(told));
        }
    }

    /// The pseudonym of the time that others have told had no link.
    pub(in crate::engine) fn note_abandoned(&mut self) {
        (self.phase, self.at, self.told) = (Phase::Settled, None, None);
    }

    /// A pseudonym that is due is not waited for any longer.
    pub(in crate::engine) fn hurry(&mut self, now: Time) {
        if self.phase == Phase::Due {
            self.at = Some(now);
        }
    }

    /// The pseudonym in force has no link: there is none to be moved to the next one, which is taken as soon as its network is open. That of a time
    /// that others have told still takes a link.
    pub(in crate::engine) fn wait_no_longer(&mut self, now: Time) {
        if let Phase::Joining(next, _) = self.phase
            && self.told.is_none()
        {
            (self.phase, self.at) = (Phase::Joining(next, Some(now)), Some(now));
        }
    }

    /// The network of a pseudonym has been asked for.
    pub(in crate::engine) fn note_asked(&mut self, next: Pseudonym, now: Time) {
        (self.phase, self.at) = (Phase::Opening(next), Some(now + RETRY));
    }

    /// A network is open, or could not be opened. Returns whether it is one that is wanted.
    pub(in crate::engine) fn note_open(&mut self, of: &Pseudonym, open: bool, now: Time) -> bool {
        match self.phase {
            Phase::Opening(next) if next == *of && open => {
                (self.phase, self.at) = (Phase::Joining(next, None), Some(self.latest.max(now)));
                true
            }
            Phase::Opening(next) if next == *of => {
                (self.phase, self.at) = (Phase::Due, Some(now + RETRY));
                false
            }
            _ => false,
        }
    }

    /// A neighbour is linked to a pseudonym of this device: it is to be seen whether all are.
    pub(in crate::engine) fn note_link(&mut self, own: &Pseudonym, now: Time) {
        if let Phase::Joining(next, until) = self.phase
            && next == *own
        {
            self.phase = Phase::Joining(next, until.or(Some(now + JOIN.min(self.skew))));
            self.at = Some(now);
        }
    }

    /// The pseudonym that was joined is in force, instead of `former`.
    pub(in crate::engine) fn note_taken(&mut self, former: Pseudonym, now: Time) {
        let until = now + (DRAIN + WAIT).min(self.skew);
        (self.phase, self.at) = (Phase::Draining(former, until), Some(now + DRAIN.min(self.skew)));
    }

    /// Neighbours lack a link to the new pseudonym, or do not advertise it yet: they are waited for.
    pub(in crate::engine) fn note_missing(&mut self, now: Time) {
        self.at = match self.phase {
            Phase::Joining(_, Some(until)) => Some(until.min(now + LOOK)),
            Phase::Draining(_, until) => Some(until.min(now + MISSING)),
            _ => self.at,
        };
    }

    /// The pseudonym before has been advertised as leaving.
    pub(in crate::engine) fn note_retired(&mut self, now: Time) {
        if let Phase::Draining(former, _) = self.phase {
            (self.phase, self.at) = (Phase::Closing(former), Some(now + CLOSE.min(self.skew)));
        }
    }

    /// The network of the former pseudonym is closed.
    pub(in crate::engine) fn note_left(&mut self) {
        (self.phase, self.at) = (Phase::Settled, None);
    }

    /// What is due.
    pub(in crate::engine) fn step(&self, now: Time) -> Step {
        if self.at.is_none_or(|at| at > now) {
            return Step::Wait;
        }
        match self.phase {
            Phase::Settled => Step::Wait,
            Phase::Due | Phase::Opening(_) => Step::Open,
            Phase::Joining(next, None) if self.told.is_some() => Step::Abandon(next),
            Phase::Joining(next, until) => Step::Take(next, until.is_none_or(|until| now >= until)),
            Phase::Draining(_, until) => Step::Retire(now >= until),
            Phase::Closing(former) => Step::Leave(former),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    const SKEW: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    fn begun() -> Rotation {
        let mut rotation = Rotation::default();
        rotation.begin(SKEW, at(600), at(0), &mut ChaCha20Rng::from_seed([1; 32]));
        rotation
    }

    const NEW: Pseudonym = Pseudonym([2; 32]);
    const OLD: Pseudonym = Pseudonym([1; 32]);

    #[test]
    fn a_turn_goes_from_step_to_step() {
        let mut rotation = begun();
        assert!(rotation.next_wake().is_some_and(|due| due < at(150)));
        assert_eq!(rotation.step(at(150)), Step::Open);
        rotation.note_asked(NEW, at(150));
        assert_eq!((rotation.step(at(159)), rotation.step(at(160))), (Step::Wait, Step::Open));
        assert!(!rotation.note_open(&OLD, true, at(151)) && rotation.note_open(&NEW, true, at(151)));
        rotation.note_link(&OLD, at(149));
        assert_eq!(rotation.step(at(149)), Step::Wait);
        rotation.note_link(&NEW, at(149));
        assert_eq!(rotation.step(at(149)), Step::Take(NEW, false));
        rotation.note_missing(at(149));
        assert_eq!((rotation.step(at(149)), rotation.step(at(150))), (Step::Wait, Step::Take(NEW, false)));
        rotation.note_link(&NEW, at(153));
        rotation.note_missing(at(153));
        assert_eq!((rotation.step(at(153)), rotation.step(at(154))), (Step::Wait, Step::Take(NEW, true)));
        rotation.note_taken(OLD, at(154));
        assert_eq!((rotation.step(at(158)), rotation.step(at(159))), (Step::Wait, Step::Retire(false)));
        rotation.note_missing(at(159));
        assert_eq!((rotation.step(at(159)), rotation.step(at(160))), (Step::Wait, Step::Retire(false)));
        rotation.note_missing(at(173));
        assert_eq!((rotation.step(at(173)), rotation.step(at(174))), (Step::Wait, Step::Retire(true)));
        rotation.note_retired(at(174));
        assert_eq!((rotation.step(at(175)), rotation.step(at(176))), (Step::Wait, Step::Leave(OLD)));
        rotation.note_left();
        assert_eq!((rotation.phase(), rotation.next_wake()), (Phase::Settled, None));
    }

    #[test]
    fn nothing_is_waited_for_where_the_old_credential_has_lapsed() {
        let mut rotation = Rotation::default();
        rotation.begin(SKEW, at(20), at(20), &mut ChaCha20Rng::from_seed([1; 32]));
        assert_eq!(rotation.step(at(20)), Step::Open);
    }

    /// Invariant 2.
    #[test]
    fn the_old_pseudonym_is_kept_while_nobody_links_to_the_new_one() {
        let mut rotation = begun();
        rotation.note_asked(NEW, at(150));
        rotation.note_open(&NEW, true, at(151));
        assert_eq!((rotation.step(at(449)), rotation.step(at(450))), (Step::Wait, Step::Take(NEW, true)));
        rotation.note_link(&NEW, at(200));
        assert_eq!(rotation.step(at(200)), Step::Take(NEW, false), "it is to be seen whether all have linked");
        rotation.wait_no_longer(at(200));
        assert_eq!(rotation.step(at(200)), Step::Take(NEW, true), "nobody is left who could");
    }

    /// Invariant 1.
    #[test]
    fn a_pseudonym_of_a_time_that_was_told_is_taken_with_a_link_only() {
        for linked in [false, true] {
            let mut rotation = Rotation::default();
            rotation.begin_told(Unix::from_seconds(7_200), SKEW, at(10));
            assert_eq!((rotation.step(at(10)), rotation.told()), (Step::Open, Some(Unix::from_seconds(7_200))));
            rotation.note_asked(NEW, at(10));
            rotation.note_open(&NEW, true, at(11));
            if linked {
                rotation.note_link(&NEW, at(12));
            }
            if !linked {
                rotation.wait_no_longer(at(12));
                assert_eq!(rotation.step(at(12)), Step::Wait, "it takes a link");
            }
            let step = if linked { Step::Take(NEW, true) } else { Step::Abandon(NEW) };
            assert_eq!(rotation.step(at(40)), step);
        }
    }

    #[test]
    fn a_pseudonym_that_nobody_has_linked_to_is_given_up_for_the_present_one() {
        let mut rotation = begun();
        rotation.note_asked(NEW, at(150));
        assert_eq!(rotation.begin_anew(&NEW), None);
        rotation.note_open(&NEW, true, at(151));
        assert_eq!(rotation.begin_anew(&OLD), Some(NEW));
        assert_eq!((rotation.phase(), rotation.next_wake()), (Phase::Settled, None));
        let mut rotation = begun();
        rotation.note_asked(NEW, at(150));
        rotation.note_open(&NEW, true, at(151));
        rotation.note_link(&NEW, at(152));
        assert_eq!(rotation.begin_anew(&OLD), None, "it has a link, and is left in its turn");
        let mut rotation = begun();
        rotation.call_off();
        assert_eq!((rotation.phase(), rotation.next_wake()), (Phase::Settled, None));
    }

    #[test]
    fn a_turn_that_is_under_way_is_finished_before_another_begins() {
        let mut rotation = begun();
        rotation.note_asked(NEW, at(150));
        rotation.begin(SKEW, at(900), at(300), &mut ChaCha20Rng::from_seed([2; 32]));
        assert_eq!(rotation.phase(), Phase::Opening(NEW));
        rotation.note_open(&NEW, false, at(301));
        assert_eq!((rotation.phase(), rotation.step(at(311))), (Phase::Due, Step::Open));
    }
}
