//! Sixty-four numbers in as many bits as the largest of them needs: the even ones on the left, the odd ones on the right, so that
//! two are packed by what one takes.
//!
//! Invariant: a width is even, so that 32 numbers fill whole words of 64 bits. Whoever knows the width, and that numbers were
//! packed here, reads any eight of them without the others.
//!
//! ```text
//! width 24, from bit 0 up     left                                right
//! first pair                  number 0 │ number 2 │ 4, low bits   number 1 │ number 3 │ 5, low bits
//! second pair                 4, high  │ number 6 │ …             5, high  │ number 7 │ …
//! ```

use super::FAN_OUT;
use super::block::BLOCK;

/// A word of the left and one of the right.
pub(super) type Pair = [u64; 2];

/// Numbers to be packed.
pub(super) type Numbers = [u64; BLOCK];

/// Pairs of a block's numbers.
const STEPS: usize = BLOCK / 2;

/// Bits of each number: an even number up to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Width(u32);

impl Width {
    /// Of numbers that are all 0.
    pub(super) const NOTHING: Width = Width(0);

    /// The width for numbers of so many bits.
    #[inline]
    pub(super) const fn of_bits(bits: u32) -> Self {
        Width(bits.next_multiple_of(2))
    }

    /// The width for numbers of which `all` has all bits that any of them has.
    #[inline]
    pub(super) const fn of(all: u64) -> Self {
        Self::of_bits(bits(all))
    }

    #[inline]
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    /// The pairs of words that so many numbers take.
    #[inline]
    pub(super) const fn pairs(self, count: usize) -> usize {
        (count.div_ceil(2) * self.0 as usize).div_ceil(64)
    }
}

/// How many bits numbers need of which `all` has all bits that any of them has.
#[inline]
pub(super) const fn bits(all: u64) -> u32 {
    u64::BITS - all.leading_zeros()
}

/// So many bits that are set.
#[inline]
pub(super) const fn mask(bits: u32) -> u64 {
    u64::MAX.unbounded_shr(u64::BITS - bits)
}

/// Appends the first `count` numbers, none of which may have more bits than the width says; those behind them may be anything.
#[inline]
pub(super) fn push(pairs: &mut Vec<Pair>, width: Width, numbers: &Numbers, count: usize) {
    let before = pairs.len();
    pairs.resize(before + width.pairs(BLOCK), [0; 2]);
    if let (Some(pack), Some(out)) = (PACK.get(width.pairs(BLOCK)), pairs.get_mut(before..)) {
        pack(numbers, out);
    }
    pairs.truncate(before + width.pairs(count));
}

/// By the pairs that it makes.
type Pack = fn(&Numbers, &mut [Pair]);

static PACK: [Pack; STEPS + 1] = {
    macro_rules! table { ($($pairs:literal)*) => { [$(pack::<$pairs>),*] } }
    table!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
};

/// Packs to numbers of `2 * PAIRS` bits. For each width a function without a branch: all that it shifts by is known.
fn pack<const PAIRS: usize>(numbers: &Numbers, out: &mut [Pair]) {
    let Some(out) = out.first_chunk_mut::<PAIRS>() else { return };
    let mut pair = [0; 2];
    macro_rules! steps { ($($step:literal)*) => { $(pair = step::<PAIRS, $step>(numbers, pair, out);)* } }
    steps!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    // The last number has filled the last word.
    let _ = pair;
}

/// Puts two numbers behind what a pair of words has; where these are full they are written. Returns what the next two come behind.
#[inline(always)]
fn step<const PAIRS: usize, const STEP: usize>(numbers: &Numbers, pair: Pair, out: &mut [Pair; PAIRS]) -> Pair {
    let bits = 2 * PAIRS;
    let (at, used) = (bits * STEP / 64, low(bits * STEP % 64));
    let two: Pair = [numbers[2 * STEP], numbers[2 * STEP + 1]];
    let joined = [pair[0] | two[0] << used, pair[1] | two[1] << used];
    if (bits * STEP + bits) / 64 == at {
        return joined;
    }
    out[at] = joined;
    two.map(|number| number.unbounded_shr(64 - used))
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "less than 64")]
const fn low(bits: usize) -> u32 {
    bits as u32
}

/// The eight numbers of a group; zeros beyond the end.
#[inline]
pub(super) fn eight(pairs: &[Pair], width: Width, group: usize) -> [u64; FAN_OUT] {
    let (bits, mask) = (width.0, mask(width.0));
    let mut numbers = [0; FAN_OUT];
    let mut at = group * FAN_OUT / 2 * bits as usize;
    for two in numbers.as_chunks_mut::<2>().0 {
        let used = low(at % 64);
        let pair = |at: usize| pairs.get(at).copied().unwrap_or([0; 2]);
        let (these, next) = (pair(at / 64), pair(at / 64 + 1));
        for ((number, this), next) in two.iter_mut().zip(these).zip(next) {
            *number = (this >> used | (next << 1) << (63 - used)) & mask;
        }
        at += bits as usize;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn numbers_of_every_width_and_count_come_back_and_take_no_more_than_they_need() {
        let mut random = Random::new(4);
        let mut pairs = Vec::new();
        for bits in 0..=64 {
            let width = Width::of(mask(bits));
            assert!(width.bits() == bits || width.bits() == bits + 1);
            for count in 0..=BLOCK {
                let mut numbers = [(); BLOCK].map(|()| random.next_u64());
                numbers[..count].iter_mut().for_each(|number| *number &= mask(bits));
                let before = pairs.len();
                push(&mut pairs, width, &numbers, count);
                assert_eq!(pairs.len(), before + width.pairs(count));
                let packed = &pairs[before..];
                for (group, expected) in numbers[..count].chunks(FAN_OUT).enumerate() {
                    assert_eq!(&eight(packed, width, group)[..expected.len()], expected, "{bits} bits, {count}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_zeros() {
        assert_eq!(eight(&[[u64::MAX; 2]], Width::of_bits(64), 0), [u64::MAX, u64::MAX, 0, 0, 0, 0, 0, 0]);
    }
}
