//! The two log rings of a vCPU, and what is counted beside them.
//!
//! Invariant: a slot is used by one vCPU, or one thread, at a time, like the rings in it. Numbers are given before a record
//! is offered to the ring, so a record that finds no room leaves a number that is missing.
#![expect(unsafe_code, reason = "counts in the header page through a pointer")]

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use fata_wire::log::{ACCOUNT_BYTES, CLASS_LEVELS, CUT_OFFSET, Count};

use super::flood::Floods;
use super::limit::{Tallies, Tally};
use crate::current::Lost;
use crate::region::Region;
use crate::ring::{Writer, add_local, add_shared};

/// Guests have at most so many pairs of log streams.
pub(crate) const MAX_LOGS: usize = 5;

/// The log rings of one vCPU or thread.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Slot {
    /// First, so that it is found without an addition.
    pub(crate) floods: Floods,
    /// The two accounts in the header page, one after the other.
    accounts: AtomicPtr<u64>,
    pub(crate) tallies: Tallies,
    classes: [Class; 2],
}

/// One log ring and its numbers.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) writer: Writer,
    /// The number of the next record of each level.
    numbers: [AtomicU64; CLASS_LEVELS],
    pub(crate) last: super::fold::Last,
    #[cfg(feature = "tracing")]
    pub(crate) told: super::told::Told,
}

/// The accounts of who has none.
static NO_ACCOUNTS: [AtomicU64; 2 * ACCOUNT_BYTES / 8] = [const { AtomicU64::new(0) }; 2 * ACCOUNT_BYTES / 8];

/// The slot of who has none: records nothing.
pub(crate) static NOBODY: Slot = Slot::unattached();

impl Slot {
    pub(crate) const fn unattached() -> Self {
        Slot {
            floods: Floods::new(),
            accounts: AtomicPtr::new((&raw const NO_ACCOUNTS).cast::<u64>().cast_mut()),
            tallies: Tallies::new(),
            classes: [const { Class::unattached() }; 2],
        }
    }

    /// Makes these the rings of the log streams `stream` (ordinary) and `stream + 1` (reserved).
    pub(crate) fn attach(&self, region: &'static Region, stream: u32) {
        self.accounts.store(region.log_account(stream), Ordering::Relaxed);
        for (class, stream) in self.classes.iter().zip(stream..) {
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

    /// Goes on by a clock that was changed.
    pub(crate) fn change_clock(&self) {
        self.classes.iter().for_each(|class| class.writer.change_clock());
    }

    /// The ring of class 0 (ordinary) or 1 (reserved).
    #[inline(always)]
    pub(crate) fn class(&self, class: u32) -> &Class {
        &self.classes[(class & 1) as usize]
    }

    /// The number of a new record of this class and of the level at this place in it.
    #[inline(always)]
    pub(crate) fn number(&self, (class, place): (u32, usize)) -> u64 {
        self.count(Count::Offered, (class, place));
        add_local(&self.class(class).numbers[place], 1)
    }

    /// How many numbers were given in this class.
    pub(crate) fn numbered(&self, class: u32) -> u64 {
        self.class(class).numbers.iter().fold(0, |sum, next| sum.wrapping_add(next.load(Ordering::Relaxed)))
    }

    /// Counts a record of this class and of the level at this place in it.
    #[inline(always)]
    pub(crate) fn count(&self, count: Count, of: (u32, usize)) {
        self.add_one(offset(count, of));
    }

    /// Counts a record that was given its number and cannot be made.
    #[cold]
    #[inline(never)]
    pub(crate) fn lose(&self, of: (u32, usize), lost: Lost) {
        self.count(Count::Discarded, of);
        self.class(of.0).writer.lose(lost.words, lost.is_undescribed);
    }

    /// Counts a record whose text was cut.
    #[cold]
    pub(crate) fn count_cut(&self, class: u32) {
        self.add_one(account_of(class) + CUT_OFFSET);
    }

    #[inline(always)]
    fn add_one(&self, offset: usize) {
        // SAFETY: the pointer is that of two accounts, in a static or in a region's header page, both of which live for ever,
        // and all offsets come from `offset` and `count_cut` and lie within. Of a region's accounts this CPU is the only
        // writer; what the nobodies of several threads count is not read.
        unsafe { add_shared(self.counter(offset), 1) };
    }

    #[inline(always)]
    fn counter(&self, offset: usize) -> *mut u64 {
        debug_assert!(offset < 2 * ACCOUNT_BYTES, "beyond the accounts");
        self.accounts.load(Ordering::Relaxed).wrapping_byte_add(offset)
    }

    /// The callsite at `key` makes too many records: from now on they are counted by `floods`, as [`count`](Slot::count) would,
    /// and in `tally`. Nobody's are not: there several threads would count.
    pub(crate) fn flooded(&self, key: usize, count: Count, of: (u32, usize), tally: &'static Tally) {
        if !core::ptr::eq(self, &NOBODY) {
            self.floods.put(key, self.counter(offset(count, of)), tally);
        }
    }
}

impl Class {
    const fn unattached() -> Self {
        Class {
            writer: Writer::unattached(),
            numbers: [const { AtomicU64::new(0) }; CLASS_LEVELS],
            last: super::fold::Last::new(),
            #[cfg(feature = "tracing")]
            told: super::told::Told::new(),
        }
    }

    /// Another number than before, and the spans around its records are others, or have other fields.
    #[inline(always)]
    pub(crate) fn surroundings(&self) -> u16 {
        #[cfg(feature = "tracing")]
        return self.told.changes();
        #[cfg(not(feature = "tracing"))]
        return 0;
    }
}

/// Where in a slot's accounts records of this class, and of the level at this place in it, are counted.
#[inline(always)]
const fn offset(count: Count, (class, place): (u32, usize)) -> usize {
    account_of(class) + count.offset(place)
}

const fn account_of(class: u32) -> usize {
    (class & 1) as usize * ACCOUNT_BYTES
}

pub(crate) fn get() -> &'static Slot {
    super::context::with(super::context::Context::slot)
}

pub(crate) fn set(slot: Option<&'static Slot>) {
    super::context::with(|context| context.set_slot(slot));
}
