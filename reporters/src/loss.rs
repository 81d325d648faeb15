//! What is shown in the place of records that were discarded: why, where, how many of each level, from when to when.
//!
//! Invariant: losses add up. Whoever merges two, or passes one on, keeps every count; so at the end of the chain the records
//! that arrived and the counts of the losses that arrived sum to the records that were produced.
//!
//! ```
//! use fata_reporters::loss::{Cause, Counts, Loss};
//! use fata_reporters::time::Time;
//! use fata_reporters::Level;
//! let mut loss = Loss::new(Cause::Full, "the queue to syslog", Time::wall(0));
//! loss.add(Level::Debug, 40, Time::wall(0));
//! loss.add(Level::Warn, 60, Time::wall(1_500_000_000));
//! assert_eq!(loss.counts.total(), 2);
//! assert_eq!(loss.to_string(), "discarded 2 records (1 WARN, 1 DEBUG; 100 bytes) within 1.500 s: the queue to syslog was full");
//! ```

use core::fmt;

use fata_wire::field::Level;
use fata_wire::log::ledger::Share;
use fata_wire::log::summary::Summary;
use fata_wire::packet::{self, Discarded};

use crate::text::Escaped;
use crate::time::Time;

/// Why records were discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// No room, and the oldest were to be kept.
    Full,
    /// No room, and the newest were to be kept.
    Overwritten,
    /// A record longer than the whole buffer.
    TooBig,
    /// A callsite made more than its share.
    Limited,
    /// Made by a reporter while it was reporting, which would never end.
    Nested,
    /// The destination did not take them.
    Failed,
    /// The reporter did not come back in time.
    Stuck,
    /// The program ended before they could be written.
    Closed,
    /// They were written over or became unreadable while they were read.
    Damaged,
    /// Several of these, which had to be added up to stay within bounds.
    Various,
    /// There was no room to say what records of their callsite are.
    Undescribed,
}

impl Cause {
    /// Every cause, in the order of [`Cause::number`].
    pub const ALL: [Cause; 11] = [
        Cause::Full,
        Cause::Overwritten,
        Cause::TooBig,
        Cause::Limited,
        Cause::Nested,
        Cause::Failed,
        Cause::Stuck,
        Cause::Closed,
        Cause::Damaged,
        Cause::Various,
        Cause::Undescribed,
    ];

    /// The word that stands for it in records for machines.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Cause::Full => "full",
            Cause::Overwritten => "overwritten",
            Cause::TooBig => "too_big",
            Cause::Limited => "limited",
            Cause::Nested => "nested",
            Cause::Failed => "failed",
            Cause::Stuck => "stuck",
            Cause::Closed => "closed",
            Cause::Damaged => "damaged",
            Cause::Various => "various",
            Cause::Undescribed => "undescribed",
        }
    }

    /// Why `missing` records are missing between two packets of a ring, or between a packet and the ring's end, by what the ring
    /// had counted `before` and `after`, and of how many its ledgers say that they could not be described. Where all of that is
    /// nothing the newest took the place of the oldest.
    #[must_use]
    pub fn of_ring(before: &Discarded, after: &Discarded, missing: u64, undescribed: u64) -> Self {
        match undescribed {
            0 => {}
            _ if undescribed >= missing => return Cause::Undescribed,
            _ => return Cause::Various,
        }
        let causes = [
            (packet::Cause::Full, Cause::Full),
            (packet::Cause::Nested, Cause::Nested),
            (packet::Cause::TooBig, Cause::TooBig),
            (packet::Cause::Overwritten, Cause::Overwritten),
            (packet::Cause::Refused, Cause::Damaged),
        ];
        let grew = |cause: packet::Cause| after[cause as usize] > before[cause as usize];
        let mut grown = causes.into_iter().filter(|(cause, _)| grew(*cause)).map(|(_, cause)| cause);
        match (grown.next(), grown.next()) {
            (None, _) => Cause::Overwritten,
            (Some(cause), None) => cause,
            (Some(_), Some(_)) => Cause::Various,
        }
    }

    /// Its place in [`Cause::ALL`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What happened to the place, as the end of a sentence that begins with it.
    const fn predicate(self) -> &'static str {
        match self {
            Cause::Full => "was full",
            Cause::Overwritten => "was full, and kept the newest",
            Cause::TooBig => "was too small for a record",
            Cause::Limited => "limits how often one line of the program is shown",
            Cause::Nested => "was reporting when its own reporter logged",
            Cause::Failed => "did not take them",
            Cause::Stuck => "did not answer in time",
            Cause::Closed => "ended before they were written",
            Cause::Damaged => "was written over while it was read",
            Cause::Various => "and others discarded them for several reasons",
            Cause::Undescribed => "had no room left to describe what they are",
        }
    }
}

/// How many records of each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By the level's number.
    pub by_level: [u64; 6],
    /// Records whose level nobody saw.
    pub unknown: u64,
}

impl Counts {
    /// One record more.
    pub const fn add(&mut self, level: Level) {
        self.by_level[level as usize] = self.by_level[level as usize].saturating_add(1);
    }

    /// The records of `other` too.
    pub fn merge(&mut self, other: &Counts) {
        for (count, more) in self.by_level.iter_mut().zip(other.by_level) {
            *count = count.saturating_add(more);
        }
        self.unknown = self.unknown.saturating_add(other.unknown);
    }

    /// Records of `level`.
    #[must_use]
    pub const fn of(&self, level: Level) -> u64 {
        self.by_level[level as usize]
    }

    /// All records.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_level.iter().fold(self.unknown, |sum, &count| sum.saturating_add(count))
    }

    /// How many of each level that has any, by the level's name; `unknown` for those whose level nobody saw.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let known = Level::ALL.iter().map(|&level| (level.text(), self.of(level)));
        known.chain([("unknown", self.unknown)]).filter(|(_, count)| *count > 0)
    }

    /// The most severe level of which there is a record; `None` where none is known.
    #[must_use]
    pub fn worst(&self) -> Option<Level> {
        let severe = [Level::Error, Level::Warn, Level::App, Level::Info, Level::Debug, Level::Trace];
        severe.into_iter().find(|&level| self.of(level) > 0)
    }
}

/// How long records were that are missing: as [`Loss::bytes`] and [`Loss::is_about`] say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// `None` where nobody knows.
    pub bytes: Option<u64>,
    /// An estimate.
    pub is_about: bool,
}

impl From<Share> for Length {
    fn from(share: Share) -> Self {
        Length { bytes: share.bytes, is_about: share.is_about }
    }
}

impl From<&Summary> for Length {
    fn from(summary: &Summary) -> Self {
        Length { bytes: summary.bytes, is_about: summary.is_about }
    }
}

/// What is shown in the place of records that were discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss<'a> {
    /// Why.
    pub cause: Cause,
    /// Where in the chain: "the ring", "the queue to file:x.log".
    pub place: &'a str,
    /// Whose records; empty for this program's, or of several guests.
    pub guest: &'a str,
    /// How many.
    pub counts: Counts,
    /// How long they were, where they lay or would have; `None` where nobody knows, as of records of older guests.
    pub bytes: Option<u64>,
    /// Whether that is an estimate, as of texts that a limit kept from being put together.
    pub is_about: bool,
    /// When the first of them was made, as far as that is known.
    pub first: Time,
    /// When the last of them was made.
    pub last: Time,
}

impl<'a> Loss<'a> {
    /// Nothing lost yet, at `time`.
    #[must_use]
    pub const fn new(cause: Cause, place: &'a str, time: Time) -> Self {
        let counts = Counts { by_level: [0; 6], unknown: 0 };
        Loss { cause, place, guest: "", counts, bytes: Some(0), is_about: false, first: time, last: time }
    }

    /// So many records of `counts`, made between `first` and `last`, of whose length this is known.
    #[must_use]
    pub const fn of_length(
        cause: Cause,
        place: &'a str,
        counts: Counts,
        length: Length,
        (first, last): (Time, Time),
    ) -> Self {
        let Length { bytes, is_about } = length;
        Loss { counts, bytes, is_about, last, ..Loss::new(cause, place, first) }
    }

    /// One record more.
    pub fn add(&mut self, level: Level, bytes: u64, time: Time) {
        self.counts.add(level);
        self.bytes = self.bytes.map(|sum| sum.saturating_add(bytes));
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    /// The records of `other` too, whatever its place was. A sum of which a part is unknown is unknown.
    pub fn merge(&mut self, other: &Loss<'_>) {
        self.counts.merge(&other.counts);
        self.bytes = self.bytes.zip(other.bytes).map(|(sum, more)| sum.saturating_add(more));
        self.is_about = self.bytes.is_some() && (self.is_about || other.is_about);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    /// As what a reporter that knows only records shows it: a loss of warnings is itself worth a look.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.counts.worst() {
            Some(Level::Error) => Level::Error,
            _ => Level::Warn,
        }
    }
}

/// The sentence that stands in the place of the records.
impl fmt::Display for Loss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.counts.total();
        write!(f, "discarded {} {} (", Grouped(total), if total == 1 { "record" } else { "records" })?;
        let mut separator = "";
        for &level in Level::ALL {
            if self.counts.of(level) > 0 {
                write!(f, "{separator}{} {}", Grouped(self.counts.of(level)), level_word(level))?;
                separator = ", ";
            }
        }
        if self.counts.unknown > 0 {
            write!(f, "{separator}{} of unknown level", Grouped(self.counts.unknown))?;
            separator = "; ";
        } else if total > 0 {
            separator = "; ";
        }
        match self.bytes {
            Some(bytes) => {
                write!(f, "{separator}{}{} bytes)", if self.is_about { "about " } else { "" }, Grouped(bytes))?;
            }
            None => write!(f, "{separator}of unknown length)")?,
        }
        let within = self.last.nanos.saturating_sub(self.first.nanos).unsigned_abs() / 1_000_000;
        if within > 0 {
            write!(f, " within {}.{:03} s", Grouped(within / 1000), within % 1000)?;
        }
        write!(f, ": {} {}", Escaped(self.place.as_bytes()), self.cause.predicate())
    }
}

/// The word for a level in lines for people.
#[must_use]
pub const fn level_word(level: Level) -> &'static str {
    match level {
        Level::App => "APP",
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

/// A number with a comma between thousands.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{}", self.0);
        }
        write!(f, "{},{:03}", Grouped(self.0 / 1000), self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn merged_losses_keep_every_count_and_the_whole_stretch_of_time() {
        let mut a = Loss::new(Cause::Full, "a", Time::wall(50));
        a.add(Level::Error, 10, Time::wall(50));
        let mut b = Loss::new(Cause::Full, "b", Time::wall(20));
        b.add(Level::Trace, 5, Time::wall(20));
        b.counts.unknown = 7;
        a.merge(&b);
        assert_eq!((a.counts.total(), a.bytes, a.first, a.last), (9, Some(15), Time::wall(20), Time::wall(50)));
        assert_eq!(a.level(), Level::Error);
        // A sum with an unknown part is no number that anybody could rely on.
        let (times, about) = ((Time::wall(30), Time::wall(40)), Length { bytes: Some(25), is_about: true });
        a.merge(&Loss::of_length(Cause::Limited, "c", b.counts, about, times));
        assert_eq!((a.counts.total(), a.bytes, a.is_about), (17, Some(40), true));
        a.merge(&Loss::of_length(Cause::Limited, "c", b.counts, Length::default(), times));
        assert_eq!((a.counts.total(), a.bytes, a.is_about), (25, None, false));
        a.add(Level::Info, 3, times.0);
        assert_eq!(a.bytes, None);
    }

    #[test]
    fn a_loss_reads_as_a_sentence_with_its_numbers() {
        let mut loss = Loss::new(Cause::Overwritten, "the ring\x1b", Time::wall(0));
        loss.counts = Counts { by_level: [0, 0, 12, 0, 1_222_000, 0], unknown: 3 };
        loss.bytes = Some(91_238);
        assert_eq!(
            loss.to_string(),
            "discarded 1,222,015 records (12 WARN, 1,222,000 DEBUG, 3 of unknown level; 91,238 bytes): \
             the ring\\x1b was full, and kept the newest"
        );
        let none = Loss::new(Cause::Closed, "the file", Time::wall(0));
        assert_eq!(none.to_string(), "discarded 0 records (0 bytes): the file ended before they were written");
        let counts = Counts { by_level: [0, 0, 0, 0, 3, 0], unknown: 0 };
        let limited = |length| {
            let times = (Time::wall(0), Time::wall(2_000_000_000));
            Loss::of_length(Cause::Limited, "a callsite", counts, length, times).to_string()
        };
        let told = |length| {
            std::format!(
                "discarded 3 records (3 DEBUG; {length}) within 2.000 s: a callsite limits how often one line of the \
                 program is shown"
            )
        };
        assert_eq!(limited(Length::default()), told("of unknown length"));
        assert_eq!(limited(Length { bytes: Some(1440), is_about: true }), told("about 1,440 bytes"));
    }

    #[test]
    fn why_a_ring_has_lost_records_is_what_it_counted_meanwhile() {
        let counted = |full, too_big| {
            let mut counted = Discarded::default();
            counted[packet::Cause::Full as usize] = full;
            counted[packet::Cause::TooBig as usize] = too_big;
            counted
        };
        let cause = |before, after| Cause::of_ring(&before, &after, 4, 0);
        assert_eq!(cause(counted(3, 1), counted(7, 1)), Cause::Full);
        assert_eq!(cause(counted(3, 1), counted(3, 2)), Cause::TooBig);
        assert_eq!(cause(counted(3, 1), counted(4, 2)), Cause::Various);
        assert_eq!(cause(counted(3, 1), counted(3, 1)), Cause::Overwritten);
        let undescribed = |full, undescribed| Cause::of_ring(&counted(3, 1), &counted(full, 1), 4, undescribed);
        assert_eq!((undescribed(3, 4), undescribed(6, 1)), (Cause::Undescribed, Cause::Various));
    }

    #[test]
    fn the_causes_are_numbered_in_their_order() {
        for (i, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(cause.number()), i);
        }
    }
}
