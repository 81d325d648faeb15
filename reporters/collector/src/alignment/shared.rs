//! The clock that all domains of a Xen share, as a bridge from a guest's counter to ours.
//!
//! A guest says what its counter and Xen's system time read at one moment; dom0 reads its counter and the system time before
//! the question and after the answer. So the guest's moment has a place on our counter between the two, however long the answer
//! took. Xen corrects its clock, and computes it on each processor from that one's counter: how far the places that several
//! answers give are apart is part of the error, and so is how far our own readings are from the counter's even pace, many times
//! over: the guest's processor may be another one, whose pace nobody here sees. On a processor that is less than a few
//! microseconds. In an emulated machine two processors' clocks may lie milliseconds apart, for minutes, of which nothing is seen
//! here: where the clock does not read and go as it does on a processor, it says where the guest is, and question and answer alone
//! how far that may be wrong.
//!
//! Invariant: a reading that does not lie between question and answer is not used, so that what a guest makes up displaces its
//! own events by no more than it could by answering late.

use super::axis::ticks;
use crate::source::{Guest, Source};
use crate::xen::device::SystemClock;

/// How often the clock is read for one reading, of which the one that took least counts.
const ATTEMPTS: u32 = 6;

/// So many times as uneven as here the clock may go on the guest's processor.
const ELSEWHERE: u64 = 8;

/// What reading the clock and its unevenness come to on no processor: a hundred thousandth of a second. In an emulated machine it is
/// 10 to 600 µs, and what dom0 stamped on frames showed the clock of the guest's processor to be up to 6 ms off.
const UNREAL_PARTS: u64 = 100_000;

/// Xen's system time at a value of our counter, which may be wrong by so many ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    ticks: u64,
    nanos: u64,
    error_ticks: u64,
}

/// Xen's system time, read here.
pub(super) struct Shared(SystemClock);

impl Shared {
    /// The clock that `guest` shares with us, if there is one.
    pub(super) fn open(guest: &Guest) -> Option<Self> {
        let clock = (guest.source == Source::Xen).then(SystemClock::open)?.ok()?;
        clock.nanos().map(|_| Shared(clock))
    }

    /// What it reads now.
    pub(super) fn read(&mut self) -> Option<Reading> {
        let attempt = |_| {
            let before = ticks();
            let nanos = self.0.nanos()?;
            let width = ticks().wrapping_sub(before);
            Some(Reading { ticks: before.wrapping_add(width / 2), nanos, error_ticks: width.div_ceil(2) })
        };
        (0..ATTEMPTS).filter_map(attempt).min_by_key(|reading| reading.error_ticks)
    }
}

/// How far a guest's counter is ahead of ours, by what it said of the system time.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// The first, and how far the others were from it at least and at most.
    first: Option<u64>,
    least: i64,
    most: i64,
    /// The greatest error of a reading.
    error_ticks: u64,
    /// Our own.
    ours: Vec<Reading>,
}

impl Readings {
    /// Takes a guest's `tick` at the system time `nanos`, asked for and answered between two readings of our own.
    pub(super) fn add(&mut self, tick: u64, nanos: u64, before: Reading, after: Reading) {
        let (Some(since), Some(all)) = (nanos.checked_sub(before.nanos), after.nanos.checked_sub(before.nanos)) else {
            return;
        };
        if since > all || all == 0 {
            return;
        }
        let between = after.ticks.wrapping_sub(before.ticks);
        let part = u128::from(between) * u128::from(since) / u128::from(all);
        let ours = before.ticks.wrapping_add(u64::try_from(part).unwrap_or(0));
        let ahead = tick.wrapping_sub(ours);
        let apart = ahead.wrapping_sub(*self.first.get_or_insert(ahead)).cast_signed();
        (self.least, self.most) = (self.least.min(apart), self.most.max(apart));
        self.error_ticks = self.error_ticks.max(before.error_ticks).max(after.error_ticks);
        self.ours.extend([before, after]);
    }

    /// How far our own readings are from what they were if so many ticks were a second: from the one that is most behind to the
    /// one that is most ahead.
    fn unevenness(&self, hz: u64) -> u64 {
        let Some(first) = self.ours.first() else { return 0 };
        let late = self.ours.iter().map(|reading| {
            let even =
                i128::from(reading.nanos.wrapping_sub(first.nanos).cast_signed()) * i128::from(hz) / 1_000_000_000;
            i128::from(reading.ticks.wrapping_sub(first.ticks).cast_signed()) - even
        });
        let (least, most) = late.fold((0, 0), |(least, most), late| (late.min(least), late.max(most)));
        u64::try_from(most - least).unwrap_or(u64::MAX)
    }

    /// How far the guest is ahead and by how much that may be wrong either way, if that leaves something of what is known
    /// otherwise: that it is `ahead`, wrong by `error` at most, and that the counter has `hz` ticks per second.
    pub(super) fn within(&self, ahead: u64, error: u64, hz: u64) -> Option<(u64, u64)> {
        let unevenness = self.unevenness(hz);
        let (by_clock, wrong) = self.by_clock(ahead, error, unevenness)?;
        if self.error_ticks.saturating_add(unevenness) <= hz / UNREAL_PARTS {
            return Some((by_clock, wrong));
        }
        // As far as the further end of what is known otherwise.
        let off = by_clock.wrapping_sub(ahead).cast_signed().unsigned_abs();
        Some((by_clock, error.saturating_add(off)))
    }

    /// As [`Readings::within`], where the clock goes on the guest's processor nearly as it does here.
    fn by_clock(&self, ahead: u64, error: u64, unevenness: u64) -> Option<(u64, u64)> {
        let margin = self.error_ticks.saturating_add(unevenness.saturating_mul(ELSEWHERE));
        let margin = i64::try_from(margin).unwrap_or(i64::MAX);
        let from_known = self.first?.wrapping_sub(ahead).cast_signed();
        let error = i64::try_from(error).ok()?;
        let from = from_known.saturating_add(self.least).saturating_sub(margin).max(-error);
        let to = from_known.saturating_add(self.most).saturating_add(margin).min(error);
        let width = u64::try_from(to.checked_sub(from)?).ok()?;
        Some((ahead.wrapping_add_signed(from).wrapping_add(width / 2), width.div_ceil(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(ticks: u64, nanos: u64, error_ticks: u64) -> Reading {
        Reading { ticks, nanos, error_ticks }
    }

    const GIGAHERTZ: u64 = 1_000_000_000;

    #[test]
    fn a_moment_has_its_place_between_two_readings_whatever_a_tick_is_worth() {
        for (rate, ahead) in [(1, 0u64), (3, 1_000_000), (3, u64::MAX - 7)] {
            let mut readings = Readings::default();
            // Asked at 1000 ns, answered at 9000 ns; the guest read both of its clocks at 2000 ns.
            let (before, after) = (reading(500 + 1000 * rate, 1000, 4), reading(500 + 9000 * rate, 9000, 2));
            readings.add((500 + 2000 * rate).wrapping_add(ahead), 2000, before, after);
            assert_eq!(readings.within(ahead.wrapping_add(700), 5000, rate * GIGAHERTZ), Some((ahead, 4)));
        }
    }

    #[test]
    fn answers_that_disagree_are_an_error_as_wide() {
        let mut readings = Readings::default();
        for (tick, nanos) in [(5_000, 5_000), (5_130, 5_000), (4_990, 5_000)] {
            readings.add(tick, nanos, reading(0, 0, 10), reading(10_000, 10_000, 3));
        }
        // From -10 to 130, and 10 more at either end.
        assert_eq!(readings.within(0, 100_000, GIGAHERTZ), Some((60, 80)));
    }

    #[test]
    fn a_clock_that_goes_unevenly_here_is_not_believed_to_be_better_there() {
        let mut readings = Readings::default();
        readings.add(1500, 1500, reading(1000, 1000, 1), reading(2000, 2000, 1));
        assert_eq!(readings.within(0, 100_000, GIGAHERTZ), Some((0, 1)));
        // On another processor it is 300 behind.
        readings.add(5300, 5000, reading(4300, 4000, 1), reading(6300, 6000, 1));
        assert_eq!(readings.within(0, 100_000, GIGAHERTZ), Some((0, 1 + 8 * 300)));
    }

    #[test]
    fn where_the_clock_is_not_that_of_a_processor_only_question_and_answer_say_how_wrong_it_may_be() {
        let mut readings = Readings::default();
        readings.add(150_500, 150_000, reading(100_000, 100_000, 1), reading(200_000, 200_000, 1));
        assert_eq!(readings.within(700, 90_000, GIGAHERTZ), Some((500, 1)));
        // Here it is 11 µs behind within a second.
        readings.add(1_150_500, 1_161_000, reading(1_100_000, 1_111_000, 1), reading(1_200_000, 1_211_000, 1));
        let (ahead, error) = readings.within(700, 90_000, GIGAHERTZ).unwrap();
        assert!((500..600).contains(&ahead) && error == 90_000 + (700 - ahead), "{ahead} {error}");
        // What takes as long to read is none either.
        let mut readings = Readings::default();
        readings.add(150_500, 150_000, reading(100_000, 100_000, 10_001), reading(200_000, 200_000, 1));
        assert_eq!(readings.within(700, 90_000, GIGAHERTZ), Some((500, 90_200)));
    }

    #[test]
    fn what_question_and_answer_exclude_is_not_believed() {
        let mut readings = Readings::default();
        let (before, after) = (reading(0, 1000, 1), reading(9000, 10_000, 1));
        // Before the question, and after the answer.
        readings.add(0, 999, before, after);
        readings.add(0, 10_001, before, after);
        assert_eq!(readings.within(0, u64::MAX >> 1, GIGAHERTZ), None);
        // It says that it is 500 ahead, and answers show that it is 0 to 100; then, 40 to 140, and so on.
        readings.add(500, 1000, before, after);
        assert_eq!(readings.within(50, 50, GIGAHERTZ), None);
        let mut readings = Readings::default();
        readings.add(100, 1000, before, after);
        for (known, ahead) in [(90, (100, 1)), (149, (100, 1)), (151, (101, 0))] {
            assert_eq!(readings.within(known, 50, GIGAHERTZ), Some(ahead), "{known}");
        }
    }
}
