//! Which records of a log stream are missing, told by the numbers that each carries: one count a level, from 0.
//!
//! Invariant: of each level, records seen and records told as missing sum to the highest number and one, as soon as no record is
//! still behind one of a greater number. Records come nearly in the order of their numbers: an interrupt's record is
//! numbered, and committed, between another's number and its place. What comes behind a greater number has been told as
//! missing, so as many of those that are missing next are forgiven.
//!
//! ```
//! use fata_wire::field::Level;
//! use fata_wire::numbers::Numbers;
//! let mut numbers = Numbers::from_zero();
//! let missing: Vec<u64> = [0, 3, 4, 2, 7].map(|number| numbers.take(Level::Info, number)).into();
//! assert_eq!(missing, [0, 2, 0, 0, 1], "1, 5 and 6 are missing; 2 was told too early");
//! ```

use crate::field::Level;

/// Records by level, in the order of [`Level::ALL`].
pub type ByLevel = [u64; LEVELS];

/// What was seen of one log stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// By level, the number that the next record has if none is missing; none before the first where that may be any.
    expected: [Option<u64>; LEVELS],
    /// By level, records that came behind one of a greater number.
    overtold: [u64; LEVELS],
}

const LEVELS: usize = Level::ALL.len();

impl Numbers {
    /// Of a stream that is read from its beginning: what is missing there is missing.
    #[must_use]
    pub const fn from_zero() -> Self {
        Numbers { expected: [Some(0); LEVELS], overtold: [0; LEVELS] }
    }

    /// Of a stream whose beginning is somebody else's: what comes first is the first.
    #[must_use]
    pub const fn from_anywhere() -> Self {
        Numbers { expected: [None; LEVELS], overtold: [0; LEVELS] }
    }

    /// How many records of `level` are missing before `number`. They are not missing again.
    #[must_use = "what is missing is told once"]
    pub fn missing_before(&mut self, level: Level, number: u64) -> u64 {
        let expected = self.expected[level as usize].unwrap_or(number);
        let missing = number.saturating_sub(expected);
        self.expected[level as usize] = Some(expected.max(number));
        self.forgive(level, missing)
    }

    /// The record `number` of `level` was seen, and what is missing before it has been asked for.
    pub fn seen(&mut self, level: Level, number: u64) {
        let expected = self.expected[level as usize].unwrap_or(number);
        let overtold = &mut self.overtold[level as usize];
        *overtold = overtold.saturating_add(u64::from(number < expected));
        self.expected[level as usize] = Some(expected.max(number.saturating_add(1)));
    }

    /// The record `number` of `level` was seen; how many are missing before it.
    #[must_use = "what is missing is told once"]
    pub fn take(&mut self, level: Level, number: u64) -> u64 {
        let missing = self.missing_before(level, number);
        self.seen(level, number);
        missing
    }

    /// The records of a packet were seen, each with its level, its number, and anything that has an order, as a time: how many of
    /// each level are missing before and among them, and the least of those records that tell so. `None` where none is missing.
    ///
    /// Interrupts number their records within another's: the records are sorted, and then what is missing is missing.
    #[must_use = "what is missing is told once"]
    pub fn take_packet<T: Ord + Copy>(&mut self, records: &mut [(Level, u64, T)]) -> Option<(ByLevel, T)> {
        records.sort_unstable_by_key(|&(_, number, _)| number);
        let (mut by_level, mut told) = (ByLevel::default(), None);
        for &(level, number, time) in &*records {
            let missing = self.take(level, number);
            if missing > 0 {
                let sum = &mut by_level[level as usize];
                *sum = sum.saturating_add(missing);
                told = Some(told.map_or(time, |told: T| told.min(time)));
            }
        }
        Some((by_level, told?))
    }

    /// How many records of `level` are missing at the end, where `offered` were numbered in all.
    #[must_use = "what is missing is told once"]
    pub fn missing_at_end(&mut self, level: Level, offered: u64) -> u64 {
        let expected = self.expected[level as usize].unwrap_or(0);
        self.expected[level as usize] = Some(expected.max(offered));
        self.forgive(level, offered.saturating_sub(expected))
    }

    fn forgive(&mut self, level: Level, missing: u64) -> u64 {
        let overtold = &mut self.overtold[level as usize];
        let forgiven = missing.min(*overtold);
        *overtold -= forgiven;
        missing - forgiven
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn a_number_that_an_interrupt_overtook_is_not_lost_twice_and_the_sum_stays_right() {
        let mut numbers = Numbers::from_zero();
        // 2 was taken before 3, and put behind it; 5 and 6 are missing.
        let lost: u64 = [0, 1, 3, 2, 4, 7, 8].into_iter().map(|number| numbers.take(Level::Debug, number)).sum();
        assert_eq!(lost, 2);
        assert_eq!(numbers.take(Level::Info, 1), 1, "levels are numbered apart");
    }

    #[test]
    fn what_was_seen_and_what_is_missing_sum_to_what_was_offered_whatever_was_lost() {
        for kept in 0..1u64 << 10 {
            let mut numbers = Numbers::from_zero();
            let seen = (0..10).filter(|number| kept >> number & 1 == 1);
            let (mut count, mut missing) = (0, 0);
            for number in seen {
                (count, missing) = (count + 1, missing + numbers.take(Level::Warn, number));
            }
            missing += numbers.missing_at_end(Level::Warn, 10);
            assert_eq!(count + missing, 10, "{kept:b}");
            assert_eq!(numbers.missing_at_end(Level::Warn, 10), 0, "told once");
        }
    }

    #[test]
    fn in_whatever_order_a_packets_records_lie_what_is_missing_among_them_is_told_with_the_first_that_tells_it() {
        let (info, warn) = (Level::Info, Level::Warn);
        let mut numbers = Numbers::from_zero();
        // Of INFO 2 is missing, of WARN 0 and 1; the number, the time.
        let told =
            numbers.take_packet(&mut [(info, 1, 11), (info, 0, 10), (info, 4, 14), (warn, 2, 12), (info, 3, 13)]);
        let mut by_level = ByLevel::default();
        (by_level[info as usize], by_level[warn as usize]) = (1, 2);
        assert_eq!(told, Some((by_level, 12)));
        assert_eq!(numbers.take_packet(&mut [(info, 6, 16), (warn, 3, 17), (info, 5, 15)]), None);
    }

    #[test]
    fn a_stream_that_was_begun_elsewhere_misses_nothing_before_its_first_record() {
        let mut numbers = Numbers::from_anywhere();
        assert_eq!((numbers.take(Level::App, 5), numbers.take(Level::App, 7)), (0, 1));
        assert_eq!(numbers.take(Level::App, u64::MAX), u64::MAX - 8);
        assert_eq!(numbers.take(Level::App, u64::MAX), 0, "no number of a guest's overflows");
    }
}
