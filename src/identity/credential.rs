//! Credentials: this device's own, with the private keys, and those of other members, verified.
//!
//! A credential is accepted after these checks, in this order, the cheap ones first: it decodes · version · realm · the
//! bulletin lists the issuer for this time · the time is within the epoch and its allowance · the issuer's signature ·
//! the device is not revoked. See [`VerifiedBulletin::verify_credential`](super::bulletin::VerifiedBulletin).
//!
//! Invariants
//! 1. A [`PeerCredential`] exists only after all of these checks.
//! 2. A credential is accepted from S before its epoch to 2 S after it, S being the epoch's allowed skew: clocks may be
//!    off by S, and frames under way at the end of an epoch have S to arrive.

use crate::id::{CredentialHash, Pseudonym, Signature};
use crate::identity::kdf::{self, Secret};
use crate::identity::{seal, sign};
use crate::time::{EpochLength, Unix};
use crate::wire::codec::decode_within;
use crate::wire::credential::{Credential, MAX_CREDENTIAL};
use crate::wire::{Signed, decode};
use core::fmt;
use ed25519_dalek::SigningKey;
use std::sync::Arc;
use x25519_dalek::StaticSecret;

/// Another device's credential, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCredential {
    /// The credential's hash, by which frames name it.
    pub hash: CredentialHash,
    /// The credential's body.
    pub body: Credential,
    /// The signed credential, encoded.
    pub signed: Arc<[u8]>,
}

/// This device's credential of one epoch, with the private keys.
pub struct OwnCredential {
    /// The credential's hash, by which frames name it.
    pub hash: CredentialHash,
    /// The credential's body.
    pub body: Credential,
    /// The signed credential, encoded.
    pub signed: Arc<[u8]>,
    /// The private half of the pseudonym.
    pub(super) signing: SigningKey,
    /// The private half of the epoch's agreement key.
    pub(super) agreement: StaticSecret,
}

/// Why a credential is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum CredentialError {
    /// The bytes are no credential.
    #[error("it is malformed")]
    Malformed,
    /// The credential has a version that this node does not know.
    #[error("it has a version that is not known here")]
    Version,
    /// The credential belongs to another realm.
    #[error("it belongs to another realm")]
    Realm,
    /// The bulletin does not list the credential's issuer for this time.
    #[error("its issuer is not listed in the bulletin for this time")]
    Issuer,
    /// The issuer's signature does not verify.
    #[error("its issuer has not signed it")]
    Signature,
    /// The credential's epoch has not begun.
    #[error("its epoch has not begun")]
    NotYetValid,
    /// The credential's epoch is over.
    #[error("its epoch is over")]
    Expired,
    /// The credential's device is revoked.
    #[error("its device has been revoked")]
    Revoked,
}

impl OwnCredential {
    /// Joins a signed credential with the seed of its pseudonym and the secret of its agreement key. Returns `None`
    /// unless the credential decodes and names the public halves of both. Its signature is not verified here.
    pub fn new(signed: &[u8], seed: &Secret, agreement: &Secret) -> Option<Self> {
        let document: Signed<'_> = decode_within(signed, MAX_CREDENTIAL).ok()?;
        let body: Credential = decode(document.body).ok()?;
        let (signing, agreement) = (SigningKey::from_bytes(seed), StaticSecret::from(**agreement));
        let own = sign::public(&signing) == body.key && seal::agreement_public(&agreement) == body.agreement;
        own.then(|| Self { hash: hash(signed), body, signed: signed.into(), signing, agreement })
    }

    /// Signs a body as this pseudonym.
    pub fn sign(&self, context: &str, body: &[u8]) -> Signature {
        sign::sign(&self.signing, context, body)
    }

    /// Signs an encoded body as this pseudonym and encodes both as [`Signed`](crate::wire::Signed).
    pub fn sign_document(&self, context: &str, body: &[u8]) -> Vec<u8> {
        sign::sign_document(&self.signing, context, body)
    }

    /// Returns the seed of the pseudonym's key.
    pub(super) fn seed(&self) -> Secret {
        Secret::new(self.signing.to_bytes())
    }

    /// The pseudonym that the credential is for.
    pub fn pseudonym(&self) -> Pseudonym {
        self.body.key
    }
}

impl fmt::Debug for OwnCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCredential")
            .field("hash", &self.hash)
            .field("epoch", &self.body.epoch)
            .finish_non_exhaustive()
    }
}

/// Returns the hash of a signed credential's bytes, signature included: the head of their SHA-256.
pub fn hash(signed: &[u8]) -> CredentialHash {
    let full = kdf::sha256(&[signed]);
    let mut short = [0; CredentialHash::LEN];
    short.copy_from_slice(&full[..CredentialHash::LEN]);
    CredentialHash(short)
}

/// The length of a credential's epoch; `None` if the credential names a length that does not exist.
pub fn epoch_length(body: &Credential) -> Option<EpochLength> {
    EpochLength::new(u32::from_be_bytes(body.epoch_length))
}

/// The first and the last time at which a credential is accepted; `None` if its epoch length does not exist.
pub fn acceptance(body: &Credential) -> Option<(Unix, Unix)> {
    let length = epoch_length(body)?;
    let skew = length.skew();
    Some((length.start(body.epoch) - skew, length.end(body.epoch) + skew * 2))
}
