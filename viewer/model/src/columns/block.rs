//! Sixty-four intervals as packed bytes, about five for each, and eight [leaves](Leaf) of 16 bytes over them.
//!
//! Invariant: an interval is kept as its distance from the one before it and its length, each column as wide as its largest
//! number needs in this block, so one that says nothing takes no room. A [`Shape`] says how the bytes are to be read:
//!
//! | column | as | no room where |
//! |---|---|---|
//! | gaps | nanoseconds from the end of the one before | each begins where the one before ends |
//! | durations | nanoseconds | all are instants |
//! | keys | the bits that not all have; whether the end is uncertain is bit 15 | all are the same |
//! | extras | see [`extras`](super::extras) | all are `u32::MAX` |
//!
//! The loops run over a whole block, which is why intervals are packed by so many: what is decided for a block is decided once.

use super::bits::{PAD, Width, eight, put_groups};
use super::extras::Extras;
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

/// How the bytes of a block are to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The widths of gaps, durations, extras and keys, and whether the extras are sparse.
    widths: u32,
    /// Where the bytes begin in their segment.
    at: u16,
    /// The bits that all keys have: others are kept of each.
    key: u16,
}

const DURATIONS: u32 = Width::BITS;
const EXTRAS: u32 = 2 * Width::BITS;
/// Keys have 16 bits, so five bits say their width.
const KEYS: u32 = 3 * Width::BITS;
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

    /// Packs a block to the end of its segment's bytes, in place of their padding.
    #[inline]
    pub(super) fn pack(intervals: &[impl Interval; BLOCK], all: &All, bytes: &mut Vec<u8>) -> Shape {
        let mut there = [0; BLOCK];
        let has_extras = low_word(all.every) != u32::MAX;
        let extras = if has_extras { Extras::of(intervals, &mut there) } else { Extras::NOTHING };
        let common = low_word(all.every >> 32);
        let keys = all.any >> 32 ^ all.every >> 32;
        let [gaps, durations, keys] = [all.gaps, all.durations, keys].map(Width::of);
        let mut widths = gaps.bits() | durations.bits() << DURATIONS | keys.bits() << KEYS;
        widths |= extras.width().bits() << EXTRAS | if extras.is_sparse() { SPARSE } else { 0 };
        let at = bytes.len().saturating_sub(PAD);
        let columns = (gaps.bytes(BLOCK), durations.bytes(BLOCK), keys.bytes(BLOCK));
        let len = columns.0 + columns.1 + columns.2 + extras.len();
        bytes.resize(at + len + PAD, 0);
        let out = bytes.get_mut(at..).unwrap_or(&mut []);
        let groups = intervals.as_chunks().0;
        put_groups(out, 0, gaps, groups, 0, |interval| interval.gap());
        put_groups(out, columns.0, durations, groups, 0, |interval| interval.duration());
        // All have what is common, so what they have besides is as much more.
        put_groups(out, columns.0 + columns.1, keys, groups, common, |interval| interval.key().into());
        if has_extras {
            extras.put(intervals, &mut there, out.get_mut(columns.0 + columns.1 + columns.2..).unwrap_or(&mut []));
        }
        Shape { widths, at: u16::try_from(at).unwrap_or(0), key: low_bits(common.into()) }
    }

    #[inline]
    fn width(&self, column: u32) -> Width {
        Width::from_bits(self.widths >> column)
    }

    #[inline]
    fn keys_width(&self) -> Width {
        Width::from_bits(self.widths >> KEYS & 0x1f)
    }

    /// Puts the times and keys of a leaf that begins at `start` into `out`; `bytes` are the segment's.
    #[inline]
    pub(super) fn unpack(&self, leaf: usize, start: Nanos, bytes: &[u8], times: &mut Times) {
        let (gaps, durations, keys) = (self.width(0), self.width(DURATIONS), self.keys_width());
        let at = usize::from(self.at);
        let (gap_list, length_list) = (
            eight(bytes, at + leaf * gaps.bytes(FAN_OUT), gaps),
            eight(bytes, at + gaps.bytes(BLOCK) + leaf * durations.bytes(FAN_OUT), durations),
        );
        let mut now = start - gap_list[0].cast_signed();
        for i in 0..FAN_OUT {
            let start = now + gap_list[i].cast_signed();
            now = start + length_list[i].cast_signed();
            (times.starts[i], times.ends[i]) = (start, now);
        }
        times.keys = [self.key; FAN_OUT];
        if keys.bits() > 0 {
            let at = at + gaps.bytes(BLOCK) + durations.bytes(BLOCK) + leaf * keys.bytes(FAN_OUT);
            times.keys.iter_mut().zip(eight(bytes, at, keys)).for_each(|(key, packed)| *key ^= low_bits(packed));
        }
        times.part_uncertain();
        times.len = FAN_OUT;
    }

    /// The extras of a leaf; `bytes` are the segment's.
    pub(super) fn extras(&self, leaf: usize, bytes: &[u8]) -> [u32; FAN_OUT] {
        let before = self.width(0).bytes(BLOCK) + self.width(DURATIONS).bytes(BLOCK) + self.keys_width().bytes(BLOCK);
        let bytes = bytes.get(usize::from(self.at) + before..).unwrap_or(&[]);
        Extras::get(self.widths & SPARSE != 0, self.width(EXTRAS), bytes, leaf)
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
pub(super) const fn low_word(nanos: u64) -> u32 {
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

/// Bits that an interval takes at most: a segment's bytes stay below 64 KiB.
const _: () = assert!((64 + 64 + 16 + 32 + 8) * BLOCK / 8 * super::segment::BLOCKS + PAD < 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::record::{Far, NO_KEY, Record, What};
    use crate::random::Random;

    #[test]
    fn what_is_packed_comes_back_whatever_its_widths() {
        let mut random = Random::new(77);
        let (mut bytes, mut narrow) = (Vec::new(), 0);
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
                bytes.clear();
            }
            let near =
                |far: Far| ((far.gap | far.duration) >> 32 == 0).then(|| Record::new(far.gap, far.duration, far.what));
            let records = fars.map(|far| near(far).unwrap_or(Record::NONE));
            let (shape, leaves) = if fars.iter().all(|&far| near(far).is_some()) {
                narrow += 1;
                let (leaves, all) = Leaves::of::<_, false>(&records, from, NO_KEY);
                (Shape::pack(&records, &all, &mut bytes), leaves)
            } else {
                let (leaves, all) = Leaves::of::<_, false>(&fars, from, NO_KEY);
                (Shape::pack(&fars, &all, &mut bytes), leaves)
            };
            let leaves = leaves.leaves.into_iter().zip(leaves.starts);
            let mut now = from;
            for (i, (fars, (leaf, start))) in fars.as_chunks::<FAN_OUT>().0.iter().zip(leaves).enumerate() {
                let mut times = Times::EMPTY;
                shape.unpack(i, start, &bytes, &mut times);
                let extras = shape.extras(i, &bytes);
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
