//! Realm: a realm's own keys (operator, issuer and auditor) and its first bulletin.
//!
//! The operator's key is the realm: its hash is the realm id, and the bulletin that it signs says which issuers and
//! managers count. It is needed for changes to the bulletin only and can be kept offline. Issuers hold what daily work
//! needs. Only the auditor can tell which device a credential belongs to without being its contact.

use crate::id::{AgreementKey, DeviceId, IssuerId, Pseudonym, RealmId};
use crate::identity::bulletin::{BulletinError, FORMAT, VerifiedBulletin};
use crate::identity::group_tree::{self, GroupTree};
use crate::identity::kdf::{self, Secret, label};
use crate::identity::seal::{self, SealError};
use crate::identity::sign;
use crate::time::{Epoch, EpochLength, Unix};
use crate::wire::bulletin::{Bulletin, CONTEXT, IssuerCertificate};
use crate::wire::encode;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use x25519_dalek::StaticSecret;

/// The operator's key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Operator {
    #[serde(with = "kdf::secret")]
    seed: Secret,
}

/// The secrets that an issuer holds.
#[derive(Clone, Serialize, Deserialize)]
pub struct IssuerSecrets {
    /// Seed of the Ed25519 key that signs credentials.
    #[serde(with = "kdf::secret")]
    pub(super) signing: Secret,
    /// X25519 secret to which enrolment requests are sealed.
    #[serde(with = "kdf::secret")]
    pub(super) seal: Secret,
    /// K_resolve: all resolution keys derive from it. All issuers of a realm have the same.
    #[serde(with = "kdf::secret")]
    pub(super) resolve: Secret,
    /// Secret of the group key tree. All issuers of a realm have the same.
    #[serde(with = "kdf::secret")]
    pub(super) tree: Secret,
}

/// The auditor's key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Auditor {
    #[serde(with = "kdf::secret")]
    secret: Secret,
}

/// The keys of a new realm and its first bulletin.
pub struct Founding {
    /// The operator's key, to be kept offline.
    pub operator: Operator,
    /// The issuer's secrets, for the nodes that enrol devices.
    pub issuer: IssuerSecrets,
    /// The auditor's key, to be kept offline and apart from the operator's.
    pub auditor: Auditor,
    /// The bulletin of version 1.
    pub bulletin: VerifiedBulletin,
}

/// Founds a realm whose devices have epochs of this length by default.
pub fn found(rng: &mut ChaCha20Rng, epoch_length: EpochLength, now: Unix) -> Result<Founding, BulletinError> {
    let operator = Operator { seed: seal::random(rng) };
    let auditor = Auditor { secret: seal::random(rng) };
    let issuer = IssuerSecrets {
        signing: seal::random(rng),
        seal: seal::random(rng),
        resolve: seal::random(rng),
        tree: seal::random(rng),
    };
    let root = seal::random(rng);
    // One leaf counts as assigned: with nobody excluded the cover is the root, which reaches all later devices too.
    let tree = GroupTree::new(issuer.tree.clone());
    let document = tree.seal_version(rng, (None, 1), &root, 1, &BTreeSet::new());
    let bulletin = Bulletin {
        format: FORMAT,
        version: 1,
        realm: operator.realm(),
        operator: operator.key(),
        founded: now.seconds(),
        issued: now.seconds(),
        // The operator has to certify its issuer again by then at the latest.
        next_update: now.seconds() + ISSUER_SECONDS,
        epoch_length,
        auditor: seal::agreement_public(&StaticSecret::from(*auditor.secret)),
        issuers: vec![issuer.certificate(now.seconds(), now.seconds() + ISSUER_SECONDS)],
        revocations: Vec::new(),
        groups: vec![group_tree::reference(&document, now.seconds())],
        managers: Vec::new(),
        segments: Vec::new(),
    };
    let mut bulletin = operator.sign(&bulletin)?;
    bulletin.attach(&encode(&document))?;
    Ok(Founding { operator, issuer, auditor, bulletin })
}

impl Operator {
    /// The operator's public key.
    pub fn key(&self) -> Pseudonym {
        sign::public(&self.signing())
    }

    /// The realm id: the hash of the operator's public key.
    pub fn realm(&self) -> RealmId {
        RealmId(kdf::sha256(&[&self.key().0]))
    }

    /// Signs a bulletin of this realm. Its documents then have to be attached, or inherited from the bulletin before.
    pub fn sign(&self, body: &Bulletin) -> Result<VerifiedBulletin, BulletinError> {
        let signed = sign::sign_document(&self.signing(), CONTEXT, &encode(body));
        VerifiedBulletin::verify(self.realm(), &signed)
    }

    fn signing(&self) -> SigningKey {
        SigningKey::from_bytes(&self.seed)
    }
}

impl IssuerSecrets {
    /// The public key that signs credentials.
    pub fn key(&self) -> Pseudonym {
        sign::public(&SigningKey::from_bytes(&self.signing))
    }

    /// The id by which credentials name the issuer.
    pub fn id(&self) -> IssuerId {
        let full = kdf::sha256(&[&self.key().0]);
        let mut id = [0; IssuerId::LEN];
        id.copy_from_slice(&full[..IssuerId::LEN]);
        IssuerId(id)
    }

    /// Returns the issuer's entry for the bulletin, valid from an hour before `not_before` until `not_after` (unix
    /// seconds).
    pub fn certificate(&self, not_before: u64, not_after: u64) -> IssuerCertificate {
        let seal = seal::agreement_public(&StaticSecret::from(*self.seal));
        // An hour of grace for devices whose clocks are behind the founder's.
        let not_before = not_before.saturating_sub(3_600);
        IssuerCertificate { id: self.id(), key: self.key(), seal, not_before, not_after }
    }
}

impl Auditor {
    /// The public key, to which identities are sealed.
    pub fn key(&self) -> AgreementKey {
        seal::agreement_public(&StaticSecret::from(*self.secret))
    }

    /// Opens a credential's sealed id: whose credential it is, and of which epoch.
    pub fn open(&self, sealed_id: &[u8]) -> Result<(DeviceId, Epoch), SealError> {
        let plain = seal::open(&StaticSecret::from(*self.secret), label::SEALED_ID, sealed_id)?;
        let (device, epoch) = plain.split_first_chunk::<16>().ok_or(SealError::Short)?;
        let epoch = epoch.try_into().map_err(|_| SealError::Short)?;
        Ok((DeviceId(*device), Epoch(u64::from_be_bytes(epoch))))
    }
}

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

redacted!(Operator, IssuerSecrets, Auditor, Founding);

/// How long an issuer is certified for, in seconds: ten years, within which the operator certifies it again.
const ISSUER_SECONDS: u64 = 10 * 365 * 86_400;
