//! Outgoing streams: this device's streams to groups, from where each begins to where it has ended.
//!
//! **Mechanism.** A device's messages to a group under one credential form a stream, numbered from 1; those to each
//! topic are numbered within it. A stream ends with a frame that gives the last number of each topic, so that no loss
//! at its end goes unnoticed. It ends at the turn of an epoch and when it has [`MAX_TOPICS`] topics. When the group has
//! not been published to for a while, it *rests*: such a frame says how far it has come, and the next publication goes on behind it. So what a
//! device publishes once an hour stays one stream, of whose order and gaps every subscriber can tell; and the device stays in the group's tree, so
//! that the end at the turn of the epoch reaches all. Streams of different epochs are not tied to each other; whoever has a card of the
//! publisher knows that they belong to the same one. A node that is stopped in good order writes down where its streams
//! were, and the next process sends their ends.
//!
//! Invariants
//! 1. A number that is announced as the last of a topic was the last; after a crash no end is announced.
//! - A group has one stream at a time, under the credential and the key of the present epoch.
//! - At most [`MAX_RESTING`] streams rest. Drop policy: the one that has rested longest ends; the group's next publication begins another.

use crate::delivery::lane::SendPolicy;
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::ordinals::{self, Ordinals};
use crate::engine::groups::publishing::{FRAME_OVERHEAD, MESSAGE_OVERHEAD};
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::id::{CredentialHash, StreamId, Tag};
use crate::identity::credential::OwnCredential;
use crate::identity::group::GroupSender;
use crate::time::{Epoch, Time, Unix};
use crate::wire;
use crate::wire::group::{GroupBatch, GroupMessage, MAX_GROUP_FRAME, MAX_TOPICS};
use core::time::Duration;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Key in [`Table::Meta`] of the ends of the streams of the process before.
const ENDS_KEY: &[u8] = b"stream-ends";
/// Most topics in all streams whose ends are kept while the node is stopped. Drop policy: the ends of the others are
/// not announced, and subscribers are told that they may have missed messages.
const MAX_ENDS: usize = 4_096;
/// Most streams that rest.
const MAX_RESTING: usize = 256;
/// The lifetime of the frame that ends a stream, at least and at most.
const LEAST_END_LIFETIME: Duration = Duration::from_secs(5);
const MOST_END_LIFETIME: Duration = Duration::from_secs(3_600);

/// This device's stream to a group.
#[derive(Debug)]
pub(in crate::engine) struct OutStream {
    pub(in crate::engine) sender: GroupSender,
    pub(in crate::engine) id: StreamId,
    pub(in crate::engine) began: Unix,
    pub(in crate::engine) next: u64,
    /// When a frame of it was last sealed.
    sealed: Option<Time>,
    /// The send policy of the last frame.
    pub(in crate::engine) send_policy: Arc<SendPolicy>,
    /// The last number in each topic.
    topics: BTreeMap<String, u64>,
    /// Whether its last frame said how far it has come.
    rests: bool,
}

/// The end of a stream, kept while the node is stopped.
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

/// The streams that are open, and what is known of those before them.
#[derive(Debug, Default)]
pub(in crate::engine) struct OutStreams {
    out: BTreeMap<String, OutStream>,
    ordinals: Ordinals,
    /// The epoch in which each group was last published to, if that is this one or the one before, and under which
    /// version of its key; `None` for a version that the process before used.
    last: BTreeMap<String, (Epoch, Option<u32>)>,
    /// The ends of the streams of the process before this one, by group, until the group is published to again.
    ends: BTreeMap<String, StreamEnd>,
}

impl OutStreams {
    /// Loads the ordinals and the stream ends that the store holds.
    pub(in crate::engine) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let ends: Vec<StreamEnd> =
            store.get(Table::Meta, ENDS_KEY)?.and_then(|value| wire::decode(&value).ok()).unwrap_or_default();
        let last = ends.iter().map(|end| (end.group.clone(), (end.epoch, None))).collect();
        let ends = ends.into_iter().map(|end| (end.group.clone(), end)).collect();
        Ok(Self { ordinals: Ordinals::load(store)?, last, ends, out: BTreeMap::new() })
    }

    /// Returns when the last frame was sealed in the open stream to a group.
    pub(in crate::engine) fn sealed(&self, group: &str) -> Option<Time> {
        self.out.get(group)?.sealed
    }

    /// Whether the open stream to a group is sealed under one of these tags, as this credential.
    pub(in crate::engine) fn is_under(&self, group: &str, tags: &[Tag], credential: CredentialHash) -> bool {
        let of = |out: &OutStream| tags.contains(&out.sender.tag()) && out.sender.credential() == credential;
        self.out.get(group).is_some_and(of)
    }

    /// Has the open stream to a group go on under another sender's key, without an end.
    pub(in crate::engine) fn go_on(&mut self, group: &str, sender: GroupSender) {
        if let Some(out) = self.out.get_mut(group) {
            out.sender = sender;
        }
    }

    /// Handles a step of this device's clock, forward by `by` microseconds: the streams are as old as before.
    pub(in crate::engine) fn handle_clock_step(&mut self, by: i64) {
        for out in self.out.values_mut() {
            out.began = Unix(out.began.0.saturating_add_signed(by));
        }
    }

    /// Puts a stream that [`Groups::stream_to`] has taken out back into the table.
    pub(in crate::engine) fn put_back(&mut self, group: &str, stream: OutStream) {
        self.out.insert(group.to_owned(), stream);
    }

    /// Keeps a stream that rests, so that it can go on. Returns the one that is to end for it, with its group.
    fn rest(&mut self, group: &str, out: OutStream) -> Option<(String, OutStream)> {
        self.out.insert(group.to_owned(), out);
        let resting = || self.out.iter().filter(|(_, out)| out.rests);
        let oldest = resting().min_by_key(|(_, out)| out.sealed).map(|(group, _)| group.clone());
        oldest.filter(|_| resting().count() > MAX_RESTING).and_then(|group| self.out.remove_entry(&group))
    }

    /// Returns the write that keeps the ends of all streams while the node is stopped.
    pub(in crate::engine) fn close(&mut self) -> Write {
        let ended = self.out.iter().map(|(group, out)| StreamEnd {
            group: group.clone(),
            epoch: out.sender.epoch(),
            credential: out.sender.credential(),
            stream: out.id,
            began: out.began,
            next: out.next,
            topics: out.topics.clone().into_iter().collect(),
        });
        // Ends of the process before this one that have not been announced yet are kept, too.
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
}

impl Groups {
    fn begin_stream(&mut self, core: &mut Core, group: &str, sender: GroupSender) -> OutStream {
        let epoch = sender.epoch();
        let version = sender.version();
        let before = self.publishing.streams.last.insert(group.to_owned(), (epoch, Some(version)));
        let continues = before.is_some_and(|(before, of)| {
            before.0.checked_add(1) == Some(epoch.0) || (before == epoch && of.is_some_and(|of| of != version))
        });
        self.publishing.streams.last.retain(|_, (last, _)| last.0.saturating_add(1) >= epoch.0);
        let (ordinal, write) = self.publishing.streams.ordinals.take(sender.epoch());
        core.journal.extend(write);
        let mut id = [0; StreamId::LEN];
        core.rng.fill_bytes(&mut id);
        let (id, began) = (ordinals::mark(id, ordinal, continues), core.now.unix);
        OutStream {
            sender,
            id,
            began,
            next: 1,
            sealed: None,
            send_policy: Arc::default(),
            topics: BTreeMap::new(),
            rests: false,
        }
    }

    /// Ends the streams of an epoch that is over.
    pub(in crate::engine) fn end_streams(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) {
        let epoch = core.membership.bulletin().epoch_length().epoch_at(core.now.unix);
        let over = |(_, out): &(&String, &OutStream)| out.sender.epoch() != epoch;
        let over: Vec<String> =
            self.publishing.streams.out.iter().filter(over).map(|(group, _)| group.clone()).collect();
        for group in over {
            if let Some(mut out) = self.publishing.streams.out.remove(&group) {
                self.send_end(core, neighbours, routing, &mut out, false);
                self.tree.note_stream_over(&group, core.now.time);
            }
        }
    }

    /// Has the stream to a group that has not been published to for a while rest. Returns whether there is one.
    pub(in crate::engine) fn rest_stream(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        group: &str,
    ) -> bool {
        let Some(mut out) = self.publishing.streams.out.remove(group) else { return false };
        self.send_end(core, neighbours, routing, &mut out, true);
        if let Some((oldest, mut out)) = self.publishing.streams.rest(group, out) {
            self.send_end(core, neighbours, routing, &mut out, false);
            self.tree.note_stream_over(&oldest, core.now.time);
        }
        true
    }

    /// Takes the stream for publications to these topics of a group out of the table: the open one, or one that begins
    /// now. `None` if this device has no credential or no key for the group.
    pub(in crate::engine) fn stream_to<'a>(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        group: &str,
        topics: impl Iterator<Item = &'a str>,
    ) -> Option<OutStream> {
        let epoch = core.membership.bulletin().epoch_length().epoch_at(core.now.unix);
        // What is published in an epoch is published under its credential, also before the device takes part under that.
        let own = core.membership.credential(core.now.unix)?.clone();
        let version = core.membership.groups().version(group)?;
        let now = (epoch, version, own.hash);
        if let Some(mut out) = self.publishing.streams.out.remove(group) {
            let of = &out.sender;
            let fits = (of.epoch(), of.version(), of.credential()) == now;
            if fits && out.has_room_for(topics) {
                out.rests = false;
                return Some(out);
            }
            self.send_end(core, neighbours, routing, &mut out, false);
            if fits {
                return Some(self.begin_stream(core, group, out.sender));
            }
        }
        let segment = neighbours.segment_of_publications(core)?;
        self.tell_end_before(core, neighbours, routing, group, segment, epoch, own.clone());
        let sender = core.membership.groups().sender(&mut core.rng, (group, segment), epoch, own).ok()?;
        Some(self.begin_stream(core, group, sender))
    }

    /// Sends the end of the stream of the process before this one, if it was under the same credential.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    fn tell_end_before(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        group: &str,
        segment: u8,
        epoch: Epoch,
        own: Arc<OwnCredential>,
    ) {
        let Some(end) = self.publishing.streams.ends.remove(group) else { return };
        // The ends of all groups are deleted: if this process crashes, it is unknown which of them it has sent, so none
        // is sent again.
        core.journal.extend([Write::Delete { table: Table::Meta, key: ENDS_KEY.to_vec() }]);
        if (end.epoch, end.credential) != (epoch, own.hash) {
            return;
        }
        let Ok(sender) = core.membership.groups().sender(&mut core.rng, (group, segment), epoch, own) else {
            return;
        };
        let StreamEnd { stream: id, began, next, topics, .. } = end;
        let topics = topics.into_iter().collect();
        self.send_end(
            core,
            neighbours,
            routing,
            &mut OutStream { sender, id, began, next, sealed: None, send_policy: Arc::default(), topics, rests: false },
            false,
        );
    }

    /// Sends the frame that says how far a stream has come, and whether it ends or only rests there.
    fn send_end(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        out: &mut OutStream,
        rests: bool,
    ) {
        out.rests = rests;
        let pause = out.pause(core.now.time);
        let mut room = MAX_GROUP_FRAME - FRAME_OVERHEAD;
        let messages = out.topics.iter().map_while(|(topic, number)| {
            room = room.checked_sub(MESSAGE_OVERHEAD + topic.len())?;
            Some(GroupMessage { topic, number: *number, payload: b"", request: false })
        });
        let batch = GroupBatch {
            stream: out.id,
            first: out.next,
            began: out.began.0,
            ends: true,
            messages: messages.collect(),
            pause,
            asks: false,
            rests,
            error: None,
        };
        out.next += 1;
        let (send_policy, of) = (out.send_policy.clone(), (&out.sender.tag(), out.sender.segment()));
        let next_hops = self.next_hops(core, neighbours, routing, of, None, &send_policy.policy);
        // The frame is of use for as long as anybody accepts a frame of this epoch.
        let length = core.membership.bulletin().epoch_length();
        let accepted = (length.end(out.sender.epoch()) + length.skew()).since(core.now.unix);
        let lifetime = accepted.clamp(LEAST_END_LIFETIME, MOST_END_LIFETIME);
        let until = (core.now.unix + lifetime, core.now.time + lifetime);
        self.push_sealed(core, neighbours, &mut out.sender, &batch, until, &next_hops, send_policy);
    }
}

impl OutStream {
    /// Notes that a batch is sealed now. Returns how long after the batch before it, in milliseconds.
    pub(in crate::engine) fn pause(&mut self, now: Time) -> u32 {
        self.sealed.replace(now).map_or(0, |before| millis(now.since(before)))
    }

    /// Whether the stream has room for all these topics.
    fn has_room_for<'a>(&self, topics: impl Iterator<Item = &'a str>) -> bool {
        let fresh: BTreeSet<&str> = topics.filter(|topic| !self.topics.contains_key(*topic)).collect();
        self.topics.len() + fresh.len() <= MAX_TOPICS
    }

    /// Returns the number of the next message to a topic, and counts it.
    pub(in crate::engine) fn number(&mut self, topic: &str) -> u64 {
        if let Some(last) = self.topics.get_mut(topic) {
            *last += 1;
            return *last;
        }
        self.topics.insert(topic.to_owned(), 1);
        1
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
