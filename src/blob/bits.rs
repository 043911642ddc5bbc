//! Bits: which chunks of a blob there are.

/// A set of chunks by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    /// Adds a chunk. Returns whether it was not there.
    pub fn insert(&mut self, chunk: u32) -> bool {
        let (word, bit) = (chunk as usize / 64, 1u64 << (chunk % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(fresh);
        fresh
    }

    /// Whether a chunk is there.
    pub fn contains(&self, chunk: u32) -> bool {
        self.words.get(chunk as usize / 64).is_some_and(|word| word & (1 << (chunk % 64)) != 0)
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl FromIterator<u32> for Bits {
    fn from_iter<I: IntoIterator<Item = u32>>(chunks: I) -> Self {
        let mut bits = Self::default();
        for chunk in chunks {
            bits.insert(chunk);
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(chunks in prop::collection::vec(0u32..500, 0..200)) {
            let (bits, set): (Bits, BTreeSet<u32>) = (chunks.iter().copied().collect(), chunks.iter().copied().collect());
            prop_assert_eq!(bits.len() as usize, set.len());
            prop_assert_eq!(bits.is_empty(), set.is_empty());
            prop_assert!((0..600).all(|chunk| bits.contains(chunk) == set.contains(&chunk)));
        }
    }
}
