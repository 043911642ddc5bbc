//! Group: the group keys of a member, what it seals with them, and what it opens.
//!
//! A group is the first level of a topic. Its key derives from the realm's root group key by the group's name, until
//! the bulletin lists a key of its own and the time of that key's version 1 has come. From the group's key come its
//! tag, which changes every epoch and is carried by frames, and a key for each sender, by the sender's pseudonym and a
//! random salt, so that senders never share a nonce. The sender's pseudonym signs the whole frame: members cannot speak
//! for one another.
//!
//! A key has versions, each with the time from which frames are sealed with it. A frame of the version before opens for
//! S after that time, and one of the version after for S before it (S being the allowed clock skew), since clocks
//! differ and frames take time. See [`group_versions`](super::group_versions).
//!
//! Invariants
//! 1. A (key, nonce) pair is used once: the salt is fresh in every [`GroupSender`], and its counter never repeats.
//! 2. A group's name leaves the device only inside a seal.

use crate::id::{CredentialHash, Permit, Pseudonym, RealmId, Tag};
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::credential::OwnCredential;
use crate::identity::group_tree::open_version;
use crate::identity::group_versions::{VersionedKey, Versions};
use crate::identity::kdf::{self, Secret, label};
use crate::identity::permit::{self, Allowed, OwnPermits, PublishingKey};
use crate::identity::seal;
use crate::time::{Epoch, Unix};
use crate::wire::bulletin::GroupVersion;
use crate::wire::encode;
use crate::wire::enrolment::{GroupKeyGrant, PathKeys};
use crate::wire::group::{CONTEXT, GroupBatch, GroupFrame};
use core::fmt;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The group keys of a member.
#[derive(Clone)]
pub struct GroupKeys {
    realm: RealmId,
    root: Versions,
    /// Groups that the bulletin lists, by the tag of their name.
    listed: BTreeMap<Tag, Versions>,
    permits: Arc<OwnPermits>,
    /// The time by which versions are chosen.
    at: Unix,
    skew: Duration,
}

/// Whether this device may publish to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Whoever has the group's key may.
    Everybody,
    /// The group is restricted, and this device has a permit.
    Permitted,
    /// The group is restricted, and this device has permits of the present generation, but none for this epoch.
    RunOut,
    /// The group is restricted, and this device has no permit.
    None,
}

/// Why a group frame cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The bulletin's group keys do not reach this device.
    #[error("this device is cut off from the group's key")]
    NoKey,
    /// The group is restricted, and this device has no permit for it.
    #[error("this device has no right to publish to the group")]
    NoRight,
    /// The frame's tag is that of another group or epoch.
    #[error("the frame belongs to another group")]
    Group,
    /// The frame is sealed with a version of the key that does not open at present.
    #[error("the frame is sealed with version {found} of the group's key, here is {have}")]
    Version {
        /// The version of the frame.
        found: u32,
        /// The version that frames are sealed with at present.
        have: u32,
    },
    /// The frame was changed, or comes from another sender.
    #[error("the frame does not open")]
    Opening,
}

impl GroupKeys {
    /// Opens, with the keys of a path, the versions that the bulletin names, as far as their documents are at hand, and
    /// takes the keys that were granted. Of the keys held `before` it keeps those that still open for a while.
    ///
    /// # Errors
    /// Returns [`GroupError::NoKey`] if no version of the root key reaches this device.
    pub fn new(
        path: &PathKeys,
        granted: &[GroupKeyGrant],
        bulletin: &VerifiedBulletin,
        before: Option<&Self>,
    ) -> Result<Self, GroupError> {
        let mut all: BTreeMap<Option<Tag>, Versions> = BTreeMap::new();
        for (named, document) in bulletin.group_versions() {
            let same = |grant: &&GroupKeyGrant| grant.group == named.group && grant.version == named.version;
            let granted = granted.iter().find(same);
            let key = document.and_then(|document| open_version(path, document));
            let key = key.or_else(|| granted.map(|grant| Secret::new(grant.key)));
            let (key, publishing) = restricted(key, document, granted);
            // Without its document it is unknown whether the version reaches this device.
            if document.is_some() || key.is_some() {
                let (version, from) = (named.version, Unix::from_seconds(named.from));
                all.entry(named.group).or_default().put(VersionedKey { version, from, key, publishing });
            } else {
                all.entry(named.group).or_default();
            }
        }
        if let Some(before) = before {
            let listed = before.listed.iter().map(|(group, versions)| (Some(*group), versions));
            for (group, known) in listed.chain([(None, &before.root)]) {
                if let Some(versions) = all.get_mut(&group) {
                    versions.keep(known);
                }
            }
        }
        let root = all.remove(&None).filter(|root| root.0.iter().any(|version| version.key.is_some()));
        Ok(Self {
            realm: bulletin.realm(),
            root: root.ok_or(GroupError::NoKey)?,
            listed: all.into_iter().filter_map(|(group, versions)| Some((group?, versions))).collect(),
            permits: before.map(|before| before.permits.clone()).unwrap_or_default(),
            at: before.map_or(Unix(0), |before| before.at),
            skew: bulletin.epoch_length().skew(),
        })
    }

    /// The same keys with these permits.
    pub(super) fn with_permits(self, permits: OwnPermits) -> Self {
        Self { permits: Arc::new(permits), ..self }
    }

    /// Whether this device may publish to a group in an epoch of the realm's default length.
    pub fn right(&self, group: &str, epoch: Epoch) -> Right {
        if self.listed.is_empty() {
            return Right::Everybody;
        }
        let name = name_tag(self.realm, group);
        let listed = self.listed.get(&name).filter(|listed| listed.begun(self.at));
        match listed.map_or(0, |listed| listed.generation(self.at)) {
            0 => Right::Everybody,
            generation if self.permits.has(name, generation, epoch) => Right::Permitted,
            generation if self.permits.holds(name, generation) => Right::RunOut,
            _ => Right::None,
        }
    }

    /// Whether there are permits for a group whose present generation is another.
    pub(super) fn permits_are_stale(&self) -> bool {
        self.permits.rights().any(|(group, generation)| {
            let newest = self.listed.get(&group).and_then(|versions| versions.0.last());
            newest.is_none_or(|newest| newest.generation() != generation)
        })
    }

    /// The tags that a group had in an epoch under the generations of the right to publish before the present one, as far as they are known.
    pub fn former_tags(&self, group: &str, epoch: Epoch) -> Vec<Tag> {
        let mut tags: Vec<Tag> = self.former_keys(group).iter().map(|key| key.tag(epoch)).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// Opens a frame of one of these generations, as [`Self::open`] opens those of the present one; `None` if it does not open.
    pub fn open_former(&self, frame: &GroupFrame<'_>, group: &str, sender: &Pseudonym) -> Option<Vec<u8>> {
        let keys = self.former_keys(group);
        let key = keys.iter().find(|key| key.version == frame.version && key.tag(frame.epoch) == frame.group)?;
        open_with(key, frame, sender)
    }

    fn former_keys(&self, group: &str) -> Vec<GroupKey> {
        let Some(listed) = self.listed.get(&name_tag(self.realm, group)).filter(|listed| listed.begun(self.at)) else {
            return Vec::new();
        };
        let former = listed.former(self.at).filter_map(|key| GroupKey::of(key, None));
        // Before its version 1 the group derived its key from the root's.
        let derived = self.root.0.iter().filter(|_| listed.generation(self.at) != 0);
        former.chain(derived.filter_map(|key| GroupKey::of(key, Some(group)))).collect()
    }

    /// Sets the time by which versions are chosen.
    pub fn set_time(&mut self, at: Unix) {
        self.at = at;
    }

    /// The next time at which another version takes over, or one begins or ceases to open.
    pub fn next_change(&self) -> Option<Unix> {
        let all = self.listed.values().chain([&self.root]);
        all.flat_map(|versions| versions.edges(self.skew)).filter(|at| *at > self.at).min()
    }

    /// The group's tag in an epoch of the realm's default length; zeros, which nobody listens to, if this device is cut
    /// off from the group.
    pub fn tag(&self, group: &str, epoch: Epoch) -> Tag {
        self.key(group).map_or(Tag([0; Tag::LEN]), |key| key.tag(epoch))
    }

    /// The group's tags in an epoch under all versions that open at present.
    pub fn tags(&self, group: &str, epoch: Epoch) -> Vec<Tag> {
        let mut tags: Vec<Tag> = self.open_keys(group).into_iter().map(|key| key.tag(epoch)).collect();
        tags.dedup();
        tags
    }

    /// The tag under which a service is offered in an epoch of the realm's default length.
    pub fn service_tag(&self, service: &str, epoch: Epoch) -> Tag {
        let parts: [&[u8]; 2] = [&epoch.0.to_be_bytes(), service.as_bytes()];
        let root = self.root.holding(self.at).and_then(|root| root.key.as_ref());
        root.map_or(Tag([0; Tag::LEN]), |root| Tag(kdf::tag(root.as_slice(), label::SERVICE, &parts)))
    }

    /// Starts sealing to a group under a fresh salt, as the pseudonym of `own`, in frames of a segment.
    ///
    /// # Errors
    /// Returns [`GroupError::NoKey`] if this device is cut off from the group, [`GroupError::NoRight`] if the group is restricted and it has no permit.
    pub fn sender(
        &self,
        rng: &mut ChaCha20Rng,
        (group, segment): (&str, u8),
        epoch: Epoch,
        own: Arc<OwnCredential>,
    ) -> Result<GroupSender, GroupError> {
        let key = self.key(group).ok_or(GroupError::NoKey)?;
        let publisher = own.pseudonym();
        let allowed = Allowed { epoch, publisher: &publisher, group: key.tag(epoch) };
        let permit = key.publishing.as_ref().map(|publishing| {
            let of = (name_tag(self.realm, group), publishing.generation);
            self.permits.find(self.realm, of, &allowed).ok_or(GroupError::NoRight)
        });
        let permit = permit.transpose()?;
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let cipher = sender_cipher(&key.key, &own.pseudonym(), &salt);
        let (tag, version) = (key.tag(epoch), key.version);
        Ok(GroupSender { tag, segment, version, epoch, salt, counter: 0, cipher, own, permit })
    }

    /// Opens a frame of a group that this device listens to: `group` is the name whose tag the frame bears, `sender`
    /// the pseudonym whose signature on the frame has been verified. Returns an encoded [`GroupBatch`].
    ///
    /// # Errors
    /// This device is cut off from the group; the frame's version does not open at present; its tag is another group's;
    /// or it was changed.
    pub fn open(&self, frame: &GroupFrame<'_>, group: &str, sender: &Pseudonym) -> Result<Vec<u8>, GroupError> {
        let have = self.key(group).ok_or(GroupError::NoKey)?.version;
        let keys = self.open_keys(group);
        let mut versions = keys.iter().filter(|key| key.version == frame.version).peekable();
        versions.peek().ok_or(GroupError::Version { found: frame.version, have })?;
        let key = versions.find(|key| key.tag(frame.epoch) == frame.group).ok_or(GroupError::Group)?;
        open_with(key, frame, sender).ok_or(GroupError::Opening)
    }

    /// The version of the group's key that frames are sealed with at present; `None` if this device is cut off from it.
    pub fn version(&self, group: &str) -> Option<u32> {
        self.key(group).map(|key| key.version)
    }

    /// The key that frames are sealed with at present.
    fn key(&self, group: &str) -> Option<GroupKey> {
        match self.listed.get(&name_tag(self.realm, group)) {
            Some(listed) if listed.begun(self.at) => GroupKey::of(listed.holding(self.at)?, None),
            _ => GroupKey::of(self.root.holding(self.at)?, Some(group)),
        }
    }

    /// The keys that open frames at present.
    fn open_keys(&self, group: &str) -> Vec<GroupKey> {
        let listed = self.listed.get(&name_tag(self.realm, group));
        // To a group that has become restricted nobody publishes as before, not even for a while.
        let restricted = |listed: &Versions| listed.begun(self.at) && listed.generation(self.at) != 0;
        let derives = listed.is_none_or(|listed| listed.begins_after(self.at, self.skew) && !restricted(listed));
        let own = listed.filter(|listed| listed.begun(self.at + self.skew));
        let own = own.into_iter().flat_map(|listed| listed.open(self.at, self.skew));
        let derived = self.root.open(self.at, self.skew).filter(|_| derives);
        own.filter_map(|key| GroupKey::of(key, None))
            .chain(derived.filter_map(|key| GroupKey::of(key, Some(group))))
            .collect()
    }
}

/// The key of a group under one version.
struct GroupKey {
    version: u32,
    key: Secret,
    publishing: Option<PublishingKey>,
}

impl GroupKey {
    /// Takes a version of the group's own key, or derives the key of the group `derived` from a version of the root
    /// key.
    fn of(key: &VersionedKey, derived: Option<&str>) -> Option<Self> {
        let secret = key.key.as_ref()?;
        let key_of = |group: &str| kdf::derive(secret.as_slice(), label::GROUP_KEY, &[group.as_bytes()]);
        let publishing = key.publishing.clone();
        Some(Self { version: key.version, key: derived.map_or_else(|| secret.clone(), key_of), publishing })
    }

    fn tag(&self, epoch: Epoch) -> Tag {
        match &self.publishing {
            Some(publishing) => publishing.tag(epoch),
            None => permit::unrestricted(kdf::tag(self.key.as_slice(), label::GROUP_TAG, &[&epoch.0.to_be_bytes()])),
        }
    }
}

impl fmt::Debug for GroupKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupKeys").field("groups", &self.listed.len()).finish_non_exhaustive()
    }
}

/// Seals frames to one group in one epoch under one salt.
pub struct GroupSender {
    tag: Tag,
    segment: u8,
    version: u32,
    epoch: Epoch,
    salt: [u8; 16],
    counter: u64,
    cipher: seal::Cipher,
    own: Arc<OwnCredential>,
    permit: Option<Permit>,
}

impl GroupSender {
    /// Seals a batch and signs the frame, with the time `sent` and the time `expiry` after which it is of no use.
    /// Returns an encoded, signed [`GroupFrame`].
    pub fn seal(&mut self, batch: &GroupBatch<'_>, sent: Unix, expiry: Unix) -> Vec<u8> {
        let mut sealed = encode(batch);
        let mut frame = GroupFrame {
            epoch: self.epoch,
            sender: self.own.hash,
            group: self.tag,
            segment: self.segment,
            version: self.version,
            sent: sent.0,
            expiry: expiry.0,
            salt: self.salt,
            counter: self.counter,
            sealed: &[],
            permit: self.permit,
        };
        self.counter += 1;
        let tag = seal::encrypt(&self.cipher, frame.counter, &associated_data(&frame), &mut sealed);
        sealed.extend_from_slice(&tag);
        frame.sealed = &sealed;
        self.own.sign_document(CONTEXT, &encode(&frame))
    }

    /// The salt that frames are sealed under.
    pub fn salt(&self) -> [u8; 16] {
        self.salt
    }

    /// The counter of the next frame.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// The group's tag on the frames.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The segment that the frames belong to.
    pub fn segment(&self) -> u8 {
        self.segment
    }

    /// The version of the group's key that frames are sealed with.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The credential under which frames are signed.
    pub fn credential(&self) -> CredentialHash {
        self.own.hash
    }

    /// The epoch that the frames are of.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl fmt::Debug for GroupSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupSender").field("tag", &self.tag).field("counter", &self.counter).finish_non_exhaustive()
    }
}

/// The tag of a group's name, by which the bulletin lists the group.
pub fn name_tag(realm: RealmId, group: &str) -> Tag {
    Tag(kdf::tag(&realm.0, label::GROUP_NAME, &[group.as_bytes()]))
}

/// A version's key with the publishing key that belongs to it: of a restricted group none is of use without the other.
fn restricted(
    key: Option<Secret>,
    document: Option<&GroupVersion>,
    granted: Option<&GroupKeyGrant>,
) -> (Option<Secret>, Option<PublishingKey>) {
    let Some(key) = key else { return (None, None) };
    let publishing = match document {
        Some(document) => document.restriction.as_ref().map(|one| PublishingKey::open(&key, document, one)),
        None => granted.and_then(|grant| grant.publishing.as_ref()).map(|one| Some(PublishingKey::granted(one))),
    };
    match publishing {
        None => (Some(key), None),
        Some(None) => (None, None),
        Some(publishing) => (Some(key), publishing),
    }
}

fn open_with(key: &GroupKey, frame: &GroupFrame<'_>, sender: &Pseudonym) -> Option<Vec<u8>> {
    let (sealed, tag) = frame.sealed.split_last_chunk::<{ seal::TAG }>()?;
    let cipher = sender_cipher(&key.key, sender, &frame.salt);
    let mut plain = sealed.to_vec();
    let opened = seal::decrypt(&cipher, frame.counter, &associated_data(frame), &mut plain, tag);
    opened.then_some(plain)
}

fn sender_cipher(key: &Secret, sender: &Pseudonym, salt: &[u8; 16]) -> seal::Cipher {
    seal::cipher(&kdf::derive(key.as_slice(), label::GROUP_SENDER, &[&sender.0, salt]))
}

/// The parts of the frame that are outside the seal and are not already part of its key or nonce.
fn associated_data(frame: &GroupFrame<'_>) -> [u8; 53] {
    let mut data = [0; 53];
    data[..16].copy_from_slice(&frame.sender.0);
    data[16..24].copy_from_slice(&frame.epoch.0.to_be_bytes());
    data[24..32].copy_from_slice(&frame.group.0);
    data[32] = frame.segment;
    data[33..37].copy_from_slice(&frame.version.to_be_bytes());
    data[37..45].copy_from_slice(&frame.sent.to_be_bytes());
    data[45..].copy_from_slice(&frame.expiry.to_be_bytes());
    data
}

#[cfg(test)]
mod tests;
