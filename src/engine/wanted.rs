//! Frames wanted: which neighbours told of each, and which one is asked now.
//!
//! Of several tellers the one is asked that has least to answer. Who has given nothing at all within [`ANSWER`] is asked for none of what
//! it told of again; who gives others, but not that one, up to [`MAX_TRIES`] times. Beyond [`WINDOW`] frames a neighbour is asked for
//! the next when it has given one, so that what is told in vain costs no more than that. What becomes due to be asked of a neighbour is
//! gathered, so that it gets no more requests than it answers.
//!
//! Invariants
//! 1. At most [`MAX_WANTED`] frames are wanted. Drop policy: of the neighbour that told of most, the one told first
//!    (`group_repairs_dropped`).
//! 2. At most [`WINDOW`] frames are asked of a neighbour at a time, and each of one neighbour.

use super::share::Shares;
use super::shelf::Flow;
use crate::id::{Pseudonym, Tag};
use crate::time::Time;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most frames wanted.
pub(super) const MAX_WANTED: usize = 16_384;
/// Most frames asked of a neighbour at a time.
pub(super) const WINDOW: usize = 256;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How often a neighbour that gives others is asked for a frame.
const MAX_TRIES: u8 = 4;
/// Most neighbours that are remembered to have a frame. Drop policy: more are not.
const MAX_TELLERS: usize = 4;
/// Between two requests to a neighbour: twice what it answers without a break.
const PACE: Duration = Duration::from_millis(20);

/// A frame that others have.
#[derive(Debug)]
struct Wanted {
    group: Tag,
    tellers: Vec<Pseudonym>,
    /// Who was asked, and when.
    asked: Option<(Pseudonym, Time)>,
    /// When it is looked at next; nothing while it waits until its teller has answered others.
    at: Option<Time>,
    /// How often it was asked for.
    tries: u8,
}

/// A neighbour that frames are asked of.
#[derive(Debug, Default)]
struct Teller {
    /// How many are under way.
    asked: usize,
    /// When it gave one last.
    gave: Time,
    /// When it may be asked again.
    ready: Time,
    /// What is asked of it after these.
    queue: BTreeSet<(Flow, u64)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Wants {
    wanted: BTreeMap<(Flow, u64), Wanted>,
    shares: Shares<(Flow, u64), Pseudonym>,
    due: BTreeSet<(Time, Flow, u64)>,
    tellers: BTreeMap<Pseudonym, Teller>,
}

/// What is asked of neighbours.
type Questions = BTreeMap<Pseudonym, Vec<(Tag, Flow, u64)>>;

impl Default for Wants {
    fn default() -> Self {
        let (shares, due) = (Shares::new(MAX_WANTED), BTreeSet::new());
        Self { wanted: BTreeMap::new(), shares, due, tellers: BTreeMap::new() }
    }
}

impl Wants {
    /// How many frames are wanted.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// A frame has come.
    pub(super) fn came(&mut self, flow: &Flow, number: u64, now: Time) {
        let asked = self.wanted.get(&(*flow, number)).and_then(|wanted| wanted.asked);
        if let Some(teller) = asked.and_then(|(teller, _)| self.tellers.get_mut(&teller)) {
            teller.gave = now;
        }
        self.forget(&(*flow, number), now);
    }

    /// Somebody has a frame, which is asked for from `at` on. Answers whether another had to be given up for it.
    pub(super) fn want(&mut self, teller: Pseudonym, group: Tag, key: (Flow, u64), at: Time, now: Time) -> bool {
        if let Some(wanted) = self.wanted.get_mut(&key) {
            if !wanted.tellers.contains(&teller) && wanted.tellers.len() < MAX_TELLERS {
                wanted.tellers.push(teller);
            }
            if wanted.asked.is_none() && wanted.at.is_some_and(|later| at < later) {
                self.schedule(&key, Some(at));
            }
            return false;
        }
        self.wanted.insert(key, Wanted { group, tellers: vec![teller], asked: None, at: None, tries: 0 });
        self.schedule(&key, Some(at));
        let dropped = self.shares.enter(teller, key);
        if let Some(dropped) = &dropped {
            self.forget(dropped, now);
        }
        dropped.is_some()
    }

    fn schedule(&mut self, key: &(Flow, u64), at: Option<Time>) {
        let Some(wanted) = self.wanted.get_mut(key) else { return };
        if let Some(before) = wanted.at {
            self.due.remove(&(before, key.0, key.1));
        }
        wanted.at = at;
        self.due.extend(at.map(|at| (at, key.0, key.1)));
    }

    fn forget(&mut self, key: &(Flow, u64), now: Time) {
        self.schedule(key, None);
        let Some(wanted) = self.wanted.remove(key) else { return };
        self.shares.leave(key);
        for teller in &wanted.tellers {
            if let Some(teller) = self.tellers.get_mut(teller) {
                teller.queue.remove(key);
            }
        }
        if let Some((asked, _)) = wanted.asked {
            self.answered(&asked, now);
        }
    }

    /// One frame fewer is under way from a neighbour: the next one may be asked for.
    fn answered(&mut self, by: &Pseudonym, now: Time) {
        let Some(teller) = self.tellers.get_mut(by) else { return };
        teller.asked = teller.asked.saturating_sub(1);
        let ready = teller.ready;
        if let Some(next) = teller.queue.pop_first() {
            self.schedule(&next, Some(now.max(ready)));
        }
    }

    /// A neighbour does not give what it told of: it counts as a teller of nothing more. Answers how many were given up.
    fn disbelieve(&mut self, teller: &Pseudonym, now: Time) -> u64 {
        let Some(silent) = self.tellers.get_mut(teller) else { return 0 };
        let mut given_up = 0;
        for key in core::mem::take(&mut silent.queue) {
            let Some(wanted) = self.wanted.get_mut(&key) else { continue };
            wanted.tellers.retain(|other| other != teller);
            if wanted.tellers.is_empty() {
                self.forget(&key, now);
                given_up += 1;
            } else {
                self.schedule(&key, Some(now));
            }
        }
        given_up
    }

    /// What is due to be asked, by whom to ask; and how many have been given up.
    pub(super) fn due(&mut self, now: Time) -> (Questions, u64) {
        let (mut questions, mut given_up) = (Questions::new(), 0);
        self.tellers.retain(|_, teller| teller.asked > 0 || !teller.queue.is_empty() || teller.ready > now);
        while let Some((_, flow, number)) = self.due.first().copied().filter(|(at, ..)| *at <= now) {
            let key = (flow, number);
            self.schedule(&key, None);
            let Some(wanted) = self.wanted.get_mut(&key) else { continue };
            if let Some((silent, since)) = wanted.asked.take() {
                // Who gives others meanwhile may be slow; who gives nothing has nothing.
                let gives = self.tellers.get(&silent).is_some_and(|teller| teller.gave >= since);
                if !gives || wanted.tries >= MAX_TRIES {
                    wanted.tellers.retain(|teller| *teller != silent);
                }
                if !gives {
                    given_up += self.disbelieve(&silent, now);
                }
                self.answered(&silent, now);
            }
            let Some(wanted) = self.wanted.get_mut(&key) else { continue };
            let Some(first) = wanted.tellers.first().copied() else {
                self.forget(&key, now);
                given_up += 1;
                continue;
            };
            let load = |teller: &&Pseudonym| self.tellers.get(teller).map_or(0, |teller| teller.asked);
            let idlest = wanted.tellers.iter().min_by_key(load).copied().unwrap_or(first);
            let teller = self.tellers.entry(idlest).or_default();
            if teller.asked >= WINDOW {
                teller.queue.insert(key);
                continue;
            }
            if teller.ready > now {
                let ready = teller.ready;
                self.schedule(&key, Some(ready));
                continue;
            }
            teller.asked += 1;
            wanted.asked = Some((idlest, now));
            wanted.tries = wanted.tries.saturating_add(1);
            questions.entry(idlest).or_default().push((wanted.group, flow, number));
            self.schedule(&key, Some(now + ANSWER));
        }
        for teller in questions.keys() {
            if let Some(teller) = self.tellers.get_mut(teller) {
                teller.ready = now + PACE;
            }
        }
        (questions, given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::super::repair::REQUESTS;
    use super::super::share::Rates;
    use super::*;
    use crate::id::{CredentialHash, LinkId};
    use std::collections::VecDeque;

    #[test]
    fn a_neighbour_is_asked_no_faster_than_it_answers() {
        let (teller, group) = (Pseudonym([1; Pseudonym::LEN]), Tag([7; Tag::LEN]));
        let flow =
            |number: u64| (CredentialHash([u8::try_from(number % 50).unwrap_or(0); CredentialHash::LEN]), [0; 16]);
        let mut wants = Wants::default();
        for number in 0..2_000 {
            wants.want(teller, group, (flow(number), number), Time(0), Time(0));
        }
        let mut rates = Rates::new(REQUESTS.0, REQUESTS.1);
        let (mut answers, mut now) = (VecDeque::new(), Time(0));
        // One frame comes each millisecond.
        while wants.len() > 0 && now < Time(0) + Duration::from_secs(4) {
            let (questions, given_up) = wants.due(now);
            assert_eq!(given_up, 0);
            for frames in questions.into_values() {
                assert!(rates.take(LinkId(1), now), "one request too many at {now:?}");
                answers.extend(frames);
            }
            now = now + Duration::from_millis(1);
            if let Some((_, flow, number)) = answers.pop_front() {
                wants.came(&flow, number, now);
            }
        }
        assert!(wants.len() == 0 && now < Time(0) + Duration::from_millis(2_200), "{} at {now:?}", wants.len());
    }
}
