//! Engines joined by queues, in virtual time: each frame takes a millisecond, each commit's flush five.

mod blobs;
mod links;

use super::disk::Disk;
use m2mesh::engine::api::{Command, Outcome, Reply, Send, Token};
use m2mesh::engine::store::Commit;
use m2mesh::engine::{Engine, Input, Output, Settings};
use m2mesh::id::{LinkId, Lsn, Name, Pseudonym};
use m2mesh::identity::invitation::{DEFAULT_SEGMENT, Invitation, MemoryRealm, enrol_all};
use m2mesh::identity::ledger::{Contacts, Ledger};
use m2mesh::identity::membership::Membership;
use m2mesh::time::{EpochLength, Now, Time, Unix};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::bulletin::Segment;
use m2mesh::wire::credential::Role;
use m2mesh::wire::data::Class;
use m2mesh::wire::frame::Kind;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub const FRAME: Duration = Duration::from_millis(1);
pub const FLUSH: Duration = Duration::from_millis(5);
const START: u64 = 1_800_000_000;

pub struct Node {
    pub engine: Engine,
    /// The pseudonym of its newest network.
    pub own: Pseudonym,
    pub disk: Disk,
    unflushed: VecDeque<(Time, Commit)>,
    durable: Lsn,
    held: Vec<(Lsn, Output)>,
    wake: Option<Time>,
    pub replies: Vec<(Token, Reply)>,
    pub finished: BTreeSet<Token>,
    /// Frames sent on links, for what an outsider who broke the transport would see.
    pub sent: Vec<Vec<u8>>,
    /// How often it wanted its membership saved.
    pub saves: usize,
    /// Commits that it has made.
    pub commits: usize,
    /// Whom it wanted dialled by nobody, and for how long.
    pub shunned: Vec<(Pseudonym, Duration)>,
}

/// A frame on its way.
struct Event {
    to: usize,
    link: LinkId,
    bytes: Vec<u8>,
}

/// More steps than are ever taken without time passing.
const MOST_AT_ONCE: u32 = 1_000_000;

pub struct Mesh {
    pub nodes: Vec<Node>,
    pub realm: MemoryRealm,
    events: VecDeque<(Time, Event)>,
    links: BTreeMap<(usize, usize), LinkId>,
    pub now: Now,
    rng: ChaCha20Rng,
    tokens: u64,
    next_link: u64,
    /// Outcomes told, also by engines that were restarted since.
    pub ended: BTreeMap<Token, Outcome>,
    /// Disks that do not flush at the moment.
    pub stuck: BTreeSet<usize>,
    /// How far clocks are ahead, in seconds.
    pub skew: BTreeMap<usize, i64>,
    /// Devices that do not reach the issuer.
    pub cut_off: BTreeSet<usize>,
    /// The number of moments at which something was done.
    pub steps: u64,
    /// Those whose requests to the issuer are under way without end.
    pub unanswered: BTreeSet<usize>,
    /// Processes that are stopped, with the frames that have come meanwhile.
    stopped: BTreeMap<usize, Vec<(LinkId, Vec<u8>)>>,
    settings: Vec<Settings>,
    /// Pairs whose frames vanish, one way.
    pub vanish: BTreeSet<(usize, usize)>,
    /// The pseudonym that each link is under, and whose ends those beside are.
    beneath: BTreeMap<LinkId, Pseudonym>,
    ends: BTreeMap<LinkId, usize>,
    /// Links beside those, over other bearers: the other end, and its own link.
    beside: BTreeMap<LinkId, (usize, LinkId)>,
    /// Kinds of the frames sent over these.
    pub sent_beside: Vec<(LinkId, u8)>,
    /// Kinds of all frames with how long each may wait for its link.
    pub patience: Vec<(u8, Option<Duration>)>,
    /// When each node gave a frame of how many bytes to a link.
    pub given: Vec<(Time, usize, usize)>,
    /// Data frames sent from one node to another since the last look.
    pub carried: BTreeMap<(usize, usize), usize>,
    seed: u64,
    /// The disks that keep blobs.
    pub blobs: blobs::Disks,
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

impl Mesh {
    pub fn new(names: &[&str]) -> Self {
        Self::with(names, |_| Settings::default())
    }

    /// Each with settings of its own.
    pub fn with(names: &[&str], settings: impl Fn(usize) -> Settings) -> Self {
        let nodes: Vec<(&str, u64)> = names.iter().map(|name| (*name, DEFAULT_SEGMENT)).collect();
        Self::in_segments(&nodes, Vec::new(), settings)
    }

    /// Each in segments of its own; what these reach stands in the bulletin.
    pub fn in_segments(nodes: &[(&str, u64)], reach: Vec<Segment>, settings: impl Fn(usize) -> Settings) -> Self {
        Self::of_seed(7, nodes, reach, settings)
    }

    /// The same of another seed: a realm and devices that have nothing in common with those of the first.
    pub fn of_seed(
        seed: u64,
        nodes: &[(&str, u64)],
        reach: Vec<Segment>,
        settings: impl Fn(usize) -> Settings,
    ) -> Self {
        Self::of_roles(seed, nodes, reach, |_| 0, settings)
    }

    /// The same, where some have roles.
    pub fn of_roles(
        seed: u64,
        nodes: &[(&str, u64)],
        reach: Vec<Segment>,
        roles: impl Fn(usize) -> u16,
        settings: impl Fn(usize) -> Settings,
    ) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let now = Now { time: Time(1_000_000), unix: Unix::from_seconds(START) };
        let mut realm = MemoryRealm::found(EpochLength::HOUR, now.unix, &mut rng).expect("a realm");
        let mut body = realm.bulletin.body().clone();
        body.segments = reach;
        let mut bulletin = realm.founding.operator.sign(&body).expect("the operator's");
        bulletin.inherit(&realm.bulletin);
        realm.bulletin = bulletin;
        let strangers = nodes.iter().any(|(n, _)| n.starts_with("stranger"));
        let invitations = nodes.iter().enumerate().map(|(at, (n, segments))| {
            let anonymity = settings(at).anonymity;
            // Where one is called a stranger, nobody has a card of anybody before the test says so.
            let contacts = if strangers { Contacts::Some(Vec::new()) } else { Contacts::All };
            // Who may broadcast is called so.
            let caster = if n.starts_with("caster") { Role::Broadcast as u16 } else { 0 };
            let roles = roles(at) | caster;
            Invitation { segments: *segments, roles, anonymity, ..Invitation::new(name(n), contacts) }
        });
        let invitations = invitations.collect();
        let MemoryRealm { issuer, book, bulletin, .. } = &mut realm;
        let members = enrol_all(issuer, book, bulletin, invitations, 4, now.unix, &mut rng).expect("members");
        let mut mesh = Self {
            nodes: Vec::new(),
            realm,
            events: VecDeque::new(),
            links: BTreeMap::new(),
            now,
            rng,
            tokens: 0,
            next_link: 0,
            ended: BTreeMap::new(),
            stuck: BTreeSet::new(),
            skew: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            steps: 0,
            stopped: BTreeMap::new(),
            settings: (0..nodes.len()).map(settings).collect(),
            vanish: BTreeSet::new(),
            beneath: BTreeMap::new(),
            ends: BTreeMap::new(),
            beside: BTreeMap::new(),
            sent_beside: Vec::new(),
            patience: Vec::new(),
            given: Vec::new(),
            carried: BTreeMap::new(),
            seed,
            blobs: blobs::Disks::default(),
        };
        for member in members {
            let node = mesh.boot(mesh.nodes.len(), member, Disk::default());
            mesh.nodes.push(node);
        }
        mesh
    }

    fn boot(&mut self, at: usize, member: Membership, disk: Disk) -> Node {
        let rng = ChaCha20Rng::seed_from_u64(self.next_link + 100 * (self.seed - 6));
        self.next_link += 1;
        let issuer = (member.name().as_str() == "issuer").then(|| member.issuer());
        let settings = self.settings[at].clone();
        let own = member.pseudonym(self.now_at(at).unix);
        let engine = Engine::new(member, issuer, settings, &disk, rng, self.now_at(at)).expect("a readable disk");
        Node {
            engine,
            own,
            disk,
            unflushed: VecDeque::new(),
            durable: Lsn(0),
            held: Vec::new(),
            wake: None,
            replies: Vec::new(),
            finished: BTreeSet::new(),
            sent: Vec::new(),
            saves: 0,
            commits: 0,
            shunned: Vec::new(),
        }
    }

    /// What a node's clocks say.
    fn now_at(&self, at: usize) -> Now {
        let ahead = self.skew.get(&at).copied().unwrap_or(0) * 1_000_000;
        Now { unix: Unix(self.now.unix.0.saturating_add_signed(ahead)), ..self.now }
    }

    /// The operator makes two devices contacts of each other: their next cards say so.
    pub fn introduce(&mut self, one: &str, other: &str) {
        self.realm.book.allow(&name(one), &name(other)).expect("both are there");
    }

    /// A node has other settings from its next start on.
    pub fn configure(&mut self, at: usize, settings: Settings) {
        self.settings[at] = settings;
    }

    /// A process stands still; what is sent to it waits.
    pub fn stop(&mut self, at: usize) {
        self.stopped.entry(at).or_default();
    }

    /// It goes on, and finds all that has come at once.
    pub fn go_on(&mut self, at: usize) {
        let now = self.now_at(at);
        for (link, bytes) in self.stopped.remove(&at).unwrap_or_default() {
            self.nodes[at].engine.handle(Input::Frames { link, buffer: bytes.into() }, now);
        }
        self.handle(at, Input::Timeout);
    }

    /// Crash and restart: what was not flushed is gone, links break.
    pub fn restart(&mut self, at: usize) {
        self.drop_beside(at);
        for other in 0..self.nodes.len() {
            if self.links.contains_key(&(at, other)) {
                self.disconnect(at, other);
            }
        }
        let stored = self.nodes[at].engine.membership().to_stored();
        let disk = self.nodes[at].disk.clone();
        let member = Membership::from_stored(&stored).expect("its own files");
        self.blobs.crash(at);
        self.nodes[at] = self.boot(at, member, disk);
        self.handle(at, Input::Timeout);
    }

    /// A restart that one neighbour does not notice: to it the link is the one that it was.
    pub fn restart_unseen(&mut self, at: usize, by: usize) {
        let linked = |mesh: &Self, other: &usize| *other != by && mesh.links.contains_key(&(at, *other));
        let others: Vec<usize> = (0..self.nodes.len()).filter(|other| linked(self, other)).collect();
        others.iter().for_each(|other| self.disconnect(at, *other));
        let stored = self.nodes[at].engine.membership().to_stored();
        let disk = self.nodes[at].disk.clone();
        let member = Membership::from_stored(&stored).expect("its own files");
        self.nodes[at] = self.boot(at, member, disk);
        self.link_up(at, by);
        others.iter().for_each(|other| self.connect(at, *other));
    }

    /// Lets go of what was sent, told and seen, so that a long run takes no more memory than a short one.
    pub fn forget_past(&mut self) {
        self.ended.clear();
        self.patience.clear();
        self.given.clear();
        self.sent_beside.clear();
        for node in &mut self.nodes {
            node.replies.clear();
            node.sent.clear();
        }
    }

    pub fn command(&mut self, at: usize, command: Command) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.handle(at, Input::Command { token, command });
        token
    }

    pub fn send(&mut self, from: usize, to: &str, payload: &[u8], ack: Ack, lifetime_s: u64) -> Token {
        self.command(from, Command::Send(message(to, payload, ack, lifetime_s)))
    }

    pub fn handle(&mut self, at: usize, input: Input) {
        let now = self.now_at(at);
        self.nodes[at].engine.handle(input, now);
        self.drain(at);
    }

    /// Runs until nothing is to happen before `for_` has passed.
    pub fn run(&mut self, for_: Duration) {
        let until = self.now.time + for_;
        let mut at_once = 0;
        loop {
            let flush = |(at, node): (usize, &Node)| {
                let stands = self.stuck.contains(&at) || self.stopped.contains_key(&at);
                node.unflushed.front().filter(|_| !stands).map(|(due, _)| *due)
            };
            let next = self.nodes.iter().enumerate().filter_map(flush).min();
            let goes = |(at, _): &(usize, &Node)| !self.stopped.contains_key(at);
            let wake = self.nodes.iter().enumerate().filter(goes).filter_map(|(_, node)| node.wake).min();
            let event = self.events.iter().map(|(at, _)| *at).min();
            let order = self.blobs.orders.front().map(|(at, ..)| *at);
            let Some(at) = [next, wake, event, order].into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            at_once = if at > self.now.time { 0 } else { at_once + 1 };
            assert!(at_once < MOST_AT_ONCE, "some node is woken again and again, and time does not pass");
            self.advance(at.max(self.now.time));
            self.step();
        }
        self.advance(until);
    }

    fn advance(&mut self, to: Time) {
        self.now.unix = self.now.unix + to.since(self.now.time);
        self.now.time = to;
    }

    fn step(&mut self) {
        self.steps += 1;
        let now = self.now.time;
        self.step_blobs();
        for at in (0..self.nodes.len()).filter(|at| !self.stopped.contains_key(at)).collect::<Vec<_>>() {
            while !self.stuck.contains(&at) && self.nodes[at].unflushed.front().is_some_and(|(due, _)| *due <= now) {
                let node = &mut self.nodes[at];
                if let Some((_, commit)) = node.unflushed.pop_front() {
                    node.durable = commit.lsn;
                    node.disk.apply(commit);
                }
                let held = std::mem::take(&mut node.held);
                for (after, output) in held {
                    self.release(at, after, output);
                }
            }
            if self.nodes[at].wake.is_some_and(|wake| wake <= now) {
                self.handle(at, Input::Timeout);
            }
        }
        let due: VecDeque<_> = {
            let (due, later) = std::mem::take(&mut self.events).into_iter().partition(|(at, _)| *at <= now);
            self.events = later;
            due
        };
        for (_, event) in due {
            let Event { to, link, bytes } = event;
            match self.stopped.get_mut(&to) {
                Some(waiting) => waiting.push((link, bytes)),
                None => self.handle(to, Input::Frames { link, buffer: bytes.into() }),
            }
        }
    }

    fn drain(&mut self, at: usize) {
        loop {
            match self.nodes[at].engine.poll_output() {
                Output::Wait(wake) => {
                    self.nodes[at].wake = wake;
                    return;
                }
                Output::Commit(commit) => {
                    let due = self.now.time + FLUSH;
                    self.nodes[at].commits += 1;
                    self.nodes[at].unflushed.push_back((due, commit));
                }
                output => {
                    let after = match &output {
                        Output::Send { after, .. } | Output::Reply { after, .. } => *after,
                        _ => Lsn(0),
                    };
                    self.release(at, after, output);
                }
            }
        }
    }

    fn release(&mut self, at: usize, after: Lsn, output: Output) {
        if after > self.nodes[at].durable {
            return self.nodes[at].held.push((after, output));
        }
        match output {
            Output::Send { link, frame, until, .. } => {
                let frame = frame.into_vec();
                self.patience.push((frame[4], until.map(|until| until.since(self.now.time))));
                self.given.push((self.now.time, at, frame.len()));
                self.nodes[at].sent.push(frame.clone());
                if let Some((to, link)) = self.beside.get(&link).copied() {
                    self.sent_beside.push((self.beside[&link].1, frame[4]));
                    let event = Event { to, link, bytes: frame };
                    return self.events.push_back((self.now.time + FRAME, event));
                }
                let Some((_, to)) = self.links.iter().find(|(_, on)| **on == link).map(|(ends, _)| *ends) else {
                    return;
                };
                if self.vanish.contains(&(at, to)) {
                    return;
                }
                if frame[4] == Kind::Data as u8 {
                    *self.carried.entry((at, to)).or_default() += 1;
                }
                if let Some(back) = self.links.get(&(to, at)).copied() {
                    self.events.push_back((self.now.time + FRAME, Event { to, link: back, bytes: frame }));
                }
            }
            Output::Reply { token, reply, last, .. } => {
                if let Reply::Outcome(outcome) = &reply {
                    self.ended.insert(token, outcome.clone());
                }
                self.nodes[at].replies.push((token, reply));
                if last {
                    let told: Vec<_> = self.nodes[at].replies.iter().filter(|(of, _)| *of == token).collect();
                    assert!(!self.nodes[at].finished.contains(&token), "{token:?} of {at} ended twice: {told:?}");
                    self.nodes[at].finished.insert(token);
                }
            }
            Output::Issue { origin, hello } => {
                let unix = self.now_at(at).unix;
                let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
                let reply = issuer.answer(&hello, book, bulletin, unix, &mut self.rng).reply;
                let pieces = origin.relayed().map(|id| issuer.pieces(id, &hello, &reply)).unwrap_or_default();
                self.handle(at, Input::Issued { origin, reply, pieces, event: None });
            }
            Output::Renew { .. } if self.unanswered.contains(&at) => {}
            Output::Renew { .. } if self.cut_off.contains(&at) => {
                self.handle(at, Input::Renewed(Err("nobody is there".into())));
            }
            Output::Renew { hello, .. } => {
                // As at the admission of the nearest neighbour.
                let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
                let answered = issuer.answer(&hello, book, bulletin, self.now.unix, &mut self.rng);
                self.handle(at, Input::Renewed(Ok(answered.reply)));
            }
            Output::Close { link, .. } => {
                if let Some((a, b)) = self.links.iter().find(|(_, on)| **on == link).map(|(ends, _)| *ends) {
                    self.disconnect(a, b);
                }
            }
            Output::Enrolled { id, reply } => {
                self.nodes[at].replies.push((Token(u64::MAX - id), enrolled(reply)));
            }
            Output::MembershipChanged { save } => self.nodes[at].saves += usize::from(save),
            Output::Blob(order) => self.blobs.order(self.now.time, at, order),
            Output::Shun { peer, rest } => self.nodes[at].shunned.push((peer, rest)),
            Output::Addresses { .. } | Output::Asleep { .. } => {}
            Output::Network { own, .. } => {
                self.handle(at, Input::Networked { own, result: Ok(Vec::new()) });
                self.link_anew(at, own);
            }
            Output::Leave { own } => self.leave(at, own),
            Output::Commit(_) | Output::Wait(_) => unreachable!("handled by the caller"),
        }
    }
}

pub fn message(to: &str, payload: &[u8], ack: Ack, lifetime_s: u64) -> Send {
    Send {
        to: name(to),
        payload: payload.to_vec(),
        ack,
        class: Class::Telemetry,
        policy: None,
        lifetime: Duration::from_secs(lifetime_s),
        id: None,
        latest: None,
    }
}

/// How the harness records an enrolment's answer among a node's replies.
fn enrolled(reply: m2mesh::wire::hello::EnrolReply) -> Reply {
    match reply.sealed {
        Some(sealed) => Reply::Response { from: name("issuer"), payload: sealed, latency: Duration::ZERO },
        None => Reply::Outcome(m2mesh::engine::api::Outcome::Refused {
            reason: reply.refused.map(|refusal| refusal.to_string()).unwrap_or_default(),
        }),
    }
}
