//! Groups: publishing to topics, and what comes from others by gossip.
//!
//! **Out.** Publications of a turn to one group, under one policy, share frames, up to [`MAX_GROUP_FRAME`]. A frame is sealed under
//! the sender's key for group and epoch and signed by its pseudonym. Subscribers on this device get it at once.
//!
//! **In.** A frame is judged before it is forwarded: its sender's credential must be known (else the frame waits,
//! bounded, while the neighbour that forwarded it is asked for the credential) and its signature must hold. Then
//! it is forwarded, whether or not this device listens to the group. If it does, the frame is opened, put in
//! order, and handed to the subscriptions that match.
//!
//! Gossip topics are hashes that change with the epoch: around the boundary this device listens to both, one
//! clock-skew allowance before and after.
//!
//! Invariants
//! 1. Every gossip frame gets exactly one verdict.
//! 2. A subscription sees each message of a stream in order, and no two of one device, whenever they were made, see the same
//!    message twice (`heard`).
//! 3. Waiting frames, streams, credentials and publications have bounds; each drop is counted.

use super::api::{Outcome, Published, Refused, Reply, Token};
use super::heard::Term;
use super::segments::bits;
use super::share::Shares;
use super::{Engine, GossipVerdict, Output};
use crate::counter::Counter;
use crate::delivery::lane::Terms;
use crate::delivery::reorder::Reorder;
use crate::id::{CredentialHash, CredentialPrefix, LinkId, Lsn, Name, Pseudonym, StreamId, Tag};
use crate::identity::credential::PeerCredential;
use crate::identity::group::GroupSender;
use crate::time::{Epoch, Time, Unix};
use crate::wire::group::{GroupBatch, GroupMessage, MAX_GROUP_FRAME, MAX_MESSAGES, MAX_PAYLOAD};
use crate::wire::topic;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most frames that wait for a credential. Drop policy: of the link that most came over, the newest is ignored
/// (`group_frames_without_credential`).
pub(super) const MAX_WAITING: usize = 256;
/// How long they wait.
pub(super) const WAIT: Duration = Duration::from_secs(3);
/// Most credentials kept. Drop policy: the one learnt first goes.
pub(super) const MAX_CREDENTIALS: usize = 8_192;
/// Most streams kept in order. Drop policy: of the publisher that has most, the one longest silent goes.
pub(super) const MAX_STREAMS: usize = 4_096;
/// Most subscriptions.
const MAX_SUBSCRIPTIONS: usize = 1_024;
/// Publications that may wait before commands have to; drop policy: none, back-pressure.
const PUBLICATIONS_OPEN: usize = 8_192;
/// How long a publication waits for the group's tree to reach this device.
const JOIN_TIME: Duration = Duration::from_secs(3);
/// When the neighbours' queues were full, the frame goes again after this.
const GOSSIP_RETRY: Duration = Duration::from_millis(20);
/// Bytes of a group frame besides its messages.
pub(super) const FRAME_OVERHEAD: usize = 512;
/// Bytes of a message besides topic and payload.
const MESSAGE_OVERHEAD: usize = 16;

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

/// A frame that has been handed to the network, until it says what became of it.
#[derive(Debug)]
struct Job {
    group: String,
    first: u64,
    publications: Vec<Publication>,
    frame: Vec<u8>,
}

#[derive(Debug)]
struct OutStream {
    sender: GroupSender,
    id: StreamId,
    next: u64,
}

/// An opened frame.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) from: Option<Name>,
    pub(super) plain: Vec<u8>,
    pub(super) term: Term,
}

/// A publisher's stream to a group, as it comes in.
#[derive(Debug)]
pub(super) struct Incoming {
    /// What was sent up to then is taken for heard.
    pub(super) barred: Unix,
    pub(super) order: Reorder<Received>,
}

/// How a frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// By gossip, which waits for a verdict under that number, from that neighbour.
    Gossip(u64, LinkId),
    /// Over a link that carries no gossip.
    Link(LinkId),
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) source: Source,
    pub(super) sender: CredentialHash,
    pub(super) data: Vec<u8>,
    pub(super) until: Time,
}

/// Subscriptions, publications, streams.
#[derive(Debug)]
pub(super) struct Multicast {
    subscriptions: BTreeMap<Token, String>,
    /// Gossip topics listened to.
    topics: BTreeSet<String>,
    /// Groups by the tags of the epochs at hand.
    pub(super) tags: BTreeMap<Tag, String>,
    /// Those that were told to routers when topics were looked at last.
    told: BTreeSet<Tag>,
    pending: BTreeMap<String, VecDeque<Publication>>,
    open: usize,
    /// No frame of these groups before then: the neighbours' queues were full, or nobody listens yet.
    blocked: BTreeMap<String, Time>,
    out: BTreeMap<String, OutStream>,
    jobs: BTreeMap<u64, Job>,
    last_job: u64,
    pub(super) streams: BTreeMap<(CredentialHash, StreamId), Incoming>,
    /// Of each publisher the streams, as they were last heard.
    pub(super) shares: Shares<(CredentialHash, StreamId), CredentialHash>,
    /// Those of them that hold something back, so that nobody has to look through all.
    pub(super) holding: BTreeSet<(CredentialHash, StreamId)>,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) credentials: BTreeMap<CredentialHash, PeerCredential>,
    learnt: VecDeque<CredentialHash>,
    next_topics: Option<Time>,
}

impl Multicast {
    pub(super) fn new() -> Self {
        Self {
            subscriptions: BTreeMap::new(),
            topics: BTreeSet::new(),
            tags: BTreeMap::new(),
            told: BTreeSet::new(),
            pending: BTreeMap::new(),
            open: 0,
            blocked: BTreeMap::new(),
            out: BTreeMap::new(),
            jobs: BTreeMap::new(),
            last_job: 0,
            streams: BTreeMap::new(),
            shares: Shares::new(MAX_STREAMS),
            holding: BTreeSet::new(),
            waiting: VecDeque::new(),
            credentials: BTreeMap::new(),
            learnt: VecDeque::new(),
            next_topics: None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.open < PUBLICATIONS_OPEN
    }

    pub(super) fn credential(&self, hash: &CredentialHash) -> Option<Arc<[u8]>> {
        self.credentials.get(hash).map(|credential| credential.signed.clone())
    }

    /// Whose credential it is.
    pub(super) fn pseudonym(&self, hash: &CredentialHash) -> Option<Pseudonym> {
        self.credentials.get(hash).map(|credential| credential.body.key)
    }

    /// Whose credentials begin like that.
    pub(super) fn under(&self, prefix: &CredentialPrefix) -> impl Iterator<Item = Pseudonym> {
        self.credentials.range(prefix.hashes()).map(|(_, credential)| credential.body.key)
    }

    /// Keeps a credential. Answers whether another had to go.
    pub(super) fn learn(&mut self, credential: PeerCredential) -> bool {
        if self.credentials.contains_key(&credential.hash) {
            return false;
        }
        let full = self.credentials.len() >= MAX_CREDENTIALS;
        if full && let Some(oldest) = self.learnt.pop_front() {
            self.credentials.remove(&oldest);
        }
        self.learnt.push_back(credential.hash);
        self.credentials.insert(credential.hash, credential);
        full
    }

    /// Keys of groups are others, and so are the credentials that are accepted.
    pub(super) fn heed(&mut self, accepts: impl Fn(&PeerCredential) -> bool) {
        self.out.clear();
        self.credentials.retain(|_, known| accepts(known));
        self.learnt.retain(|hash| self.credentials.contains_key(hash));
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let held = self.holding.iter().filter_map(|key| self.streams.get(key)?.order.next_wake()).min();
        let waiting = self.waiting.front().map(|waiting| waiting.until);
        let deadline = self.pending.values().filter_map(|queue| queue.front().map(|first| first.deadline)).min();
        let blocked = self.blocked.values().min().copied();
        [held, waiting, deadline, self.next_topics, blocked].into_iter().flatten().min()
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
        let (since, expiry) = (self.now.time, self.now.unix + lifetime);
        let group = topic::group(&topic).to_owned();
        let publication = Publication { token, topic, payload, terms, since, deadline: since + lifetime, expiry };
        self.multicast.pending.entry(group).or_default().push_back(publication);
        self.multicast.open += 1;
    }

    pub(super) fn subscribe(&mut self, token: Token, filter: String) {
        if let Err(error) = topic::check_filter(&filter) {
            return self.finish(token, Reply::Refused(Refused::Filter(error.to_string())));
        }
        if self.multicast.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let reason = format!("a node has at most {MAX_SUBSCRIPTIONS} subscriptions");
            return self.finish(token, Reply::Refused(Refused::Full(reason)));
        }
        self.multicast.subscriptions.insert(token, filter);
        self.update_topics();
        self.reply(token, Reply::Ready);
    }

    /// Ends a subscription. Answers whether there was one.
    pub(super) fn unsubscribe(&mut self, token: Token) -> bool {
        let known = self.multicast.subscriptions.remove(&token).is_some();
        if known {
            self.update_topics();
        }
        known
    }

    /// Seals one frame of waiting publications.
    pub(super) fn pump_multicast(&mut self) -> bool {
        let blocked = &self.multicast.blocked;
        let next = self.multicast.pending.keys().find(|group| !blocked.contains_key(*group)).cloned();
        let Some(group) = next else { return false };
        let publications = self.take_publications(&group);
        match self.seal_publications(&group, &publications) {
            Some((topic, frame, first)) => {
                self.multicast.last_job += 1;
                let job = self.multicast.last_job;
                self.note_publishing(&group);
                self.multicast.jobs.insert(job, Job { group, first, publications, frame: frame.clone() });
                self.outputs.push_back(Output::Gossip { job, topic, frame });
            }
            None => {
                let reason = format!("this device has no key for the group {group} at the moment");
                let outcome = Outcome::Refused { reason };
                self.end_publications(&group, publications, &outcome);
            }
        }
        true
    }

    /// What became of a frame: `Some` neighbours got it, or their queues are full and it goes again later.
    pub(super) fn handle_published(&mut self, job: u64, neighbours: Option<u32>) {
        let Some(Job { group, first, publications, frame }) = self.multicast.jobs.remove(&job) else { return };
        let tag = self.tag_of(&group);
        // Others listen, but not next to us, and those in between have yet to hear that we publish.
        let waits = self.gossip_joins(&tag) && self.members_beyond(&tag) && self.is_young(&publications);
        let early = neighbours == Some(0) && waits;
        let Some(neighbours) = neighbours.filter(|_| !early) else {
            // The frame is sealed anew, under the same sequence numbers: receivers see it once.
            if let Some(out) = self.multicast.out.get_mut(&group) {
                out.next = first;
            }
            self.multicast.open += publications.len();
            let queue = self.multicast.pending.entry(group.clone()).or_default();
            publications.into_iter().rev().for_each(|publication| queue.push_front(publication));
            self.multicast.blocked.insert(group, self.now.time + GOSSIP_RETRY);
            return;
        };
        let terms = publications.first().map(|first| first.terms.clone()).unwrap_or_default();
        let neighbours = neighbours + self.carry(&tag, None, &terms.policy, &frame);
        self.publish_here(&publications);
        for publication in publications {
            let latency = self.now.time.since(publication.since);
            let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.finish(publication.token, Reply::Outcome(Outcome::Sent { latency_us, neighbours }));
        }
    }

    pub(super) fn timeout_multicast(&mut self) {
        let now = self.now.time;
        while self.multicast.waiting.front().is_some_and(|waiting| waiting.until <= now) {
            if let Some(waiting) = self.multicast.waiting.pop_front() {
                self.count(Counter::GroupFramesWithoutCredential, 1);
                self.judged(waiting.source, GossipVerdict::Ignore);
            }
        }
        let holding: Vec<_> = self.multicast.holding.iter().copied().collect();
        for stream in holding {
            self.hand_over(stream);
        }
        self.expire_publications();
        self.multicast.blocked.retain(|_, at| *at > now);
        if self.multicast.next_topics.is_some_and(|at| at <= now) {
            self.update_topics();
        }
    }

    /// Listens to what the subscriptions need, in the epochs at hand.
    pub(super) fn update_topics(&mut self) {
        let (length, skew, unix) = (self.membership.bulletin().epoch_length(), self.skew(), self.now.unix);
        let present = length.epoch_at(unix);
        let mut epochs = vec![present];
        let (early, late) = (length.start(present) + skew, length.end(present) - skew);
        if unix < early {
            epochs.push(Epoch(present.0.saturating_sub(1)));
        }
        if unix >= late {
            epochs.push(Epoch(present.0 + 1));
        }
        let turns = [early, late, length.end(present)].into_iter().filter(|at| *at > unix);
        let turns = turns.filter(|_| !self.multicast.subscriptions.is_empty());
        let next = turns.chain(self.membership.groups().next_change()).min();
        let groups: BTreeSet<String> =
            self.multicast.subscriptions.values().map(|filter| topic::group(filter).to_owned()).collect();
        let (keys, reach) = (self.membership.groups(), self.own_reach());
        let (mut topics, mut tags) = (BTreeSet::new(), BTreeMap::new());
        for group in &groups {
            for epoch in &epochs {
                for tag in keys.tags(group, *epoch) {
                    topics.extend(bits(reach).flat_map(|segment| keys.topics(&tag, segment)));
                    tags.insert(tag, group.clone());
                }
            }
        }
        topics.extend(self.carried_topics());
        let multicast = &mut self.multicast;
        multicast.next_topics = next.map(|at| self.now.time + at.since(unix));
        multicast.tags = tags;
        self.outputs.extend(topics.difference(&multicast.topics).cloned().map(Output::Subscribe));
        self.outputs.extend(multicast.topics.difference(&topics).cloned().map(Output::Unsubscribe));
        multicast.topics = topics;
        let own = self.own_groups();
        if own != self.multicast.told {
            self.multicast.told = own;
            self.groups_changed();
        }
    }

    /// Whether routers other than this one list a group.
    fn members_beyond(&self, group: &Tag) -> bool {
        self.routing.lsdb.members_of(group).iter().any(|member| *member != self.own)
    }

    /// Whether publications may still wait for somebody to listen.
    fn is_young(&self, publications: &[Publication]) -> bool {
        publications.iter().all(|publication| self.now.time.since(publication.since) < JOIN_TIME)
    }

    pub(super) fn skew(&self) -> Duration {
        self.membership.bulletin().epoch_length().skew()
    }

    /// Gossip gets its verdict; nobody waits for one of a frame that came over a link.
    pub(super) fn judged(&mut self, source: Source, verdict: GossipVerdict) {
        if let Source::Gossip(id, _) = source {
            self.outputs.push_back(Output::Verdict { id, verdict });
        }
    }

    fn take_publications(&mut self, group: &str) -> Vec<Publication> {
        let multicast = &mut self.multicast;
        let Some(queue) = multicast.pending.get_mut(group) else { return Vec::new() };
        let (mut taken, mut size): (Vec<Publication>, _) = (Vec::new(), FRAME_OVERHEAD);
        while let Some(next) = queue.front() {
            let adds = MESSAGE_OVERHEAD + next.topic.len() + next.payload.len();
            let full = size + adds > MAX_GROUP_FRAME || taken.len() >= MAX_MESSAGES;
            if taken.first().is_some_and(|first| full || first.terms != next.terms) {
                break;
            }
            size += adds;
            taken.extend(queue.pop_front());
        }
        multicast.open -= taken.len();
        if queue.is_empty() {
            multicast.pending.remove(group);
        }
        taken
    }

    /// The gossip topic, the frame, and the sequence number of its first message.
    fn seal_publications(&mut self, group: &str, publications: &[Publication]) -> Option<(String, Vec<u8>, u64)> {
        let epoch = self.membership.bulletin().epoch_length().epoch_at(self.now.unix);
        let own = self.membership.credential(self.now.unix)?.clone();
        let version = self.membership.groups().version(group)?;
        let (of, hash) = (|out: &GroupSender| (out.epoch(), out.version(), out.credential()), own.hash);
        let fits = |out: &OutStream| of(&out.sender) == (epoch, version, hash);
        if !self.multicast.out.get(group).is_some_and(fits) {
            let segment = self.segment_of_publications()?;
            let sender = self.membership.groups().sender(&mut self.rng, (group, segment), epoch, own).ok()?;
            let out = OutStream { sender, id: new_stream(&mut self.rng), next: 1 };
            self.multicast.out.insert(group.to_owned(), out);
        }
        let expiry = publications.iter().map(|publication| publication.expiry).max()?;
        let out = self.multicast.out.get_mut(group)?;
        let first = out.next;
        let messages: Vec<_> =
            publications.iter().map(|p| GroupMessage { topic: &p.topic, payload: &p.payload }).collect();
        out.next += messages.len() as u64;
        let batch = GroupBatch { stream: out.id, first, sent: self.now.unix.0, messages };
        let frame = out.sender.seal(&batch, expiry);
        let topic = self.membership.groups().topic(&out.sender.tag(), out.sender.segment());
        Some((topic, frame, first))
    }

    /// Subscribers on this device have it too.
    fn publish_here(&mut self, publications: &[Publication]) {
        let from = self.membership.name().clone();
        for publication in publications {
            let published = Published {
                topic: publication.topic.clone(),
                payload: publication.payload.clone(),
                from: Some(from.clone()),
                sent: self.now.unix,
                lost: 0,
            };
            self.hand_to_subscribers(published, Lsn(0));
        }
    }

    fn expire_publications(&mut self) {
        let now = self.now.time;
        let mut expired = Vec::new();
        for queue in self.multicast.pending.values_mut() {
            while queue.front().is_some_and(|first| first.deadline <= now) {
                expired.extend(queue.pop_front());
            }
        }
        self.multicast.pending.retain(|_, queue| !queue.is_empty());
        self.multicast.open -= expired.len();
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

    pub(super) fn hand_to_subscribers(&mut self, published: Published, after: Lsn) {
        let matching =
            self.multicast.subscriptions.iter().filter(|(_, filter)| topic::matches(filter, &published.topic));
        for (token, _) in matching {
            let (token, reply) = (*token, Reply::Published(published.clone()));
            self.outputs.push_back(Output::Reply { token, reply, after, last: false });
        }
    }
}

fn new_stream(rng: &mut ChaCha20Rng) -> StreamId {
    let mut id = [0; StreamId::LEN];
    rng.fill_bytes(&mut id);
    StreamId(id)
}
