//! Eight intervals as a [`Leaf`], 24 bytes, and packed bytes: about five for each interval.
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

/// An interval that is not packed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) start: Nanos,
    pub(super) end: Nanos,
    pub(super) extra: u32,
    pub(super) key: u16,
}

impl Slot {
    pub(super) const EMPTY: Slot = Slot { start: 0, end: 0, extra: 0, key: 0 };
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// When the first began.
    pub(crate) start: Nanos,
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
    pub(super) fn pack(slots: &[Slot; FAN_OUT], uncertain: u8, quiet: u16, bytes: &mut Vec<u8>) -> Leaf {
        let start = slots[0].start;
        let (mut gaps, mut durations) = ([0; FAN_OUT], [0; FAN_OUT]);
        let (mut all_gaps, mut all_durations, mut busy) = (0, 0, 0);
        let mut before = start;
        for ((gap, duration), slot) in gaps.iter_mut().zip(&mut durations).zip(slots) {
            *gap = (slot.start - before).cast_unsigned();
            *duration = (slot.end - slot.start).cast_unsigned();
            before = slot.end;
            all_gaps |= *gap;
            all_durations |= *duration;
            busy += *duration;
        }
        let (mut longest, mut key, mut counted) = (0, slots[0].key, 0);
        for (&duration, slot) in durations.iter().zip(slots) {
            let duration = if slot.key == quiet { 0 } else { duration };
            key = if duration > longest { slot.key } else { key };
            longest = longest.max(duration);
            counted += duration;
        }
        let (mut keys, mut all_keys) = ([0; FAN_OUT], 0);
        for (packed, slot) in keys.iter_mut().zip(slots) {
            *packed = u64::from(slot.key ^ key);
            all_keys |= *packed;
        }
        let extras = Extras::of(slots);
        let widths = [Width::of(all_gaps), Width::of(all_durations), Width::of(all_keys)];
        let [gaps_width, durations_width, keys_width] = widths;
        let extent = before.abs_diff(start);
        let mut shape = gaps_width.code() | durations_width.code() << DURATIONS | keys_width.code() << KEYS;
        shape |= extras.width.code() << EXTRAS | if extras.sparse { SPARSE } else { 0 };
        shape |= if uncertain == 0 { 0 } else { UNCERTAIN };
        let at = bytes.len().saturating_sub(PAD);
        let len =
            widths.iter().map(|width| width.bytes(FAN_OUT)).sum::<usize>() + extras.len + usize::from(uncertain != 0);
        bytes.truncate(at);
        if len <= ORDINARY_BYTES {
            // Of a length that is known: no call.
            bytes.extend_from_slice(&[0; ORDINARY_BYTES + PAD]);
        } else {
            bytes.resize(at + len + PAD, 0);
        }
        let out = bytes.get_mut(at..).unwrap_or(&mut []);
        let mut end = put(out, 0, gaps_width, &gaps, FAN_OUT);
        end = put(out, end, durations_width, &durations, FAN_OUT);
        end = put(out, end, keys_width, &keys, FAN_OUT);
        if uncertain != 0 {
            put_word(out, end, uncertain.into());
            end += 1;
        }
        if extras.len > 0 {
            extras.put(out, end);
        }
        bytes.truncate(at + len + PAD);
        Leaf {
            start,
            extent: Extent::of(extent),
            shape,
            at: u16::try_from(at).unwrap_or(0),
            key,
            longest: upper_half(longest),
            share: share(if quiet == u16::MAX { busy } else { counted }, extent),
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

    /// Where the bytes after the keys begin.
    fn after_keys(&self) -> usize {
        let columns = [0, DURATIONS, KEYS].map(|column| self.width(column).bytes(FAN_OUT));
        usize::from(self.at) + columns.iter().sum::<usize>()
    }

    /// Puts the times and keys into `out`; `bytes` are the segment's.
    #[inline]
    pub(super) fn unpack(&self, bytes: &[u8], times: &mut Times) {
        let (width, durations_width, keys_width) = (self.width(0), self.width(DURATIONS), self.width(KEYS));
        times.len = FAN_OUT;
        let at = usize::from(self.at);
        let gaps = eight(bytes, at, width);
        let at = at + width.bytes(FAN_OUT);
        let durations = eight(bytes, at, durations_width);
        let mut now = self.start;
        for i in 0..FAN_OUT {
            let start = now + gaps[i].cast_signed();
            now = start + durations[i].cast_signed();
            (times.starts[i], times.ends[i]) = (start, now);
        }
        let at = at + durations_width.bytes(FAN_OUT);
        times.keys = [self.key; FAN_OUT];
        if keys_width.code() > 0 {
            times.keys.iter_mut().zip(eight(bytes, at, keys_width)).for_each(|(key, packed)| *key ^= low_bits(packed));
        }
        times.uncertain = if self.shape & UNCERTAIN == 0 { 0 } else { word(bytes, self.after_keys()).to_le_bytes()[0] };
    }

    /// The extras; `bytes` are the segment's.
    pub(super) fn extras(&self, bytes: &[u8]) -> [u32; FAN_OUT] {
        let width = self.width(EXTRAS);
        let sparse = self.shape & SPARSE != 0;
        if width.code() == 0 && !sparse {
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
    #[inline]
    fn of(slots: &[Slot; FAN_OUT]) -> Self {
        let nothing =
            Extras { sparse: false, which: 0, least: 0, numbers: [0; FAN_OUT], width: Width::of(0), count: 0, len: 0 };
        if slots.iter().fold(NONE, |all, slot| all & slot.extra) == NONE {
            return nothing;
        }
        let (mut which, mut least, mut most, mut all) = (0, NONE, 0, 0);
        for (i, &Slot { extra, .. }) in slots.iter().enumerate() {
            which |= u8::from(extra != NONE) << i;
            least = least.min(extra);
            most = if extra == NONE { most } else { most.max(extra) };
            all |= small(extra);
        }
        let present = which.count_ones() as usize;
        let (plain, sparse) = (Width::of(all.into()), Width::of((most - least).into()));
        let len = SPARSE_BYTES + sparse.bytes(present);
        let mut numbers = [0; FAN_OUT];
        // A width of nothing says that there are none.
        if plain.bytes(FAN_OUT) <= len && plain.code() > 0 {
            numbers.iter_mut().zip(slots).for_each(|(number, slot)| *number = small(slot.extra).into());
            return Extras { numbers, width: plain, count: FAN_OUT, len: plain.bytes(FAN_OUT), ..nothing };
        }
        let mut count = 0;
        for &Slot { extra, .. } in slots {
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
const _: () = assert!((64 + 64 + 16 + 1 + SPARSE_BYTES + 32 + PAD) * super::SEGMENT < 1 << 16);

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
            let mut slots = [Slot::EMPTY; FAN_OUT];
            let mut time = bits(&mut random, 55).cast_signed();
            for slot in &mut slots {
                time += if round % 3 == 0 { 0 } else { bits(&mut random, time_bits).cast_signed() };
                slot.start = time;
                time += bits(&mut random, time_bits).cast_signed();
                slot.end = time;
                slot.key = u16::try_from(bits(&mut random, key_bits) & 0x7fff).unwrap();
                let extra = u32::try_from(bits(&mut random, extra_bits)).unwrap();
                slot.extra = if random.below(3) < round % 4 { NONE - u32::try_from(round % 3).unwrap() } else { extra };
            }
            let uncertain = if round % 5 == 0 { random.next_u64().to_le_bytes()[0] } else { 0 };
            if round % 50 == 0 {
                bytes.clear();
            }
            let leaf = Leaf::pack(&slots, uncertain, u16::MAX, &mut bytes);
            let mut times = Times::EMPTY;
            leaf.unpack(&bytes, &mut times);
            assert_eq!((times.starts, times.ends), (slots.map(|s| s.start), slots.map(|s| s.end)), "{round}");
            assert_eq!((times.keys, times.uncertain), (slots.map(|s| s.key), uncertain), "{round}");
            assert_eq!(leaf.extras(&bytes), slots.map(|s| s.extra), "{round}");
            let (first, last) = (slots[0].start, slots[7].end);
            let late = leaf.end() - last;
            assert!(late >= 0 && late <= (last - first) >> 25, "{late}");
            let busy: i64 = slots.iter().map(|slot| slot.end - slot.start).sum();
            assert!((f64::from(leaf.node().busy) - busy as f64).abs() <= (last - first) as f64 / 65_000.0);
        }
    }
}
