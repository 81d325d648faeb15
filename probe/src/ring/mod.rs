//! The ring: per vCPU, sub-buffers that are CTF packets, written by reserve and commit.
//!
//! **When it is full**, the mode that the control page names decides: in *overwrite* mode the oldest packet makes room and
//! the receiver counts what it lost from `events_before`; in *discard* mode the new event is not recorded and counted
//! ([`Cause::Full`]). The writer never waits.
//!
//! One private word, `state`, holds everything that reserve changes, so that one unlocked `cmpxchg` is a whole reserve:
//! ```text
//!   packet number, low half: 32 | events in the packet: 16 | place in words: 16
//! ```
//! The place is an offset counted so that every packet ends at `END`, however long it is: whether an event fits is then a
//! question to the state alone.
//!
//! Unlocked instructions are enough because a writer belongs to one vCPU: an interrupt either sees the state before the
//! instruction or after it. The clock is read between the load and the `cmpxchg`; an interrupt that records in between
//! makes the `cmpxchg` fail, so stamps grow in ring order, which CTF needs to extend them to 64 bits.
//!
//! The short way of an event has no call (an emulator looks for the place to return to), saves no register, and asks one question:
//! whatever is unusual (no room, a silent clock, a callsite that is not described) is one call of its own (`record_slowly`). What it
//! costs besides the clock is memory: a ring is longer than the near caches, so each event asks for the line that its successor
//! in the next packet will need. The numbers are `tests/bench`'s.
//!
//! ```text
//!                 ┌────────── 1 ──────────┐
//!                 ▼                       │
//!   ┌────── open, place ────────┐─────────┘   1. reserve, then commit          Writer::record
//!   │        │         ▲        │             2. claim: nested writers discard  Writer::switch
//!   │      2 │       3 │        │ 2           3. seal, open the next packet     Writer::switch
//!   │        ▼         │        ▼             4. seal; the ring is full         Writer::switch
//!   │      CLOSED ─────┴── 4 ─▶ FULL          5. the collector made room        Writer::switch
//!   └────── 6 ──▶ FINISHED      │ 5           6. seal for good                  Writer::finish
//!                               └──▶ CLOSED
//! ```
//! Limits, stated: an interrupt handler that nests inside a record must not itself write as many packets as the ring has;
//! and a guest's thread must not hand its writer to another thread.

mod ledger;
#[cfg(all(test, loom))]
mod model;
mod switch;
mod word;

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use fata_wire::event::{CLOCK, EXTENDED, EventId};
use fata_wire::packet::{Cause, HEADER_WORDS, MAX_PACKET_BYTES};

use crate::callsite::UNDESCRIBED;
use crate::region::Region;
use crate::value::{Cons, Extent, FieldSet, Nil};
use word::{compare_exchange_local, prefetch, store_word};

pub(crate) use word::{add_local, add_shared, copy_word, fence_publish, index, zero_words};

/// The place at which every packet ends. A place beyond it has a bit that no place in a packet has.
const END: u64 = 0x7fff;
/// Places from here on are no places but conditions.
const FINISHED: u64 = 0xfffd;
const FULL: u64 = 0xfffe;
const CLOSED: u64 = 0xffff;
const PLACE: u64 = 0xffff;
/// One event more, in the state.
const ONE_EVENT: u64 = 1 << 16;
/// A silence of this many ticks needs a clock event: less than the 2^32 after which 32 bits of clock repeat.
const SILENCE: u64 = 1 << 31;
const _: () = assert!(
    SILENCE == UNDESCRIBED as u64 && SILENCE == (END + 1) << 16,
    "`reserve` asks for all three with one comparison"
);
const _: () =
    assert!(MAX_PACKET_BYTES as u64 / 8 - HEADER_WORDS as u64 <= END, "the longest packet's places begin above 0");

/// Whether what is unusual makes the exchange fail instead of being asked for. On a CPU that asks ahead the question is free,
/// and an exchange that waits for the clock costs half a nanosecond; an emulator ends a block of code with each question, which
/// a guest's every event would pay for. The model takes the way with one question, the stress test the other.
const ONE_QUESTION: bool = cfg!(any(not(feature = "std"), loom));

/// So far ahead of each event memory is fetched into the cache: about a packet. Zeroing the next packet, and writing it, then
/// does not wait for memory; a ring is longer than the caches that are near.
const PREFETCH_WORDS: usize = (64 << 10) / 8;

/// The writing end of one stream. Everything here is private to the guest; nothing is read back from shared memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Writer {
    /// See the module's head.
    state: AtomicU64,
    /// A stamp at or shortly before the youngest event's: silence and a clock that steps back are seen by it.
    last: AtomicU64,
    /// What place 0 of the packet that `state` says is open would be: the packet itself lies where its places say.
    open: AtomicPtr<u64>,
    /// Words in a packet.
    limit: AtomicU64,
    /// The first packet's first word.
    packets: AtomicPtr<u64>,
    /// `1 << shift` words are a packet.
    shift: AtomicU32,
    /// Packets in the ring, less one.
    mask: AtomicU32,
    /// Which stream of the region this is.
    stream: AtomicU32,
    /// The youngest packet's number; its low half stands in `state` too.
    number: AtomicU64,
    /// Events recorded in the packets before it.
    events_before: AtomicU64,
    /// The region that this is part of; null until it is laid out.
    region: AtomicPtr<Region>,
    /// What a log ring says of itself.
    ledger: ledger::Counters,
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
            open: AtomicPtr::new(core::ptr::null_mut()),
            limit: AtomicU64::new(0),
            packets: AtomicPtr::new(core::ptr::null_mut()),
            shift: AtomicU32::new(0),
            mask: AtomicU32::new(0),
            stream: AtomicU32::new(0),
            number: AtomicU64::new(0),
            events_before: AtomicU64::new(0),
            region: AtomicPtr::new(core::ptr::null_mut()),
            ledger: ledger::Counters::new(),
        }
    }

    /// Records one event and returns whether there was room. `template` is the upper half of its header, `arg` and `words`
    /// left 0.
    #[inline(always)]
    pub(crate) fn record<F: FieldSet>(&self, template: u32, fields: F) -> bool {
        match self.try_record(template, fields) {
            Ok(()) => true,
            Err(fields) => self.record_slowly(template, fields),
        }
    }

    /// The short way of an event, or its fields back where something is unusual: [`UNDESCRIBED`] in `template` is, too.
    #[inline(always)]
    pub(crate) fn try_record<F: FieldSet>(&self, template: u32, fields: F) -> Result<(), F> {
        let extent = fields.extent();
        // A callsite without fields has nothing to describe.
        let asked = if F::LEN > 0 { template } else { 0 };
        let Some(slot) = self.reserve(asked, 1 + extent.words) else { return Err(fields) };
        slot.commit(template, &fields, extent);
        Ok(())
    }

    /// Records one event where the short way did not do. A call of its own for the whole event, so that the short way has no
    /// register to save and nothing to join.
    #[cold]
    #[inline(never)]
    pub(crate) fn record_slowly<F: FieldSet>(&self, template: u32, fields: F) -> bool {
        #[cfg(all(feature = "std", feature = "profiling"))]
        if self.is_nobody() && crate::threads::attach() {
            return crate::current::get().record_slowly(template, fields);
        }
        let extent = fields.extent();
        let Some(slot) = self.reserve_slowly(1 + extent.words) else { return false };
        slot.commit(template, &fields, extent);
        true
    }

    /// The short way: there is room, the clock is as expected, the template does not say [`UNDESCRIBED`], and no interrupt
    /// comes in between.
    #[inline(always)]
    fn reserve(&self, template: u32, words: usize) -> Option<Slot> {
        // Acquire: pairs with the Release in `open`, of an interrupt on this CPU: the packet that is read below belongs to
        // this state, or to a later one, and then the exchange fails.
        let state = self.state.load(Ordering::Acquire);
        let now = crate::clock::ticks();
        let end = (state & PLACE) + words as u64;
        let silence = now.wrapping_sub(self.last.load(Ordering::Relaxed));
        // An end beyond END, a silence of SILENCE, and UNDESCRIBED: each sets bit 31 or one above it.
        let unusual = (end << 16 | silence | u64::from(template)) >= SILENCE;
        if !ONE_QUESTION && unusual {
            return None;
        }
        // No interrupt makes the state what is expected then: what records counts an event, or opens a packet; and above the
        // last place comes 0, which is none.
        self.exchange(state, state.wrapping_add(u64::from(ONE_QUESTION && unusual)), now, words)
    }

    /// Takes `words` words of the packet that `state` describes, unless the state is not what is `expected`: an interrupt came
    /// since it was loaded.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a stamp is the low half of the clock")]
    fn exchange(&self, state: u64, expected: u64, now: u64, words: usize) -> Option<Slot> {
        crate::sync::interrupt_point();
        let packet = self.open.load(Ordering::Relaxed);
        if !compare_exchange_local(&self.state, expected, state + ONE_EVENT + words as u64) {
            return None;
        }
        self.last.store(now, Ordering::Relaxed);
        prefetch(packet.wrapping_add(index(state & PLACE) + PREFETCH_WORDS));
        Some(Slot { header: packet.wrapping_add(index(state & PLACE)), ticks_low: now as u32 })
    }

    fn reserve_slowly(&self, words: usize) -> Option<Slot> {
        self.reserve_or_say(words).map_err(|cause| self.discard(cause)).ok()
    }

    /// Memory for an event, whatever is unusual, or why there is none.
    fn reserve_or_say(&self, words: usize) -> Result<Slot, Cause> {
        let limit = self.limit.load(Ordering::Relaxed);
        if (words + HEADER_WORDS + self.own_words()) as u64 > limit {
            // An unattached writer has no packets at all, and nowhere to count.
            return Err(Cause::TooBig);
        }
        loop {
            // Acquire: as in `reserve`.
            let state = self.state.load(Ordering::Acquire);
            let cause = match state & PLACE {
                CLOSED => Some(Cause::Nested),
                FINISHED => Some(Cause::Full),
                FULL if !self.has_room() => Some(Cause::Full),
                _ => None,
            };
            if let Some(cause) = cause {
                return Err(cause);
            }
            let last = self.last.load(Ordering::Relaxed);
            // A clock that steps back (a thread that moved to a CPU a little behind) stands still instead.
            let now = crate::clock::ticks().max(last);
            let silent = now - last >= SILENCE;
            let clock_words = if silent { 2 } else { 0 };
            let end = (state & PLACE) + clock_words + words as u64;
            if end > END {
                self.switch(state);
                continue;
            }
            if silent {
                self.record_clock(state);
                continue;
            }
            if let Some(slot) = self.exchange(state, state, now, words) {
                return Ok(slot);
            }
        }
    }

    /// Records what a log ring says beside its records, if there is room; otherwise nothing is counted. Returns whether there was.
    #[cfg(feature = "tracing")]
    pub(crate) fn record_beside<F: FieldSet>(&self, template: u32, fields: F) -> bool {
        let extent = fields.extent();
        let Ok(slot) = self.reserve_or_say(1 + extent.words) else { return false };
        self.ledger.note_own(1 + extent.words);
        slot.commit(template, &fields, extent);
        true
    }

    /// The number of the youngest packet, its low half.
    #[cfg(feature = "tracing")]
    pub(crate) fn youngest(&self) -> u32 {
        (self.state.load(Ordering::Relaxed) >> 32) as u32
    }

    /// The words of a packet, besides its header, that are taken when it opens.
    fn own_words(&self) -> usize {
        if self.is_log() { ledger::LEDGER_WORDS } else { 0 }
    }

    /// Records the full clock, if no interrupt came first.
    fn record_clock(&self, state: u64) {
        let now = crate::clock::ticks();
        let template = u32::from(EventId::begin(CLOCK).0);
        let fields = Cons(now, Nil);
        if let Some(slot) = self.exchange(state, state, now, 2) {
            self.ledger.note_own(2);
            slot.commit(template, &fields, fields.extent());
        }
    }
}

impl Slot {
    /// Writes the event and makes it visible to readers.
    #[inline(always)]
    #[expect(unsafe_code, reason = "writes the words that reserve gave to this event alone")]
    fn commit<F: FieldSet>(self, template: u32, fields: &F, extent: Extent) {
        let header = self.header;
        let word = u64::from(template | u32::from(extent.code) << 14) << 32 | u64::from(self.ticks_low);
        if extent.words > 0 {
            // The payload's length in the busy header: a reader can pass over the record if we never come back.
            let busy = 1 << 45 | (extent.words as u64) << 49;
            // SAFETY: `exchange` gave us `1 + words` words from `header` on, inside the packet that is open.
            unsafe { store_word(header, word | busy) };
            // Orders the busy header before the payload; pairs with the Acquire fence after a reader's copy.
            fence_publish();
            let mut at = header;
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
        // SAFETY: as above.
        unsafe { store_word(header, word | u64::from(fields.arg()) << 49) };
    }
}
