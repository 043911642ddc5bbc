//! Bulletin: the verified bulletin in force, which decides whose credentials are accepted.
//!
//! A bulletin proves itself: the realm id is the SHA-256 of the operator's key inside it, and the operator's signature
//! covers the rest. Of two bulletins the one with the higher version is in force; a node never goes back.
//!
//! Versions of group keys are documents of their own, which the bulletin names by hash. The documents at hand are
//! attached to the bulletin here; the bulletin is in force without them too.
//!
//! Invariants
//! 1. The signature of a credential is verified once; whether the credential is still accepted is checked again each
//!    time.
//! 2. A credential of a revoked device is refused from the day of its revocation on, whatever issuer signed it.
//! - A [`VerifiedBulletin`] carries the operator's signature for its realm.

use crate::id::{IssuerId, RealmId};
use crate::identity::credential::{self, CredentialError, PeerCredential};
use crate::identity::revoked::Revoked;
use crate::identity::{group_tree, kdf, sign};
use crate::time::{EpochLength, Unix};
use crate::wire::bulletin::{
    Bulletin, CONTEXT, GroupReference, GroupVersion, IssuerCertificate, MAX_BULLETIN, MAX_GROUPS,
};
use crate::wire::codec::decode_within;
use crate::wire::credential::{CONTEXT as CREDENTIAL_CONTEXT, Credential, MAX_CREDENTIAL, SEALED_ID};
use crate::wire::document::DocumentHash;
use crate::wire::{DecodeError, Signed, decode};
use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A bulletin whose signature has been checked.
#[derive(Clone)]
pub struct VerifiedBulletin {
    body: Bulletin,
    signed: Arc<[u8]>,
    revoked: Revoked,
    /// The documents at hand, of those that the bulletin names.
    documents: BTreeMap<DocumentHash, (Arc<[u8]>, Arc<GroupVersion>)>,
}

/// Why a bulletin is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulletinError {
    /// The bytes are no bulletin.
    #[error("the bulletin is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The bulletin, or a document of it, has a format that this version does not read.
    #[error("the bulletin has format {0}; this version of m2mesh reads {FORMAT}")]
    Format(u8),
    /// The bulletin belongs to another realm, or its operator's key is not the realm's.
    #[error("the bulletin belongs to another realm")]
    Realm,
    /// The operator's signature does not verify.
    #[error("the operator has not signed the bulletin")]
    Signature,
}

impl VerifiedBulletin {
    /// Verifies a signed bulletin of `realm`.
    ///
    /// # Errors
    /// The bytes are malformed or name too many versions of group keys; the format is unknown; the bulletin is of
    /// another realm; or the operator has not signed it.
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
        if body.groups.len() > MAX_GROUPS {
            return Err(DecodeError::Shape(format!("more than {MAX_GROUPS} versions of group keys")).into());
        }
        Ok(Self { body, signed: signed.into(), revoked: Revoked::default(), documents: BTreeMap::new() })
    }

    /// Verifies a signed credential at the time `at`; see [`credential`](super::credential) for the order of the
    /// checks.
    ///
    /// # Errors
    /// Returns the reason of the first check that fails.
    pub fn verify_credential(&self, signed: &[u8], at: Unix) -> Result<PeerCredential, CredentialError> {
        let (document, body) = self.screen_credential(signed, at)?;
        self.finish_credential(signed, &document, body)
    }

    /// Verifies a credential that was in force when something was sealed under it, which may be long ago, but not before
    /// `oldest`. Returns it with the time by which it was judged: the last one that it is accepted at, if that has passed.
    ///
    /// # Errors
    /// See [`CredentialError`].
    pub fn verify_past_credential(
        &self,
        signed: &[u8],
        now: Unix,
        oldest: Unix,
    ) -> Result<(PeerCredential, Unix), CredentialError> {
        let document: Signed<'_> = decode_within(signed, MAX_CREDENTIAL).map_err(|_| CredentialError::Malformed)?;
        let body: Credential = decode(document.body).map_err(|_| CredentialError::Malformed)?;
        let length = credential::epoch_length(&body).ok_or(CredentialError::Malformed)?;
        let then = now.min(length.end(body.epoch) - Duration::from_micros(1));
        if then < oldest {
            return Err(CredentialError::Expired);
        }
        Ok((self.verify_credential(signed, then)?, then))
    }

    /// Checks whether a credential that was verified before is still accepted at the time `at`. What cannot have
    /// changed, above all its signature, is not checked again.
    ///
    /// # Errors
    /// The issuer is no longer listed for this time, the epoch has not begun or is over, or the device is revoked.
    pub fn recheck(&self, known: &PeerCredential, at: Unix) -> Result<(), CredentialError> {
        self.screen_body(&known.body, at)?;
        if self.is_revoked(&known.body) { Err(CredentialError::Revoked) } else { Ok(()) }
    }

    /// Makes the checks that cost no signature verification: all those before the issuer's signature.
    pub(super) fn screen_credential<'a>(
        &self,
        signed: &'a [u8],
        at: Unix,
    ) -> Result<(Signed<'a>, Credential), CredentialError> {
        let document: Signed<'a> = decode_within(signed, MAX_CREDENTIAL).map_err(|_| CredentialError::Malformed)?;
        let body: Credential = decode(document.body).map_err(|_| CredentialError::Malformed)?;
        self.screen_body(&body, at)?;
        Ok((document, body))
    }

    fn screen_body(&self, body: &Credential, at: Unix) -> Result<(), CredentialError> {
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
        let (from, until) = credential::acceptance(body).ok_or(CredentialError::Malformed)?;
        if at < from {
            return Err(CredentialError::NotYetValid);
        }
        if at > until {
            return Err(CredentialError::Expired);
        }
        Ok(())
    }

    /// Makes the remaining checks: the issuer's signature, and that the device is not revoked.
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

    /// Attaches a document that the bulletin names. Returns `Ok(true)` if it was missing, and `Ok(false)` if it is at
    /// hand already or the bulletin does not name it.
    ///
    /// # Errors
    /// The document is malformed, has another format, or is another version than the bulletin says.
    pub fn attach(&mut self, raw: &[u8]) -> Result<bool, BulletinError> {
        let hash = kdf::sha256(&[raw]);
        let Some(named) = self.body.groups.iter().find(|named| named.hash == hash) else { return Ok(false) };
        if self.documents.contains_key(&hash) {
            return Ok(false);
        }
        let document: GroupVersion = decode(raw)?;
        if document.format != group_tree::FORMAT {
            return Err(BulletinError::Format(document.format));
        }
        if (document.group, document.version) != (named.group, named.version) {
            return Err(DecodeError::Shape("the document is another version than the bulletin says".into()).into());
        }
        self.documents.insert(hash, (raw.into(), Arc::new(document)));
        Ok(true)
    }

    /// Takes over from an earlier bulletin the documents that this one names too.
    pub fn inherit(&mut self, earlier: &Self) {
        for named in &self.body.groups {
            if let Some(document) = earlier.documents.get(&named.hash) {
                self.documents.insert(named.hash, document.clone());
            }
        }
    }

    /// The encoded document with this hash; `None` if it is not at hand.
    pub fn document(&self, hash: &DocumentHash) -> Option<&Arc<[u8]>> {
        self.documents.get(hash).map(|(raw, _)| raw)
    }

    /// All documents at hand, encoded.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.documents.values().map(|(raw, _)| raw)
    }

    /// The hashes of the documents that the bulletin names and that are not at hand.
    pub fn missing(&self) -> Vec<DocumentHash> {
        let hashes = self.body.groups.iter().map(|named| named.hash);
        hashes.filter(|hash| !self.documents.contains_key(hash)).collect()
    }

    /// The versions of group keys that the bulletin names, each with its document if that is at hand.
    pub(super) fn group_versions(&self) -> impl Iterator<Item = (&GroupReference, Option<&GroupVersion>)> {
        let document = |named: &GroupReference| self.documents.get(&named.hash).map(|(_, document)| &**document);
        self.body.groups.iter().map(move |named| (named, document(named)))
    }

    /// The certificate of an issuer, if the issuer may sign at this time.
    pub fn issuer_at(&self, issuer: &IssuerId, at: Unix) -> Option<&IssuerCertificate> {
        let listed = self.issuer(issuer)?;
        (listed.not_before..=listed.not_after).contains(&at.seconds()).then_some(listed)
    }

    /// The bulletin's version.
    pub fn version(&self) -> u64 {
        self.body.version
    }

    /// The bulletin's body.
    pub fn body(&self) -> &Bulletin {
        &self.body
    }

    /// The signed bulletin, encoded.
    pub fn signed(&self) -> &Arc<[u8]> {
        &self.signed
    }

    /// The realm that the bulletin is of.
    pub fn realm(&self) -> RealmId {
        self.body.realm
    }

    /// The realm's default epoch length.
    pub fn epoch_length(&self) -> EpochLength {
        self.body.epoch_length
    }

    /// All segments that a device in `segments` may exchange frames with: those segments and the ones that they reach,
    /// as a bit map.
    pub fn reach(&self, segments: u64) -> u64 {
        self.body
            .segments
            .iter()
            .filter(|segment| segments.checked_shr(u32::from(segment.bit)).is_some_and(|rest| rest & 1 == 1))
            .fold(segments, |reach, segment| reach | u64::from_be_bytes(segment.reaches))
    }

    /// The segment, by its bit, of frames between devices in these two sets of segments: the lowest that both are in,
    /// else the lowest that one is in and the other reaches; `None` if there is none.
    pub fn segment_between(&self, one: u64, other: u64) -> Option<u8> {
        let reached = self.reach(one) & other | self.reach(other) & one;
        let common = if one & other == 0 { reached } else { one & other };
        u8::try_from(common.trailing_zeros()).ok().filter(|_| common != 0)
    }

    fn issuer(&self, issuer: &IssuerId) -> Option<&IssuerCertificate> {
        self.body.issuers.iter().find(|listed| listed.id == *issuer)
    }

    fn is_revoked(&self, body: &Credential) -> bool {
        let Some(length) = credential::epoch_length(body) else { return false };
        let (revocations, founded) = (&self.body.revocations, self.body.founded);
        self.revoked.contains(revocations, founded, (body.epoch, length), &body.handle)
    }
}

impl fmt::Debug for VerifiedBulletin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedBulletin").field("version", &self.body.version).finish_non_exhaustive()
    }
}

/// The format of bulletins that this version reads and writes.
pub const FORMAT: u8 = 1;
/// The version of credentials that this node reads and writes.
pub const CREDENTIAL_VERSION: u8 = 1;
