//! The stream that the running code records into, and the way of an event there.
//!
//! Invariant: a writer is used by one vCPU, or one thread, at a time, which is what its unlocked instructions need. On the
//! host each thread has a stream of its own or none; on bare metal there is one vCPU. An event of a thread without a stream
//! is not recorded.

use crate::callsite::{Callsite, UNDESCRIBED};
use crate::ring::Writer;
use crate::value::FieldSet;

#[cfg(feature = "std")]
mod place {
    use core::cell::Cell;

    use crate::ring::Writer;

    std::thread_local! {
        static CURRENT: Cell<Option<&'static Writer>> = const { Cell::new(None) };
    }

    #[inline(always)]
    pub(crate) fn get() -> Option<&'static Writer> {
        CURRENT.with(Cell::get)
    }

    pub(crate) fn set(writer: Option<&'static Writer>) {
        CURRENT.with(|current| current.set(writer));
    }
}

#[cfg(not(feature = "std"))]
mod place {
    #![expect(unsafe_code, reason = "a pointer in a static")]
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, Ordering};

    use crate::ring::Writer;

    static CURRENT: AtomicPtr<Writer> = AtomicPtr::new(ptr::null_mut());

    #[inline(always)]
    pub(crate) fn get() -> Option<&'static Writer> {
        // Relaxed: there is one vCPU, and an interrupt on it sees its own stores.
        let writer = CURRENT.load(Ordering::Relaxed);
        // SAFETY: `set` stores null or a reference that lives for ever.
        unsafe { writer.cast_const().as_ref() }
    }

    pub(crate) fn set(writer: Option<&'static Writer>) {
        CURRENT.store(writer.map_or(ptr::null_mut(), |writer| ptr::from_ref(writer).cast_mut()), Ordering::Relaxed);
    }
}

pub(crate) use place::{get, set};

/// Records an event of `callsite`, which is on with `template`. For the macros. Returns whether it was recorded.
#[inline(always)]
pub fn record<F: FieldSet>(callsite: &'static Callsite, template: u32, fields: F) -> bool {
    let Some(writer) = get() else { return false };
    if F::LEN > 0 && template & UNDESCRIBED != 0 {
        return describe_and_record(writer, callsite, fields);
    }
    writer.record(template, fields)
}

#[cold]
#[inline(never)]
fn describe_and_record<F: FieldSet>(writer: &'static Writer, callsite: &'static Callsite, fields: F) -> bool {
    match crate::describe::describe(callsite, crate::value::types::<F>) {
        crate::describe::Outcome::Described(template) => writer.record(template, fields),
        crate::describe::Outcome::Busy => {
            writer.discard(fata_wire::packet::Cause::Nested);
            false
        }
        crate::describe::Outcome::NoRoom => false,
    }
}
