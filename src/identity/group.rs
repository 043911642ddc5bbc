//! Groups: the keys a member has, what it seals with them, and what it opens.
//!
//! A group is the first level of a topic. Its key derives from the realm's root group key by its name, unless the
//! bulletin lists a key of its own. From that key come the group's tag (which changes every epoch and stands on
//! frames), and for each sender a key of its own, by its pseudonym and a random salt, so that senders never share
//! a nonce. The sender's pseudonym signs the whole frame: members cannot speak for one another.
//!
//! Invariants
//! 1. A (key, nonce) pair is used once: the salt is fresh in every [`GroupSender`], its counter never repeats.
//! 2. A group's name leaves the device only inside a seal.

use crate::id::{Pseudonym, RealmId, Tag};
use crate::identity::credential::OwnCredential;
use crate::identity::group_tree::open_version;
use crate::identity::kdf::{self, Secret, label};
use crate::identity::seal;
use crate::time::{Epoch, Unix};
use crate::wire::bulletin::{Bulletin, GroupVersion};
use crate::wire::encode;
use crate::wire::enrolment::{GroupKeyGrant, PathKeys};
use crate::wire::group::{CONTEXT, GroupBatch, GroupFrame};
use core::fmt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The group keys of a member under one bulletin.
#[derive(Clone)]
pub struct GroupKeys {
    realm: RealmId,
    root: VersionedKey,
    /// Groups that the bulletin lists, by the tag of their name; those that this member is cut off from have none.
    listed: BTreeMap<Tag, Option<VersionedKey>>,
}

#[derive(Clone)]
struct VersionedKey {
    version: u32,
    key: Secret,
}

/// Why a group frame cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The bulletin's group keys do not reach this device.
    #[error("this device is cut off from the group's key")]
    NoKey,
    /// Of another group or epoch than expected.
    #[error("the frame belongs to another group")]
    Group,
    /// Sealed with another version of the key than the bulletin has.
    #[error("the frame is sealed with version {found} of the group's key, here is {have}")]
    Version {
        /// The frame's.
        found: u32,
        /// The bulletin's.
        have: u32,
    },
    /// Changed, or not by that sender.
    #[error("the frame does not open")]
    Opening,
}

impl GroupKeys {
    /// Opens the bulletin's group keys with a path, and takes those that were granted.
    pub fn new(path: &PathKeys, granted: &[GroupKeyGrant], bulletin: &Bulletin) -> Result<Self, GroupError> {
        let key = |version: &GroupVersion| {
            let granted = || {
                let same = |grant: &&GroupKeyGrant| grant.group == version.group && grant.version == version.version;
                granted.iter().find(same).map(|grant| Secret::new(grant.key))
            };
            let key = open_version(path, version).or_else(granted)?;
            Some(VersionedKey { version: version.version, key })
        };
        let root = bulletin.groups.iter().find(|version| version.group.is_none()).and_then(key);
        let listed = bulletin.groups.iter().filter_map(|version| Some((version.group?, key(version)))).collect();
        Ok(Self { realm: bulletin.realm, root: root.ok_or(GroupError::NoKey)?, listed })
    }

    /// The group's tag in an epoch of the realm's default length; a random-looking one that nobody listens to
    /// when this device is cut off from the group.
    pub fn tag(&self, group: &str, epoch: Epoch) -> Tag {
        match self.key(group) {
            Some(key) => Tag(kdf::tag(key.key.as_slice(), label::GROUP_TAG, &[&epoch.0.to_be_bytes()])),
            None => Tag([0; Tag::LEN]),
        }
    }

    /// The gossip topic that carries a group's frames within a segment: every member of the realm can compute it
    /// from the tag, so that routers can carry groups that they are no members of.
    pub fn topic(&self, tag: &Tag, segment: u8) -> String {
        let topic: [u8; 16] = kdf::tag(self.root.key.as_slice(), label::GROUP_TOPIC, &[&tag.0, &[segment]]);
        data_encoding::HEXLOWER.encode(&topic)
    }

    /// The tag under which a service is offered in an epoch of the realm's default length.
    pub fn service_tag(&self, service: &str, epoch: Epoch) -> Tag {
        let parts: [&[u8]; 2] = [&epoch.0.to_be_bytes(), service.as_bytes()];
        Tag(kdf::tag(self.root.key.as_slice(), label::SERVICE, &parts))
    }

    /// Starts sealing to a group under a fresh salt, as the pseudonym of `own`, frames of a segment.
    pub fn sender(
        &self,
        rng: &mut ChaCha20Rng,
        (group, segment): (&str, u8),
        epoch: Epoch,
        own: Arc<OwnCredential>,
    ) -> Result<GroupSender, GroupError> {
        let key = self.key(group).ok_or(GroupError::NoKey)?;
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let cipher = sender_cipher(&key.key, &own.pseudonym(), &salt);
        Ok(GroupSender {
            tag: self.tag(group, epoch),
            segment,
            version: key.version,
            epoch,
            salt,
            counter: 0,
            cipher,
            own,
        })
    }

    /// Opens a frame of a group that this device listens to: `group` is the name whose tag the frame bears,
    /// `sender` the pseudonym whose signature on it has been verified. Returns an encoded [`GroupBatch`].
    pub fn open(&self, frame: &GroupFrame<'_>, group: &str, sender: &Pseudonym) -> Result<Vec<u8>, GroupError> {
        let key = self.key(group).ok_or(GroupError::NoKey)?;
        if frame.version != key.version {
            return Err(GroupError::Version { found: frame.version, have: key.version });
        }
        if frame.group != self.tag(group, frame.epoch) {
            return Err(GroupError::Group);
        }
        let (sealed, tag) = frame.sealed.split_last_chunk::<{ seal::TAG }>().ok_or(GroupError::Opening)?;
        let cipher = sender_cipher(&key.key, sender, &frame.salt);
        let mut plain = sealed.to_vec();
        let opened = seal::decrypt(&cipher, frame.counter, &associated_data(frame), &mut plain, tag);
        opened.then_some(plain).ok_or(GroupError::Opening)
    }

    /// Version of the group's key.
    pub fn version(&self, group: &str) -> Option<u32> {
        self.key(group).map(|key| key.version)
    }

    fn key(&self, group: &str) -> Option<VersionedKey> {
        match self.listed.get(&name_tag(self.realm, group)) {
            Some(listed) => listed.clone(),
            None => {
                let key = kdf::derive(self.root.key.as_slice(), label::GROUP_KEY, &[group.as_bytes()]);
                Some(VersionedKey { version: self.root.version, key })
            }
        }
    }
}

impl fmt::Debug for GroupKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupKeys").field("version", &self.root.version).finish_non_exhaustive()
    }
}

/// Seals to one group in one epoch under one salt.
pub struct GroupSender {
    tag: Tag,
    segment: u8,
    version: u32,
    epoch: Epoch,
    salt: [u8; 16],
    counter: u64,
    cipher: seal::Cipher,
    own: Arc<OwnCredential>,
}

impl GroupSender {
    /// Seals a batch and signs the frame; of no use after `expiry`. Returns an encoded, signed [`GroupFrame`].
    pub fn seal(&mut self, batch: &GroupBatch<'_>, expiry: Unix) -> Vec<u8> {
        let mut sealed = encode(batch);
        let mut frame = GroupFrame {
            epoch: self.epoch,
            sender: self.own.hash,
            group: self.tag,
            segment: self.segment,
            version: self.version,
            expiry: expiry.0,
            salt: self.salt,
            counter: self.counter,
            sealed: &[],
        };
        self.counter += 1;
        let tag = seal::encrypt(&self.cipher, frame.counter, &associated_data(&frame), &mut sealed);
        sealed.extend_from_slice(&tag);
        frame.sealed = &sealed;
        self.own.sign_document(CONTEXT, &encode(&frame))
    }

    /// The group's tag on the frames.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The segment that the frames are of.
    pub fn segment(&self) -> u8 {
        self.segment
    }

    /// The epoch it is for.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl fmt::Debug for GroupSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupSender").field("tag", &self.tag).field("counter", &self.counter).finish_non_exhaustive()
    }
}

/// Tag of a group's name, by which the bulletin lists it.
pub fn name_tag(realm: RealmId, group: &str) -> Tag {
    Tag(kdf::tag(&realm.0, label::GROUP_NAME, &[group.as_bytes()]))
}

fn sender_cipher(key: &Secret, sender: &Pseudonym, salt: &[u8; 16]) -> seal::Cipher {
    seal::cipher(&kdf::derive(key.as_slice(), label::GROUP_SENDER, &[&sender.0, salt]))
}

/// Everything of the frame that stands outside the seal and is not already part of its key or nonce.
fn associated_data(frame: &GroupFrame<'_>) -> [u8; 45] {
    let mut data = [0; 45];
    data[..16].copy_from_slice(&frame.sender.0);
    data[16..24].copy_from_slice(&frame.epoch.0.to_be_bytes());
    data[24..32].copy_from_slice(&frame.group.0);
    data[32] = frame.segment;
    data[33..37].copy_from_slice(&frame.version.to_be_bytes());
    data[37..].copy_from_slice(&frame.expiry.to_be_bytes());
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Name, StreamId};
    use crate::identity::group_tree::GroupTree;
    use crate::identity::invitation::MemoryRealm;
    use crate::identity::membership::Membership;
    use crate::identity::sign;
    use crate::time::EpochLength;
    use crate::wire::group::GroupMessage;
    use crate::wire::{Signed, decode};
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::BTreeSet;

    const NOW: Unix = Unix(1_800_000_100_000_000);
    const EPOCH: Epoch = Epoch(500_000);

    fn members(seed: u8) -> (Vec<Membership>, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
        let names = ["one", "two"].map(|name| Name::new(name).expect("a name"));
        (realm.enrol(names, 1, NOW, &mut rng).expect("members"), rng)
    }

    fn batch() -> GroupBatch<'static> {
        let messages = vec![GroupMessage { topic: "plant/vmstat", payload: b"line" }];
        GroupBatch { stream: StreamId([1; 16]), first: 1, sent: NOW.0, messages }
    }

    #[test]
    fn members_open_what_a_member_seals_and_strangers_do_not() {
        let (members, mut rng) = members(1);
        let own = members[0].credential(NOW).expect("a credential").clone();
        let mut sender = members[0].groups().sender(&mut rng, ("plant", 0), EPOCH, own.clone()).expect("a key");
        let bytes = sender.seal(&batch(), NOW);
        let signed: Signed<'_> = decode(&bytes).expect("a signed frame");
        assert!(sign::verify_signed(CONTEXT, &own.pseudonym(), &signed));
        let frame: GroupFrame<'_> = decode(signed.body).expect("a frame");
        let keys = members[1].groups();
        assert_eq!((frame.sender, frame.group), (own.hash, keys.tag("plant", EPOCH)));
        let plain = keys.open(&frame, "plant", &own.pseudonym()).expect("it opens");
        assert_eq!(decode::<GroupBatch<'_>>(&plain).expect("a batch"), batch());
        assert!(!bytes.windows(5).any(|part| part == b"plant"), "the topic stays inside the seal");

        assert_eq!(keys.open(&frame, "other", &own.pseudonym()), Err(GroupError::Group));
        assert_eq!(keys.open(&frame, "plant", &members[1].pseudonym()), Err(GroupError::Opening));
        let changed = GroupFrame { expiry: frame.expiry + 1, ..frame.clone() };
        assert_eq!(keys.open(&changed, "plant", &own.pseudonym()), Err(GroupError::Opening));
        let newer = GroupFrame { version: 2, ..frame.clone() };
        assert!(matches!(keys.open(&newer, "plant", &own.pseudonym()), Err(GroupError::Version { .. })));
        let (strangers, _) = super::tests::members(2);
        assert!(strangers[0].groups().open(&frame, "plant", &own.pseudonym()).is_err());
    }

    /// Invariant 1.
    #[test]
    fn no_key_and_nonce_come_together_twice() {
        let (members, mut rng) = members(1);
        let own = members[0].credential(NOW).expect("a credential");
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let mut sender = members[0].groups().sender(&mut rng, ("plant", 0), EPOCH, own.clone()).expect("a key");
            for _ in 0..3 {
                let bytes = sender.seal(&batch(), NOW);
                let signed: Signed<'_> = decode(&bytes).expect("a signed frame");
                let frame: GroupFrame<'_> = decode(signed.body).expect("a frame");
                assert!(seen.insert((frame.salt, frame.counter)));
            }
        }
    }

    #[test]
    fn tags_and_topics_change_with_group_epoch_and_segment() {
        let (members, _) = members(1);
        let (keys, other) = (members[0].groups(), members[1].groups());
        let tag = keys.tag("plant", EPOCH);
        assert_eq!((tag, keys.topic(&tag, 0)), (other.tag("plant", EPOCH), other.topic(&tag, 0)));
        assert_ne!(tag, keys.tag("plant", Epoch(EPOCH.0 + 1)));
        assert_ne!(tag, keys.tag("plan", EPOCH));
        assert_ne!(keys.topic(&tag, 0), keys.topic(&tag, 1));
        assert_eq!(keys.service_tag("echo", EPOCH), other.service_tag("echo", EPOCH));
        assert_ne!(keys.service_tag("echo", EPOCH), keys.service_tag("echo", Epoch(EPOCH.0 + 1)));
    }

    #[test]
    fn a_listed_group_has_its_own_key_for_those_it_covers() {
        let tree = GroupTree::new(Secret::new([1; 32]));
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
        let mut bulletin = realm.bulletin.body().clone();
        let plant = Some(name_tag(bulletin.realm, "plant"));
        bulletin.groups = vec![
            tree.seal_version(None, 1, &Secret::new([2; 32]), 2, &BTreeSet::new()),
            tree.seal_version(plant, 5, &Secret::new([3; 32]), 2, &BTreeSet::from([1])),
        ];
        let keys = |leaf, granted: &[GroupKeyGrant]| {
            GroupKeys::new(&tree.path(leaf).expect("a leaf"), granted, &bulletin).expect("the root is covered")
        };
        let (covered, excluded, later) = (keys(0, &[]), keys(1, &[]), keys(2, &[]));
        assert_eq!((covered.version("plant"), covered.version("other")), (Some(5), Some(1)));
        assert_eq!((excluded.version("plant"), excluded.version("other")), (None, Some(1)));
        assert_eq!(later.version("plant"), None, "assigned later: not covered");
        let granted = keys(2, &[GroupKeyGrant { group: plant, version: 5, key: [3; 32] }]);
        assert_eq!(granted.tag("plant", EPOCH), covered.tag("plant", EPOCH));
        assert_ne!(excluded.tag("plant", EPOCH), covered.tag("plant", EPOCH));
        bulletin.groups.clear();
        let nothing = GroupKeys::new(&tree.path(0).expect("a leaf"), &[], &bulletin);
        assert_eq!(nothing.err(), Some(GroupError::NoKey));
    }
}
