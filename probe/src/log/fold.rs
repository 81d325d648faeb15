//! Folding: a record that is the same as the one before in its ring, its spans included, is counted, and the count is said once.
//!
//! It is said before the next record that could itself be folded, and at the latest a second after the first repetition.
//! Records of [`log!`](crate::log!) without a text are neither folded nor compared with, since that would cost more than they
//! do; but a row is over when one of them comes in between, which the class's numbers tell.
//!
//! Invariant: who compares has set `is_used`, and an interrupt of it neither compares nor says anything: its records are made.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};

use fata_wire::event::EventId;
use fata_wire::log::Count;

use super::slot::Slot;
use super::summary::{self, Kept};

/// Longer records are never folded.
const LAST_WORDS: usize = 32;

/// The youngest record of a class, to which the next is compared.
#[derive(Debug)]
pub(crate) struct Last {
    is_used: AtomicBool,
    /// Its template and task, and what says which spans were around it; 0 where there is none to compare with.
    what: AtomicU64,
    spans: AtomicU64,
    len: AtomicU64,
    words: [AtomicU64; LAST_WORDS],
    /// How many numbers the class had given with it: another sum, and there was another record since.
    numbered: AtomicU64,
    /// How often it was repeated since that was last said.
    repeated: AtomicU64,
    since: AtomicU64,
}

impl Last {
    pub(crate) const fn new() -> Self {
        Last {
            is_used: AtomicBool::new(false),
            what: AtomicU64::new(0),
            spans: AtomicU64::new(0),
            len: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; LAST_WORDS],
            numbered: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    /// Runs `work` unless it is an interrupt of the same.
    fn alone<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        if self.is_used.load(Ordering::Relaxed) {
            return None;
        }
        self.is_used.store(true, Ordering::Relaxed);
        // All of the work lies between the two for an interrupt of this CPU, which sees the flag in this order.
        compiler_fence(Ordering::SeqCst);
        let result = work();
        compiler_fence(Ordering::SeqCst);
        self.is_used.store(false, Ordering::Relaxed);
        Some(result)
    }
}

/// A record that may be the same as the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) template: u32,
    pub(crate) task: u16,
    pub(crate) spans: u64,
}

/// Takes the words of a record one by one: compares each with the last record's, in whose place it is from now on.
pub(crate) struct Comparison<'a> {
    words: &'a [AtomicU64; LAST_WORDS],
    len: usize,
    is_same: bool,
}

impl Comparison<'_> {
    pub(crate) fn word(&mut self, word: u64) {
        if let Some(last) = self.words.get(self.len) {
            self.is_same &= value(last) == word;
            last.store(word, Ordering::Relaxed);
        }
        self.len += 1;
    }
}

/// Counts a record if it is the same as the one before, of which this says whether it is. `words` gives those of its payload,
/// about so many.
pub(crate) fn folds(
    slot: &Slot,
    of: (u32, usize),
    record: Candidate,
    about_words: usize,
    words: impl FnOnce(&mut Comparison<'_>),
) -> bool {
    let last = &slot.class(of.0).last;
    let compared = last.alone(|| {
        let mut comparison = Comparison { words: &last.words, len: 0, is_same: true };
        if about_words <= LAST_WORDS {
            words(&mut comparison);
        }
        let is_short = about_words.max(comparison.len) <= LAST_WORDS;
        last.decide(slot, of, record, comparison.len, comparison.is_same && is_short, is_short)
    });
    compared.unwrap_or(false)
}

/// As [`folds`], of a record that was encoded before.
#[cfg(any(feature = "tracing", feature = "log"))]
#[inline]
pub(crate) fn folds_words(slot: &Slot, of: (u32, usize), record: Candidate, words: &[AtomicU64]) -> bool {
    let last = &slot.class(of.0).last;
    let compared = last.alone(|| {
        let is_short = words.len() <= LAST_WORDS;
        let mut differs = u64::from(!is_short);
        for (last, word) in last.words.iter().zip(words) {
            let word = value(word);
            differs |= value(last) ^ word;
            last.store(word, Ordering::Relaxed);
        }
        last.decide(slot, of, record, words.len(), differs == 0, is_short)
    });
    compared.unwrap_or(false)
}

impl Last {
    /// Whether a record of `len` words that are those of the last one, or are not, is its repetition, and so is counted; it is the
    /// last one from now on.
    #[inline(always)]
    fn decide(
        &self,
        slot: &Slot,
        of: (u32, usize),
        record: Candidate,
        len: usize,
        is_same: bool,
        is_short: bool,
    ) -> bool {
        let surroundings = slot.class(of.0).surroundings();
        let what = u64::from(record.template) | u64::from(record.task) << 32 | u64::from(surroundings) << 48;
        let (len, numbered) = (len as u64, slot.numbered(of.0));
        let differs = value(&self.what) ^ what | value(&self.spans) ^ record.spans | value(&self.len) ^ len;
        if is_same && differs | value(&self.numbered) ^ numbered == 0 {
            self.repeat(slot, of);
            return true;
        }
        // What is said is a record too.
        let numbered = if value(&self.repeated) > 0 { said(slot, of.0) } else { numbered };
        self.what.store(if is_short { what } else { 0 }, Ordering::Relaxed);
        self.spans.store(record.spans, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.numbered.store(numbered.wrapping_add(1), Ordering::Relaxed);
        false
    }

    #[cold]
    #[inline(never)]
    fn repeat(&self, slot: &Slot, of: (u32, usize)) {
        if value(&self.repeated) == 0 {
            self.since.store(crate::clock::ticks(), Ordering::Relaxed);
        }
        self.repeated.store(value(&self.repeated) + 1, Ordering::Relaxed);
        slot.count(Count::Folded, of);
    }
}

/// As [`say`]; how many numbers the class has given then.
#[cold]
#[inline(never)]
fn said(slot: &Slot, class: u32) -> u64 {
    say(slot, class);
    slot.numbered(class)
}

/// Says how often the last record of `class` was repeated, if it was.
fn say(slot: &Slot, class: u32) {
    let last = &slot.class(class).last;
    let count = last.repeated.swap(0, Ordering::Relaxed);
    if count > 0 {
        let ticks = crate::clock::ticks().wrapping_sub(value(&last.since));
        let id = EventId((value(&last.what) & 0x1fff) as u16).callsite();
        summary::repeated(slot, Kept { class, id: id.into(), count, ticks });
    }
}

/// Says what was repeated and has not been said for `hz` ticks; or all of it.
pub(crate) fn flush(slot: &Slot, all_of_it: bool, hz: u64) {
    for class in 0..2 {
        let last = &slot.class(class).last;
        let is_due = || crate::clock::ticks().wrapping_sub(value(&last.since)) >= hz;
        if value(&last.repeated) > 0 && (all_of_it || is_due()) {
            last.alone(|| {
                let is_last = value(&last.numbered) == slot.numbered(class);
                say(slot, class);
                if is_last {
                    // What is said of a record does not come between it and the next.
                    last.numbered.store(slot.numbered(class), Ordering::Relaxed);
                }
            });
        }
    }
}

fn value(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}
