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

use super::bits::{Eight, PAD, Width, eight, put};
use super::extras::Extras;
use super::{FAN_OUT, Node};
use crate::time::Nanos;

/// Leaves of a block.
pub(super) const LEAVES: usize = 8;
/// Intervals that are packed together.
pub(super) const BLOCK: usize = LEAVES * FAN_OUT;
/// In a record's key: the end is not known.
pub(super) const UNCERTAIN: u32 = 1 << 15;

/// An interval that is not packed yet, in a quarter of a cache line: as many rows grow at a time as there are tasks, times how deep
/// their spans nest.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(super) struct Record {
    /// Nanoseconds from the end of the one before, or [`Record::FAR`].
    pub(super) gap: u32,
    pub(super) duration: u32,
    pub(super) extra: u32,
    /// 15 bits, and [`UNCERTAIN`].
    pub(super) key: u32,
}

impl Record {
    pub(super) const NONE: Record = Record { gap: 0, duration: 0, extra: 0, key: 0 };
    /// The gap of what 32 bits do not hold.
    pub(super) const FAR: u32 = u32::MAX;
}

/// The same, however long and far away it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Far {
    pub(super) gap: u64,
    pub(super) duration: u64,
    pub(super) extra: u32,
    pub(super) key: u32,
}

/// What is packed.
pub(super) trait Interval: Copy {
    fn gap(&self) -> u64;
    fn duration(&self) -> u64;
    fn extra(&self) -> u32;
    fn key(&self) -> u32;
}

impl Interval for Record {
    #[inline(always)]
    fn gap(&self) -> u64 {
        self.gap.into()
    }

    #[inline(always)]
    fn duration(&self) -> u64 {
        self.duration.into()
    }

    #[inline(always)]
    fn extra(&self) -> u32 {
        self.extra
    }

    #[inline(always)]
    fn key(&self) -> u32 {
        self.key
    }
}

impl Interval for Far {
    fn gap(&self) -> u64 {
        self.gap
    }

    fn duration(&self) -> u64 {
        self.duration
    }

    fn extra(&self) -> u32 {
        self.extra
    }

    fn key(&self) -> u32 {
        self.key
    }
}

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

    /// The leaf of eight intervals, and from the end of the one before the first to the end of the last. Those with the key
    /// `quiet` count as nothing in the sums, where that is not known to be none's.
    #[inline(always)]
    fn of<const QUIET: bool>(intervals: &[impl Interval; FAN_OUT], quiet: u32) -> (Self, u64) {
        let (mut busy, mut longest, mut key, mut all) = (0, 0, intervals[0].key(), 0);
        for interval in intervals {
            let duration = interval.duration();
            let counted = if QUIET && interval.key() & !UNCERTAIN == quiet { 0 } else { duration };
            busy += counted;
            all += interval.gap() + duration;
            key = if counted > longest { interval.key() } else { key };
            longest = if counted > longest { counted } else { longest };
        }
        let extent = all - intervals[0].gap();
        let key = low_bits((key & !UNCERTAIN).into());
        let leaf = Leaf {
            start: 0,
            extent: Extent::of(extent),
            key,
            longest: upper_half(longest),
            share: share(busy, extent),
        };
        (leaf, all)
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

/// The leaves of a block whose first interval begins at `from`, and when each begins.
#[inline]
pub(super) fn leaves(intervals: &[impl Interval; BLOCK], from: Nanos, quiet: u16) -> [(Leaf, Nanos); LEAVES] {
    if quiet == u16::MAX {
        leaves_of::<false>(intervals, from, quiet)
    } else {
        leaves_of::<true>(intervals, from, quiet)
    }
}

#[inline(always)]
fn leaves_of<const QUIET: bool>(
    intervals: &[impl Interval; BLOCK],
    from: Nanos,
    quiet: u16,
) -> [(Leaf, Nanos); LEAVES] {
    let mut leaves = [(Leaf::NONE, 0); LEAVES];
    let mut now = from;
    for (place, intervals) in leaves.iter_mut().zip(intervals.as_chunks::<FAN_OUT>().0) {
        let (leaf, all) = Leaf::of::<QUIET>(intervals, quiet.into());
        *place = (leaf, now.wrapping_add_unsigned(intervals[0].gap()));
        now = now.wrapping_add_unsigned(all);
    }
    leaves
}

impl Shape {
    pub(super) const NONE: Shape = Shape { widths: 0, at: 0, key: 0 };

    /// Packs a block to the end of its segment's bytes, in place of their padding.
    #[inline]
    pub(super) fn pack(intervals: &[impl Interval; BLOCK], bytes: &mut Vec<u8>) -> Shape {
        let (mut gaps, mut durations, mut keys, mut common, mut extras) = (0, 0, 0, u32::MAX, u32::MAX);
        for interval in intervals {
            gaps |= interval.gap();
            durations |= interval.duration();
            keys |= interval.key();
            common &= interval.key();
            extras &= interval.extra();
        }
        let extras = if extras == u32::MAX { Extras::NOTHING } else { Extras::of(intervals) };
        let [gaps, durations, keys] = [gaps, durations, u64::from(keys ^ common)].map(Width::of);
        let mut widths = gaps.bits() | durations.bits() << DURATIONS | keys.bits() << KEYS;
        widths |= extras.width().bits() << EXTRAS | if extras.is_sparse() { SPARSE } else { 0 };
        let at = bytes.len().saturating_sub(PAD);
        let columns = (gaps.bytes(BLOCK), durations.bytes(BLOCK), keys.bytes(BLOCK));
        let len = columns.0 + columns.1 + columns.2 + extras.len();
        bytes.resize(at + len + PAD, 0);
        let out = bytes.get_mut(at..).unwrap_or(&mut []);
        put_column(out, 0, gaps, intervals, |interval| interval.gap());
        put_column(out, columns.0, durations, intervals, |interval| interval.duration());
        put_column(out, columns.0 + columns.1, keys, intervals, |interval| (interval.key() ^ common).into());
        if extras.len() > 0 {
            extras.put(intervals, out.get_mut(columns.0 + columns.1 + columns.2..).unwrap_or(&mut []));
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

/// Packs a column of a block at `at`.
#[inline(always)]
pub(super) fn put_column<I: Interval>(
    out: &mut [u8],
    at: usize,
    width: Width,
    intervals: &[I; BLOCK],
    number: impl Fn(&I) -> u64,
) {
    if width == Width::NOTHING {
        return;
    }
    let mut at = at;
    for group in intervals.as_chunks::<FAN_OUT>().0 {
        let numbers: Eight = std::array::from_fn(|i| number(&group[i]));
        at = put(out, at, width, &numbers, FAN_OUT);
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
#[expect(clippy::cast_possible_truncation, reason = "26 bits")]
const fn low_word(nanos: u64) -> u32 {
    nanos as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a key has 16 bits")]
const fn low_bits(key: u64) -> u16 {
    key as u16
}

/// The upper half of a duration as an `f32`: less by at most 1 part in 128.
#[inline]
fn upper_half(nanos: u64) -> u16 {
    u16::try_from((nanos.cast_signed() as f32).to_bits() >> 16).unwrap_or(0)
}

#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 65,535; a cast saturates")]
fn share(busy: u64, extent: u64) -> u16 {
    let (busy, extent) = (busy.cast_signed(), extent.cast_signed());
    if extent == 0 { 0 } else { (busy as f32 / extent as f32 * 65_535.0 + 0.5) as i32 as u16 }
}

/// Bits that an interval takes at most: a segment's bytes stay below 64 KiB.
const _: () = assert!((64 + 64 + 16 + 32 + 8) * BLOCK / 8 * super::segment::BLOCKS + PAD < 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
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
            let fars: [Far; BLOCK] = std::array::from_fn(|i| Far {
                gap: if i == 0 || round % 3 == 0 { 0 } else { bits(&mut random, time_bits) },
                duration: bits(&mut random, time_bits),
                key: u32::try_from(bits(&mut random, key_bits) & 0xffff).unwrap(),
                extra: match random.below(3) < round % 4 {
                    true => u32::MAX - u32::try_from(round % 3).unwrap(),
                    false => u32::try_from(bits(&mut random, extra_bits)).unwrap(),
                },
            });
            if round % 8 == 0 {
                bytes.clear();
            }
            let near = |far: Far| {
                let [gap, duration] = [far.gap, far.duration].map(u32::try_from);
                Some(Record { gap: gap.ok()?, duration: duration.ok()?, extra: far.extra, key: far.key })
            };
            let records = fars.map(|far| near(far).unwrap_or(Record::NONE));
            let (shape, leaves) = if fars.iter().all(|&far| near(far).is_some()) {
                narrow += 1;
                (Shape::pack(&records, &mut bytes), leaves(&records, from, u16::MAX))
            } else {
                (Shape::pack(&fars, &mut bytes), leaves(&fars, from, u16::MAX))
            };
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
                    assert_eq!((key, extras[i]), (far.key, far.extra), "{round}");
                }
                let late = start + leaf.extent() - now;
                assert!(late >= 0 && late <= (now - start) >> 25, "{late}");
                let busy: u64 = fars.iter().map(|far| far.duration).sum();
                let node = leaf.node(start);
                assert!((f64::from(node.busy) - busy as f64).abs() <= (now - start) as f64 / 65_000.0);
                let longest = fars.iter().map(|far| far.duration).max().unwrap();
                let first = fars.iter().find(|far| far.duration == longest).unwrap();
                assert_eq!(u32::from(node.key), first.key & !UNCERTAIN);
                assert!(node.longest() <= longest as f32 && longest as f32 <= node.longest_at_most());
            }
        }
        assert!((1000..5000).contains(&narrow), "{narrow}");
    }
}
