//! Eight intervals as a [`Leaf`], 20 bytes, and packed bytes: about five for each interval.
//!
//! A leaf is what the lowest level of the pyramid says of them, and how their bytes are to be read. Each column has the
//! width that its largest value needs in this group, so one that says nothing takes no room:
//!
//! | column | as | no room where |
//! |---|---|---|
//! | gaps | nanoseconds from the end of the one before | each begins where the one before ends |
//! | durations | nanoseconds | all are instants |
//! | keys | what differs from the longest's | all are the same |
//! | uncertain | a bit each | none is |
//! | extras | small numbers (`u32::MAX` and its neighbours count as small); or which have one, and the distance from the least | all are `u32::MAX` |

use super::bits::{Eight, PAD, Width, eight, put, put_word, word};
use super::{FAN_OUT, Node};
use crate::time::Nanos;

/// Intervals that are not packed yet.
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

    /// The longest interval, the first of those, and its key, where those with the key `quiet` count as nothing; and the sum
    /// of what counts.
    #[inline]
    fn longest(&self, durations: &Eight, all_durations: u64, quiet: u16) -> (u64, u16, u64) {
        let counted = if quiet == u16::MAX {
            *durations
        } else {
            std::array::from_fn(|i| if self.keys[i] == quiet { 0 } else { durations[i] })
        };
        let busy = counted.iter().sum();
        if all_durations < 1 << 28 {
            // The place in the low bits, so that the greatest number says it too.
            let ranks: [i32; FAN_OUT] = std::array::from_fn(|i| (low_int(counted[i]) << 3) + 7 - RANKS[i]);
            let rank = ranks.iter().fold(0, |most, &rank| most.max(rank));
            let at = usize::from(7 - (rank.to_le_bytes()[0] & 7));
            return (u64::from((rank >> 3).unsigned_abs()), self.keys[at], busy);
        }
        let (mut longest, mut key) = (0, self.keys[0]);
        for (&duration, &candidate) in counted.iter().zip(&self.keys) {
            key = if duration > longest { candidate } else { key };
            longest = longest.max(duration);
        }
        (longest, key, busy)
    }
}

const RANKS: [i32; FAN_OUT] = [0, 1, 2, 3, 4, 5, 6, 7];

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// When the first began, for their [`Segment`](super::segment::Segment) to say.
    pub(super) start: u32,
    extent: Extent,
    /// The widths of gaps, durations, extras and keys, and the flags.
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
/// Keys have 15 bits, so four bits say their width.
const KEYS: u32 = 3 * Width::BITS;
const UNCERTAIN: u32 = 1 << 29;
/// Extras as which have one, the least of those, and distances from it.
const SPARSE: u32 = 1 << 30;
const NONE: u32 = u32::MAX;
/// Bytes of the bits that say which extras there are, and of the least.
const SPARSE_BYTES: usize = 5;
/// What a group mostly takes at most.
const ORDINARY_BYTES: usize = 80;

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
    /// A group's leaf; its bytes go to the end of its segment's, in place of their padding.
    /// Intervals with the key `quiet` count as nothing in the sums.
    #[inline]
    pub(super) fn pack(tail: &Tail, quiet: u16, bytes: &mut Vec<u8>) -> Leaf {
        let Tail { starts, ends, uncertain, .. } = tail;
        let (start, end) = (starts[0], ends[FAN_OUT - 1]);
        let mut before = [start; FAN_OUT];
        before[1..].copy_from_slice(&ends[..FAN_OUT - 1]);
        let gaps = std::array::from_fn(|i| (starts[i] - before[i]).cast_unsigned());
        let durations = std::array::from_fn(|i| (ends[i] - starts[i]).cast_unsigned());
        let all = |numbers: &Eight| numbers.iter().fold(0, |all, number| all | number);
        let all_durations = all(&durations);
        let (longest, key, busy) = tail.longest(&durations, all_durations, quiet);
        let keys = tail.keys.map(|other| u64::from(other ^ key));
        let extras = Extras::of(&tail.extras);
        let widths = [Width::of(all(&gaps)), Width::of(all_durations), Width::of(all(&keys))];
        let [gaps_width, durations_width, keys_width] = widths;
        let mut shape = gaps_width.bits() | durations_width.bits() << DURATIONS | keys_width.bits() << KEYS;
        shape |= extras.width.bits() << EXTRAS | if extras.sparse { SPARSE } else { 0 };
        shape |= if *uncertain == 0 { 0 } else { UNCERTAIN };
        let at = bytes.len().saturating_sub(PAD);
        let columns = widths.iter().map(|width| width.bytes(FAN_OUT)).sum::<usize>();
        let len = columns + usize::from(*uncertain != 0) + extras.len;
        bytes.truncate(at);
        if len <= ORDINARY_BYTES {
            // Of a length that is known: no call.
            bytes.extend_from_slice(&[0; ORDINARY_BYTES + PAD]);
        } else {
            bytes.resize(at + len + PAD, 0);
        }
        let out = bytes.get_mut(at..).unwrap_or(&mut []);
        let mut place = 0;
        for (width, numbers) in [(gaps_width, &gaps), (durations_width, &durations), (keys_width, &keys)] {
            place = put(out, place, width, numbers, FAN_OUT);
        }
        if *uncertain != 0 {
            put_word(out, place, (*uncertain).into());
            place += 1;
        }
        if extras.len > 0 {
            extras.put(out, place);
        }
        bytes.truncate(at + len + PAD);
        let extent = end.abs_diff(start);
        Leaf {
            start: 0,
            extent: Extent::of(extent),
            shape,
            at: u16::try_from(at).unwrap_or(0),
            key,
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

    #[inline]
    fn width(&self, column: u32) -> Width {
        Width::from_bits(self.shape >> column)
    }

    #[inline]
    fn keys_width(&self) -> Width {
        Width::from_bits(self.shape >> KEYS & 0xf)
    }

    /// Where the bytes after the keys begin.
    fn after_keys(&self) -> usize {
        let columns = [self.width(0), self.width(DURATIONS), self.keys_width()];
        usize::from(self.at) + columns.iter().map(|width| width.bytes(FAN_OUT)).sum::<usize>()
    }

    /// Puts the times and keys into `out`; `bytes` are the segment's.
    #[inline]
    pub(super) fn unpack(&self, start: Nanos, bytes: &[u8], times: &mut Times) {
        let (width, durations_width, keys_width) = (self.width(0), self.width(DURATIONS), self.keys_width());
        times.len = FAN_OUT;
        let at = usize::from(self.at);
        let gaps = eight(bytes, at, width);
        let at = at + width.bytes(FAN_OUT);
        let durations = eight(bytes, at, durations_width);
        let mut now = start;
        for i in 0..FAN_OUT {
            let start = now + gaps[i].cast_signed();
            now = start + durations[i].cast_signed();
            (times.starts[i], times.ends[i]) = (start, now);
        }
        let at = at + durations_width.bytes(FAN_OUT);
        times.keys = [self.key; FAN_OUT];
        if keys_width.bits() > 0 {
            times.keys.iter_mut().zip(eight(bytes, at, keys_width)).for_each(|(key, packed)| *key ^= low_bits(packed));
        }
        times.uncertain = if self.shape & UNCERTAIN == 0 { 0 } else { word(bytes, self.after_keys()).to_le_bytes()[0] };
    }

    /// The extras; `bytes` are the segment's.
    pub(super) fn extras(&self, bytes: &[u8]) -> [u32; FAN_OUT] {
        let width = self.width(EXTRAS);
        let sparse = self.shape & SPARSE != 0;
        if width.bits() == 0 && !sparse {
            return [NONE; FAN_OUT];
        }
        let at = self.after_keys() + usize::from(self.shape & UNCERTAIN != 0);
        let narrow = |number: u64| u32::try_from(number).unwrap_or(NONE);
        if !sparse {
            return eight(bytes, at, width).map(|number| from_small(narrow(number)));
        }
        let head = word(bytes, at);
        let (which, least) = (head.to_le_bytes()[0], narrow(head >> 8 & u64::from(u32::MAX)));
        let mut distances = eight(bytes, at + SPARSE_BYTES, width).into_iter();
        let mut extras = [NONE; FAN_OUT];
        for (i, extra) in extras.iter_mut().enumerate() {
            if which >> i & 1 == 1 {
                *extra = least.wrapping_add(narrow(distances.next().unwrap_or(0)));
            }
        }
        extras
    }
}

/// How a group's extras are packed.
struct Extras {
    sparse: bool,
    /// A bit for each that there is, where they are sparse.
    which: u8,
    least: u32,
    numbers: Eight,
    width: Width,
    /// How many numbers are kept.
    count: usize,
    /// Bytes of it all.
    len: usize,
}

impl Extras {
    const NOTHING: Extras =
        Extras { sparse: false, which: 0, least: 0, numbers: [0; FAN_OUT], width: Width::NOTHING, count: 0, len: 0 };

    #[inline]
    fn of(extras: &[u32; FAN_OUT]) -> Self {
        if extras.iter().fold(NONE, |all, extra| all & extra) == NONE { Self::NOTHING } else { Self::of_some(extras) }
    }

    #[inline(never)]
    fn of_some(extras: &[u32; FAN_OUT]) -> Self {
        let least = extras.iter().fold(NONE, |least, &extra| least.min(extra));
        // `NONE` counts as nothing, and so do all when it is the least.
        let most = extras.iter().fold(0, |most, &extra| most.max(extra.wrapping_add(1))).wrapping_sub(1);
        let all = extras.iter().fold(0, |all, &extra| all | small(extra));
        let (mut which, mut present) = (0, 0);
        for (i, &extra) in extras.iter().enumerate() {
            which |= u8::from(extra != NONE) << i;
            present += usize::from(extra != NONE);
        }
        let (plain, sparse) = (Width::of(all.into()), Width::of(most.wrapping_sub(least).into()));
        let len = SPARSE_BYTES + sparse.bytes(present);
        // A width of nothing says that there are none.
        if plain.bytes(FAN_OUT) <= len && plain.bits() > 0 {
            let numbers = extras.map(|extra| small(extra).into());
            return Extras { numbers, width: plain, count: FAN_OUT, len: plain.bytes(FAN_OUT), ..Self::NOTHING };
        }
        let (mut numbers, mut count) = ([0; FAN_OUT], 0);
        for &extra in extras {
            // Overwritten by the next one where there is none, and cleared where no next one comes.
            numbers[count % FAN_OUT] = if extra == NONE { 0 } else { u64::from(extra - least) };
            count += usize::from(extra != NONE);
        }
        Extras { sparse: true, which, least, numbers, width: sparse, count, len }
    }

    #[inline]
    fn put(&self, out: &mut [u8], at: usize) {
        let mut at = at;
        if self.sparse {
            put_word(out, at, u64::from(self.which) | u64::from(self.least) << 8);
            at += SPARSE_BYTES;
        }
        put(out, at, self.width, &self.numbers, self.count);
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
#[expect(clippy::cast_possible_truncation, reason = "26 bits")]
const fn low_word(nanos: u64) -> u32 {
    nanos as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "28 bits")]
const fn low_int(nanos: u64) -> i32 {
    nanos as i32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a key has 15 bits")]
const fn low_bits(key: u64) -> u16 {
    key as u16
}

/// The upper half of a duration as an `f32`: less by at most 1 part in 128.
#[inline]
fn upper_half(nanos: u64) -> u16 {
    u16::try_from((nanos as f32).to_bits() >> 16).unwrap_or(0)
}

#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 65,535; a cast saturates")]
fn share(busy: u64, extent: u64) -> u16 {
    if extent == 0 { 0 } else { (busy as f32 / extent as f32 * 65_535.0 + 0.5) as u16 }
}

/// Bytes that a group takes at most: a segment's stay below 64 KiB.
const _: () = assert!((64 + 64 + 16 + 1 + SPARSE_BYTES + 32 + PAD) * super::segment::SEGMENT < 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn what_is_packed_comes_back_whatever_its_widths() {
        let mut random = Random::new(77);
        let mut bytes = Vec::new();
        for round in 0..40_000u64 {
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
            if round % 50 == 0 {
                bytes.clear();
            }
            let leaf = Leaf::pack(&tail, u16::MAX, &mut bytes);
            let mut times = Times::EMPTY;
            leaf.unpack(tail.starts[0], &bytes, &mut times);
            assert_eq!((times.starts, times.ends), (tail.starts, tail.ends), "{round}");
            assert_eq!((times.keys, times.uncertain), (tail.keys, tail.uncertain), "{round}");
            assert_eq!(leaf.extras(&bytes), tail.extras, "{round}");
            let (first, last) = (tail.starts[0], tail.ends[7]);
            let late = first + leaf.extent() - last;
            assert!(late >= 0 && late <= (last - first) >> 25, "{late}");
            let busy: i64 = tail.ends.iter().zip(tail.starts).map(|(end, start)| end - start).sum();
            assert!((f64::from(leaf.node(first).busy) - busy as f64).abs() <= (last - first) as f64 / 65_000.0);
        }
    }
}
