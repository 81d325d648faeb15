//! Intervals that are not packed yet, and what a [block](super::block) of them has in common.
//!
//! Invariant: a [`Record`] holds what 32 bits hold; a [`Far`] stands for what they do not. What is asked of a block is asked in
//! loops over all of it.

use super::FAN_OUT;
use super::block::{BLOCK, low_bits, low_word};

/// In a record's key: the end is not known.
pub(super) const UNCERTAIN: u32 = 1 << 15;
/// No interval's key.
pub(super) const NO_KEY: u32 = u16::MAX as u32;

/// An interval that is not packed yet, in a quarter of a cache line: as many rows grow at a time as there are tasks, times how deep
/// their spans nest. Two numbers of 32 bits lie in one of 64, so that both are added up at once.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(super) struct Record {
    /// The gap: nanoseconds from the end of the one before; above it the duration.
    times: u64,
    /// [`What`], or that of [`Record::FAR`].
    what: u64,
}

impl Record {
    pub(super) const NONE: Record = Record { times: 0, what: 0 };
    /// Stands for what 64 bits do not hold.
    pub(super) const FAR: Record = Record { times: 0, what: 1 << 63 };

    /// Of a gap and a duration of 32 bits.
    #[inline(always)]
    pub(super) fn new(gap: u64, duration: u64, what: What) -> Self {
        Record { times: gap | duration << 32, what: what.0 }
    }

    pub(super) fn is_far(&self) -> bool {
        self.what == Self::FAR.what
    }
}

/// An interval's extra, and above it its key: 15 bits, and [`UNCERTAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct What(pub(super) u64);

impl What {
    pub(crate) const NONE: What = What(0);

    #[inline(always)]
    pub(crate) const fn new(key: u16, extra: u32) -> Self {
        What(extra as u64 | (key as u64 & 0x7fff) << 32)
    }

    /// The same, its end not known.
    pub(crate) fn uncertain(self, uncertain: bool) -> Self {
        if uncertain { What(self.0 | u64::from(UNCERTAIN) << 32) } else { self }
    }

    #[inline]
    pub(crate) const fn extra(self) -> u32 {
        low_word(self.0)
    }

    #[inline]
    pub(crate) const fn key(self) -> u16 {
        low_bits(self.0 >> 32)
    }
}

/// The same, however long and far away it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Far {
    pub(super) gap: u64,
    pub(super) duration: u64,
    pub(super) what: What,
}

impl Far {
    pub(super) fn of(interval: &impl Interval) -> Self {
        let (gap, duration) = (interval.gap(), interval.duration());
        Far { gap, duration, what: What(u64::from(interval.extra()) | u64::from(interval.key()) << 32) }
    }
}

/// What is packed.
pub(super) trait Interval: Copy {
    fn gap(&self) -> u64;
    fn duration(&self) -> u64;
    fn extra(&self) -> u32;
    fn key(&self) -> u32;

    /// The bits that any or all of a block's numbers have.
    fn all(block: &[Self; BLOCK]) -> All;

    /// What a leaf of a block of which this is known sums up. Those with the key `quiet` count as nothing in the sums, where that
    /// is not known to be none's.
    #[inline(always)]
    fn sums<const QUIET: bool>(intervals: &[Self; FAN_OUT], _: &All, quiet: u32) -> Sums {
        Sums::of(intervals, quiet)
    }
}

impl Interval for Record {
    #[inline(always)]
    fn gap(&self) -> u64 {
        low_word(self.times).into()
    }

    #[inline(always)]
    fn duration(&self) -> u64 {
        self.times >> 32
    }

    #[inline(always)]
    fn extra(&self) -> u32 {
        low_word(self.what)
    }

    #[inline(always)]
    fn key(&self) -> u32 {
        low_word(self.what >> 32)
    }

    #[inline(always)]
    fn all(block: &[Self; BLOCK]) -> All {
        let (mut times, mut any, mut every) = (0, 0, u64::MAX);
        for interval in block {
            times |= interval.times;
            any |= interval.what;
            every &= interval.what;
        }
        All { gaps: low_word(times).into(), durations: times >> 32, any, every }
    }

    #[inline(always)]
    fn sums<const QUIET: bool>(intervals: &[Self; FAN_OUT], all: &All, quiet: u32) -> Sums {
        const DURATION: u64 = !0 << 32;
        if (all.gaps | all.durations) >> 29 != 0 {
            return Sums::of(intervals, quiet);
        }
        let (mut sum, mut longest, mut quiet_nanos) = (0, 0, 0);
        for (i, interval) in (0..).zip(intervals) {
            // Both at once, and neither reaches into the other: eight of less than 29 bits are less than 32.
            sum += interval.times;
            let is_quiet = QUIET && interval.key() & !UNCERTAIN == quiet;
            quiet_nanos += if is_quiet { interval.duration() } else { 0 };
            longest = longest.max(if is_quiet { 0 } else { interval.times & DURATION } | (7 - i));
        }
        let (gaps, durations) = (u64::from(low_word(sum)), sum >> 32);
        Sums { busy: durations - quiet_nanos, all: gaps + durations, longest: longest >> 32, which: longest & 7 }
    }
}

/// What the leaf of eight intervals sums up.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    /// The durations of those that count.
    pub(super) busy: u64,
    /// From the end of the one before the first to the end of the last.
    pub(super) all: u64,
    /// The longest duration, of those that count.
    pub(super) longest: u64,
    /// How many of the eight come after the first that is so long.
    pub(super) which: u64,
}

impl Sums {
    #[inline(never)]
    fn of(intervals: &[impl Interval; FAN_OUT], quiet: u32) -> Self {
        let mut sums = Sums { busy: 0, all: 0, longest: 0, which: 7 };
        for (i, interval) in (0..).zip(intervals) {
            let duration = interval.duration();
            let counted = if interval.key() & !UNCERTAIN == quiet { 0 } else { duration };
            sums.busy += counted;
            sums.all += interval.gap() + duration;
            if counted > sums.longest {
                (sums.longest, sums.which) = (counted, 7 - i);
            }
        }
        sums
    }
}

/// The bits that any of a block's numbers has, or all of them have.
pub(super) struct All {
    pub(super) gaps: u64,
    pub(super) durations: u64,
    /// Of extras, and above them keys.
    pub(super) any: u64,
    pub(super) every: u64,
}

impl Interval for Far {
    fn all(block: &[Self; BLOCK]) -> All {
        let mut all = All { gaps: 0, durations: 0, any: 0, every: u64::MAX };
        for interval in block {
            all.gaps |= interval.gap;
            all.durations |= interval.duration;
            (all.any, all.every) = (all.any | interval.what.0, all.every & interval.what.0);
        }
        all
    }

    fn gap(&self) -> u64 {
        self.gap
    }

    fn duration(&self) -> u64 {
        self.duration
    }

    fn extra(&self) -> u32 {
        self.what.extra()
    }

    fn key(&self) -> u32 {
        self.what.key().into()
    }
}
