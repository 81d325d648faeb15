//! The ring: per vCPU, sub-buffers that are CTF packets, written by reserve and commit.
//!
//! **When it is full**, the mode that the control page names decides: in *overwrite* mode the oldest packet makes room and
//! the receiver counts what it lost from `events_before`; in *discard* mode the new event is not recorded and counted
//! ([`Cause::Full`]). The writer never waits.
//!
//! One private word, `state`, holds everything that reserve changes, so that one unlocked `cmpxchg` is a whole reserve:
//! ```text
//!   packet number, low half: 32 | events in the packet: 16 | offset in words: 16
//! ```
//! Unlocked instructions are enough because a writer belongs to one vCPU: an interrupt either sees the state before the
//! instruction or after it. The clock is read between the load and the `cmpxchg`; an interrupt that records in between
//! makes the `cmpxchg` fail, so stamps grow in ring order, which CTF needs to extend them to 64 bits.
//!
//! ```text
//!                 ┌────────── 1 ──────────┐
//!                 ▼                       │
//!   ┌────── open, offset ───────┐─────────┘   1. reserve, then commit          Writer::record
//!   │        │         ▲        │             2. claim: nested writers discard  Writer::switch
//!   │      2 │       3 │        │ 2           3. seal, open the next packet     Writer::switch
//!   │        ▼         │        ▼             4. seal; the ring is full         Writer::switch
//!   │      CLOSED ─────┴── 4 ─▶ FULL          5. the collector made room        Writer::switch
//!   └────── 6 ──▶ FINISHED      │ 5           6. seal for good                  Writer::finish
//!                               └──▶ CLOSED
//! ```
//! Limits, stated: an interrupt handler that nests inside a record must not itself write as many packets as the ring has;
//! and a guest's thread must not hand its writer to another thread.

mod switch;
mod word;

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use fata_wire::event::{CLOCK, EXTENDED, EventId, Header};
use fata_wire::packet::{Cause, HEADER_WORDS};

use crate::region::Region;
use crate::value::{FieldSet, extent};
use word::{compare_exchange_local, store_word};

#[cfg(feature = "std")]
pub(crate) use word::copy_word;
pub(crate) use word::{fence_publish, index, zero_words};

/// Offsets from here on are no offsets but conditions; packets are shorter.
const FINISHED: u64 = 0xfffd;
const FULL: u64 = 0xfffe;
const CLOSED: u64 = 0xffff;
const OFFSET: u64 = 0xffff;
/// One event more, in the state.
const ONE_EVENT: u64 = 1 << 16;
/// A silence of this many ticks needs a clock event: less than the 2^32 after which 32 bits of clock repeat.
const SILENCE: u64 = 1 << 31;

/// The writing end of one stream. Everything here is private to the guest; nothing is read back from shared memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Writer {
    /// See the module's head.
    state: AtomicU64,
    /// A stamp at or shortly before the youngest event's: silence and a clock that steps back are seen by it.
    last: AtomicU64,
    /// The first packet's first word.
    packets: AtomicPtr<u64>,
    /// `1 << shift` words are a packet.
    shift: AtomicU32,
    /// Packets in the ring, less one.
    mask: AtomicU32,
    /// Words in a packet.
    limit: AtomicU32,
    /// Which stream of the region this is.
    stream: AtomicU32,
    /// The youngest packet's number; its low half stands in `state` too.
    number: AtomicU64,
    /// Events recorded in the packets before it.
    events_before: AtomicU64,
    /// The region that this is part of; null until it is laid out.
    region: AtomicPtr<Region>,
}

/// Memory that one event has to itself until it is committed.
struct Slot {
    header: *mut u64,
    ticks_low: u32,
}

impl Writer {
    /// A writer that belongs to no region: it records nothing.
    pub(crate) const fn unattached() -> Self {
        Writer {
            state: AtomicU64::new(FINISHED),
            last: AtomicU64::new(0),
            packets: AtomicPtr::new(core::ptr::null_mut()),
            shift: AtomicU32::new(0),
            mask: AtomicU32::new(0),
            limit: AtomicU32::new(0),
            stream: AtomicU32::new(0),
            number: AtomicU64::new(0),
            events_before: AtomicU64::new(0),
            region: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Records one event and returns whether there was room. `template` is the upper half of its header, `arg` and `words`
    /// left 0.
    #[inline(always)]
    #[expect(unsafe_code, reason = "writes the words that reserve gave to this event alone")]
    pub(crate) fn record<F: FieldSet>(&self, template: u32, fields: &F) -> bool {
        let extent = extent(fields);
        let Some(slot) = self.reserve(1 + extent.words) else { return false };
        let upper = template | u32::from(extent.code) << 14;
        if extent.words > 0 {
            // The payload's length in the busy header: a reader can pass over the record if we never come back.
            #[expect(clippy::cast_possible_truncation, reason = "at most MAX_PAYLOAD_WORDS")]
            let busy = upper | 1 << 13 | (extent.words as u32) << 17;
            // SAFETY: `reserve` gave us `1 + words` words from `header` on, inside the packet that is open.
            unsafe { store_word(slot.header, u64::from(busy) << 32 | u64::from(slot.ticks_low)) };
            // Orders the busy header before the payload; pairs with the Acquire fence after a reader's copy.
            fence_publish();
            let mut at = slot.header;
            let mut put = |word: u64| {
                // SAFETY: as above; the calls are one per payload word.
                unsafe {
                    at = at.add(1);
                    store_word(at, word);
                }
            };
            if extent.code == EXTENDED {
                put(extent.words as u64);
            }
            fields.put(&mut put, false, extent.text_words);
            // Orders the payload before the committed header; pairs as above.
            fence_publish();
        }
        let arg = u64::from(fields.arg()) << 49;
        // SAFETY: as above.
        unsafe { store_word(slot.header, u64::from(upper) << 32 | arg | u64::from(slot.ticks_low)) };
        true
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a stamp is the low half of the clock")]
    fn reserve(&self, words: usize) -> Option<Slot> {
        let state = self.state.load(Ordering::Relaxed);
        let now = crate::clock::ticks();
        let end = (state & OFFSET) + words as u64;
        let silence = now.wrapping_sub(self.last.load(Ordering::Relaxed));
        if end <= u64::from(self.limit.load(Ordering::Relaxed))
            && silence < SILENCE
            && compare_exchange_local(&self.state, state, state + ONE_EVENT + words as u64)
        {
            self.last.store(now, Ordering::Relaxed);
            return Some(Slot { header: self.word_at(state), ticks_low: now as u32 });
        }
        self.reserve_slow(words)
    }

    /// The word at the state's offset in the state's packet.
    #[inline(always)]
    fn word_at(&self, state: u64) -> *mut u64 {
        let slot = (state >> 32) & u64::from(self.mask.load(Ordering::Relaxed));
        let words = (slot << self.shift.load(Ordering::Relaxed)) + (state & OFFSET);
        self.packets.load(Ordering::Relaxed).wrapping_add(index(words))
    }

    #[cold]
    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, reason = "a stamp is the low half of the clock")]
    fn reserve_slow(&self, words: usize) -> Option<Slot> {
        let limit = u64::from(self.limit.load(Ordering::Relaxed));
        if words + HEADER_WORDS > limit as usize {
            // An unattached writer has no packets at all, and nowhere to count.
            self.discard(Cause::TooBig);
            return None;
        }
        loop {
            let state = self.state.load(Ordering::Relaxed);
            let cause = match state & OFFSET {
                CLOSED => Some(Cause::Nested),
                FINISHED => Some(Cause::Full),
                FULL if !self.has_room() => Some(Cause::Full),
                _ => None,
            };
            if let Some(cause) = cause {
                self.discard(cause);
                return None;
            }
            let last = self.last.load(Ordering::Relaxed);
            // A clock that steps back (a thread that moved to a CPU a little behind) stands still instead.
            let now = crate::clock::ticks().max(last);
            let silent = now - last >= SILENCE;
            let clock_words = if silent { 2 } else { 0 };
            let end = (state & OFFSET) + clock_words + words as u64;
            if state & OFFSET >= FINISHED || end > limit {
                self.switch(state);
                continue;
            }
            if silent {
                self.record_clock(state);
                continue;
            }
            if compare_exchange_local(&self.state, state, state + ONE_EVENT + words as u64) {
                self.last.store(now, Ordering::Relaxed);
                return Some(Slot { header: self.word_at(state), ticks_low: now as u32 });
            }
        }
    }

    /// Records the full clock, if no interrupt came first.
    #[expect(unsafe_code, reason = "writes the words that the exchange gave to this event alone")]
    #[expect(clippy::cast_possible_truncation, reason = "a stamp is the low half of the clock")]
    fn record_clock(&self, state: u64) {
        let now = crate::clock::ticks();
        if !compare_exchange_local(&self.state, state, state + ONE_EVENT + 2) {
            return;
        }
        self.last.store(now, Ordering::Relaxed);
        let header = Header { ticks_low: now as u32, id: EventId::begin(CLOCK), busy: true, words: 1, arg: 1 };
        let at = self.word_at(state);
        // SAFETY: the exchange gave us two words inside the packet that is open.
        unsafe {
            store_word(at, header.pack());
            // Pairs with the Acquire fence after a reader's copy, twice, as in `record`.
            fence_publish();
            store_word(at.add(1), now);
            fence_publish();
            store_word(at, Header { busy: false, arg: 0, ..header }.pack());
        }
    }
}
