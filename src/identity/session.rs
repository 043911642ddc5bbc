//! Session: sealing from device to device, past everyone in between.
//!
//! **Handshake.** Noise_KKpsk0 ([`noise`]), a published pattern, between the agreement keys of two credentials. The
//! initiator I knows the responder R's credential and contact key. The pre-shared key derives from both contact keys,
//! so that an issuer that mints a false credential, and so knows an agreement key, can neither read nor forge what
//! passes between contacts. Three things are added to the pattern:
//!
//! 1. R has to know who opens before it can read the first message. So I's signed credential goes with it, sealed to
//!    R's agreement key ([`seal`]); nobody on the path sees who opens. The sealed credential is part of the prologue,
//!    with everything else that the two send in clear: whoever changes a byte of it breaks the handshake.
//! 2. The first records do not wait for an answer. They are sealed under an *early* key, whose only freshness is I's.
//!    So only I seals with it. R seals under a key that depends on an ephemeral key of R too: whoever hands in an old
//!    opener again makes another session, with other keys.
//! 3. The opener offers AEAD suites, and the answer chooses one. The offer is in the prologue, the choice in the
//!    answer's sealed payload: nobody on the path can downgrade it. Early records are sealed with the mandatory suite.
//!
//! **Frames.** I puts its [`Opener`] before every record until an answer has come, and R its answer before every record
//! until a record under the final keys has come, which confirms that I has them. So nothing depends on order, and
//! nothing that is lost has to be asked for. Each end chooses the id under which it receives, and finds the session by
//! it; early records bear the first bytes of I's ephemeral key.
//!
//! `record = session:8 | counter:8 | ciphertext | tag:16`, nonce = counter, associated data = the frame's header.
//!
//! **What remains.** The first message alone does not prove I to an attacker who has R's agreement and contact secrets:
//! the attacker can make early records to R in anybody's name (key-compromise impersonation, as with every handshake of
//! one message). It cannot take the answer in that name, so it goes no further.
//!
//! Invariants
//! 1. A (key, nonce) pair is used once: every key that seals depends on an ephemeral key of its sealer, which is drawn
//!    when the session is made, lives in memory only, and goes with the process; its counter never repeats. An engine
//!    is seeded by the operating system at every start, so two processes of one disk have different ephemeral keys.
//! 2. Nothing changes before a proof: an answer is taken together with the record behind it, or not at all.
//! 3. A record opens once at most, within the last [`WINDOW`](super::replay_window::WINDOW) counters. This is a first
//!    filter; exactly-once delivery rests on the durable dedupe of inner ids.
//! - Sealing and opening a record allocate nothing beyond room in `out`.

use crate::id::{AgreementKey, CredentialHash, Handle, SessionId};
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::credential::{CredentialError, OwnCredential, PeerCredential};
use crate::identity::kdf::{self, Secret, label};
use crate::identity::noise::{self, Accepted, Opened};
use crate::identity::record::RecordCipher;
pub use crate::identity::record::Suite;
use crate::identity::replay_window::ReplayWindow;
use crate::identity::seal::{self, SealError, TAG};
use crate::time::Unix;
use crate::wire::data::{Form, RECORD_OVERHEAD, put_prefixed, split_record};
use crate::wire::encode;
use crate::wire::opener::Opener;
use core::fmt;
use rand_chacha::ChaCha20Rng;
use x25519_dalek::StaticSecret;

/// One session with another device; both ends seal and open on it.
pub struct Session {
    /// The id under which this end receives.
    id: SessionId,
    peer: CredentialHash,
    sealing: Sealing,
    /// The opener or the answer, while it precedes every record.
    before: Option<Vec<u8>>,
    /// Opens records under the final keys; `None` before the answer.
    opening: Option<Opening>,
    /// Opens the initiator's records from before the answer, with the id that they bear; only at the responder.
    early: Option<(SessionId, Opening)>,
    /// The handshake under way; only at the initiator, until the answer.
    handshake: Option<Handshake>,
}

/// One direction, at the end that seals.
struct Sealing {
    /// The id under which the other end receives.
    to: SessionId,
    cipher: RecordCipher,
    /// The counter of the next record.
    next: u64,
}

/// One direction, at the end that receives.
struct Opening {
    cipher: RecordCipher,
    window: ReplayWindow,
}

/// The state that an initiator needs to take the answer.
struct Handshake {
    opened: Opened,
    own: StaticSecret,
    offered: u8,
}

/// This end of a session that is about to be made.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// The id under which this end will receive: random, and different from its other ids.
    pub id: SessionId,
    /// The suites that this end has, as a bit map.
    pub suites: u8,
    /// This end's credential.
    pub own: &'a OwnCredential,
    /// The private half of this end's contact key.
    pub contact: &'a ContactSecret,
}

/// Why a session or a record does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The record is too short, or belongs to another session.
    #[error("the record is malformed")]
    Malformed,
    /// The opener was made for another credential, or was changed on its way.
    #[error("the opener is not for this credential, or changed on the way")]
    Opener,
    /// The sender's credential is not accepted.
    #[error("the sender's credential is refused: {0}")]
    Credential(#[from] CredentialError),
    /// No card resolves the sender's handle; the sender's card may come with the next pull.
    #[error("the sender is no contact")]
    UnknownContact(Handle),
    /// The sender does not hold the keys of its credential and its card, or something was changed on its way.
    #[error("the sender has not proved its keys")]
    Proof,
    /// A public key of the other end is of small order.
    #[error("the other end's key agrees with nobody")]
    WeakKey,
    /// The opener lacks the mandatory suite, or the answer names a suite that was not offered.
    #[error("the other end names no cipher that both have")]
    Suite,
    /// The record was seen before, or is older than the window.
    #[error("the record was seen before or is too old")]
    Replay,
    /// The record or its header was changed on its way.
    #[error("the record does not open")]
    Record,
}

impl Session {
    /// Opens a session to the holder of the credential `peer`, whose card has the contact key `peer_contact`.
    ///
    /// # Errors
    /// A key of the other end is weak.
    pub fn open(
        rng: &mut ChaCha20Rng,
        end: End<'_>,
        peer: &PeerCredential,
        peer_contact: &AgreementKey,
    ) -> Result<Self, SessionError> {
        let End { id, suites, own, contact } = end;
        let offered = suites & Suite::built() | Suite::ChaCha20Poly1305.bit();
        let to = peer.body.agreement;
        let credential = seal::seal(rng, &to, label::SESSION_CREDENTIAL, &own.signed).map_err(in_opener)?;
        let psk = pre_shared(contact, peer_contact, true)?;
        let prologue = prologue(id, offered, [&own.hash, &peer.hash], &credential);
        let before = noise::Before { prologue: &prologue, psk: &psk, own: &own.agreement, peer: &to };
        let (opened, message) = Opened::new(&before, seal::new_secret(rng)).map_err(in_opener)?;
        let sealing = Sealing::new(early_id(&message), Suite::ChaCha20Poly1305, &opened.early())?;
        let opener = Opener { session: id, suites: offered, credential, message };
        Ok(Self {
            id,
            peer: peer.hash,
            sealing,
            before: Some(encode(&opener)),
            opening: None,
            early: None,
            handshake: Some(Handshake { opened, own: own.agreement.clone(), offered }),
        })
    }

    /// Takes an opener made for this end. `contact_key_of` returns the contact key of the card that resolves a handle.
    /// The new session is to be kept once a record behind the opener has opened.
    ///
    /// # Errors
    /// The opener is not for this credential; the sender's credential is refused; the sender is no contact, or has not
    /// proved its keys; a key is weak; or no suite is in common.
    pub fn accept(
        rng: &mut ChaCha20Rng,
        end: End<'_>,
        opener: &Opener,
        bulletin: &VerifiedBulletin,
        at: Unix,
        contact_key_of: &mut dyn FnMut(&Handle) -> Option<AgreementKey>,
    ) -> Result<(Self, PeerCredential), SessionError> {
        let End { id, suites, own, contact } = end;
        let credential =
            seal::open(&own.agreement, label::SESSION_CREDENTIAL, &opener.credential).map_err(in_opener)?;
        let peer = bulletin.verify_credential(&credential, at)?;
        let peer_contact = contact_key_of(&peer.body.handle).ok_or(SessionError::UnknownContact(peer.body.handle))?;
        let psk = pre_shared(contact, &peer_contact, false)?;
        let prologue = prologue(opener.session, opener.suites, [&peer.hash, &own.hash], &opener.credential);
        let before = noise::Before { prologue: &prologue, psk: &psk, own: &own.agreement, peer: &peer.body.agreement };
        let accepted = Accepted::new(&before, &opener.message).map_err(in_handshake)?;
        let suite = Suite::chosen(opener.suites, suites).ok_or(SessionError::Suite)?;
        let early = Opening::new(Suite::ChaCha20Poly1305, &accepted.early())?;
        let mut payload = [0; 1 + SessionId::LEN];
        payload[0] = suite as u8;
        payload[1..].copy_from_slice(&id.0);
        let (answer, keys) = accepted.answer(&seal::new_secret(rng), &payload).map_err(in_handshake)?;
        let session = Self {
            id,
            peer: peer.hash,
            sealing: Sealing::new(opener.session, suite, &keys.back)?,
            before: Some(answer),
            opening: Some(Opening::new(suite, &keys.forth)?),
            early: Some((early_id(&opener.message), early)),
            handshake: None,
        };
        Ok((session, peer))
    }

    /// The form of the next record's frame. It is part of the header, which is authenticated with the record.
    pub fn form(&self) -> Form {
        match (&self.handshake, &self.before) {
            (Some(_), _) => Form::Opener,
            (None, Some(_)) => Form::Answer,
            (None, None) => Form::Session,
        }
    }

    /// Bytes of the next frame's sealed part besides the plaintext.
    pub fn overhead(&self) -> usize {
        RECORD_OVERHEAD + self.before.as_ref().map_or(0, |before| 2 + before.len())
    }

    /// Seals a record and appends it to `out`, behind the opener or answer that has to precede it; `aad` is the part of
    /// the frame that travels in clear.
    pub fn seal_into(&mut self, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        out.reserve(self.overhead() + plain.len());
        if let Some(before) = &self.before {
            put_prefixed(out, before);
        }
        let Sealing { to, cipher, next } = &mut self.sealing;
        let counter = *next;
        *next += 1;
        out.extend_from_slice(&to.0);
        out.extend_from_slice(&counter.to_be_bytes());
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = cipher.seal(counter, aad, &mut out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Opens the sealed part of a frame of this form and appends the record's plaintext to `out`; after an error `out`
    /// and the session are as they were.
    ///
    /// # Errors
    /// The frame is malformed, was seen before, does not open, or holds an answer that does not prove its sender or
    /// chooses no suite of the offer.
    pub fn open_record(
        &mut self,
        aad: &[u8],
        form: Form,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        let (before, record) = split_record(form, sealed).ok_or(SessionError::Malformed)?;
        match form {
            Form::Opener => {
                let (id, early) = self.early.as_mut().ok_or(SessionError::Malformed)?;
                early.open(*id, aad, record, out)
            }
            Form::Answer if self.handshake.is_some() => self.finish(aad, before, record, out),
            Form::Session | Form::Answer => {
                let opening = self.opening.as_mut().ok_or(SessionError::Malformed)?;
                opening.open(self.id, aad, record, out)?;
                // The other end has the final keys: it does not need the answer any more.
                self.before = None;
                Ok(())
            }
            Form::Mail => Err(SessionError::Malformed),
        }
    }

    /// Takes an answer, if the record behind it opens.
    fn finish(&mut self, aad: &[u8], answer: &[u8], record: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        let Handshake { opened, own, offered } = self.handshake.as_ref().ok_or(SessionError::Malformed)?;
        let (payload, keys) = opened.finish(own, answer).map_err(in_handshake)?;
        let (suite, to) = payload.split_first().ok_or(SessionError::Malformed)?;
        let suite = Suite::ALL.into_iter().find(|known| *known as u8 == *suite && offered & known.bit() != 0);
        let suite = suite.ok_or(SessionError::Suite)?;
        let to = SessionId::from_slice(to).ok_or(SessionError::Malformed)?;
        let mut opening = Opening::new(suite, &keys.back)?;
        opening.open(self.id, aad, record, out)?;
        self.sealing = Sealing::new(to, suite, &keys.forth)?;
        (self.opening, self.handshake, self.before) = (Some(opening), None, None);
        Ok(())
    }

    /// The id under which this end receives.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The id that records sealed by this end bear.
    pub fn to(&self) -> SessionId {
        self.sealing.to
    }

    /// The id that the initiator's early records bear; `None` at the initiator.
    pub fn early(&self) -> Option<SessionId> {
        self.early.as_ref().map(|(id, _)| *id)
    }

    /// The hash of the other end's credential.
    pub fn peer(&self) -> CredentialHash {
        self.peer
    }

    /// Whether the other end has shown that it has the final keys, and so that it is no replay of an old opener.
    pub fn is_confirmed(&self) -> bool {
        self.before.is_none()
    }

    /// Whether this end has sealed as many records as one key should, so that another session is to replace this one.
    pub fn is_worn(&self) -> bool {
        self.sealing.next >= MAX_RECORDS
    }
}

impl Sealing {
    fn new(to: SessionId, suite: Suite, key: &Secret) -> Result<Self, SessionError> {
        let cipher = RecordCipher::new(suite, key).ok_or(SessionError::Suite)?;
        Ok(Self { to, cipher, next: 0 })
    }
}

impl Opening {
    fn new(suite: Suite, key: &Secret) -> Result<Self, SessionError> {
        let cipher = RecordCipher::new(suite, key).ok_or(SessionError::Suite)?;
        Ok(Self { cipher, window: ReplayWindow::default() })
    }

    fn open(&mut self, id: SessionId, aad: &[u8], record: &[u8], out: &mut Vec<u8>) -> Result<(), SessionError> {
        let (to, rest) = record.split_first_chunk::<8>().ok_or(SessionError::Malformed)?;
        let (counter, rest) = rest.split_first_chunk::<8>().ok_or(SessionError::Malformed)?;
        if *to != id.0 || rest.len() < TAG {
            return Err(SessionError::Malformed);
        }
        let counter = u64::from_be_bytes(*counter);
        if !self.window.is_fresh(counter) {
            return Err(SessionError::Replay);
        }
        if !self.cipher.open(counter, aad, rest, out) {
            return Err(SessionError::Record);
        }
        self.window.mark(counter);
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The private half of a device's contact key.
#[derive(Clone)]
pub struct ContactSecret(StaticSecret);

impl ContactSecret {
    /// Makes a secret of 32 random bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(StaticSecret::from(secret))
    }

    /// What this device and the holder of another contact key have in common.
    pub(super) fn agree(&self, with: &AgreementKey) -> Result<Secret, SealError> {
        seal::agree(&self.0, with)
    }

    /// The public half, which the device's card carries.
    pub fn public(&self) -> AgreementKey {
        seal::agreement_public(&self.0)
    }
}

impl fmt::Debug for ContactSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactSecret(…)")
    }
}

/// The id that records bear before there is an answer: the first bytes of the initiator's ephemeral key.
pub fn early_id(message: &[u8; noise::OVERHEAD]) -> SessionId {
    let mut id = [0; SessionId::LEN];
    id.copy_from_slice(&message[..SessionId::LEN]);
    SessionId(id)
}

/// Derives the pre-shared key from both contact keys.
fn pre_shared(own: &ContactSecret, peer: &AgreementKey, initiates: bool) -> Result<Secret, SessionError> {
    let cc = seal::agree(&own.0, peer).map_err(in_handshake)?;
    let own = own.public();
    let (initiator, responder) = if initiates { (&own, peer) } else { (peer, &own) };
    Ok(kdf::derive(cc.as_slice(), label::SESSION_PSK, &[&initiator.0, &responder.0]))
}

/// Encodes the prologue: everything that the two ends send in clear around the first message.
fn prologue(id: SessionId, offered: u8, between: [&CredentialHash; 2], credential: &[u8]) -> Vec<u8> {
    let [initiator, responder] = between;
    [label::SESSION_PROLOGUE.as_bytes(), &[0], &id.0, &[offered], &initiator.0, &responder.0, credential].concat()
}

fn in_opener(error: SealError) -> SessionError {
    match error {
        SealError::WeakKey => SessionError::WeakKey,
        SealError::Short | SealError::Opening => SessionError::Opener,
    }
}

fn in_handshake(error: SealError) -> SessionError {
    match error {
        SealError::WeakKey => SessionError::WeakKey,
        SealError::Short | SealError::Opening => SessionError::Proof,
    }
}

/// Most records that one key seals: with 64 KiB each, forgeries against AES-GCM stay improbable (RFC 8446, §5.5).
pub const MAX_RECORDS: u64 = 1 << 22;

#[cfg(test)]
mod tests;
