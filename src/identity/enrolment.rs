//! Enrolment, on the device's side: it asks an issuer for credentials and checks what it gets.
//!
//! A [`PendingEnrolment`] holds every private key of a request. It can be stored, so that after a lost answer the
//! device asks again with the same keys: a ticket serves one set of keys only.
//!
//! ```text
//! ticket ── begin_join ──► PendingEnrolment ── hello ──► (relay, issuer) ──► finish_join ──► Membership
//! Membership ── begin_renewal ──► PendingEnrolment + hello ──► (relay, issuer) ──► finish_renewal
//! ```
//!
//! The connection that carries the hello uses [`PendingEnrolment::connection_seed`] as its key.

use crate::id::{AgreementKey, IssuerId, RealmId};
use crate::identity::anonymity::Anonymity;
use crate::identity::batch::{DeviceSecrets, Granted, Keys};
use crate::identity::bulletin::BulletinError;
use crate::identity::certified::EPOCH_KEYS;
use crate::identity::epoch_chain::EpochChain;
use crate::identity::issuer::{MAX_EPOCHS, REQUEST_VERSION};
use crate::identity::kdf::{self, Secret, label};
use crate::identity::membership::{Membership, MembershipError};
use crate::identity::seal::{self, SealError};
use crate::identity::sign;
use crate::time::Epoch;
use crate::wire::codec::{DecodeError, decode, decode_within};
use crate::wire::contact::MailPrekey;
use crate::wire::encode;
use crate::wire::enrolment::{Answer, CONTEXT, KEY_CONTEXT, MAX_ANSWER, Refusal, Request, SignedRequest};
use crate::wire::hello::{EnrolHello, EnrolReply};
use crate::wire::ticket::Ticket;
use core::fmt;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// An enrolment or renewal request that is under way, with its private keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEnrolment {
    realm: RealmId,
    issuer: IssuerId,
    seal: AgreementKey,
    /// Seed of the key that signs the request: the ticket's, or the renewal key.
    #[serde(with = "kdf::secret")]
    signer: Secret,
    secrets: DeviceSecrets,
    /// Whether the device is new: then the request names its lasting keys.
    first: bool,
    #[serde(with = "kdf::secret")]
    answer: Secret,
    first_epoch: Epoch,
    /// The chain that the X25519 secrets of the epochs asked for come from, `before` places before the first of them.
    chain: EpochChain,
    before: u64,
    /// How many epochs are asked for.
    epochs: u16,
    /// Whether each of them has an Ed25519 key of its own.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    rotates: bool,
    /// The new mail prekey that the issuer is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prekey: Option<MailPrekey>,
}

/// Tells the issuer's answer to one request from what the members that relay it may say: only the issuer has read the
/// key that the answer is sealed to. A reply that is not sealed to that key is a hint at most.
#[derive(Clone)]
pub struct AnswerJudge(Secret);

impl AnswerJudge {
    /// Whether a reply is the issuer's answer, whether it grants or refuses.
    pub fn accepts(&self, reply: &EnrolReply) -> bool {
        let opens = |sealed: &Vec<u8>| seal::open(&StaticSecret::from(*self.0), label::ENROL_ANSWER, sealed).is_ok();
        reply.sealed.as_ref().is_some_and(opens)
    }

    /// As [`Self::accepts`], with an error that says in words what somebody else's reply claims.
    pub fn judge(&self, reply: &EnrolReply) -> Result<(), String> {
        if self.accepts(reply) { Ok(()) } else { Err(Self::hint(reply)) }
    }

    fn hint(reply: &EnrolReply) -> String {
        match reply.refused {
            Some(refusal) => format!("it says: {refusal}"),
            None => "its answer was not made for this request".to_owned(),
        }
    }
}

impl fmt::Debug for AnswerJudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerJudge(…)")
    }
}

/// Why an enrolment or a renewal did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// The issuer refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer does not open: it was not made for this request.
    #[error("the answer was not made for this request: {0}")]
    Seal(#[from] SealError),
    /// The opened bytes are no answer.
    #[error("the answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The bulletin in the answer does not verify.
    #[error(transparent)]
    Bulletin(#[from] BulletinError),
    /// The answer does not come from the issuer that was asked, or is not for the keys that were sent.
    #[error("the answer does not come from the issuer that was asked")]
    Foreign,
    /// The grant does not make a membership.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The bulletin lists no issuer.
    #[error("the realm has no issuer at present")]
    NoIssuer,
    /// The stored request was made with another ticket.
    #[error("an enrolment with another ticket is under way in this directory")]
    OtherTicket,
}

/// Begins an enrolment with a ticket: generates the keys and asks for as many epochs as a request may hold.
pub fn begin_join(ticket: &Ticket, rng: &mut ChaCha20Rng) -> PendingEnrolment {
    begin_join_for(ticket, MAX_EPOCHS, rng)
}

/// As [`begin_join`], but asks for at most `epochs` epochs.
pub fn begin_join_for(ticket: &Ticket, epochs: usize, rng: &mut ChaCha20Rng) -> PendingEnrolment {
    PendingEnrolment {
        realm: ticket.realm,
        issuer: ticket.issuer,
        seal: ticket.seal,
        signer: Secret::new(ticket.secret),
        secrets: DeviceSecrets::generate(rng),
        first: true,
        answer: seal::random(rng),
        // The device may know neither the time nor the length of its epochs: it asks from the present epoch on.
        first_epoch: Epoch(0),
        // The issuer's clock may be ahead when the device is enrolled: earlier epochs have keys too.
        chain: EpochChain::generate(rng),
        before: BEFORE_FIRST,
        epochs: bounded(epochs),
        rotates: false,
        prekey: None,
    }
}

/// Places of a device's chain before its first epoch: more than seven years of epochs of an hour.
const BEFORE_FIRST: u64 = 65_536;

/// Takes the issuer's answer (the `sealed` of its reply) and makes the membership. It fails if the answer does not open
/// or decode, is a refusal, does not come from the issuer that was asked, or makes no membership.
pub fn finish_join(pending: &PendingEnrolment, answer: &[u8]) -> Result<Membership, EnrolmentError> {
    Ok(Membership::from_grant(pending.secrets.clone(), pending.granted(answer)?)?)
}

impl PendingEnrolment {
    pub(super) fn renewal(
        realm: RealmId,
        (issuer, seal): (IssuerId, AgreementKey),
        secrets: DeviceSecrets,
        (first_epoch, chain): (Epoch, EpochChain),
        (epochs, rotates): (usize, bool),
        rng: &mut ChaCha20Rng,
    ) -> Self {
        Self {
            realm,
            issuer,
            seal,
            signer: secrets.renewal.clone(),
            secrets,
            first: false,
            answer: seal::random(rng),
            first_epoch,
            chain,
            before: 0,
            epochs: bounded(epochs),
            rotates,
            prekey: None,
        }
    }

    /// The same request with a new mail prekey.
    pub(super) fn with_prekey(self, prekey: Option<MailPrekey>) -> Self {
        Self { prekey, ..self }
    }

    /// The new mail prekey that the issuer is told.
    pub(super) fn prekey(&self) -> Option<&MailPrekey> {
        self.prekey.as_ref()
    }

    /// The same request for a device of that anonymity.
    pub fn with_anonymity(self, anonymity: Anonymity) -> Self {
        Self { rotates: anonymity.rotates(), ..self }
    }

    /// The same request without epochs: it enters the device in the ledger.
    pub(super) fn without_epochs(&self) -> Self {
        Self { epochs: 0, ..self.clone() }
    }

    /// Reads a stored request; it fails if the bytes do not decode or the request was made with another ticket.
    pub fn from_stored(bytes: &[u8], ticket: &Ticket) -> Result<Self, EnrolmentError> {
        let pending: Self = decode(bytes)?;
        if *pending.signer == ticket.secret { Ok(pending) } else { Err(EnrolmentError::OtherTicket) }
    }

    /// Returns the bytes to store; all of them are secret.
    pub fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(encode(self))
    }

    /// Returns the hello, sealing the same request anew at every call; it fails if the issuer's seal key is weak.
    pub fn hello(&self, rng: &mut ChaCha20Rng) -> Result<EnrolHello, EnrolmentError> {
        let signer = SigningKey::from_bytes(&self.signer);
        let keys = self.keys();
        let signing = |of| SigningKey::from_bytes(keys.seed(of));
        let mut epochs = Vec::with_capacity(EPOCH_KEYS * keys.epochs.len());
        for secrets in &keys.epochs {
            epochs.extend_from_slice(&sign::public(&signing(secrets)).0);
            epochs.extend_from_slice(&seal::agreement_public(&StaticSecret::from(*secrets.agreement)).0);
        }
        let body = encode(&Request {
            version: REQUEST_VERSION,
            realm: self.realm,
            issuer: self.issuer,
            signer: sign::public(&signer),
            keys: self.first.then(|| self.secrets.public()),
            answer_key: seal::agreement_public(&StaticSecret::from(*self.answer)),
            first_epoch: self.first_epoch,
            epochs,
            prekey: self.prekey.clone(),
        });
        let signature = sign::sign(&signer, CONTEXT, &body);
        // Each key proves itself once, and one key may serve all epochs.
        let proving = if keys.stable.is_some() { &keys.epochs[..keys.epochs.len().min(1)] } else { &keys.epochs[..] };
        let proofs = proving.iter().flat_map(|of| sign::sign(&signing(of), KEY_CONTEXT, &body).0).collect();
        let request = encode(&SignedRequest { body, signature, proofs });
        let sealed = seal::seal(rng, &self.seal, label::ENROL_REQUEST, &request)?;
        Ok(EnrolHello { realm: self.realm, issuer: self.issuer, sealed })
    }

    /// Returns the judge that tells the issuer's answer from what others reply in its place.
    pub fn judge(&self) -> AnswerJudge {
        AnswerJudge(self.answer.clone())
    }

    /// Seed of the Ed25519 key that the connection to the relay uses.
    pub fn connection_seed(&self) -> Secret {
        self.signer.clone()
    }

    /// Opens an answer and checks all of it.
    pub(super) fn granted(&self, answer: &[u8]) -> Result<Granted, EnrolmentError> {
        let plain = Zeroizing::new(seal::open(&StaticSecret::from(*self.answer), label::ENROL_ANSWER, answer)?);
        let answer: Answer = decode_within(&plain, MAX_ANSWER)?;
        match answer {
            Answer { refused: Some(refusal), granted: None } => Err(refusal.into()),
            Answer { granted: Some(grant), refused: None } => {
                Granted::check(grant, self.realm, self.issuer, &self.keys())
            }
            _ => Err(DecodeError::Shape("an answer grants or refuses, one of the two".into()).into()),
        }
    }

    fn keys(&self) -> Keys<'_> {
        let first = self.chain.at(self.chain.place().saturating_add(self.before));
        let epochs = first.map(|first| first.secrets(usize::from(self.epochs))).unwrap_or_default();
        let stable = (!self.rotates).then_some(&self.secrets.pseudonym);
        Keys { stable, epochs, chain: &self.chain, before: self.before }
    }
}

fn bounded(epochs: usize) -> u16 {
    u16::try_from(epochs.min(MAX_EPOCHS)).unwrap_or(u16::MAX)
}

impl fmt::Debug for PendingEnrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingEnrolment").field("first", &self.first).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
