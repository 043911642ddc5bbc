//! Group key tree: how a key reaches any chosen set of members in few seals.
//!
//! The realm's devices are the leaves of a complete binary tree of depth [`DEPTH`]; its nodes are numbered in heap
//! order, the root being 1 and the children of n being 2n and 2n+1. Every node has a key, derived from the tree secret
//! that operator and issuers hold; a device knows the keys on the path from the root to its leaf, and no other. To
//! reach all members but some, a new key is sealed to the largest subtrees that hold none of the excluded: r excluded
//! leaves take at most r · log₂(n / r) seals (the complete-subtree method of Naor, Naor and Lotspiech, 2001). With
//! nobody excluded that is one seal, to the root.
//!
//! Subtrees without an assigned leaf are left out; a device that is assigned a leaf there later gets the keys of the
//! versions that it missed with its grant.
//!
//! Invariants
//! 1. A cover reaches every assigned leaf that is not excluded, and no excluded one.
//! - Leaves are allocated in order and never reused, so no device ever knows the key of a leaf that another had before.

use crate::id::Tag;
use crate::identity::kdf::{self, Secret, label};
use crate::identity::permit::PublishingKey;
use crate::identity::seal;
use crate::wire::bulletin::{Cover, GroupReference, GroupVersion};
use crate::wire::encode;
use crate::wire::enrolment::PathKeys;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeSet;

/// The tree as operator and issuers have it, with the secret that all node keys derive from.
#[derive(Clone)]
pub struct GroupTree {
    secret: Secret,
}

impl GroupTree {
    /// Makes the tree of a secret.
    pub fn new(secret: Secret) -> Self {
        Self { secret }
    }

    /// Returns the keys of the path from the root to a leaf; `None` past the last leaf.
    pub fn path(&self, leaf: u32) -> Option<PathKeys> {
        let bottom = node_of(leaf)?;
        let keys = (0..=DEPTH).flat_map(|level| *self.node_key(bottom >> (DEPTH - level))).collect();
        Some(PathKeys { leaf, keys })
    }

    /// Seals a group's key, under a fresh salt, to all of the first `leaves` leaves except the excluded ones.
    pub fn seal_version(
        &self,
        rng: &mut ChaCha20Rng,
        (group, version): (Option<Tag>, u32),
        key: &Secret,
        leaves: u32,
        excluded: &BTreeSet<u32>,
    ) -> GroupVersion {
        self.seal_cover(rng, (group, version), key, (leaves, cover(leaves, excluded)))
    }

    /// Seals a group's key to these leaves and to no others, also none that are assigned later: the document says that all leaves of the
    /// tree were assigned when it was made.
    pub fn seal_version_to(
        &self,
        rng: &mut ChaCha20Rng,
        version: (Option<Tag>, u32),
        key: &Secret,
        readers: &BTreeSet<u32>,
    ) -> GroupVersion {
        self.seal_cover(rng, version, key, (LEAVES, cover_of(readers)))
    }

    fn seal_cover(
        &self,
        rng: &mut ChaCha20Rng,
        (group, version): (Option<Tag>, u32),
        key: &Secret,
        (leaves, nodes): (u32, Vec<u32>),
    ) -> GroupVersion {
        let mut document = GroupVersion {
            format: FORMAT,
            group,
            version,
            leaves,
            salt: [0; 16],
            cover: Vec::new(),
            restriction: None,
        };
        rng.fill_bytes(&mut document.salt);
        document.cover = nodes
            .into_iter()
            .map(|node| {
                let mut sealed = [0; 32 + seal::TAG];
                let (inside, end) = sealed.split_at_mut(32);
                inside.copy_from_slice(key.as_slice());
                let cipher = seal::cipher(&cover_key(&self.node_key(node), &document, node));
                end.copy_from_slice(&seal::encrypt(&cipher, 0, &[], inside));
                Cover { node, sealed }
            })
            .collect();
        document
    }

    /// Restricts a version of a group's key: only who has a permit of this generation may publish. The root cannot be restricted.
    pub fn restrict(&self, version: &mut GroupVersion, key: &Secret, generation: u32) {
        let publishing = version.group.map(|group| self.publishing_key(group, generation));
        version.restriction = publishing.map(|publishing| publishing.seal(key, version));
    }

    /// The publishing key of a group, by the tag of its name.
    pub(super) fn publishing_key(&self, group: Tag, generation: u32) -> PublishingKey {
        PublishingKey::derive(&self.secret, group, generation)
    }

    /// Opens a group's key with the tree secret; `None` if no seal of the cover opens.
    pub fn open(&self, version: &GroupVersion) -> Option<Secret> {
        version.cover.iter().find_map(|cover| open_cover(&self.node_key(cover.node), version, cover))
    }

    fn node_key(&self, node: u32) -> Secret {
        kdf::derive(self.secret.as_slice(), label::TREE_NODE, &[&node.to_be_bytes()])
    }
}

impl core::fmt::Debug for GroupTree {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("GroupTree(…)")
    }
}

/// Opens a group's key with the keys of a path; `None` if the cover does not reach the leaf.
pub fn open_version(path: &PathKeys, version: &GroupVersion) -> Option<Secret> {
    let bottom = node_of(path.leaf)?;
    version.cover.iter().find_map(|cover| {
        let level = cover.node.checked_ilog2().filter(|level| *level <= DEPTH)?;
        if bottom >> (DEPTH - level) != cover.node {
            return None;
        }
        let at = 32 * level as usize;
        let node_key = Secret::new(path.keys.get(at..at + 32)?.try_into().ok()?);
        open_cover(&node_key, version, cover)
    })
}

/// The leaves that a version of a key reaches.
#[derive(Clone, Debug)]
pub struct Reached {
    nodes: BTreeSet<u32>,
    leaves: u32,
}

impl Reached {
    /// Reads them from its document.
    pub fn of(version: &GroupVersion) -> Self {
        Self { nodes: version.cover.iter().map(|cover| cover.node).collect(), leaves: version.leaves }
    }

    /// Whether a node of its cover stands above a leaf.
    pub fn holds(&self, leaf: u32) -> bool {
        node_of(leaf).is_some_and(|bottom| (0..=DEPTH).any(|up| self.nodes.contains(&(bottom >> up))))
    }

    /// Whether it was made before a leaf was assigned, and is for all who come later.
    pub fn is_before(&self, leaf: u32) -> bool {
        leaf >= self.leaves
    }

    /// Whether it is for listed readers alone. Who makes the next version of such a key, with fewer readers, has to make it for readers
    /// again: any other is granted to all who come later.
    pub fn is_for_readers(&self) -> bool {
        self.leaves == LEAVES
    }
}

/// The fewest nodes whose subtrees hold no excluded leaf and together hold every other of the first `leaves`, in
/// heap order from left to right. Depth-first: a subtree without an assigned leaf is left out, one without an
/// excluded leaf is taken whole, any other is split.
pub fn cover(leaves: u32, excluded: &BTreeSet<u32>) -> Vec<u32> {
    let mut nodes = Vec::new();
    let mut waiting = vec![(1, 0, LEAVES)];
    while let Some((node, first, size)) = waiting.pop() {
        if first >= leaves {
            continue;
        }
        if excluded.range(first..first + size).next().is_none() {
            nodes.push(node);
        } else if size > 1 {
            let half = size / 2;
            waiting.push((2 * node + 1, first + half, half));
            waiting.push((2 * node, first, half));
        }
    }
    nodes
}

/// The fewest nodes whose subtrees together hold these leaves and no other, in heap order from left to right.
pub fn cover_of(leaves: &BTreeSet<u32>) -> Vec<u32> {
    let mut nodes = Vec::new();
    let mut waiting = vec![(1, 0, LEAVES)];
    while let Some((node, first, size)) = waiting.pop() {
        let held = u32::try_from(leaves.range(first..first + size).count()).unwrap_or(u32::MAX);
        if held == size {
            nodes.push(node);
        } else if held > 0 {
            let half = size / 2;
            waiting.push((2 * node + 1, first + half, half));
            waiting.push((2 * node, first, half));
        }
    }
    nodes
}

/// Whether the document of a version is longer than [`LONG_DOCUMENT`].
pub fn is_long(version: &GroupVersion) -> bool {
    encode(version).len() > LONG_DOCUMENT
}

/// How the bulletin names a version that is sealed with from then on (unix seconds).
pub fn reference(document: &GroupVersion, from: u64) -> GroupReference {
    let hash = kdf::sha256(&[&encode(document)]);
    GroupReference { group: document.group, version: document.version, from, hash }
}

/// The format of a version's document that this node reads and writes.
pub const FORMAT: u8 = 1;
/// Depth of the tree: it has room for 2²⁰ devices over the whole life of a realm.
pub const DEPTH: u32 = 20;
/// Number of leaves of the tree.
pub const LEAVES: u32 = 1 << DEPTH;
/// A document of more bytes is one to do something about: it goes to every device of the realm.
pub const LONG_DOCUMENT: usize = 16_000;
/// Bytes of the keys of a path.
pub const PATH_BYTES: usize = 32 * (DEPTH as usize + 1);

fn node_of(leaf: u32) -> Option<u32> {
    (leaf < LEAVES).then_some(LEAVES + leaf)
}

fn open_cover(node_key: &Secret, version: &GroupVersion, cover: &Cover) -> Option<Secret> {
    let (sealed, tag) = cover.sealed.split_last_chunk::<{ seal::TAG }>()?;
    let mut key = Secret::new(sealed.try_into().ok()?);
    let cipher = seal::cipher(&cover_key(node_key, version, cover.node));
    seal::decrypt(&cipher, 0, &[], key.as_mut_slice(), tag).then_some(key)
}

fn cover_key(node_key: &Secret, version: &GroupVersion, node: u32) -> Secret {
    let GroupVersion { format: _, group, version, leaves: _, salt, cover: _, restriction: _ } = version;
    let group = group.map_or([0; 8], |tag| tag.0);
    kdf::derive(node_key.as_slice(), label::COVER, &[&group, &version.to_be_bytes(), &node.to_be_bytes(), salt])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    /// Realms over which sizes are averaged.
    const REALMS: u32 = 20;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([3; 32])
    }

    fn tree() -> GroupTree {
        GroupTree::new(Secret::new([1; 32]))
    }

    fn opens(leaf: u32, version: &GroupVersion) -> bool {
        let path = tree().path(leaf).expect("a leaf of the tree");
        open_version(&path, version).map(|key| *key) == Some([9; 32])
    }

    #[test]
    fn with_nobody_excluded_one_seal_reaches_all_who_are_and_will_be() {
        let version = tree().seal_version(&mut rng(), (None, 1), &Secret::new([9; 32]), 3, &BTreeSet::new());
        assert_eq!(version.cover.len(), 1);
        assert!(opens(0, &version) && opens(2, &version) && opens(LEAVES - 1, &version));
        assert!(tree().path(LEAVES).is_none());
    }

    /// Two documents under one version, as after a mistake of the operator's, do not share a key stream.
    #[test]
    fn covers_are_salted() {
        let mut rng = rng();
        let [one, other] = [[9; 32], [8; 32]]
            .map(|key| tree().seal_version(&mut rng, (None, 1), &Secret::new(key), 3, &BTreeSet::new()));
        let xor = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a ^ b).collect::<Vec<u8>>();
        let sealed = xor(&one.cover[0].sealed[..32], &other.cover[0].sealed[..32]);
        assert_ne!(sealed, xor(&[9; 32], &[8; 32]));
        assert!(!opens(0, &GroupVersion { salt: other.salt, ..one.clone() }) && opens(0, &one));
    }

    #[test]
    fn another_tree_group_or_version_does_not_open_it() {
        let version = tree().seal_version(&mut rng(), (None, 1), &Secret::new([9; 32]), 3, &BTreeSet::new());
        let foreign = GroupTree::new(Secret::new([2; 32])).path(0).expect("a leaf of the tree");
        assert!(open_version(&foreign, &version).is_none());
        assert!(!opens(0, &GroupVersion { version: 2, ..version.clone() }));
        assert!(!opens(0, &GroupVersion { group: Some(Tag([1; 8])), ..version }));
    }

    /// What a key costs in a realm of 1,000 devices: the bytes of its document, which every device fetches, and the work at either end.
    #[test]
    fn a_key_reaches_a_thousand_devices_in_few_bytes() {
        let mut rng = rng();
        for (excluded, bar) in [(10, 3_200), (100, 14_000)] {
            let (mut bytes, mut seals, mut largest) = (0, 0, 0);
            let mut sealing = std::time::Duration::ZERO;
            let mut opening = std::time::Duration::ZERO;
            for _ in 0..REALMS {
                let mut out = BTreeSet::new();
                while out.len() < excluded {
                    out.insert(rng.next_u32() % 1_000);
                }
                let started = std::time::Instant::now();
                let version = tree().seal_version(&mut rng, (None, 2), &Secret::new([9; 32]), 1_000, &out);
                sealing += started.elapsed();
                let length = encode(&version).len();
                bytes += length;
                seals += version.cover.len();
                largest = largest.max(length);
                let leaf = (0..1_000).rfind(|leaf| !out.contains(leaf)).expect("somebody is left");
                let path = tree().path(leaf).expect("a leaf of the tree");
                let started = std::time::Instant::now();
                assert!(open_version(&path, &version).is_some());
                opening += started.elapsed();
            }
            let (bytes, seals) = (bytes / REALMS as usize, seals / REALMS as usize);
            println!(
                "{excluded} of 1,000 excluded: {seals} seals, {bytes} bytes, at most {largest}; sealed in {:?}, opened in {:?}",
                sealing / REALMS,
                opening / REALMS
            );
            assert!(bytes <= bar, "{bytes} bytes on average, more than {bar}");
        }
    }

    /// Invariant 1: readers that are listed, and nobody who comes later.
    #[test]
    fn a_key_for_readers_reaches_these_alone() {
        for readers in [vec![], vec![0], vec![3, 4], vec![0, 1, 2, 3, 7, 900], (0..64).collect()] {
            let readers: BTreeSet<u32> = readers.into_iter().collect();
            let version = tree().seal_version_to(&mut rng(), (None, 1), &Secret::new([9; 32]), &readers);
            for leaf in (0..80).chain([899, 900, 901, LEAVES - 1]) {
                assert_eq!(opens(leaf, &version), readers.contains(&leaf), "leaf {leaf} of {readers:?}");
            }
            assert_eq!(version.leaves, LEAVES, "no leaf is a later one");
            let reached = Reached::of(&version);
            assert!(reached.is_for_readers() && (0..1_000).all(|leaf| reached.holds(leaf) == readers.contains(&leaf)));
        }
        assert_eq!(cover_of(&(0..64).collect()).len(), 1, "a whole subtree is one seal");
        let open = tree().seal_version(&mut rng(), (None, 1), &Secret::new([9; 32]), 3, &BTreeSet::new());
        assert!(!Reached::of(&open).is_for_readers());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Invariant 1, for any set of excluded leaves.
        #[test]
        fn a_cover_reaches_exactly_those_not_excluded(
            leaves in 1u32..200,
            excluded in proptest::collection::btree_set(0u32..200, 0..40),
        ) {
            let version = tree().seal_version(&mut rng(), (None, 1), &Secret::new([9; 32]), leaves, &excluded);
            for leaf in 0..leaves {
                prop_assert_eq!(opens(leaf, &version), !excluded.contains(&leaf), "leaf {}", leaf);
            }
            for leaf in &excluded {
                prop_assert!(!opens(*leaf, &version));
            }
            // The bound of the method, with the depth of the assigned part of the tree.
            let depth = (leaves.next_power_of_two().ilog2() + 1) as usize;
            prop_assert!(version.cover.len() <= 1 + excluded.len() * depth.max(8));
        }
    }
}
