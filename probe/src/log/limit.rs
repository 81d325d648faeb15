//! The rate limit: a token bucket per callsite, which costs one instruction while there are tokens, and no reading of the clock
//! while there are none.
//!
//! When a bucket is empty the record is counted instead of made; every 64th look reads the clock, and after a second the
//! bucket is full again and one record says how many were suppressed, and within what time. Buckets that have suppressed
//! something are in one list, so that [`tick`] can say so although the callsite is silent now.
//!
//! In a program whose threads share a region ([`crate::threads`]) they share the buckets too, by locked instructions.
#![expect(unsafe_code, reason = "a list of statics")]

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use fata_wire::field::Level;
use fata_wire::log::{Count, class_of};

use super::slot::Slot;
use super::summary;
use crate::ring::add_local;

/// Records per second of one callsite, unless [`set_rate`] says otherwise.
const DEFAULT_RATE: u32 = 1000;

static RATE: AtomicU32 = AtomicU32::new(DEFAULT_RATE);
/// Several threads take tokens, so that they are counted with locked instructions.
static SHARED: AtomicBool = AtomicBool::new(false);
/// Ticks in a second; a guess until the clock is known.
static HZ: AtomicU64 = AtomicU64::new(2_000_000_000);
/// The youngest bucket in the list.
static LISTED: AtomicPtr<Bucket> = AtomicPtr::new(ptr::null_mut());

/// So many suppressed records between two readings of the clock, less one.
const LOOK_MASK: i64 = 63;

/// How many records a callsite may still make. A static beside the callsite.
#[derive(Debug)]
pub struct Bucket {
    /// Tokens; from 0 downwards, as a signed number, the records that were suppressed.
    left: AtomicU64,
    /// The callsite's id and the class of its records, once in the list.
    of: AtomicU32,
    /// The ticks when it was last filled; 0 before the first time.
    since: AtomicU64,
    listed: AtomicBool,
    next: AtomicPtr<Bucket>,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket::new()
    }
}

impl Bucket {
    /// An empty bucket, which the first record fills.
    #[must_use]
    pub const fn new() -> Self {
        Bucket {
            left: AtomicU64::new(0),
            of: AtomicU32::new(0),
            since: AtomicU64::new(0),
            listed: AtomicBool::new(false),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Whether a record may be made: takes a token, or else counts the record as suppressed. `id` is its callsite's.
    #[inline(always)]
    pub(crate) fn allows(&'static self, slot: &Slot, level: Level, id: impl FnOnce() -> u16) -> bool {
        let left = add(&self.left, u64::MAX).cast_signed();
        if left > 0 {
            return true;
        }
        if left & LOOK_MASK == 0 && self.look(slot, level, id()) {
            return true;
        }
        let (class, place) = class_of(level);
        slot.class(class).count(Count::Suppressed, place);
        false
    }

    /// Fills the bucket if it is time; whether the record, which was taken for suppressed, may be made after all.
    #[cold]
    fn look(&'static self, slot: &Slot, level: Level, id: u16) -> bool {
        let now = crate::clock::ticks();
        let since = self.since.load(Ordering::Relaxed);
        let is_over = since == 0 || now.wrapping_sub(since) >= HZ.load(Ordering::Relaxed);
        if is_over && self.begin_period(since, now) {
            let tokens = u64::from(RATE.load(Ordering::Relaxed)).saturating_sub(1);
            // What is exchanged is counted once, whoever else counts meanwhile; our own record was not suppressed.
            let left = self.left.swap(tokens, Ordering::Relaxed).cast_signed() + 1;
            self.say(slot, left.min(0).unsigned_abs(), now.wrapping_sub(since));
            return true;
        }
        self.list(id, class_of(level).0);
        false
    }

    /// Whether the caller, of several that find the period over at the same time, is the one to say what was suppressed.
    fn begin_period(&self, since: u64, now: u64) -> bool {
        self.since.compare_exchange(since, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// How many records were suppressed since the bucket was filled.
    fn suppressed(&self) -> u64 {
        self.left.load(Ordering::Relaxed).cast_signed().min(0).unsigned_abs()
    }

    /// Says how many records were suppressed in the period that began at `since`, and begins a new one.
    fn summarise(&self, slot: &Slot, since: u64, now: u64) {
        if !self.begin_period(since, now) {
            return;
        }
        let empty = |left: u64| (left.cast_signed() < 0).then_some(0);
        if let Ok(left) = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, empty) {
            self.say(slot, left.cast_signed().unsigned_abs(), now.wrapping_sub(since));
        }
    }

    fn say(&self, slot: &Slot, suppressed: u64, ticks: u64) {
        if suppressed > 0 {
            let of = self.of.load(Ordering::Relaxed);
            summary::suppressed(slot, of >> 16, of & 0xffff, suppressed, ticks);
        }
    }

    fn list(&'static self, id: u16, class: u32) {
        if self.listed.swap(true, Ordering::Relaxed) {
            return;
        }
        self.of.store(u32::from(id) | class << 16, Ordering::Relaxed);
        let mut head = LISTED.load(Ordering::Relaxed);
        loop {
            self.next.store(head, Ordering::Relaxed);
            // Release: pairs with the Acquire in `all`; `next` and `of` were stored before.
            match LISTED.compare_exchange_weak(
                head,
                ptr::from_ref(self).cast_mut(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// Every bucket that ever suppressed a record.
fn all() -> impl Iterator<Item = &'static Bucket> {
    let bucket = |pointer: *mut Bucket| {
        // SAFETY: `list` stores references that live for ever; the list's end is null.
        unsafe { pointer.cast_const().as_ref() }
    };
    // Acquire: pairs with the Release in `list`.
    core::iter::successors(bucket(LISTED.load(Ordering::Acquire)), move |young| {
        bucket(young.next.load(Ordering::Relaxed))
    })
}

/// Says what was suppressed and repeated by callsites that are silent now. For schedulers, every so often; cheap where there
/// is nothing to say.
pub fn tick() {
    if crate::ENABLED {
        super::rules::refresh();
        flush(super::slot::get(), false);
    }
}

/// As [`tick`]; `all_of_it` does not wait until a period is over.
pub(crate) fn flush(slot: &'static Slot, all_of_it: bool) {
    if !LISTED.load(Ordering::Relaxed).is_null() {
        let now = crate::clock::ticks();
        let hz = HZ.load(Ordering::Relaxed);
        for bucket in all().filter(|bucket| bucket.suppressed() > 0) {
            let since = bucket.since.load(Ordering::Relaxed);
            if all_of_it || now.wrapping_sub(since) >= hz {
                bucket.summarise(slot, since, now);
            }
        }
    }
    #[cfg(feature = "tracing")]
    super::fold::flush(slot, all_of_it, HZ.load(Ordering::Relaxed));
}

/// Each callsite may make so many records a second; 0 is as many as it wants. In force for a callsite once it has used up
/// what it was allowed before.
pub fn set_rate(records_per_second: u32) {
    RATE.store(if records_per_second == 0 { u32::MAX } else { records_per_second }, Ordering::Relaxed);
}

/// From now on several threads take tokens. Before any of them does.
#[cfg(all(feature = "std", feature = "profiling"))]
pub(crate) fn share() {
    SHARED.store(true, Ordering::Relaxed);
}

/// Adds to a bucket's tokens and returns what there was.
#[inline(always)]
fn add(tokens: &AtomicU64, n: u64) -> u64 {
    if cfg!(feature = "std") && SHARED.load(Ordering::Relaxed) {
        return tokens.fetch_add(n, Ordering::Relaxed);
    }
    add_local(tokens, n)
}

pub(crate) fn set_hz(hz: u64) {
    if hz > 0 {
        HZ.store(hz, Ordering::Relaxed);
    }
}
