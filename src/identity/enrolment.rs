//! Enrolment as the device does it: asks an issuer for credentials and checks what it gets.
//!
//! A [`PendingEnrolment`] holds every private key of a request. It can be stored, so that after a lost answer the
//! very same keys ask again: a ticket serves one set of keys only.
//!
//! ```text
//! ticket ── begin_join ──► PendingEnrolment ── hello ──► (relay, issuer) ──► finish_join ──► Membership
//! Membership ── begin_renewal ──► PendingEnrolment + hello ──► (relay, issuer) ──► finish_renewal
//! ```
//!
//! The connection that carries the hello is made with [`PendingEnrolment::connection_seed`] as its key.

use crate::id::{AgreementKey, IssuerId, Pseudonym, RealmId};
use crate::identity::batch::{DeviceSecrets, Granted};
use crate::identity::bulletin::BulletinError;
use crate::identity::issuer::{MAX_EPOCHS, REQUEST_VERSION};
use crate::identity::kdf::{self, Secret, label};
use crate::identity::membership::{Membership, MembershipError};
use crate::identity::seal::{self, SealError};
use crate::identity::sign;
use crate::time::Epoch;
use crate::wire::codec::{DecodeError, decode, decode_within};
use crate::wire::encode;
use crate::wire::enrolment::{Answer, CONTEXT, MAX_ANSWER, Refusal, Request, SignedRequest};
use crate::wire::hello::EnrolHello;
use crate::wire::ticket::Ticket;
use core::fmt;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// A request under way.
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
    /// X25519 secrets of the epochs asked for.
    epochs: Vec<EpochSecret>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EpochSecret(#[serde(with = "kdf::secret")] Secret);

/// Why an enrolment or a renewal did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// The issuer says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer was not made for this request.
    #[error("the answer was not made for this request: {0}")]
    Seal(#[from] SealError),
    /// Not an answer.
    #[error("the answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The bulletin in it does not hold.
    #[error(transparent)]
    Bulletin(#[from] BulletinError),
    /// Not by the issuer that was asked, or not for the keys that were sent.
    #[error("the answer does not come from the issuer that was asked")]
    Foreign,
    /// What was granted makes no membership.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The bulletin lists no issuer.
    #[error("the realm has no issuer at present")]
    NoIssuer,
    /// The stored request is for another ticket.
    #[error("an enrolment with another ticket is under way in this directory")]
    OtherTicket,
}

/// Makes new keys for a ticket.
pub fn begin_join(ticket: &Ticket, rng: &mut ChaCha20Rng) -> PendingEnrolment {
    begin_join_for(ticket, MAX_EPOCHS, rng)
}

/// As [`begin_join`], asking for this many epochs.
pub fn begin_join_for(ticket: &Ticket, epochs: usize, rng: &mut ChaCha20Rng) -> PendingEnrolment {
    PendingEnrolment {
        realm: ticket.realm,
        issuer: ticket.issuer,
        seal: ticket.seal,
        signer: Secret::new(ticket.secret),
        secrets: DeviceSecrets::generate(rng),
        first: true,
        answer: seal::random(rng),
        // The device may not know the time, nor how long its epochs will be: it asks from the present one on.
        first_epoch: Epoch(0),
        epochs: (0..epochs.min(MAX_EPOCHS)).map(|_| EpochSecret(seal::random(rng))).collect(),
    }
}

/// Takes the issuer's answer (the `sealed` of its reply) and makes the device a member.
pub fn finish_join(pending: &PendingEnrolment, answer: &[u8]) -> Result<Membership, EnrolmentError> {
    Ok(Membership::from_grant(pending.secrets.clone(), pending.granted(answer)?)?)
}

impl PendingEnrolment {
    pub(super) fn renewal(
        realm: RealmId,
        (issuer, seal): (IssuerId, AgreementKey),
        secrets: DeviceSecrets,
        first_epoch: Epoch,
        epochs: usize,
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
            epochs: (0..epochs.min(MAX_EPOCHS)).map(|_| EpochSecret(seal::random(rng))).collect(),
        }
    }

    /// The same keys, asking for no epochs: enters the device in the ledger.
    pub(super) fn without_epochs(&self) -> Self {
        Self { epochs: Vec::new(), ..self.clone() }
    }

    /// From stored bytes; it must be a request made with this ticket.
    pub fn from_stored(bytes: &[u8], ticket: &Ticket) -> Result<Self, EnrolmentError> {
        let pending: Self = decode(bytes)?;
        if *pending.signer == ticket.secret { Ok(pending) } else { Err(EnrolmentError::OtherTicket) }
    }

    /// The bytes to store; all of them are secret.
    pub fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(encode(self))
    }

    /// What to say on the connection. Every call seals the same request anew.
    pub fn hello(&self, rng: &mut ChaCha20Rng) -> Result<EnrolHello, EnrolmentError> {
        let signer = SigningKey::from_bytes(&self.signer);
        let pseudonym = self.pseudonym();
        let mut epochs = Vec::with_capacity(64 * self.epochs.len());
        for EpochSecret(secret) in &self.epochs {
            epochs.extend_from_slice(&pseudonym.0);
            epochs.extend_from_slice(&seal::agreement_public(&StaticSecret::from(**secret)).0);
        }
        let body = encode(&Request {
            version: REQUEST_VERSION,
            signer: sign::public(&signer),
            keys: self.first.then(|| self.secrets.public()),
            answer_key: seal::agreement_public(&StaticSecret::from(*self.answer)),
            first_epoch: self.first_epoch,
            epochs,
            prekey: None,
        });
        let signature = sign::sign(&signer, CONTEXT, &body);
        let request = encode(&SignedRequest { body, signature });
        let sealed = seal::seal(rng, &self.seal, label::ENROL_REQUEST, &request)?;
        Ok(EnrolHello { realm: self.realm, issuer: self.issuer, sealed })
    }

    /// Seed of the Ed25519 key that the connection to the relay is made with.
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
                let epochs: Vec<Secret> = self.epochs.iter().map(|EpochSecret(secret)| secret.clone()).collect();
                Granted::check(grant, self.realm, self.issuer, &self.pseudonym(), &epochs)
            }
            _ => Err(DecodeError::Shape("an answer grants or refuses, one of the two".into()).into()),
        }
    }

    fn pseudonym(&self) -> Pseudonym {
        sign::public(&SigningKey::from_bytes(&self.secrets.pseudonym))
    }
}

impl fmt::Debug for PendingEnrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingEnrolment").field("first", &self.first).finish_non_exhaustive()
    }
}
