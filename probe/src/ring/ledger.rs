//! What a log ring says of itself: the ledger with which each of its packets begins, and another one after a loss.
//!
//! Invariant: the counters only grow, and count records alone: what the ring writes for itself is taken off. A loss that happens
//! while there is room is said at once; one that happens while the ring is full, or changes packets, by the ledger of the next
//! packet, or by who opened it.

use core::sync::atomic::{AtomicU64, Ordering};

use fata_wire::event::{EventId, LEDGER};
use fata_wire::log::ledger::{Extent as Sum, Ledger, WORDS};

use super::{END, PLACE, SILENCE, Writer, add_local};
use crate::value::{Cons, Extent, FieldSet, Nil};

/// What a ledger takes in the ring.
pub(super) const LEDGER_WORDS: usize = 1 + WORDS;
/// The upper half of its event's header.
pub(super) const TEMPLATE: u32 = EventId::begin(LEDGER).0 as u32;

/// The counters behind the ledgers of a ring. Private to the guest.
#[derive(Debug)]
pub(super) struct Counters {
    /// Words of all packets that were sealed, without their headers.
    sealed_words: AtomicU64,
    /// Events, and words, that the ring wrote for itself.
    own: [AtomicU64; 2],
    /// What the open packet's ledger says was recorded before it.
    recorded: [AtomicU64; 2],
    /// Records, and bytes, that were discarded.
    discarded: [AtomicU64; 2],
    /// Of these, records of callsites that could not be described.
    undescribed: AtomicU64,
    /// How many of the discarded the youngest ledger has told.
    said: AtomicU64,
}

const fn two() -> [AtomicU64; 2] {
    [const { AtomicU64::new(0) }; 2]
}

fn sum(counters: &[AtomicU64; 2]) -> Sum {
    let [records, bytes] = counters.each_ref().map(|counter| counter.load(Ordering::Relaxed));
    Sum { records, bytes }
}

impl Counters {
    pub(super) const fn new() -> Self {
        Counters {
            sealed_words: AtomicU64::new(0),
            own: two(),
            recorded: two(),
            discarded: two(),
            undescribed: AtomicU64::new(0),
            said: AtomicU64::new(0),
        }
    }

    /// A packet with so many words of events was sealed.
    pub(super) fn seal(&self, words: u64) {
        add_local(&self.sealed_words, words);
    }

    /// The ring wrote an event of so many words for itself.
    pub(super) fn note_own(&self, words: usize) {
        add_local(&self.own[0], 1);
        add_local(&self.own[1], words as u64);
    }

    /// The ledger of a packet that is being opened, before which there were so many events.
    pub(super) fn open(&self, events_before: u64) -> Ledger {
        let own = sum(&self.own);
        let words = self.sealed_words.load(Ordering::Relaxed).wrapping_sub(own.bytes);
        self.recorded[0].store(events_before.wrapping_sub(own.records), Ordering::Relaxed);
        self.recorded[1].store(words.wrapping_mul(8), Ordering::Relaxed);
        self.note_own(LEDGER_WORDS);
        self.now()
    }

    /// What there is to say now, and has been said then.
    fn now(&self) -> Ledger {
        // The count comes first: what an interrupt discards meanwhile is said once more.
        self.said.store(self.discarded[0].load(Ordering::Relaxed), Ordering::Relaxed);
        let undescribed = self.undescribed.load(Ordering::Relaxed);
        Ledger { recorded: sum(&self.recorded), discarded: sum(&self.discarded), undescribed }
    }

    /// Whether something was discarded that no ledger has told.
    pub(super) fn is_unsaid(&self) -> bool {
        self.discarded[0].load(Ordering::Relaxed) != self.said.load(Ordering::Relaxed)
    }
}

/// The ledger as the fields of its event.
pub(super) fn fields(ledger: &Ledger) -> impl FieldSet {
    let [a, b, c, d, e] = ledger.words();
    Cons(a, Cons(b, Cons(c, Cons(d, Cons(e, Nil)))))
}

/// What it takes in the ring.
pub(super) fn extent() -> Extent {
    Extent::of_fixed(WORDS)
}

impl Writer {
    /// Counts a record of so many words that is lost, whatever for, and says so where there is room.
    #[cold]
    #[inline(never)]
    pub(crate) fn lose(&self, words: usize, is_undescribed: bool) {
        let Some(region) = self.region() else { return };
        let bytes = 8 * words as u64;
        if is_undescribed {
            add_local(&self.ledger.undescribed, 1);
        }
        add_local(&self.ledger.discarded[1], bytes);
        add_local(&self.ledger.discarded[0], 1);
        region.count_lost_bytes(self.stream(), bytes, 0);
        self.tell();
    }

    /// Counts what records would have been long that the rate limit kept from being made.
    pub(crate) fn count_suppressed(&self, bytes: u64) {
        if let Some(region) = self.region() {
            region.count_lost_bytes(self.stream(), 0, bytes);
        }
    }

    /// Writes a ledger, unless the ring is full or just changes packets: then whoever opens the next one says the same.
    pub(super) fn tell(&self) {
        loop {
            // Acquire: as in `reserve`.
            let state = self.state.load(Ordering::Acquire);
            if state & PLACE > END {
                return;
            }
            if (state & PLACE) + LEDGER_WORDS as u64 > END {
                // The packet that comes begins with one.
                self.switch(state);
                return;
            }
            let last = self.last.load(Ordering::Relaxed);
            let now = crate::clock::ticks().max(last);
            if now - last >= SILENCE {
                if (state & PLACE) + 2 + LEDGER_WORDS as u64 > END {
                    self.switch(state);
                    return;
                }
                self.record_clock(state);
                continue;
            }
            let ledger = self.ledger.now();
            if let Some(slot) = self.exchange(state, state, now, LEDGER_WORDS) {
                self.ledger.note_own(LEDGER_WORDS);
                slot.commit(TEMPLATE, &fields(&ledger), extent());
                return;
            }
        }
    }
}
