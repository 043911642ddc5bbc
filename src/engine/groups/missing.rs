//! Missing: which messages subscriptions have missed, and how they are told.
//!
//! **Gaps.** Each message carries its number within its topic. The messages between it and the last one of that topic
//! that was heard here were missed; the subscriptions that had begun when that last one was published are told their
//! number together with the message. A subscription that began before the stream is told the gap from the stream's
//! first message on. The end of a stream says how far it had got, and so does a stream that rests and may go on. Messages of a stream that come after its successor
//! has been heard are reported as missed, one by one.
//!
//! **Doubt.** A stream whose successor has been heard, but whose end has not come within [`GRACE`], may have gone on
//! unheard; so may a stream of the epoch before of which no frame has been heard, though its publisher says that there
//! was one. Where a subscription began within a gap, it is unknown how many of the missing messages are for it; but
//! each batch says how long before it the previous one was made, so it is known whether there is any
//! ([`Incoming::lacks`]). Such a doubt is reported as uncertain, once.
//!
//! Invariants
//! 1. A gap is reported to no subscription that began after it nor to one whose filter does not match the topic, and
//!    its number of messages to none that began within it. A doubt about a whole stream is reported to all
//!    subscriptions of the group.
//! 2. A gap or a doubt is reported to a subscription once.

use crate::counter::Counter;
use crate::engine::Output;
use crate::engine::api::{Missed, Reply};
use crate::engine::core::Core;
use crate::engine::groups::multicast::Subscription;
use crate::engine::groups::streams::{Incoming, Key, MARGIN, Received, late};
use crate::engine::groups::{Groups, lag};
use crate::id::{Lsn, Name};
use crate::time::{Time, Unix};
use crate::wire::group::{GroupBatch, GroupMessage};
use crate::wire::topic;
use core::time::Duration;

/// How long the end of a stream may take to come once its successor has been heard.
pub(in crate::engine) const GRACE: Duration = Duration::from_secs(15);

impl Groups {
    /// Handles the frame that says how far a stream has come: tells subscriptions which messages they have missed before it. The stream may go on.
    pub(in crate::engine) fn end_stream(
        &mut self,
        core: &mut Core,
        key: Key,
        frame: &Received,
        batch: &GroupBatch<'_>,
    ) {
        for message in &batch.messages {
            let known = self.note_topic(core, key, message, frame);
            // The number that the next message of the topic would have.
            let number = message.number.saturating_add(1);
            self.tell_missed(core, frame, message.topic, |since| known.gap_before(number, since));
        }
        if let Some(stream) = self.multicast.streams.streams.get_mut(&key).filter(|_| !batch.rests) {
            stream.ended = true;
            if stream.closed {
                self.multicast.streams.forget_topics(&key);
            }
        }
    }

    /// Reports the doubts that are due: streams that may have gone on unheard, or of which no frame was heard.
    pub(in crate::engine) fn tell_doubts(&mut self, core: &mut Core) {
        let now = core.now;
        let doubts = &mut self.multicast.streams.doubts;
        let mut due = Vec::new();
        while let Some(first) = doubts.first().copied().filter(|(at, _)| *at <= now.time) {
            doubts.remove(&first);
            due.push(first.1);
        }
        for key in due {
            let streams = &mut self.multicast.streams;
            let Some(stream) = streams.streams.get_mut(&key) else { continue };
            let unended = (stream.closed && !stream.ended).then_some(stream.entered);
            // Subscriptions that began before the epoch did have a doubt.
            let turn =
                core::mem::take(&mut stream.succession.orphaned).then(|| now.time - now.unix.since(stream.start));
            let Some((since, (name, group))) = unended.max(turn).zip(stream.place.clone()) else { continue };
            if unended.is_some() {
                streams.forget_topics(&key);
            }
            // A subscription that began at that very moment is included.
            let rekeyed = turn.is_some().then(|| core.membership.groups().version(&group)).flatten();
            self.tell_doubt(core, &group, Some(&name), since + Duration::from_micros(1), rekeyed);
        }
    }

    /// Notes that a frame of a stream is not handed over, or, with `earlier`, that the one sealed that much before it
    /// is missing.
    pub(in crate::engine) fn note_lack(&mut self, core: &Core, key: Key, frame: &Received, earlier: Duration) {
        let at = self.published_at(core, &key, frame) - earlier;
        if let Some(stream) = self.multicast.streams.streams.get_mut(&key) {
            stream.lacks = stream.lacks.max(Some(at));
        }
    }

    /// Tells the subscriptions that began before `since`, or when the group had another key than `rekeyed`, that they may
    /// have missed messages.
    fn tell_doubt(&mut self, core: &mut Core, group: &str, from: Option<&Name>, since: Time, rekeyed: Option<u32>) {
        let concerns = |one: &Subscription| one.since < since || (rekeyed.is_some() && one.version != rekeyed);
        let subscriptions = self.multicast.listening(group).filter(|(_, subscription)| concerns(subscription));
        let subscriptions: Vec<_> = subscriptions.map(|(token, _)| token).collect();
        core.count(Counter::GroupStreamsUnended, u64::from(!subscriptions.is_empty()));
        for token in subscriptions {
            let missed = Missed { topic: group.to_owned(), from: from.cloned(), lost: 0, uncertain: true };
            core.outputs.push_back(Output::Reply { token, reply: Reply::Missed(missed), after: Lsn(0), last: false });
        }
    }

    /// Reports messages of a closed stream as missed.
    pub(in crate::engine) fn miss<'a>(
        &mut self,
        core: &mut Core,
        key: Key,
        frame: &Received,
        messages: impl Iterator<Item = &'a GroupMessage<'a>>,
    ) {
        let Some(concerns) = self.multicast.streams.streams.get(&key).and_then(|stream| stream.concerns) else {
            return;
        };
        let stood = concerns.min(self.published_at(core, &key, frame));
        for message in messages {
            let known = self.note_topic(core, key, message, frame);
            self.tell_missed(core, frame, message.topic, |since| {
                let before = known.gap_before(message.number, since);
                if since <= stood { Gap { lost: before.lost.saturating_add(1), ..before } } else { Gap::default() }
            });
        }
    }

    /// Returns by how many microseconds a frame came later than it was sent, by its publisher's clock and this
    /// device's.
    pub(in crate::engine) fn behind(&self, core: &Core, frame: &Received) -> i64 {
        let came = core.now.unix - core.now.time.since(frame.came);
        let signed = |at: Unix| i64::try_from(at.0).unwrap_or(i64::MAX);
        signed(came).saturating_sub(signed(frame.sent))
    }

    /// Estimates when a frame was published, by this device's clock: a frame that was under way for long looks as if it
    /// had just been sent, unless frames of its stream or of the latest one took less.
    fn published_at(&self, core: &Core, key: &Key, frame: &Received) -> Time {
        let streams = &self.multicast.streams;
        let latest = frame.from.as_ref().and_then(|name| streams.latest.get(&(name.clone(), frame.group.clone())));
        let known = [Some(key), latest].into_iter().flatten().filter_map(|key| streams.streams.get(key));
        let least = known.map(|stream| stream.behind).min().unwrap_or(0);
        frame.came - late(self.behind(core, frame), least)
    }

    /// The earliest moment at which a frame may have been published: the same, less a usual transit time. What was published before a
    /// subscription began must not look as if it had been published after that.
    pub(in crate::engine) fn published_at_the_earliest(&self, core: &Core, key: &Key, frame: &Received) -> Time {
        let behind = self.behind(core, frame);
        let usual = if lag::is_usual(behind) { behind } else { 0 };
        self.published_at(core, key, frame) - Duration::from_micros(usual.unsigned_abs())
    }

    /// Tells the subscriptions that match a topic what they have missed of it.
    pub(in crate::engine) fn tell_missed(
        &mut self,
        core: &mut Core,
        frame: &Received,
        topic: &str,
        gap: impl Fn(Time) -> Gap,
    ) {
        let mut doubts = 0;
        let subscriptions = self.multicast.listening(&frame.group);
        for (token, subscription) in subscriptions.filter(|(_, one)| topic::matches(&one.filter, topic)) {
            let Gap { lost, uncertain } = gap(subscription.since);
            if lost > 0 || uncertain {
                doubts |= u64::from(uncertain);
                let reply =
                    Reply::Missed(Missed { topic: topic.to_owned(), from: frame.from.clone(), lost, uncertain });
                core.outputs.push_back(Output::Reply { token, reply, after: Lsn(0), last: false });
            }
        }
        core.count(Counter::GroupStreamsUnended, doubts);
    }
}

/// The messages of a topic that a subscription has missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Gap {
    /// How many it has missed for certain.
    pub(in crate::engine) lost: u64,
    /// Whether it may have missed others.
    pub(in crate::engine) uncertain: bool,
}

/// What is known of a topic in a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Known {
    /// The message of the topic that was heard last: its number, and when it was published, as far as is known now.
    pub(in crate::engine) last: Option<(u64, Time)>,
    /// When the stream began, if it has been heard from its beginning.
    pub(in crate::engine) began: Option<Time>,
    /// When the latest missing frame of the stream was published; `None` if none is known to be missing.
    pub(in crate::engine) lacks: Option<Time>,
}

impl Known {
    pub(in crate::engine) fn of(stream: &Incoming, topic: &str) -> Self {
        let last = stream.topics.get(topic).map(|last| (last.number, last.published(stream.behind)));
        Self { last, began: stream.began, lacks: stream.lacks }
    }

    /// Returns what a subscription that began at `since` has missed before the message of that number.
    pub(in crate::engine) fn gap_before(&self, number: u64, since: Time) -> Gap {
        let heard = self.last.map_or(0, |(number, _)| number);
        let missing = number.saturating_sub(heard).saturating_sub(1);
        let heard_all_along = match (self.last, self.began) {
            (Some((_, at)), _) => at >= since,
            (None, began) => began.is_some_and(|began| began > since + MARGIN),
        };
        if heard_all_along {
            return Gap { lost: missing, uncertain: false };
        }
        Gap { lost: 0, uncertain: missing > 0 && self.lacks.is_some_and(|at| at > since + MARGIN) }
    }
}
