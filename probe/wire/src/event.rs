//! One event: a header word, then its payload words.
//!
//! ```text
//!  bit  0        32         45     46      49        64
//!       ├────────┼──────────┼──────┼───────┼─────────┤
//!       │ ticks  │ event id │ busy │ words │ arg     │
//!       └────────┴──────────┴──────┴───────┴─────────┘
//! ```
//! `ticks` is the low half of the clock. The event id is the callsite's id, shifted left, with 1 in the low bit for the end
//! of a span. `words` is the payload's length, 0 to 6; 7 says that the low half of the first payload word is the length,
//! that word included. `arg` is the value of the event's first narrow field.
//!
//! While `busy` is set the writer has reserved the event but not finished it; `arg` then holds the payload's length.
//! A word of zero is memory that a writer reserved and has not touched: callsite 0 does not exist.
//!
//! To CTF, the 17 bits from the event id up to `words` are one event id: for a given callsite they never vary.

use crate::{u32_at, u64_at};

/// Payload lengths above this are written as a payload word of their own.
pub const MAX_INLINE_WORDS: usize = 6;
/// The value of `words` that says so.
pub const EXTENDED: u8 = 7;
/// The longest payload in words, the length word included; a longer text is cut by the probe.
pub const MAX_PAYLOAD_WORDS: usize = 512;
/// Callsite ids are below this.
pub const MAX_CALLSITES: u16 = 1 << 12;
/// `arg` is below this.
pub const ARG_LIMIT: u16 = 1 << 15;

/// The callsite of [`Kind::Unfinished`](crate::field::Kind::Unfinished) events, which only a receiver writes.
pub const UNFINISHED: u16 = 1;
/// The callsite of [`Kind::Clock`](crate::field::Kind::Clock) events.
pub const CLOCK: u16 = 2;
/// The callsite of [`Kind::Ledger`](crate::field::Kind::Ledger) events.
pub const LEDGER: u16 = 3;
/// Ids below this belong to the format; the guest's first callsite has this one.
pub const FIRST_CALLSITE: u16 = 8;

/// Which event of which callsite: `callsite << 1 | end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u16);

impl EventId {
    /// The only event of `callsite`, or its begin.
    #[must_use]
    pub const fn begin(callsite: u16) -> Self {
        EventId(callsite << 1)
    }

    /// The end of a span of `callsite`.
    #[must_use]
    pub const fn end(callsite: u16) -> Self {
        EventId(callsite << 1 | 1)
    }

    /// The callsite that made the event.
    #[must_use]
    pub const fn callsite(self) -> u16 {
        self.0 >> 1
    }

    /// Whether this is the end of a span.
    #[must_use]
    pub const fn is_end(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A header word taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The low 32 bits of the clock.
    pub ticks_low: u32,
    /// Callsite and phase.
    pub id: EventId,
    /// Reserved and not yet committed.
    pub busy: bool,
    /// The payload's length in words, or [`EXTENDED`].
    pub words: u8,
    /// The narrow value; the payload's length while `busy`.
    pub arg: u16,
}

impl Header {
    /// The header as its word.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.ticks_low as u64
            | ((self.id.0 & 0x1fff) as u64) << 32
            | (self.busy as u64) << 45
            | ((self.words & 7) as u64) << 46
            | ((self.arg & 0x7fff) as u64) << 49
    }

    /// The word taken apart; every word is some header.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each field is masked to its width")]
    #[inline]
    pub const fn unpack(word: u64) -> Self {
        Header {
            ticks_low: word as u32,
            id: EventId((word >> 32) as u16 & 0x1fff),
            busy: word >> 45 & 1 == 1,
            words: (word >> 46) as u8 & 7,
            arg: (word >> 49) as u16,
        }
    }

    /// The bits of a header word that say how long its event is, where it is whole and not extended: `busy`, then `words`.
    #[must_use]
    #[inline]
    pub const fn shape(word: u64) -> u8 {
        (word >> 45).to_le_bytes()[0] & 0xf
    }

    /// The [`shape`](Self::shape) of a finished event with so many words of payload, at most [`MAX_INLINE_WORDS`].
    #[must_use]
    pub const fn shape_of(words: u8) -> u8 {
        words << 1
    }

    /// The 17 bits that CTF takes for the event's id.
    #[must_use]
    pub const fn ctf_id(id: EventId, words: u8) -> u32 {
        id.0 as u32 | (words as u32) << 14
    }
}

/// One decoded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The full clock.
    pub ticks: u64,
    /// Callsite and phase.
    pub id: EventId,
    /// The narrow value.
    pub arg: u16,
    /// The payload: whole words, the length word of an extended payload included.
    pub payload: &'a [u8],
}

/// Why the events of a packet end before its content does. What came before it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventError {
    /// A word of zero, or a busy header: this packet has not been [repaired](crate::repair).
    Unfinished,
    /// The event says it is longer than what is left of the packet.
    Overrun,
}

impl core::error::Error for EventError {}

impl core::fmt::Display for EventError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            EventError::Unfinished => "an event was not finished when the packet was copied",
            EventError::Overrun => "an event is longer than its packet",
        })
    }
}

/// The payload's length in words of the event at the start of `bytes` (header word first), if it lies within `bytes`.
///
/// # Errors
/// [`EventError::Overrun`] where it does not; [`EventError::Unfinished`] for a busy header or a word of zero.
#[inline]
pub fn payload_words(header: Header, bytes: &[u8]) -> Result<usize, EventError> {
    if header.busy || header.id.callsite() == 0 {
        return Err(EventError::Unfinished);
    }
    let words = if header.words == EXTENDED {
        let words = u32_at(bytes, 8) as usize;
        if words == 0 || words > MAX_PAYLOAD_WORDS {
            return Err(EventError::Overrun);
        }
        words
    } else {
        usize::from(header.words)
    };
    if bytes.len() < 8 + words * 8 { Err(EventError::Overrun) } else { Ok(words) }
}

/// The events of a packet's content, in stream order.
///
/// `ticks` extends 32 bits to 64 by counting each step backwards as a wrap, as every CTF reader does; a
/// [`CLOCK`] event sets all 64 for the events after it.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
    ticks: u64,
}

impl<'a> Events<'a> {
    /// The events in `content` (from the first header word up to the content's end) of a packet that began at
    /// `ticks_begin`.
    #[must_use]
    pub const fn new(content: &'a [u8], ticks_begin: u64) -> Self {
        Events { rest: content, ticks: ticks_begin }
    }

    /// How many bytes have not been decoded.
    #[must_use]
    pub const fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    /// The full clock as it stands: what the next stamp is extended from.
    #[must_use]
    pub const fn ticks(&self) -> u64 {
        self.ticks
    }
}

/// The full clock of a stamp of 32 bits that was taken at or after `previous`, and less than 2^32 ticks after it. Beyond the
/// end of time it stands still: no stamp leads back.
#[must_use]
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub const fn extend_ticks(previous: u64, low: u32) -> u64 {
    previous.saturating_add(low.wrapping_sub(previous as u32) as u64)
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, EventError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < 8 {
            self.rest = &[];
            return None;
        }
        let header = Header::unpack(u64_at(self.rest, 0));
        let words = match payload_words(header, self.rest) {
            Ok(words) => words,
            Err(error) => {
                self.rest = &[];
                return Some(Err(error));
            }
        };
        let (event, rest) = self.rest.split_at_checked(8 + words * 8)?;
        let payload = event.get(8..)?;
        self.rest = rest;
        let ticks = extend_ticks(self.ticks, header.ticks_low);
        // A clock event sets the clock for what follows; its own stamp has 32 bits like any other. One that runs backwards
        // is a lie, and the stream's time stays monotonic.
        self.ticks = if header.id.callsite() == CLOCK { u64_at(payload, 0).max(ticks) } else { ticks };
        Some(Ok(Event { ticks, id: header.id, arg: header.arg, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn word(ticks_low: u32, callsite: u16, words: u8, arg: u16) -> [u8; 8] {
        Header { ticks_low, id: EventId::begin(callsite), busy: false, words, arg }.pack().to_le_bytes()
    }

    #[test]
    fn a_header_survives_its_word() {
        let header = Header { ticks_low: 0xdead_beef, id: EventId(0x1abc), busy: true, words: 5, arg: 0x7123 };
        assert_eq!(Header::unpack(header.pack()), header);
    }

    #[test]
    fn a_smaller_stamp_is_a_wrap_of_the_clock() {
        let mut content = Vec::new();
        content.extend(word(u32::MAX, 9, 0, 0));
        content.extend(word(3, 9, 0, 0));
        let ticks: Vec<_> = Events::new(&content, 0x5_0000_0000).map(|event| event.unwrap().ticks).collect();
        assert_eq!(ticks, [0x5_ffff_ffff, 0x6_0000_0003]);
    }

    #[test]
    fn a_clock_event_sets_all_of_the_clock() {
        let mut content = word(0, CLOCK, 1, 0).to_vec();
        content.extend(0x77_0000_0001_u64.to_le_bytes());
        content.extend(word(2, 9, 0, 0));
        let ticks: Vec<_> = Events::new(&content, 5).map(|event| event.unwrap().ticks).collect();
        assert_eq!(ticks, [0x1_0000_0000, 0x77_0000_0002]);
    }

    #[test]
    fn an_event_longer_than_its_packet_ends_the_iteration_with_an_error() {
        let mut content = word(0, 9, 2, 0).to_vec();
        content.extend([0; 8]);
        let mut events = Events::new(&content, 0);
        assert_eq!(events.next(), Some(Err(EventError::Overrun)));
        assert_eq!(events.next(), None);
    }

    #[test]
    fn zeroed_memory_is_an_unfinished_event() {
        assert_eq!(Events::new(&[0; 16], 0).next(), Some(Err(EventError::Unfinished)));
    }
}
