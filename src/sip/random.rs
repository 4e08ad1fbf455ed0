//! The one source of randomness below the edges: a seeded generator that is passed in.
//!
//! The edge fills the seed from the operating system; a simulation fills it with a number and repeats exactly.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Cryptographically strong generator for tags, branches, entity tags and nonces.
#[derive(Debug, Clone)]
pub struct Random(ChaCha12Rng);

impl Random {
    /// A generator that repeats for equal seeds.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `N` characters of 5 random bits each, lower-case letters and digits: valid in tags, branches and file names.
    pub fn token<const N: usize>(&mut self) -> [u8; N] {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut out = [0; N];
        for chunk in out.chunks_mut(12) {
            let mut bits = self.next_u64();
            for byte in chunk {
                *byte = ALPHABET[(bits & 31) as usize];
                bits >>= 5;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_repeat_and_tokens_keep_to_the_alphabet() {
        let (mut a, mut b) = (Random::from_seed([7; 32]), Random::from_seed([7; 32]));
        assert_eq!(a.token::<40>(), b.token::<40>());
        assert_ne!(a.token::<20>(), a.token::<20>());
        assert!(a.token::<64>().iter().all(u8::is_ascii_alphanumeric));
    }
}
