//! Publishing: publications of the application, until they have left for the neighbours in the group's tree.
//!
//! **Mechanism.** Publications to one group, under one policy and with one lifetime, share frames of up to
//! [`MAX_GROUP_FRAME`] bytes: those that are published at once, and those that come within [`SPACING`] of the frame
//! before, since each frame is signed once and verified by every device that hears it. A frame is of use for as long as
//! the message in it that expires first. It is sealed under the sender's key for group and epoch, numbered, signed by
//! the sender's pseudonym, pushed to the neighbours in the group's tree, and put on the shelf, so that a device that
//! missed it can fetch it. Subscribers on this device get the messages at once.
//!
//! Each frame is a part of the device's stream to the group, which `out_streams` begins and ends.
//!
//! **Back-pressure.** While a neighbour in the tree takes no frames, publications wait, and with them the application;
//! after [`PATIENCE`] they leave without that neighbour, which fetches what it missed when it takes frames again.
//!
//! Invariants
//! 1. A publication ends once: it has left, could not leave before its deadline, or was refused.
//! - No publication is sealed before it can leave, so the numbers of a stream have no gaps.
//! - At most about [`PUBLICATIONS_OPEN`] publications wait: with as many, the node takes no more commands. Drop policy:
//!   none, back-pressure.

use crate::counter::Counter;
use crate::delivery::lane::SendPolicy;
use crate::engine::api::{Outcome, Published, Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::groups::Groups;
use crate::engine::groups::answers::{Asked, Wanted};
use crate::engine::groups::confirmations::{self, Awaited};
use crate::engine::groups::multicast::too_many_groups;
use crate::engine::groups::out_streams::OutStreams;
use crate::engine::groups::rights::PERMIT_RETRY;
use crate::engine::groups::shelf::Kept;
use crate::engine::groups::tree::{Handed, NextHop};
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::inner;
use crate::engine::store::{Read, ReadError, Write};
use crate::id::{LinkId, Lsn, Tag};
use crate::identity::group::GroupSender;
use crate::identity::membership::MayPublish;
use crate::time::{Time, Unix};
use crate::wire::data::Class;
use crate::wire::group::{GroupBatch, GroupMessage, MAX_GROUP_FRAME, MAX_MESSAGES, MAX_PAYLOAD};
use crate::wire::topic;
use bytes::Bytes;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Publications that may wait before commands have to. Drop policy: none, back-pressure.
const PUBLICATIONS_OPEN: usize = 8_192;
/// How long a publication waits for the group's tree to reach this device.
const JOIN_TIME: Duration = Duration::from_secs(3);
/// How often readiness is checked meanwhile.
const JOIN_RETRY: Duration = Duration::from_millis(20);
/// How long a neighbour that takes no frames holds up the publishers next to it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Least time between two frames to a group, unless the later one is full.
const SPACING: Duration = Duration::from_millis(1);
/// Allowance, in bytes, for the parts of a group frame besides its messages.
pub(in crate::engine) const FRAME_OVERHEAD: usize = 512;
/// Allowance, in bytes, for the parts of a message besides topic and payload.
pub(in crate::engine) const MESSAGE_OVERHEAD: usize = 24;

#[derive(Debug)]
struct Publication {
    token: Token,
    /// How many confirmations are waited for, if any.
    confirm: Option<u32>,
    /// How many answers are wanted, if it is a request.
    answers: Option<Wanted>,
    topic: String,
    payload: Vec<u8>,
    send_policy: Arc<SendPolicy>,
    since: Time,
    deadline: Time,
}

impl Publication {
    /// The bytes that it takes in a frame.
    fn size(&self) -> usize {
        MESSAGE_OVERHEAD + self.topic.len() + self.payload.len()
    }
}

/// The publications that wait, by group, and what holds them up.
#[derive(Debug, Default)]
pub(in crate::engine) struct Publishing {
    pending: BTreeMap<String, VecDeque<Publication>>,
    open: usize,
    /// When each blocked group is tried again: no neighbour is next to this node in its tree yet, one that is takes no
    /// frames, or the last frame was too recent.
    blocked: BTreeMap<String, Time>,
    /// Since when each blocked link has held publishers up.
    slow: BTreeMap<LinkId, Time>,
    pub(in crate::engine) streams: OutStreams,
    /// Whether the issuer is to be asked for permits.
    pub(in crate::engine) wants_permits: bool,
}

/// Whether a group's publications may leave.
enum Ready {
    /// They may leave, to these next hops.
    To(Vec<NextHop>),
    /// They may not; the reason may have gone by this time.
    Not(Time),
}

impl Publishing {
    /// Loads the streams that the store holds.
    pub(in crate::engine) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        Ok(Self { streams: OutStreams::load(store)?, ..Self::default() })
    }

    pub(in crate::engine) fn has_room(&self) -> bool {
        self.open < PUBLICATIONS_OPEN
    }

    /// Whether the publications that wait for a group fill a frame.
    fn fills_a_frame(&self, group: &str) -> bool {
        let Some(queue) = self.pending.get(group) else { return false };
        let mut size = FRAME_OVERHEAD;
        queue.len() >= MAX_MESSAGES
            || queue.iter().any(|publication| {
                size += publication.size();
                size > MAX_GROUP_FRAME
            })
    }

    /// Returns the write that keeps the ends of this process's streams when the node stops.
    pub(in crate::engine) fn close(&mut self) -> Write {
        self.streams.close()
    }

    /// Has all groups looked at again.
    pub(in crate::engine) fn unblock(&mut self) {
        self.blocked.clear();
    }

    /// Notes that a link takes frames again or is gone, so that it no longer holds publishers up.
    pub(in crate::engine) fn release(&mut self, link: LinkId) {
        if self.slow.remove(&link).is_some() {
            self.blocked.clear();
        }
    }

    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        let deadline = self.pending.values().filter_map(|queue| queue.front().map(|first| first.deadline)).min();
        [deadline, self.blocked.values().min().copied()].into_iter().flatten().min()
    }
}

impl Groups {
    fn take_publications(&mut self, group: &str) -> Vec<Publication> {
        let publishing = &mut self.publishing;
        let Some(queue) = publishing.pending.get_mut(group) else { return Vec::new() };
        let (mut taken, mut size): (Vec<Publication>, _) = (Vec::new(), FRAME_OVERHEAD);
        let lifetime = |publication: &Publication| publication.deadline.since(publication.since);
        while let Some(next) = queue.front() {
            let adds = next.size();
            let full = size + adds > MAX_GROUP_FRAME || taken.len() >= MAX_MESSAGES;
            let alike = |first: &Publication| {
                first.send_policy == next.send_policy
                    && lifetime(first) == lifetime(next)
                    && first.confirm.is_some() == next.confirm.is_some()
            };
            if taken.first().is_some_and(|first| full || !alike(first)) {
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

    /// Hands publications to the subscribers on this device.
    fn publish_here(&mut self, core: &mut Core, publications: &[Publication]) {
        if !self.multicast.listens() {
            return;
        }
        let (from, now) = (core.membership.name().clone(), core.now);
        for publication in publications {
            let published = Published {
                topic: publication.topic.clone(),
                payload: publication.payload.clone(),
                from: Some(from.clone()),
                sent: now.unix,
                sent_error: core.clock_error(),
                lost: 0,
                request: None,
            };
            self.hand_to_subscribers(core, &published, now.time, |_| 0, Lsn(0));
        }
    }

    /// Returns the tag of a group in the present epoch.
    pub(in crate::engine) fn tag_of(&self, core: &Core, group: &str) -> Tag {
        let epoch = core.membership.bulletin().epoch_length().epoch_at(core.now.unix);
        core.membership.groups().tag(group, epoch)
    }

    /// Returns whether a group's publications may leave, and to which next hops.
    fn readiness(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing, group: &str) -> Ready {
        let now = core.now.time;
        let tag = self.tag_of(core, group);
        let Some(first) = self.publishing.pending.get(group).and_then(VecDeque::front) else {
            return Ready::To(Vec::new());
        };
        let next = self.publishing.streams.sealed(group).map(|sealed| sealed + SPACING);
        if let Some(next) = next.filter(|next| *next > now && !self.publishing.fills_a_frame(group)) {
            return Ready::Not(next);
        }
        let (policy, young) = (first.send_policy.policy.clone(), now.since(first.since) < JOIN_TIME);
        let segment = neighbours.segment_of_publications(core).unwrap_or_default();
        let next_hops = self.next_hops(core, neighbours, routing, (&tag, segment), None, &policy);
        if next_hops.is_empty() && young && self.is_joining(core, routing, &tag) {
            return Ready::Not(now + JOIN_RETRY);
        }
        for way in &next_hops {
            let Some(link) =
                way.link.filter(|link| neighbours.links.get(*link).is_some_and(|link| !link.takes(Class::Telemetry)))
            else {
                continue;
            };
            let since = *self.publishing.slow.entry(link).or_insert(now);
            if now.since(since) < PATIENCE {
                return Ready::Not(since + PATIENCE);
            }
        }
        Ready::To(next_hops)
    }

    /// Checks a publication, and returns what it requires of the links that it leaves over and its lifetime; `None` if
    /// it is refused, and the application has been told.
    pub(in crate::engine) fn check_publication(
        &mut self,
        core: &mut Core,
        token: Token,
        (topic, payload): (&str, &[u8]),
        policy: Option<&str>,
        lifetime: Duration,
    ) -> Option<(Arc<SendPolicy>, Duration)> {
        if let Err(error) = topic::check_topic(topic) {
            core.finish(token, Reply::Refused(Refused::Topic(error.to_string())));
            return None;
        }
        if payload.len() > MAX_PAYLOAD {
            let refused = Refused::TooLarge { found: payload.len(), limit: MAX_PAYLOAD };
            core.finish(token, Reply::Refused(refused));
            return None;
        }
        core.publication_policy(token, topic, policy, lifetime)
    }

    /// Queues a publication that has been checked.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    pub(in crate::engine) fn publish(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        (token, confirm, latest): (Token, Option<u32>, bool),
        answers: Option<Wanted>,
        (topic, payload): (String, Vec<u8>),
        send_policy: Arc<SendPolicy>,
        lifetime: Duration,
    ) {
        let group = topic::group(&topic);
        if core.membership.may_publish(group, core.now.unix) == MayPublish::No {
            return core.finish(token, Reply::Refused(Refused::NoRight(group.to_owned())));
        }
        if !self.tree.publishes(group) && !self.has_room_for_group(group) {
            return core.finish(token, Reply::Refused(Refused::Full(too_many_groups())));
        }
        if confirm.is_some() && !self.confirmations.take() {
            return core.finish(token, Reply::Refused(Refused::Full(confirmations::too_many())));
        }
        if let Some(wanted) = answers
            && let Err(refused) = self.answers.take(token, wanted.id)
        {
            return core.finish(token, Reply::Refused(refused));
        }
        if !self.publishing.pending.contains_key(group) {
            self.note_publishing(core, neighbours, routing, group);
        }
        if latest {
            self.supersede(core, group, &topic);
        }
        let (since, group) = (core.now.time, group.to_owned());
        let publication =
            Publication { token, confirm, answers, topic, payload, send_policy, since, deadline: since + lifetime };
        self.publishing.pending.entry(group).or_default().push_back(publication);
        self.publishing.open += 1;
    }

    /// Ends the publications to a topic that wait, besides requests: a newer one takes their place.
    fn supersede(&mut self, core: &mut Core, group: &str, topic: &str) {
        let Some(queue) = self.publishing.pending.get_mut(group) else { return };
        let (over, rest): (VecDeque<Publication>, _) = ::core::mem::take(queue)
            .into_iter()
            .partition(|waiting| waiting.topic == topic && waiting.answers.is_none());
        *queue = rest;
        self.publishing.open -= over.len();
        for publication in over {
            core.count(Counter::MessagesSuperseded, 1);
            if publication.confirm.is_some() {
                self.confirmations.ended();
            }
            let reason = format!("a newer publication to {topic} took its place");
            core.finish(publication.token, Reply::Outcome(Outcome::Superseded { reason }));
        }
    }

    /// Seals one frame of waiting publications and pushes it, or blocks their group for a while. Returns `false` if no
    /// group is ready.
    pub(in crate::engine) fn pump_multicast(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) -> bool {
        let blocked = &self.publishing.blocked;
        let next = self.publishing.pending.keys().find(|group| !blocked.contains_key(*group)).cloned();
        let Some(group) = next else { return false };
        self.span_for(core, neighbours, routing, &group);
        match core.membership.may_publish(&group, core.now.unix) {
            MayPublish::Now => {}
            MayPublish::Ask => {
                self.publishing.wants_permits = true;
                self.publishing.blocked.insert(group, core.now.time + PERMIT_RETRY);
                return true;
            }
            MayPublish::No => {
                let reason = Refused::NoRight(group.clone()).to_string();
                let publications = self.take_publications(&group);
                self.end_publications(core, &group, publications, &Outcome::Refused { reason });
                return true;
            }
        }
        match self.readiness(core, neighbours, routing, &group) {
            Ready::Not(until) => drop(self.publishing.blocked.insert(group, until)),
            Ready::To(next_hops) => {
                // Some may expire earlier than those in front of them.
                self.expire_publications(core);
                let publications = self.take_publications(&group);
                if !publications.is_empty() {
                    self.push_out(core, neighbours, routing, &group, &next_hops, publications);
                }
            }
        }
        true
    }

    pub(in crate::engine) fn timeout_publishing(&mut self, core: &mut Core) {
        let now = core.now.time;
        self.expire_publications(core);
        self.publishing.blocked.retain(|_, at| *at > now);
    }

    fn push_out(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        group: &str,
        next_hops: &[NextHop],
        publications: Vec<Publication>,
    ) {
        let Some(mut out) =
            self.stream_to(core, neighbours, routing, group, publications.iter().map(|one| one.topic.as_str()))
        else {
            let reason = format!("this device has no key for the group {group} at the moment");
            return self.end_publications(core, group, publications, &Outcome::Refused { reason });
        };
        let first = out.next;
        let numbers: Vec<u64> = publications.iter().map(|publication| out.number(&publication.topic)).collect();
        let messages = publications.iter().zip(numbers).map(|(publication, number)| GroupMessage {
            topic: &publication.topic,
            number,
            payload: &publication.payload,
            request: publication.answers.is_some(),
        });
        let (messages, pause) = (messages.collect(), out.pause(core.now.time));
        let asks = publications.first().is_some_and(|first| first.confirm.is_some());
        let (began, error) = (out.began.0, core.clock_error());
        let batch =
            GroupBatch { stream: out.id, first, began, ends: false, messages, pause, asks, rests: false, error };
        out.next += batch.messages.len() as u64;
        let until = publications.iter().map(|publication| publication.deadline).min();
        let deadline = until.unwrap_or(core.now.time);
        // The expiry is by the present clock, which may have been set since they were handed in.
        let expiry = core.now.unix + deadline.since(core.now.time);
        let send_policy = publications.first().map(|first| first.send_policy.clone()).unwrap_or_default();
        out.send_policy.clone_from(&send_policy);
        let neighbours =
            self.push_sealed(core, neighbours, &mut out.sender, &batch, (expiry, deadline), next_hops, send_policy);
        let stream = out.id;
        self.publishing.streams.put_back(group, out);
        self.publish_here(core, &publications);
        for (number, publication) in (first..).zip(publications) {
            if let Some(wanted) = publication.answers {
                let Publication { token, topic, since, deadline, .. } = publication;
                let asked = Asked { token, topic, wanted, neighbours, since, deadline };
                self.answers.left(core, inner(stream, number), asked);
                continue;
            }
            if let Some(enough) = publication.confirm {
                let Publication { token, topic, since, deadline, .. } = publication;
                let awaited = Awaited { token, topic, enough, neighbours, since, deadline };
                self.await_confirmations(inner(stream, number), awaited);
                continue;
            }
            let latency = core.now.time.since(publication.since);
            let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            core.finish(publication.token, Reply::Outcome(Outcome::Sent { latency_us, neighbours }));
        }
    }

    /// Seals a batch, keeps the frame and pushes it. Returns how many neighbours took it.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    pub(in crate::engine) fn push_sealed(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        sender: &mut GroupSender,
        batch: &GroupBatch<'_>,
        (expiry, deadline): (Unix, Time),
        next_hops: &[NextHop],
        send_policy: Arc<SendPolicy>,
    ) -> u32 {
        let length = core.membership.bulletin().epoch_length();
        let last = Unix(length.end(sender.epoch()).0.saturating_sub(1));
        let (number, sent) = (sender.counter(), core.now.unix.min(last));
        let data = Bytes::from(sender.seal(batch, sent, expiry));
        let (tag, segment, flow) = (sender.tag(), sender.segment(), (sender.credential(), sender.salt()));
        let kept = Kept { data, came: core.now.time, until: deadline, expiry, segment, send_policy: Some(send_policy) };
        self.keep_own(core, tag, flow, number, kept.clone());
        self.push(core, neighbours, &tag, next_hops, &kept, Handed::default())
    }

    fn expire_publications(&mut self, core: &mut Core) {
        let (now, now_unix) = (core.now.time, core.now.unix);
        let mut expired = Vec::new();
        for queue in self.publishing.pending.values_mut() {
            // Those further behind may expire earlier.
            if queue.iter().any(|publication| publication.deadline <= now) {
                let (over, left) = core::mem::take(queue).into_iter().partition(|one| one.deadline <= now);
                *queue = left;
                expired.extend::<VecDeque<Publication>>(over);
            }
        }
        self.publishing.pending.retain(|_, queue| !queue.is_empty());
        self.publishing.open -= expired.len();
        for publication in expired {
            let topic = publication.topic.clone();
            let group = topic::group(&topic);
            let reason = match core.membership.may_publish(group, now_unix) {
                MayPublish::Now => "its neighbours took no more until its deadline".to_owned(),
                _ => format!("the issuer did not say until its deadline whether this device may publish to {group}"),
            };
            self.end_publications(core, group, vec![publication], &Outcome::Expired { reason });
        }
    }

    fn end_publications(&mut self, core: &mut Core, group: &str, publications: Vec<Publication>, outcome: &Outcome) {
        for publication in publications {
            if publication.confirm.is_some() {
                self.confirmations.ended();
            }
            let others = self.answers.never_left(publication.token);
            core.note_failure(group, outcome);
            for token in ::core::iter::once(publication.token).chain(others) {
                core.finish(token, Reply::Outcome(outcome.clone()));
            }
        }
    }
}
