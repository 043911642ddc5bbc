//! Batch: the lasting keys of a device, and what an issuer granted it for the coming epochs.
//!
//! A grant carries sealed ids and signatures only. The device assembles each credential from its own keys and its
//! resolution key, and verifies the issuer's signature over it: an answer is sealed to the request's key, but that does
//! not prove who sealed it.
//!
//! Invariants
//! 1. Every credential of a [`Batch`] bears the issuer's signature and the device's own keys.
//! 2. A renewal adds to the credentials at hand; each is wiped, with its key, once it is no longer accepted. The chain
//!    that the keys come from goes forward with them.
//! 3. Wiping cannot be undone, so it goes by a *sure* time: one that another source than the device's own clock has
//!    shown to have come. A clock that is days ahead costs no key of the days that it skipped.

use crate::id::{DeviceId, IssuerId, Name, RealmId, Signature};
use crate::identity::bulletin::{CREDENTIAL_VERSION, VerifiedBulletin};
use crate::identity::credential::OwnCredential;
use crate::identity::enrolment::EnrolmentError;
use crate::identity::epoch_chain::{EpochChain, EpochSecrets};
use crate::identity::handle::DayKey;
use crate::identity::issuer::seconds;
use crate::identity::kdf::{self, Secret};
use crate::identity::mail::MailChain;
use crate::identity::membership::MembershipError;
use crate::identity::seal;
use crate::identity::session::ContactSecret;
use crate::identity::sign;
use crate::time::{Epoch, EpochLength, Unix};
use crate::wire::contact::ContactCard;
use crate::wire::credential::{CONTEXT, Credential, SEALED_ID};
use crate::wire::enrolment::{DeviceKeys, Grant, GroupKeyGrant, PathKeys, Permits};
use crate::wire::{Signed, encode};
use core::fmt;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::Arc;
use x25519_dalek::StaticSecret;

/// The keys that a device keeps for its whole life.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSecrets {
    /// X25519 secret behind the contact key.
    #[serde(with = "kdf::secret")]
    pub(super) contact: Secret,
    /// Seed of the Ed25519 key that signs renewals.
    #[serde(with = "kdf::secret")]
    pub(super) renewal: Secret,
    /// Seed of the Ed25519 key behind the pseudonyms.
    #[serde(with = "kdf::secret")]
    pub(super) pseudonym: Secret,
}

/// What an issuer granted to a device, with the private keys that belong to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub(super) realm: RealmId,
    pub(super) issuer: IssuerId,
    pub(super) name: Name,
    pub(super) device: DeviceId,
    pub(super) epoch_length: EpochLength,
    /// The issuer's clock at the grant, in unix seconds.
    pub(super) granted: u64,
    pub(super) path: PathKeys,
    pub(super) group_keys: Vec<GroupKeyGrant>,
    pub(super) epochs: Vec<BatchEpoch>,
    /// The source of the epochs' keys, and of those of all later epochs.
    pub(super) source: KeySource,
    /// Generation of the device's resolution-key chain.
    #[serde(default, skip_serializing_if = "is_first")]
    pub(super) generation: u32,
    /// The bulletin of which its contact cards are.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub(super) cards_of: u64,
    /// The permits of the restricted groups that the device may publish to, as of the last grant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) permits: Vec<Permits>,
    /// Where the device's mail prekeys come from, if it takes mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mail: Option<MailChain>,
}

/// Whether a generation is the first: of which nothing is written.
fn is_first(generation: &u32) -> bool {
    *generation == 0
}

/// Whether nothing is known of a bulletin's version: of which nothing is written.
fn is_none_yet(version: &u64) -> bool {
    *version == 0
}

/// The chain of the epochs' keys, at the first epoch whose key may still be needed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeySource {
    pub(super) epoch: Epoch,
    pub(super) chain: EpochChain,
}

impl KeySource {
    /// Returns the source at a later epoch; `None` for an earlier one.
    pub(super) fn at(&self, epoch: Epoch) -> Option<Self> {
        let steps = epoch.0.checked_sub(self.epoch.0)?;
        Some(Self { epoch, chain: self.chain.at(self.chain.place().checked_add(steps)?)? })
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BatchEpoch {
    epoch: Epoch,
    #[serde(with = "kdf::secret")]
    agreement: Secret,
    /// Seed of its Ed25519 key, unless that is the one of [`DeviceSecrets`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "kdf::optional_secret")]
    pseudonym: Option<Secret>,
    credential: ByteBuf,
    /// The generation that its handle is of.
    #[serde(default, skip_serializing_if = "is_first")]
    generation: u32,
}

impl DeviceSecrets {
    /// Generates the keys of a new device.
    pub fn generate(rng: &mut ChaCha20Rng) -> Self {
        Self { contact: seal::random(rng), renewal: seal::random(rng), pseudonym: seal::random(rng) }
    }

    /// Returns the public halves, which an enrolment request tells the issuer.
    pub fn public(&self) -> DeviceKeys {
        DeviceKeys {
            contact: ContactSecret::new(*self.contact).public(),
            renewal: sign::public(&SigningKey::from_bytes(&self.renewal)),
        }
    }
}

/// The keys that an enrolment or renewal request was made with.
pub(super) struct Keys<'a> {
    /// Seed of the Ed25519 key that serves all epochs, or `None` if each has its own.
    pub(super) stable: Option<&'a Secret>,
    /// The secrets of the epochs asked for, in order.
    pub(super) epochs: Vec<EpochSecrets>,
    /// The chain that the epochs' secrets come from, `before` places before the first of them.
    pub(super) chain: &'a EpochChain,
    pub(super) before: u64,
}

impl Keys<'_> {
    /// Returns the seed of an epoch's Ed25519 key.
    pub(super) fn seed<'a>(&'a self, of: &'a EpochSecrets) -> &'a Secret {
        self.stable.unwrap_or(&of.pseudonym)
    }

    /// Returns the source of keys if the first of the keys is that of the epoch `first`.
    fn source(&self, first: Epoch) -> Option<KeySource> {
        let before = self.before.min(first.0);
        let place = self.chain.place().checked_add(self.before - before)?;
        Some(KeySource { epoch: Epoch(first.0 - before), chain: self.chain.at(place)? })
    }
}

/// A grant that has been checked against the request.
pub(super) struct Granted {
    pub(super) batch: Batch,
    pub(super) bulletin: VerifiedBulletin,
    pub(super) cards: Vec<ContactCard>,
}

impl Granted {
    /// Assembles the credentials of a grant and verifies every signature.
    pub(super) fn check(
        grant: Grant,
        realm: RealmId,
        issuer: IssuerId,
        keys: &Keys<'_>,
    ) -> Result<Self, EnrolmentError> {
        let Grant {
            name,
            device,
            generation,
            day,
            resolution_key,
            epoch_length,
            first_epoch,
            segments,
            roles,
            epochs: signed_epochs,
            bulletin,
            path,
            group_keys,
            documents,
            cards,
            time,
            permits,
        } = grant;
        let mut bulletin = VerifiedBulletin::verify(realm, &bulletin)?;
        for document in documents {
            bulletin.attach(&document)?;
        }
        let issuers = &bulletin.body().issuers;
        let certificate = issuers.iter().find(|listed| listed.id == issuer).ok_or(EnrolmentError::Foreign)?;
        let granted = signed_epochs.chunks_exact(EPOCH_SEALS);
        let last = first_epoch.0.checked_add(granted.len() as u64);
        if !granted.remainder().is_empty() || granted.len() > keys.epochs.len() || last.is_none() {
            return Err(EnrolmentError::Foreign);
        }
        let mut key = DayKey::of(day, resolution_key);
        let source = keys.source(first_epoch).ok_or(EnrolmentError::Foreign)?;
        let mut entries = Vec::with_capacity(granted.len());
        for ((number, seals), secrets) in (first_epoch.0..).zip(granted).zip(&keys.epochs) {
            let epoch = Epoch(number);
            let founded = bulletin.body().founded;
            key = key.at(epoch_length.start(epoch).day_since(founded)).ok_or(EnrolmentError::Foreign)?;
            let (sealed_id, signature) = seals.split_at(SEALED_ID);
            let body = encode(&Credential {
                version: CREDENTIAL_VERSION,
                realm,
                issuer,
                epoch,
                epoch_length: seconds(epoch_length),
                segments,
                roles,
                key: sign::public(&SigningKey::from_bytes(keys.seed(secrets))),
                agreement: seal::agreement_public(&StaticSecret::from(*secrets.agreement)),
                handle: key.handle(epoch, epoch_length, founded).ok_or(EnrolmentError::Foreign)?,
                sealed_id: sealed_id.to_vec(),
            });
            let signature = Signature::from_slice(signature).ok_or(EnrolmentError::Foreign)?;
            if !sign::verify(&certificate.key, CONTEXT, &body, &signature) {
                return Err(EnrolmentError::Foreign);
            }
            let credential = ByteBuf::from(encode(&Signed { body: &body, signature }));
            let pseudonym = keys.stable.is_none().then(|| secrets.pseudonym.clone());
            let agreement = secrets.agreement.clone();
            entries.push(BatchEpoch { epoch, agreement, pseudonym, credential, generation });
        }
        let batch = Batch {
            realm,
            issuer,
            name,
            device,
            epoch_length,
            granted: time,
            path,
            group_keys,
            epochs: entries,
            source,
            generation,
            cards_of: bulletin.version(),
            permits,
            mail: None,
        };
        Ok(Self { batch, bulletin, cards })
    }
}

impl Batch {
    /// Returns the credentials with their private keys; an error if one is not of this device or there is none.
    pub(super) fn open(&self, secrets: &DeviceSecrets) -> Result<BTreeMap<Epoch, Arc<OwnCredential>>, MembershipError> {
        let mut credentials = BTreeMap::new();
        for BatchEpoch { epoch, agreement, pseudonym, credential, .. } in &self.epochs {
            let seed = pseudonym.as_ref().unwrap_or(&secrets.pseudonym);
            let own = OwnCredential::new(credential, seed, agreement);
            let own = own.filter(|own| own.body.epoch == *epoch).ok_or(MembershipError::Credentials)?;
            credentials.insert(*epoch, Arc::new(own));
        }
        if credentials.is_empty() { Err(MembershipError::Credentials) } else { Ok(credentials) }
    }

    /// Whether the batch holds the keys of an epoch.
    pub(super) fn holds(&self, epoch: Epoch) -> bool {
        self.epochs.iter().any(|entry| entry.epoch == epoch)
    }

    /// The first epoch after that one whose credential is of another generation than the device.
    pub(super) fn first_outdated(&self, after: Epoch) -> Option<Epoch> {
        let outdated = |entry: &&BatchEpoch| entry.epoch > after && entry.generation != self.generation;
        self.epochs.iter().filter(outdated).map(|entry| entry.epoch).min()
    }

    /// Erases the keys of epochs whose credentials are accepted no more, all but the last one's. Says whether there were any.
    pub(super) fn erase_past(&mut self, sure: Unix) -> bool {
        let (length, before, from) = (self.epoch_length, self.epochs.len(), self.source.epoch);
        let last = self.epochs.iter().map(|entry| entry.epoch).max();
        let first = length.epoch_at(sure - length.skew() * 2);
        self.source = self.source.at(first).unwrap_or_else(|| self.source.clone());
        self.epochs.retain(|entry| entry.epoch >= first || Some(entry.epoch) == last);
        self.epochs.len() < before || self.source.epoch > from
    }

    /// Takes over from an older batch what is in use or will be used; see invariants 2 and 3.
    pub(super) fn keep_current(&mut self, old: &Batch, now: Unix, sure: Unix) {
        // A granted group key stays until newer ones displace it: the bulletin at hand may still need it.
        let known = |new: &[GroupKeyGrant], old: &GroupKeyGrant| {
            new.iter().any(|new| new.group == old.group && new.version == old.version)
        };
        let older: Vec<_> = old.group_keys.iter().filter(|old| !known(&self.group_keys, old)).cloned().collect();
        self.group_keys.extend(older);
        self.group_keys.truncate(MAX_GROUP_KEYS);
        self.cards_of = self.cards_of.max(old.cards_of);
        self.mail.clone_from(&old.mail);
        if old.epoch_length != self.epoch_length {
            return;
        }
        let length = self.epoch_length;
        let passed = Epoch(length.epoch_at(sure.min(Unix::from_seconds(self.granted))).0.saturating_sub(1));
        self.source = old.source.at(passed).unwrap_or_else(|| old.source.clone());
        if self.epochs.is_empty() {
            self.granted = old.granted;
        }
        // Bounds what a device keeps that never learns the time. The chain stays: these keys can be certified again.
        let stale = Epoch(length.epoch_at(now).0.saturating_sub(length.batch()));
        let from = passed.max(stale);
        let present = length.epoch_at(now);
        let replaced = |old: &BatchEpoch| {
            let newer = |new: &BatchEpoch| new.epoch == old.epoch && new.generation > old.generation;
            old.epoch > present && self.epochs.iter().any(newer)
        };
        let kept: Vec<_> = old.epochs.iter().filter(|old| old.epoch >= from && !replaced(old)).cloned().collect();
        self.epochs.retain(|new| !kept.iter().any(|kept| kept.epoch == new.epoch));
        self.epochs.extend(kept);
        self.epochs.sort_by_key(|entry| entry.epoch);
    }
}

impl fmt::Debug for DeviceSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceSecrets(…)")
    }
}

/// Bytes of a grant for one epoch: a sealed id and a signature.
const EPOCH_SEALS: usize = SEALED_ID + 64;
/// Most granted group keys that are kept; drop policy: the oldest go.
const MAX_GROUP_KEYS: usize = 256;
