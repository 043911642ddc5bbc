//! The bulletin in force, and what it decides: whose credentials count.
//!
//! A bulletin proves itself: the realm id is the SHA-256 of the operator's key inside it, and the operator's
//! signature covers the rest. Of two, the one with the higher version holds; a node never goes back.
//!
//! Versions of group keys are documents of their own, which the bulletin names by hash. Those at hand go along with it
//! here; a bulletin holds without them.
//!
//! Invariants
//! 1. A [`VerifiedBulletin`] carries the operator's signature for its realm.
//! 2. A credential that has been verified once is not verified again; whether it is still accepted is asked.
//! 3. A credential of a revoked device is refused from the day of its revocation on, whatever issuer signed it.

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
use std::collections::BTreeMap;
use std::sync::Arc;

/// A bulletin whose signature has been checked.
#[derive(Clone)]
pub struct VerifiedBulletin {
    body: Bulletin,
    signed: Arc<[u8]>,
    revoked: Revoked,
    /// Of those that it names, the ones at hand.
    documents: BTreeMap<DocumentHash, (Arc<[u8]>, Arc<GroupVersion>)>,
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
        if body.groups.len() > MAX_GROUPS {
            return Err(DecodeError::Shape(format!("more than {MAX_GROUPS} versions of group keys")).into());
        }
        Ok(Self { body, signed: signed.into(), revoked: Revoked::default(), documents: BTreeMap::new() })
    }

    /// Checks a signed credential at a time; see [`credential`](super::credential) for the order.
    pub fn verify_credential(&self, signed: &[u8], at: Unix) -> Result<PeerCredential, CredentialError> {
        let (document, body) = self.screen_credential(signed, at)?;
        self.finish_credential(signed, &document, body)
    }

    /// Whether a credential that was verified once is still accepted. What cannot have changed is not looked at again: its
    /// signature, above all.
    pub fn recheck(&self, known: &PeerCredential, at: Unix) -> Result<(), CredentialError> {
        self.screen_body(&known.body, at)?;
        if self.is_revoked(&known.body) { Err(CredentialError::Revoked) } else { Ok(()) }
    }

    /// The checks that cost no signature: everything up to the issuer's.
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

    /// Takes a document that the bulletin names; says whether it does, and it was missing.
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

    /// Takes over what an earlier bulletin had of the documents that this one names.
    pub fn inherit(&mut self, earlier: &Self) {
        for named in &self.body.groups {
            if let Some(document) = earlier.documents.get(&named.hash) {
                self.documents.insert(named.hash, document.clone());
            }
        }
    }

    /// A document at hand, as it travels.
    pub fn document(&self, hash: &DocumentHash) -> Option<&Arc<[u8]>> {
        self.documents.get(hash).map(|(raw, _)| raw)
    }

    /// All documents at hand, as they travel.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.documents.values().map(|(raw, _)| raw)
    }

    /// Documents that it names and that are not at hand.
    pub fn missing(&self) -> Vec<DocumentHash> {
        let hashes = self.body.groups.iter().map(|named| named.hash);
        hashes.filter(|hash| !self.documents.contains_key(hash)).collect()
    }

    /// Versions of group keys, each with its document if that is at hand.
    pub(super) fn group_versions(&self) -> impl Iterator<Item = (&GroupReference, Option<&GroupVersion>)> {
        let document = |named: &GroupReference| self.documents.get(&named.hash).map(|(_, document)| &**document);
        self.body.groups.iter().map(move |named| (named, document(named)))
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
    /// and the other reaches, or `None` if there is none.
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

/// Format of the bulletin that is read and written here.
pub const FORMAT: u8 = 1;
/// Version of the credential that is read and written here.
pub const CREDENTIAL_VERSION: u8 = 1;
