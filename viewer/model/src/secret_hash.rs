//! Hashes of numbers that guests choose: two multiplications by what no guest knows, a tenth of what the standard library's
//! take.
//!
//! Invariant: nobody sees a hash or the order that comes of it, so who chooses the numbers cannot find out which of them
//! collide. Each table has a secret of its own.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes the hashes of one table.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    begin: u64,
    factor: u64,
}

impl Default for Secret {
    fn default() -> Self {
        let random = RandomState::new();
        Secret { begin: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for Secret {
    type Hasher = Hash;

    #[inline]
    fn build_hasher(&self) -> Hash {
        Hash { state: self.begin, factor: self.factor }
    }
}

/// The hash of what was written so far.
pub(crate) struct Hash {
    state: u64,
    factor: u64,
}

impl Hasher for Hash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.state ^ number) * u128::from(self.factor);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table takes the low bits for the place and the high ones for a first comparison.
    #[test]
    fn numbers_that_differ_by_little_or_in_their_high_bits_alone_have_hashes_that_differ_in_low_and_in_high_bits() {
        for step in [1, 3, 1 << 16, 1 << 32, 1 << 50] {
            let secret = Secret::default();
            let (mut low, mut high) = ([0; 256], [0; 128]);
            for number in 0..8192u64 {
                let hash = secret.hash_one((7u16, number.wrapping_mul(step)));
                low[usize::try_from(hash % 256).unwrap()] += 1;
                high[usize::try_from(hash >> 57).unwrap()] += 1;
            }
            // 32 and 64 are to be expected.
            assert!(low.iter().all(|&count| count < 160), "{step}: {low:?}");
            assert!(high.iter().all(|&count| count < 320), "{step}: {high:?}");
        }
    }
}
