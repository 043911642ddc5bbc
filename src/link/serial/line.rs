//! Line: everything on one line: who begins, which sessions there are, and which line frame leaves next.
//!
//! **Who begins.** Every pseudonym of this device that has no session opens one, again and again, at intervals that grow
//! and follow the line's rate. Of two ends that open at once the one with the lower number goes on, and the other
//! answers. The newest pseudonym answers. While this end may not begin, since its bearer is closed, it only answers, and
//! the sessions that are up go on.
//!
//! **Pace.** A line frame leaves when the one before it has left the line, by the line's rate, so that no buffer below
//! fills with what is less urgent than what comes next. Pieces of handshakes alternate with what sessions send.
//!
//! **Sessions.** A new session with the same neighbour under the same pseudonym takes the place of the one before: the
//! neighbour has been restarted, or the keys are worn.
//!
//! Invariants
//! 1. There are at most [`MAX_SESSIONS`] sessions and one answer under way. Drop policy: of sessions the one that was
//!    heard the longest ago, of answers the older.
//! 2. While a frame of the least urgency is sent, one of the highest waits for no other line frame of its session.
//! - An own line frame that an echo returns has no effect.

mod admitting;

use super::handshake::{Answering, Collected, Opening, cut};
use super::packet::Packet;
use super::session::{Carried, Happened, Pace, Session};
use super::{Ending, Guard, MAX_MTU, MIN_MTU, framing};
use crate::id::Pseudonym;
use crate::time::Time;
use crate::wire::OutFrame;
use bytes::Bytes;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};

/// The most sessions of a line: two pseudonyms at each end.
pub const MAX_SESSIONS: usize = 4;
/// How early before the end of a line frame the next one may be handed over.
const LEAD: Duration = Duration::from_millis(5);
/// How often the last message of a handshake is sent.
const MOST_TRIES: u32 = 6;
/// The shortest time after which an idle session asks.
const LEAST_KEEP: Duration = Duration::from_secs(5);
/// The least bytes that may wait in a lane.
const LEAST_WAITING: usize = 1_024;
/// How long what waits in a lane may take to leave.
const WAITING_TIME: Duration = Duration::from_millis(250);

/// What is known of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Octets a second.
    pub rate: u32,
    /// The longest line frame, in bytes before stuffing.
    pub mtu: usize,
    /// How long an idle session waits before it asks.
    pub keep: Duration,
}

/// Something that has become of a line.
#[derive(Debug)]
pub enum Event<P> {
    /// A neighbour was admitted.
    Up {
        /// The number of the session.
        id: u32,
        /// The own pseudonym.
        own: Pseudonym,
        /// The neighbour's pseudonym.
        peer: Pseudonym,
        /// What is known of it.
        found: P,
        /// Whether this end began.
        outbound: bool,
        /// An upper bound of the age of its hello.
        age: Duration,
    },
    /// A session has ended.
    Down {
        /// Its number.
        id: u32,
        /// Why.
        reason: String,
    },
    /// Frames of a session that is about to end.
    Frames {
        /// Its number.
        id: u32,
        /// Whole frames.
        bytes: Bytes,
    },
    /// Something else has become of a session.
    Session {
        /// Its number.
        id: u32,
        /// What.
        happened: Happened,
    },
    /// A neighbour was refused, or has refused this end.
    Refused {
        /// The pseudonym of this end.
        own: Pseudonym,
        /// The reason code, in kebab case.
        reason: &'static str,
    },
}

/// What was counted on a line since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Octets that belong to no frame.
    pub noise: u64,
    /// Frames whose check failed.
    pub corrupt: u64,
    /// Sound frames of no session here, or of none any more.
    pub stray: u64,
    /// Segments sent once more.
    pub again: u64,
}

/// One line. See the module's documentation.
pub struct Line<G: Guard> {
    settings: Settings,
    rng: ChaCha20Rng,
    deframer: framing::Deframer,
    /// When the line has sent all that it was given.
    free: Time,
    /// The pseudonyms of this device, the newest last.
    agents: Vec<Agent<G>>,
    /// The answer under way, and the pseudonym that has made it.
    answering: Option<(Pseudonym, Answering)>,
    entries: BTreeMap<u32, Entry<G::Peer>>,
    collected: Collected,
    /// Line frames of handshakes that wait.
    pieces: VecDeque<Vec<u8>>,
    /// Whether the last line frame was one of these.
    was_piece: bool,
    /// The session that sent last.
    turn: u32,
    /// Whether this end may begin a session.
    begins: bool,
    events: VecDeque<Event<G::Peer>>,
    tally: Tally,
}

struct Agent<G> {
    guard: G,
    opening: Option<Opening>,
    /// When the first message was made last.
    sent: Time,
    /// When the first message is due, or due again.
    at: Time,
    tries: u32,
    refusals: u32,
}

struct Entry<P> {
    session: Session,
    own: Pseudonym,
    peer: Pseudonym,
    /// Until the other end has shown that it admits this one.
    pending: Option<Pending<P>>,
    /// The owner has been told that it is down; its last packet is yet to leave.
    gone: bool,
    counted: u64,
}

struct Pending<P> {
    found: P,
    last: Vec<u8>,
    at: Time,
    tries: u32,
    began: Time,
}

impl<G: Guard> Line<G> {
    /// A line without any pseudonym.
    pub fn new(settings: Settings, rng: ChaCha20Rng) -> Self {
        let mtu = settings.mtu.clamp(MIN_MTU, MAX_MTU);
        Self {
            settings: Settings { mtu, rate: settings.rate.max(1), ..settings },
            rng,
            deframer: framing::Deframer::default(),
            free: Time(0),
            agents: Vec::new(),
            answering: None,
            entries: BTreeMap::new(),
            collected: Collected::default(),
            pieces: VecDeque::new(),
            was_piece: false,
            turn: 0,
            begins: true,
            events: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Takes part under a pseudonym, from now on.
    pub fn enter(&mut self, guard: G, now: Time) {
        self.agents.push(Agent { guard, opening: None, sent: now, at: now, tries: 0, refusals: 0 });
    }

    /// Takes part no more under a pseudonym. Its sessions end without an event.
    pub fn leave(&mut self, own: &Pseudonym) {
        self.agents.retain(|agent| agent.guard.own() != *own);
        self.answering.take_if(|(by, _)| by == own);
        self.entries.retain(|_, entry| entry.own != *own || entry.pending.is_none());
        for entry in self.entries.values_mut().filter(|entry| entry.own == *own) {
            entry.session.end(Ending::Left);
            entry.gone = true;
        }
    }

    /// Everything on the line has ended, for this reason: the device is gone, or is another one.
    pub fn reset(&mut self, reason: &str, now: Time) {
        for (id, entry) in core::mem::take(&mut self.entries) {
            if !entry.gone && entry.pending.is_none() {
                self.events.push_back(Event::Down { id, reason: reason.to_owned() });
            }
        }
        self.deframer.reset();
        self.free = now;
        (self.answering, self.collected) = (None, Collected::default());
        self.pieces.clear();
        for agent in &mut self.agents {
            (agent.opening, agent.at, agent.tries, agent.refusals) = (None, now, 0, 0);
        }
    }

    /// Adds a frame to a lane of a session; `None` if there is no such session, `Some(false)` if the lane is full.
    pub fn send(&mut self, id: u32, lane: u8, frame: OutFrame) -> Option<bool> {
        let entry = self.entries.get_mut(&id).filter(|entry| !entry.gone && entry.pending.is_none())?;
        Some(entry.session.push(lane, frame))
    }

    /// Ends a session.
    pub fn close(&mut self, id: u32, reason: &str) {
        if let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.gone) {
            entry.session.end(Ending::Closed);
            entry.gone = true;
            self.events.push_back(Event::Down { id, reason: reason.to_owned() });
        }
    }

    /// Fetches frames that have arrived, with their session.
    pub fn fetch(&mut self, now: Time) -> Option<(u32, Bytes)> {
        let standing = self.entries.iter_mut().filter(|(_, entry)| !entry.gone && entry.pending.is_none());
        standing.into_iter().find_map(|(id, entry)| Some((*id, entry.session.fetch(now)?)))
    }

    /// Whether there is anything to fetch or to count.
    pub fn has_news(&self) -> bool {
        let framing::Deframer { noise, corrupt, .. } = self.deframer;
        let waits = |entry: &Entry<G::Peer>| entry.session.has_frames() && !entry.gone;
        noise + corrupt + self.tally.stray > 0 || !self.events.is_empty() || self.entries.values().any(waits)
    }

    /// Fetches the next event.
    pub fn event(&mut self) -> Option<Event<G::Peer>> {
        self.events.pop_front()
    }

    /// What was counted since the last call.
    pub fn tally(&mut self) -> Tally {
        (self.tally.noise, self.tally.corrupt) = (self.deframer.noise, self.deframer.corrupt);
        (self.deframer.noise, self.deframer.corrupt) = (0, 0);
        for entry in self.entries.values_mut() {
            let again = entry.session.carried().again;
            self.tally.again += again - core::mem::replace(&mut entry.counted, again);
        }
        core::mem::take(&mut self.tally)
    }

    /// What a session has carried, and its round trip.
    pub fn carried(&self, id: u32) -> Option<(Carried, Option<Duration>)> {
        self.entries.get(&id).map(|entry| (entry.session.carried(), entry.session.round_trip()))
    }

    /// The pseudonyms that take part, the newest last.
    pub fn guards(&self) -> impl Iterator<Item = &G> {
        self.agents.iter().map(|agent| &agent.guard)
    }

    /// The number of sessions that are up.
    pub fn sessions(&self) -> usize {
        self.entries.values().filter(|entry| !entry.gone && entry.pending.is_none()).count()
    }

    /// Takes octets that have come over the line.
    pub fn handle(&mut self, octets: &[u8], now: Time) {
        for octet in octets {
            if let Some(body) = self.deframer.push(*octet) {
                match Packet::decode(&body) {
                    Some(Packet::Piece(piece)) => self.handle_piece(&piece, now),
                    Some(Packet::Sealed { to, counter, sealed }) => self.handle_sealed(to, counter, sealed, now),
                    None => self.tally.stray += 1,
                }
            }
        }
    }

    fn handle_sealed(&mut self, to: u32, counter: u32, sealed: &[u8], now: Time) {
        let Some(entry) = self.entries.get_mut(&to) else {
            self.tally.stray += 1;
            return;
        };
        let (is_sound, ending) = entry.session.handle(counter, sealed, now);
        self.tally.stray += u64::from(!is_sound);
        let own = entry.own;
        match (ending, is_sound) {
            (Some(_), _) if entry.pending.is_some() => {
                self.entries.remove(&to);
                self.events.push_back(Event::Refused { own, reason: "peer-refused" });
                self.rest_after_refusal(&own, now);
            }
            (Some(ending), _) => self.end(to, ending),
            (None, true) => {
                if let Some(Pending { found, began, .. }) = entry.pending.take() {
                    let peer = entry.peer;
                    self.establish(to, own, peer);
                    let age = now.since(began);
                    self.events.push_back(Event::Up { id: to, own, peer, found, outbound: true, age });
                }
            }
            (None, false) => {}
        }
        self.collect_happened(to);
    }

    fn collect_happened(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        while let Some(happened) = entry.session.happened() {
            if !entry.gone && entry.pending.is_none() {
                self.events.push_back(Event::Session { id, happened });
            }
        }
    }

    /// A session is up: others with the same neighbour under the same pseudonym are not, nor is one too many.
    fn establish(&mut self, id: u32, own: Pseudonym, peer: Pseudonym) {
        let standing = |entry: &Entry<G::Peer>| !entry.gone && entry.pending.is_none();
        let same = |(other, entry): &(&u32, &Entry<G::Peer>)| **other != id && entry.own == own && entry.peer == peer;
        let mut ends: Vec<u32> =
            self.entries.iter().filter(|(_, entry)| standing(entry)).filter(same).map(|(id, _)| *id).collect();
        let others =
            self.entries.iter().filter(|(other, entry)| standing(entry) && **other != id && !ends.contains(other));
        if others.clone().count() >= MAX_SESSIONS {
            ends.extend(others.min_by_key(|(_, entry)| entry.session.heard_at()).map(|(id, _)| *id));
        }
        for other in ends {
            self.end(other, Ending::Replaced);
        }
        if let Some(agent) = self.agent(&own) {
            (agent.opening, agent.tries, agent.refusals) = (None, 0, 0);
        }
    }

    fn end(&mut self, id: u32, ending: Ending) {
        let Some(mut entry) = self.entries.remove(&id) else { return };
        if !entry.gone && entry.pending.is_none() {
            // They have been acknowledged.
            while let Some(bytes) = entry.session.fetch(Time(0)) {
                self.events.push_back(Event::Frames { id, bytes });
            }
            self.tally.again += entry.session.carried().again - entry.counted;
            self.events.push_back(Event::Down { id, reason: ending.to_string() });
        }
    }

    fn agent(&mut self, own: &Pseudonym) -> Option<&mut Agent<G>> {
        self.agents.iter_mut().find(|agent| agent.guard.own() == *own)
    }

    /// Handles timers that have expired.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.answering.as_ref().is_some_and(|(_, answering)| answering.touched + self.patience() <= now) {
            self.answering = None;
        }
        for id in self.entries.keys().copied().collect::<Vec<_>>() {
            self.handle_session_timeout(id, now);
        }
        for at in 0..self.agents.len() {
            self.open(at, now);
        }
    }

    fn handle_session_timeout(&mut self, id: u32, now: Time) {
        let interval = self.interval(0);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let own = entry.own;
        match &mut entry.pending {
            Some(pending) if pending.at <= now => {
                if pending.tries == MOST_TRIES {
                    self.entries.remove(&id);
                    self.events.push_back(Event::Refused { own, reason: "timeout" });
                    return self.rest_after_refusal(&own, now);
                }
                pending.at = now + interval * (1 << pending.tries);
                pending.tries += 1;
                let (last, mtu) = (pending.last.clone(), entry.session.mtu());
                let theirs = entry.session.theirs();
                self.pieces.extend(cut(id, theirs, 3, &last, mtu));
            }
            Some(_) => {}
            None => match entry.session.handle_timeout(now) {
                Ok(()) => self.collect_happened(id),
                Err(ending) => self.end(id, ending),
            },
        }
    }

    /// When [`Line::handle_timeout`] or [`Line::transmit`] is due.
    pub fn next_timeout(&self, now: Time) -> Option<Time> {
        let sends = !self.pieces.is_empty() || self.entries.values().any(|entry| entry.urgency(now).is_some());
        let sends = sends.then(|| now.max(self.free - LEAD));
        let agents = (0..self.agents.len()).filter(|at| self.wants(*at)).map(|at| self.agents[at].at);
        let entries = self.entries.values().map(|entry| match &entry.pending {
            Some(pending) => pending.at,
            None => entry.session.next_timeout(now),
        });
        let answering = self.answering.as_ref().map(|(_, answering)| answering.touched + self.patience());
        sends.into_iter().chain(agents).chain(entries).chain(answering).min()
    }

    /// Appends the next line frame, if the line is free and anything is to be sent. Returns whether it has.
    pub fn transmit(&mut self, out: &mut Vec<u8>, now: Time) -> bool {
        if now + LEAD < self.free {
            return false;
        }
        let Some(body) = self.next_body(now) else { return false };
        let start = out.len();
        framing::write(&body, out);
        self.free = self.free.max(now) + self.time_of(out.len() - start);
        true
    }

    /// What leaves next: pieces of handshakes alternate with the most urgent of the sessions.
    fn next_body(&mut self, now: Time) -> Option<Vec<u8>> {
        loop {
            // Of equally urgent ones, those with higher numbers than the last sender come first.
            let order = |id: u32| id.wrapping_sub(self.turn).wrapping_sub(1);
            let waiting = self.entries.iter().filter_map(|(id, entry)| Some((entry.urgency(now)?, order(*id), *id)));
            let urgent = waiting.min();
            if (urgent.is_none() || !self.was_piece)
                && let Some(piece) = self.pieces.pop_front()
            {
                self.was_piece = true;
                return Some(piece);
            }
            let (.., id) = urgent?;
            (self.turn, self.was_piece) = (id, false);
            // A session that has ended meanwhile sends nothing.
            if let Some(body) = self.next_of(id, now) {
                return Some(body);
            }
        }
    }

    fn next_of(&mut self, id: u32, now: Time) -> Option<Vec<u8>> {
        let (free, rate) = (self.free.max(now), self.settings.rate);
        let entry = self.entries.get_mut(&id)?;
        let next = entry.session.next(|body| free + time_of(body + framing::OVERHEAD, rate));
        let is_over = entry.session.is_ending();
        self.collect_happened(id);
        match next {
            Ok(body) => {
                if is_over {
                    self.end(id, Ending::Closed);
                }
                Some(body)
            }
            Err(ending) => {
                self.end(id, ending);
                None
            }
        }
    }

    fn time_of(&self, bytes: usize) -> Duration {
        time_of(bytes, self.settings.rate)
    }

    fn pace(&self, mtu: usize) -> Pace {
        let frame = self.time_of(mtu + framing::OVERHEAD);
        let keep = self.settings.keep.max(LEAST_KEEP).max(frame * 20);
        let in_time = u64::from(self.settings.rate) * WAITING_TIME.as_millis() as u64 / 1_000;
        let waiting = LEAST_WAITING.max(usize::try_from(in_time).unwrap_or(usize::MAX));
        Pace { mtu, frame, keep, dead: keep * 3, waiting }
    }
}

impl<P> Entry<P> {
    fn urgency(&self, now: Time) -> Option<u8> {
        if self.pending.is_some() { None } else { self.session.urgency(now) }
    }
}

fn time_of(bytes: usize, rate: u32) -> Duration {
    Duration::from_micros(bytes as u64 * 1_000_000 / u64::from(rate))
}
