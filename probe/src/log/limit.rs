//! The rate limit: a token bucket per callsite, which costs one instruction while there are tokens, and two additions while
//! there are none ([`Floods`](super::flood::Floods)).
//!
//! When a bucket is empty the record is counted instead of made; every 128th one reads the clock, and after a second the
//! bucket is full again and one record says how many were suppressed, and within what time. Buckets that have suppressed
//! something are in one list, so that [`tick`] can say so although the callsite is silent now.
//!
//! In a program whose threads share a region ([`crate::threads`]) they share the tokens too, by locked instructions; but what
//! is suppressed each counts beside its own rings, in the *tally* of the bucket there, so that a flood of several threads is
//! no contest for one counter.
//!
//! How long the suppressed records would have been is known of [`log!`](crate::log!), whose texts are measured where they are not
//! kept. The macros of `tracing`, and the crate `log`, are asked before they put a record together: there it is estimated by the
//! last record of the callsite, and told as an estimate unless all of its fields are numbers.
//!
//! Invariant: `said` is at most the sum of a bucket's tallies, which only grow; what lies between is said in one record, by
//! whoever began a new period.
#![expect(unsafe_code, reason = "a list of statics")]

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use fata_wire::field::Level;
use fata_wire::log::{Count, class_of};

use super::slot::Slot;
use super::summary::{self, Kept};
use crate::region::{self, Region};
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
/// How many buckets have asked for tallies.
static NUMBERED: AtomicU32 = AtomicU32::new(0);

/// The records of a bucket vary in length: the last one's is as good a guess as any.
const VARIES: u32 = 1 << 31;

/// So many buckets have tallies beside the rings, from number 1 on; those that come to suppress something later than these
/// count in one place.
///
/// A model makes a region on the stack of a coroutine, which is short.
const TALLIES: u32 = if cfg!(loom) { 4 } else { 64 };

/// What was suppressed beside one vCPU's, or thread's, rings: by the buckets' numbers.
#[derive(Debug)]
pub(crate) struct Tallies([Tally; TALLIES as usize]);

impl Tallies {
    pub(crate) const fn new() -> Self {
        Tallies([const { Tally::new() }; TALLIES as usize])
    }

    #[inline(always)]
    fn of(&self, number: u32) -> &Tally {
        &self.0[(number % TALLIES) as usize]
    }
}

/// What was suppressed of one bucket's records.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) records: AtomicU64,
    /// The words that their texts would have taken, where that is known.
    pub(crate) text_words: AtomicU64,
}

impl Tally {
    pub(crate) const fn new() -> Self {
        Tally { records: AtomicU64::new(0), text_words: AtomicU64::new(0) }
    }
}

/// How long the records of a callsite are, for those that the limit keeps from being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many words in the ring, besides the texts, whose lengths are added up as they come.
    Words(u16),
    /// As the last one that was made.
    #[cfg(any(feature = "tracing", feature = "log"))]
    AsLast,
}

/// How many records a callsite may still make. A static beside the callsite.
#[derive(Debug)]
pub struct Bucket {
    /// Tokens, as a signed number: there are none from 0 downwards.
    left: AtomicU64,
    /// Which tally is its own; 0 while it has none.
    number: AtomicU32,
    /// The callsite's id and the class of its records, once in the list.
    of: AtomicU32,
    /// What was suppressed while it had no tally.
    others: Tally,
    /// How many of the suppressed were told, and of how many words of texts.
    said: AtomicU64,
    said_words: AtomicU64,
    /// How many words a record takes besides such texts, and [`VARIES`].
    words: AtomicU32,
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
            number: AtomicU32::new(0),
            of: AtomicU32::new(0),
            others: Tally::new(),
            said: AtomicU64::new(0),
            said_words: AtomicU64::new(0),
            words: AtomicU32::new(0),
            since: AtomicU64::new(0),
            listed: AtomicBool::new(false),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Whether a record may be made: takes a token, or else counts the record as suppressed. `id` is its callsite's, `key` the
    /// address by which it is known; `length` is how long it is, and what its texts take of that.
    #[inline(always)]
    pub(crate) fn allows(
        &'static self,
        slot: &'static Slot,
        level: Level,
        id: impl FnOnce() -> u16,
        key: usize,
        length: impl FnOnce() -> (Length, u16),
    ) -> bool {
        self.take() || self.allows_late(slot, level, id(), key, length())
    }

    /// A record of so many words was made: as long are those that are not.
    #[cfg(any(feature = "tracing", feature = "log"))]
    #[inline]
    pub(crate) fn note_length(&self, words: usize, varies: bool) {
        #[expect(clippy::cast_possible_truncation, reason = "a record has less than 2^10 words")]
        let words = words as u32 | u32::from(varies) << VARIES.trailing_zeros();
        self.words.store(words, Ordering::Relaxed);
    }

    /// Takes a token, if there is one.
    #[inline(always)]
    fn take(&self) -> bool {
        !self.is_empty() && subtract_one(&self.left) > 0
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.left.load(Ordering::Relaxed).cast_signed() <= 0
    }

    /// Fills the bucket if it is time; else counts the record as suppressed.
    #[cold]
    #[inline(never)]
    fn allows_late(
        &'static self,
        slot: &'static Slot,
        level: Level,
        id: u16,
        key: usize,
        (length, text_words): (Length, u16),
    ) -> bool {
        if self.is_refilled(slot) || self.take() {
            return true;
        }
        match length {
            Length::Words(words) => self.words.store(words.into(), Ordering::Relaxed),
            #[cfg(any(feature = "tracing", feature = "log"))]
            Length::AsLast => {}
        }
        let text_words = u64::from(text_words);
        let of = class_of(level);
        self.list(id, of.0);
        slot.count(Count::Suppressed, of);
        match self.number.load(Ordering::Relaxed) {
            0 => {
                self.others.text_words.fetch_add(text_words, Ordering::Relaxed);
                self.others.records.fetch_add(1, Ordering::Relaxed);
            }
            number => {
                let tally = slot.tallies.of(number);
                add_local(&tally.text_words, text_words);
                add_local(&tally.records, 1);
                slot.flooded(key, Count::Suppressed, of, tally);
            }
        }
        false
    }

    /// Fills the bucket if its period is over, and takes the first token.
    fn is_refilled(&self, slot: &Slot) -> bool {
        let now = crate::clock::ticks();
        let since = self.since.load(Ordering::Relaxed);
        let is_over = since == 0 || now.wrapping_sub(since) >= HZ.load(Ordering::Relaxed);
        if !is_over {
            return false;
        }
        // First, so that an interrupt which finds the period begun finds tokens too.
        self.left.store(u64::from(RATE.load(Ordering::Relaxed)).saturating_sub(1), Ordering::Relaxed);
        self.begin_period(slot, since, now)
    }

    /// Says what was suppressed in the period that began at `since`; unless another thread, which finds the period over at the
    /// same time, is the one to say it.
    fn begin_period(&self, slot: &Slot, since: u64, now: u64) -> bool {
        let is_ours = self.since.compare_exchange(since, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_ours {
            let suppressed = self.suppressed(|tally| &tally.records);
            let unsaid = suppressed.saturating_sub(self.said.fetch_max(suppressed, Ordering::Relaxed));
            let texts = self.suppressed(|tally| &tally.text_words);
            let unsaid_words = texts.saturating_sub(self.said_words.fetch_max(texts, Ordering::Relaxed));
            region::all().flat_map(Region::slots).for_each(|slot| slot.floods.clear());
            if unsaid > 0 {
                let (of, words) = (self.of.load(Ordering::Relaxed), self.words.load(Ordering::Relaxed));
                let each = u64::from(words & !VARIES);
                let bytes = unsaid.saturating_mul(each).saturating_add(unsaid_words).saturating_mul(8);
                let ticks = now.wrapping_sub(since);
                let kept = Kept { class: of >> 16, id: of & 0xffff, count: unsaid, ticks };
                summary::suppressed(slot, kept, bytes, words & VARIES != 0);
            }
        }
        is_ours
    }

    /// How many records, or words, were ever suppressed.
    fn suppressed(&self, what: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        let number = self.number.load(Ordering::Relaxed);
        let tally = |slot: &Slot| what(slot.tallies.of(number)).load(Ordering::Relaxed);
        let tallies = region::all().filter(|_| number > 0).flat_map(Region::slots).map(tally);
        tallies.fold(what(&self.others).load(Ordering::Relaxed), u64::wrapping_add)
    }

    /// Whether there is something to say of it.
    fn is_unsaid(&self) -> bool {
        self.suppressed(|tally| &tally.records) > self.said.load(Ordering::Relaxed)
    }

    fn list(&'static self, id: u16, class: u32) {
        // Each time: a place that could not be described before may be now.
        self.of.store(u32::from(id) | class << 16, Ordering::Relaxed);
        if self.listed.swap(true, Ordering::Relaxed) {
            return;
        }
        let number = NUMBERED.load(Ordering::Relaxed) + 1;
        if number < TALLIES {
            let number = NUMBERED.fetch_add(1, Ordering::Relaxed) + 1;
            self.number.store(if number < TALLIES { number } else { 0 }, Ordering::Relaxed);
        }
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
        for bucket in all().filter(|bucket| bucket.is_unsaid()) {
            let since = bucket.since.load(Ordering::Relaxed);
            let is_over = now.wrapping_sub(since) >= hz;
            let is_said = (all_of_it || is_over) && bucket.begin_period(slot, since, now);
            if is_said && is_over {
                bucket.left.store(u64::from(RATE.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
        }
    }
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

/// Takes one of a bucket's tokens and returns how many there were.
#[inline(always)]
fn subtract_one(tokens: &AtomicU64) -> i64 {
    if cfg!(feature = "std") && SHARED.load(Ordering::Relaxed) {
        return tokens.fetch_sub(1, Ordering::Relaxed).cast_signed();
    }
    add_local(tokens, u64::MAX).cast_signed()
}

pub(crate) fn set_hz(hz: u64) {
    if hz > 0 {
        HZ.store(hz, Ordering::Relaxed);
    }
}
