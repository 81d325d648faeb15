//! Sixty-four intervals packed together, about five bytes for each, and eight [leaves](Leaf) of 16 bytes over them.
//!
//! Invariant: an interval is kept as its distance from the one before it and its length, each as wide as the largest of this
//! block needs, so what says nothing takes no room. A [`Shape`] says how they are to be read:
//!
//! | what | as | no room where |
//! |---|---|---|
//! | gap | nanoseconds from the end of the one before | each begins where the one before ends |
//! | duration | nanoseconds | all are instants |
//! | key | how much more it is than the bits that all have; whether the end is uncertain is bit 15 | all are the same |
//! | extra | see [`extras`](super::extras) | all are `u32::MAX` |
//!
//! The first three lie side by side as one [number](super::pairs), the gap lowest; where 64 bits do not hold them, each by itself.
//! The loops run over a whole block, which is why intervals are packed by so many: what is decided for a block is decided once.

use super::extras::Extras;
use super::pairs::{Pair, Width, bits, eight, mask, push};
use super::record::{All, Interval, Sums, UNCERTAIN};
use super::{FAN_OUT, Node};
use crate::time::Nanos;

/// Leaves of a block.
pub(super) const LEAVES: usize = 8;
/// Intervals that are packed together.
pub(super) const BLOCK: usize = LEAVES * FAN_OUT;

/// What the lowest level of the pyramid says of eight intervals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// When the first began, for their [`Segment`](super::segment::Segment) to say.
    pub(super) start: u32,
    extent: Extent,
    key: u16,
    /// The upper half of the longest's duration as an `f32`.
    longest: u16,
    /// The part of the extent that they cover, 0 to 65,535.
    share: u16,
}

/// How a block is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The bits of gaps, durations, keys and extras, and whether the extras are sparse.
    widths: u32,
    /// Where it begins in its segment.
    at: u16,
    /// The bits that all keys have: what a key has besides is kept of each.
    key: u16,
}

const DURATIONS: u32 = 7;
const KEYS: u32 = 14;
const EXTRAS: u32 = 19;
const SPARSE: u32 = 1 << 31;

/// From the first begin to the last end: 26 bits and how often they are doubled; exact below 67 ms, else rounded up by at most
/// 1 part in 2^25.
#[derive(Clone, Copy, Debug)]
struct Extent(u32);

impl Extent {
    #[inline]
    fn of(nanos: u64) -> Self {
        if nanos < 1 << 26 {
            return Extent(low_word(nanos) << 6);
        }
        let doubled = (64 - nanos.leading_zeros()).saturating_sub(26);
        let mut bits = nanos.div_ceil(1 << doubled);
        let mut exponent = doubled;
        if bits >> 26 != 0 {
            (bits, exponent) = (bits.div_ceil(2), exponent + 1);
        }
        Extent(u32::try_from(bits).unwrap_or(0) << 6 | exponent)
    }

    #[inline]
    const fn nanos(self) -> Nanos {
        ((self.0 >> 6) as Nanos) << (self.0 & 0x3f)
    }
}

impl Leaf {
    pub(super) const NONE: Leaf = Leaf { start: 0, extent: Extent(0), key: 0, longest: 0, share: 0 };

    /// The leaf of eight intervals.
    #[inline(always)]
    fn of(intervals: &[impl Interval; FAN_OUT], sums: &Sums) -> Self {
        let &Sums { busy, all, longest, which } = sums;
        let extent = all - intervals[0].gap();
        let key = intervals[usize::from(low_bits(7 - which)) % FAN_OUT].key();
        Leaf {
            start: 0,
            extent: Extent::of(extent),
            key: low_bits((key & !UNCERTAIN).into()),
            longest: upper_half(longest),
            share: share(busy, extent),
        }
    }

    /// From the first begin to the last end, or a little more.
    #[inline]
    pub(super) fn extent(&self) -> Nanos {
        self.extent.nanos()
    }

    /// What the pyramid says of them, the first of which began at `start`.
    #[inline]
    pub(super) fn node(&self, start: Nanos) -> Node {
        let extent = self.extent.nanos();
        let busy = extent as f32 * (f32::from(self.share) * (1.0 / 65_535.0));
        Node { start, end: start + extent, busy, key: self.key, longest: self.longest }
    }
}

/// A block's leaves, and when each begins.
pub(super) struct Leaves {
    pub(super) leaves: [Leaf; LEAVES],
    pub(super) starts: [Nanos; LEAVES],
}

impl Leaves {
    /// Of a block whose first interval begins at `from`.
    #[inline(always)]
    pub(super) fn of<I: Interval, const QUIET: bool>(intervals: &[I; BLOCK], from: Nanos, quiet: u32) -> (Self, All) {
        let (all, mut now) = (I::all(intervals), from);
        let mut leaves = Leaves { leaves: [Leaf::NONE; LEAVES], starts: [0; LEAVES] };
        let places = leaves.leaves.iter_mut().zip(&mut leaves.starts);
        for ((leaf, start), intervals) in places.zip(intervals.as_chunks().0) {
            let sums = I::sums::<QUIET>(intervals, &all, quiet);
            (*leaf, *start) = (Leaf::of(intervals, &sums), now.wrapping_add_unsigned(intervals[0].gap()));
            now = now.wrapping_add_unsigned(sums.all);
        }
        (leaves, all)
    }
}

impl Shape {
    pub(super) const NONE: Shape = Shape { widths: 0, at: 0, key: 0 };

    /// Packs a block to the end of its segment's.
    #[inline]
    pub(super) fn pack(intervals: &[impl Interval; BLOCK], all: &All, pairs: &mut Vec<Pair>) -> Shape {
        let at = u16::try_from(pairs.len()).unwrap_or(0);
        let common = low_word(all.every >> 32);
        let [gaps, durations, keys] = [all.gaps, all.durations, all.any >> 32 ^ all.every >> 32].map(bits);
        let mut shape =
            Shape { widths: gaps | durations << DURATIONS | keys << KEYS, at, key: low_bits(common.into()) };
        // All have what is common, so what they have besides is as much more.
        let key = |interval: &_| u64::from(Interval::key(interval).wrapping_sub(common));
        let mut numbers = [0; BLOCK];
        if let Some(width) = shape.joined() {
            for (number, interval) in numbers.iter_mut().zip(intervals) {
                let duration = interval.duration().unbounded_shl(gaps);
                *number = interval.gap() | duration | key(interval).unbounded_shl(gaps + durations);
            }
            push(pairs, width, &numbers, BLOCK);
        } else {
            shape.push_apart(intervals, key, pairs);
        }
        if low_word(all.every) != u32::MAX {
            let extras = Extras::of(intervals, (low_word(all.any), low_word(all.every)), &mut numbers);
            extras.push(intervals, &mut numbers, pairs);
            shape.widths |= extras.width().bits() << EXTRAS | if extras.is_sparse() { SPARSE } else { 0 };
        }
        shape
    }

    /// Packs each column by itself.
    #[cold]
    fn push_apart<I: Interval>(&self, intervals: &[I; BLOCK], key: impl Fn(&I) -> u64, pairs: &mut Vec<Pair>) {
        let [gaps, durations, keys] = self.bits().map(Width::of_bits);
        push(pairs, gaps, &intervals.each_ref().map(I::gap), BLOCK);
        push(pairs, durations, &intervals.each_ref().map(I::duration), BLOCK);
        push(pairs, keys, &intervals.each_ref().map(key), BLOCK);
    }

    /// The bits of gaps, durations and keys.
    #[inline]
    const fn bits(self) -> [u32; 3] {
        [self.widths & 0x7f, self.widths >> DURATIONS & 0x7f, self.widths >> KEYS & 0x1f]
    }

    /// The width of the numbers that gap, duration and key are joined to; `None` where each column is by itself.
    #[inline]
    const fn joined(self) -> Option<Width> {
        let [gaps, durations, keys] = self.bits();
        if gaps + durations + keys <= 64 { Some(Width::of_bits(gaps + durations + keys)) } else { None }
    }

    /// Gaps, durations and keys of a leaf.
    #[inline]
    fn columns(self, leaf: usize, pairs: &[Pair]) -> [[u64; FAN_OUT]; 3] {
        let [gaps, durations, keys] = self.bits();
        let Some(width) = self.joined() else { return self.columns_apart(leaf, pairs) };
        let numbers = eight(pairs, width, leaf);
        let column = |before: u32, bits| numbers.map(|number| number.unbounded_shr(before) & mask(bits));
        [column(0, gaps), column(gaps, durations), column(gaps + durations, keys)]
    }

    #[cold]
    fn columns_apart(self, leaf: usize, mut pairs: &[Pair]) -> [[u64; FAN_OUT]; 3] {
        self.bits().map(Width::of_bits).map(|width| {
            let column = eight(pairs, width, leaf);
            pairs = pairs.get(width.pairs(BLOCK)..).unwrap_or(&[]);
            column
        })
    }

    /// Puts the times and keys of a leaf that begins at `start` into `out`; `pairs` are the segment's.
    #[inline]
    pub(super) fn unpack(self, leaf: usize, start: Nanos, pairs: &[Pair], times: &mut Times) {
        let [gaps, durations, keys] = self.columns(leaf, pairs.get(self.at.into()..).unwrap_or(&[]));
        let mut now = start - gaps[0].cast_signed();
        for i in 0..FAN_OUT {
            let start = now + gaps[i].cast_signed();
            now = start + durations[i].cast_signed();
            (times.starts[i], times.ends[i]) = (start, now);
        }
        times.keys = keys.map(|key| self.key | low_bits(key));
        times.part_uncertain();
        times.len = FAN_OUT;
    }

    /// The extras of a leaf; `pairs` are the segment's.
    pub(super) fn extras(self, leaf: usize, pairs: &[Pair]) -> [u32; FAN_OUT] {
        let before = self.joined().map_or_else(
            || self.bits().map(|bits| Width::of_bits(bits).pairs(BLOCK)).iter().sum(),
            |width| width.pairs(BLOCK),
        );
        let pairs = pairs.get(usize::from(self.at) + before..).unwrap_or(&[]);
        Extras::get(self.widths & SPARSE != 0, Width::of_bits(self.widths >> EXTRAS & 0x3f), pairs, leaf)
    }
}

/// Times and keys of eight intervals or fewer, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) starts: [Nanos; FAN_OUT],
    pub(crate) ends: [Nanos; FAN_OUT],
    pub(crate) keys: [u16; FAN_OUT],
    /// A bit for each.
    pub(crate) uncertain: u8,
    pub(crate) len: usize,
}

impl Times {
    /// Takes what is uncertain out of the keys.
    #[inline]
    pub(super) fn part_uncertain(&mut self) {
        self.uncertain = 0;
        for (i, key) in self.keys.iter_mut().enumerate() {
            self.uncertain |= u8::from(*key >> 15 != 0) << i;
            *key &= 0x7fff;
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(crate) const fn low_word(nanos: u64) -> u32 {
    nanos as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a key has 16 bits")]
pub(super) const fn low_bits(key: u64) -> u16 {
    key as u16
}

/// The upper half of a duration as an `f32`: less by at most 1 part in 128.
#[inline]
fn upper_half(nanos: u64) -> u16 {
    u16::try_from((nanos.cast_signed() as f32).to_bits() >> 16).unwrap_or(0)
}

/// Rounded: a float of this size has the whole number in its low bits.
#[inline]
fn share(busy: u64, extent: u64) -> u16 {
    const TO_INTEGER: f32 = 8_388_608.0;
    let (busy, extent) = (busy.cast_signed(), extent.cast_signed());
    if extent == 0 { 0 } else { low_bits((busy as f32 / extent as f32 * 65_535.0 + TO_INTEGER).to_bits().into()) }
}

/// Bits that an interval takes at most: the pairs of a segment stay below 2^16.
const _: () = assert!((64 + 64 + 16 + 32 + 2) * BLOCK / 128 * super::segment::BLOCKS < 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::record::{Far, NO_KEY, Record, What};
    use crate::random::Random;

    #[test]
    fn what_is_packed_comes_back_whatever_its_widths() {
        let mut random = Random::new(77);
        let (mut pairs, mut narrow) = (Vec::new(), 0);
        for round in 0..6000u64 {
            let bits = |random: &mut Random, most: u64| {
                let bits = random.below(most + 1);
                random.next_u64() & (1u64 << bits).wrapping_sub(1)
            };
            let (time_bits, key_bits, extra_bits) = (random.below(48), random.below(17), random.below(33));
            let from = bits(&mut random, 55).cast_signed();
            let fars: [Far; BLOCK] = std::array::from_fn(|i| {
                let gap = if i == 0 || round % 3 == 0 { 0 } else { bits(&mut random, time_bits) };
                let duration = bits(&mut random, time_bits);
                let key = bits(&mut random, key_bits) & 0xffff;
                let extra = match random.below(3) < round % 4 {
                    true => u32::MAX - u32::try_from(round % 3).unwrap(),
                    false => u32::try_from(bits(&mut random, extra_bits)).unwrap(),
                };
                Far { gap, duration, what: What(u64::from(extra) | key << 32) }
            });
            if round % 8 == 0 {
                pairs.clear();
            }
            let near =
                |far: Far| ((far.gap | far.duration) >> 32 == 0).then(|| Record::new(far.gap, far.duration, far.what));
            let records = fars.map(|far| near(far).unwrap_or(Record::NONE));
            let (shape, leaves) = if fars.iter().all(|&far| near(far).is_some()) {
                narrow += 1;
                let (leaves, all) = Leaves::of::<_, false>(&records, from, NO_KEY);
                (Shape::pack(&records, &all, &mut pairs), leaves)
            } else {
                let (leaves, all) = Leaves::of::<_, false>(&fars, from, NO_KEY);
                (Shape::pack(&fars, &all, &mut pairs), leaves)
            };
            let leaves = leaves.leaves.into_iter().zip(leaves.starts);
            let mut now = from;
            for (i, (fars, (leaf, start))) in fars.as_chunks::<FAN_OUT>().0.iter().zip(leaves).enumerate() {
                let mut times = Times::EMPTY;
                shape.unpack(i, start, &pairs, &mut times);
                let extras = shape.extras(i, &pairs);
                for (i, far) in fars.iter().enumerate() {
                    let start = now + far.gap.cast_signed();
                    now = start + far.duration.cast_signed();
                    let key = u32::from(times.keys[i]) | u32::from(times.uncertain >> i & 1) << 15;
                    assert_eq!((times.starts[i], times.ends[i]), (start, now), "{round}");
                    assert_eq!((key, extras[i]), (far.key(), far.extra()), "{round}");
                }
                let late = start + leaf.extent() - now;
                assert!(late >= 0 && late <= (now - start) >> 25, "{late}");
                let busy: u64 = fars.iter().map(|far| far.duration).sum();
                let node = leaf.node(start);
                assert!((f64::from(node.busy) - busy as f64).abs() <= (now - start) as f64 / 65_000.0);
                let longest = fars.iter().map(|far| far.duration).max().unwrap();
                let first = fars.iter().find(|far| far.duration == longest).unwrap();
                assert_eq!(u32::from(node.key), first.key() & !UNCERTAIN);
                assert!(node.longest() <= longest as f32 && longest as f32 <= node.longest_at_most());
            }
        }
        assert!((1000..5000).contains(&narrow), "{narrow}");
    }
}
