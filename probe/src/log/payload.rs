//! A record whose fields were encoded before, as it lies in the ring.

use core::sync::atomic::{AtomicU64, Ordering};

use fata_wire::field::{FieldType, Unit};
use fata_wire::packet::Cause;

use super::slot::Slot;
use crate::current::Lost;
use crate::value::{Extent, FieldSet};

/// Why there is no place for a callsite, or no description of what its records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A description is being written beneath us.
    Busy,
    /// There is no room for it.
    NoRoom,
}

impl Slot {
    /// Gives a record of so many words its number, and counts it as one that cannot be made.
    #[cold]
    #[inline(never)]
    pub(crate) fn miss(&self, of: (u32, usize), missing: Missing, words: usize) {
        self.number(of);
        if missing == Missing::Busy {
            self.class(of.0).writer.discard(Cause::Nested);
        }
        self.lose(of, Lost { words, is_undescribed: missing == Missing::NoRoom });
    }
}

/// What a record consists of.
pub(crate) struct Payload<'a> {
    pub(crate) seq: u64,
    pub(crate) spans: u64,
    pub(crate) words: &'a [AtomicU64],
    /// A text is among the words.
    pub(crate) text: bool,
    pub(crate) task: u16,
}

impl Payload<'_> {
    /// How many words a record takes whose fields take so many.
    pub(crate) const fn words_of(fields: usize, text: bool) -> usize {
        1 + Extent::of_words(2 + fields, text).words
    }
}

impl FieldSet for Payload<'_> {
    const LEN: usize = 0;
    const NARROW: bool = true;
    const TEXT: bool = true;
    const WORDS: usize = 0;

    fn arg(&self) -> u16 {
        self.task & (fata_wire::event::ARG_LIMIT - 1)
    }

    fn text_words(&self) -> usize {
        self.words.len()
    }

    #[inline]
    fn put(&self, slot: &mut impl FnMut(u64), _narrow_taken: bool, _text_words_left: usize) {
        slot(self.seq);
        slot(self.spans);
        self.words.iter().for_each(|word| slot(word.load(Ordering::Relaxed)));
    }

    fn types(_types: &mut impl FnMut(FieldType, Unit)) {}

    fn extent(&self) -> Extent {
        Extent::of_words(2 + self.words.len(), self.text)
    }
}
