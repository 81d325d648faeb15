//! What a log ring says of itself, so that every loss has a length: how much it held before, and how much it discarded.
//!
//! Each packet of a log stream begins with a ledger, an event of the format's own ([`LEDGER`](crate::event::LEDGER)); another one
//! follows a record that was discarded while there was room. All of its numbers only grow, and count records alone, not the
//! stream's own events. Invariant, of what a reader has up to a ledger: `recorded = read + overwritten`, and `read + overwritten +
//! discarded` is all that was offered, in records and in bytes. A [`Balance`] keeps that account for a reader:
//!
//! ```
//! use fata_wire::log::ledger::{Balance, Extent, Ledger, Share};
//! let mut balance = Balance::from_zero();
//! balance.read(40);
//! // Three records lay in the packets before, and two more found no room.
//! let (recorded, discarded) = (Extent { records: 3, bytes: 100 }, Extent { records: 2, bytes: 80 });
//! balance.ledger(&Ledger { recorded, discarded, undescribed: 0 });
//! balance.settle();
//! let share = balance.take(4);
//! assert_eq!(share, Share { bytes: Some(140), is_about: false, undescribed: 0 });
//! ```

use crate::field::{Field, FieldType, Unit};
use crate::u64_at;

/// So many records, of so many bytes in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many.
    pub records: u64,
    /// How long they are in a packet, headers included.
    pub bytes: u64,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What lay in all packets of the stream before the one with the ledger, whether or not it was overwritten since.
    pub recorded: Extent,
    /// What was discarded until now.
    pub discarded: Extent,
    /// How many of the discarded records were of callsites whose description had found no room.
    pub undescribed: u64,
}

/// The payload of a ledger in words.
pub const WORDS: usize = 5;

/// The fields of a ledger's event.
pub const FIELDS: [Field<'static>; WORDS] = [
    Field { name: "recorded", ty: FieldType::U64, unit: Unit::None },
    Field { name: "recorded_bytes", ty: FieldType::U64, unit: Unit::Bytes },
    Field { name: "discarded", ty: FieldType::U64, unit: Unit::None },
    Field { name: "discarded_bytes", ty: FieldType::U64, unit: Unit::Bytes },
    Field { name: "undescribed", ty: FieldType::U64, unit: Unit::None },
];

impl Ledger {
    /// The payload of its event.
    #[must_use]
    pub const fn words(&self) -> [u64; WORDS] {
        let Ledger { recorded, discarded, undescribed } = *self;
        [recorded.records, recorded.bytes, discarded.records, discarded.bytes, undescribed]
    }

    /// The ledger with this payload; what is missing there is 0.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        let word = |place: usize| u64_at(payload, 8 * place);
        Ledger {
            recorded: Extent { records: word(0), bytes: word(1) },
            discarded: Extent { records: word(2), bytes: word(3) },
            undescribed: word(4),
        }
    }
}

/// What a reader knows of the length of records that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How long they were; `None` where the stream does not say.
    pub bytes: Option<u64>,
    /// Whether that is an estimate: the share of these among records of several levels that are missing together.
    pub is_about: bool,
    /// How many of them were of callsites that could not be described.
    pub undescribed: u64,
}

/// Missing and not told yet. Below zero where a ledger came later than what it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pending {
    records: i64,
    bytes: i64,
    undescribed: i64,
}

/// How much of a log stream a reader has missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The youngest ledger; none before the first in a stream that is not read from its beginning.
    known: Option<Ledger>,
    /// Whether there was a ledger: older guests write none.
    has_ledgers: bool,
    /// What was read of the packet that the youngest ledger is in.
    read: Extent,
    pending: Pending,
    /// What was pending at the youngest record: only that can be missing before it.
    settled: Pending,
}

impl Balance {
    /// Of a stream that is read from its beginning.
    #[must_use]
    pub fn from_zero() -> Self {
        Balance { known: Some(Ledger::default()), ..Balance::default() }
    }

    /// Of a stream whose beginning is somebody else's.
    #[must_use]
    pub fn from_anywhere() -> Self {
        Balance::default()
    }

    /// A record of `bytes` was read, its header included.
    pub const fn read(&mut self, bytes: u64) {
        self.settle();
        self.read.records = self.read.records.wrapping_add(1);
        self.read.bytes = self.read.bytes.wrapping_add(bytes);
    }

    /// What the ledgers have said until now may be missing before what comes next: for who asks before the next record is read.
    pub const fn settle(&mut self) {
        self.settled = self.pending;
    }

    /// A ledger was read.
    pub fn ledger(&mut self, now: &Ledger) {
        self.has_ledgers = true;
        let Some(before) = self.known else {
            self.known = Some(*now);
            self.read = Extent::default();
            return;
        };
        // One that an interrupt overtook says nothing new.
        if now.recorded.records > before.recorded.records {
            let overwritten =
                |now: u64, before: u64, read: u64| now.wrapping_sub(before).wrapping_sub(read).cast_signed();
            self.add(
                overwritten(now.recorded.records, before.recorded.records, self.read.records),
                overwritten(now.recorded.bytes, before.recorded.bytes, self.read.bytes),
            );
            self.read = Extent::default();
        }
        let recorded = if now.recorded.records > before.recorded.records { now.recorded } else { before.recorded };
        self.discarded(&Ledger { recorded, ..*now });
    }

    /// So much had been discarded when the stream was looked at last: for its end, which no ledger follows.
    pub fn end(&mut self, discarded: Extent) {
        if let Some(known) = self.known {
            self.discarded(&Ledger { discarded, ..known });
            self.settle();
        }
    }

    fn discarded(&mut self, now: &Ledger) {
        let before = self.known.unwrap_or_default();
        if now.discarded.records > before.discarded.records {
            let grown = |now: u64, before: u64| now.wrapping_sub(before).cast_signed();
            self.add(
                grown(now.discarded.records, before.discarded.records),
                grown(now.discarded.bytes, before.discarded.bytes),
            );
            let undescribed = grown(now.undescribed.max(before.undescribed), before.undescribed);
            self.pending.undescribed = self.pending.undescribed.saturating_add(undescribed);
            let undescribed = now.undescribed.max(before.undescribed);
            self.known = Some(Ledger { undescribed, ..*now });
        } else {
            self.known = Some(Ledger { recorded: now.recorded, ..before });
        }
    }

    fn add(&mut self, records: i64, bytes: i64) {
        self.pending.records = self.pending.records.saturating_add(records);
        self.pending.bytes = self.pending.bytes.saturating_add(bytes);
    }

    /// The share of `records` that are missing, as their numbers tell, among all that are missing. It is told once.
    #[must_use = "what is missing is told once"]
    pub fn take(&mut self, records: u64) -> Share {
        if self.known.is_none() || !self.has_ledgers {
            return Share::default();
        }
        let Pending { records: all, bytes, undescribed } = self.settled;
        let all = u64::try_from(all).unwrap_or(0);
        let share = |sum: i64| match u64::try_from(sum).unwrap_or(0) {
            // Of records of which no ledger knows yet nothing is said.
            _ if all == 0 => 0,
            sum if records >= all => sum,
            sum => portion(sum, records, all),
        };
        let (share_bytes, share_undescribed) = (share(bytes), share(undescribed));
        for pending in [&mut self.pending, &mut self.settled] {
            pending.records = pending.records.saturating_sub_unsigned(records);
            pending.bytes = pending.bytes.saturating_sub_unsigned(share_bytes);
            pending.undescribed = pending.undescribed.saturating_sub_unsigned(share_undescribed);
        }
        let bytes = (all > 0).then_some(share_bytes);
        Share { bytes, is_about: all > 0 && records != all, undescribed: share_undescribed }
    }

    /// What is missing and was not taken.
    #[must_use]
    pub fn left(&self) -> Extent {
        let amount = |sum: i64| u64::try_from(sum).unwrap_or(0);
        Extent { records: amount(self.pending.records), bytes: amount(self.pending.bytes) }
    }
}

/// `sum * part / all`, where `part` is less than `all`.
fn portion(sum: u64, part: u64, all: u64) -> u64 {
    u64::try_from(u128::from(sum) * u128::from(part) / u128::from(all)).unwrap_or(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(recorded: (u64, u64), discarded: (u64, u64), undescribed: u64) -> Ledger {
        let extent = |(records, bytes)| Extent { records, bytes };
        Ledger { recorded: extent(recorded), discarded: extent(discarded), undescribed }
    }

    #[test]
    fn a_ledger_is_read_back_and_one_that_is_cut_is_zero_where_it_ends() {
        let said = ledger((1, 2), (3, 4), 5);
        let mut bytes = [0; 8 * WORDS];
        said.words().iter().enumerate().for_each(|(i, word)| crate::put_u64(&mut bytes, 8 * i, *word));
        assert_eq!(Ledger::parse(&bytes), said);
        assert_eq!(Ledger::parse(&bytes[..17]), ledger((1, 2), (0, 0), 0));
    }

    #[test]
    fn what_was_read_and_what_is_told_as_missing_sum_to_what_was_offered() {
        let mut balance = Balance::from_zero();
        balance.ledger(&Ledger::default());
        (0..3).for_each(|_| balance.read(24));
        // The packet held five records of 24 bytes, one of which the reader could not read and one came later.
        balance.ledger(&ledger((5, 120), (0, 0), 0));
        balance.settle();
        assert_eq!(balance.take(2), Share { bytes: Some(48), is_about: false, undescribed: 0 });
        balance.read(24);
        // The next two packets were overwritten; of what was discarded, one record had no description.
        balance.ledger(&ledger((205, 6120), (4, 160), 1));
        balance.settle();
        let all = balance.take(203);
        assert_eq!(all, Share { bytes: Some(6000 - 24 + 160), is_about: false, undescribed: 1 });
        assert_eq!(balance.left(), Extent::default());
    }

    #[test]
    fn records_of_several_levels_that_are_missing_together_share_the_bytes_and_nothing_is_told_twice() {
        let mut balance = Balance::from_zero();
        balance.ledger(&ledger((0, 0), (3, 100), 3));
        balance.read(24);
        // What is lost behind a record is not missing before it.
        balance.ledger(&ledger((0, 0), (5, 180), 3));
        assert_eq!(balance.take(1), Share { bytes: Some(33), is_about: true, undescribed: 1 });
        assert_eq!(balance.take(2), Share { bytes: Some(67), is_about: false, undescribed: 2 });
        // More are missing than any ledger has said.
        assert_eq!(balance.take(4), Share::default());
        balance.ledger(&ledger((0, 0), (9, 500), 3));
        balance.settle();
        assert_eq!(balance.take(2), Share { bytes: Some(400), is_about: false, undescribed: 0 });
    }

    #[test]
    fn an_old_stream_says_nothing_and_one_that_was_begun_elsewhere_nothing_before_its_first_ledger() {
        let mut balance = Balance::from_zero();
        balance.read(24);
        assert_eq!(balance.take(3), Share::default());
        let mut balance = Balance::from_anywhere();
        balance.read(24);
        assert_eq!(balance.take(3), Share::default());
        balance.ledger(&ledger((50, 5000), (9, 900), 0));
        balance.read(100);
        balance.end(Extent { records: 11, bytes: 1000 });
        assert_eq!(balance.take(2), Share { bytes: Some(100), is_about: false, undescribed: 0 });
    }

    #[test]
    fn no_ledger_of_a_guest_that_lies_breaks_a_reader() {
        let extremes = [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX];
        let mut balance = Balance::from_zero();
        for a in extremes {
            for b in extremes {
                for c in extremes {
                    balance.ledger(&ledger((a, b), (c, a), b));
                    balance.read(c);
                    let _ = (balance.take(a), balance.take(b));
                }
            }
        }
        balance.end(Extent { records: u64::MAX, bytes: 0 });
        let _ = balance.take(u64::MAX);
    }

    #[test]
    fn a_ledger_that_an_interrupt_overtook_takes_nothing_back() {
        let mut balance = Balance::from_zero();
        balance.ledger(&ledger((10, 400), (2, 60), 0));
        balance.ledger(&ledger((4, 100), (1, 30), 0));
        balance.settle();
        assert_eq!(balance.take(12), Share { bytes: Some(460), is_about: false, undescribed: 0 });
    }
}
