//! What is left to do for a record of a callsite that makes too many: two additions, found by the callsite's address; a third
//! where it has texts, whose lengths are added up too.
//!
//! Invariant: an entry with a key names a counter of the account, and a tally, that belong to the slot that it is part of; it
//! is made where a bucket was found empty, and serves until the tally is a multiple of [`TURN`]: then the bucket is asked again,
//! which reads the clock.
//!
//! **When it is full**, the youngest entry takes the place of another; the callsite that had it asks its bucket each time, at
//! the price of a few nanoseconds more.
#![expect(unsafe_code, reason = "counts through pointers that were proved when they were stored")]

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, compiler_fence};

use super::limit::Tally;
use crate::ring::{add_local, add_shared};

/// Which bits of an address tell one entry from another: statics lie at multiples of 8.
const PLACE_BITS: usize = 0x38;
const PLACES: usize = PLACE_BITS / 8 + 1;
/// So many records between two questions to the bucket.
const TURN: u64 = 128;

/// Callsites that make too many records, by where they lie.
#[derive(Debug)]
pub(crate) struct Floods {
    entries: [Entry; PLACES],
    /// An entry is being written beneath us.
    is_written: AtomicBool,
}

/// One callsite.
#[derive(Debug)]
#[repr(C, align(32))]
struct Entry {
    /// The address by which the callsite is known; 0 where there is none.
    key: AtomicUsize,
    /// Where its suppressed records are counted by level.
    account: AtomicPtr<u64>,
    /// Where they are counted by callsite.
    tally: AtomicPtr<Tally>,
}

impl Entry {
    const fn none() -> Self {
        Entry {
            key: AtomicUsize::new(0),
            account: AtomicPtr::new(ptr::null_mut()),
            tally: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

impl Floods {
    pub(crate) const fn new() -> Self {
        Floods { entries: [const { Entry::none() }; PLACES], is_written: AtomicBool::new(false) }
    }

    /// Counts a record of the callsite at `key` as suppressed, if it is known to make too many. Else its bucket decides.
    /// `text_words` is how many words its texts take, where it has any whose lengths are known.
    #[inline(always)]
    pub(crate) fn counts(&self, key: usize, text_words: Option<impl FnOnce() -> u16>) -> bool {
        let entry = &self.entries[(key & PLACE_BITS) / 8];
        if entry.key.load(Ordering::Relaxed) != key {
            return false;
        }
        // SAFETY: an entry with a key has both pointers: `put` stored them before, and an interrupt sees that order too. The
        // account lies in a region's header page and the tally in a region's slot; both live for ever. What is counted here
        // is counted by this CPU alone, by the invariant of the slot.
        let (counted, text) = unsafe {
            add_shared(entry.account.load(Ordering::Relaxed), 1);
            let tally = &*entry.tally.load(Ordering::Relaxed).cast_const();
            (add_local(&tally.records, 1), &tally.text_words)
        };
        if let Some(words) = text_words {
            add_local(text, words().into());
        }
        if counted.is_multiple_of(TURN) {
            entry.key.store(0, Ordering::Relaxed);
        }
        true
    }

    /// From now on [`counts`](Floods::counts) knows the callsite at `key`.
    pub(crate) fn put(&self, key: usize, account: *mut u64, tally: &'static Tally) {
        // An interrupt that comes while an entry is written leaves all of them alone, and finds none half written.
        if self.is_written.load(Ordering::Relaxed) {
            return;
        }
        let entry = &self.entries[(key & PLACE_BITS) / 8];
        self.is_written.store(true, Ordering::Relaxed);
        entry.key.store(0, Ordering::Relaxed);
        // Release: the old key is gone before the pointers change; pairs with the loads of an interrupt on this CPU.
        compiler_fence(Ordering::Release);
        entry.account.store(account, Ordering::Relaxed);
        entry.tally.store(ptr::from_ref(tally).cast_mut(), Ordering::Relaxed);
        // Release: the pointers are there before the key is; pairs as above.
        compiler_fence(Ordering::Release);
        entry.key.store(key, Ordering::Relaxed);
        self.is_written.store(false, Ordering::Relaxed);
    }

    /// Every callsite's bucket is asked again. From any thread: an entry that its owner writes meanwhile may stay for a turn.
    pub(crate) fn clear(&self) {
        self.entries.iter().for_each(|entry| entry.key.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_callsite_counts_by_itself_until_its_turn_is_over_and_no_other_counts_there() {
        static TALLIES: [Tally; 2] = [const { Tally::new() }; 2];
        static ACCOUNT: AtomicU64 = AtomicU64::new(0);
        let (floods, key) = (Floods::new(), 0x1000);
        let counts = |key| floods.counts(key, None::<fn() -> u16>);
        assert!(!counts(key));
        floods.put(key, ACCOUNT.as_ptr(), &TALLIES[0]);
        assert!(!counts(key + 8) && !counts(key + 0x40) && !counts(0));
        TALLIES[0].records.store(1, Ordering::Relaxed);
        let counted = (0..2 * TURN).take_while(|_| floods.counts(key, Some(|| 3))).count();
        assert_eq!(counted as u64, TURN);
        // Another one at the same place takes it.
        floods.put(key, ACCOUNT.as_ptr(), &TALLIES[0]);
        floods.put(key + 0x40, ACCOUNT.as_ptr(), &TALLIES[1]);
        assert!(!counts(key) && counts(key + 0x40));
        floods.clear();
        assert!(!counts(key + 0x40));
        let tallies = TALLIES.each_ref().map(|tally| tally.records.load(Ordering::Relaxed));
        assert_eq!((tallies, ACCOUNT.load(Ordering::Relaxed)), ([TURN + 1, 1], TURN + 1));
        assert_eq!(TALLIES.each_ref().map(|tally| tally.text_words.load(Ordering::Relaxed)), [3 * TURN, 0]);
    }
}
