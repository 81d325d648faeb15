//! Changing packets: seal the full one, open the next, or discard where there is none.
//!
//! Invariant: from the claim (`CLOSED`) to the new state no other code writes the packet's header, the lock, or the private
//! counters: an interrupt that records in between finds `CLOSED` and discards.
//!
//! Each packet's `lock` is a sequence lock: `2n + 1` while packet `n` is open, `2n + 2` once sealed, 0 while the body is
//! being zeroed. A reader copies, and believes its copy only if the lock still has the value that it had before.
#![expect(unsafe_code, reason = "writes packet headers through pointers into the region")]

use core::sync::atomic::Ordering;

use fata_wire::packet::{Cause, Discarded, FLAG_LOG, HEADER_WORDS, at};
use fata_wire::shared::Mode;

use super::ledger::{LEDGER_WORDS, TEMPLATE, extent, fields};
use super::{
    CLOSED, END, FINISHED, FULL, ONE_EVENT, PLACE, Slot, Writer, compare_exchange_local, fence_publish, index,
    store_word, zero_words,
};
use crate::region::Region;

/// A writer whose ring is full sees by itself that nobody will empty it, even where no scheduler looks.
const DISCARDED_PER_WATCH: u64 = 64;

impl Writer {
    /// Makes this the writer of `stream` of `region` and opens its first packet.
    pub(crate) fn attach(&self, region: &'static Region, stream: u32) {
        let geometry = region.geometry();
        let words = geometry.packet_bytes_of(stream) / 8;
        self.packets.store(region.stream_start(stream), Ordering::Relaxed);
        self.shift.store(words.trailing_zeros(), Ordering::Relaxed);
        self.mask.store(geometry.packets_of(stream) - 1, Ordering::Relaxed);
        self.limit.store(u64::from(words), Ordering::Relaxed);
        self.stream.store(stream, Ordering::Relaxed);
        self.region.store((&raw const *region).cast_mut(), Ordering::Relaxed);
        self.state.store(CLOSED, Ordering::Relaxed);
        self.open(0);
    }

    /// Counts an event that is not recorded.
    #[cold]
    pub(crate) fn discard(&self, cause: Cause) {
        if let Some(region) = self.region() {
            region.count_discarded(self.stream(), cause);
        }
    }

    /// Whether the packet after the youngest may be opened. Looks at the control page: a packet opens seldom.
    ///
    /// A full ring is asked for each event that it discards, and looks after its collector every so often.
    pub(super) fn has_room(&self) -> bool {
        let Some(region) = self.region() else { return false };
        crate::control::poll_region(region);
        if region.discarded_full(self.stream()).is_multiple_of(DISCARDED_PER_WATCH) {
            crate::control::watch(region);
        }
        if region.mode() == Mode::Overwrite {
            return true;
        }
        let next = self.number.load(Ordering::Relaxed).wrapping_add(1);
        // A consumed position that cannot be is taken for the next packet's: a host that lies loses events of its own.
        next.wrapping_sub(region.consumed(self.stream())) < u64::from(self.mask.load(Ordering::Relaxed)) + 1
    }

    /// Seals the packet that `state` says is open, if it still is, and opens the next or notes that the ring is full.
    pub(super) fn switch(&self, state: u64) {
        if !compare_exchange_local(&self.state, state, state | CLOSED) {
            return;
        }
        if state & PLACE != FULL {
            self.seal(state);
        }
        if self.has_room() {
            self.open(self.number.load(Ordering::Relaxed).wrapping_add(1));
            // What an interrupt lost meanwhile found nobody to tell.
            if self.is_log() && self.ledger.is_unsaid() {
                self.tell();
            }
        } else {
            self.state.store(state & !PLACE & !(PLACE << 16) | FULL, Ordering::Relaxed);
        }
    }

    /// Seals the open packet if there is anything in it, and goes on in the next. In overwrite mode that may cost the oldest
    /// packet, as a full one does. On the writer's own CPU.
    pub(crate) fn flush(&self) {
        let state = self.state.load(Ordering::Relaxed);
        // The first packet of a log begins with no ledger: there is nothing to tell yet.
        let own = if self.number.load(Ordering::Relaxed) > 0 { self.own_words() } else { 0 };
        if self.words_of(state).is_some_and(|words| words > (HEADER_WORDS + own) as u64) {
            self.switch(state);
        }
    }

    /// Goes on in a new packet by a clock that was changed: its stamps may lie before all earlier ones. On the writer's own CPU.
    pub(crate) fn change_clock(&self) {
        let Some(region) = self.region() else { return };
        let state = self.state.load(Ordering::Relaxed);
        if state & PLACE == FINISHED || !compare_exchange_local(&self.state, state, state | CLOSED) {
            return;
        }
        if state & PLACE != FULL {
            self.seal(state);
        }
        let next = self.number.load(Ordering::Relaxed).wrapping_add(1);
        // Before there is such a packet.
        region.note_clock_since(self.stream(), next);
        self.last.store(crate::clock::ticks(), Ordering::Relaxed);
        if self.has_room() {
            self.open(next);
        } else {
            self.state.store(state & !PLACE & !(PLACE << 16) | FULL, Ordering::Relaxed);
        }
    }

    /// Events recorded so far.
    pub(crate) fn recorded(&self) -> u64 {
        let state = self.state.load(Ordering::Relaxed);
        let open = if state & PLACE < FINISHED { state >> 16 & 0xffff } else { 0 };
        self.events_before.load(Ordering::Relaxed) + open
    }

    /// Seals the open packet for good: nothing is recorded afterwards. For a guest's last moment.
    pub(crate) fn finish(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state & PLACE < FINISHED && compare_exchange_local(&self.state, state, state | CLOSED) {
            self.seal(state);
        }
        self.state.store(state & !PLACE | FINISHED, Ordering::Relaxed);
    }

    /// Writes the final header of the packet that `state` describes. The caller has claimed it.
    fn seal(&self, state: u64) {
        let Some(region) = self.region() else { return };
        let events = state >> 16 & 0xffff;
        let number = self.number.load(Ordering::Relaxed);
        let header = self.packet(number);
        let now = crate::clock::ticks().max(self.last.load(Ordering::Relaxed));
        let content_bits = self.words_of(state).unwrap_or(0) * 64;
        let discarded = region.discarded(self.stream());
        // SAFETY: `packet` points at a whole packet of the ring, and by the module's invariant only we write its header.
        unsafe {
            put(header, at::CONTENT_SIZE, content_bits);
            put(header, at::TIMESTAMP_END, now);
            put(header, at::EVENTS, events);
            put_discarded(header, &discarded);
            // Pairs with the reader's Acquire load of the lock: who sees it sealed sees the header and the events.
            fence_publish();
            put(header, at::LOCK, 2 * number + 2);
        }
        let events_before = self.events_before.load(Ordering::Relaxed) + events;
        self.events_before.store(events_before, Ordering::Relaxed);
        self.ledger.seal((content_bits / 64).saturating_sub(HEADER_WORDS as u64));
        region.publish_stream(self.stream(), 2 * number + 2, events_before);
    }

    /// Zeroes packet `number`'s slot, writes its header and lets writers in. The caller has claimed the state.
    fn open(&self, number: u64) {
        let Some(region) = self.region() else { return };
        let limit = self.limit.load(Ordering::Relaxed);
        let header = self.packet(number);
        let now = crate::clock::ticks().max(self.last.load(Ordering::Relaxed));
        let uuid = region.geometry().uuid;
        let is_log = region.geometry().is_log(self.stream());
        let flags = if is_log { FLAG_LOG } else { 0 };
        let (low, high) = uuid.split_at(8);
        let discarded = region.discarded(self.stream());
        let events_before = self.events_before.load(Ordering::Relaxed);
        // SAFETY: `packet` points at a whole packet of `limit` words, and by the module's invariant only we write it. An
        // outer writer that an interrupt suspended may still commit into a packet that was sealed, never into this one:
        // see the limits in the ring's documentation.
        unsafe {
            put(header, at::LOCK, 0);
            // Pairs with the reader's second look at the lock: who copied any of what follows finds the lock changed.
            fence_publish();
            zero_words(header.add(HEADER_WORDS), index(limit) - HEADER_WORDS);
            let magic = u64::from(fata_wire::packet::MAGIC);
            let word = |bytes: &[u8]| fata_wire::u64_at(bytes, 0);
            // The uuid stands at byte 4: its words straddle ours.
            put(header, 0, magic | word(low) << 32);
            put(header, 8, word(low) >> 32 | word(high) << 32);
            put(header, 16, word(high) >> 32); // and stream id 0
            put(header, at::CONTENT_SIZE, HEADER_WORDS as u64 * 64);
            put(header, at::PACKET_SIZE, limit * 64);
            put(header, at::TIMESTAMP_BEGIN, now);
            put(header, at::TIMESTAMP_END, now);
            put(header, at::PACKET_SEQ_NUM, number);
            put(header, at::EVENTS_BEFORE, events_before);
            put(header, at::EVENTS, 0);
            put(header, at::CPU_ID, u64::from(self.stream()) | u64::from(flags) << 32);
            put_discarded(header, &discarded);
            // Pairs with the reader's Acquire load of the lock.
            fence_publish();
            put(header, at::LOCK, 2 * number + 1);
        }
        let (mut words, mut events) = (HEADER_WORDS, 0);
        if is_log && number > 0 {
            #[expect(clippy::cast_possible_truncation, reason = "a stamp is the low half of the clock")]
            let slot = Slot { header: header.wrapping_add(words), ticks_low: now as u32 };
            slot.commit(TEMPLATE, &fields(&self.ledger.open(events_before)), extent());
            (words, events) = (words + LEDGER_WORDS, ONE_EVENT);
        }
        self.number.store(number, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
        region.publish_stream(self.stream(), 2 * number + 1, events_before);
        let first = self.first_place();
        self.open.store(header.wrapping_sub(index(first)), Ordering::Relaxed);
        // An interrupt may record from here on. Release: pairs with the Acquire in `reserve`.
        self.state.store(number << 32 | events | first.wrapping_add(words as u64), Ordering::Release);
    }

    /// How many words of its packet `state` says are taken; `None` where it names no place.
    fn words_of(&self, state: u64) -> Option<u64> {
        let place = state & PLACE;
        (place <= END).then(|| place.wrapping_sub(self.first_place()))
    }

    /// Whether this writes a log stream.
    pub(super) fn is_log(&self) -> bool {
        self.region().is_some_and(|region| region.geometry().is_log(self.stream()))
    }

    /// The place of a packet's first word; "before 0" for the longest packet, whose header comes first.
    fn first_place(&self) -> u64 {
        END.wrapping_sub(self.limit.load(Ordering::Relaxed))
    }

    /// Whether this belongs to no region.
    #[cfg(all(feature = "std", feature = "profiling"))]
    pub(super) fn is_nobody(&self) -> bool {
        self.region.load(Ordering::Relaxed).is_null()
    }

    pub(super) fn region(&self) -> Option<&'static Region> {
        // SAFETY: null, or stored by `attach` from a reference that lives for ever.
        unsafe { self.region.load(Ordering::Relaxed).cast_const().as_ref() }
    }

    pub(super) fn stream(&self) -> u32 {
        self.stream.load(Ordering::Relaxed)
    }

    /// The first word of packet `number`.
    fn packet(&self, number: u64) -> *mut u64 {
        let slot = number & u64::from(self.mask.load(Ordering::Relaxed));
        self.packets.load(Ordering::Relaxed).wrapping_add(index(slot << self.shift.load(Ordering::Relaxed)))
    }
}

/// Stores a header field.
///
/// # Safety
/// `header` points at a packet that only the caller writes; `offset` is a multiple of 8 within its header.
unsafe fn put(header: *mut u64, offset: usize, value: u64) {
    // SAFETY: by the contract the word lies within the packet.
    unsafe { store_word(header.add(offset / 8), value) };
}

/// Stores the counters of discarded events and their sum.
///
/// # Safety
/// As for [`put`].
unsafe fn put_discarded(header: *mut u64, discarded: &Discarded) {
    // SAFETY: by the contract; all offsets lie within the header.
    unsafe {
        put(header, at::EVENTS_DISCARDED, discarded.iter().sum());
        for (i, count) in discarded.iter().enumerate() {
            put(header, at::DISCARDED + 8 * i, *count);
        }
    }
}
