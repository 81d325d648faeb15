//! A log record: an event of kind [`Kind::Log`](crate::field::Kind::Log) whose first fields say which record it is.
//!
//! | field | type | |
//! |---|---|---|
//! | [`SEQ`] | `u64` | the record's number among those of its level in its log stream, from 0: a step of more than one is a loss of that many records of that level |
//! | [`TASK`] | `task` | the task that was running; rides in the header word |
//! | [`SPANS`] | `u64` | the spans it happened in: see [`span_ids`] |
//!
//! Then come the fields of the program, of which [`MESSAGE`] is the text. Target is the callsite's category, level its level. What
//! fields the spans have stands before the record: [`context`].
//!
//! Each vCPU has two log streams: the [ordinary](class_of) one for INFO, DEBUG and TRACE, and the reserved one for APP, ERROR
//! and WARN, so that no flood of the former takes the room of the latter. Of each there is an [`Account`] in the header page.
//! It holds: `made = filtered + suppressed + folded + offered`, and `offered = read + lost`, where the numbers that are
//! missing say how many were lost, of which level and between which two times; a [`ledger`] in the stream says how long they
//! were. `filtered` is counted for WARN and ERROR alone: what else is filtered costs one load and leaves no trace.
//!
//! A trace carries the accounts too, as its metadata's `account` lines ([`Line::Account`](crate::metadata::Line::Account)): who
//! records it writes them when it leaves. [`Fates`] is what became of the records of a stream, or of a guest, by level:
//!
//! ```
//! use fata_wire::field::Level;
//! use fata_wire::log::{Account, Fates};
//! let account = Account { offered: [0, 3, 0], filtered: [0, 4, 0], ..Account::default() };
//! let mut fates = Fates::default();
//! fates.add(1, &account);
//! assert_eq!((fates.of(Level::Error).made(), fates.of(Level::Error).filtered), (7, 4));
//! ```

pub mod context;
pub mod ledger;
pub mod summary;

use crate::field::{Field, FieldType, Level, Unit};
use crate::shared::Geometry;
use crate::u64_at;

/// The name of the field that numbers records by level.
pub const SEQ: &str = "fata.seq";
/// The name of the field that holds the running task.
pub const TASK: &str = "fata.task";
/// The name of the field that holds the enclosing spans. Not every callsite has it.
pub const SPANS: &str = "fata.spans";
/// How many spans a record names: the innermost.
pub const MAX_SPANS: usize = 4;
/// Set in the word of [`SPANS`] where there were more spans around the record than it names: further out, or such as found no
/// place to be remembered in.
pub const MORE_SPANS: u64 = 1 << 63;

/// The callsites of the spans in a word of [`SPANS`], the outermost first: 16 bits each, the innermost lowest, of which the upper
/// four are no part of the number.
///
/// A record carries its spans' callsites and so their names. What fields they have stands before it, see [`context`].
pub fn span_ids(word: u64) -> impl Iterator<Item = u16> {
    (0..MAX_SPANS).rev().map(move |place| (word >> (16 * place) & 0xfff) as u16).filter(|&id| id != 0)
}

/// Set in the word of [`SPANS`] where [contexts](context) before the record say what fields its spans have.
pub const TOLD_SPANS: u64 = 1 << 15;
/// The name of the field by which a [context] says the callsite of the span that it is about.
pub const SPAN: &str = "fata.span";

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
    /// How long the records were that were lost; `None` where nobody has said, as in older traces.
    pub bytes: Option<LostBytes>,
}

/// How long the records of all levels of a log stream were, or would have been, that nobody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostBytes {
    /// Of those that were [discarded](Count::Discarded).
    pub discarded: u64,
    /// Of those that were [suppressed](Count::Suppressed), as far as a record has said so: an estimate where the lengths of a
    /// callsite's records vary.
    pub suppressed: u64,
}

impl LostBytes {
    /// What stands at the start of `bytes`, in the header page; what is missing there is 0.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        LostBytes { discarded: u64_at(bytes, 0), suppressed: u64_at(bytes, LOST_SUPPRESSED_OFFSET) }
    }
}

/// Where the second number of a [`LostBytes`] stands in the header page.
pub const LOST_SUPPRESSED_OFFSET: usize = 8;
/// Length of a [`LostBytes`] in the header page.
pub const LOST_BYTES: usize = 16;

impl Account {
    /// The account of the log stream `stream` in a copy of the header page.
    #[must_use]
    pub fn of_page(page: &[u8], geometry: &Geometry, stream: u32) -> Self {
        let from = |offset: usize| page.get(offset..).unwrap_or(&[]);
        let bytes = Some(LostBytes::parse(from(geometry.log_lost_bytes(stream))));
        Account { bytes, ..Account::parse(from(geometry.log_account(stream))) }
    }

    /// The counters of the account at the start of `bytes`; what is missing there is 0.
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
            bytes: None,
        }
    }

    /// Every record that the program made of the level at `place`, filtered or not.
    #[must_use]
    pub const fn made(&self, place: usize) -> u64 {
        self.fate(place).made()
    }

    /// What became of the records of the level at `place`.
    #[must_use]
    pub const fn fate(&self, place: usize) -> Fate {
        Fate {
            offered: self.offered[place],
            filtered: self.filtered[place],
            suppressed: self.suppressed[place],
            folded: self.folded[place],
            discarded: self.discarded[place],
        }
    }

    /// The counters in the order in which they stand in the header page, then `cut`.
    #[must_use]
    pub fn counters(&self) -> [u64; COUNTERS] {
        let mut counters = [self.cut; COUNTERS];
        let levels = [self.offered, self.filtered, self.suppressed, self.folded, self.discarded];
        counters.iter_mut().zip(levels.iter().flatten()).for_each(|(to, from)| *to = *from);
        counters
    }

    /// The account of which these are the counters, and that says nothing of bytes.
    #[must_use]
    pub fn of_counters(counters: &[u64; COUNTERS]) -> Self {
        let mut bytes = [0; ACCOUNT_BYTES];
        counters.iter().enumerate().for_each(|(i, count)| crate::put_u64(&mut bytes, 8 * i, *count));
        Account::parse(&bytes)
    }
}

/// How many counters an account has.
pub const COUNTERS: usize = 5 * CLASS_LEVELS + 1;

/// What became of the records of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// See [`Count::Offered`]. Of these, what a reader has not got was lost.
    pub offered: u64,
    /// See [`Count::Filtered`].
    pub filtered: u64,
    /// See [`Count::Suppressed`].
    pub suppressed: u64,
    /// See [`Count::Folded`].
    pub folded: u64,
    /// See [`Count::Discarded`]: a part of `offered`.
    pub discarded: u64,
}

impl Fate {
    /// Every record that the program made, filtered or not.
    #[must_use]
    pub const fn made(&self) -> u64 {
        self.offered.saturating_add(self.filtered).saturating_add(self.suppressed).saturating_add(self.folded)
    }

    const fn plus(self, other: Fate) -> Fate {
        Fate {
            offered: self.offered.saturating_add(other.offered),
            filtered: self.filtered.saturating_add(other.filtered),
            suppressed: self.suppressed.saturating_add(other.suppressed),
            folded: self.folded.saturating_add(other.folded),
            discarded: self.discarded.saturating_add(other.discarded),
        }
    }
}

/// What became of all records of a log stream, or of several, by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    by_level: [Fate; Level::ALL.len()],
    /// Records of all levels whose text was cut.
    pub cut: u64,
    /// See [`Account::bytes`].
    pub bytes: Option<LostBytes>,
}

impl Fates {
    /// Adds the account of a log stream of this class: 0 for the first of a vCPU's two, 1 for the second.
    pub fn add(&mut self, class: u32, account: &Account) {
        for (place, level) in levels_of(class).into_iter().enumerate() {
            let fate = &mut self.by_level[level as usize];
            *fate = fate.plus(account.fate(place));
        }
        self.cut = self.cut.saturating_add(account.cut);
        if let Some(more) = account.bytes {
            let sum = self.bytes.get_or_insert_default();
            sum.discarded = sum.discarded.saturating_add(more.discarded);
            sum.suppressed = sum.suppressed.saturating_add(more.suppressed);
        }
    }

    /// What became of the records of `level`.
    #[must_use]
    pub const fn of(&self, level: Level) -> Fate {
        self.by_level[level as usize]
    }

    /// Of all levels together.
    #[must_use]
    pub fn total(&self) -> Fate {
        self.by_level.iter().fold(Fate::default(), |sum, fate| sum.plus(*fate))
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
    fn the_mark_that_there_were_more_spans_is_no_part_of_a_number() {
        let word = 0x0123_0000_0abc_0fff;
        assert!(
            span_ids(word | MORE_SPANS).eq([0x123, 0xabc, 0xfff]) && span_ids(word).eq(span_ids(word | MORE_SPANS))
        );
        assert_eq!(span_ids(MORE_SPANS).count(), 0);
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
        assert_eq!(Account::of_counters(&account.counters()), account);
    }

    #[test]
    fn fates_add_up_over_streams_and_levels_and_no_count_overflows() {
        let reserved = Account { offered: [1, 2, u64::MAX], folded: [0, 5, 1], cut: 3, ..Account::default() };
        let ordinary =
            Account { offered: [10, 20, 30], suppressed: [0, 0, 4], discarded: [9, 0, 0], ..Account::default() };
        let mut fates = Fates::default();
        fates.add(1, &reserved);
        fates.add(0, &ordinary);
        fates.add(0, &ordinary);
        let made = Level::ALL.iter().map(|&level| (level, fates.of(level).made()));
        let expected = [
            (Level::App, 1),
            (Level::Error, 7),
            (Level::Warn, u64::MAX),
            (Level::Info, 20),
            (Level::Debug, 40),
            (Level::Trace, 68),
        ];
        assert!(made.eq(expected));
        assert_eq!((fates.of(Level::Info).discarded, fates.cut, fates.total().offered), (18, 3, u64::MAX));
    }
}
