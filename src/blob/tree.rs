//! Tree: the hash tree over a blob's chunks, by which each chunk is verified for itself.
//!
//! **Construction.** It is the Merkle tree of RFC 9162 (§2.1, SHA-256): a leaf is `SHA-256(0 ‖ chunk)`, a node is
//! `SHA-256(1 ‖ left ‖ right)`, and a list is split at the largest power of two below its size. The blob's hash is
//! `SHA-256(2 ‖ length ‖ root)` with the length in 64 bits, big endian. The first bytes keep the three apart, so that no
//! chunk passes for a node, and the length is bound before the first chunk is there. A chunk travels with its inclusion
//! proof (§2.1.3), at most 15 hashes beside 32 KiB: no list of hashes precedes a transfer, nothing unverified is kept, and
//! holders need not agree on anything.
//!
//! **Why not BLAKE3.** `bao-tree` verifies streams in the same way, and BLAKE3 is faster where SHA-256 has no instructions.
//! It would be a second hash function with C code in a program that has SHA-256 anyway, and its proofs are for ranges
//! that are read in order, while chunks come here from several holders in any order. A chunk costs one hash over 32 KiB and
//! at most 16 over 65 bytes; sealing and opening it on each hop costs more. BitTorrent v2 (BEP 52) has the same tree
//! padded to a power of two, which needs a file's length to be told apart from padding.
//!
//! Invariants
//! 1. [`Shape::verify`] accepts a chunk exactly if it is the chunk of that number of the blob with that hash and length.
//! 2. [`Levels::proof`] makes the proof that [`Shape::verify`] accepts.

use crate::id::BlobHash;
use crate::identity::kdf::sha256;
use crate::wire::blob::{CHUNK, MAX_LENGTH, Node};

/// The chunks of a blob of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    length: u64,
}

impl Shape {
    /// The chunks of a blob of that length; `None` if no blob is so long.
    pub fn new(length: u64) -> Option<Self> {
        (length <= MAX_LENGTH).then_some(Self { length })
    }

    /// The length in bytes.
    pub fn length(self) -> u64 {
        self.length
    }

    /// The number of chunks; an empty blob has one.
    pub fn chunks(self) -> u32 {
        u32::try_from(self.length.div_ceil(CHUNK as u64).max(1)).unwrap_or(u32::MAX)
    }

    /// The bytes of a chunk: fewer in the last one; 0 beyond it.
    pub fn size_of(self, chunk: u32) -> usize {
        let from = u64::from(chunk).saturating_mul(CHUNK as u64);
        usize::try_from(self.length.saturating_sub(from)).unwrap_or(CHUNK).min(CHUNK)
    }

    /// Whether a chunk belongs to the blob. Returns its leaf if it does.
    pub fn verify(self, hash: &BlobHash, chunk: u32, bytes: &[u8], proof: &[u8]) -> Option<Node> {
        if chunk >= self.chunks() || bytes.len() != self.size_of(chunk) {
            return None;
        }
        let leaf = leaf(bytes);
        let (mut node, mut at, mut last) = (leaf, chunk, self.chunks() - 1);
        let (mut beside, odd) = proof.as_chunks::<32>();
        // As RFC 9162 §2.1.3.2: a node that has none beside it is the node above it.
        while last > 0 {
            if at & 1 == 1 || at < last {
                let (next, left) = beside.split_first()?;
                node = if at & 1 == 1 { join(next, &node) } else { join(&node, next) };
                beside = left;
            }
            (at, last) = (at >> 1, last >> 1);
        }
        (beside.is_empty() && odd.is_empty() && name(self.length, &node) == *hash).then_some(leaf)
    }
}

/// All nodes of a tree, level by level, from the leaves to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    levels: Vec<Vec<Node>>,
}

impl Levels {
    /// Builds the tree over leaves, of which there is at least one.
    pub fn over(leaves: Vec<Node>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => join(left, right),
                [alone, ..] => *alone,
                [] => [0; 32],
            });
            let above = above.collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// The hash of the blob with that length and these chunks.
    pub fn hash(&self, length: u64) -> BlobHash {
        let root = self.levels.last().and_then(|top| top.first()).copied().unwrap_or_default();
        name(length, &root)
    }

    /// The proof of a chunk: the nodes beside its way to the root.
    pub fn proof(&self, chunk: u32) -> Vec<u8> {
        let beside = self.levels.iter().enumerate().filter_map(|(level, nodes)| {
            let at = (chunk >> level) ^ 1;
            nodes.get(at as usize).filter(|_| nodes.len() > 1)
        });
        beside.flatten().copied().collect()
    }

    /// All nodes, level by level, as they are kept on a disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.levels.iter().flatten().flatten().copied().collect()
    }
}

/// Where the nodes are, in [`Levels::to_bytes`], that a chunk's proof consists of: their numbers.
pub fn places_of_proof(chunks: u32, chunk: u32) -> Vec<u64> {
    let (mut places, mut start, mut size, mut at) = (Vec::new(), 0u64, u64::from(chunks), u64::from(chunk));
    while size > 1 {
        let beside = at ^ 1;
        if beside < size {
            places.push(start + beside);
        }
        (start, size, at) = (start + size, size.div_ceil(2), at >> 1);
    }
    places
}

/// The leaf of a chunk.
pub fn leaf(chunk: &[u8]) -> Node {
    sha256(&[&[0], chunk])
}

fn join(left: &Node, right: &Node) -> Node {
    sha256(&[&[1], left, right])
}

fn name(length: u64, root: &Node) -> BlobHash {
    BlobHash(sha256(&[&[2], &length.to_be_bytes(), root]))
}

/// The hash of a blob that is in memory.
pub fn hash_of(bytes: &[u8]) -> BlobHash {
    let leaves: Vec<Node> = match bytes {
        [] => vec![leaf(&[])],
        bytes => bytes.chunks(CHUNK).map(leaf).collect(),
    };
    Levels::over(leaves).hash(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree as RFC 9162 §2.1.1 writes it down.
    fn naive(leaves: &[Node]) -> Node {
        match leaves {
            [] => unreachable!("no leaves"),
            [one] => *one,
            many => {
                let half = many.len().next_power_of_two() / 2;
                sha256(&[&[1], &naive(&many[..half]), &naive(&many[half..])])
            }
        }
    }

    /// The proof as RFC 9162 §2.1.3.1 writes it down.
    fn naive_proof(leaves: &[Node], at: usize) -> Vec<u8> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let half = leaves.len().next_power_of_two() / 2;
        let (mut proof, beside) = match at < half {
            true => (naive_proof(&leaves[..half], at), naive(&leaves[half..])),
            false => (naive_proof(&leaves[half..], at - half), naive(&leaves[..half])),
        };
        proof.extend_from_slice(&beside);
        proof
    }

    fn bytes(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed).collect()
    }

    proptest! {
        /// Invariants 1 and 2.
        #[test]
        fn the_tree_is_that_of_the_standard(chunks in 1usize..70, cut in 0usize..CHUNK, seed in 0u8.., flip in 0usize..4096) {
            let blob = bytes(chunks * CHUNK - cut.min(chunks * CHUNK), seed);
            let shape = Shape::new(blob.len() as u64).expect("a length");
            let parts: Vec<&[u8]> = if blob.is_empty() { vec![&[]] } else { blob.chunks(CHUNK).collect() };
            prop_assert_eq!(parts.len(), shape.chunks() as usize);
            let leaves: Vec<Node> = parts.iter().map(|part| sha256(&[&[0], part])).collect();
            let hash = BlobHash(sha256(&[&[2], &(blob.len() as u64).to_be_bytes(), &naive(&leaves)]));
            let levels = Levels::over(leaves.clone());
            prop_assert_eq!(levels.hash(blob.len() as u64), hash);
            prop_assert_eq!(hash_of(&blob), hash);
            let all = levels.to_bytes();
            for (at, part) in parts.iter().enumerate() {
                let (chunk, proof) = (at as u32, levels.proof(at as u32));
                prop_assert_eq!(&proof, &naive_proof(&leaves, at));
                let placed: Vec<u8> = places_of_proof(shape.chunks(), chunk)
                    .into_iter().flat_map(|place| all[place as usize * 32..][..32].to_vec()).collect();
                prop_assert_eq!(&proof, &placed);
                prop_assert_eq!(shape.verify(&hash, chunk, part, &proof), Some(leaves[at]));
                // Under another number, another length, or with one bit changed, it is no chunk of this blob.
                prop_assert_eq!(shape.verify(&hash, chunk + 1, part, &proof), None);
                let longer = Shape::new(blob.len() as u64 + 1).expect("a length");
                prop_assert_eq!(longer.verify(&hash, chunk, part, &proof), None);
                if !part.is_empty() {
                    let mut other = part.to_vec();
                    other[flip % part.len()] ^= 1;
                    prop_assert_eq!(shape.verify(&hash, chunk, &other, &proof), None);
                }
                if !proof.is_empty() {
                    let mut other = proof.clone();
                    other[flip % proof.len()] ^= 1;
                    prop_assert_eq!(shape.verify(&hash, chunk, part, &other), None);
                    prop_assert_eq!(shape.verify(&hash, chunk, part, &proof[32..]), None);
                }
                let long = [&proof[..], &[0; 32]].concat();
                prop_assert_eq!(shape.verify(&hash, chunk, part, &long), None);
            }
        }
    }

    /// Invariant 1: a pair of leaves does not pass for a chunk.
    #[test]
    fn a_node_is_no_chunk() {
        let blob = bytes(2 * CHUNK, 1);
        let leaves = [leaf(&blob[..CHUNK]), leaf(&blob[CHUNK..])];
        let node = [&[1], &leaves[0][..], &leaves[1][..]].concat();
        let shape = Shape::new(node.len() as u64).expect("a length");
        assert_eq!(shape.verify(&hash_of(&blob), 0, &node, &[]), None);
        assert_eq!(Shape::new(MAX_LENGTH + 1), None);
        assert_eq!(Shape::new(MAX_LENGTH).expect("a length").chunks(), 32_768);
    }
}
