//! What of a log stream is missing, told from the numbers of the records that are there; and what the log says of itself.
//!
//! Invariant: of each level, the records that were taken and those that were called missing are all records up to the
//! highest number, or from the first one on where the stream was not seen from its begin.
//!
//! ```
//! use fata_wire::field::Level;
//! use fata_wire::log::numbers::Numbers;
//! let mut numbers = Numbers::from_start();
//! let mut missing = numbers.missing();
//! numbers.take(Level::Info, 0, &mut missing);
//! numbers.take(Level::Info, 4, &mut missing);
//! // An interrupt takes its number within another record: the later number may lie in front.
//! numbers.take(Level::Info, 3, &mut missing);
//! assert_eq!(missing.by_level[Level::Info as usize], 2);
//! ```

use super::{REPEATED, SUPPRESSED};
use crate::field::{Level, Value};

/// The target of what the log says of itself.
pub const OWN_TARGET: &str = "fata.log";

/// Records by level, in the order of [`Level::ALL`].
pub type ByLevel = [u64; Level::ALL.len()];

/// The number that the next record of each level has, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    next: [Option<u64>; Level::ALL.len()],
}

impl Numbers {
    /// A stream that is seen from its begin: what is missing there is missing too.
    #[must_use]
    pub const fn from_start() -> Self {
        Numbers { next: [Some(0); Level::ALL.len()] }
    }

    /// A stream that is seen from somewhere on: the first record of each level says where.
    #[must_use]
    pub const fn from_now() -> Self {
        Numbers { next: [None; Level::ALL.len()] }
    }

    /// The number after the highest that was taken of `level`; `None` while nothing is known of it.
    #[must_use]
    pub const fn next(&self, level: Level) -> Option<u64> {
        self.next[level as usize]
    }

    /// A packet begins, in which nothing is missing so far.
    #[must_use]
    pub const fn missing(&self) -> Missing {
        Missing { from: self.next, by_level: [0; Level::ALL.len()] }
    }

    /// Takes the next record of the packet. One whose number comes after a higher one is not missing after all.
    pub fn take(&mut self, level: Level, number: u64, missing: &mut Missing) {
        let (next, from) = (&mut self.next[level as usize], *missing.from[level as usize].get_or_insert(number));
        let missing = &mut missing.by_level[level as usize];
        let expected = next.unwrap_or(number);
        if let Some(ahead) = number.checked_sub(expected) {
            *missing = missing.saturating_add(ahead);
        } else if number >= from {
            *missing = missing.saturating_sub(1);
        }
        *next = Some(expected.max(number.saturating_add(1)));
    }
}

/// What is missing in front of and among the records of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub by_level: ByLevel,
    /// The numbers that the packet could begin with.
    from: [Option<u64>; Level::ALL.len()],
}

impl Missing {
    /// Of all levels together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_level.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }
}

/// What the log says of itself in a record of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What happened to the records.
    pub what: Summarised,
    /// The callsite of the records.
    pub callsite: u16,
    /// How many there were.
    pub count: u64,
    /// From the first to this record, at most.
    pub within_ticks: u64,
}

/// What happened to records that are told by a [`Summary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summarised {
    /// The rate limit of their callsite kept them out.
    Suppressed,
    /// They were the same as the record before.
    Repeated,
}

impl Summary {
    /// What a record of this target and name, with these fields, says of the log; `None` where it is the program that speaks.
    pub fn of<'a>(target: &str, name: &str, fields: impl Iterator<Item = (&'a str, Value<'a>)>) -> Option<Self> {
        let what = match name {
            _ if target != OWN_TARGET => return None,
            SUPPRESSED => Summarised::Suppressed,
            REPEATED => Summarised::Repeated,
            _ => return None,
        };
        let (mut callsite, mut count, mut within_ticks) = (None, None, 0);
        for (field, value) in fields {
            match (field, value) {
                ("callsite", Value::U64(id)) => callsite = u16::try_from(id).ok(),
                ("count", Value::U64(number)) => count = Some(number),
                ("within_ticks", Value::U64(ticks)) => within_ticks = ticks,
                _ => {}
            }
        }
        Some(Summary { what, callsite: callsite?, count: count?, within_ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many a packet of these records lacks.
    fn missing(numbers: &mut Numbers, taken: impl IntoIterator<Item = u64>) -> u64 {
        let mut missing = numbers.missing();
        taken.into_iter().for_each(|number| numbers.take(Level::Debug, number, &mut missing));
        missing.by_level[Level::Debug as usize]
    }

    #[test]
    fn what_was_taken_and_what_is_missing_are_all_up_to_the_highest_number_in_whatever_order() {
        for order in [[0, 1, 4, 6], [6, 4, 1, 0], [1, 0, 6, 4], [4, 6, 0, 1]] {
            assert_eq!(missing(&mut Numbers::from_start(), order), 3, "{order:?}");
        }
        assert_eq!(missing(&mut Numbers::from_now(), [7, 8, 11]), 2);
        assert_eq!(missing(&mut Numbers::from_now(), [u64::MAX, u64::MAX]), 0);
    }

    #[test]
    fn a_record_that_was_taken_in_an_earlier_packet_is_not_taken_from_what_is_missing() {
        let mut numbers = Numbers::from_start();
        assert_eq!(missing(&mut numbers, 0..10), 0);
        assert_eq!(missing(&mut numbers, [12, 3]), 2);
        assert_eq!(missing(&mut numbers, [13]), 0);
    }

    #[test]
    fn levels_are_numbered_apart() {
        let mut numbers = Numbers::from_start();
        let mut missing = numbers.missing();
        numbers.take(Level::Info, 0, &mut missing);
        numbers.take(Level::Debug, 2, &mut missing);
        assert_eq!(missing.by_level, [0, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn only_the_logs_own_records_are_summaries() {
        let fields =
            || [("callsite", Value::U64(12)), ("count", Value::U64(41)), ("within_ticks", Value::U64(900))].into_iter();
        let summary = Summary { what: Summarised::Repeated, callsite: 12, count: 41, within_ticks: 900 };
        assert_eq!(Summary::of(OWN_TARGET, REPEATED, fields()), Some(summary));
        assert_eq!(Summary::of("app", REPEATED, fields()), None);
        assert_eq!(Summary::of(OWN_TARGET, "src/a.rs:3", fields()), None);
        assert_eq!(Summary::of(OWN_TARGET, SUPPRESSED, fields().skip(1)), None);
    }
}
