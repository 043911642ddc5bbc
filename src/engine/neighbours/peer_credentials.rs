//! Peer credentials: the credentials of other devices, which verify their frames, and to which link state and paths
//! refer by hash.
//!
//! A credential comes from a neighbour at admission, from whoever opens a session, as the answer to a question for a
//! device, or on request because something waits for it. One that nobody has requested is not even verified
//! (`credentials_unasked`), so that a neighbour cannot fill the table.
//!
//! Invariants
//! 1. Every credential in the table has been verified.
//! 2. At most [`MAX_CREDENTIALS`] are kept. Drop policy: of those that are not in use, the one learnt first goes
//!    (`credentials_forgotten`); if all are in use, the one learnt first.

use crate::id::{CredentialHash, CredentialPrefix, LinkId, Pseudonym};
use crate::identity::credential::PeerCredential;
use crate::share::Shares;
use crate::time::Time;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most credentials kept: those of all routers of an area in three epochs, and as many of publishers.
pub(in crate::engine) const MAX_CREDENTIALS: usize = 8_192;

/// How long an answer to a request may take: twice the round trip over the slowest link.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most credentials requested at a time, each for something that came over a link. Drop policy: of the link with the
/// most requests, the oldest request is withdrawn, so that its answer counts as not requested (`credentials_unasked`).
const MAX_ASKED: usize = 4_096;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct PeerCredentials {
    /// The credentials requested, each with the time of its latest request.
    asked: BTreeMap<CredentialHash, Time>,
    /// The same credentials, by the link whose frames they are requested for.
    shares: Shares<CredentialHash>,
    known: BTreeMap<CredentialHash, PeerCredential>,
    /// The known credentials in the order in which they were learnt, but for those passed over because they were in
    /// use.
    learnt: VecDeque<CredentialHash>,
    most: usize,
}

impl PeerCredentials {
    pub(in crate::engine) fn new(most: usize) -> Self {
        Self {
            asked: BTreeMap::new(),
            shares: Shares::new(MAX_ASKED),
            known: BTreeMap::new(),
            learnt: VecDeque::new(),
            most,
        }
    }

    pub(in crate::engine) fn get(&self, hash: &CredentialHash) -> Option<&PeerCredential> {
        self.known.get(hash)
    }

    /// Notes that a credential is requested, because of something that came over a link.
    pub(in crate::engine) fn note_asked(&mut self, link: LinkId, hash: CredentialHash, now: Time) {
        self.asked.insert(hash, now);
        if let Some(gone) = self.shares.enter(link, hash) {
            self.asked.remove(&gone);
        }
    }

    /// Withdraws the requests for a link that is gone. A neighbour that reconnects again and again has no more than one
    /// share.
    pub(in crate::engine) fn forget_link(&mut self, link: LinkId) {
        for hash in self.shares.forget(&link) {
            self.asked.remove(&hash);
        }
    }

    /// Withdraws the request for a credential; returns whether it was requested, and recently enough.
    pub(in crate::engine) fn take_asked(&mut self, hash: &CredentialHash, now: Time) -> bool {
        self.shares.leave(hash);
        self.asked.remove(hash).is_some_and(|at| at + PATIENCE > now)
    }

    pub(in crate::engine) fn knows(&self, hash: &CredentialHash) -> bool {
        self.known.contains_key(hash)
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.known.len()
    }

    /// A credential as it was signed.
    pub(in crate::engine) fn signed(&self, hash: &CredentialHash) -> Option<Arc<[u8]>> {
        self.known.get(hash).map(|credential| credential.signed.clone())
    }

    /// The device that a credential belongs to.
    pub(in crate::engine) fn pseudonym(&self, hash: &CredentialHash) -> Option<Pseudonym> {
        self.known.get(hash).map(|credential| credential.body.key)
    }

    /// The devices whose credentials begin with a prefix.
    pub(in crate::engine) fn under(&self, prefix: &CredentialPrefix) -> impl Iterator<Item = Pseudonym> {
        self.known.range(prefix.hashes()).map(|(_, credential)| credential.body.key)
    }

    /// Keeps a verified credential. Returns whether another one was dropped for it.
    pub(in crate::engine) fn learn(
        &mut self,
        credential: PeerCredential,
        in_use: impl Fn(&PeerCredential) -> bool,
    ) -> bool {
        if self.known.contains_key(&credential.hash) {
            return false;
        }
        let full = self.known.len() >= self.most;
        if full {
            let spare = |hash: &CredentialHash| self.known.get(hash).is_none_or(|known| !in_use(known));
            let place = self.learnt.iter().position(spare).unwrap_or(0);
            // The credentials before it are in use. They go to the back, so that they are not looked at again each
            // time.
            self.learnt.rotate_left(place);
            if let Some(oldest) = self.learnt.pop_front() {
                self.known.remove(&oldest);
            }
        }
        self.learnt.push_back(credential.hash);
        self.known.insert(credential.hash, credential);
        full
    }

    /// The credentials that are accepted are others. Returns those that are so no more.
    pub(in crate::engine) fn heed(&mut self, accepts: impl Fn(&PeerCredential) -> bool) -> Vec<PeerCredential> {
        let gone = self.known.extract_if(.., |_, known| !accepts(known)).map(|(_, known)| known).collect();
        self.learnt.retain(|hash| self.known.contains_key(hash));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;
    use crate::identity::invitation::MemoryRealm;
    use crate::time::{EpochLength, Unix};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    /// Credentials that differ in their hash.
    fn credentials(count: u8) -> Vec<PeerCredential> {
        let now = Unix::from_seconds(1_800_000_000);
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut realm = MemoryRealm::found(EpochLength::HOUR, now, &mut rng).expect("a realm");
        let member = realm.enrol([Name::new("one").expect("a name")], 1, now, &mut rng).expect("a member").remove(0);
        let own = member.credential(now).expect("a credential");
        let of = |n: u8| PeerCredential {
            hash: CredentialHash([n; CredentialHash::LEN]),
            body: own.body.clone(),
            signed: own.signed.clone(),
        };
        (0..count).map(of).collect()
    }

    /// Invariant 2.
    #[test]
    fn who_hands_over_many_credentials_drives_out_none_that_is_in_use() {
        let mut peers = PeerCredentials::new(4);
        let all = credentials(40);
        let in_use = |known: &PeerCredential| known.hash.0[0] < 2;
        for (at, credential) in all.iter().enumerate() {
            assert_eq!(peers.learn(credential.clone(), in_use), at >= 4);
            assert!(!peers.learn(credential.clone(), in_use), "it is known");
            assert!(peers.len() <= 4);
        }
        let kept: Vec<u8> = all.iter().filter(|known| peers.knows(&known.hash)).map(|known| known.hash.0[0]).collect();
        assert_eq!(kept, [0, 1, 38, 39]);
    }

    #[test]
    fn what_was_asked_for_is_taken_once_and_for_a_while_and_no_more_is_remembered_than_may_be() {
        let hash = |n: u16| {
            let mut hash = [0; CredentialHash::LEN];
            hash[..2].copy_from_slice(&n.to_be_bytes());
            CredentialHash(hash)
        };
        let (mut peers, link) = (PeerCredentials::new(4), LinkId(1));
        peers.note_asked(link, hash(1), Time(0));
        assert!(!peers.take_asked(&hash(2), Time(1)));
        assert_eq!([peers.take_asked(&hash(1), Time(1)), peers.take_asked(&hash(1), Time(1))], [true, false]);
        peers.note_asked(link, hash(1), Time(0));
        peers.note_asked(link, hash(3), Time(0));
        peers.note_asked(link, hash(3), Time(0) + PATIENCE);
        assert!(!peers.take_asked(&hash(1), Time(0) + PATIENCE), "too long ago");
        assert!(peers.take_asked(&hash(3), Time(0) + PATIENCE), "asked for again since");
        // One neighbour sends names that nobody knows, without end; what another's frames wait for is accepted all the
        // same.
        peers.note_asked(LinkId(2), hash(30_000), Time(0) + PATIENCE);
        (0..20_000).for_each(|n| peers.note_asked(link, hash(n), Time(0) + PATIENCE));
        assert!(peers.asked.len() <= MAX_ASKED && peers.shares.len() <= MAX_ASKED);
        for (n, taken) in [(19_999, true), (9, false), (30_000, true)] {
            assert_eq!(peers.take_asked(&hash(n), Time(0) + PATIENCE), taken, "{n}");
        }
        peers.forget_link(link);
        assert!(!peers.take_asked(&hash(19_998), Time(0) + PATIENCE) && peers.asked.is_empty());
    }

    #[test]
    fn where_all_are_in_use_the_one_learnt_first_goes() {
        let mut peers = PeerCredentials::new(2);
        let all = credentials(3);
        for credential in &all {
            peers.learn(credential.clone(), |_| true);
        }
        let kept: Vec<bool> = all.iter().map(|known| peers.knows(&known.hash)).collect();
        assert_eq!(kept, [false, true, true]);
    }
}
