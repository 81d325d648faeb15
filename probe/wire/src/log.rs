//! A log record: an event of kind [`Kind::Log`](crate::field::Kind::Log) whose first fields say which record it is.
//!
//! | field | type | |
//! |---|---|---|
//! | [`SEQ`] | `u64` | the record's number among those of its level in its log stream, from 0: a step of more than one is a loss of that many records of that level |
//! | [`TASK`] | `task` | the task that was running; rides in the header word |
//! | [`SPANS`] | `u64` | callsites of the spans it happened in, 16 bits each, the innermost lowest; 0 is none |
//!
//! Then come the fields of the program, of which [`MESSAGE`] is the text. Target is the callsite's category, level its level.
//!
//! Each vCPU has two log streams: the [ordinary](class_of) one for INFO, DEBUG and TRACE, and the reserved one for APP, ERROR
//! and WARN, so that no flood of the former takes the room of the latter. Of each there is an [`Account`] in the header page.
//! It holds: `made = filtered + suppressed + folded + offered`, and `offered = read + lost`, where the numbers that are
//! missing say how many were lost, of which level and between which two times. `filtered` is counted for WARN and ERROR
//! alone: what else is filtered costs one load and leaves no trace.

use crate::field::{Field, FieldType, Level, Unit};
use crate::u64_at;

/// The name of the field that numbers records by level.
pub const SEQ: &str = "fata.seq";
/// The name of the field that holds the running task.
pub const TASK: &str = "fata.task";
/// The name of the field that holds the enclosing spans. Not every callsite has it.
pub const SPANS: &str = "fata.spans";
/// The name of the field that holds a record's text.
pub const MESSAGE: &str = "message";
/// The name of the field that holds those fields, as text, for which a callsite had no room.
pub const MORE: &str = "fata.more";

/// The name of the field that holds the target where the callsite does not know it: records of the crate `log`.
pub const TARGET: &str = "fata.target";

/// The name of the field that holds the source file, where the callsite does not know it.
pub const FILE: &str = "fata.file";
/// The name of the field that holds the line in that file.
pub const LINE: &str = "fata.line";

/// What a text ends with that was cut.
pub const CUT: &str = "…";

/// The fields that every record begins with.
pub const FIRST_FIELDS: [Field<'static>; 2] = [
    Field { name: SEQ, ty: FieldType::U64, unit: Unit::None },
    Field { name: TASK, ty: FieldType::Task, unit: Unit::None },
];

/// The name of the record that says how many records of one callsite the rate limit suppressed.
pub const SUPPRESSED: &str = "fata.log.suppressed";
/// The name of the record that says how often the record before it was repeated.
pub const REPEATED: &str = "fata.log.repeated";

/// How many levels share a log stream.
pub const CLASS_LEVELS: usize = 3;

/// Which of a vCPU's two log streams takes records of `level`, and where the level's numbers stand in the account: the
/// reserved stream is 1.
#[must_use]
pub const fn class_of(level: Level) -> (u32, usize) {
    match level {
        Level::App => (1, 0),
        Level::Error => (1, 1),
        Level::Warn => (1, 2),
        Level::Info => (0, 0),
        Level::Debug => (0, 1),
        Level::Trace => (0, 2),
    }
}

/// The levels of a class, in the order of its account.
#[must_use]
pub const fn levels_of(class: u32) -> [Level; CLASS_LEVELS] {
    match class {
        1 => [Level::App, Level::Error, Level::Warn],
        _ => [Level::Info, Level::Debug, Level::Trace],
    }
}

/// Length of an account in the header page.
pub const ACCOUNT_BYTES: usize = 128;

/// What is counted, by the place of its counters in an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Count {
    /// Records that were given a number and offered to the ring.
    Offered = 0,
    /// Records that a level rule kept out; counted for WARN and ERROR alone.
    Filtered = 1,
    /// Records that the rate limit of their callsite kept out.
    Suppressed = 2,
    /// Records that were the same as the one before.
    Folded = 3,
    /// Records of `Offered` that found no room when they were made. What was overwritten later is not among them.
    Discarded = 4,
}

impl Count {
    /// Where the counter of a level, by its place in its class, stands in an account, in bytes.
    #[must_use]
    pub const fn offset(self, place: usize) -> usize {
        (self as usize * CLASS_LEVELS + place) * 8
    }
}

/// Where the number of records stands whose text was cut.
pub const CUT_OFFSET: usize = 5 * CLASS_LEVELS * 8;

/// The account of one log stream, by the levels of its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// See [`Count::Offered`].
    pub offered: [u64; CLASS_LEVELS],
    /// See [`Count::Filtered`].
    pub filtered: [u64; CLASS_LEVELS],
    /// See [`Count::Suppressed`].
    pub suppressed: [u64; CLASS_LEVELS],
    /// See [`Count::Folded`].
    pub folded: [u64; CLASS_LEVELS],
    /// See [`Count::Discarded`].
    pub discarded: [u64; CLASS_LEVELS],
    /// Records of all levels whose text was cut.
    pub cut: u64,
}

impl Account {
    /// The account at the start of `bytes`; what is missing there is 0.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let counters = |count: Count| core::array::from_fn(|place| u64_at(bytes, count.offset(place)));
        Account {
            offered: counters(Count::Offered),
            filtered: counters(Count::Filtered),
            suppressed: counters(Count::Suppressed),
            folded: counters(Count::Folded),
            discarded: counters(Count::Discarded),
            cut: u64_at(bytes, CUT_OFFSET),
        }
    }

    /// Every record that the program made of the level at `place`, filtered or not.
    #[must_use]
    pub const fn made(&self, place: usize) -> u64 {
        self.offered[place]
            .saturating_add(self.filtered[place])
            .saturating_add(self.suppressed[place])
            .saturating_add(self.folded[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_one_place() {
        for level in Level::ALL {
            let (class, place) = class_of(*level);
            assert_eq!(levels_of(class)[place], *level);
        }
    }

    #[test]
    fn an_account_is_read_from_where_its_counters_stand() {
        let mut bytes = [0; ACCOUNT_BYTES];
        crate::put_u64(&mut bytes, Count::Offered.offset(1), 10);
        crate::put_u64(&mut bytes, Count::Filtered.offset(1), 20);
        crate::put_u64(&mut bytes, Count::Suppressed.offset(1), 30);
        crate::put_u64(&mut bytes, Count::Folded.offset(1), 40);
        crate::put_u64(&mut bytes, Count::Discarded.offset(1), 5);
        crate::put_u64(&mut bytes, CUT_OFFSET, 6);
        let account = Account::parse(&bytes);
        assert_eq!((account.made(1), account.discarded, account.cut), (100, [0, 5, 0], 6));
        assert_eq!(Account::parse(&bytes[..9]), Account::default());
    }
}
