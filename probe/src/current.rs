//! The stream that the running code records into, and the way of an event there.
//!
//! Invariant: a writer is used by one vCPU, or one thread, at a time, which is what its unlocked instructions need. On the
//! host each thread has a stream of its own or none; on bare metal there is one vCPU. An event of a thread without a stream
//! is not recorded.

use crate::callsite::{Callsite, UNDESCRIBED};
use crate::ring::Writer;
use crate::value::FieldSet;

/// The writer of who has none: a stand-in costs a probe less than a question.
static NOBODY: Writer = Writer::unattached();

#[cfg(feature = "std")]
mod place {
    use core::cell::Cell;

    use super::NOBODY;
    use crate::ring::Writer;

    std::thread_local! {
        static CURRENT: Cell<&'static Writer> = const { Cell::new(&NOBODY) };
    }

    #[inline(always)]
    pub(crate) fn get() -> &'static Writer {
        CURRENT.with(Cell::get)
    }

    pub(crate) fn set(writer: Option<&'static Writer>) {
        CURRENT.with(|current| current.set(writer.unwrap_or(&NOBODY)));
    }
}

#[cfg(not(feature = "std"))]
mod place {
    #![expect(unsafe_code, reason = "a pointer in a static")]
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, Ordering};

    use super::NOBODY;
    use crate::ring::Writer;

    static CURRENT: AtomicPtr<Writer> = AtomicPtr::new((&raw const NOBODY).cast_mut());

    #[inline(always)]
    pub(crate) fn get() -> &'static Writer {
        // Relaxed: there is one vCPU, and an interrupt on it sees its own stores.
        let writer = CURRENT.load(Ordering::Relaxed).cast_const();
        // SAFETY: from the start, and whenever `set` stores, the pointer is a reference that lives for ever.
        unsafe { &*writer }
    }

    pub(crate) fn set(writer: Option<&'static Writer>) {
        CURRENT.store(ptr::from_ref(writer.unwrap_or(&NOBODY)).cast_mut(), Ordering::Relaxed);
    }
}

pub(crate) use place::{get, set};

/// Records an event of `callsite`, which is on with `template`. For the macros. Returns whether it was recorded.
#[inline(always)]
pub fn record<F: FieldSet>(callsite: &'static Callsite, template: u32, fields: F) -> bool {
    record_in(get(), callsite, template, fields)
}

/// As [`record`], into a ring of its own.
#[inline(always)]
pub(crate) fn record_in<F: FieldSet>(writer: &Writer, callsite: &'static Callsite, template: u32, fields: F) -> bool {
    if F::LEN > 0 && template & UNDESCRIBED != 0 {
        return describe_and_record(writer, callsite, fields);
    }
    writer.record(template, fields)
}

#[cold]
#[inline(never)]
fn describe_and_record<F: FieldSet>(writer: &Writer, callsite: &'static Callsite, fields: F) -> bool {
    match crate::describe::describe(callsite, crate::value::types::<F>) {
        crate::describe::Outcome::Described(template) => writer.record(template, fields),
        crate::describe::Outcome::Busy => {
            writer.discard(fata_wire::packet::Cause::Nested);
            false
        }
        crate::describe::Outcome::NoRoom => false,
    }
}
