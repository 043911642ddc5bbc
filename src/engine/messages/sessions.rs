//! Sealing sessions: which there are, and which is sealed with.
//!
//! Messages are sealed under a *confirmed* session, the one confirmed last, or else under one of our own opening; receipts under the
//! session that their messages came under. So what a peer opens takes effect at once for its own messages, and for the rest
//! once it has shown that it holds the final keys: who hands in an old opener again gets answers that nobody can read, and displaces
//! nothing. A session is opened by the first thing we have to say to a contact, and again when either side's credential has
//! changed, when the other does not know it any more, or when it has sealed [`MAX_RECORDS`](crate::identity::session::MAX_RECORDS).
//!
//! We find a session by the id under which we receive, which we have chosen ourselves, and one that the peer is opening by the id of its early
//! records. Nobody can take another's place in this table. At most [`PER_PEER`] are kept of a peer and [`MAX_SESSIONS`] in all; there
//! goes the longest unused of that peer, and of the peer that has most, those that are not confirmed first.
//!
//! Invariants
//! 1. A session is bound to both credentials; a new epoch makes new ones, and what is bound to a credential that is accepted no
//!    more goes with its keys.
//! 2. Keys live in memory only, and are gone with the process.
//! 3. An opener makes one session at most while the process lives, as far back as [`MAX_SPENT`] openers of the peer.

use crate::id::{CredentialHash, CredentialPrefix, Name, SessionId};
use crate::identity::session::Session;
use crate::share::Rates;
use crate::time::{Time, Unix};
use crate::wire::data::Form;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, VecDeque};

/// Most sessions kept. Drop policy: see the module's documentation; the peer opens a new one upon our answer.
pub(in crate::engine) const MAX_SESSIONS: usize = 8_192;
/// Most sessions with one peer.
pub(in crate::engine) const PER_PEER: usize = 8;
/// Openers of one peer that are remembered after their sessions have gone. Drop policy: the first spent is forgotten.
pub(in crate::engine) const MAX_SPENT: usize = 32;
/// So many records in a row that do not open under a confirmed session, and the peer is told.
pub(in crate::engine) const MAX_FAILURES: u32 = 16;
/// How long a session is not told of again.
const QUIET: Duration = Duration::from_secs(10);
/// How long an answer is waited for to arrive before it is said again without there being anything else to say.
const ANSWER_PAUSE: Duration = Duration::from_secs(1);
/// Nacks over one link: so many at once, then one in each [`NACK_PACE`].
const NACK_BURST: u32 = 256;
/// See [`NACK_BURST`].
const NACK_PACE: Duration = Duration::from_millis(10);

/// One session.
pub(in crate::engine) struct Entry {
    pub session: Session,
    pub peer: Name,
    /// Our credential and the peer's.
    pub between: (CredentialHash, CredentialHash),
    /// Until when both are accepted.
    until: Unix,
    used: Time,
    /// Whether messages were sealed under it, and not receipts alone.
    pub carries: bool,
    /// Records in a row that did not open.
    failures: u32,
    told: Option<Time>,
    answered: Option<Time>,
}

/// The sessions with one peer.
#[derive(Default)]
struct Peer {
    sessions: Vec<SessionId>,
    preferred: Option<SessionId>,
    /// Early ids of its openers whose sessions have gone.
    spent: VecDeque<SessionId>,
}

/// What is known of an opener by its early id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Early {
    /// It has made this session.
    Live(SessionId),
    /// It has made one that is gone.
    Spent,
}

/// All sessions.
pub(in crate::engine) struct Sessions {
    by_id: BTreeMap<SessionId, Entry>,
    openers: BTreeMap<SessionId, Early>,
    peers: BTreeMap<Name, Peer>,
    /// Sessions under which the turn's messages came, by sender.
    came: BTreeMap<Name, SessionId>,
    /// Sessions to which the turn has brought something before our answer has arrived, and over which relays.
    owing: BTreeMap<SessionId, Vec<CredentialPrefix>>,
    /// How often each link may draw a nack.
    pub nacks: Rates,
}

impl Sessions {
    /// None yet.
    pub(in crate::engine) fn new() -> Self {
        Self {
            by_id: BTreeMap::new(),
            openers: BTreeMap::new(),
            peers: BTreeMap::new(),
            came: BTreeMap::new(),
            owing: BTreeMap::new(),
            nacks: Rates::new(NACK_BURST, NACK_PACE),
        }
    }

    /// An id to receive under.
    pub(in crate::engine) fn fresh_id(&self, rng: &mut ChaCha20Rng) -> SessionId {
        loop {
            let mut id = SessionId([0; SessionId::LEN]);
            rng.fill_bytes(&mut id.0);
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// The session to seal messages with, if there is one that binds these credentials.
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

    /// Whether receipts to a peer can go under a session.
    pub(in crate::engine) fn can_answer(&self, id: &SessionId, peer: &Name) -> bool {
        self.by_id.get(id).is_some_and(|entry| entry.peer == *peer && !entry.session.is_worn())
    }

    /// A session that is used now.
    pub(in crate::engine) fn using(&mut self, id: &SessionId, now: Time) -> Option<&mut Entry> {
        let entry = self.by_id.get_mut(id)?;
        entry.used = now;
        Some(entry)
    }

    /// As [`Self::using`], to seal with.
    pub(in crate::engine) fn sealing_with(&mut self, id: &SessionId, now: Time) -> Option<&mut Entry> {
        let entry = self.using(id, now)?;
        if entry.session.form() == Form::Answer {
            entry.answered = Some(now);
        }
        Some(entry)
    }

    /// What is known of an opener.
    pub(in crate::engine) fn early(&self, id: &SessionId) -> Option<Early> {
        self.openers.get(id).copied()
    }

    /// Keeps a session. Answers how many had to go for it.
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

    /// A record has opened: the peer has these keys. Whoever has just been confirmed is sealed with from now on.
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

    /// A record has not opened. Answers whether the peer is to be told that we do not agree.
    pub(in crate::engine) fn failed(&mut self, id: &SessionId, now: Time) -> bool {
        let Some(entry) = self.by_id.get_mut(id).filter(|entry| entry.session.is_confirmed()) else { return false };
        entry.failures += 1;
        let due = entry.failures >= MAX_FAILURES && entry.told.is_none_or(|told| told + QUIET <= now);
        if due {
            (entry.failures, entry.told) = (0, Some(now));
        }
        due
    }

    /// Messages have come under a session, over these relays: receipts go back under it.
    pub(in crate::engine) fn messages_came(&mut self, from: &Name, id: SessionId) {
        let confirmed = |id: &SessionId| self.by_id.get(id).is_some_and(|entry| entry.session.is_confirmed());
        // Of two the one that is no echo.
        let better = self.came.get(from).is_none_or(|other| confirmed(&id) || !confirmed(other));
        if better {
            self.came.insert(from.clone(), id);
        }
    }

    /// Something has come whose sender has no answer yet.
    pub(in crate::engine) fn owes_answer(&mut self, id: SessionId, visited: &[CredentialPrefix]) {
        self.owing.insert(id, visited.to_vec());
    }

    /// Under which sessions the turn's messages came, by sender.
    pub(in crate::engine) fn take_came(&mut self) -> BTreeMap<Name, SessionId> {
        core::mem::take(&mut self.came)
    }

    /// Whom to give an answer alone, since the turn had nothing else to say: peer, session, and the relays it came over.
    pub(in crate::engine) fn take_owing(&mut self, now: Time) -> Vec<(Name, SessionId, Vec<CredentialPrefix>)> {
        let owing = core::mem::take(&mut self.owing);
        let due = owing.into_iter().filter_map(|(id, visited)| {
            let entry = self.by_id.get(&id).filter(|entry| entry.session.form() == Form::Answer)?;
            let due = entry.answered.is_none_or(|answered| answered + ANSWER_PAUSE <= now);
            due.then(|| (entry.peer.clone(), id, visited))
        });
        due.collect()
    }

    /// The session of ours that a peer calls by this id, under that credential of its.
    pub(in crate::engine) fn called(&self, peer: &Name, by: &CredentialHash, id: &SessionId) -> Option<SessionId> {
        let calls = |own: &&SessionId| {
            self.by_id.get(own).is_some_and(|entry| entry.session.to() == *id && entry.between.1 == *by)
        };
        self.peers.get(peer)?.sessions.iter().find(calls).copied()
    }

    /// Forgets a session; whom it was with.
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

/// Whether messages may be sealed with it: not while it may be the echo of an old opener.
fn seals(session: &Session) -> bool {
    session.form() != Form::Answer
}
