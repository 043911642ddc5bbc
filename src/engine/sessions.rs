//! Sealing sessions: at most one of our making with each contact, and those that contacts made with us.
//!
//! A session is opened by the first thing we have to say to a contact, and again when either side's credential
//! has changed, or when the other does not know it any more. Whatever was sealed under it before can be opened
//! until it is forgotten: [`MAX_SESSIONS`] are kept, the longest unused is dropped first.
//!
//! Invariants
//! 1. A session is bound to both credentials; a new epoch makes new ones.
//! 2. Keys live in memory only, and are gone with the process.

use crate::id::{CredentialHash, Name, SessionId};
use crate::identity::session::Session;
use crate::time::Time;
use std::collections::BTreeMap;

/// Most sessions kept. Drop policy: the longest unused goes; its peer opens a new one upon our answer.
pub(super) const MAX_SESSIONS: usize = 8_192;

/// One session.
pub(super) struct Entry {
    pub session: Session,
    pub peer: Name,
    /// Our credential and the peer's.
    pub between: (CredentialHash, CredentialHash),
    used: Time,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<SessionId, Entry>,
    /// The session we seal with, for each contact.
    preferred: BTreeMap<Name, SessionId>,
}

impl Sessions {
    /// The session to seal with, if it still binds these credentials.
    pub(super) fn sealing(
        &mut self,
        peer: &Name,
        between: (CredentialHash, CredentialHash),
        now: Time,
    ) -> Option<&mut Session> {
        let entry = self.by_id.get_mut(self.preferred.get(peer)?)?;
        if entry.between != between {
            return None;
        }
        entry.used = now;
        Some(&mut entry.session)
    }

    /// The session under which something came.
    pub(super) fn opening(&mut self, id: &SessionId, now: Time) -> Option<&mut Entry> {
        let entry = self.by_id.get_mut(id)?;
        entry.used = now;
        Some(entry)
    }

    /// Whom a session is with, and under which credential.
    pub(super) fn with(&self, id: &SessionId) -> Option<(Name, CredentialHash)> {
        self.by_id.get(id).map(|entry| (entry.peer.clone(), entry.between.1))
    }

    /// Keeps a session; it is sealed with from now on, whoever has opened it: a peer that opens one knows none of the
    /// others, and one that has opened another at the same moment knows both. Answers whether another had to go.
    pub(super) fn insert(
        &mut self,
        session: Session,
        peer: Name,
        between: (CredentialHash, CredentialHash),
        now: Time,
    ) -> bool {
        let full = self.by_id.len() >= MAX_SESSIONS;
        if full && let Some(oldest) = self.by_id.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) {
            self.by_id.remove(&oldest);
        }
        self.preferred.insert(peer.clone(), session.id());
        self.by_id.insert(session.id(), Entry { session, peer, between, used: now });
        full
    }

    /// The peer does not know this session: forget it. Answers whether it was one with that peer.
    pub(super) fn forget(&mut self, id: &SessionId, peer: &Name) -> bool {
        if self.by_id.get(id).is_none_or(|entry| entry.peer != *peer) {
            return false;
        }
        self.by_id.remove(id);
        if self.preferred.get(peer) == Some(id) {
            self.preferred.remove(peer);
        }
        true
    }
}
