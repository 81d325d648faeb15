//! What the log says of itself, in its own records: how many were suppressed, how often the last one was repeated.
//!
//! Invariant: both are records of the class that they speak of, so whoever reads that stream alone can add up.

use fata_wire::field::{Kind, Level};
use fata_wire::log::{Count, REPEATED, SEQ, SUPPRESSED, TASK, class_of};

use super::slot::Slot;
use crate::callsite::Callsite;
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

own!(SUPPRESSED_ORDINARY, Info, SUPPRESSED, "callsite", "count", "within_ticks");
own!(SUPPRESSED_RESERVED, Warn, SUPPRESSED, "callsite", "count", "within_ticks");
own!(REPEATED_ORDINARY, Info, REPEATED, "callsite", "count", "within_ticks");
own!(REPEATED_RESERVED, Warn, REPEATED, "callsite", "count", "within_ticks");

/// So many records of the callsite `id` were suppressed.
pub(crate) fn suppressed(slot: &Slot, class: u32, id: u32, count: u64, ticks: u64) {
    let callsite = if class == 1 { &SUPPRESSED_RESERVED } else { &SUPPRESSED_ORDINARY };
    say(slot, callsite, Cons(u64::from(id), Cons(count, Cons(ticks, Nil))));
}

fn say<F: FieldSet>(slot: &Slot, callsite: &'static Callsite, fields: F) {
    let Some(template) = callsite.enabled() else { return };
    let of = class_of(callsite.level);
    let list = Cons(slot.number(of), Cons(TaskId(0), fields));
    if !crate::current::record_in(&slot.class(of.0).writer, callsite, template, list) {
        slot.count(Count::Discarded, of);
    }
}

/// The record before was repeated so often.
pub(crate) fn repeated(slot: &Slot, class: u32, id: u16, count: u64, ticks: u64) {
    let callsite = if class == 1 { &REPEATED_RESERVED } else { &REPEATED_ORDINARY };
    say(slot, callsite, Cons(u64::from(id), Cons(count, Cons(ticks, Nil))));
}
