//! The two log rings of a vCPU, and what is counted beside them.
//!
//! Invariant: a slot is used by one vCPU, or one thread, at a time, like the rings in it. Numbers are given before a record
//! is offered to the ring, so a record that finds no room leaves a number that is missing.
#![expect(unsafe_code, reason = "counts in the header page through a pointer")]

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use fata_wire::log::{ACCOUNT_BYTES, CLASS_LEVELS, CUT_OFFSET, Count};

use crate::region::Region;
use crate::ring::{Writer, add_local, add_shared};

/// Guests have at most so many pairs of log streams.
pub(crate) const MAX_LOGS: usize = 5;

/// The log rings of one vCPU or thread.
#[derive(Debug)]
pub(crate) struct Slot {
    classes: [Class; 2],
}

/// One log ring, its numbers and its account.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) writer: Writer,
    /// The number of the next record of each level.
    numbers: [AtomicU64; CLASS_LEVELS],
    /// The account in the header page.
    account: AtomicPtr<u64>,
    #[cfg(feature = "tracing")]
    pub(crate) last: super::fold::Last,
}

/// The account of who has none.
static NO_ACCOUNT: [AtomicU64; ACCOUNT_BYTES / 8] = [const { AtomicU64::new(0) }; ACCOUNT_BYTES / 8];

/// The slot of who has none: records nothing.
pub(crate) static NOBODY: Slot = Slot::unattached();

impl Slot {
    pub(crate) const fn unattached() -> Self {
        Slot { classes: [const { Class::unattached() }; 2] }
    }

    /// Makes these the rings of the log streams `stream` (ordinary) and `stream + 1` (reserved).
    pub(crate) fn attach(&self, region: &'static Region, stream: u32) {
        for (class, stream) in self.classes.iter().zip(stream..) {
            class.account.store(region.log_account(stream), Ordering::Relaxed);
            class.writer.attach(region, stream);
        }
    }

    /// Says what has not been said, and seals both rings for good.
    pub(crate) fn finish(&'static self) {
        super::limit::flush(self, true);
        for class in &self.classes {
            class.writer.finish();
        }
    }

    /// Seals what both rings hold, so that it is read now.
    pub(crate) fn flush(&self) {
        self.classes.iter().for_each(|class| class.writer.flush());
    }

    /// The ring of class 0 (ordinary) or 1 (reserved).
    #[inline(always)]
    pub(crate) fn class(&self, class: u32) -> &Class {
        &self.classes[(class & 1) as usize]
    }
}

impl Class {
    const fn unattached() -> Self {
        Class {
            writer: Writer::unattached(),
            numbers: [const { AtomicU64::new(0) }; CLASS_LEVELS],
            account: AtomicPtr::new((&raw const NO_ACCOUNT).cast::<u64>().cast_mut()),
            #[cfg(feature = "tracing")]
            last: super::fold::Last::new(),
        }
    }

    /// The number of a new record of the level at `place`.
    #[inline(always)]
    pub(crate) fn number(&self, place: usize) -> u64 {
        self.count(Count::Offered, place);
        add_local(&self.numbers[place], 1)
    }

    /// Counts a record of the level at `place`.
    #[inline(always)]
    pub(crate) fn count(&self, count: Count, place: usize) {
        self.add(count.offset(place), 1);
    }

    /// Counts a record whose text was cut.
    #[cold]
    pub(crate) fn count_cut(&self) {
        self.add(CUT_OFFSET, 1);
    }

    #[inline(always)]
    pub(crate) fn add(&self, offset: usize, n: u64) {
        let account = self.account.load(Ordering::Relaxed);
        // SAFETY: the pointer is that of an account, in a static or in a region's header page, both of which live for ever
        // and are `ACCOUNT_BYTES` long; all offsets come from `fata_wire::log` and lie within. Of a region's account this
        // CPU is the only writer; what the nobodies of several threads count is not read.
        unsafe { add_shared(account.wrapping_byte_add(offset), n) };
    }
}

pub(crate) fn get() -> &'static Slot {
    super::context::with(super::context::Context::slot)
}

pub(crate) fn set(slot: Option<&'static Slot>) {
    super::context::with(|context| context.set_slot(slot));
}
