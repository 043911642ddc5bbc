//! Publications: what a subscription is promised, held against what it heard.
//!
//! **The promise.** A subscription hears each publication of its topic once, in the order in which its publisher handed
//! them over, by its deadline; what it missed between its beginning and what it hears, it is told, with the next message of
//! that publisher under that topic or when that publisher's stream ends, or, where the end of a stream is not heard, that it may have
//! missed something; and nothing else is told as missed.
//!
//! **Mechanism.** The ledger notes when each subscription begins and what it hears ([`Publications`]). When the run has
//! ended, [`Publications::judge`] goes through each subscription, publisher by publisher, with a balance of what was told
//! against what was missed. A balance has two limits, as the run cannot always say whether a publication counts: `floor` is
//! what must have been told, `ceiling` what may have been. Between them lies
//!
//! - what was made before the beginning of the subscription and was still of use then, for up to [`UNDER_WAY`], or was handed over
//!   up to [`BEGINNING`] after it: it may have been under way, and nobody who comes then knows for how long;
//! - what has no certain end: its publisher was killed within [`LAST`] of it, or did not hear how it ended, or heard that it
//!   left too late;
//! - what belongs to an earlier stream of its publisher. A stream ends with its epoch or at a crash. At an epoch's end what
//!   is missing has to be told, but at a time of its own, so that it is held against the balance at the end of the run; what was handed
//!   over before an epoch's end and made after it, as it had to wait for a way, may be of either stream;
//!   after a crash it need not be, nor where the publisher's clock is in another epoch than the others'.
//! - what was made so soon before the end of an epoch that its publisher's clock, which may be off by so much, had another;
//! - what a publisher makes whose clock was set back, for a subscriber that was started again since or shortly before: that takes for
//!   heard what was sent up to when it ended.
//!
//! Order holds within an epoch by the publisher's clock; what that took for a later one may follow all of it.
//!
//! What was heard by one life of a device counts as heard in the next: nothing may come twice, or before it.
//!
//! Invariants
//! 1. The same notes give the same findings; judging changes nothing.
//! 2. A violation is counted once: what was found missing in the telling is taken as told from then on.

use super::checks::{Checks, Promise};
use super::ledger::{End, Message, excuse};
use super::medium::NANOS;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Notes of a run. See the module's documentation.
#[derive(Default)]
pub struct Publications {
    subscriptions: Vec<Subscription>,
    /// When each device's nodes were killed.
    downs: BTreeMap<usize, Vec<u64>>,
    /// When each device's clock was set, and by how many microseconds it was wrong from then on.
    sets: BTreeMap<usize, Vec<(u64, i64)>>,
}

/// One device that listens to one topic, in one life.
struct Subscription {
    node: usize,
    topic: u32,
    began: u64,
    /// When its node was killed.
    ended: Option<u64>,
    heard: Vec<Heard>,
}

/// What a subscription was handed.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Index of the publisher.
    pub from: usize,
    /// Number of the message; `None` where it was told of missed ones alone.
    pub message: Option<u64>,
    /// So many were told as missed.
    pub lost: u64,
    /// It was told that there may be others.
    pub uncertain: bool,
    /// When.
    pub at: u64,
}

/// A publication, of one publisher under one topic.
#[derive(Clone, Copy, Debug)]
pub struct Publication {
    /// Its number in the ledger.
    pub id: u64,
    /// When it was handed over, in nanoseconds.
    pub sent: u64,
    /// When its node said that it has sent it, or one before it: one that stands still takes things up later.
    pub made: u64,
    /// Of no use after this.
    pub deadline: u64,
    /// Whether it is certain that it was made.
    pub sure: bool,
}

/// Publications by topic and publisher, in the order in which they were handed over.
pub type Streams = BTreeMap<(u32, usize), Vec<Publication>>;

/// What the judgement goes by.
pub struct Rules<'a> {
    /// So much later than its deadline something may come.
    pub slack: u64,
    /// Nodes whose clock or disk is not sound: by how many nanoseconds their deadlines may be missed.
    pub excused: &'a BTreeMap<usize, u64>,
    /// When the epoch of a moment ends.
    pub turn: &'a dyn Fn(u64) -> u64,
    /// The epoch of a moment, by a clock that is wrong by so many microseconds.
    pub epoch: &'a dyn Fn(u64, i64) -> u64,
    /// The end of the run.
    pub end: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Copies that subscriptions were to hear.
    pub owed: u64,
    /// Of those, not heard by their deadline.
    pub missed: u64,
    /// Told as missed, rightly or not.
    pub told: u64,
    /// Missed and not told.
    pub untold: u64,
    /// Told as missed, and not missed.
    pub invented: u64,
    /// Heard again.
    pub twice: u64,
    /// Heard after a later one of the same publisher and topic.
    pub disordered: u64,
    /// Heard after their deadline.
    pub late: u64,
    /// Messages and tellings looked at.
    pub looked: u64,
    /// The first violations, in words.
    pub examples: Vec<String>,
    /// Copies that were owed and not heard by their deadline, the earliest: by the message's number in the ledger and the
    /// subscriber's index, when it was heard after all, in nanoseconds.
    pub missing: BTreeMap<(u64, usize), Option<u64>>,
}

/// What of one publisher under one topic one device has heard, in all of its lives: places in the stream.
#[derive(Default)]
struct Line {
    heard: BTreeSet<usize>,
    last: Option<usize>,
}

/// What was told to one subscription of one publisher, and what should have been.
#[derive(Default)]
struct Balance {
    told: u64,
    /// Told as a doubt, after which their number may yet be told, or not.
    doubted: u64,
    floor: u64,
    ceiling: u64,
    /// Missing of streams that have ended since.
    later: u64,
}

impl Publications {
    /// A device listens to a topic from now on. Answers the number of the subscription.
    pub fn handle_subscribed(&mut self, node: usize, topic: u32, at: u64) -> usize {
        self.subscriptions.push(Subscription { node, topic, began: at, ended: None, heard: Vec::new() });
        self.subscriptions.len() - 1
    }

    /// Whose subscription it is.
    pub fn node_of(&self, subscription: usize) -> Option<usize> {
        self.subscriptions.get(subscription).map(|subscription| subscription.node)
    }

    /// A subscription was handed something.
    pub fn handle_heard(&mut self, subscription: usize, heard: Heard) {
        if let Some(subscription) = self.subscriptions.get_mut(subscription) {
            subscription.heard.push(heard);
        }
    }

    /// A node was killed: its subscriptions end, and so does what it published.
    pub fn handle_down(&mut self, node: usize, at: u64) {
        self.downs.entry(node).or_default().push(at);
        for subscription in self.subscriptions.iter_mut().filter(|subscription| subscription.node == node) {
            subscription.ended.get_or_insert(at);
        }
    }

    /// A node's clock was set, and is wrong by so many microseconds from now on.
    pub fn handle_set(&mut self, node: usize, at: u64, wrong: i64) {
        self.sets.entry(node).or_default().push((at, wrong));
    }

    /// The publications among messages.
    pub fn streams(&self, messages: &[Message]) -> Streams {
        let mut streams = Streams::new();
        for (id, message) in (0..).zip(messages) {
            let end = message.end.map(|(end, _)| end);
            let Some(topic) = message.topic.filter(|_| end != Some(End::Refused)) else { continue };
            let sure = matches!(end, Some(End::Sent | End::Delivered))
                && !self.went_down(message.from, message.sent, message.sent + LAST);
            let stream = streams.entry((topic, message.from)).or_default();
            let ended = message.end.map_or(message.sent, |(_, at)| at.max(message.sent));
            let made = stream.last().map_or(ended, |last: &Publication| last.made.max(ended));
            stream.push(Publication { id, sent: message.sent, made, deadline: message.deadline, sure });
        }
        streams
    }

    /// Holds everything against the promise.
    pub fn judge(&self, streams: &Streams, rules: &Rules<'_>) -> Findings {
        let mut findings = Findings::default();
        let mut lines = BTreeMap::<(usize, u32, usize), Line>::new();
        for subscription in &self.subscriptions {
            let mut heard = BTreeMap::<usize, Vec<Heard>>::new();
            for one in &subscription.heard {
                heard.entry(one.from).or_default().push(*one);
            }
            let topic = subscription.topic;
            for ((_, from), stream) in streams.range((topic, 0)..=(topic, usize::MAX)) {
                let heard = heard.get(from).map_or(&[][..], |heard| heard);
                let line = lines.entry((subscription.node, topic, *from)).or_default();
                let case = Case { publications: self, subscription, from: *from, stream, rules };
                case.judge(heard, line, &mut findings);
                case.owe(heard, &mut findings);
            }
        }
        findings
    }

    /// Whether a node's clock was set back in between, or shortly before.
    fn was_set_back(&self, node: usize, from: u64, until: u64) -> bool {
        let sets = self.sets.get(&node).map_or(&[][..], |sets| sets);
        let before = [0].into_iter().chain(sets.iter().map(|(_, wrong)| *wrong));
        let mut back = sets.iter().zip(before).filter(|((_, wrong), before)| wrong < before);
        back.any(|((at, _), _)| (from.saturating_sub(SHORTLY)..until).contains(at))
    }

    /// The epoch of a moment by a node's clock.
    fn epoch_at(&self, node: usize, at: u64, rules: &Rules<'_>) -> u64 {
        let sets = self.sets.get(&node).map_or(&[][..], |sets| sets);
        (rules.epoch)(at, sets.iter().rfind(|(set, _)| *set <= at).map_or(0, |(_, wrong)| *wrong))
    }

    fn went_down(&self, node: usize, from: u64, until: u64) -> bool {
        self.downs.get(&node).is_some_and(|downs| downs.iter().any(|down| (from..until).contains(down)))
    }

    /// Whether a node's streams ended in between by themselves, which nobody has to be told: it was killed, or took another time for its epoch's
    /// end than others do.
    fn has_ended(&self, node: usize, from: u64, until: u64, rules: &Rules<'_>) -> bool {
        let Some(sets) = self.sets.get(&node) else { return self.went_down(node, from, until) };
        let right = (rules.epoch)(from, 0);
        let before = sets.iter().rfind(|(at, _)| *at <= from).map_or(0, |(_, wrong)| *wrong);
        let within = sets.iter().filter(|(at, _)| (from..until).contains(at));
        let mut last = before;
        let mut strays = (rules.epoch)(from, before) != right;
        for (at, wrong) in within {
            strays |= (rules.epoch)(*at, last) != right || (rules.epoch)(*at, *wrong) != right;
            last = *wrong;
        }
        // Just before the end, which is where the epoch is another for everybody.
        strays || (rules.epoch)(until - 1, last) != right || self.went_down(node, from, until)
    }
}

/// One subscription and one publisher.
struct Case<'a> {
    publications: &'a Publications,
    subscription: &'a Subscription,
    from: usize,
    stream: &'a [Publication],
    rules: &'a Rules<'a>,
}

impl Case<'_> {
    /// What was heard: order, repetition, lateness, and what was told of the rest.
    fn judge(&self, heard: &[Heard], line: &mut Line, findings: &mut Findings) {
        let mut balance = Balance::default();
        let ever: BTreeSet<usize> = heard.iter().filter_map(|one| self.place(one.message?)).collect();
        let over = |one: &Publication| (one.made + BEGINNING).max(one.deadline.min(one.made + UNDER_WAY));
        let began = self.subscription.began;
        let mut next = self.stream.iter().position(|one| over(one) >= began).unwrap_or(self.stream.len());
        for one in heard {
            findings.looked += 1;
            findings.told += one.lost;
            balance.told += one.lost;
            match one.message.map(|message| (message, self.place(message))) {
                Some((message, Some(place))) if self.is_in_order(message, place, line, findings) => {
                    self.look_at_time(one, place, findings);
                    for missing in next..place {
                        self.miss(missing, Some(place), line, &mut balance);
                    }
                    next = next.max(place + 1);
                    let missing = balance.settle(balance.floor);
                    let what = || {
                        format!("{missing} missed before message {message} were not told, at {:.3} s", seconds(one.at))
                    };
                    self.count(missing, |findings| &mut findings.untold, findings, what);
                }
                Some(_) => {}
                None => {
                    let told_of = |place: usize| self.stream.get(place).is_some_and(|of| of.sent <= one.at);
                    while told_of(next) && !ever.contains(&next) {
                        self.miss(next, None, line, &mut balance);
                        next += 1;
                    }
                    if one.uncertain {
                        balance.doubt(balance.floor + balance.later);
                    }
                }
            }
            let too_many = balance.told.saturating_sub(balance.ceiling);
            balance.told -= too_many;
            let what = || format!("{too_many} told as missed at {:.3} s were not", seconds(one.at));
            self.count(too_many, |findings| &mut findings.invented, findings, what);
        }
        if self.subscription.ended.is_none() {
            for missing in next..self.stream.len() {
                self.miss(missing, None, line, &mut balance);
            }
            let missing = balance.settle(balance.floor + balance.later);
            let what = || format!("{missing} missed were not told by the end of their stream");
            self.count(missing, |findings| &mut findings.untold, findings, what);
        }
    }

    /// Whether a message is neither heard already nor later than its time; it is heard from now on.
    fn is_in_order(&self, message: u64, place: usize, line: &mut Line, findings: &mut Findings) -> bool {
        let again = !line.heard.insert(place);
        let after = line.last.filter(|last| *last > place && !self.may_follow(place, *last));
        self.count(u64::from(again), |findings| &mut findings.twice, findings, || format!("message {message} again"));
        if !again && let Some(last) = after.and_then(|last| self.stream.get(last)) {
            let what = || format!("message {message} after message {}", last.id);
            self.count(1, |findings| &mut findings.disordered, findings, what);
        }
        line.last = line.last.max(Some(place));
        !again && after.is_none()
    }

    /// Whether a publication may be heard after one that was made later, since its publisher took the time for that of a
    /// later epoch: the streams of a later epoch follow those of an earlier one, whenever they were made.
    fn may_follow(&self, place: usize, later: usize) -> bool {
        let epoch = |place: usize| self.publications.epoch_at(self.from, self.stream[place].made, self.rules);
        epoch(place) > epoch(later)
    }

    fn look_at_time(&self, heard: &Heard, place: usize, findings: &mut Findings) {
        let Publication { id, deadline, .. } = self.stream[place];
        let late = heard.at > deadline.saturating_add(self.rules.slack).saturating_add(self.excuse());
        let what = || format!("message {id} {} ms late", (heard.at - deadline) / 1_000_000);
        self.count(u64::from(late), |findings| &mut findings.late, findings, what);
    }

    /// A publication was not heard: it has to be told with the one at `before`, later, or perhaps.
    fn miss(&self, place: usize, before: Option<usize>, line: &Line, balance: &mut Balance) {
        if line.heard.contains(&place) {
            return;
        }
        balance.ceiling += 1;
        let missed = self.stream[place];
        if !missed.sure || missed.sent < self.subscription.began + BEGINNING {
            return;
        }
        let Subscription { node, began, .. } = *self.subscription;
        let again = self.publications.went_down(node, 0, began);
        if again && self.publications.was_set_back(self.from, began, missed.sent) {
            return;
        }
        // Until then its stream lasts if it was made as soon as it was handed over, and if it was made last.
        let [ends, latest] = [missed.sent, missed.made].map(|at| (self.rules.turn)(at));
        // By the publisher's own clock, which may be off by a little, it may be of the epoch after.
        if missed.made.saturating_add(excuse(self.rules.excused, [self.from; 2])) >= latest {
            return;
        }
        let with = before.and_then(|before| self.stream.get(before)).map(|with| with.made.max(with.sent));
        if with
            .is_some_and(|with| with < ends && !self.publications.has_ended(self.from, missed.sent, with, self.rules))
        {
            balance.floor += 1;
        } else if latest + GRACE < self.rules.end
            && !self.publications.has_ended(self.from, missed.sent, latest, self.rules)
        {
            balance.later += 1;
        }
    }

    /// What the subscription was to hear, and did not by its deadline.
    fn owe(&self, heard: &[Heard], findings: &mut Findings) {
        if self.excuse() > 0 {
            return;
        }
        let until = self.subscription.ended.unwrap_or(self.rules.end);
        let in_time = |one: &Heard| {
            let place = self.place(one.message?)?;
            (one.at <= self.stream[place].deadline + self.rules.slack).then_some(place)
        };
        let later = |place: usize| heard.iter().find(|one| one.message == Some(self.stream[place].id));
        let later = |place: usize| later(place).map(|one| one.at);
        let heard: BTreeSet<usize> = heard.iter().filter_map(in_time).collect();
        let owed = self.stream.iter().enumerate().filter(|(_, one)| {
            one.sure && self.subscription.began <= one.sent && one.deadline + self.rules.slack < until
        });
        for (place, _) in owed {
            findings.owed += 1;
            if !heard.contains(&place) {
                findings.missed += 1;
                findings.missing.insert((self.stream[place].id, self.subscription.node), later(place));
                if findings.missing.len() > MOST_MISSED {
                    findings.missing.pop_last();
                }
            }
        }
    }

    fn place(&self, message: u64) -> Option<usize> {
        self.stream.binary_search_by_key(&message, |one| one.id).ok()
    }

    fn excuse(&self) -> u64 {
        excuse(self.rules.excused, [self.subscription.node, self.from])
    }

    fn count(
        &self,
        times: u64,
        which: impl FnOnce(&mut Findings) -> &mut u64,
        findings: &mut Findings,
        what: impl FnOnce() -> String,
    ) {
        if times > 0 {
            *which(findings) += times;
            if findings.examples.len() < MAX_EXAMPLES {
                let Subscription { node, topic, .. } = self.subscription;
                findings.examples.push(format!("node {node}, topic {topic}, of node {}: {}", self.from, what()));
            }
        }
    }
}

impl Balance {
    /// At least so many should have been told by now. Answers how many were not; they count as told.
    fn settle(&mut self, least: u64) -> u64 {
        let missing = least.saturating_sub(self.told + self.doubted);
        self.told += missing;
        missing
    }

    /// It was told that there may be some: so many need not be told any more.
    fn doubt(&mut self, least: u64) {
        self.doubted += least.saturating_sub(self.told + self.doubted);
    }
}

impl Findings {
    /// How often the promise was violated.
    pub fn violations(&self) -> u64 {
        self.untold + self.invented + self.twice + self.disordered + self.late
    }

    /// Makes the violations those of a check.
    pub fn enter(&self, checks: &mut Checks) {
        self.examples.iter().for_each(|example| checks.look(Promise::HeardOrTold, false, || example.clone()));
        checks.tally(Promise::HeardOrTold, self.looked, self.violations());
    }
}

/// Of the run, at a time of its clock.
fn seconds(at: u64) -> f64 {
    Duration::from_nanos(at.saturating_sub(NANOS)).as_secs_f64()
}

/// What is made so soon before a subscription begins, and is still of use, may be under way then, over lines that are slow or full.
const UNDER_WAY: u64 = 30_000_000_000;
/// What is handed over so soon before or after a subscription begins may have waited at its publisher for somebody who listens, for up to 3 s.
const BEGINNING: u64 = 4_000_000_000;
/// What is handed over so soon before its publisher is killed may have gone with it.
const LAST: u64 = 2_000_000_000;
/// Within this after the end of a stream it is told what was missed of it: what is under way ends first.
const GRACE: u64 = 60_000_000_000;
/// So long before a subscription begins a publisher's clock may have been set back for that to matter.
const SHORTLY: u64 = 120_000_000_000;
/// Publications missed that are named.
const MOST_MISSED: usize = 1_000;
/// Violations in words.
const MAX_EXAMPLES: usize = 10;

#[cfg(test)]
#[path = "publications_tests.rs"]
mod tests;
