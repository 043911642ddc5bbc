//! Sessions: which sealing sessions exist, and which one seals.
//!
//! Messages are sealed under a *confirmed* session, the one confirmed last, or else under one that this device has
//! opened; receipts are sealed under the session that their messages came under. So a session that a peer opens takes
//! effect at once for the receipts of its own messages, and for everything else once the peer has shown that it holds
//! the final keys: a replayed opener earns answers that nobody can read, and displaces nothing. A session is opened by
//! the first thing that this device has to tell a contact, and again when the credential of either side has changed,
//! when the other side does not know it any more, or when it has sealed
//! [`MAX_RECORDS`](crate::identity::session::MAX_RECORDS).
//!
//! A session is found by the id under which this device receives, which it has chosen itself, and one that the peer is
//! opening by the id of its early records. So nobody can take another's place in this table. At most [`PER_PEER`]
//! sessions are kept for a peer and [`MAX_SESSIONS`] in all. Drop policy: of that peer, or else of the peer with most
//! sessions, the one unused for longest goes; those that may be the echo of an old opener go first.
//!
//! Invariants
//! 1. An opener makes at most one session while the process lives, as far back as the last [`MAX_SPENT`] openers of the
//!    peer.
//! - A session is bound to both credentials: a new epoch makes new sessions, and one whose credential is no longer
//!   accepted is dropped with its keys.
//! - Keys live in memory only, and are gone with the process.

use crate::engine::messages::push_only::Pushers;
use crate::id::{CredentialHash, CredentialPrefix, Name, SessionId};
use crate::identity::session::Session;
use crate::share::Rates;
use crate::time::{Time, Unix};
use crate::wire::data::Form;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, VecDeque};

/// Most sessions kept. Drop policy: see the module's documentation; the peer of a dropped session opens a new one when
/// it is told.
pub(in crate::engine) const MAX_SESSIONS: usize = 8_192;
/// Most sessions with one peer.
pub(in crate::engine) const PER_PEER: usize = 8;
/// Most openers of one peer that are remembered after their sessions have gone. Drop policy: the one spent first is
/// forgotten.
pub(in crate::engine) const MAX_SPENT: usize = 32;
/// After how many records in a row that do not open under a confirmed session the peer is told.
pub(in crate::engine) const MAX_FAILURES: u32 = 16;
/// How long the peer is not told again about the same session.
const QUIET: Duration = Duration::from_secs(10);
/// How long an answer to an opener is given to arrive before it is sent again on its own.
const ANSWER_PAUSE: Duration = Duration::from_secs(1);
/// From one session that is opened at once in place of another to the next; see [`Sessions::reopens`].
const REOPENED: Duration = Duration::from_secs(1);
/// How many NACKs one neighbour may cause at once; after that, one in each [`NACK_PACE`].
const NACK_BURST: u32 = 256;
/// See [`NACK_BURST`].
const NACK_PACE: Duration = Duration::from_millis(10);

/// One session, and what is known of its use.
pub(in crate::engine) struct Entry {
    pub session: Session,
    pub peer: Name,
    /// The credentials that it is bound to: this device's and the peer's.
    pub between: (CredentialHash, CredentialHash),
    /// Until when both credentials are accepted.
    until: Unix,
    used: Time,
    /// Whether messages were sealed under it, and not only receipts.
    pub carries: bool,
    /// How many records in a row did not open.
    failures: u32,
    told: Option<Time>,
    answered: Option<Time>,
}

/// The sessions with one peer.
#[derive(Default)]
struct Peer {
    sessions: Vec<SessionId>,
    preferred: Option<SessionId>,
    /// The early ids of the peer's openers whose sessions have gone.
    spent: VecDeque<SessionId>,
    /// When a session was last opened at once in place of one that the peer did not know any more.
    reopened: Option<Time>,
}

/// What is known of an opener by its early id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Early {
    /// The opener has made this session.
    Live(SessionId),
    /// The opener has made a session that is gone.
    Spent,
}

/// All sessions, by the id under which this device receives, and by peer.
pub(in crate::engine) struct Sessions {
    by_id: BTreeMap<SessionId, Entry>,
    openers: BTreeMap<SessionId, Early>,
    peers: BTreeMap<Name, Peer>,
    /// The session under which the turn's messages came, by sender.
    came: BTreeMap<Name, SessionId>,
    /// The sessions that have brought something in this turn although our answer has not arrived, each with the relays
    /// that the frame has passed.
    owing: BTreeMap<SessionId, Vec<CredentialPrefix>>,
    /// How often each neighbour may cause a NACK.
    pub nacks: Rates,
    /// The peers that only push, as they have said under their sessions.
    pub pushers: Pushers,
}

impl Sessions {
    /// Starts without sessions.
    pub(in crate::engine) fn new() -> Self {
        Self {
            by_id: BTreeMap::new(),
            openers: BTreeMap::new(),
            peers: BTreeMap::new(),
            came: BTreeMap::new(),
            owing: BTreeMap::new(),
            nacks: Rates::new(NACK_BURST, NACK_PACE),
            pushers: Pushers::default(),
        }
    }

    /// Draws an unused id to receive under.
    pub(in crate::engine) fn fresh_id(&self, rng: &mut ChaCha20Rng) -> SessionId {
        loop {
            let mut id = SessionId([0; SessionId::LEN]);
            rng.fill_bytes(&mut id.0);
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// The session to seal messages with, or `None` if none between these credentials can be used.
    pub(in crate::engine) fn sealing(
        &mut self,
        peer: &Name,
        between: (CredentialHash, CredentialHash),
    ) -> Option<SessionId> {
        let Self { by_id, peers, .. } = self;
        let peer = peers.get_mut(peer)?;
        let usable = |id: &SessionId| {
            let entry = by_id.get(id).filter(|entry| entry.between == between)?;
            (seals(&entry.session) && !entry.session.is_worn()).then_some((entry.session.is_confirmed(), entry.used))
        };
        if peer.preferred.is_none_or(|preferred| usable(&preferred).is_none()) {
            peer.preferred = peer.sessions.iter().copied().filter(|id| usable(id).is_some()).max_by_key(usable);
        }
        peer.preferred
    }

    /// Whether receipts to a peer can be sealed under a session.
    pub(in crate::engine) fn can_answer(&self, id: &SessionId, peer: &Name) -> bool {
        self.by_id.get(id).is_some_and(|entry| entry.peer == *peer && !entry.session.is_worn())
    }

    /// The session of an id, which is noted as used now.
    pub(in crate::engine) fn using(&mut self, id: &SessionId, now: Time) -> Option<&mut Entry> {
        let entry = self.by_id.get_mut(id)?;
        entry.used = now;
        Some(entry)
    }

    /// As [`Self::using`], for sealing: an answer to an opener is noted as sent.
    pub(in crate::engine) fn sealing_with(&mut self, id: &SessionId, now: Time) -> Option<&mut Entry> {
        let entry = self.using(id, now)?;
        if entry.session.form() == Form::Answer {
            entry.answered = Some(now);
        }
        Some(entry)
    }

    /// What is known of the opener with this early id.
    pub(in crate::engine) fn early(&self, id: &SessionId) -> Option<Early> {
        self.openers.get(id).copied()
    }

    /// Keeps a session. Returns how many others had to be dropped for it.
    pub(in crate::engine) fn insert(
        &mut self,
        session: Session,
        peer: Name,
        between: (CredentialHash, CredentialHash),
        until: Unix,
        now: Time,
    ) -> u64 {
        let mut dropped = 0;
        if self.peers.get(&peer).is_some_and(|peer| peer.sessions.len() >= PER_PEER) {
            dropped += u64::from(self.drop_one_of(&peer));
        } else if self.by_id.len() >= MAX_SESSIONS {
            let greediest = self.peers.iter().max_by_key(|(_, peer)| peer.sessions.len());
            let greediest = greediest.map(|(name, _)| name.clone());
            dropped += u64::from(greediest.is_some_and(|peer| self.drop_one_of(&peer)));
        }
        let id = session.id();
        let known = self.peers.entry(peer.clone()).or_default();
        known.sessions.push(id);
        if let Some(early) = session.early() {
            self.openers.insert(early, Early::Live(id));
        }
        let entry =
            Entry { session, peer, between, until, used: now, carries: false, failures: 0, told: None, answered: None };
        self.by_id.insert(id, entry);
        dropped
    }

    fn drop_one_of(&mut self, peer: &Name) -> bool {
        let Some(known) = self.peers.get(peer) else { return false };
        let rank = |id: &SessionId| self.by_id.get(id).map(|entry| (seals(&entry.session), entry.used));
        let least = known.sessions.iter().copied().min_by_key(rank);
        least.is_some_and(|id| self.forget(&id).is_some())
    }

    /// Notes that a record has opened, so that the peer has these keys. If that has just confirmed the session, it is
    /// the one to seal with from now on.
    pub(in crate::engine) fn opened(&mut self, id: &SessionId, was_confirmed: bool) {
        let Some(entry) = self.by_id.get_mut(id) else { return };
        entry.failures = 0;
        if !was_confirmed
            && entry.session.is_confirmed()
            && let Some(peer) = self.peers.get_mut(&entry.peer)
        {
            peer.preferred = Some(*id);
        }
    }

    /// Notes that a record has not opened. Returns whether the peer is to be told that the two ends disagree.
    pub(in crate::engine) fn failed(&mut self, id: &SessionId, now: Time) -> bool {
        let Some(entry) = self.by_id.get_mut(id).filter(|entry| entry.session.is_confirmed()) else { return false };
        entry.failures += 1;
        let due = entry.failures >= MAX_FAILURES && entry.told.is_none_or(|told| told + QUIET <= now);
        if due {
            (entry.failures, entry.told) = (0, Some(now));
        }
        due
    }

    /// Notes that messages have come under a session, so that their receipts go back under it.
    pub(in crate::engine) fn messages_came(&mut self, from: &Name, id: SessionId) {
        let confirmed = |id: &SessionId| self.by_id.get(id).is_some_and(|entry| entry.session.is_confirmed());
        // Of two sessions a confirmed one is preferred, since the other may be the echo of an old opener.
        let better = self.came.get(from).is_none_or(|other| confirmed(&id) || !confirmed(other));
        if better {
            self.came.insert(from.clone(), id);
        }
    }

    /// Notes that something has come whose sender has had no answer to its opener yet, over these relays.
    pub(in crate::engine) fn owes_answer(&mut self, id: SessionId, visited: &[CredentialPrefix]) {
        self.owing.insert(id, visited.to_vec());
    }

    /// Takes the sessions under which the turn's messages came, by sender.
    pub(in crate::engine) fn take_came(&mut self) -> BTreeMap<Name, SessionId> {
        core::mem::take(&mut self.came)
    }

    /// Takes those who are to be sent an answer alone, since the turn had nothing else to tell them: the peer, the
    /// session, and the relays that its frame has passed.
    pub(in crate::engine) fn take_owing(&mut self, now: Time) -> Vec<(Name, SessionId, Vec<CredentialPrefix>)> {
        let owing = core::mem::take(&mut self.owing);
        let due = owing.into_iter().filter_map(|(id, visited)| {
            let entry = self.by_id.get(&id).filter(|entry| entry.session.form() == Form::Answer)?;
            let due = entry.answered.is_none_or(|answered| answered + ANSWER_PAUSE <= now);
            due.then(|| (entry.peer.clone(), id, visited))
        });
        due.collect()
    }

    /// The session with a peer that the peer calls by this id, under that credential of the peer.
    pub(in crate::engine) fn called(&self, peer: &Name, by: &CredentialHash, id: &SessionId) -> Option<SessionId> {
        let calls = |own: &&SessionId| {
            self.by_id.get(own).is_some_and(|entry| entry.session.to() == *id && entry.between.1 == *by)
        };
        self.peers.get(peer)?.sessions.iter().find(calls).copied()
    }

    /// Forgets a session, and returns its entry. Its opener is remembered as spent.
    pub(in crate::engine) fn forget(&mut self, id: &SessionId) -> Option<Entry> {
        let entry = self.by_id.remove(id)?;
        let peer = self.peers.entry(entry.peer.clone()).or_default();
        peer.sessions.retain(|known| known != id);
        peer.preferred = peer.preferred.filter(|preferred| preferred != id);
        if let Some(early) = entry.session.early() {
            self.openers.insert(early, Early::Spent);
            peer.spent.push_back(early);
            if peer.spent.len() > MAX_SPENT
                && let Some(first) = peer.spent.pop_front()
            {
                self.openers.remove(&first);
            }
        }
        Some(entry)
    }

    /// Whether another session is opened at once in place of one that the peer has known and does not know any more, as after its restart.
    /// It is not twice within [`REOPENED`]: a peer that knows none for long is sent to at a pace.
    pub(in crate::engine) fn reopens(&mut self, peer: &Name, now: Time) -> bool {
        let peer = self.peers.entry(peer.clone()).or_default();
        let due = peer.reopened.is_none_or(|last| last + REOPENED <= now);
        if due {
            peer.reopened = Some(now);
        }
        due
    }

    /// Forgets all sessions with a peer.
    pub(in crate::engine) fn forget_peer(&mut self, peer: &Name) {
        let sessions = self.peers.get(peer).map(|peer| peer.sessions.clone()).unwrap_or_default();
        for id in sessions {
            self.forget(&id);
        }
    }

    /// Forgets what is bound to a credential that is accepted no more.
    pub(in crate::engine) fn retire(&mut self, now: Unix) {
        let past: Vec<SessionId> =
            self.by_id.iter().filter(|(_, entry)| entry.until <= now).map(|(id, _)| *id).collect();
        for id in past {
            self.forget(&id);
        }
    }
}

/// Whether messages may be sealed with a session: not as long as it may be the echo of an old opener.
fn seals(session: &Session) -> bool {
    session.form() != Form::Answer
}
