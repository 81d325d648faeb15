//! Folding: a record that is the same as the one before in its ring is counted, and the count is said once.
//!
//! It is said before the next other record of the ring, and at the latest a second after the first repetition. Records that
//! an interrupt makes within another are never folded, so nobody is interrupted in here.

use core::sync::atomic::{AtomicU64, Ordering};

use fata_wire::event::EventId;

use super::slot::Slot;
use super::summary;

/// Longer records are never folded.
const LAST_WORDS: usize = 32;

/// The youngest record of a class, to which the next is compared.
#[derive(Debug)]
pub(crate) struct Last {
    /// Its template and task; 0 where there is none to compare with.
    what: AtomicU64,
    len: AtomicU64,
    words: [AtomicU64; LAST_WORDS],
    /// How often it was repeated since that was last said.
    repeated: AtomicU64,
    since: AtomicU64,
}

impl Last {
    pub(crate) const fn new() -> Self {
        Last {
            what: AtomicU64::new(0),
            len: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; LAST_WORDS],
            repeated: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    /// Counts a record if it is the same as this.
    pub(crate) fn repeats(&self, template: u32, task: u16, payload: &[AtomicU64]) -> bool {
        let same = self.what.load(Ordering::Relaxed) == what(template, task)
            && self.len.load(Ordering::Relaxed) == payload.len() as u64
            && payload.iter().zip(&self.words).all(|(new, old)| value(new) == value(old));
        if same && self.repeated.fetch_add(1, Ordering::Relaxed) == 0 {
            self.since.store(crate::clock::ticks(), Ordering::Relaxed);
        }
        same
    }

    /// A record that later ones are compared with.
    pub(crate) fn keep(&self, template: u32, task: u16, payload: &[AtomicU64]) {
        let comparable = payload.len() <= LAST_WORDS;
        self.what.store(if comparable { what(template, task) } else { 0 }, Ordering::Relaxed);
        self.len.store(payload.len() as u64, Ordering::Relaxed);
        payload.iter().zip(&self.words).for_each(|(new, old)| old.store(value(new), Ordering::Relaxed));
    }
}

fn what(template: u32, task: u16) -> u64 {
    u64::from(template) | u64::from(task) << 32
}

fn value(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// Says how often the last record of `class` was repeated, if it was.
pub(crate) fn say(slot: &Slot, class: u32) {
    let last = &slot.class(class).last;
    if value(&last.repeated) == 0 {
        return;
    }
    let count = last.repeated.swap(0, Ordering::Relaxed);
    let ticks = crate::clock::ticks().wrapping_sub(value(&last.since));
    let id = EventId((value(&last.what) & 0x1fff) as u16).callsite();
    summary::repeated(slot, class, id, count, ticks);
}

/// Says what was repeated and has not been said for `hz` ticks; or all of it.
pub(crate) fn flush(slot: &Slot, all_of_it: bool, hz: u64) {
    for class in 0..2 {
        let last = &slot.class(class).last;
        let is_due = || crate::clock::ticks().wrapping_sub(value(&last.since)) >= hz;
        if value(&last.repeated) > 0 && (all_of_it || is_due()) {
            say(slot, class);
        }
    }
}
