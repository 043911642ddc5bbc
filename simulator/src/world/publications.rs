//! Publications: what subscriptions heard, compared with what they are promised.
//!
//! **The promise.** A subscription hears each publication of its topic once, in the order in which its publisher
//! submitted them, by its deadline. It is told the number of publications that it missed between its beginning and a
//! message that it hears, with the next message of that publisher under that topic or when that publisher's stream
//! ends. If the end of a stream is not heard, it is told that it may have missed some. No other publication is reported
//! as missed.
//!
//! **Mechanism.** The ledger notes when each subscription begins and what it hears ([`Publications`]). When the run has
//! ended, [`Publications::judge`] goes through each subscription, publisher by publisher, and keeps a balance of what
//! was reported as missed and what was missed. A balance has two limits, as the run cannot always decide whether a
//! publication counts: at least `floor` must have been reported, and at most `ceiling` may have been. The following
//! publications lie between the limits:
//!
//! - those made before the beginning of the subscription and still of use then, for up to [`UNDER_WAY`], or submitted
//!   up to [`BEGINNING`] after it: they may have been under way for an unknown time;
//! - those without a certain end: the publisher was killed within [`LAST`] of them, or was not told their outcome, or
//!   was told that they left too late;
//! - those of an earlier stream of their publisher. A stream ends with its epoch, with its key or at a crash. At the end of an epoch
//!   missing ones have to be reported, but at an unknown time, so that they are compared at the end of the run; those
//!   that were submitted before the end of an epoch and made after it, as they had to wait for a path, may be of either
//!   stream. After a crash they need not be reported, nor if the publisher's clock is in another epoch than the
//!   others';
//! - those made so soon before the end of an epoch that their publisher's clock, whose error may be as large, showed
//!   another epoch;
//! - those of a publisher whose clock was set back, for a subscriber that was restarted since or shortly before: it
//!   takes messages as heard up to the time at which its earlier process ended.
//!
//! Order holds within an epoch by the publisher's clock; publications that it took for those of a later epoch may
//! follow all of the epoch.
//!
//! Publications that were heard by one life of a device count as heard in the next: none may come twice, or before
//! them.
//!
//! Invariants
//! 1. A violation is counted once: publications that were not reported count as reported from then on.
//! - The same notes give the same findings; judging changes nothing.

use super::balance::Balance;
use super::checks::{Checks, Promise};
use super::ledger::{End, Message, excuse};
use super::medium::NANOS;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The notes of a run: see the module's documentation.
#[derive(Default)]
pub struct Publications {
    subscriptions: Vec<Subscription>,
    /// The times at which each device's nodes were killed.
    downs: BTreeMap<usize, Vec<u64>>,
    /// The times at which each device's clock was set, with its error in microseconds from then on.
    sets: BTreeMap<usize, Vec<(u64, i64)>>,
}

/// The subscription of one device to one topic, in one life.
struct Subscription {
    node: usize,
    topic: u32,
    began: u64,
    /// The time at which its node was killed.
    ended: Option<u64>,
    heard: Vec<Heard>,
}

/// An item that a subscription was handed.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The index of the publisher.
    pub from: usize,
    /// The number of the message; `None` if missed ones were reported without a message.
    pub message: Option<u64>,
    /// The number of publications reported as missed.
    pub lost: u64,
    /// Whether it was told that there may be others.
    pub uncertain: bool,
    /// The time at which it was handed over.
    pub at: u64,
}

/// A publication of one publisher under one topic.
#[derive(Clone, Copy, Debug)]
pub struct Publication {
    /// Its number in the ledger.
    pub id: u64,
    /// The time at which it was submitted, in nanoseconds.
    pub sent: u64,
    /// The time at which its node reported that it, or one before it, was sent. A paused node processes submissions
    /// later.
    pub made: u64,
    /// The time after which it is of no use.
    pub deadline: u64,
    /// Whether it is certain that it was made.
    pub sure: bool,
}

/// The publications by topic and publisher, in the order of their submission.
pub type Streams = BTreeMap<(u32, usize), Vec<Publication>>;

/// The rules of the judgement.
pub struct Rules<'a> {
    /// The time by which a publication may come later than its deadline.
    pub slack: u64,
    /// The nodes whose clock or disk is faulty, with the nanoseconds by which they may miss deadlines.
    pub excused: &'a BTreeMap<usize, u64>,
    /// Returns the time at which the streams of a device end that it has at a moment: with the epoch, or with its keys.
    pub turn: &'a dyn Fn(usize, u64) -> u64,
    /// Returns the epoch of a moment, by a clock with this error in microseconds.
    pub epoch: &'a dyn Fn(u64, i64) -> u64,
    /// Returns whether a device may hear what another publishes under a topic.
    pub heard: &'a dyn Fn(usize, usize, u32) -> bool,
    /// The end of the run.
    pub end: u64,
}

/// The findings of the judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The number of copies that subscriptions were to hear.
    pub owed: u64,
    /// The number of these that were not heard by their deadline.
    pub missed: u64,
    /// The number that was reported as missed, rightly or not.
    pub told: u64,
    /// The number that was missed and not reported.
    pub untold: u64,
    /// The number that was reported as missed, and not missed.
    pub invented: u64,
    /// The number that was heard again.
    pub twice: u64,
    /// The number that was heard after a later one of the same publisher and topic.
    pub disordered: u64,
    /// The number that was heard after its deadline.
    pub late: u64,
    /// The number of messages and reports that were judged.
    pub looked: u64,
    /// Descriptions of the first violations.
    pub examples: Vec<String>,
    /// The earliest copies that were owed and not heard by their deadline: by the message's number in the ledger and
    /// the subscriber's index, the time in nanoseconds at which it was heard after all.
    pub missing: BTreeMap<(u64, usize), Option<u64>>,
}

/// The publications of one publisher under one topic that one device has heard, in all of its lives, by their places in
/// the stream.
#[derive(Default)]
struct Line {
    heard: BTreeSet<usize>,
    last: Option<usize>,
}

impl Publications {
    /// Notes that a device listens to a topic from now on, and returns the number of the subscription.
    pub fn handle_subscribed(&mut self, node: usize, topic: u32, at: u64) -> usize {
        self.subscriptions.push(Subscription { node, topic, began: at, ended: None, heard: Vec::new() });
        self.subscriptions.len() - 1
    }

    /// Returns the device of a subscription.
    pub fn node_of(&self, subscription: usize) -> Option<usize> {
        self.subscriptions.get(subscription).map(|subscription| subscription.node)
    }

    /// Notes an item that a subscription was handed.
    pub fn handle_heard(&mut self, subscription: usize, heard: Heard) {
        if let Some(subscription) = self.subscriptions.get_mut(subscription) {
            subscription.heard.push(heard);
        }
    }

    /// Notes that a node was killed: its subscriptions and its streams end.
    pub fn handle_down(&mut self, node: usize, at: u64) {
        self.downs.entry(node).or_default().push(at);
        self.handle_revoked(node, at);
    }

    /// Notes that a device is no longer a member: nothing is promised to its subscriptions from now on.
    pub fn handle_revoked(&mut self, node: usize, at: u64) {
        for subscription in self.subscriptions.iter_mut().filter(|subscription| subscription.node == node) {
            subscription.ended.get_or_insert(at);
        }
    }

    /// Notes that a node's clock was set, and is wrong by this number of microseconds from now on.
    pub fn handle_set(&mut self, node: usize, at: u64, wrong: i64) {
        self.sets.entry(node).or_default().push((at, wrong));
    }

    /// Returns the publications among messages.
    pub fn streams(&self, messages: &[Message]) -> Streams {
        let mut streams = Streams::new();
        for (id, message) in (0..).zip(messages) {
            let end = message.end.map(|(end, _)| end);
            let Some(topic) = message.topic.filter(|_| end != Some(End::Refused)) else { continue };
            let sure = matches!(end, Some(End::Sent | End::Delivered))
                && !message.spared
                && !self.went_down(message.from, message.sent, message.sent + LAST);
            let stream = streams.entry((topic, message.from)).or_default();
            let ended = message.end.map_or(message.sent, |(_, at)| at.max(message.sent));
            let made = stream.last().map_or(ended, |last: &Publication| last.made.max(ended));
            stream.push(Publication { id, sent: message.sent, made, deadline: message.deadline, sure });
        }
        streams
    }

    /// Compares all notes with the promise.
    pub fn judge(&self, streams: &Streams, rules: &Rules<'_>) -> Findings {
        let mut findings = Findings::default();
        let mut lines = BTreeMap::<(usize, u32, usize), Line>::new();
        for subscription in &self.subscriptions {
            let mut heard = BTreeMap::<usize, Vec<Heard>>::new();
            for one in subscription.heard.iter().filter(|one| one.from != UNNAMED) {
                heard.entry(one.from).or_default().push(*one);
            }
            let unnamed: Vec<Heard> = subscription.heard.iter().filter(|one| one.from == UNNAMED).copied().collect();
            let topic = subscription.topic;
            let range = streams.range((topic, 0)..=(topic, usize::MAX));
            for ((_, from), stream) in range.filter(|((_, from), _)| (rules.heard)(*from, subscription.node, topic)) {
                let mut heard = heard.get(from).cloned().unwrap_or_default();
                if !unnamed.is_empty() {
                    heard.extend(&unnamed);
                    heard.sort_by_key(|one| one.at);
                }
                let line = lines.entry((subscription.node, topic, *from)).or_default();
                let case = Case { publications: self, subscription, from: *from, stream, rules };
                case.judge(&heard, line, &mut findings);
                case.owe(&heard, &mut findings);
            }
        }
        findings
    }

    /// Returns whether a node's clock was set back in between, or shortly before.
    fn was_set_back(&self, node: usize, from: u64, until: u64) -> bool {
        let sets = self.sets.get(&node).map_or(&[][..], |sets| sets);
        let before = [0].into_iter().chain(sets.iter().map(|(_, wrong)| *wrong));
        let mut back = sets.iter().zip(before).filter(|((_, wrong), before)| wrong < before);
        back.any(|((at, _), _)| (from.saturating_sub(SHORTLY)..until).contains(at))
    }

    /// Returns the epoch of a moment by a node's clock.
    fn epoch_at(&self, node: usize, at: u64, rules: &Rules<'_>) -> u64 {
        let sets = self.sets.get(&node).map_or(&[][..], |sets| sets);
        (rules.epoch)(at, sets.iter().rfind(|(set, _)| *set <= at).map_or(0, |(_, wrong)| *wrong))
    }

    fn went_down(&self, node: usize, from: u64, until: u64) -> bool {
        self.downs.get(&node).is_some_and(|downs| downs.iter().any(|down| (from..until).contains(down)))
    }

    /// Returns whether a node's streams ended in between without a duty to report it: the node was killed, or its clock
    /// showed another end of the epoch than the others'.
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
        // Just before its end, since there the epoch changes for all clocks.
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
    /// Judges what was heard (order, repetition, lateness), and the reports on the rest.
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

    /// Returns whether a message was neither heard before nor comes after a later one; it counts as heard from now on.
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

    /// Returns whether a publication may be heard after one that was made later, since its publisher put that one into
    /// a later epoch: the streams of a later epoch follow those of an earlier one, whenever they were made.
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

    /// Enters a publication that was not heard: it has to be reported with the one at `before`, later, or perhaps not.
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
        // The stream lasts at least until then if the publication was made when it was submitted, and at most if it was
        // made last.
        let [ends, latest] = [missed.sent, missed.made].map(|at| (self.rules.turn)(self.from, at));
        // By the publisher's own clock, which may have a small error, it may be of the next epoch.
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

    /// Counts the copies that the subscription was to hear, and those that it did not hear by their deadline.
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

impl Findings {
    /// Returns the number of violations of the promise.
    pub fn violations(&self) -> u64 {
        self.untold + self.invented + self.twice + self.disordered + self.late
    }

    /// Enters the violations into the checks.
    pub fn enter(&self, checks: &mut Checks) {
        self.examples.iter().for_each(|example| checks.look(Promise::HeardOrTold, false, || example.clone()));
        checks.tally(Promise::HeardOrTold, self.looked, self.violations());
    }
}

/// Returns the seconds of the run at a time of its clock.
fn seconds(at: u64) -> f64 {
    Duration::from_nanos(at.saturating_sub(NANOS)).as_secs_f64()
}

/// The publisher of a report that names none, since it is no contact of the subscriber: each that there is may be meant.
pub const UNNAMED: usize = usize::MAX;
/// The nanoseconds before the beginning of a subscription within which a publication that is still of use may be under
/// way then, over lines that are slow or full.
const UNDER_WAY: u64 = 30_000_000_000;
/// The nanoseconds before or after the beginning of a subscription within which a submitted publication may have waited
/// at its publisher for a listener, for up to 3 s.
const BEGINNING: u64 = 4_000_000_000;
/// The nanoseconds before its publisher is killed within which a submitted publication may be lost with it.
const LAST: u64 = 2_000_000_000;
/// The nanoseconds after the end of a stream within which its missed publications are reported, since those under way
/// end first.
const GRACE: u64 = 60_000_000_000;
/// The nanoseconds before the beginning of a subscription within which a step back of a publisher's clock matters.
const SHORTLY: u64 = 120_000_000_000;
/// The number of missed publications that are listed.
const MOST_MISSED: usize = 1_000;
/// The number of violations that are described.
const MAX_EXAMPLES: usize = 10;

#[cfg(test)]
#[path = "publications_tests.rs"]
mod tests;
