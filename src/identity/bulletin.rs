//! The bulletin in force, and what it decides: whose credentials count.
//!
//! A bulletin proves itself: the realm id is the SHA-256 of the operator's key inside it, and the operator's
//! signature covers the rest. Of two, the one with the higher version holds; a node never goes back.
//!
//! Invariants
//! 1. A [`VerifiedBulletin`] carries the operator's signature for its realm.
//! 2. A credential of a revoked device is refused from the day of its revocation on, whatever issuer signed it.

use crate::id::{IssuerId, RealmId};
use crate::identity::credential::{self, CredentialError, PeerCredential};
use crate::identity::handle::{DayKey, day_of};
use crate::identity::{kdf, sign};
use crate::time::{EpochLength, Unix};
use crate::wire::bulletin::{Bulletin, CONTEXT, IssuerCertificate, MAX_BULLETIN, Revocation};
use crate::wire::codec::decode_within;
use crate::wire::credential::{CONTEXT as CREDENTIAL_CONTEXT, Credential, MAX_CREDENTIAL, SEALED_ID};
use crate::wire::{DecodeError, Signed, decode};
use core::fmt;
use std::sync::Arc;

/// A bulletin whose signature has been checked.
#[derive(Clone)]
pub struct VerifiedBulletin {
    body: Bulletin,
    signed: Arc<[u8]>,
}

/// Why a bulletin is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulletinError {
    /// Not a bulletin.
    #[error("the bulletin is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// Of a later format.
    #[error("the bulletin has format {0}; this version of m2mesh reads {FORMAT}")]
    Format(u8),
    /// Of another realm, or with an operator's key that is not the realm's.
    #[error("the bulletin belongs to another realm")]
    Realm,
    /// Not signed by the operator.
    #[error("the operator has not signed the bulletin")]
    Signature,
}

impl VerifiedBulletin {
    /// Checks a signed bulletin of `realm`.
    pub fn verify(realm: RealmId, signed: &[u8]) -> Result<Self, BulletinError> {
        let document: Signed<'_> = decode_within(signed, MAX_BULLETIN)?;
        let body: Bulletin = decode(document.body)?;
        if body.format != FORMAT {
            return Err(BulletinError::Format(body.format));
        }
        if body.realm != realm || kdf::sha256(&[&body.operator.0]) != realm.0 {
            return Err(BulletinError::Realm);
        }
        if !sign::verify_signed(CONTEXT, &body.operator, &document) {
            return Err(BulletinError::Signature);
        }
        Ok(Self { body, signed: signed.into() })
    }

    /// Checks a signed credential at a time; see [`credential`](super::credential) for the order.
    pub fn verify_credential(&self, signed: &[u8], at: Unix) -> Result<PeerCredential, CredentialError> {
        let (document, body) = self.screen_credential(signed, at)?;
        self.finish_credential(signed, &document, body)
    }

    /// The checks that cost no signature: everything up to the issuer's.
    pub(super) fn screen_credential<'a>(
        &self,
        signed: &'a [u8],
        at: Unix,
    ) -> Result<(Signed<'a>, Credential), CredentialError> {
        let document: Signed<'a> = decode_within(signed, MAX_CREDENTIAL).map_err(|_| CredentialError::Malformed)?;
        let body: Credential = decode(document.body).map_err(|_| CredentialError::Malformed)?;
        if body.version != CREDENTIAL_VERSION {
            return Err(CredentialError::Version);
        }
        if body.realm != self.body.realm {
            return Err(CredentialError::Realm);
        }
        if body.sealed_id.len() != SEALED_ID {
            return Err(CredentialError::Malformed);
        }
        self.issuer_at(&body.issuer, at).ok_or(CredentialError::Issuer)?;
        let (from, until) = credential::acceptance(&body).ok_or(CredentialError::Malformed)?;
        if at < from {
            return Err(CredentialError::NotYetValid);
        }
        if at > until {
            return Err(CredentialError::Expired);
        }
        Ok((document, body))
    }

    /// The rest of the checks.
    pub(super) fn finish_credential(
        &self,
        signed: &[u8],
        document: &Signed<'_>,
        body: Credential,
    ) -> Result<PeerCredential, CredentialError> {
        let issuer = self.issuer(&body.issuer).ok_or(CredentialError::Issuer)?;
        if !sign::verify_signed(CREDENTIAL_CONTEXT, &issuer.key, document) {
            return Err(CredentialError::Signature);
        }
        if self.is_revoked(&body) {
            return Err(CredentialError::Revoked);
        }
        Ok(PeerCredential { hash: credential::hash(signed), body, signed: signed.into() })
    }

    /// An issuer that may sign at this time.
    pub fn issuer_at(&self, issuer: &IssuerId, at: Unix) -> Option<&IssuerCertificate> {
        let listed = self.issuer(issuer)?;
        (listed.not_before..=listed.not_after).contains(&at.seconds()).then_some(listed)
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.body.version
    }

    /// What it says.
    pub fn body(&self) -> &Bulletin {
        &self.body
    }

    /// As it travels.
    pub fn signed(&self) -> &Arc<[u8]> {
        &self.signed
    }

    /// Whose.
    pub fn realm(&self) -> RealmId {
        self.body.realm
    }

    /// The realm's default epoch length.
    pub fn epoch_length(&self) -> EpochLength {
        self.body.epoch_length
    }

    /// Everything that a device in `segments` may exchange frames with: those segments, and what they reach.
    pub fn reach(&self, segments: u64) -> u64 {
        self.body
            .segments
            .iter()
            .filter(|segment| segments.checked_shr(u32::from(segment.bit)).is_some_and(|rest| rest & 1 == 1))
            .fold(segments, |reach, segment| reach | u64::from_be_bytes(segment.reaches))
    }

    /// The segment of frames between devices in these segments: the lowest that both are in, else the lowest that one is in
    /// and the other reaches; nothing if there is none.
    pub fn segment_between(&self, one: u64, other: u64) -> Option<u8> {
        let reached = self.reach(one) & other | self.reach(other) & one;
        let common = if one & other == 0 { reached } else { one & other };
        u8::try_from(common.trailing_zeros()).ok().filter(|_| common != 0)
    }

    fn issuer(&self, issuer: &IssuerId) -> Option<&IssuerCertificate> {
        self.body.issuers.iter().find(|listed| listed.id == *issuer)
    }

    fn is_revoked(&self, body: &Credential) -> bool {
        self.body.revocations.iter().any(|revocation| self.revokes(revocation, body))
    }

    fn revokes(&self, revocation: &Revocation, body: &Credential) -> bool {
        let length = revocation.epoch_length;
        credential::epoch_length(body) == Some(length)
            && day_of(body.epoch, length, self.body.founded) >= revocation.day
            && DayKey::of(revocation.day, revocation.resolution_key).handle(body.epoch, length, self.body.founded)
                == Some(body.handle)
    }
}

impl fmt::Debug for VerifiedBulletin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedBulletin").field("version", &self.body.version).finish_non_exhaustive()
    }
}

/// Format of the bulletin that is read and written here.
pub const FORMAT: u8 = 1;
/// Version of the credential that is read and written here.
pub const CREDENTIAL_VERSION: u8 = 1;
