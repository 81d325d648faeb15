//! A record whose fields were encoded before, as it lies in the ring.

use core::sync::atomic::{AtomicU64, Ordering};

use fata_wire::field::{FieldType, Unit};

use crate::value::{Extent, FieldSet};

/// What a record consists of.
pub(crate) struct Payload<'a> {
    pub(crate) seq: u64,
    pub(crate) spans: u64,
    pub(crate) words: &'a [AtomicU64],
    /// A text is among the words.
    pub(crate) text: bool,
    pub(crate) task: u16,
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
