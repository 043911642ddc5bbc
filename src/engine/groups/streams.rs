//! Streams: incoming streams of publishers, put in order and handed to subscriptions; gaps are reported to the
//! subscriptions that they concern.
//!
//! **Order.** Within a stream, messages are ordered by their numbers; which stream comes first, and how long one waits
//! for another, is decided by `succession`.
//!
//! What was missed, and how it is reported, is decided by `missing`.
//!
//! Invariants
//! 1. Messages of a closed stream are no longer handed over.
//! 2. There are at most [`MAX_STREAMS`] streams. Drop policy: of the publisher that has most, the one that has been
//!    silent longest goes (`group_streams_forgotten`); where it goes on, as after a rest, it is begun as new while the table is full
//!    (`group_streams_not_resumed`). There are at most [`MAX_TOPICS`] topics in all of them; drop
//!    policy: of the publisher that has most, the one that has been known longest is forgotten
//!    (`group_topics_forgotten`), and what is missed before its next message is not reported.
//! 3. Streams that hold early frames back share [`MAX_HELD_TOGETHER`] frames equally, and each may hold [`MAX_HELD`].
//! - Early frames are kept on the shelf and nowhere else: one that the shelf drops is missing. Drop policy, where a
//!   stream would hold too many: the gap before the first held frame is given up.

use crate::counter::Counter;
use crate::delivery::reorder::{Released, Reorder};
use crate::engine::api::Published;
use crate::engine::core::Core;
use crate::engine::groups::heard::Term;
use crate::engine::groups::missing::{Gap, Known};
use crate::engine::groups::shelf::Flow;
use crate::engine::groups::succession::Succession;
use crate::engine::groups::{Groups, lag};
use crate::engine::routing::data_frames::inner;
use crate::id::{CredentialHash, Lsn, Name, Pseudonym, StreamId};
use crate::share::Shares;
use crate::time::{Time, Unix};
use crate::wire::group::{self, GroupBatch, GroupMessage, MAX_MESSAGES};
use crate::wire::{self, topic};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Most incoming streams.
pub(in crate::engine) const MAX_STREAMS: usize = 4_096;
/// Most topics that are known in all of them.
pub(in crate::engine) const MAX_TOPICS: usize = 32_768;
/// Early frames that a stream may always hold back.
pub(in crate::engine) const MAX_HELD: usize = 256;
/// Early frames that all streams share equally, if a stream's part of them is more than [`MAX_HELD`].
const MAX_HELD_TOGETHER: usize = 32_768;
/// The least time between the beginnings of a stream and a subscription for their order to be certain.
pub(in crate::engine) const MARGIN: Duration = Duration::from_secs(1);

/// A publisher's credential and the id of its stream.
pub(in crate::engine) type Key = (CredentialHash, StreamId);

/// A frame whose signature has been verified, of a group with a subscription on this device.
#[derive(Debug)]
pub(in crate::engine) struct Received {
    pub(in crate::engine) group: String,
    pub(in crate::engine) from: Option<Name>,
    pub(in crate::engine) sender: Pseudonym,
    pub(in crate::engine) flow: Flow,
    /// Its number in the flow.
    pub(in crate::engine) number: u64,
    pub(in crate::engine) sent: Unix,
    pub(in crate::engine) came: Time,
    pub(in crate::engine) until: Time,
    pub(in crate::engine) term: Term,
    /// The start of the epoch of its sender's credential.
    pub(in crate::engine) start: Unix,
}

impl Received {
    /// Returns a message of the frame as the application gets it.
    pub(in crate::engine) fn published(&self, message: &GroupMessage<'_>, error: Option<u64>) -> Published {
        Published {
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            from: self.from.clone(),
            sent: self.sent,
            sent_error: error,
            lost: 0,
            request: None,
        }
    }
}

/// An incoming stream of a publisher to a group.
#[derive(Debug)]
pub(in crate::engine) struct Incoming {
    /// The start of the epoch of its publisher's credential.
    pub(in crate::engine) start: Unix,
    /// Its publisher and the group; `None` if the publisher is no contact.
    pub(in crate::engine) place: Option<(Name, String)>,
    /// When its first frame came, here or to the device that it was fetched from.
    pub(in crate::engine) came: Time,
    /// When that frame came here.
    pub(in crate::engine) entered: Time,
    /// When the latest of its frames came.
    pub(in crate::engine) latest: Time,
    /// Frames sent up to this time are taken for heard.
    barred: Unix,
    pub(in crate::engine) order: Reorder<Held>,
    /// When the stream began, by this device's clock, if it certainly began after the oldest subscription in its group.
    pub(in crate::engine) began: Option<Time>,
    pub(in crate::engine) topics: BTreeMap<String, Last>,
    /// Its place among the streams of the same contact.
    pub(in crate::engine) succession: Succession,
    pub(in crate::engine) ended: bool,
    pub(in crate::engine) closed: bool,
    /// For a closed stream: subscriptions that began by then have missed its further messages.
    pub(in crate::engine) concerns: Option<Time>,
    /// When the latest of its missing frames was published, as far as is known.
    pub(in crate::engine) lacks: Option<Time>,
    /// By how many microseconds frames came later than they were sent, by both clocks: the least of all its frames.
    pub(in crate::engine) behind: i64,
}

/// The message of a topic that was heard last.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Last {
    pub(in crate::engine) number: u64,
    /// When it came, here or to the device that it was fetched from.
    pub(in crate::engine) at: Time,
    /// By how many microseconds it came later than it was sent, by both clocks.
    pub(in crate::engine) behind: i64,
}

impl Last {
    /// Estimates when it was published, given the `least` delay of all frames of its stream: subscriptions that began
    /// before then have missed what follows.
    pub(in crate::engine) fn published(&self, least: i64) -> Time {
        self.at - late(self.behind, least)
    }
}

/// Returns how much longer a frame was under way than others are.
pub(in crate::engine) fn late(behind: i64, least: i64) -> Duration {
    // A usual transit time is not late, however soon other frames seemed to come: the clock may have been set since.
    let late = if lag::is_usual(behind) { 0 } else { behind.saturating_sub(least) };
    Duration::from_micros(u64::try_from(late).unwrap_or(0))
}

/// A frame in its place, with its plain text if it was opened just now.
#[derive(Debug)]
pub(in crate::engine) struct Held {
    frame: Received,
    plain: Option<Vec<u8>>,
}

/// The incoming streams, and the topics that are known in them.
#[derive(Debug)]
pub(in crate::engine) struct Streams {
    pub(in crate::engine) streams: BTreeMap<Key, Incoming>,
    /// The streams of each publisher, in the order in which they were last heard.
    shares: Shares<Key, CredentialHash>,
    topics: Shares<(Key, String), CredentialHash>,
    /// The streams that hold frames back, so that not all have to be searched.
    pub(in crate::engine) holding: BTreeSet<Key>,
    /// The latest stream of each contact and group.
    pub(in crate::engine) latest: BTreeMap<(Name, String), Key>,
    /// The streams that may have gone on or begun unheard, and when this is to be reported.
    pub(in crate::engine) doubts: BTreeSet<(Time, Key)>,
}

impl Streams {
    pub(in crate::engine) fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            shares: Shares::new(MAX_STREAMS),
            topics: Shares::new(MAX_TOPICS),
            holding: BTreeSet::new(),
            latest: BTreeMap::new(),
            doubts: BTreeSet::new(),
        }
    }

    /// Whether a stream has got past `count` messages from `first` on; `None` if the stream is unknown.
    pub(in crate::engine) fn has_passed(&self, key: &Key, first: u64, count: u64) -> Option<bool> {
        Some(self.streams.get(key)?.order.has_passed(first, count))
    }

    /// Returns how many streams are known, and how many topics in them.
    pub(in crate::engine) fn len(&self) -> (usize, usize) {
        (self.streams.len(), self.topics.len())
    }

    /// Handles a step of this device's clock, forward by `by` microseconds: frames seem to come that much later.
    pub(in crate::engine) fn handle_clock_step(&mut self, by: i64) {
        for stream in self.streams.values_mut().filter(|stream| stream.behind < i64::MAX) {
            stream.behind = stream.behind.saturating_add(by);
            stream.topics.values_mut().for_each(|last| last.behind = last.behind.saturating_add(by));
        }
    }

    pub(in crate::engine) fn next_wake(&self, now: Time) -> Option<Time> {
        let wakes = self.holding.iter().filter_map(|key| {
            let stream = self.streams.get(key)?;
            let before = stream.succession.predecessor.and_then(|(key, until)| Some((self.streams.get(&key)?, until)));
            let waits_until = match before.filter(|(before, _)| !before.closed) {
                // It is woken with the stream that it waits for, or when it can wait no longer.
                Some((before, _)) if before.order.holds() => return stream.order.due(),
                Some((before, until)) => (!before.ended).then_some(until),
                None => stream.succession.alone_until,
            };
            let waits_until = waits_until.filter(|until| *until > now);
            waits_until.map_or_else(|| stream.order.next_wake(), |until| stream.order.due().map(|due| due.min(until)))
        });
        wakes.chain(self.doubts.first().map(|(at, _)| *at)).min()
    }

    fn forget(&mut self, key: &Key) {
        if let Some(stream) = self.streams.remove(key) {
            for topic in stream.topics.into_keys() {
                self.topics.leave(&(*key, topic));
            }
        }
        self.shares.leave(key);
        self.holding.remove(key);
        self.latest.retain(|_, latest| latest != key);
        self.doubts.retain(|(_, doubted)| doubted != key);
    }

    /// Forgets which messages of a stream's topics were heard last, since they are of no more use.
    pub(in crate::engine) fn forget_topics(&mut self, key: &Key) {
        let topics = self.streams.get_mut(key).map(|stream| core::mem::take(&mut stream.topics));
        for topic in topics.unwrap_or_default().into_keys() {
            self.topics.leave(&(*key, topic));
        }
    }

    /// How many frames a stream may hold back at present.
    fn most_held(&self) -> usize {
        (MAX_HELD_TOGETHER / self.holding.len().max(1)).max(MAX_HELD)
    }
}

impl Groups {
    /// Enters the stream of a frame, with room made for it if it is new; for a known one, notes that it was heard.
    fn enter_stream(&mut self, core: &mut Core, key: Key, frame: &Received, batch: &GroupBatch<'_>) {
        let oldest = self.multicast.streams.shares.enter(key.0, key);
        if let Some(oldest) = oldest {
            self.multicast.streams.forget(&oldest);
            self.heard.forget_stream(&oldest.0);
            core.count(Counter::GroupStreamsForgotten, 1);
        }
        if self.multicast.streams.streams.contains_key(&key) {
            return;
        }
        let goes_on = batch.first > 1 && self.concerns_batch_before(frame, batch);
        core.count(Counter::GroupStreamsNotResumed, u64::from(oldest.is_some() && goes_on));
        let barred = self.heard.barred(&key.0);
        let age = Duration::from_micros(frame.sent.0.saturating_sub(batch.began));
        let start = self.published_at_the_earliest(core, &key, frame) - age;
        let began = self.multicast.listens_since(&frame.group).filter(|since| start > *since + MARGIN).map(|_| start);
        let order = if began.is_some() { Reorder::whole() } else { Reorder::joined() };
        let (topics, now) = (BTreeMap::new(), core.now.time);
        let mut stream = Incoming {
            start: frame.start,
            place: frame.from.clone().map(|name| (name, frame.group.clone())),
            came: frame.came,
            entered: now,
            latest: frame.came,
            barred,
            order,
            began,
            topics,
            succession: Succession::default(),
            ended: false,
            closed: false,
            concerns: began.map(|began| began - MARGIN),
            lacks: None,
            behind: i64::MAX,
        };
        let streams = &mut self.multicast.streams;
        if let Some(place) = stream.place.clone() {
            streams.take_place(key, &mut stream, place, frame.term.end.since(frame.start), now);
        }
        streams.streams.insert(key, stream);
    }

    /// Whether a subscription here had begun when the batch before this one was made.
    fn concerns_batch_before(&self, frame: &Received, batch: &GroupBatch<'_>) -> bool {
        let before = frame.came - Duration::from_millis(batch.pause.into());
        Some(before) > self.multicast.listens_since(&frame.group)
    }

    /// Notes a message that is about to be handed over. Returns what was known of its topic before.
    pub(in crate::engine) fn note_topic(
        &mut self,
        core: &mut Core,
        key: Key,
        message: &GroupMessage<'_>,
        frame: &Received,
    ) -> Known {
        let now = Last { number: message.number, at: frame.came, behind: self.behind(core, frame) };
        let streams = &mut self.multicast.streams;
        let Some(stream) = streams.streams.get_mut(&key) else { return Known::default() };
        let known = Known::of(stream, message.topic);
        if let Some(last) = stream.topics.get_mut(message.topic) {
            // A fetched message may have come to its giver before its predecessor came here.
            *last = if now.at < last.at { Last { number: now.number, ..*last } } else { now };
            return known;
        }
        if stream.topics.len() >= group::MAX_TOPICS + MAX_MESSAGES {
            return Known::default();
        }
        stream.topics.insert(message.topic.to_owned(), now);
        if let Some((of, topic)) = streams.topics.enter(key.0, (key, message.topic.to_owned())) {
            if let Some(stream) = streams.streams.get_mut(&of) {
                stream.topics.remove(&topic);
                // The next message of the topic does not tell what was missed before it.
                stream.began = None;
            }
            core.count(Counter::GroupTopicsForgotten, 1);
        }
        known
    }

    /// Hands a message to the matching subscriptions, each with how many messages it has missed before it. Returns
    /// whether there are any.
    pub(in crate::engine) fn hand_to_subscribers(
        &mut self,
        core: &mut Core,
        published: &Published,
        came: Time,
        lost: impl Fn(Time) -> u64,
        after: Lsn,
    ) -> bool {
        let subscriptions = self.multicast.listening(topic::group(&published.topic));
        let matching =
            subscriptions.filter(|(_, one)| one.from <= came && topic::matches(&one.filter, &published.topic));
        let matching: Vec<_> = matching.map(|(token, subscription)| (token, lost(subscription.since))).collect();
        let heard = !matching.is_empty();
        for (token, lost) in matching {
            self.hand_to(core, token, Published { lost, ..published.clone() }, came, after);
        }
        heard
    }

    /// Opens a frame that was held back; `None` if the shelf no longer has it or it cannot be opened.
    fn open_kept(&mut self, core: &Core, frame: &Received) -> Option<Vec<u8>> {
        let data = self.shelf.get(&frame.flow, frame.number)?.data.clone();
        let (_, parsed) = crate::engine::groups::group_frames::parse(&data)?;
        core.membership.groups().open(&parsed, &frame.group, &frame.sender).ok()
    }

    /// Takes a frame of a group with a subscription here, and hands over the messages that are in order.
    pub(in crate::engine) fn receive(&mut self, core: &mut Core, frame: Received, plain: Vec<u8>) {
        let Ok(batch) = wire::decode::<GroupBatch<'_>>(&plain) else {
            return core.count(Counter::GroupFramesMalformed, 1);
        };
        let sound = |message: &GroupMessage<'_>| {
            topic::check_topic(message.topic).is_ok()
                && topic::group(message.topic) == frame.group
                && message.number > 0
        };
        let in_epoch = (frame.start..frame.term.end).contains(&frame.sent);
        if batch.messages.len() > MAX_MESSAGES || !in_epoch || !batch.messages.iter().all(sound) {
            return core.count(Counter::GroupFramesMalformed, 1);
        }
        let (key, first) = ((frame.flow.0, batch.stream), batch.first);
        let count = if batch.ends { 1 } else { batch.messages.len() as u64 };
        // Frames that may have been heard before do not tell when a stream began for the present subscriptions.
        let known = self.multicast.streams.streams.get(&key).map(|stream| stream.barred);
        if frame.sent <= known.unwrap_or_else(|| self.heard.barred(&key.0)) {
            return core.count(Counter::GroupFramesHeardBefore, 1);
        }
        self.enter_stream(core, key, &frame, &batch);
        let now = core.now.time;
        let behind = self.behind(core, &frame);
        // Whether the frame before it concerns a subscription here and has not been here.
        let follows =
            first > 1 && !frame.number.checked_sub(1).is_some_and(|one| self.shelf.has_seen(&frame.flow, one));
        let lacks = follows && self.concerns_batch_before(&frame, &batch);
        let Some(stream) = self.multicast.streams.streams.get_mut(&key) else { return };
        (stream.behind, stream.latest) = (stream.behind.min(behind), stream.latest.max(frame.came));
        if stream.closed && stream.order.is_duplicate(first, count) {
            return core.count(Counter::GroupFramesOutOfTurn, 1);
        }
        let until = frame.until;
        let plain = stream.order.is_next(first).then_some(plain);
        stream.order.insert(first, count, Held { frame, plain }, now, until);
        if lacks {
            stream.order.hold_beginning(first, now);
        }
        self.hand_over(core, key);
    }

    pub(in crate::engine) fn timeout_streams(&mut self, core: &mut Core) {
        self.tell_doubts(core);
        let holding: Vec<Key> = self.multicast.streams.holding.iter().copied().collect();
        for stream in holding {
            self.hand_over(core, stream);
        }
    }

    /// Hands over the frames of a stream that are in order or have waited long enough; then those of streams that
    /// waited for it.
    pub(in crate::engine) fn hand_over(&mut self, core: &mut Core, key: Key) {
        let now = core.now.time;
        let most = self.multicast.streams.most_held();
        let order = self.multicast.streams.streams.get(&key).map(|stream| &stream.order);
        let due = order.is_some_and(|order| order.is_over(most) || order.due().is_some_and(|due| due <= now));
        if due && self.multicast.streams.waits(&key, now) {
            self.give_up_before(core, key);
        }
        let mut next = Some(key);
        while let Some(key) = next.take() {
            let mut began = false;
            while !self.multicast.streams.waits(&key, now) {
                let stream = self.multicast.streams.streams.get_mut(&key);
                let Some(released) = stream.and_then(|stream| stream.order.poll(now, most)) else { break };
                if !began {
                    began = true;
                    self.close_predecessor(core, &key);
                }
                self.release(core, key, released);
            }
            let Some(stream) = self.multicast.streams.streams.get(&key) else { continue };
            if stream.order.holds() {
                self.multicast.streams.holding.insert(key);
            } else {
                self.multicast.streams.holding.remove(&key);
                next = stream.succession.successor;
            }
        }
    }

    fn release(&mut self, core: &mut Core, key: Key, released: Released<Held>) {
        let Released { lost, skip, joins, item: Held { frame, plain } } = released;
        let Some(plain) = plain.or_else(|| self.open_kept(core, &frame)) else {
            return self.note_lack(core, key, &frame, Duration::ZERO);
        };
        let Ok(batch) = wire::decode::<GroupBatch<'_>>(&plain) else { return };
        if lost > 0 || (joins && batch.first > 1) {
            self.note_lack(core, key, &frame, Duration::from_millis(batch.pause.into()));
        }
        if batch.ends {
            return self.end_stream(core, key, &frame, &batch);
        }
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        if self.multicast.streams.streams.get(&key).is_some_and(|stream| stream.closed) {
            core.count(Counter::GroupFramesOutOfTurn, 1);
            return self.miss(core, key, &frame, batch.messages.iter().skip(skip));
        }
        if core.now.time > frame.until {
            self.note_lack(core, key, &frame, Duration::ZERO);
            return core.count(Counter::GroupFramesExpired, 1);
        }
        let passed = self.heard.pass((key.0, frame.term), frame.sent, core.now.unix, core.journal.turn());
        core.journal.extend(passed.writes);
        core.count(Counter::GroupPublishersForgotten, passed.forgotten);
        // The first of the consecutive messages that were handed over, and how many there are.
        let mut run: Option<(usize, u32)> = None;
        for (at, message) in batch.messages.iter().enumerate().skip(skip) {
            let known = self.note_topic(core, key, message, &frame);
            let gap = move |since| known.gap_before(message.number, since);
            if known.lacks.is_some() {
                self.tell_missed(core, &frame, message.topic, |since| Gap { lost: 0, ..gap(since) });
            }
            let number = batch.first.saturating_add(at as u64);
            let request = message.request.then(|| inner(key.1, number));
            let published = Published { request, ..frame.published(message, batch.error) };
            let heard = self.hand_to_subscribers(core, &published, frame.came, |since| gap(since).lost, passed.after);
            if heard {
                run = Some(run.map_or((at, 1), |(first, count)| (first, count + 1)));
            }
            let over = !heard || at + 1 == batch.messages.len();
            if let Some((first, count)) = run.take_if(|_| over).filter(|_| batch.asks) {
                self.confirm_heard(core, &frame, inner(key.1, batch.first.saturating_add(first as u64)), count);
            }
        }
    }
}
