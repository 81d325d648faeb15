//! The fields of events that have some, packed: an interval keeps four bytes that say where.
//!
//! A small number takes a byte or two; text, signed numbers and doubles are kept as they came. Plain events keep nothing.
//! When the arena is full, which its limit says, the oldest fields are forgotten for the newest. After 4 GiB in all further
//! events lose their fields, not their times, and are counted.

use fata_wire::{put_u64, u64_at};

/// An interval or instant without fields.
pub(crate) const NO_ARGS: u32 = u32::MAX;

const SEGMENT_BYTES: usize = 1 << 20;
const MAX_SEGMENTS: usize = 4095;

/// In the byte that an event's fields begin with: how many words they are, or that their number follows the narrow value.
const MANY: usize = 7;
/// In the same byte: the words are kept as they came.
const RAW: usize = 1 << 3;
/// In the same byte, from this bit on: how many bytes the narrow value takes.
const ARG: usize = 4;

/// How a callsite's fields are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Packing {
    /// There are none.
    #[default]
    Nothing,
    /// Each word as a number of seven-bit bytes, the lowest first.
    Numbers,
    /// Each word as its eight bytes.
    Raw,
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    segments: Vec<Vec<u8>>,
    /// Segments whose fields were forgotten.
    pub(crate) forgotten: usize,
    max_segments: usize,
    /// Events whose fields found no room.
    pub(crate) refused: u64,
}

impl Args {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Args {
            segments: Vec::new(),
            forgotten: 0,
            max_segments: (max_bytes / SEGMENT_BYTES).clamp(1, MAX_SEGMENTS),
            refused: 0,
        }
    }

    /// Keeps an event's fields and returns where, or [`NO_ARGS`].
    #[inline]
    pub(crate) fn keep(&mut self, packing: Packing, arg: u16, payload: &[u8]) -> u32 {
        if packing == Packing::Nothing {
            return NO_ARGS;
        }
        if packing == Packing::Numbers
            && payload.len() <= 8
            && let Some(at) = self.keep_small(arg, payload)
        {
            return at;
        }
        self.keep_any(packing, arg, payload)
    }

    #[inline(never)]
    fn keep_any(&mut self, packing: Packing, arg: u16, payload: &[u8]) -> u32 {
        let words = payload.len() / 8;
        // The head, the narrow value, the number of words, and no word takes more than ten.
        let room = 6 + words * 10;
        if self.segments.last().is_none_or(|segment| segment.len() + room > SEGMENT_BYTES) {
            if self.segments.len() >= MAX_SEGMENTS {
                self.refused += 1;
                return NO_ARGS;
            }
            if self.segments.len() - self.forgotten >= self.max_segments {
                if let Some(oldest) = self.segments.get_mut(self.forgotten) {
                    *oldest = Vec::new();
                }
                self.forgotten += 1;
            }
            self.segments.push(Vec::with_capacity(SEGMENT_BYTES));
        }
        let before = (self.segments.len() - 1) * SEGMENT_BYTES;
        let Some(segment) = self.segments.last_mut() else { return NO_ARGS };
        let at = before + segment.len();
        let raw = packing == Packing::Raw;
        let arg_bytes = arg_bytes(arg);
        let head = words.min(MANY) | if raw { RAW } else { 0 } | arg_bytes << ARG;
        segment.push(head.to_le_bytes()[0]);
        segment.extend(arg.to_le_bytes().into_iter().take(arg_bytes));
        if words >= MANY {
            put_number(segment, words as u64);
        }
        if raw {
            segment.extend_from_slice(payload);
        } else {
            (0..words).for_each(|word| put_number(segment, u64_at(payload, word * 8)));
        }
        u32::try_from(at).unwrap_or(NO_ARGS)
    }

    /// At most one number, below 2^28, where the last segment has room: seven bytes at most, put together in a register.
    #[inline(never)]
    fn keep_small(&mut self, arg: u16, payload: &[u8]) -> Option<u32> {
        let before = (self.segments.len().checked_sub(1)?) * SEGMENT_BYTES;
        let segment = self.segments.last_mut()?;
        let at = segment.len();
        let arg_bytes = arg_bytes(arg);
        let mut all = (arg_bytes as u64) << ARG | u64::from(arg) << 8;
        let mut bytes = 1 + arg_bytes;
        if let Some(number) = payload.first_chunk() {
            let number = u64::from_le_bytes(*number);
            if number >> 28 != 0 {
                return None;
            }
            let (number, number_bytes) = seven_bits(number);
            all |= 1 | number << (8 * bytes);
            bytes += number_bytes;
        }
        if at + 8 > segment.capacity() {
            return None;
        }
        segment.extend_from_slice(&all.to_le_bytes());
        segment.truncate(at + bytes);
        u32::try_from(before + at).ok()
    }

    /// What was kept at `at`: its head, the narrow value, the number of words, and the bytes from there on.
    fn find(&self, at: u32) -> Option<(bool, u16, usize, &[u8])> {
        let at = if at == NO_ARGS { return None } else { at as usize };
        let rest = self.segments.get(at / SEGMENT_BYTES)?.get(at % SEGMENT_BYTES..)?;
        let (&head, rest) = rest.split_first()?;
        let head = usize::from(head);
        let (arg, mut rest) = rest.split_at_checked(head >> ARG & 3)?;
        let arg = arg.iter().rev().fold(0, |arg, &byte| arg << 8 | u16::from(byte));
        let words = match head & MANY {
            MANY => usize::try_from(number(&mut rest)?).ok()?,
            words => words,
        };
        Some((head & RAW != 0, arg, words, rest))
    }

    /// The narrow value and the payload that were kept at `at`.
    pub(crate) fn get(&self, at: u32) -> Option<(u16, Vec<u8>)> {
        let (raw, arg, words, mut rest) = self.find(at)?;
        if raw {
            return Some((arg, rest.get(..words * 8)?.to_vec()));
        }
        let mut payload = vec![0; words * 8];
        for word in 0..words {
            put_u64(&mut payload, word * 8, number(&mut rest)?);
        }
        Some((arg, payload))
    }

    /// The narrow value and the payload at `at`, where the payload was kept as it came.
    pub(crate) fn raw(&self, at: u32) -> Option<(u16, &[u8])> {
        let (raw, arg, words, rest) = self.find(at)?;
        Some((arg, rest.get(..words * 8).filter(|_| raw)?))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.segments.iter().map(Vec::capacity).sum()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What [`put_number`] writes for a number below 2^28, as a word, and its length in bytes.
#[inline]
fn seven_bits(number: u64) -> (u64, usize) {
    let spread = number & 0x7f | (number & 0x3f80) << 1 | (number & 0x1f_c000) << 2 | (number & 0xfe0_0000) << 3;
    let bytes = 1 + usize::from(number >> 7 != 0) + usize::from(number >> 14 != 0) + usize::from(number >> 21 != 0);
    // All bytes but the last say that another one follows.
    let more = 0x80_8080 & ((1 << (8 * (bytes - 1))) - 1);
    (spread | more, bytes)
}

/// How many bytes a narrow value takes.
#[inline]
fn arg_bytes(arg: u16) -> usize {
    usize::from(arg > 0) + usize::from(arg > 0xff)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_were_kept() {
        let mut args = Args::new(usize::MAX);
        let mut kept = Vec::new();
        for i in 0..300_000u64 {
            let mut payload = Vec::new();
            let words = [i << (i % 30), u64::MAX - i, i << 33, 1, 0, i << 20, i, 9, 8];
            for word in words.iter().take(usize::try_from(i % 10).unwrap()) {
                payload.extend(word.to_le_bytes());
            }
            let packing = if i % 3 == 0 { Packing::Raw } else { Packing::Numbers };
            let arg = u16::try_from(i % 0x7fff).unwrap();
            kept.push((args.keep(packing, arg, &payload), arg, payload));
        }
        for (at, arg, payload) in kept {
            assert_eq!(args.get(at), Some((arg, payload)));
        }
    }

    #[test]
    fn a_full_arena_forgets_the_oldest_fields_for_the_newest() {
        let mut args = Args::new(2 * SEGMENT_BYTES);
        let places: Vec<_> = (0..1000).map(|i| args.keep(Packing::Raw, i, &[7; 4096])).collect();
        let kept: Vec<_> = places.iter().map(|&at| args.get(at).is_some()).collect();
        let first = kept.iter().position(|&kept| kept).unwrap();
        assert!(first > 400 && kept[first..].iter().all(|&kept| kept));
        assert_eq!(args.get(places[999]).map(|(arg, _)| arg), Some(999));
        assert!(args.memory_bytes() <= 4 * SEGMENT_BYTES, "a vector may have twice the room it needs");
    }
}
