//! Draw: random choices from the seed.
//!
//! Every purpose has a stream of its own, made from the seed and the purpose's name, so that a change to one part of a
//! scenario does not change the choices for the others.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// A stream of random choices.
#[derive(Debug)]
pub struct Draw(ChaCha20Rng);

impl Draw {
    /// Returns the stream of a purpose; `number` distinguishes several of a kind.
    pub fn new(seed: u64, purpose: &str, number: usize) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"m2mesh-sim plan");
        hash.update(seed.to_be_bytes());
        hash.update((number as u64).to_be_bytes());
        hash.update(purpose.as_bytes());
        Self(ChaCha20Rng::from_seed(hash.finalize().into()))
    }

    /// Draws a number from 0 to 1, excluding 1.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws a number from `least` to `most`.
    pub fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.unit()
    }

    /// Draws a number below `bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The bias is at most the bound over 2⁶⁴.
        let wide = u128::from(self.0.next_u64()) * (bound as u128);
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Draws a duration from zero to below `length`.
    pub fn within(&mut self, length: Duration) -> Duration {
        length.mul_f64(self.unit())
    }

    /// Draws the time until the next event of a Poisson process with this rate a second.
    pub fn gap(&mut self, rate: f64) -> Duration {
        let seconds = -(1.0 - self.unit()).ln() / rate;
        Duration::try_from_secs_f64(seconds.max(1e-6)).unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
    }

    /// Draws `count` of the elements, in their order; returns all if there are fewer.
    pub fn choose<T: Clone>(&mut self, all: &[T], count: usize) -> Vec<T> {
        let mut left = count.min(all.len());
        let mut chosen = Vec::with_capacity(left);
        for (at, one) in all.iter().enumerate() {
            if left > 0 && self.below(all.len() - at) < left {
                chosen.push(one.clone());
                left -= 1;
            }
        }
        chosen
    }

    /// Shuffles the elements.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_draw_independently_and_choices_are_even() {
        assert_ne!(Draw::new(1, "placement", 0).below(1 << 30), Draw::new(1, "links", 0).below(1 << 30));
        assert_eq!(Draw::new(1, "links", 3).below(1 << 30), Draw::new(1, "links", 3).below(1 << 30));
        let mut draw = Draw::new(1, "test", 0);
        let mut often = [0; 5];
        for _ in 0..5_000 {
            let chosen = draw.choose(&[0, 1, 2, 3, 4], 2);
            assert!(chosen.len() == 2 && chosen[0] < chosen[1]);
            chosen.iter().for_each(|one| often[*one] += 1);
        }
        assert!(often.iter().all(|often| (1_800..2_200).contains(often)), "{often:?}");
    }
}
