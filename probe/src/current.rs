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

    use fata_wire::shared::MAX_STREAMS;

    use crate::ring::Writer;

    /// The writer of who has none: a stand-in costs a probe less than a question.
    static NOBODY: Writer = Writer::unattached();

    std::thread_local! {
        static CURRENT: Cell<&'static Writer> = const { Cell::new(&NOBODY) };
    }

    #[inline(always)]
    pub(crate) fn get() -> &'static Writer {
        CURRENT.with(Cell::get)
    }

    /// From now on the thread records by `writer`, or not at all.
    pub(crate) fn set(writer: Option<&'static Writer>) {
        CURRENT.with(|current| current.set(writer.unwrap_or(&NOBODY)));
    }

    /// The writers of a region: one for each stream.
    #[derive(Debug)]
    pub(crate) struct Writers([Writer; MAX_STREAMS as usize]);

    impl Writers {
        pub(crate) const fn new() -> Self {
            Writers([const { Writer::unattached() }; MAX_STREAMS as usize])
        }

        pub(crate) fn get(&self, stream: u32) -> Option<&Writer> {
            self.0.get(stream as usize)
        }
    }
}

#[cfg(not(feature = "std"))]
mod place {
    use crate::ring::Writer;

    /// The writer of the one vCPU. Its place is known at link time, which spares each event a load: it records nothing until it
    /// is attached, and nothing after it has finished.
    static VCPU: Writer = Writer::unattached();

    #[inline(always)]
    pub(crate) fn get() -> &'static Writer {
        &VCPU
    }

    /// There is one vCPU and one writer, which knows by itself whether it is attached.
    pub(crate) fn set(_writer: Option<&'static Writer>) {}

    /// The writers of the region: the vCPU's, of stream 0.
    #[derive(Debug)]
    pub(crate) struct Writers;

    impl Writers {
        pub(crate) const fn new() -> Self {
            Writers
        }

        pub(crate) fn get(&self, stream: u32) -> Option<&'static Writer> {
            (stream == 0).then_some(&VCPU)
        }
    }
}

pub(crate) use place::{Writers, get, set};

/// Records an event of `callsite`, which is on with `template`. For the macros. Returns whether it was recorded.
#[inline(always)]
pub fn record<F: FieldSet>(callsite: &'static Callsite, template: u32, fields: F) -> bool {
    let writer = get();
    match writer.try_record(template, fields) {
        Ok(()) => true,
        Err(fields) if F::LEN > 0 => describe_and_record(writer, callsite, template, fields).is_ok(),
        Err(fields) => writer.record_slowly(template, fields),
    }
}

/// Does what is seldom done, by code that lies elsewhere.
#[cold]
#[inline(never)]
pub fn seldom<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// A log record that found no room, or whose callsite's description found none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    /// How long it would have been in the ring.
    pub(crate) words: usize,
    pub(crate) is_undescribed: bool,
}

/// As [`record`], of a log record: into a ring of its own.
#[inline(always)]
pub(crate) fn record_log<F: FieldSet>(
    writer: &Writer,
    callsite: &'static Callsite,
    template: u32,
    fields: F,
) -> Result<(), Lost> {
    const { assert!(F::LEN > 0, "a log record has a number") };
    writer.try_record(template, fields).or_else(|fields| describe_and_record(writer, callsite, template, fields))
}

/// What is unusual about the event may be that its callsite is not described yet.
#[cold]
#[inline(never)]
fn describe_and_record<F: FieldSet>(
    writer: &Writer,
    callsite: &'static Callsite,
    template: u32,
    fields: F,
) -> Result<(), Lost> {
    let words = 1 + fields.extent().words;
    let (recorded, is_undescribed) = if template & UNDESCRIBED == 0 {
        (writer.record_slowly(template, fields), false)
    } else {
        match crate::describe::describe(callsite, crate::value::types::<F>) {
            crate::describe::Outcome::Described(template) => (writer.record(template, fields), false),
            crate::describe::Outcome::Busy => {
                writer.discard(fata_wire::packet::Cause::Nested);
                (false, false)
            }
            crate::describe::Outcome::NoRoom => (false, true),
        }
    };
    if recorded { Ok(()) } else { Err(Lost { words, is_undescribed }) }
}
