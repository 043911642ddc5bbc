//! Wanted: the group frames that this node wants, which neighbours announced each, and which one is asked now.
//!
//! A frame that is due waits in the queue of the neighbour that has least to answer, among those that announced it.
//! Each neighbour is asked for the frames in its queue once every [`PACE`], as long as no more than [`WINDOW`] frames
//! are under way from it. So a neighbour gets no more requests than it answers, and a false announcement costs no more
//! than that.
//!
//! A neighbour that has given no frame at all within [`ANSWER`] is no longer asked for frames that others have as well;
//! if it has given none for [`TRUST`], it is not asked for any other frame either. A neighbour that gives a frame it
//! was asked for later does not have the earlier one; one that still gives frames it was asked for before is slow, and
//! is asked again, up to [`MAX_TRIES`] times in all.
//!
//! Invariants
//! 1. At most [`MAX_WANTED`] frames are wanted. Drop policy: the oldest announcement of the neighbour that announced
//!    most goes (`group_repairs_dropped`).
//! - At most [`WINDOW`] frames are asked of a neighbour at a time, and each frame of one neighbour.
//! - A wanted frame is scheduled, waits in one queue, or has been asked for.

use crate::engine::groups::shelf::Flow;
use crate::id::{Pseudonym, Tag};
use crate::share::Shares;
use crate::time::Time;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most frames that are wanted at a time.
pub(in crate::engine) const MAX_WANTED: usize = 16_384;
/// Most frames that are asked of a neighbour at a time.
pub(in crate::engine) const WINDOW: usize = 256;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How many times a neighbour that gives other frames is asked for a frame.
const MAX_TRIES: u8 = 4;
/// For how long after its last frame a neighbour is trusted to have others that it announced: those it did not give may
/// have expired.
const TRUST: Duration = Duration::from_secs(10);
/// Most neighbours that are remembered to have a frame. Drop policy: further ones are ignored.
const MAX_TELLERS: usize = 4;
/// Time between two requests to a neighbour: twice the interval in which it answers one.
const PACE: Duration = Duration::from_millis(20);

/// A frame that this node lacks and neighbours have announced.
#[derive(Debug)]
struct Wanted {
    group: Tag,
    tellers: Vec<Pseudonym>,
    asked: Option<Asked>,
    /// When it is looked at next; `None` while it waits in a queue.
    at: Option<Time>,
    /// How often it was asked for.
    tries: u8,
}

/// A request for a frame that is under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    of: Pseudonym,
    at: Time,
    /// The position of this request among all frames that the neighbour was asked for.
    order: u64,
}

/// A neighbour that frames are asked of.
#[derive(Debug, Default)]
struct Teller {
    /// How many frames are under way from it.
    asked: usize,
    /// How many frames it has been asked for in all, and the highest position among those that it gave: it answers in
    /// order.
    order: u64,
    given: u64,
    /// When it last gave a frame.
    gave: Option<Time>,
    /// When it may be asked again.
    ready: Time,
    /// The frames that it is to be asked for next.
    queue: BTreeSet<(Flow, u64)>,
}

impl Teller {
    /// When it can be asked for the next frame in its queue; `None` if the queue is empty or too many frames are under
    /// way.
    fn wake(&self) -> Option<Time> {
        (self.asked < WINDOW && !self.queue.is_empty()).then_some(self.ready)
    }
}

/// All wanted frames, and the neighbours that are asked for them.
#[derive(Debug)]
pub(in crate::engine) struct Wants {
    wanted: BTreeMap<(Flow, u64), Wanted>,
    shares: Shares<(Flow, u64), Pseudonym>,
    due: BTreeSet<(Time, Flow, u64)>,
    tellers: BTreeMap<Pseudonym, Teller>,
}

/// The frames to be asked for, by neighbour.
type Questions = BTreeMap<Pseudonym, Vec<(Tag, Flow, u64)>>;

/// What has been given up: how many frames, and the neighbours that did not give them, each with the group.
#[derive(Debug, Default)]
pub(in crate::engine) struct GivenUp {
    pub(in crate::engine) frames: u64,
    pub(in crate::engine) of: BTreeSet<(Pseudonym, Tag)>,
}

impl Default for Wants {
    fn default() -> Self {
        let (shares, due) = (Shares::new(MAX_WANTED), BTreeSet::new());
        Self { wanted: BTreeMap::new(), shares, due, tellers: BTreeMap::new() }
    }
}

impl Wants {
    /// How many frames are wanted.
    pub(in crate::engine) fn len(&self) -> usize {
        self.wanted.len()
    }

    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        let queues = self.tellers.values().filter_map(Teller::wake);
        queues.chain(self.due.first().map(|(at, ..)| *at)).min()
    }

    /// Notes that a frame has come. Returns the neighbour that was asked for it, if one was.
    pub(in crate::engine) fn came(&mut self, flow: &Flow, number: u64, now: Time) -> Option<Pseudonym> {
        let asked = self.wanted.get(&(*flow, number)).and_then(|wanted| wanted.asked);
        if let Some((asked, teller)) = asked.and_then(|asked| Some((asked, self.tellers.get_mut(&asked.of)?))) {
            (teller.gave, teller.given) = (Some(now), teller.given.max(asked.order));
        }
        self.forget(&(*flow, number));
        asked.map(|asked| asked.of)
    }

    /// Notes that `teller` has a frame, which is to be asked for from `at` on. Returns whether another wanted frame was
    /// dropped for it.
    pub(in crate::engine) fn want(&mut self, teller: Pseudonym, group: Tag, key: (Flow, u64), at: Time) -> bool {
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
            self.forget(dropped);
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

    fn forget(&mut self, key: &(Flow, u64)) {
        self.schedule(key, None);
        let Some(wanted) = self.wanted.remove(key) else { return };
        self.shares.leave(key);
        for teller in &wanted.tellers {
            if let Some(teller) = self.tellers.get_mut(teller) {
                teller.queue.remove(key);
            }
        }
        if let Some(asked) = wanted.asked {
            self.answered(&asked.of);
        }
    }

    /// Counts one frame fewer as under way from a neighbour.
    fn answered(&mut self, by: &Pseudonym) {
        if let Some(teller) = self.tellers.get_mut(by) {
            teller.asked = teller.asked.saturating_sub(1);
        }
    }

    /// Handles a neighbour that does not give what it announced: it is no longer asked for frames that others have too.
    /// The rest of its queue is given up unless the neighbour is trusted.
    fn disbelieve(&mut self, teller: &Pseudonym, now: Time, given_up: &mut GivenUp) {
        let Some(silent) = self.tellers.get_mut(teller) else { return };
        let trusted = silent.gave.is_some_and(|gave| now < gave + TRUST);
        let mut left = BTreeSet::new();
        for key in core::mem::take(&mut silent.queue) {
            let Some(wanted) = self.wanted.get_mut(&key) else { continue };
            if wanted.tellers.iter().any(|other| other != teller) {
                wanted.tellers.retain(|other| other != teller);
                self.schedule(&key, Some(now));
            } else if trusted {
                left.insert(key);
            } else {
                self.give_up(&key, Some(*teller), given_up);
            }
        }
        if let Some(silent) = self.tellers.get_mut(teller) {
            silent.queue = left;
        }
    }

    /// Gives up a frame that the last neighbour to announce it does not give.
    fn give_up(&mut self, key: &(Flow, u64), last: Option<Pseudonym>, given_up: &mut GivenUp) {
        given_up.frames += 1;
        given_up.of.extend(last.zip(self.wanted.get(key).map(|wanted| wanted.group)));
        self.forget(key);
    }

    /// Returns the requests that are due, by neighbour, and what has been given up.
    pub(in crate::engine) fn due(&mut self, now: Time) -> (Questions, GivenUp) {
        let (mut questions, mut given_up, mut disbelieved) = (Questions::new(), GivenUp::default(), BTreeSet::new());
        self.tellers.retain(|_, teller| teller.asked > 0 || !teller.queue.is_empty() || teller.ready > now);
        while let Some((_, flow, number)) = self.due.first().copied().filter(|(at, ..)| *at <= now) {
            let key = (flow, number);
            self.schedule(&key, None);
            let Some(wanted) = self.wanted.get_mut(&key) else { continue };
            let asked = wanted.asked.take();
            let last = asked.map(|asked| asked.of).or(wanted.tellers.first().copied());
            if let Some(Asked { of: silent, at, order }) = asked {
                // A neighbour that gives other frames meanwhile may be slow, unless it was asked for those later; one
                // that gives none has none.
                let teller = self.tellers.get(&silent);
                let gives = teller.is_some_and(|teller| teller.gave >= Some(at));
                let passed = teller.is_some_and(|teller| teller.given > order);
                if !gives || passed || wanted.tries >= MAX_TRIES {
                    wanted.tellers.retain(|teller| *teller != silent);
                }
                if !gives && disbelieved.insert(silent) {
                    self.disbelieve(&silent, now, &mut given_up);
                }
                self.answered(&silent);
            }
            let Some(wanted) = self.wanted.get(&key) else { continue };
            let load =
                |teller: &&Pseudonym| self.tellers.get(teller).map_or(0, |teller| teller.asked + teller.queue.len());
            let Some(idlest) = wanted.tellers.iter().min_by_key(load).copied() else {
                self.give_up(&key, last, &mut given_up);
                continue;
            };
            self.tellers.entry(idlest).or_default().queue.insert(key);
        }
        let ready = |(_, teller): &(&Pseudonym, &Teller)| teller.wake().is_some_and(|at| at <= now);
        for name in self.tellers.iter().filter(ready).map(|(name, _)| *name).collect::<Vec<_>>() {
            questions.insert(name, self.ask(name, now));
        }
        (questions, given_up)
    }

    /// Takes the frames to ask a neighbour for from its queue, as far as [`WINDOW`] allows.
    fn ask(&mut self, name: Pseudonym, now: Time) -> Vec<(Tag, Flow, u64)> {
        let mut question = Vec::new();
        while let Some(teller) = self.tellers.get_mut(&name).filter(|teller| teller.asked < WINDOW) {
            let Some(key) = teller.queue.pop_first() else { break };
            let Some(wanted) = self.wanted.get_mut(&key) else { continue };
            (teller.asked, teller.ready, teller.order) = (teller.asked + 1, now + PACE, teller.order + 1);
            wanted.asked = Some(Asked { of: name, at: now, order: teller.order });
            wanted.tries = wanted.tries.saturating_add(1);
            question.push((wanted.group, key.0, key.1));
            self.schedule(&key, Some(now + ANSWER));
        }
        question
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::groups::repair::REQUESTS;
    use crate::id::CredentialHash;
    use crate::share::Rates;
    use std::collections::VecDeque;

    const GROUP: Tag = Tag([7; Tag::LEN]);
    const A: Pseudonym = Pseudonym([1; Pseudonym::LEN]);
    const B: Pseudonym = Pseudonym([2; Pseudonym::LEN]);

    /// The key of a frame: fifty publishers take turns.
    fn key(number: u64) -> (Flow, u64) {
        ((CredentialHash([u8::try_from(number % 50).unwrap_or(0); CredentialHash::LEN]), [0; 16]), number)
    }

    fn tell(wants: &mut Wants, teller: Pseudonym, numbers: core::ops::Range<u64>) {
        for number in numbers {
            assert!(!wants.want(teller, GROUP, key(number), Time(0)));
        }
    }

    /// Fetches until nothing is wanted any more, from neighbours that each give one frame a millisecond of those that
    /// they have. Returns the frames that came, and when the last of them did.
    fn fetch(wants: &mut Wants, has: impl Fn(&Pseudonym, u64) -> bool) -> (BTreeSet<u64>, Duration) {
        let mut rates = BTreeMap::from([A, B].map(|name| (name, Rates::new(REQUESTS.0, REQUESTS.1))));
        let mut answers = BTreeMap::from([A, B].map(|name| (name, VecDeque::new())));
        let (mut now, mut last, mut came) = (Time(0), Time(0), BTreeSet::new());
        while wants.len() > 0 && now < Time(0) + Duration::from_secs(60) {
            for (of, frames) in wants.due(now).0 {
                assert!(rates.get_mut(&of).expect("known").take(&of, now), "a request too many at {now:?}");
                let kept = frames.into_iter().filter(|(_, _, number)| has(&of, *number));
                answers.get_mut(&of).expect("known").extend(kept);
            }
            now = now + Duration::from_millis(1);
            for (_, flow, number) in answers.values_mut().filter_map(VecDeque::pop_front) {
                wants.came(&flow, number, now);
                came.insert(number);
                last = now;
            }
        }
        (came, last.since(Time(0)))
    }

    #[test]
    fn a_neighbour_is_asked_no_faster_than_it_answers() {
        let mut wants = Wants::default();
        tell(&mut wants, A, 0..2_000);
        let (came, took) = fetch(&mut wants, |_, _| true);
        assert!(came.len() == 2_000 && took < Duration::from_millis(2_200), "{} in {took:?}", came.len());
    }

    #[test]
    fn what_has_expired_at_a_neighbour_costs_two_answers_and_nothing_else() {
        // The frames of the first fifteen publishers in fifty have expired: more than may be asked for at a time.
        let kept = |number: u64| number % 50 >= 15 || number == 0;
        let mut wants = Wants::default();
        tell(&mut wants, A, 0..1_000);
        let (came, took) = fetch(&mut wants, |_, number| kept(number));
        assert_eq!(came, (0..1_000).filter(|number| kept(*number)).collect());
        assert!(took < ANSWER * 2 + Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn who_has_given_something_lately_is_asked_for_the_rest_though_nothing_of_it_has_come_for_a_while() {
        let mut wants = Wants::default();
        tell(&mut wants, A, 0..1);
        assert_eq!(fetch(&mut wants, |_, _| true).0, [0].into());
        tell(&mut wants, A, 1..1_000);
        let (came, took) = fetch(&mut wants, |_, number| number % 50 >= 15);
        assert_eq!(came.len(), 700, "{took:?}");
    }

    #[test]
    fn whoever_gives_nothing_holds_up_what_others_have_for_one_answer() {
        let mut wants = Wants::default();
        tell(&mut wants, A, 0..1_000);
        tell(&mut wants, B, 500..1_000);
        let (came, took) = fetch(&mut wants, |of, _| *of == B);
        assert_eq!(came, (500..1_000).collect());
        assert!(took < ANSWER + Duration::from_secs(1), "{took:?}");
    }
}
