//! The fields of the spans around a record, written before it into its own ring: [`fata_wire::log::context`].
//!
//! Once for each packet, and again when the spans, or their fields, are others; so records of one request cost its fields once.
//! An interrupt within has the same spans around it, and tells them whole.
//!
//! When the ring is full: nothing is told or counted, and the record, should it find room, says that nothing was told. The same
//! where a span cannot be described.

use core::sync::atomic::{AtomicU64, Ordering};

use fata_wire::field::{FieldType, Unit};
use fata_wire::log::context::Of;
use fata_wire::log::{MAX_SPANS, MORE_SPANS, TOLD_SPANS};

use super::slot::Class;
use super::spans::{Entered, Words};
use crate::value::{Extent, FieldSet};

/// In place of a packet's number: nothing was told.
const NOTHING: u64 = u64::MAX;

/// What a log ring was told last.
#[derive(Debug)]
pub(crate) struct Told {
    /// Which spans, with which fields.
    spans: [AtomicU64; MAX_SPANS],
    /// In which packet, at the latest.
    packet: AtomicU64,
    /// How often the spans were others than before.
    changes: AtomicU64,
}

impl Told {
    pub(crate) const fn new() -> Self {
        Told {
            spans: [const { AtomicU64::new(0) }; MAX_SPANS],
            packet: AtomicU64::new(NOTHING),
            changes: AtomicU64::new(0),
        }
    }

    /// Another number than before, and what the ring was told is something else: for who compares records.
    pub(crate) fn changes(&self) -> u16 {
        (self.changes.load(Ordering::Relaxed) & 0xffff) as u16
    }

    fn are(&self, spans: &[u64; MAX_SPANS]) -> bool {
        self.spans.iter().zip(spans).all(|(told, span)| told.load(Ordering::Relaxed) == *span)
    }

    fn note(&self, spans: &[u64; MAX_SPANS], packet: u64) {
        if !self.are(spans) {
            self.changes.store(self.changes.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            self.spans.iter().zip(spans).for_each(|(told, span)| told.store(*span, Ordering::Relaxed));
        }
        self.packet.store(packet, Ordering::Relaxed);
    }
}

impl Entered {
    /// Tells the ring of `class` the fields of the spans that are entered, unless it knows. Returns what a record adds to its
    /// word of spans: [`TOLD_SPANS`], where it is true, and where there is something to tell.
    #[inline]
    pub(crate) fn tell(&self, class: &Class) -> u64 {
        if self.word() & !MORE_SPANS == 0 { 0 } else { self.tell_fields(class) }
    }

    #[inline(never)]
    fn tell_fields(&self, class: &Class) -> u64 {
        let told = &class.told;
        let (mut spans, mut has_fields) = ([0; MAX_SPANS], false);
        for (to, around) in spans.iter_mut().zip(self.named()) {
            *to = around.identity();
            has_fields |= around.has_fields();
        }
        if !has_fields {
            return 0;
        }
        // Before the first is written: if a packet ends in between, the next record tells the new one all of them.
        let packet = u64::from(class.writer.youngest());
        if told.packet.load(Ordering::Relaxed) == packet && told.are(&spans) {
            return TOLD_SPANS;
        }
        told.packet.store(NOTHING, Ordering::Relaxed);
        let is_cut = self.word() & MORE_SPANS != 0;
        let are_told = (0..).zip(self.named()).all(|(place, around)| {
            around.context().is_some_and(|(template, fields)| {
                let span = Of { callsite: around.callsite, place, is_cut };
                class.writer.record_beside(template, Context { span, fields })
            })
        });
        if !are_told {
            return 0;
        }
        told.note(&spans, packet);
        TOLD_SPANS
    }
}

/// What is written of one span.
struct Context<'a> {
    span: Of,
    fields: Words<'a>,
}

impl FieldSet for Context<'_> {
    const LEN: usize = 0;
    const NARROW: bool = true;
    const TEXT: bool = true;
    const WORDS: usize = 0;

    fn arg(&self) -> u16 {
        self.span.arg()
    }

    fn text_words(&self) -> usize {
        self.fields.text_words()
    }

    fn put(&self, slot: &mut impl FnMut(u64), narrow_taken: bool, text_words_left: usize) {
        self.fields.put(slot, narrow_taken, text_words_left);
    }

    fn types(_types: &mut impl FnMut(FieldType, Unit)) {}

    fn extent(&self) -> Extent {
        self.fields.extent()
    }
}
