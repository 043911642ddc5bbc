//! Group frames that come by gossip, or over a link that carries none: judged before they are forwarded, then opened and put in order.
//!
//! ```text
//! frame ─▶ well-formed? in time? ──no──▶ reject, ignore
//!             │ sender's credential known? ──no──▶ wait, and ask the neighbour that forwarded it
//!             ▼
//!          signature holds? ──no──▶ reject
//!             ▼
//!          accept: gossip forwards it ─▶ of a group listened to? ─▶ open ─▶ put in order ─▶ subscriptions
//! ```

use super::api::Published;
use super::heard::Term;
use super::multicast::{FRAME_OVERHEAD, Incoming, MAX_WAITING, Multicast, Received, Source, WAIT, Waiting};
use super::{Engine, GossipVerdict, Output};
use crate::counter::Counter;
use crate::delivery::reorder::Reorder;
use crate::id::{CredentialHash, LinkId, Lsn, Name, StreamId};
use crate::identity::credential::{acceptance, epoch_length};
use crate::identity::sign::verify_signed;
use crate::time::Unix;
use crate::wire::data::Policy;
use crate::wire::group::{CONTEXT, GroupBatch, GroupFrame, GroupMessage, MAX_GROUP_FRAME, MAX_MESSAGES};
use crate::wire::{self, Signed, topic};
use std::collections::{BTreeMap, VecDeque};

impl Multicast {
    /// Room for a frame that came over a link and waits for a credential: what is given up for it. `None`: the link has as
    /// much as any other already.
    fn make_room(&mut self, link: LinkId) -> Option<Source> {
        let mut shares: BTreeMap<LinkId, (usize, usize)> = BTreeMap::new();
        for (at, waiting) in self.waiting.iter().enumerate() {
            let (Source::Gossip(_, from) | Source::Link(from)) = waiting.source;
            let (count, newest) = shares.entry(from).or_default();
            (*count, *newest) = (*count + 1, at);
        }
        let own = shares.get(&link).map_or(0, |(count, _)| *count);
        let (count, newest) = shares.into_values().max()?;
        if count <= own {
            return None;
        }
        self.waiting.remove(newest).map(|waiting| waiting.source)
    }
}

impl Engine {
    pub(super) fn handle_gossip(&mut self, id: u64, link: LinkId, data: &[u8]) {
        self.take_group_frame(Source::Gossip(id, link), data);
    }

    /// A group frame over a link that carries no gossip.
    pub(super) fn handle_group_frame(&mut self, link: LinkId, data: &[u8]) {
        self.take_group_frame(Source::Link(link), data);
    }

    fn take_group_frame(&mut self, source: Source, data: &[u8]) {
        let Some((_, frame)) = parse(data) else {
            self.count(Counter::GroupFramesMalformed, 1);
            return self.judged(source, GossipVerdict::Reject);
        };
        if Unix(frame.expiry) + self.skew() < self.now.unix {
            self.count(Counter::GroupFramesExpired, 1);
            return self.judged(source, GossipVerdict::Ignore);
        }
        if self.multicast.credentials.contains_key(&frame.sender) {
            return self.judge_frame(source, data);
        }
        let (Source::Gossip(_, link) | Source::Link(link)) = source;
        if self.multicast.waiting.len() >= MAX_WAITING {
            self.count(Counter::GroupFramesWithoutCredential, 1);
            match self.multicast.make_room(link) {
                Some(dropped) => self.judged(dropped, GossipVerdict::Ignore),
                None => return self.judged(source, GossipVerdict::Ignore),
            }
        }
        let (sender, until) = (frame.sender, self.now.time + WAIT);
        if !self.multicast.waiting.iter().any(|waiting| waiting.sender == sender) {
            self.ask_credential(link, sender);
        }
        self.multicast.waiting.push_back(Waiting { source, sender, data: data.to_vec(), until });
    }

    /// A credential has come: what waited for it is judged.
    pub(super) fn release_waiting(&mut self, hash: CredentialHash) {
        let (ready, still): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.multicast.waiting).into_iter().partition(|waiting| waiting.sender == hash);
        self.multicast.waiting = still;
        for waiting in ready {
            self.judge_frame(waiting.source, &waiting.data);
        }
    }

    /// A frame whose sender is known.
    fn judge_frame(&mut self, source: Source, data: &[u8]) {
        let Some((signed, frame)) = parse(data) else { return self.judged(source, GossipVerdict::Reject) };
        let Some(sender) = self.multicast.credentials.get(&frame.sender) else {
            return self.judged(source, GossipVerdict::Ignore);
        };
        let (key, handle) = (sender.body.key, sender.body.handle);
        let sender_may = self.takes_from(sender, frame.segment);
        let accepted = acceptance(&sender.body).filter(|(from, until)| (*from..*until).contains(&self.now.unix));
        let (length, epoch) = (epoch_length(&sender.body), sender.body.epoch);
        if !verify_signed(CONTEXT, &key, &signed) {
            self.count(Counter::GroupFramesForged, 1);
            return self.judged(source, GossipVerdict::Reject);
        }
        let (Some((_, until)), Some(length)) = (accepted, length) else {
            self.count(Counter::GroupFramesExpired, 1);
            return self.judged(source, GossipVerdict::Ignore);
        };
        if key == self.own {
            // Our own, come back when gossip has forgotten it: subscribers here had it when it was published.
            self.count(Counter::GroupFramesOwn, 1);
            return self.judged(source, GossipVerdict::Ignore);
        }
        if !sender_may {
            self.count(Counter::GroupFramesOfOtherSegments, 1);
            return self.judged(source, GossipVerdict::Ignore);
        }
        self.judged(source, GossipVerdict::Accept);
        let (Source::Gossip(_, from) | Source::Link(from)) = source;
        self.carry(&frame.group, Some(from), &Policy::default(), data);
        if matches!(source, Source::Link(_)) {
            // Gossip takes it on from here; what it has seen before it drops by itself.
            let topic = self.membership.groups().topic(&frame.group, frame.segment);
            self.outputs.push_back(Output::Gossip { job: 0, topic, frame: data.to_vec() });
        }
        let Some(group) = self.multicast.tags.get(&frame.group).cloned() else { return };
        let Ok(plain) = self.membership.groups().open(&frame, &group, &key) else {
            return self.count(Counter::GroupFramesNotOpened, 1);
        };
        let (from, term) = (self.name_of(&handle), Term { end: length.end(epoch), until });
        self.receive(frame.sender, &group, length.start(epoch), Received { from, plain, term });
    }

    /// Puts an opened frame in order. `start`: of the epoch of its sender's credential.
    fn receive(&mut self, sender: CredentialHash, group: &str, start: Unix, received: Received) {
        let Ok(batch) = wire::decode::<GroupBatch<'_>>(&received.plain) else {
            return self.count(Counter::GroupFramesMalformed, 1);
        };
        let sound = |message: &GroupMessage<'_>| {
            topic::check_topic(message.topic).is_ok() && topic::group(message.topic) == group
        };
        let in_epoch = (start..received.term.end).contains(&Unix(batch.sent));
        if batch.messages.len() > MAX_MESSAGES || !in_epoch || !batch.messages.iter().all(sound) {
            return self.count(Counter::GroupFramesMalformed, 1);
        }
        let (key, first, count) = ((sender, batch.stream), batch.first, batch.messages.len() as u64);
        let (now, sent) = (self.now.time, Unix(batch.sent));
        if let Some(oldest) = self.multicast.shares.enter(sender, key) {
            self.multicast.streams.remove(&oldest);
            self.multicast.holding.remove(&oldest);
            self.heard.forget_stream(&oldest.0);
            self.count(Counter::GroupStreamsForgotten, 1);
        }
        let barred = self.heard.barred(&sender);
        let stream =
            self.multicast.streams.entry(key).or_insert_with(|| Incoming { barred, order: Reorder::default() });
        if sent <= stream.barred {
            return self.count(Counter::GroupFramesHeardBefore, 1);
        }
        stream.order.insert(first, count, received, now);
        self.hand_over(key);
    }

    /// Hands over what is in order, or has waited long enough.
    pub(super) fn hand_over(&mut self, key: (CredentialHash, StreamId)) {
        let now = self.now;
        while let Some(released) = self.multicast.streams.get_mut(&key).and_then(|stream| stream.order.poll(now.time)) {
            let Received { from, plain, term } = released.item;
            if let Ok(batch) = wire::decode::<GroupBatch<'_>>(&plain) {
                let passed = self.heard.pass((key.0, term), Unix(batch.sent), now.unix, self.journal.turn());
                self.journal.extend(passed.writes);
                self.count(Counter::GroupPublishersForgotten, passed.forgotten);
                self.publish_batch(from.as_ref(), &batch, (released.lost, released.skip), passed.after);
            }
        }
        let holds = self.multicast.streams.get(&key).is_some_and(|stream| stream.order.next_wake().is_some());
        if holds {
            self.multicast.holding.insert(key);
        } else {
            self.multicast.holding.remove(&key);
        }
    }

    /// Messages of a frame, of which the first `skip` were handed over before and `lost` are missing, once a commit is durable.
    fn publish_batch(&mut self, from: Option<&Name>, batch: &GroupBatch<'_>, (lost, skip): (u64, u64), after: Lsn) {
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for (at, message) in batch.messages.iter().enumerate().skip(skip) {
            let published = Published {
                topic: message.topic.to_owned(),
                payload: message.payload.to_vec(),
                from: from.cloned(),
                sent: Unix(batch.sent),
                lost: if at == skip { lost } else { 0 },
            };
            self.hand_to_subscribers(published, after);
        }
    }
}

fn parse(data: &[u8]) -> Option<(Signed<'_>, GroupFrame<'_>)> {
    let signed: Signed<'_> = wire::codec::decode_within(data, MAX_GROUP_FRAME + FRAME_OVERHEAD).ok()?;
    let frame = wire::decode(signed.body).ok()?;
    Some((signed, frame))
}
