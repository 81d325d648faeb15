//! The fields of events that have some: an interval keeps four bytes, which are the fields themselves or say where they are.
//!
//! Most events have a small number or two, which 30 bits hold. All others lie in an arena: numbers in as many bytes as they need;
//! text, signed numbers and doubles as they came. Plain events keep nothing.
//!
//! ```text
//! an interval's four bytes, the lowest bits first
//!   0 0 │ place in the arena, in words of four bytes
//!   1 0 │ narrow value
//!   0 1 │ number
//!   1 1 │ narrow value: 15 bits │ number: 15 bits
//!
//! in the arena
//!   head │ narrow value: 0 to 2 bytes │ number of words, where that is 7 or more │ words
//!   each word in seven-bit bytes, the lowest first, or in 8
//! ```
//!
//! When the arena is full, which its limit says, the oldest fields are forgotten for the newest. After 4 GiB in all further
//! events lose what would lie there, not their times, and are counted.

use std::hint::select_unpredictable;

use fata_wire::put_u64;

use crate::columns::low_word;

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

/// Bits of an interval's four bytes that say what the others are.
const TAG_BITS: u32 = 2;
/// They are a place in the arena.
const PLACE: u32 = 0;
/// They are a narrow value.
const NARROW: u32 = 1;
/// They are a number.
const NUMBER: u32 = 2;
/// They are a narrow value and a number.
const BOTH: u32 = 3;
/// The largest of four bytes says that there are no fields, so the largest number does not count as small.
const NUMBERS: u64 = (1 << (u32::BITS - TAG_BITS)) - 1;
/// A narrow value has so many bits, in the header of an event too, and a number beside it.
const NARROW_BITS: u32 = 15;
const NUMBERS_BESIDE: u64 = (1 << NARROW_BITS) - 1;
/// What lies in the arena begins at a multiple of this.
const ALIGN: usize = 4;

/// How a callsite's fields are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Packing {
    /// There are none.
    #[default]
    Nothing,
    /// A word alone, which is a number.
    Number,
    /// Each word in as many bytes as it needs.
    Numbers,
    /// Each word as its eight bytes.
    Raw,
}

impl Packing {
    /// What an interval keeps of an event whose payload ends with `word`, where the arena is not asked: of no fields, or of a number
    /// alone. Which of them comes next nobody can guess, so that no branch depends on it.
    #[inline(always)]
    pub(crate) fn keep_simple(self, word: u64) -> Option<u32> {
        let is_number = self == Packing::Number;
        let is_simple = self as u8 <= Packing::Number as u8 && select_unpredictable(is_number, word, 0) < NUMBERS;
        is_simple.then(|| select_unpredictable(is_number, small_number(word), NO_ARGS))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    /// The segment that is filled, as long as all are; empty before the first.
    filling: Box<[u8]>,
    /// Bytes of it that are in use.
    used: usize,
    /// Where it begins.
    base: u32,
    /// Full ones.
    segments: Vec<Box<[u8]>>,
    /// Segments whose fields were forgotten.
    pub(crate) forgotten: usize,
    max_segments: usize,
    /// Events whose fields found no room.
    pub(crate) refused: u64,
}

/// A number below [`NUMBERS`], without a narrow value.
#[inline(always)]
const fn small_number(number: u64) -> u32 {
    low_word(number << TAG_BITS) | NUMBER
}

impl Args {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Args {
            filling: Box::default(),
            used: 0,
            base: 0,
            segments: Vec::new(),
            forgotten: 0,
            max_segments: (max_bytes / SEGMENT_BYTES).clamp(1, MAX_SEGMENTS),
            refused: 0,
        }
    }

    /// Keeps an event's fields and returns what their interval is to keep of them, or [`NO_ARGS`].
    #[inline(always)]
    pub(crate) fn keep(&mut self, packing: Packing, arg: u16, payload: &[[u8; 8]]) -> u32 {
        let narrow = u32::from(arg) << TAG_BITS;
        match (packing, payload) {
            (Packing::Nothing, _) => return NO_ARGS,
            (Packing::Number, &[number]) => {
                let kept = packing.keep_simple(u64::from_le_bytes(number));
                return kept.unwrap_or_else(|| self.keep_any(packing, 0, payload));
            }
            (Packing::Numbers, []) => return narrow | NARROW,
            (Packing::Numbers, &[number]) => {
                let number = u64::from_le_bytes(number);
                if number < NUMBERS_BESIDE {
                    return low_word(number << (NARROW_BITS + TAG_BITS)) | narrow | BOTH;
                }
            }
            _ => {}
        }
        self.keep_any(packing, arg, payload)
    }

    #[inline(never)]
    fn keep_any(&mut self, packing: Packing, arg: u16, payload: &[[u8; 8]]) -> u32 {
        let words = payload.len();
        // The head, the narrow value, the number of words, and no word takes more than ten.
        if self.used + 6 + words * 10 > self.filling.len() && !self.next_segment() {
            self.refused += 1;
            return NO_ARGS;
        }
        let at = (self.base as usize + self.used) / ALIGN;
        let Some(mut place) = self.filling.get_mut(self.used..) else { return NO_ARGS };
        let before = place.len();
        let raw = packing == Packing::Raw;
        let arg_bytes = arg_bytes(arg);
        let head = words.min(MANY) | if raw { RAW } else { 0 } | arg_bytes << ARG;
        put(&mut place, &head.to_le_bytes()[..1]);
        put(&mut place, arg.to_le_bytes().get(..arg_bytes).unwrap_or(&[]));
        if words >= MANY {
            put_number(&mut place, words as u64);
        }
        if raw {
            put(&mut place, payload.as_flattened());
        } else {
            payload.iter().for_each(|word| put_number(&mut place, u64::from_le_bytes(*word)));
        }
        self.used = (self.used + before - place.len()).next_multiple_of(ALIGN);
        u32::try_from(at << TAG_BITS).map_or(NO_ARGS, |place| place | PLACE)
    }

    /// Begins another segment, if there may be one more.
    fn next_segment(&mut self) -> bool {
        let begun = self.segments.len() + usize::from(!self.filling.is_empty());
        if begun >= MAX_SEGMENTS {
            return false;
        }
        if begun - self.forgotten >= self.max_segments {
            // Where there may be only one, that is the one that was filled.
            let oldest = self.segments.get_mut(self.forgotten).unwrap_or(&mut self.filling);
            *oldest = Box::default();
            self.forgotten += 1;
        }
        let full = std::mem::replace(&mut self.filling, vec![0; SEGMENT_BYTES].into());
        if begun > 0 {
            self.segments.push(full);
        }
        self.base = u32::try_from(begun * SEGMENT_BYTES).unwrap_or(0);
        self.used = 0;
        true
    }

    /// The bytes in the arena from where `kept` says on.
    fn arena(&self, kept: u32) -> Option<&[u8]> {
        let at = if kept & BOTH == PLACE { (kept >> TAG_BITS) as usize * ALIGN } else { return None };
        let segment = if at >= self.base as usize { &self.filling } else { self.segments.get(at / SEGMENT_BYTES)? };
        segment.get(at % SEGMENT_BYTES..)
    }

    /// What lies in the arena: whether as it came, the narrow value, the number of words, and the bytes from there on.
    fn find(&self, kept: u32) -> Option<(bool, u16, usize, &[u8])> {
        let (&head, rest) = self.arena(kept)?.split_first()?;
        let head = usize::from(head);
        let (arg, mut rest) = rest.split_at_checked(head >> ARG & 3)?;
        let arg = arg.iter().rev().fold(0, |arg, &byte| arg << 8 | u16::from(byte));
        let words = match head & MANY {
            MANY => usize::try_from(number(&mut rest)?).ok()?,
            words => words,
        };
        Some((head & RAW != 0, arg, words, rest))
    }

    /// The narrow value and the payload of which an interval has `kept` this.
    pub(crate) fn get(&self, kept: u32) -> Option<(u16, Vec<u8>)> {
        let (narrow, above) = (kept >> TAG_BITS & low_word(NUMBERS_BESIDE), kept >> (NARROW_BITS + TAG_BITS));
        let narrow = u16::try_from(narrow).unwrap_or(0);
        let payload = |number: u32| u64::from(number).to_le_bytes().to_vec();
        match kept & BOTH {
            _ if kept == NO_ARGS => return None,
            NARROW => return Some((narrow, Vec::new())),
            NUMBER => return Some((0, payload(kept >> TAG_BITS))),
            BOTH => return Some((narrow, payload(above))),
            _ => {}
        }
        let (raw, arg, words, mut rest) = self.find(kept)?;
        if raw {
            return Some((arg, rest.get(..words * 8)?.to_vec()));
        }
        let mut payload = vec![0; words * 8];
        for word in 0..words {
            put_u64(&mut payload, word * 8, number(&mut rest)?);
        }
        Some((arg, payload))
    }

    /// The same, where the payload was kept as it came.
    pub(crate) fn raw(&self, kept: u32) -> Option<(u16, &[u8])> {
        let (raw, arg, words, rest) = self.find(kept)?;
        Some((arg, rest.get(..words * 8).filter(|_| raw)?))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.segments.iter().chain([&self.filling]).map(|segment| segment.len()).sum()
    }
}

/// Puts bytes at the begin of `place`, which becomes what is left of it.
fn put(place: &mut &mut [u8], bytes: &[u8]) {
    if let Some((begin, rest)) = std::mem::take(place).split_at_mut_checked(bytes.len()) {
        begin.copy_from_slice(bytes);
        *place = rest;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_number(place: &mut &mut [u8], mut number: u64) {
    while number >= 0x80 {
        put(place, &[number as u8 | 0x80]);
        number >>= 7;
    }
    put(place, &[number as u8]);
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
            let (mut packing, mut arg) = (Packing::Numbers, u16::try_from(i % 0x8000).unwrap());
            if i % 3 == 0 {
                packing = Packing::Raw;
            } else if payload.len() == 8 && i % 4 == 1 {
                (packing, arg) = (Packing::Number, 0);
            }
            kept.push((args.keep(packing, arg, payload.as_chunks().0), arg, payload));
        }
        // The largest that stand in the interval, and those that do not.
        for number in [NUMBERS_BESIDE - 1, NUMBERS_BESIDE, NUMBERS - 1, NUMBERS, NUMBERS + 1] {
            for (packing, arg) in [(Packing::Number, 0), (Packing::Numbers, 0), (Packing::Numbers, 0x7fff)] {
                let payload = number.to_le_bytes().to_vec();
                kept.push((args.keep(packing, arg, payload.as_chunks().0), arg, payload));
            }
        }
        assert!(kept.iter().all(|(at, ..)| *at != NO_ARGS));
        for (at, arg, payload) in kept {
            assert_eq!(args.get(at), Some((arg, payload)));
        }
    }

    #[test]
    fn a_full_arena_forgets_the_oldest_fields_for_the_newest() {
        for segments in [1, 2] {
            let mut args = Args::new(segments * SEGMENT_BYTES);
            let places: Vec<_> = (0..1000).map(|i| args.keep(Packing::Raw, i, &[[7; 8]; 512])).collect();
            let kept: Vec<_> = places.iter().map(|&at| args.get(at)).collect();
            // A segment holds 255 of them, and the newest one holds those of the last 1000 beyond 3 of it.
            let first = kept.iter().position(Option::is_some).unwrap();
            assert_eq!(first, (4 - segments) * 255, "{segments}");
            for (i, kept) in (0..).zip(&kept).skip(first) {
                assert_eq!(kept.as_ref().map(|(arg, _)| *arg), Some(i));
            }
            assert_eq!(args.memory_bytes(), segments * SEGMENT_BYTES);
        }
    }
}
