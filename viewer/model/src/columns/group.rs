//! Eight intervals as a [`Leaf`], 24 bytes, and packed bytes: about six for each interval.
//!
//! A leaf is what the lowest level of the pyramid says of them, and how their bytes are to be read. Each column has the
//! width that its largest value needs in this group; a column that says nothing takes no room:
//!
//! | column | as | left out where |
//! |---|---|---|
//! | starts | distance from the group's start | |
//! | durations | nanoseconds | each begins where the one before ends |
//! | keys | as they are | all are the same |
//! | uncertain | a bit each | none is |
//! | extras | small numbers (`u32::MAX` and its neighbours count as small); or which have one, and the distance from the least | all are `u32::MAX` |

use super::bits::{PAD, Width, Writer, four, word};
use super::{FAN_OUT, Node};
use crate::time::Nanos;

/// Intervals that are not packed yet: the youngest of a row, fewer than a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) starts: [Nanos; FAN_OUT],
    pub(super) ends: [Nanos; FAN_OUT],
    pub(super) extras: [u32; FAN_OUT],
    pub(super) keys: [u16; FAN_OUT],
    /// A bit for each.
    pub(super) uncertain: u8,
    pub(super) len: u8,
}

impl Tail {
    pub(super) const EMPTY: Tail = Tail {
        starts: [0; FAN_OUT],
        ends: [0; FAN_OUT],
        extras: [0; FAN_OUT],
        keys: [0; FAN_OUT],
        uncertain: 0,
        len: 0,
    };
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// When the first began.
    pub(crate) start: Nanos,
    extent: Extent,
    /// The widths of starts, durations and extras, six bits each, half the bits of a key, and the flags.
    shape: u32,
    /// Where the bytes begin in their segment.
    at: u16,
    key: u16,
    /// The upper half of the longest's duration as an `f32`.
    longest: u16,
    /// The part of the extent that they cover, 0 to 65,535.
    share: u16,
}

const DURATIONS: u32 = Width::BITS;
const EXTRAS: u32 = 2 * Width::BITS;
const KEYS: u32 = 3 * Width::BITS;
const CONTIGUOUS: u32 = 1 << 28;
const UNCERTAIN: u32 = 1 << 29;
/// Extras as which have one, the least of those, and distances from it.
const SPARSE: u32 = 1 << 30;
const NONE: u32 = u32::MAX;

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

    fn is_exact(self) -> bool {
        self.0 & 0x3f == 0
    }
}

impl Leaf {
    /// A group's leaf; its bytes go to `out`, and will lie at `at` of their segment.
    /// Intervals with the key `quiet` count as nothing in the sums.
    pub(super) fn pack(tail: &Tail, quiet: u16, at: u16, out: &mut Writer) -> Leaf {
        let start = tail.starts[0];
        let extent = tail.ends[FAN_OUT - 1].abs_diff(start);
        let (mut offsets, mut durations) = ([0; FAN_OUT], [0; FAN_OUT]);
        let (mut all_durations, mut busy) = (0, 0);
        let times = tail.starts.iter().zip(&tail.ends);
        for ((offset, duration), (&began, &ended)) in offsets.iter_mut().zip(&mut durations).zip(times) {
            *offset = (began - start).cast_unsigned();
            *duration = (ended - began).cast_unsigned();
            all_durations |= *duration;
            busy += *duration;
        }
        let (mut longest, mut key, mut all_keys, mut other_keys) = (0, tail.keys[0], 0, 0);
        let mut counted = 0;
        for (&duration, &candidate) in durations.iter().zip(&tail.keys) {
            let duration = if candidate == quiet { 0 } else { duration };
            key = if duration > longest { candidate } else { key };
            longest = longest.max(duration);
            counted += duration;
            all_keys |= candidate;
            other_keys |= candidate ^ tail.keys[0];
        }
        let packed_extent = Extent::of(extent);
        // Nothing between them and no overlap: the sum is the whole.
        let contiguous = busy == extent && packed_extent.is_exact();
        // Starts only grow.
        let starts = Width::of(offsets[FAN_OUT - 1]);
        let durations_width = Width::of(if contiguous { 0 } else { all_durations });
        let keys = Width::of(if other_keys == 0 { 0 } else { all_keys.into() });
        column(out, starts, &offsets);
        column(out, durations_width, &durations);
        let [a, b, c, d, e, f, g, h] = tail.keys;
        column(out, keys, &[a.into(), b.into(), c.into(), d.into(), e.into(), f.into(), g.into(), h.into()]);
        let mut shape = starts.code() | durations_width.code() << DURATIONS | keys.code() << KEYS;
        if contiguous {
            shape |= CONTIGUOUS;
        }
        if tail.uncertain != 0 {
            shape |= UNCERTAIN;
            out.word(tail.uncertain.into(), 1);
        }
        shape |= pack_extras(&tail.extras, out);
        Leaf {
            start,
            extent: packed_extent,
            shape,
            at,
            key,
            longest: upper_half(longest),
            share: share(counted, extent),
        }
    }

    /// When the last ended, or a little later.
    #[inline]
    pub(crate) fn end(&self) -> Nanos {
        self.start + self.extent.nanos()
    }

    /// What the pyramid says of them.
    #[inline]
    pub(crate) fn node(&self) -> Node {
        let extent = self.extent.nanos();
        let busy = extent as f32 * (f32::from(self.share) * (1.0 / 65_535.0));
        Node { start: self.start, end: self.start + extent, busy, key: self.key, longest: self.longest }
    }

    #[inline]
    fn width(&self, column: u32) -> Width {
        Width::from_code(self.shape >> column)
    }

    #[inline]
    fn keys_width(&self) -> Width {
        Width::from_code(self.shape >> KEYS & 0xf)
    }

    /// Where the bytes after the keys begin.
    fn after_keys(&self) -> usize {
        let four = self.width(0).bytes() + self.width(DURATIONS).bytes() + self.keys_width().bytes();
        usize::from(self.at) + 2 * four
    }

    /// Puts the times and keys into `out`; `bytes` are the segment's.
    #[inline]
    pub(super) fn unpack(&self, bytes: &[u8], times: &mut Times) {
        let at = usize::from(self.at);
        let (width, durations_width, keys_width) = (self.width(0), self.width(DURATIONS), self.keys_width());
        times.len = FAN_OUT;
        for (start, offset) in times.starts.iter_mut().zip(eight(bytes, at, width)) {
            *start = self.start + offset.cast_signed();
        }
        let at = at + 2 * width.bytes();
        if self.shape & CONTIGUOUS != 0 {
            times.ends[..FAN_OUT - 1].copy_from_slice(&times.starts[1..]);
            times.ends[FAN_OUT - 1] = self.end();
        } else {
            let durations = eight(bytes, at, durations_width);
            for ((end, start), duration) in times.ends.iter_mut().zip(times.starts).zip(durations) {
                *end = start + duration.cast_signed();
            }
        }
        let at = at + 2 * durations_width.bytes();
        times.keys = [self.key; FAN_OUT];
        if keys_width.bytes() > 0 {
            times.keys.iter_mut().zip(eight(bytes, at, keys_width)).for_each(|(key, packed)| *key = low_bits(packed));
        }
        times.uncertain = if self.shape & UNCERTAIN == 0 { 0 } else { word(bytes, self.after_keys()).to_le_bytes()[0] };
    }

    /// The extras; `bytes` are the segment's.
    pub(super) fn extras(&self, bytes: &[u8]) -> [u32; FAN_OUT] {
        let at = self.after_keys() + usize::from(self.shape & UNCERTAIN != 0);
        let width = self.width(EXTRAS);
        let narrow = |number: u64| u32::try_from(number).unwrap_or(NONE);
        if self.shape & SPARSE == 0 {
            let mut extras = [NONE; FAN_OUT];
            extras.iter_mut().zip(eight(bytes, at, width)).for_each(|(e, number)| *e = from_small(narrow(number)));
            return extras;
        }
        let head = word(bytes, at);
        let (which, least) = (head.to_le_bytes()[0], narrow(head >> 8 & u64::from(u32::MAX)));
        let mut distances = eight(bytes, at + 5, width).into_iter();
        let mut extras = [NONE; FAN_OUT];
        for (i, extra) in extras.iter_mut().enumerate() {
            if which >> i & 1 == 1 {
                *extra = least.wrapping_add(narrow(distances.next().unwrap_or(0)));
            }
        }
        extras
    }
}

/// Times and keys of a group or of the tail, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) starts: [Nanos; FAN_OUT],
    pub(crate) ends: [Nanos; FAN_OUT],
    pub(crate) keys: [u16; FAN_OUT],
    /// A bit for each.
    pub(crate) uncertain: u8,
    pub(crate) len: usize,
}

fn pack_extras(extras: &[u32; FAN_OUT], out: &mut Writer) -> u32 {
    if extras.iter().fold(NONE, |all, extra| all & extra) == NONE {
        return 0;
    }
    let (mut all, mut which, mut least, mut most) = (0, 0u8, NONE, 0);
    for (i, &extra) in extras.iter().enumerate() {
        all |= small(extra);
        which |= u8::from(extra != NONE) << i;
        least = least.min(extra);
        most = if extra == NONE { most } else { most.max(extra) };
    }
    let (plain, sparse) = (Width::of(all.into()), Width::of((most - least).into()));
    let present = which.count_ones();
    if 2 * plain.bytes() <= 5 + sparse.bytes() * if present > 4 { 2 } else { 1 } {
        let mut numbers = [0; FAN_OUT];
        numbers.iter_mut().zip(extras).for_each(|(number, &extra)| *number = small(extra).into());
        column(out, plain, &numbers);
        return plain.code() << EXTRAS;
    }
    let mut distances = [0; FAN_OUT];
    let mut next = distances.iter_mut();
    for &extra in extras {
        if extra != NONE
            && let Some(distance) = next.next()
        {
            *distance = u64::from(extra - least);
        }
    }
    out.word(u64::from(which) | u64::from(least) << 8, 5);
    let [a, b, c, d, e, f, g, h] = distances;
    out.four(sparse, [a, b, c, d]);
    if present > 4 {
        out.four(sparse, [e, f, g, h]);
    }
    sparse.code() << EXTRAS | SPARSE
}

/// `u32::MAX` and the two below it, which stand for "none" and the like, as 0 to 2; all else moved up by 3.
#[inline]
pub(crate) const fn small(extra: u32) -> u32 {
    if !extra < 3 { !extra } else { extra + 3 }
}

#[inline]
pub(crate) const fn from_small(number: u32) -> u32 {
    if number < 3 { !number } else { number - 3 }
}

#[inline]
fn column(out: &mut Writer, width: Width, numbers: &[u64; FAN_OUT]) {
    if width.bytes() > 0 {
        let [a, b, c, d, e, f, g, h] = *numbers;
        out.four(width, [a, b, c, d]);
        out.four(width, [e, f, g, h]);
    }
}

#[inline]
fn eight(bytes: &[u8], at: usize, width: Width) -> [u64; FAN_OUT] {
    let [a, b, c, d] = four(bytes, at, width);
    let [e, f, g, h] = four(bytes, at + width.bytes(), width);
    [a, b, c, d, e, f, g, h]
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "26 bits")]
const fn low_word(nanos: u64) -> u32 {
    nanos as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a key has 15 bits")]
const fn low_bits(key: u64) -> u16 {
    key as u16
}

/// The upper half of a duration as an `f32`: less by at most 1 part in 128.
fn upper_half(nanos: u64) -> u16 {
    u16::try_from((nanos as f32).to_bits() >> 16).unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 65,535; a cast saturates")]
fn share(busy: u64, extent: u64) -> u16 {
    if extent == 0 { 0 } else { (busy as f32 / extent as f32 * 65_535.0 + 0.5) as u16 }
}

/// Bytes that a group takes at most: a segment's stay below 64 KiB.
const _: () = assert!((64 + 64 + 16 + 1 + 5 + 32 + PAD) * super::SEGMENT < 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn what_is_packed_comes_back_whatever_its_widths() {
        let mut random = Random::new(77);
        for round in 0..20_000u64 {
            let bits = |random: &mut Random, most: u64| {
                let bits = random.below(most + 1);
                random.next_u64() & (1u64 << bits).wrapping_sub(1)
            };
            let (time_bits, key_bits, extra_bits) = (random.below(50), random.below(16), random.below(33));
            let mut tail = Tail { len: 8, ..Tail::EMPTY };
            let mut time = bits(&mut random, 55).cast_signed();
            for i in 0..FAN_OUT {
                time += if round % 3 == 0 { 0 } else { bits(&mut random, time_bits).cast_signed() };
                tail.starts[i] = time;
                time += bits(&mut random, time_bits).cast_signed();
                tail.ends[i] = time;
                tail.keys[i] = u16::try_from(bits(&mut random, key_bits) & 0x7fff).unwrap();
                let extra = u32::try_from(bits(&mut random, extra_bits)).unwrap();
                tail.extras[i] =
                    if random.below(3) < round % 4 { NONE - u32::try_from(round % 3).unwrap() } else { extra };
            }
            tail.uncertain = if round % 5 == 0 { random.next_u64().to_le_bytes()[0] } else { 0 };
            let mut out = Writer::new();
            let leaf = Leaf::pack(&tail, u16::MAX, 0, &mut out);
            let mut times = Times::EMPTY;
            leaf.unpack(out.padded(), &mut times);
            assert_eq!((times.starts, times.ends, times.keys), (tail.starts, tail.ends, tail.keys), "{round}");
            assert_eq!((times.uncertain, leaf.extras(out.padded())), (tail.uncertain, tail.extras), "{round}");
            let late = leaf.end() - tail.ends[7];
            assert!(late >= 0 && late <= (tail.ends[7] - tail.starts[0]) >> 25, "{late}");
            let busy: i64 = tail.ends.iter().zip(tail.starts).map(|(end, start)| end - start).sum();
            let extent = (tail.ends[7] - tail.starts[0]) as f64;
            assert!((f64::from(leaf.node().busy) - busy as f64).abs() <= extent / 65_000.0);
        }
    }
}
