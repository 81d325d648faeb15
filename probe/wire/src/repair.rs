//! Turning a packet copied from live memory into a well-formed one.
//!
//! A writer may have been interrupted, or have died, between reserve and commit. What it left is one of three things, and
//! because a packet's body is zeroed before it opens they cannot be mistaken for one another:
//! - a run of **zero words**: reserved, not even the header written;
//! - a **busy header**, whose `arg` is the payload's length: some of the payload may be missing;
//! - a **committed header**: everything is there.
//!
//! Each hole becomes one event of callsite [`UNFINISHED`] of the same length, so that an event count over the result is
//! exact and no unfinished record is ever taken for a whole one.

use crate::event::{
    ARG_LIMIT, CLOCK, EXTENDED, EventId, Header, MAX_INLINE_WORDS, MAX_PAYLOAD_WORDS, UNFINISHED, extend_ticks,
    payload_words,
};
use crate::{put_u64, u64_at};

/// What a walk over raw content found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Committed events.
    pub events: u64,
    /// Unfinished records among them, not counted in `events`.
    pub unfinished: u64,
    /// Length of the content up to where the walk ended.
    pub bytes: usize,
    /// The full clock at the last event.
    pub ticks: u64,
    /// Why the walk ended.
    pub end: End,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the content's end.
    Whole,
    /// At an unfinished record, which [`committed_prefix`] does not pass.
    Unfinished,
    /// At bytes that are no event: the rest of the packet is to be refused.
    Malformed,
}

/// The events at the start of `content` up to the first that is not committed. Changes nothing.
///
/// `ticks` is the full clock of the event before the first, or of the packet's begin; ids must be below `callsites`.
#[must_use]
pub fn committed_prefix(content: &[u8], ticks: u64, callsites: u16) -> Walk {
    let mut walk = Walk { events: 0, unfinished: 0, bytes: 0, ticks, end: End::Whole };
    while let Some(rest) = content.get(walk.bytes..).filter(|rest| rest.len() >= 8) {
        let word = u64_at(rest, 0);
        let header = Header::unpack(word);
        if word == 0 || header.busy {
            walk.end = End::Unfinished;
            break;
        }
        let Some(words) = plausible(header, rest, callsites) else {
            walk.end = End::Malformed;
            break;
        };
        walk.step(header, rest, words);
    }
    walk
}

/// Walks over the whole of a sealed packet's `content` and turns each hole into an [`UNFINISHED`] event.
///
/// Where bytes are no event the walk ends: what lies before `bytes` is good, the caller cuts off the rest and counts it
/// as refused.
#[must_use]
pub fn repair(content: &mut [u8], ticks: u64, callsites: u16) -> Walk {
    fill_holes(content, ticks, callsites, false)
}

/// As [`repair`], for a packet that its writer never sealed and will not touch again: `content` is all that may lie after
/// the header, and the zero words at its end are free space and no hole. The walk ends [`End::Whole`] before them.
#[must_use]
pub fn repair_open(content: &mut [u8], ticks: u64, callsites: u16) -> Walk {
    fill_holes(content, ticks, callsites, true)
}

fn fill_holes(content: &mut [u8], ticks: u64, callsites: u16, free_at_end: bool) -> Walk {
    let mut walk = Walk { events: 0, unfinished: 0, bytes: 0, ticks, end: End::Whole };
    loop {
        let prefix = content.get(walk.bytes..).map_or(walk, |rest| committed_prefix(rest, walk.ticks, callsites));
        walk.events += prefix.events;
        walk.bytes += prefix.bytes;
        walk.ticks = prefix.ticks;
        walk.end = prefix.end;
        if prefix.end != End::Unfinished {
            return walk;
        }
        let Some(hole) = content.get_mut(walk.bytes..) else { return walk };
        let Some(words) = hole_words(hole) else {
            walk.end = End::Malformed;
            return walk;
        };
        if free_at_end && words * 8 == hole.len() && u64_at(hole, 0) == 0 {
            walk.end = End::Whole;
            return walk;
        }
        // A hole longer than one event can be becomes several.
        let mut left = words;
        let mut at = 0;
        while left > 0 {
            let take = left.min(MAX_PAYLOAD_WORDS);
            let Some(record) = hole.get_mut(at..at + take * 8) else { return walk };
            mark_unfinished(record, walk.ticks);
            walk.unfinished += 1;
            at += take * 8;
            left -= take;
        }
        walk.bytes += words * 8;
    }
}

impl Walk {
    fn step(&mut self, header: Header, rest: &[u8], words: usize) {
        let ticks = extend_ticks(self.ticks, header.ticks_low);
        self.ticks = if header.id.callsite() == CLOCK && words >= 1 { u64_at(rest, 8).max(ticks) } else { ticks };
        self.events += 1;
        self.bytes += 8 + words * 8;
    }
}

/// The payload's length if this can be an event of a guest with callsites below `callsites`.
fn plausible(header: Header, rest: &[u8], callsites: u16) -> Option<usize> {
    if header.id.callsite() >= callsites {
        return None;
    }
    payload_words(header, rest).ok()
}

/// The length in words of the unfinished record at the start of `hole`, header included.
fn hole_words(hole: &[u8]) -> Option<usize> {
    let header = Header::unpack(u64_at(hole, 0));
    if header.busy {
        let words = 1 + usize::from(header.arg);
        return (words <= MAX_PAYLOAD_WORDS + 1 && words * 8 <= hole.len()).then_some(words);
    }
    // Untouched memory: everything up to the next word that is not zero belongs to records that were never begun.
    Some(hole.as_chunks::<8>().0.iter().take_while(|word| word.iter().all(|&byte| byte == 0)).count().max(1))
}

/// Makes `record` (whole words) one event of callsite [`UNFINISHED`], stamped with the time of the event before it.
///
/// The first payload word, where there is one, holds the event id that the writer meant to commit (0 if it had not
/// begun); the further words are what it had written.
fn mark_unfinished(record: &mut [u8], ticks: u64) {
    let words = record.len() / 8 - 1;
    let meant = Header::unpack(u64_at(record, 0)).id.0;
    let (code, skip) = if words <= MAX_INLINE_WORDS {
        (u8::try_from(words).unwrap_or(EXTENDED), 0)
    } else {
        // CTF cannot subtract: the high half says how many words follow this one.
        put_u64(record, 8, words as u64 | (words as u64 - 1) << 32);
        (EXTENDED, 8)
    };
    if words > 0 {
        put_u64(record, 8 + skip, u64::from(meant));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a stamp is the low half of the clock")]
    let header = Header {
        ticks_low: ticks as u32,
        id: EventId::begin(UNFINISHED),
        busy: false,
        words: code,
        arg: meant & (ARG_LIMIT - 1),
    };
    put_u64(record, 0, header.pack());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;
    use std::vec::Vec;

    fn committed(ticks_low: u32, callsite: u16, words: u8) -> Vec<u8> {
        let mut bytes = Header { ticks_low, id: EventId::begin(callsite), busy: false, words, arg: 0 }
            .pack()
            .to_le_bytes()
            .to_vec();
        for i in 0..words {
            bytes.extend((u64::from(i) + 1).to_le_bytes());
        }
        bytes
    }

    fn busy(callsite: u16, words: u16, written: u16) -> Vec<u8> {
        let mut bytes = Header { ticks_low: 5, id: EventId::begin(callsite), busy: true, words: 0, arg: words }
            .pack()
            .to_le_bytes()
            .to_vec();
        for i in 0..words {
            bytes.extend(u64::from(i < written).to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_committed_prefix_ends_before_a_busy_record() {
        let mut content = committed(1, 9, 0);
        content.extend(committed(2, 9, 3));
        let whole = content.len();
        content.extend(busy(9, 2, 1));
        let walk = committed_prefix(&content, 0, 100);
        assert_eq!(walk, Walk { events: 2, unfinished: 0, bytes: whole, ticks: 2, end: End::Unfinished });
    }

    #[test]
    fn each_hole_becomes_one_unfinished_event_and_what_follows_is_kept() {
        let mut content = committed(1, 9, 0);
        content.extend(busy(10, 8, 3));
        content.extend([0; 24]); // reserved, never begun
        content.extend(committed(7, 11, 1));
        let walk = repair(&mut content, 0, 100);
        assert_eq!(walk, Walk { events: 2, unfinished: 2, bytes: content.len(), ticks: 7, end: End::Whole });
        let ids: Vec<_> = Events::new(&content, 0).map(|event| event.unwrap().id.callsite()).collect();
        assert_eq!(ids, [9, UNFINISHED, UNFINISHED, 11]);
    }

    #[test]
    fn the_free_space_after_the_last_record_of_an_open_packet_is_no_hole() {
        let mut content = committed(1, 9, 0);
        content.extend([0; 16]); // reserved, never begun
        content.extend(committed(7, 11, 1));
        content.extend(busy(10, 2, 0));
        let used = content.len();
        content.extend([0; 64]);
        let walk = repair_open(&mut content, 0, 100);
        assert_eq!(walk, Walk { events: 2, unfinished: 2, bytes: used, ticks: 7, end: End::Whole });
    }

    #[test]
    fn an_id_that_no_callsite_has_ends_the_walk() {
        let mut content = committed(1, 9, 0);
        content.extend(committed(2, 100, 0));
        let walk = repair(&mut content, 0, 100);
        assert_eq!((walk.events, walk.bytes, walk.end), (1, 8, End::Malformed));
    }

    #[test]
    fn a_busy_record_longer_than_the_packet_ends_the_walk() {
        let mut content = busy(9, 2, 0);
        content.truncate(16);
        assert_eq!(repair(&mut content, 0, 100).end, End::Malformed);
    }

    #[test]
    fn repaired_noise_always_decodes_to_its_own_count() {
        // A small xorshift stands in for a guest that writes anything.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut content = [0u8; 256];
            for chunk in content.chunks_exact_mut(8) {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let word = if seed.is_multiple_of(5) { 0 } else { seed & 0x0001_f87f_ffff_ffff };
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            let walk = repair(&mut content, 0, 4096);
            let mut count = 0;
            for event in Events::new(&content[..walk.bytes], 0) {
                assert!(event.is_ok());
                count += 1;
            }
            assert_eq!(count, walk.events + walk.unfinished);
        }
    }
}
