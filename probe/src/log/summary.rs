//! What the log says of itself, in its own records: how many were suppressed, how often the last one was repeated.
//!
//! Invariant: both are records of the class that they speak of, so whoever reads that stream alone can add up. They are described
//! before anything else, so that there is room for it.

use fata_wire::field::{Kind, Level};
use fata_wire::log::{REPEATED, SEQ, SUPPRESSED, TASK, class_of};

use super::slot::Slot;
use crate::callsite::{Callsite, TypesFn};
use crate::value::{Cons, FieldSet, Nil, TaskId};

/// The target of these records; no rule turns them off.
pub(crate) use fata_wire::log::summary::OWN_TARGET as TARGET;

macro_rules! own {
    ($name:ident, $level:ident, $text:expr, $($field:literal),+) => {
        #[used]
        #[unsafe(link_section = "fata_callsites")]
        #[expect(unsafe_code, reason = "a callsite lies in the linker's section of callsites")]
        static $name: Callsite = Callsite::new(
            Kind::Log, Level::$level, TARGET, $text, file!(), line!(), &[SEQ, TASK, $($field),+],
        );
    };
}

own!(SUPPRESSED_ORDINARY, Info, SUPPRESSED, "callsite", "count", "within_ticks", "bytes", "is_about");
own!(SUPPRESSED_RESERVED, Warn, SUPPRESSED, "callsite", "count", "within_ticks", "bytes", "is_about");
own!(REPEATED_ORDINARY, Info, REPEATED, "callsite", "count", "within_ticks");
own!(REPEATED_RESERVED, Warn, REPEATED, "callsite", "count", "within_ticks");

/// What is before the fields of a summary, and what is after what all of them have.
type Told<More> = Cons<u64, Cons<TaskId, Cons<u64, Cons<u64, Cons<u64, More>>>>>;
type Suppressed = Told<Cons<u64, Cons<bool, Nil>>>;
type Repeated = Told<Nil>;

/// The callsites of these records, and what knows the types of their fields.
pub(crate) fn own() -> [(&'static Callsite, TypesFn); 4] {
    [
        (&SUPPRESSED_ORDINARY, crate::value::types::<Suppressed>),
        (&SUPPRESSED_RESERVED, crate::value::types::<Suppressed>),
        (&REPEATED_ORDINARY, crate::value::types::<Repeated>),
        (&REPEATED_RESERVED, crate::value::types::<Repeated>),
    ]
}

/// Records of one callsite, of which so many were not made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// The class of the records.
    pub(crate) class: u32,
    /// The callsite.
    pub(crate) id: u32,
    pub(crate) count: u64,
    /// From the first to now, at most.
    pub(crate) ticks: u64,
}

/// So many records of a callsite were suppressed, which would have been so long, or about so long.
pub(crate) fn suppressed(slot: &Slot, kept: Kept, bytes: u64, is_about: bool) {
    let callsite = if kept.class == 1 { &SUPPRESSED_RESERVED } else { &SUPPRESSED_ORDINARY };
    slot.class(kept.class).writer.count_suppressed(bytes);
    say(slot, callsite, kept, Cons(bytes, Cons(is_about, Nil)));
}

fn say<F: FieldSet>(slot: &Slot, callsite: &'static Callsite, kept: Kept, more: F) {
    let Some(template) = callsite.enabled() else { return };
    let of = class_of(callsite.level);
    let Kept { id, count, ticks, .. } = kept;
    let told: Told<F> = Cons(slot.number(of), Cons(TaskId(0), Cons(u64::from(id), Cons(count, Cons(ticks, more)))));
    if let Err(lost) = crate::current::record_log(&slot.class(of.0).writer, callsite, template, told) {
        slot.lose(of, lost);
    }
}

/// The record before was repeated so often.
pub(crate) fn repeated(slot: &Slot, kept: Kept) {
    let callsite = if kept.class == 1 { &REPEATED_RESERVED } else { &REPEATED_ORDINARY };
    say(slot, callsite, kept, Nil);
}
