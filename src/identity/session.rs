//! Sessions: sealing from device to device, past everyone in between.
//!
//! **Opening**, in the manner of Noise's X pattern (Noise Protocol Framework, revision 34, §7.4). The initiator I
//! knows the responder R's credential and contact key, and sends an [`Opener`]:
//!
//! 1. `e`: a fresh ephemeral key.
//! 2. `es` = DH(e, R's agreement key) seals I's credential, so that nobody on the way sees who opens.
//! 3. `ss` = DH(I's agreement key, R's) proves I's credential, and `cc` = DH(I's contact key, R's) that both are the
//!    devices whose cards they hold. An issuer that mints a false credential has no contact key, so it can neither
//!    read nor forge what passes between contacts.
//! 4. The transcript hash (ephemeral key, R's agreement key, both contact keys, sealed credential) is the salt, and
//!    `es ‖ ss ‖ cc` the input, of the keys for the proof and for each direction; session id, direction and both
//!    credentials' hashes are in their info.
//! 5. The proof is an empty seal: its tag shows that I has all of that before a record is read.
//!
//! **Records** go both ways on the one session: `session:8 | counter:8 | ciphertext | tag:16`, nonce = counter.
//!
//! Invariants
//! 1. A (key, nonce) pair is used once: keys come from a fresh ephemeral key, live in memory only, and the counter
//!    never repeats.
//! 2. A record opens once at most, within the last [`WINDOW`](super::replay_window::WINDOW) counters. This is a first filter; what makes delivery
//!    exactly once is the durable dedupe of inner ids.
//! 3. Sealing and opening a record allocate nothing beyond room in `out`.

use crate::id::{AgreementKey, CredentialHash, Handle, SessionId};
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::credential::{CredentialError, OwnCredential, PeerCredential};
use crate::identity::kdf::{self, Secret, label};
use crate::identity::record::RecordCipher;
use crate::identity::replay_window::ReplayWindow;
use crate::identity::seal::{self, SealError, TAG};
use crate::time::Unix;
use crate::wire::data::RECORD_OVERHEAD;
use crate::wire::opener::Opener;
use chacha20poly1305::ChaCha20Poly1305;
use core::fmt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// One session with another device; both ends seal and open on it.
pub struct Session {
    id: SessionId,
    peer: CredentialHash,
    sealing: RecordCipher,
    opening: RecordCipher,
    /// Counter of the next record sealed.
    next: u64,
    window: ReplayWindow,
}

/// Why a session or a record does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Too short, or of another session.
    #[error("the record is malformed")]
    Malformed,
    /// The opener was made for another credential, or changed on the way.
    #[error("the opener is not for this credential, or changed on the way")]
    Opener,
    /// The sender's credential is not accepted.
    #[error("the sender's credential is refused: {0}")]
    Credential(#[from] CredentialError),
    /// No card resolves the sender's handle: its card may come with the next pull.
    #[error("the sender is no contact")]
    UnknownContact(Handle),
    /// The sender does not hold the keys of its credential and its card.
    #[error("the sender has not proved its keys")]
    Proof,
    /// A public key of small order.
    #[error("the other end's key agrees with nobody")]
    WeakKey,
    /// Seen before, or older than the window.
    #[error("the record was seen before or is too old")]
    Replay,
    /// Changed on the way, or its header was.
    #[error("the record does not open")]
    Record,
}

impl Session {
    /// Opens a session to the holder of a credential whose card has `peer_contact`.
    pub fn open(
        rng: &mut ChaCha20Rng,
        own: &OwnCredential,
        own_contact: &ContactSecret,
        peer: &PeerCredential,
        peer_contact: &AgreementKey,
    ) -> Result<(Self, Opener), SessionError> {
        let ephemeral = seal::new_secret(rng);
        let mut id = SessionId([0; SessionId::LEN]);
        rng.fill_bytes(&mut id.0);
        let es = seal::agree(&ephemeral, &peer.body.agreement)?;
        let ss = seal::agree(&own.agreement, &peer.body.agreement)?;
        let cc = seal::agree(&own_contact.0, peer_contact)?;
        let e = seal::agreement_public(&ephemeral);
        let mut credential = own.signed.to_vec();
        let tag = seal::encrypt(&credential_cipher(&es, id, &e, &peer.body.agreement), 0, &[], &mut credential);
        credential.extend_from_slice(&tag);
        let schedule = Schedule {
            id,
            transcript: transcript(&e, &peer.body.agreement, &own_contact.public(), peer_contact, &credential),
            shared: shared(&es, &ss, &cc),
            initiator: own.hash,
            responder: peer.hash,
        };
        let proof = seal::encrypt(&schedule.proof_cipher(), 0, &[], &mut []);
        Ok((schedule.session(true), Opener { session: id, ephemeral: e, credential, proof }))
    }

    /// Takes an opener made for the credential `own`. `contact_key_of` says whose card resolves a handle.
    pub fn accept(
        opener: &Opener,
        own: &OwnCredential,
        own_contact: &ContactSecret,
        bulletin: &VerifiedBulletin,
        at: Unix,
        contact_key_of: &mut dyn FnMut(&Handle) -> Option<AgreementKey>,
    ) -> Result<(Self, PeerCredential), SessionError> {
        let Opener { session: id, ephemeral: e, credential: sealed, proof } = opener;
        let es = seal::agree(&own.agreement, e)?;
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG>().ok_or(SessionError::Malformed)?;
        let mut credential = ciphertext.to_vec();
        if !seal::decrypt(&credential_cipher(&es, *id, e, &own.body.agreement), 0, &[], &mut credential, tag) {
            return Err(SessionError::Opener);
        }
        let peer = bulletin.verify_credential(&credential, at)?;
        let peer_contact = contact_key_of(&peer.body.handle).ok_or(SessionError::UnknownContact(peer.body.handle))?;
        let ss = seal::agree(&own.agreement, &peer.body.agreement)?;
        let cc = seal::agree(&own_contact.0, &peer_contact)?;
        let schedule = Schedule {
            id: *id,
            transcript: transcript(e, &own.body.agreement, &peer_contact, &own_contact.public(), sealed),
            shared: shared(&es, &ss, &cc),
            initiator: peer.hash,
            responder: own.hash,
        };
        if !seal::decrypt(&schedule.proof_cipher(), 0, &[], &mut [], proof) {
            return Err(SessionError::Proof);
        }
        Ok((schedule.session(false), peer))
    }

    /// Seals a record and appends it to `out`; `aad` is what travels beside it in clear.
    pub fn seal_into(&mut self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        let counter = self.next;
        self.next += 1;
        out.reserve(RECORD_OVERHEAD + plain.len());
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&counter.to_be_bytes());
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self.sealing.seal(counter, aad, &mut out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Opens a record and appends its plaintext to `out`; on an error `out` is as it was.
    pub fn open_record(&mut self, aad: &[u8], record: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        let (id, rest) = record.split_first_chunk::<8>().ok_or(SessionError::Malformed)?;
        let (counter, rest) = rest.split_first_chunk::<8>().ok_or(SessionError::Malformed)?;
        if *id != self.id.0 || rest.len() < TAG {
            return Err(SessionError::Malformed);
        }
        let counter = u64::from_be_bytes(*counter);
        if !self.window.is_fresh(counter) {
            return Err(SessionError::Replay);
        }
        if !self.opening.open(counter, aad, rest, out) {
            return Err(SessionError::Record);
        }
        self.window.mark(counter);
        Ok(())
    }

    /// The session's id on records.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Credential of the other end.
    pub fn peer(&self) -> CredentialHash {
        self.peer
    }

    /// Records sealed so far.
    pub fn sealed(&self) -> u64 {
        self.next
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl From<SealError> for SessionError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::WeakKey => Self::WeakKey,
            SealError::Short | SealError::Opening => Self::Opener,
        }
    }
}

/// Which session a record belongs to.
pub fn session_of(record: &[u8]) -> Option<SessionId> {
    record.first_chunk::<8>().copied().map(SessionId)
}

/// Private half of a device's contact key.
#[derive(Clone)]
pub struct ContactSecret(StaticSecret);

impl ContactSecret {
    /// From 32 random bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(StaticSecret::from(secret))
    }

    /// The public half, which stands on the device's card.
    pub fn public(&self) -> AgreementKey {
        seal::agreement_public(&self.0)
    }
}

impl fmt::Debug for ContactSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactSecret(…)")
    }
}

/// What both ends know once the agreements are made.
struct Schedule {
    id: SessionId,
    transcript: [u8; 32],
    shared: Zeroizing<[u8; 96]>,
    initiator: CredentialHash,
    responder: CredentialHash,
}

impl Schedule {
    fn session(&self, initiator: bool) -> Session {
        let (mine, theirs) = if initiator { (0, 1) } else { (1, 0) };
        Session {
            id: self.id,
            peer: if initiator { self.responder } else { self.initiator },
            sealing: self.direction_cipher(mine),
            opening: self.direction_cipher(theirs),
            next: 0,
            window: ReplayWindow::default(),
        }
    }

    fn proof_cipher(&self) -> ChaCha20Poly1305 {
        let parts: [&[u8]; 3] = [&self.id.0, &self.initiator.0, &self.responder.0];
        seal::cipher(&kdf::derive_salted(&self.transcript, self.shared.as_slice(), label::SESSION_PROOF, &parts))
    }

    fn direction_cipher(&self, direction: u8) -> RecordCipher {
        let parts: [&[u8]; 4] = [&self.id.0, &[direction], &self.initiator.0, &self.responder.0];
        RecordCipher::new(&kdf::derive_salted(&self.transcript, self.shared.as_slice(), label::SESSION_KEY, &parts))
    }
}

fn credential_cipher(es: &Secret, id: SessionId, e: &AgreementKey, responder: &AgreementKey) -> ChaCha20Poly1305 {
    seal::cipher(&kdf::derive(es.as_slice(), label::SESSION_CREDENTIAL, &[&id.0, &e.0, &responder.0]))
}

fn transcript(
    e: &AgreementKey,
    responder: &AgreementKey,
    initiator_contact: &AgreementKey,
    responder_contact: &AgreementKey,
    credential: &[u8],
) -> [u8; 32] {
    kdf::sha256(&[
        label::SESSION_TRANSCRIPT.as_bytes(),
        &[0],
        &e.0,
        &responder.0,
        &initiator_contact.0,
        &responder_contact.0,
        credential,
    ])
}

fn shared(es: &Secret, ss: &Secret, cc: &Secret) -> Zeroizing<[u8; 96]> {
    let mut shared = Zeroizing::new([0; 96]);
    shared[..32].copy_from_slice(es.as_slice());
    shared[32..64].copy_from_slice(ss.as_slice());
    shared[64..].copy_from_slice(cc.as_slice());
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;
    use crate::identity::invitation::MemoryRealm;
    use crate::identity::membership::Membership;
    use crate::time::EpochLength;
    use rand_chacha::rand_core::SeedableRng;

    const NOW: Unix = Unix(1_800_000_100_000_000);

    struct Pair {
        rng: ChaCha20Rng,
        one: Membership,
        two: Membership,
    }

    fn pair() -> Pair {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
        let names = ["one", "two"].map(|name| Name::new(name).expect("a name"));
        let mut members = realm.enrol(names, 2, NOW, &mut rng).expect("two members");
        let two = members.pop().expect("two members");
        let one = members.pop().expect("two members");
        Pair { rng, one, two }
    }

    impl Pair {
        fn peer(&self) -> PeerCredential {
            let own = self.two.credential(NOW).expect("a credential");
            self.one.bulletin().verify_credential(&own.signed, NOW).expect("it holds")
        }

        fn open(&mut self) -> (Session, Opener) {
            let (peer, contact) = (self.peer(), self.two.contact_secret().public());
            let own = self.one.credential(NOW).expect("a credential").clone();
            Session::open(&mut self.rng, &own, self.one.contact_secret(), &peer, &contact).expect("sound keys")
        }

        fn accept(&mut self, opener: &Opener) -> Result<(Session, PeerCredential), SessionError> {
            let contact = self.one.contact_secret().public();
            self.accept_from(opener, Some(contact))
        }

        fn accept_from(
            &mut self,
            opener: &Opener,
            contact: Option<AgreementKey>,
        ) -> Result<(Session, PeerCredential), SessionError> {
            let own = self.two.credential(NOW).expect("a credential");
            let bulletin = self.two.bulletin();
            Session::accept(opener, own, self.two.contact_secret(), bulletin, NOW, &mut |_| contact)
        }
    }

    #[test]
    fn both_ends_seal_and_open_on_one_session() {
        let mut pair = pair();
        let (mut one, opener) = pair.open();
        let (mut two, credential) = pair.accept(&opener).expect("it opens");
        assert_eq!(credential.hash, pair.one.credential(NOW).expect("a credential").hash);
        for (from, to) in [(true, "to two"), (false, "to one"), (true, "again")] {
            let (sealer, opener) = if from { (&mut one, &mut two) } else { (&mut two, &mut one) };
            let (mut record, mut plain) = (b"before".to_vec(), b"before".to_vec());
            sealer.seal_into(b"header", to.as_bytes(), &mut record);
            assert_eq!(record.len(), 6 + RECORD_OVERHEAD + to.len());
            opener.open_record(b"header", &record[6..], &mut plain).expect("it opens");
            assert_eq!(plain, [b"before", to.as_bytes()].concat());
        }
    }

    #[test]
    fn a_record_of_ones_own_does_not_come_back() {
        let mut pair = pair();
        let (mut one, _) = pair.open();
        let mut record = Vec::new();
        one.seal_into(b"", b"plain", &mut record);
        assert_eq!(one.open_record(b"", &record, &mut Vec::new()), Err(SessionError::Record));
    }

    #[test]
    fn a_record_opens_once_unchanged_with_its_header() {
        let mut pair = pair();
        let (mut one, opener) = pair.open();
        let (mut two, _) = pair.accept(&opener).expect("it opens");
        let mut record = Vec::new();
        one.seal_into(b"header", b"plain", &mut record);
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            let mut out = b"kept".to_vec();
            assert!(two.open_record(b"header", &changed, &mut out).is_err(), "byte {at}");
            assert_eq!(out, b"kept");
        }
        assert_eq!(two.open_record(b"headeR", &record, &mut Vec::new()), Err(SessionError::Record));
        assert_eq!(two.open_record(b"header", &record, &mut Vec::new()), Ok(()));
        assert_eq!(two.open_record(b"header", &record, &mut Vec::new()), Err(SessionError::Replay));
        assert_eq!(two.open_record(b"header", &record[..20], &mut Vec::new()), Err(SessionError::Malformed));
    }

    /// Who holds a false credential but not the contact key gets in neither as sender nor as receiver.
    #[test]
    fn a_wrong_contact_key_fails_at_either_end() {
        let mut pair = pair();
        let (_, opener) = pair.open();
        let stranger = ContactSecret::new([9; 32]);
        assert_eq!(pair.accept_from(&opener, Some(stranger.public())).err(), Some(SessionError::Proof));
        let own = pair.two.credential(NOW).expect("a credential").clone();
        let contact = pair.one.contact_secret().public();
        let bulletin = pair.two.bulletin().clone();
        let false_receiver = Session::accept(&opener, &own, &stranger, &bulletin, NOW, &mut |_| Some(contact));
        assert_eq!(false_receiver.err(), Some(SessionError::Proof));
        let handle = pair.one.credential(NOW).expect("a credential").body.handle;
        assert_eq!(pair.accept_from(&opener, None).err(), Some(SessionError::UnknownContact(handle)));
    }

    #[test]
    fn an_opener_changed_anywhere_is_refused() {
        let mut pair = pair();
        let (_, opener) = pair.open();
        let mut changed: Vec<Opener> = Vec::new();
        for at in 0..8 {
            let mut other = opener.clone();
            other.session.0[at] ^= 1;
            changed.push(other);
        }
        for at in 0..32 {
            let mut other = opener.clone();
            other.ephemeral.0[at] ^= 1;
            changed.push(other);
        }
        for at in 0..opener.credential.len() {
            let mut other = opener.clone();
            other.credential[at] ^= 1;
            changed.push(other);
        }
        for at in 0..16 {
            let mut other = opener.clone();
            other.proof[at] ^= 1;
            changed.push(other);
        }
        for other in changed {
            assert!(pair.accept(&other).is_err());
        }
        let small = Opener { ephemeral: AgreementKey([0; 32]), ..opener };
        assert_eq!(pair.accept(&small).err(), Some(SessionError::WeakKey));
    }
}
