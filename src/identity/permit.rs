//! Permit: who may publish to a restricted group, as everybody can check who has a frame of it in hands.
//!
//! A restricted group has a *publishing key*, which issuers derive from the secret of the key tree and readers find, sealed, in
//! the versions of the group's key. From it follow the group's tags, epoch by epoch; their first bit is 1, and that of the tags of all other groups
//! is 0. A permit is an issuer's signature over an epoch, a pseudonym and the tag; it travels in the publisher's frames. So a relay, which knows neither the
//! group nor its key, can tell that a frame needs a permit, and that it has one.
//!
//! ```text
//! tree secret ── publishing key (name's tag, generation) ─► publishing key ── publishing tag (epoch) ─► tag ─┐
//! issuer ── permit (realm, epoch, pseudonym, tag) ◄───────────────────────────────────────────────────────────┘
//! ```
//!
//! Another key of the group leaves tags and permits as they are. A right is taken by another *generation*, under which there are other
//! tags: nobody listens under the former ones any more.
//!
//! Invariants
//! 1. A permit holds for one pseudonym, one group and one epoch of the realm's default length.
//! 2. A tag of a restricted group is never one of a group that is not, nor the other way round.
//! - A permit says no more of its holder than the frame around it does.

use crate::id::{IssuerId, Permit, Pseudonym, RealmId, Signature, Tag};
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::kdf::{self, Secret, label};
use crate::identity::{seal, sign};
use crate::time::{Epoch, Unix};
use crate::wire::bulletin::{GroupVersion, Restriction};
use crate::wire::enrolment::{Permits, Publishing};
use core::fmt;
use ed25519_dalek::SigningKey;

/// Signature context of a permit.
pub const CONTEXT: &str = "m2mesh/1 permit";
/// Most restricted groups that a device may publish to.
pub const MAX_GROUPS: usize = 16;
/// Most permits in an answer, of all groups together: a week's for eight groups, with epochs of an hour.
pub const MAX_PERMITS: usize = 8 * 168;
/// Bytes of a permit in an answer: an epoch and a signature.
const ENTRY: usize = 8 + Signature::LEN;

/// Whether a tag is that of a restricted group.
pub fn is_restricted(tag: &Tag) -> bool {
    tag.0[0] & RESTRICTED != 0
}

/// The tag of a group that is not restricted, from bytes that nobody else can compute.
pub(super) fn unrestricted(mut bytes: [u8; Tag::LEN]) -> Tag {
    bytes[0] &= !RESTRICTED;
    Tag(bytes)
}

/// The publishing key of one generation of a restricted group.
#[derive(Clone)]
pub struct PublishingKey {
    /// The generation of the right to publish.
    pub generation: u32,
    key: Secret,
}

impl PublishingKey {
    /// Derives the key from the secret of the key tree.
    pub(super) fn derive(tree: &Secret, group: Tag, generation: u32) -> Self {
        let parts: [&[u8]; 2] = [&group.0, &generation.to_be_bytes()];
        Self { generation, key: kdf::derive(tree.as_slice(), label::PUBLISHING_KEY, &parts) }
    }

    /// Takes a key that was granted.
    pub(super) fn granted(publishing: &Publishing) -> Self {
        Self { generation: publishing.generation, key: Secret::new(publishing.key) }
    }

    /// The key as it is granted.
    pub(super) fn to_granted(&self) -> Publishing {
        Publishing { generation: self.generation, key: *self.key }
    }

    /// Seals the key under that of a version of the group's.
    pub(super) fn seal(&self, key: &Secret, version: &GroupVersion) -> Restriction {
        let mut sealed = [0; 48];
        let (inside, end) = sealed.split_at_mut(32);
        inside.copy_from_slice(self.key.as_slice());
        let cipher = seal::cipher(&seal_key(key, version, self.generation));
        end.copy_from_slice(&seal::encrypt(&cipher, 0, &[], inside));
        Restriction { generation: self.generation, sealed }
    }

    /// Opens the key that a version of a restricted group's key brings along; `None` if it does not open.
    pub(super) fn open(key: &Secret, version: &GroupVersion, restriction: &Restriction) -> Option<Self> {
        let (sealed, tag) = restriction.sealed.split_last_chunk::<{ seal::TAG }>()?;
        let mut opened = Secret::new(sealed.try_into().ok()?);
        let cipher = seal::cipher(&seal_key(key, version, restriction.generation));
        let opens = seal::decrypt(&cipher, 0, &[], opened.as_mut_slice(), tag);
        opens.then_some(Self { generation: restriction.generation, key: opened })
    }

    /// The group's tag in an epoch of the realm's default length.
    pub fn tag(&self, epoch: Epoch) -> Tag {
        let mut bytes = kdf::tag(self.key.as_slice(), label::PUBLISHING_TAG, &[&epoch.0.to_be_bytes()]);
        bytes[0] |= RESTRICTED;
        Tag(bytes)
    }
}

impl fmt::Debug for PublishingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishingKey").field("generation", &self.generation).finish_non_exhaustive()
    }
}

fn seal_key(key: &Secret, version: &GroupVersion, generation: u32) -> Secret {
    let group = version.group.map_or([0; 8], |tag| tag.0);
    let parts: [&[u8]; 4] = [&group, &version.version.to_be_bytes(), &generation.to_be_bytes(), &version.salt];
    kdf::derive(key.as_slice(), label::PUBLISHING_SEAL, &parts)
}

/// What a permit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// The epoch, in the realm's default length.
    pub epoch: Epoch,
    /// Who may publish.
    pub publisher: &'a Pseudonym,
    /// The group's tag in the epoch.
    pub group: Tag,
}

impl Allowed<'_> {
    fn body(&self, realm: RealmId) -> [u8; 80] {
        let mut body = [0; 80];
        body[..32].copy_from_slice(&realm.0);
        body[32..40].copy_from_slice(&self.epoch.0.to_be_bytes());
        body[40..72].copy_from_slice(&self.publisher.0);
        body[72..].copy_from_slice(&self.group.0);
        body
    }

    /// Signs it as an issuer.
    pub(super) fn sign(&self, realm: RealmId, issuer: &SigningKey) -> Signature {
        sign::sign(issuer, CONTEXT, &self.body(realm))
    }
}

/// What is found of a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It holds.
    Holds,
    /// Its issuer is not listed at this time by the bulletin at hand; another bulletin may list it.
    UnknownIssuer,
    /// Its issuer has not signed it for this.
    Forged,
}

/// Judges a permit at the time `at`.
pub fn judge(bulletin: &VerifiedBulletin, permit: &Permit, allowed: &Allowed<'_>, at: Unix) -> Found {
    let (id, signature) = permit.0.split_at(IssuerId::LEN);
    let Some(issuer) = IssuerId::from_slice(id).and_then(|id| bulletin.issuer_at(&id, at)) else {
        return Found::UnknownIssuer;
    };
    let signed = |signature| sign::verify(&issuer.key, CONTEXT, &allowed.body(bulletin.realm()), &signature);
    if Signature::from_slice(signature).is_some_and(signed) { Found::Holds } else { Found::Forged }
}

/// This device's permits, as the issuer has granted them.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnPermits {
    issuer: Option<(IssuerId, Pseudonym)>,
    all: Vec<Permits>,
}

impl OwnPermits {
    /// Takes the permits of a grant of this issuer.
    pub(super) fn new(all: &[Permits], issuer: IssuerId, bulletin: &VerifiedBulletin) -> Self {
        let listed = bulletin.body().issuers.iter().find(|listed| listed.id == issuer);
        Self { issuer: listed.map(|listed| (listed.id, listed.key)), all: all.to_vec() }
    }

    fn of(&self, group: Tag, generation: u32, epoch: Epoch) -> impl Iterator<Item = Signature> {
        let of = self.all.iter().filter(move |of| of.group == group && of.generation == generation);
        let entries = of.flat_map(|of| entries(&of.permits));
        entries.filter(move |(at, _)| *at == epoch).map(|(_, signature)| signature)
    }

    /// Whether there are permits for a group and a generation.
    pub(super) fn holds(&self, group: Tag, generation: u32) -> bool {
        self.rights().any(|right| right == (group, generation))
    }

    /// The groups, by the tags of their names, and the generations for which there are permits.
    pub(super) fn rights(&self) -> impl Iterator<Item = (Tag, u32)> {
        self.all.iter().filter(|of| !of.permits.is_empty()).map(|of| (of.group, of.generation))
    }

    /// Whether there are permits for a group and a generation in an epoch.
    pub(super) fn has(&self, group: Tag, generation: u32, epoch: Epoch) -> bool {
        self.of(group, generation, epoch).next().is_some()
    }

    /// The permit of a group, by the tag of its name, for a pseudonym: verified.
    pub(super) fn find(
        &self,
        realm: RealmId,
        (group, generation): (Tag, u32),
        allowed: &Allowed<'_>,
    ) -> Option<Permit> {
        let (issuer, key) = self.issuer?;
        let body = allowed.body(realm);
        let holds = |signature: &Signature| sign::verify(&key, CONTEXT, &body, signature);
        let signature = self.of(group, generation, allowed.epoch).find(holds)?;
        let mut permit = [0; Permit::LEN];
        permit[..IssuerId::LEN].copy_from_slice(&issuer.0);
        permit[IssuerId::LEN..].copy_from_slice(&signature.0);
        Some(Permit(permit))
    }
}

/// The first and the last epoch for which there are permits of every group; `None` without any.
pub(super) fn span(all: &[Permits]) -> Option<(Epoch, Epoch)> {
    let epochs = |of: &Permits| Some((entries(&of.permits).next()?.0, entries(&of.permits).last()?.0));
    let spans: Vec<_> = all.iter().filter_map(epochs).collect();
    Some((spans.iter().map(|(first, _)| *first).max()?, spans.iter().map(|(_, last)| *last).min()?))
}

/// One permit as an answer carries it.
pub(super) fn entry(epoch: Epoch, signature: &Signature) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..8].copy_from_slice(&epoch.0.to_be_bytes());
    entry[8..].copy_from_slice(&signature.0);
    entry
}

fn entries(permits: &[u8]) -> impl Iterator<Item = (Epoch, Signature)> {
    permits.as_chunks::<ENTRY>().0.iter().filter_map(|entry| {
        let (epoch, signature) = entry.split_first_chunk::<8>()?;
        Some((Epoch(u64::from_be_bytes(*epoch)), Signature::from_slice(signature)?))
    })
}

/// The first bit of a tag.
const RESTRICTED: u8 = 0x80;
