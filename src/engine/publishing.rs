//! Publishing: what the application publishes, until it has left for the neighbours in the group's tree.
//!
//! **Mechanism.** Publications of a turn to one group, under one policy and with one lifetime, share frames, up to [`MAX_GROUP_FRAME`].
//! A frame is of use for as long as the first message in it. It is sealed under
//! the sender's key for group and epoch, numbered, signed by its pseudonym, pushed to the neighbours that the group's tree names, and put
//! on the shelf, so that whoever misses it finds it. Subscribers on this device get it at once.
//!
//! **Streams.** A device's messages to a group under one credential are a stream, numbered from 1, and within it those to each topic. A
//! stream ends with a frame that says which number was the last in each topic, so that nothing is lost unseen at its end: at
//! the turn of an epoch, when it has [`MAX_TOPICS`] topics, or when the group has not been published to for a while. Streams of
//! different epochs are not tied to each other; who has a card of the publisher knows that they are one's.
//!
//! **Back-pressure.** While a neighbour in the tree takes nothing, what is published waits, and with it the application; after
//! [`PATIENCE`] that neighbour is left behind, and fetches what it missed when it takes frames again.
//!
//! Invariants
//! 1. A publication ends once: it has left, or could not before its deadline, or was refused.
//! 2. Nothing is sealed before it can leave, so numbers have no gaps.
//! 3. At most [`PUBLICATIONS_OPEN`] publications wait. Drop policy: none, back-pressure.

use super::api::{Outcome, Published, Refused, Reply, Token};
use super::multicast::too_many_groups;
use super::ordinals::{self, Ordinals};
use super::shelf::Kept;
use super::store::{Read, ReadError, Table, Write};
use super::{Engine, tree::Way};
use crate::delivery::lane::Terms;
use crate::id::{CredentialHash, LinkId, Lsn, StreamId, Tag};
use crate::identity::credential::OwnCredential;
use crate::identity::group::GroupSender;
use crate::time::{Epoch, Time, Unix};
use crate::wire::group::{GroupBatch, GroupMessage, MAX_GROUP_FRAME, MAX_MESSAGES, MAX_PAYLOAD, MAX_TOPICS};
use crate::wire::{self, topic};
use bytes::Bytes;
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Publications that may wait before commands have to; drop policy: none, back-pressure.
const PUBLICATIONS_OPEN: usize = 8_192;
/// How long a publication waits for the group's tree to reach this device.
const JOIN_TIME: Duration = Duration::from_secs(3);
/// Key in [`Table::Meta`] of where streams have ended.
const ENDS_KEY: &[u8] = b"stream-ends";
/// Most topics of streams whose end is kept while the node is stopped. Drop policy: the rest ends untold, and subscribers are told that they
/// may have missed something.
const MAX_ENDS: usize = 4_096;
/// How often it is looked whether it does.
const JOIN_RETRY: Duration = Duration::from_millis(20);
/// How long a neighbour that takes nothing holds up the publishers next to it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a group frame besides its messages.
pub(super) const FRAME_OVERHEAD: usize = 512;
/// Bytes of a message besides topic and payload.
const MESSAGE_OVERHEAD: usize = 24;

#[derive(Debug)]
struct Publication {
    token: Token,
    topic: String,
    payload: Vec<u8>,
    terms: Arc<Terms>,
    since: Time,
    deadline: Time,
    expiry: Unix,
}

/// This device's stream to a group.
#[derive(Debug)]
struct OutStream {
    sender: GroupSender,
    id: StreamId,
    began: Unix,
    next: u64,
    /// When something of it was sealed last.
    sealed: Option<Time>,
    /// What was asked last of the way.
    terms: Arc<Terms>,
    /// The last number in each topic.
    topics: BTreeMap<String, u64>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    pending: BTreeMap<String, VecDeque<Publication>>,
    open: usize,
    /// No frame of these groups before then: nobody is next to us in its tree yet, or one who is takes nothing.
    blocked: BTreeMap<String, Time>,
    /// Since when a link holds publishers up.
    slow: BTreeMap<LinkId, Time>,
    out: BTreeMap<String, OutStream>,
    ordinals: Ordinals,
    /// The epoch in which each group was published to last, if that is this one or the one before.
    last: BTreeMap<String, Epoch>,
    /// Where the streams of the process before this one ended, by group, until it is published to again.
    ends: BTreeMap<String, StreamEnd>,
}

/// Where a stream has ended, kept while the node is stopped.
#[derive(Debug, Serialize, Deserialize)]
struct StreamEnd {
    group: String,
    epoch: Epoch,
    credential: CredentialHash,
    stream: StreamId,
    began: Unix,
    next: u64,
    topics: Vec<(String, u64)>,
}

/// What keeps a group's publications here.
enum Ready {
    /// Nothing; so they go over these.
    To(Vec<Way>),
    /// Something that may have changed by then.
    Not(Time),
}

impl Publishing {
    /// What the store holds.
    pub(super) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let ends: Vec<StreamEnd> =
            store.get(Table::Meta, ENDS_KEY)?.and_then(|value| wire::decode(&value).ok()).unwrap_or_default();
        let last = ends.iter().map(|end| (end.group.clone(), end.epoch)).collect();
        let ends = ends.into_iter().map(|end| (end.group.clone(), end)).collect();
        Ok(Self { ordinals: Ordinals::load(store)?, last, ends, ..Self::default() })
    }

    pub(super) fn has_room(&self) -> bool {
        self.open < PUBLICATIONS_OPEN
    }

    /// The node stops: where its streams have ended, to be told by the next process.
    pub(super) fn close(&mut self) -> Write {
        let ended = self.out.iter().map(|(group, out)| StreamEnd {
            group: group.clone(),
            epoch: out.sender.epoch(),
            credential: out.sender.credential(),
            stream: out.id,
            began: out.began,
            next: out.next,
            topics: out.topics.clone().into_iter().collect(),
        });
        // Those of the process before this one that it has not told of yet stay.
        let ends = ended.chain(core::mem::take(&mut self.ends).into_values());
        let mut room = MAX_ENDS;
        let ends: Vec<StreamEnd> = ends
            .take_while(|end| {
                let left = room.checked_sub(end.topics.len());
                room = left.unwrap_or(0);
                left.is_some()
            })
            .collect();
        Write::Put { table: Table::Meta, key: ENDS_KEY.to_vec(), value: wire::encode(&ends) }
    }

    /// A link takes frames again, or is gone.
    pub(super) fn release(&mut self, link: LinkId) {
        if self.slow.remove(&link).is_some() {
            self.blocked.clear();
        }
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let deadline = self.pending.values().filter_map(|queue| queue.front().map(|first| first.deadline)).min();
        [deadline, self.blocked.values().min().copied()].into_iter().flatten().min()
    }
}

impl Engine {
    pub(super) fn publish(
        &mut self,
        token: Token,
        topic: String,
        payload: Vec<u8>,
        policy: Option<&str>,
        lifetime: Duration,
    ) {
        if let Err(error) = topic::check_topic(&topic) {
            return self.finish(token, Reply::Refused(Refused::Topic(error.to_string())));
        }
        if payload.len() > MAX_PAYLOAD {
            let refused = Refused::TooLarge { found: payload.len(), limit: MAX_PAYLOAD };
            return self.finish(token, Reply::Refused(refused));
        }
        let Some((terms, lifetime)) = self.publication_terms(token, &topic, policy, lifetime) else { return };
        let group = topic::group(&topic);
        if !self.tree.publishes(group) && !self.has_room_for_group(group) {
            return self.finish(token, Reply::Refused(Refused::Full(too_many_groups())));
        }
        if !self.publishing.pending.contains_key(group) {
            self.note_publishing(group);
        }
        let (since, expiry, group) = (self.now.time, self.now.unix + lifetime, group.to_owned());
        let publication = Publication { token, topic, payload, terms, since, deadline: since + lifetime, expiry };
        self.publishing.pending.entry(group).or_default().push_back(publication);
        self.publishing.open += 1;
    }

    /// Seals one frame of waiting publications, and pushes it.
    pub(super) fn pump_multicast(&mut self) -> bool {
        let blocked = &self.publishing.blocked;
        let next = self.publishing.pending.keys().find(|group| !blocked.contains_key(*group)).cloned();
        let Some(group) = next else { return false };
        match self.readiness(&group) {
            Ready::Not(until) => drop(self.publishing.blocked.insert(group, until)),
            Ready::To(ways) => {
                // Some may have had less time than those in front of them.
                self.expire_publications();
                let publications = self.take_publications(&group);
                if !publications.is_empty() {
                    self.push_out(&group, &ways, publications);
                }
            }
        }
        true
    }

    pub(super) fn timeout_publishing(&mut self) {
        let now = self.now.time;
        self.expire_publications();
        self.publishing.blocked.retain(|_, at| *at > now);
    }

    /// Ends streams of an epoch that is over, and of groups that are not published to any more.
    pub(super) fn end_streams(&mut self) {
        let epoch = self.membership.bulletin().epoch_length().epoch_at(self.now.unix);
        let published: Vec<String> = self.tree.published().map(str::to_owned).collect();
        let over = |(group, out): &(&String, &OutStream)| out.sender.epoch() != epoch || !published.contains(group);
        let over: Vec<String> = self.publishing.out.iter().filter(over).map(|(group, _)| group.clone()).collect();
        for group in over {
            if let Some(mut out) = self.publishing.out.remove(&group) {
                self.send_end(&mut out);
            }
        }
    }

    /// Whether a group's publications may leave, and over what.
    fn readiness(&mut self, group: &str) -> Ready {
        let now = self.now.time;
        let tag = self.tag_of(group);
        let Some(first) = self.publishing.pending.get(group).and_then(VecDeque::front) else {
            return Ready::To(Vec::new());
        };
        let (policy, young) = (first.terms.policy.clone(), now.since(first.since) < JOIN_TIME);
        let ways = self.ways(&tag, None, &policy);
        if ways.is_empty() && young && self.is_joining(&tag) {
            return Ready::Not(now + JOIN_RETRY);
        }
        for way in &ways {
            let Some(link) = way.link.filter(|link| self.links.get(*link).is_some_and(|link| link.blocked)) else {
                continue;
            };
            let since = *self.publishing.slow.entry(link).or_insert(now);
            if now.since(since) < PATIENCE {
                return Ready::Not(since + PATIENCE);
            }
        }
        Ready::To(ways)
    }

    fn take_publications(&mut self, group: &str) -> Vec<Publication> {
        let publishing = &mut self.publishing;
        let Some(queue) = publishing.pending.get_mut(group) else { return Vec::new() };
        let (mut taken, mut size): (Vec<Publication>, _) = (Vec::new(), FRAME_OVERHEAD);
        let lifetime = |publication: &Publication| publication.deadline.since(publication.since);
        while let Some(next) = queue.front() {
            let adds = MESSAGE_OVERHEAD + next.topic.len() + next.payload.len();
            let full = size + adds > MAX_GROUP_FRAME || taken.len() >= MAX_MESSAGES;
            if taken.first().is_some_and(|first| full || first.terms != next.terms || lifetime(first) != lifetime(next))
            {
                break;
            }
            size += adds;
            taken.extend(queue.pop_front());
        }
        publishing.open -= taken.len();
        if queue.is_empty() {
            publishing.pending.remove(group);
        }
        taken
    }

    fn push_out(&mut self, group: &str, ways: &[Way], publications: Vec<Publication>) {
        let Some(mut out) = self.stream_to(group, &publications) else {
            let reason = format!("this device has no key for the group {group} at the moment");
            return self.end_publications(group, publications, &Outcome::Refused { reason });
        };
        let first = out.next;
        let numbers: Vec<u64> = publications.iter().map(|publication| out.number(&publication.topic)).collect();
        let messages = publications.iter().zip(numbers).map(|(publication, number)| GroupMessage {
            topic: &publication.topic,
            number,
            payload: &publication.payload,
        });
        let (messages, pause) = (messages.collect(), out.pause(self.now.time));
        let batch = GroupBatch { stream: out.id, first, began: out.began.0, ends: false, messages, pause };
        out.next += batch.messages.len() as u64;
        let until = publications.iter().map(|publication| (publication.expiry, publication.deadline)).min();
        let (expiry, deadline) = until.unwrap_or((self.now.unix, self.now.time));
        let terms = publications.first().map(|first| first.terms.clone()).unwrap_or_default();
        out.terms.clone_from(&terms);
        let neighbours = self.push_sealed(&mut out.sender, &batch, (expiry, deadline), ways, terms);
        self.publishing.out.insert(group.to_owned(), out);
        self.publish_here(&publications);
        for publication in publications {
            let latency = self.now.time.since(publication.since);
            let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.finish(publication.token, Reply::Outcome(Outcome::Sent { latency_us, neighbours }));
        }
    }

    /// Seals a batch, keeps the frame, and pushes it to neighbours; answers to how many.
    fn push_sealed(
        &mut self,
        sender: &mut GroupSender,
        batch: &GroupBatch<'_>,
        (expiry, deadline): (Unix, Time),
        ways: &[Way],
        terms: Arc<Terms>,
    ) -> u32 {
        let length = self.membership.bulletin().epoch_length();
        let last = Unix(length.end(sender.epoch()).0.saturating_sub(1));
        let (number, sent) = (sender.counter(), self.now.unix.min(last));
        let data = Bytes::from(sender.seal(batch, sent, expiry));
        let (tag, segment, flow) = (sender.tag(), sender.segment(), (sender.credential(), sender.salt()));
        let kept = Kept { data: data.clone(), came: self.now.time, until: deadline, segment, terms: Some(terms) };
        self.keep_own(tag, flow, number, kept);
        self.push(&tag, segment, ways, &data, None)
    }

    /// The stream for these publications, taken out of the table: the one that there is, or one that begins now.
    fn stream_to(&mut self, group: &str, publications: &[Publication]) -> Option<OutStream> {
        let epoch = self.membership.bulletin().epoch_length().epoch_at(self.now.unix);
        let own = self.membership.credential(self.now.unix)?.clone();
        let version = self.membership.groups().version(group)?;
        let now = (epoch, version, own.hash);
        if let Some(mut out) = self.publishing.out.remove(group) {
            let of = &out.sender;
            let fits = (of.epoch(), of.version(), of.credential()) == now;
            if fits && out.has_room_for(publications) {
                return Some(out);
            }
            self.send_end(&mut out);
            if fits {
                return Some(self.begin_stream(group, out.sender));
            }
        }
        let segment = self.segment_of_publications()?;
        self.tell_end_before(group, segment, epoch, own.clone());
        let sender = self.membership.groups().sender(&mut self.rng, (group, segment), epoch, own).ok()?;
        Some(self.begin_stream(group, sender))
    }

    /// Says where the stream of the process before this one ended, if that was under the same credential.
    fn tell_end_before(&mut self, group: &str, segment: u8, epoch: Epoch, own: Arc<OwnCredential>) {
        let Some(end) = self.publishing.ends.remove(group) else { return };
        // If this process crashes, what it has told of the others is not known: they are told by none.
        self.journal.extend([Write::Delete { table: Table::Meta, key: ENDS_KEY.to_vec() }]);
        if (end.epoch, end.credential) != (epoch, own.hash) {
            return;
        }
        let Ok(sender) = self.membership.groups().sender(&mut self.rng, (group, segment), epoch, own) else { return };
        let StreamEnd { stream: id, began, next, topics, .. } = end;
        let topics = topics.into_iter().collect();
        self.send_end(&mut OutStream { sender, id, began, next, sealed: None, terms: Arc::default(), topics });
    }

    fn begin_stream(&mut self, group: &str, sender: GroupSender) -> OutStream {
        let epoch = sender.epoch();
        let before = self.publishing.last.insert(group.to_owned(), epoch);
        let continues = before.is_some_and(|before| before.0.checked_add(1) == Some(epoch.0));
        self.publishing.last.retain(|_, last| last.0.saturating_add(1) >= epoch.0);
        let (ordinal, write) = self.publishing.ordinals.take(sender.epoch());
        self.journal.extend(write);
        let mut id = [0; StreamId::LEN];
        self.rng.fill_bytes(&mut id);
        let (id, began) = (ordinals::mark(id, ordinal, continues), self.now.unix);
        OutStream { sender, id, began, next: 1, sealed: None, terms: Arc::default(), topics: BTreeMap::new() }
    }

    /// Says where a stream has ended.
    fn send_end(&mut self, out: &mut OutStream) {
        let mut room = MAX_GROUP_FRAME - FRAME_OVERHEAD;
        let messages = out.topics.iter().map_while(|(topic, number)| {
            room = room.checked_sub(MESSAGE_OVERHEAD + topic.len())?;
            Some(GroupMessage { topic, number: *number, payload: b"" })
        });
        let batch = GroupBatch {
            stream: out.id,
            first: out.next,
            began: out.began.0,
            ends: true,
            messages: messages.collect(),
            pause: out.sealed.map_or(0, |sealed| millis(self.now.time.since(sealed))),
        };
        let (terms, tag) = (out.terms.clone(), out.sender.tag());
        let ways = self.ways(&tag, None, &terms.policy);
        // As long as anybody takes a frame of this epoch.
        let length = self.membership.bulletin().epoch_length();
        let accepted = (length.end(out.sender.epoch()) + length.skew()).since(self.now.unix);
        let lifetime = accepted.clamp(LEAST_END_LIFETIME, MOST_END_LIFETIME);
        let until = (self.now.unix + lifetime, self.now.time + lifetime);
        self.push_sealed(&mut out.sender, &batch, until, &ways, terms);
    }

    /// Subscribers on this device have it too.
    fn publish_here(&mut self, publications: &[Publication]) {
        if !self.multicast.listens() {
            return;
        }
        let (from, now) = (self.membership.name().clone(), self.now);
        for publication in publications {
            let published = Published {
                topic: publication.topic.clone(),
                payload: publication.payload.clone(),
                from: Some(from.clone()),
                sent: now.unix,
                lost: 0,
            };
            self.hand_to_subscribers(&published, now.time, |_| 0, Lsn(0));
        }
    }

    fn expire_publications(&mut self) {
        let now = self.now.time;
        let mut expired = Vec::new();
        for queue in self.publishing.pending.values_mut() {
            // Those behind may have less time.
            if queue.iter().any(|publication| publication.deadline <= now) {
                let (over, left) = core::mem::take(queue).into_iter().partition(|one| one.deadline <= now);
                *queue = left;
                expired.extend::<VecDeque<Publication>>(over);
            }
        }
        self.publishing.pending.retain(|_, queue| !queue.is_empty());
        self.publishing.open -= expired.len();
        let outcome = Outcome::Expired { reason: "its neighbours took no more until its deadline".to_owned() };
        for publication in expired {
            let topic = publication.topic.clone();
            self.end_publications(topic::group(&topic), vec![publication], &outcome);
        }
    }

    fn end_publications(&mut self, group: &str, publications: Vec<Publication>, outcome: &Outcome) {
        for publication in publications {
            self.note_failure(group, outcome);
            self.finish(publication.token, Reply::Outcome(outcome.clone()));
        }
    }

    /// The tag of a group in the present epoch.
    pub(super) fn tag_of(&self, group: &str) -> Tag {
        let epoch = self.membership.bulletin().epoch_length().epoch_at(self.now.unix);
        self.membership.groups().tag(group, epoch)
    }
}

/// How long the frame that ends a stream is of use, at least and at most.
const LEAST_END_LIFETIME: Duration = Duration::from_secs(5);
const MOST_END_LIFETIME: Duration = Duration::from_secs(3_600);

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl OutStream {
    /// A batch is sealed now: how long after the one before, in milliseconds.
    fn pause(&mut self, now: Time) -> u32 {
        self.sealed.replace(now).map_or(0, |before| millis(now.since(before)))
    }

    /// Whether the topics of all of them have a place.
    fn has_room_for(&self, publications: &[Publication]) -> bool {
        let topics = publications.iter().map(|publication| publication.topic.as_str());
        let fresh: BTreeSet<&str> = topics.filter(|topic| !self.topics.contains_key(*topic)).collect();
        self.topics.len() + fresh.len() <= MAX_TOPICS
    }

    /// The number of the next message to a topic.
    fn number(&mut self, topic: &str) -> u64 {
        if let Some(last) = self.topics.get_mut(topic) {
            *last += 1;
            return *last;
        }
        self.topics.insert(topic.to_owned(), 1);
        1
    }
}
