//! The macro [`log!`](crate::log!): records whose fields the compiler knows.
//!
//! The text of the record is the callsite's name, so it never travels; what travels is number, task and fields.

#[cfg(feature = "log")]
use core::sync::atomic::AtomicU64;

use fata_wire::event::MAX_INLINE_WORDS;
use fata_wire::field::{FieldType, Level};
use fata_wire::log::{Count, class_of};

use super::context;
use super::fold::{self, Candidate};
use super::limit::{Bucket, Length};
#[cfg(feature = "log")]
use super::payload::{Missing, Payload};
use super::slot::Slot;
use crate::callsite::{Callsite, UNDESCRIBED};
#[cfg(feature = "log")]
use crate::current::Lost;
use crate::value::{Cons, Extent, FieldSet, TaskId, Value};

/// The spans that are entered where a record is made, as [`fata_wire::log::SPANS`] has them. For the macro.
#[derive(Clone, Copy, Debug)]
pub struct Spans;

impl Value for Spans {
    const TYPE: FieldType = FieldType::U64;

    fn word(&self) -> u64 {
        context::with(context::Context::spans)
    }
}

/// Fields of which texts are cut so that the record fits every log packet.
struct Bounded<F>(F);

/// The longest payload of a record, in words: what the smallest packet holds.
const MAX_WORDS: usize = (fata_wire::packet::MIN_PACKET_BYTES as usize - fata_wire::packet::HEADER_BYTES) / 8 - 8;

impl<F: FieldSet> FieldSet for Bounded<F> {
    const LEN: usize = F::LEN;
    const NARROW: bool = F::NARROW;
    const TEXT: bool = F::TEXT;
    const WORDS: usize = F::WORDS;

    #[inline(always)]
    fn arg(&self) -> u16 {
        self.0.arg()
    }

    #[inline(always)]
    fn text_words(&self) -> usize {
        self.0.text_words()
    }

    #[inline(always)]
    fn put(&self, slot: &mut impl FnMut(u64), narrow_taken: bool, text_words_left: usize) {
        self.0.put(slot, narrow_taken, text_words_left);
    }

    fn types(types: &mut impl FnMut(FieldType, fata_wire::field::Unit)) {
        F::types(types);
    }

    #[inline(always)]
    fn extent(&self) -> Extent {
        let mut extent = self.0.extent();
        if F::TEXT && extent.words > MAX_WORDS {
            extent.text_words -= extent.words - MAX_WORDS;
            extent.words = MAX_WORDS;
        }
        extent
    }
}

/// Makes a record of `callsite`, which is on with `template`. For the macro.
#[inline(always)]
pub fn record<F: FieldSet>(
    callsite: &'static Callsite,
    bucket: &'static Bucket,
    level: Level,
    template: u32,
    fields: F,
) {
    // What is asked of the thread-local is small, so that it is inlined and the rest is not a function of its own.
    let text_words = F::TEXT.then_some(|| text_words(&fields));
    if bucket.is_empty() && context::with(context::Context::slot).floods.counts(key(bucket), text_words) {
        return;
    }
    let (slot, task, is_due) = context::with(|context| (context.slot(), context.task(), context.is_due()));
    if is_due {
        return record_late(callsite, bucket, level, template, fields);
    }
    make(slot, task, callsite, bucket, level, template, fields);
}

/// The address by which the rate limit knows a callsite.
#[inline(always)]
fn key(bucket: &'static Bucket) -> usize {
    core::ptr::from_ref(bucket).addr()
}

/// How many words the texts of a record take, or as many of them as a record holds.
#[inline(always)]
fn text_words<F: FieldSet>(fields: &F) -> u16 {
    // What a record holds has less than 2^16 words.
    u16::try_from(fields.text_words().min(MAX_WORDS)).unwrap_or(0)
}

/// How long a record is in the ring besides its texts: header, number, and the length that is written out where there are texts.
#[inline(always)]
const fn length<F: FieldSet>() -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "as many words as 12 fields take")]
    let words = (2 + F::WORDS + if F::TEXT || 1 + F::WORDS > MAX_INLINE_WORDS { 1 } else { 0 }) as u16;
    words
}

/// As [`record`], where the thread has to look for a stream first.
#[cold]
#[inline(never)]
fn record_late<F: FieldSet>(
    callsite: &'static Callsite,
    bucket: &'static Bucket,
    level: Level,
    template: u32,
    fields: F,
) {
    context::recording(|context| make(context.slot(), context.task(), callsite, bucket, level, template, fields));
}

#[inline(always)]
fn make<F: FieldSet>(
    slot: &'static Slot,
    task: u16,
    callsite: &'static Callsite,
    bucket: &'static Bucket,
    level: Level,
    template: u32,
    fields: F,
) {
    let length = || (Length::Words(length::<F>()), text_words(&fields));
    if bucket.allows(slot, level, || callsite.id().unwrap_or(0), key(bucket), length) {
        put(slot, task, callsite, level, template, fields);
    }
}

/// Makes a record that has its token.
#[inline(always)]
fn put<F: FieldSet>(slot: &Slot, task: u16, callsite: &'static Callsite, level: Level, template: u32, fields: F) {
    let of = class_of(level);
    if matches!(level, Level::Warn | Level::Error) {
        context::with(|context| context.tell_reserved(slot));
    }
    if F::TEXT && is_repeated(slot, of, task, template, &fields) {
        return;
    }
    let list = Bounded(Cons(slot.number(of), Cons(TaskId(task), fields)));
    if F::TEXT && list.text_words() > MAX_WORDS {
        slot.count_cut(of.0);
    }
    if let Err(lost) = crate::current::record_log(&slot.class(of.0).writer, callsite, template, list) {
        slot.lose(of, lost);
    }
}

/// Whether a record is the same as the one before, and so is counted instead. Records without a text are not asked: to compare
/// them would cost more than they do.
#[inline(never)]
fn is_repeated<F: FieldSet>(slot: &Slot, of: (u32, usize), task: u16, template: u32, fields: &F) -> bool {
    let extent = fields.extent();
    let candidate = Candidate { template: template & !UNDESCRIBED, task, spans: 0 };
    fold::folds(slot, of, candidate, extent.words, |comparison| {
        fields.put(&mut |word| comparison.word(word), true, extent.text_words);
    })
}

/// As [`record`], of something that happened in the task of this number. `is_cut` says that a text among the fields is.
#[cfg(feature = "profiling")]
pub(super) fn record_of<F: FieldSet>(
    callsite: &'static Callsite,
    bucket: &'static Bucket,
    level: Level,
    template: u32,
    task: u16,
    is_cut: bool,
    fields: F,
) {
    context::recording(|context| {
        let slot = context.slot();
        let length = || (Length::Words(length::<F>()), text_words(&fields));
        if bucket.allows(slot, level, || callsite.id().unwrap_or(0), key(bucket), length) {
            if is_cut {
                slot.count_cut(class_of(level).0);
            }
            put(slot, task, callsite, level, template, fields);
        }
    });
}

/// Whether one more record of the place that `bucket` is for may be made, before what it says is put together. `id` is that by
/// which summaries name the place.
#[cfg(feature = "log")]
pub(super) fn is_admitted(bucket: &'static Bucket, level: Level, id: impl FnOnce() -> u16) -> bool {
    context::recording(|context| {
        let (slot, key) = (context.slot(), key(bucket));
        let (text_words, length) = (None::<fn() -> u16>, || (Length::AsLast, 0));
        !slot.floods.counts(key, text_words) && bucket.allows(slot, level, id, key, length)
    })
}

/// Makes a record that has its token, as [`is_admitted`] said; `is_cut` says that a text among its fields is.
#[cfg(feature = "log")]
pub(super) fn admitted<F: FieldSet>(
    callsite: &'static Callsite,
    bucket: &'static Bucket,
    level: Level,
    template: u32,
    is_cut: bool,
    fields: F,
) {
    bucket.note_length(usize::from(length::<F>()) + usize::from(text_words(&fields)), true);
    context::recording(|context| {
        let slot = context.slot();
        if is_cut {
            slot.count_cut(class_of(level).0);
        }
        put(slot, context.task(), callsite, level, template, fields);
    });
}

/// As [`admitted`], of fields that were encoded before.
#[cfg(feature = "log")]
pub(super) fn admitted_words(
    bucket: &'static Bucket,
    level: Level,
    template: Result<u32, Missing>,
    words: &[AtomicU64],
    is_cut: bool,
) {
    context::recording(|context| encoded(context, bucket, level, template, words, is_cut));
}

/// As [`admitted_words`], in this context.
#[cfg(feature = "log")]
#[inline]
pub(super) fn encoded(
    context: &context::Context,
    bucket: &'static Bucket,
    level: Level,
    template: Result<u32, Missing>,
    words: &[AtomicU64],
    is_cut: bool,
) {
    let (slot, of) = (context.slot(), class_of(level));
    let task = context.task();
    if is_cut {
        slot.count_cut(of.0);
    }
    let length = Payload::words_of(words.len(), true);
    bucket.note_length(length, true);
    let template = match template {
        Ok(template) => template,
        Err(missing) => return slot.miss(of, missing, length),
    };
    let spans = context.spans_told(slot.class(of.0));
    if fold::folds_words(slot, of, Candidate { template, task, spans }, words) {
        return;
    }
    let payload = Payload { seq: slot.number(of), spans, words, text: true, task };
    if !slot.class(of.0).writer.record(template, payload) {
        slot.lose(of, Lost { words: length, is_undescribed: false });
    }
}

/// Counts a record that a rule kept out. For the macro.
#[inline(always)]
pub fn filtered(level: Level) {
    if matches!(level, Level::Warn | Level::Error) {
        context::recording(|context| context.slot().count(Count::Filtered, class_of(level)));
    }
}
