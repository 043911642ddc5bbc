//! Quarantine: neighbours that are neither dialled nor admitted for a while, for what they have sent.
//!
//! **Mechanism.** A neighbour whose links are closed for what it has sent (`forgeries`) commits an *offence*. The first
//! costs it these links alone: it may come back at once. Each further one puts it in quarantine: [`FIRST`] at first, twice
//! as long with each repetition, at most [`LONGEST`]. In quarantine it is dialled by nobody here and refused at admission
//! (`quarantined`). One offence is forgiven for every [`PARDON`] in which there was no further one, not counting the time
//! in quarantine.
//!
//! ```text
//! offence ─▶ links closed ─▶ offence ─▶ 1 min ─▶ offence ─▶ 2 min ─▶ … ─▶ 1 h
//!                             └─ an hour without one: forgiven
//! ```
//!
//! **Whom it holds.** The pseudonym that the links were under, and the one that it has named as its successor. A device that
//! takes another pseudonym at the turn of an epoch and names no successor begins anew, unless it is a contact: a contact's
//! handles of the coming epoch are known, so its quarantine and its offences follow it. Nothing of it outlasts the process,
//! and nobody else is told.
//!
//! **What counts** is in [`forgeries`](super::forgeries): only what every honest device checks before it sends it, so that
//! no relay is held for what somebody beyond it has made.
//!
//! Invariants
//! 1. Who has committed one offence only, or has had all but one forgiven, is not in quarantine.
//! 2. At most [`MAX_OFFENDERS`] offenders are remembered. Drop policy: of those not in quarantine the one whose last
//!    offence is longest ago is forgotten, or else the one whose quarantine ends first (`offenders_forgotten`).
//! - A quarantine ends by itself, or when the operator lifts it.

use crate::counter::Counter;
use crate::engine::Output;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::view::QuarantinedView;
use crate::event_log::Event;
use crate::id::{Handle, LinkId, Name, Pseudonym};
use crate::identity::admission::Shunned;
use crate::time::Time;
use ::core::mem;
use ::core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first quarantine; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The time without an offence for which one is forgiven.
const PARDON: Duration = Duration::from_secs(3_600);
/// Most offenders remembered: as many as an area has routers.
pub(in crate::engine) const MAX_OFFENDERS: usize = 1_024;

/// A neighbour that has committed offences.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offender {
    /// Its name, if it is a contact.
    name: Option<Name>,
    /// Offences that have not been forgiven; not 0.
    offences: u32,
    /// When the next of them is forgiven.
    pardon: Time,
    /// Until when it is in quarantine.
    until: Option<Time>,
    /// The last offence.
    reason: &'static str,
    /// The handles that it has until then, as far as they are known.
    handles: Vec<Handle>,
}

/// All offenders. See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Quarantine {
    offenders: BTreeMap<Pseudonym, Offender>,
    /// Who is in quarantine, as admission needs it.
    shunned: Arc<Shunned>,
}

/// What becomes of an offender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sentence {
    /// For how long it is in quarantine; zero for the first offence.
    rest: Duration,
    /// The number of its offences.
    offences: u32,
    /// Whether another offender was forgotten for it.
    forgotten: bool,
}

impl Quarantine {
    /// Who is in quarantine.
    pub(in crate::engine) fn shunned(&self) -> Arc<Shunned> {
        self.shunned.clone()
    }

    /// The number of offenders that are remembered.
    pub(in crate::engine) fn len(&self) -> usize {
        self.offenders.len()
    }

    /// When a quarantine ends, or an offence is forgiven.
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.offenders.values().map(|offender| offender.until.unwrap_or(offender.pardon)).min()
    }

    /// Those in quarantine.
    pub(in crate::engine) fn view(&self, now: Time) -> Vec<QuarantinedView> {
        let held = self.offenders.iter().filter_map(|(key, offender)| Some((key, offender, offender.until?)));
        let view = |(key, offender, until): (&Pseudonym, &Offender, Time)| QuarantinedView {
            peer: *key,
            name: offender.name.clone(),
            left: until.since(now),
            offences: offender.offences,
            reason: offender.reason,
        };
        held.map(view).collect()
    }

    /// Whether a neighbour, which has this name if it is a contact, is in quarantine.
    fn holds(&self, key: &Pseudonym, name: Option<&Name>) -> bool {
        let is_it = |(known, offender): (&Pseudonym, &Offender)| {
            offender.until.is_some() && (known == key || (name.is_some() && offender.name.as_ref() == name))
        };
        self.offenders.iter().any(is_it)
    }

    /// Notes an offence.
    fn note(
        &mut self,
        key: Pseudonym,
        name: Option<Name>,
        handles: Vec<Handle>,
        reason: &'static str,
        now: Time,
    ) -> Sentence {
        // A contact may have another pseudonym than at its last offence.
        let before = name.as_ref().and_then(|name| {
            let former = self.offenders.iter().find(|(_, offender)| offender.name.as_ref() == Some(name));
            former.map(|(former, _)| *former)
        });
        let before = before.and_then(|former| self.offenders.remove(&former)).or_else(|| self.offenders.remove(&key));
        let offences = before.map_or(0, |before| before.offences) + 1;
        let rest = match offences {
            1 => Duration::ZERO,
            _ => FIRST.saturating_mul(1 << (offences - 2).min(16)).min(LONGEST),
        };
        let until = (offences > 1).then(|| now + rest);
        let forgotten = self.make_room(&key);
        self.offenders.insert(key, Offender { name, offences, pardon: now + rest + PARDON, until, reason, handles });
        self.publish();
        Sentence { rest, offences, forgotten }
    }

    /// A neighbour goes on under another pseudonym: its offences are remembered under that one. Returns whether another
    /// offender was forgotten for it.
    pub(in crate::engine) fn inherit(&mut self, from: &Pseudonym, to: Pseudonym) -> bool {
        let Some(before) = self.offenders.get(from).cloned() else { return false };
        let forgotten = self.make_room(&to);
        let offences = before.offences.max(self.offenders.get(&to).map_or(0, |known| known.offences));
        self.offenders.insert(to, Offender { offences, ..before });
        self.publish();
        forgotten
    }

    /// Forgets an offender, if one more does not find room. Returns whether one was forgotten.
    fn make_room(&mut self, next: &Pseudonym) -> bool {
        let full = self.offenders.len() >= MAX_OFFENDERS && !self.offenders.contains_key(next);
        if full {
            let first =
                self.offenders.iter().min_by_key(|(_, one)| (one.until.is_some(), one.until.unwrap_or(one.pardon)));
            if let Some(first) = first.map(|(key, _)| *key) {
                self.offenders.remove(&first);
            }
        }
        full
    }

    /// Ends what has lasted long enough. Returns whether a quarantine has ended.
    fn expire(&mut self, now: Time) -> bool {
        let mut ended = false;
        self.offenders.retain(|_, offender| {
            ended |= offender.until.take_if(|until| *until <= now).is_some();
            while offender.offences > 0 && offender.pardon <= now {
                offender.offences -= 1;
                offender.pardon = offender.pardon + PARDON;
            }
            offender.offences > 0
        });
        if ended {
            self.publish();
        }
        ended
    }

    /// Ends all quarantines, and forgives all. Returns who was in quarantine.
    fn lift(&mut self) -> Vec<Pseudonym> {
        let offenders = mem::take(&mut self.offenders).into_iter();
        let held = offenders.filter(|(_, offender)| offender.until.is_some()).map(|(key, _)| key).collect();
        self.publish();
        held
    }

    /// The handles of contacts are those of another epoch. `handles_of` returns them.
    fn renew(&mut self, mut handles_of: impl FnMut(&Name) -> Vec<Handle>) {
        for offender in self.offenders.values_mut().filter(|offender| offender.until.is_some()) {
            if let Some(name) = &offender.name {
                offender.handles = handles_of(name);
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        let held = || self.offenders.iter().filter(|(_, offender)| offender.until.is_some());
        let keys = held().map(|(key, _)| *key).collect();
        let handles = held().flat_map(|(_, offender)| offender.handles.iter().copied()).collect();
        self.shunned = Arc::new(Shunned { keys, handles });
    }
}

impl Neighbours {
    /// Closes all links of the neighbour at the other end of a link for what it has sent, and puts it in quarantine if it
    /// was not the first time.
    pub(in crate::engine) fn note_offence(&mut self, core: &mut Core, link: LinkId, reason: &'static str) {
        let Some(known) = self.links.get(link) else { return };
        let (key, name, credential) = (known.peer.body.key, known.name.clone(), known.peer.hash.prefix());
        let handles = name.as_ref().map(|name| handles_of(core, name)).unwrap_or_default();
        let Sentence { rest, offences, forgotten } =
            self.quarantine.note(key, name.clone(), handles, reason, core.now.time);
        core.count(Counter::OffendersForgotten, u64::from(forgotten));
        if !rest.is_zero() {
            core.count(Counter::NeighboursQuarantined, 1);
            let (reason, seconds) = (reason.to_owned(), rest.as_secs());
            core.record(Event::NeighbourQuarantined { name, credential, reason, seconds, offences: offences.into() });
            core.outputs.push_back(Output::Shun { peer: key, rest });
            core.outputs.push_back(Output::MembershipChanged { save: false });
        }
        let links: Vec<LinkId> = self.links.of(&key).map(|(id, _)| id).collect();
        for link in links {
            self.close(core, link, reason);
        }
    }

    /// Whether a neighbour that was admitted is in quarantine since.
    pub(in crate::engine) fn is_quarantined(&self, key: &Pseudonym, name: Option<&Name>) -> bool {
        self.quarantine.holds(key, name)
    }

    pub(in crate::engine) fn timeout_quarantine(&mut self, core: &mut Core) {
        if self.quarantine.expire(core.now.time) {
            core.outputs.push_back(Output::MembershipChanged { save: false });
        }
    }

    /// Lets all neighbours in quarantine come back, as if they had committed no offence.
    pub(in crate::engine) fn lift_quarantine(&mut self, core: &mut Core) {
        let lifted = self.quarantine.lift();
        let neighbours = lifted.len() as u64;
        core.outputs.extend(lifted.into_iter().map(|peer| Output::Shun { peer, rest: Duration::ZERO }));
        core.record(Event::QuarantineLifted { neighbours });
        core.outputs.push_back(Output::MembershipChanged { save: false });
    }

    /// An epoch begins: contacts have other handles.
    pub(in crate::engine) fn renew_quarantine(&mut self, core: &mut Core) {
        if self.quarantine.len() > 0 {
            self.quarantine.renew(|name| handles_of(core, name));
            core.outputs.push_back(Output::MembershipChanged { save: false });
        }
    }
}

/// The handles of a contact in the epochs around the present one.
fn handles_of(core: &mut Core, name: &Name) -> Vec<Handle> {
    let unix = core.now.unix;
    core.membership.contacts().handles_of(name, unix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Pseudonym {
        let mut key = [0; Pseudonym::LEN];
        key[..8].copy_from_slice(&number.to_be_bytes());
        Pseudonym(key)
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    /// Invariant 1.
    #[test]
    fn quarantine_doubles_with_each_offence_and_good_behaviour_is_rewarded() {
        let mut quarantine = Quarantine::default();
        let mut rests = Vec::new();
        let mut now = 0;
        for _ in 0..9 {
            rests.push(quarantine.note(key(1), None, Vec::new(), "it lies", at(now)).rest.as_secs());
            let held = quarantine.view(at(now)).len();
            assert_eq!(held, usize::from(now > 0), "not for the first time");
            now += rests[rests.len() - 1] + 1;
            assert_eq!((quarantine.expire(at(now)), quarantine.shunned().keys.len()), (held > 0, 0));
        }
        assert_eq!(rests, [0, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        // Nine offences: after eight hours one is left, which costs nothing; after another it is forgotten.
        assert!(!quarantine.expire(at(now + 8 * 3_600)));
        assert_eq!(quarantine.len(), 1);
        assert!(!quarantine.expire(at(now + 9 * 3_600)));
        assert_eq!((quarantine.len(), quarantine.next_wake()), (0, None));
        assert_eq!(quarantine.note(key(1), None, Vec::new(), "it lies", at(now + 9 * 3_600)).rest, Duration::ZERO);
    }

    #[test]
    fn a_contact_is_held_under_its_next_pseudonym_too_and_others_are_not() {
        let mut quarantine = Quarantine::default();
        let liar = Name::new("liar").ok();
        let handle = Handle([7; 16]);
        for _ in 0..2 {
            quarantine.note(key(1), liar.clone(), vec![handle], "it lies", at(1));
        }
        assert!(quarantine.holds(&key(1), None) && quarantine.holds(&key(2), liar.as_ref()));
        assert!(!quarantine.holds(&key(2), None) && !quarantine.holds(&key(2), Name::new("other").ok().as_ref()));
        assert_eq!(*quarantine.shunned(), Shunned { keys: [key(1)].into(), handles: [handle].into() });
        assert!(quarantine.expire(at(61)));
        // Its third, under another pseudonym.
        let sentence = quarantine.note(key(2), liar, Vec::new(), "it lies", at(62));
        assert_eq!((sentence.offences, quarantine.len()), (3, 1));
        assert_eq!((quarantine.lift(), quarantine.len(), quarantine.shunned().keys.len()), (vec![key(2)], 0, 0));
    }

    #[test]
    fn who_goes_on_under_another_pseudonym_takes_its_offences_along() {
        let mut quarantine = Quarantine::default();
        quarantine.note(key(1), None, Vec::new(), "it lies", at(1));
        assert!(!quarantine.inherit(&key(1), key(2)) && !quarantine.inherit(&key(8), key(9)));
        let sentence = quarantine.note(key(2), None, Vec::new(), "it lies", at(2));
        assert_eq!((sentence.offences, sentence.rest), (2, FIRST));
        assert!(!quarantine.inherit(&key(2), key(3)));
        assert!(quarantine.holds(&key(3), None) && quarantine.shunned().keys.contains(&key(3)));
        // Not even by a successor that has offended less.
        quarantine.note(key(4), None, Vec::new(), "it lies", at(3));
        quarantine.inherit(&key(3), key(4));
        assert_eq!(quarantine.note(key(4), None, Vec::new(), "it lies", at(4)).offences, 3);
    }

    /// Invariant 2.
    #[test]
    fn more_offenders_than_may_be_remembered_push_out_those_that_offended_first() {
        let mut quarantine = Quarantine::default();
        for _ in 0..2 {
            quarantine.note(key(0), None, Vec::new(), "it lies", at(0));
        }
        let more = 1..=MAX_OFFENDERS as u64 + 5;
        let forgotten =
            more.filter(|number| quarantine.note(key(*number), None, Vec::new(), "it lies", at(*number)).forgotten);
        assert_eq!((forgotten.count(), quarantine.len()), (6, MAX_OFFENDERS));
        assert!(quarantine.holds(&key(0), None), "who is in quarantine stays there");
        assert!(!quarantine.offenders.contains_key(&key(1)) && quarantine.offenders.contains_key(&key(7)));
    }
}
