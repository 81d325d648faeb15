//! Records that are missing from the log, in their place: how many of each level, between which two moments, and why.
//!
//! Each record has a number among those of its level in its stream ([`fata_wire::log`]), so what is missing is known exactly,
//! without any record about it. What is missing before and among the records of one packet is one loss, which stands in the
//! log before the record whose number told. Invariant: the records of a stream and what its losses count are all records up
//! to the last one, from the stream's first packet on.
//!
//! When it is full: [`MAX_LOSSES`] are told apart; what a stream lacks beyond that is added to its last one.

use fata_wire::field::Level;
use fata_wire::log::ledger::{Balance, Ledger, Share};
use fata_wire::numbers::{ByLevel, Numbers};
use fata_wire::packet::{Cause, Discarded};

use crate::guests::GuestId;
use crate::logs::{LogRecord, Logs};
use crate::text;
use crate::time::Nanos;

/// Losses that are told apart.
pub const MAX_LOSSES: usize = 1 << 18;

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Events of the stream were discarded for this cause.
    Discarded(Cause),
    /// They were discarded for several causes.
    Various,
    /// They were published, and their packets are not in the trace.
    NotInTrace,
    /// There was no room to describe what they are.
    Undescribed,
}

impl Why {
    /// Why records are missing before a packet, from what was discarded and how many packets are missing since the one before.
    pub(crate) fn of(discarded: &Discarded, missing_packets: u64) -> Self {
        let mut causes = Cause::ALL.into_iter().filter(|&cause| discarded.get(cause as usize).is_some_and(|&n| n > 0));
        match (causes.next(), causes.next(), missing_packets) {
            (None, _, 1..) => Why::NotInTrace,
            // Whoever reads a ring that overwrites finds the old ones gone; nobody counted them.
            (None, ..) => Why::Discarded(Cause::Overwritten),
            (Some(cause), None, 0) => Why::Discarded(cause),
            _ => Why::Various,
        }
    }

    /// As the end of a sentence.
    const fn text(self) -> &'static str {
        match self {
            Why::Discarded(Cause::Full) => "the guest's log ring was full",
            Why::Discarded(Cause::Nested) => "an interrupt logged while the ring was changing packets",
            Why::Discarded(Cause::TooBig) => "they were longer than a packet",
            Why::Discarded(Cause::Overwritten) => "the guest's log ring was full, and kept the newest",
            Why::Discarded(Cause::Refused) => "the collector could not read them",
            Why::Various => "they were discarded for several reasons",
            Why::NotInTrace => "their packets are not in the trace",
            Why::Undescribed => "the guest had no room left to describe what they are",
        }
    }
}

/// Records that are missing from one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLoss {
    /// How many.
    pub by_level: ByLevel,
    /// When the last record before them was made.
    pub first: Nanos,
    /// When the first record after them was made: their place in the log.
    pub last: Nanos,
    /// The stream.
    pub cpu: u32,
    /// Why.
    pub why: Why,
    /// How long they were; `None` where the trace does not say, as an older one.
    pub bytes: Option<u64>,
    /// Whether that is an estimate.
    pub is_about: bool,
}

impl LogLoss {
    /// All levels together.
    #[must_use]
    pub fn total(&self) -> u64 {
        total(&self.by_level)
    }

    /// The sentence that stands in their place.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (since, about) = (text::moment(self.first), if self.is_about { "about " } else { "" });
        let bytes = self.bytes.map_or_else(String::new, |bytes| format!(" of {about}{bytes} bytes"));
        format!("lost {}{bytes} since {since}: {}", counted(&self.by_level), self.why.text())
    }
}

/// All levels together.
#[must_use]
pub fn total(by_level: &ByLevel) -> u64 {
    by_level.iter().fold(0, |sum, &count| sum.saturating_add(count))
}

/// How many records of which levels: `57 records (12 WARN, 45 DEBUG)`.
#[must_use]
pub fn counted(by_level: &ByLevel) -> String {
    let all = total(by_level);
    let levels = Level::ALL.iter().zip(by_level).filter(|(_, count)| **count > 0);
    let levels: Vec<_> = levels.map(|(level, count)| format!("{count} {}", level.text().to_uppercase())).collect();
    format!("{all} {} ({})", if all == 1 { "record" } else { "records" }, levels.join(", "))
}

/// The numbers of a stream's records, as they are read.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    numbers: Numbers,
    balance: Balance,
    /// The records of the packet that is read, which is bounded: level, number, when it was made.
    packet: Vec<(Level, u64, Nanos)>,
    /// When the last record of the packet before was made.
    before: Nanos,
    /// The stream's last loss.
    last: Option<u32>,
}

impl Follow {
    /// A stream from `begin` on, which may be the begin of all its records.
    pub(crate) fn new(from_start: bool, begin: Nanos) -> Self {
        let (numbers, balance) = match from_start {
            true => (Numbers::from_zero(), Balance::from_zero()),
            false => (Numbers::from_anywhere(), Balance::from_anywhere()),
        };
        Follow { numbers, balance, packet: Vec::new(), before: begin, last: None }
    }

    /// Takes the next record of the packet, of so many bytes.
    pub(crate) fn take(&mut self, level: Level, number: u64, time: Nanos, bytes: u64) {
        self.packet.push((level, number, time));
        self.balance.read(bytes);
    }

    /// Takes what the ring says of itself.
    pub(crate) fn ledger(&mut self, ledger: &Ledger) {
        self.balance.ledger(ledger);
    }

    /// The packet has ended, with its last record at `end`: what it lacks goes into the log.
    pub(crate) fn end(&mut self, logs: &mut Logs, cpu: u32, why: Why, end: Nanos) {
        let missing = self.numbers.take_packet(&mut self.packet);
        self.packet.clear();
        let first = std::mem::replace(&mut self.before, end);
        if let Some((by_level, last)) = missing {
            let all = total(&by_level);
            let Share { bytes, is_about, undescribed } = self.balance.take(all);
            let why = match undescribed {
                0 => why,
                _ if undescribed >= all => Why::Undescribed,
                _ => Why::Various,
            };
            let loss = LogLoss { by_level, first: first.min(last), last, cpu, why, bytes, is_about };
            self.last = logs.lose(loss, self.last);
        }
    }
}

/// All losses of a log, by the number that their records have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    list: Vec<LogLoss>,
    /// All that is missing.
    pub(crate) sum: ByLevel,
}

impl Losses {
    /// Adds a loss, to `known` where there is no more room; the number of the record that is to stand for it in the log.
    pub(crate) fn add(&mut self, loss: LogLoss, known: Option<u32>) -> Option<u32> {
        merge(&mut self.sum, &loss.by_level);
        if self.list.len() < MAX_LOSSES {
            self.list.push(loss);
            return u32::try_from(self.list.len() - 1).ok();
        }
        if let Some(known) = known.and_then(|known| self.list.get_mut(known as usize)) {
            merge(&mut known.by_level, &loss.by_level);
            known.bytes = known.bytes.zip(loss.bytes).map(|(sum, more)| sum.saturating_add(more));
            known.is_about = known.bytes.is_some() && (known.is_about || loss.is_about);
            known.why = if known.why == loss.why { loss.why } else { Why::Various };
        }
        None
    }

    pub(crate) fn get(&self, number: u32) -> Option<&LogLoss> {
        self.list.get(number as usize)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.list.capacity() * size_of::<LogLoss>()
    }
}

fn merge(sum: &mut ByLevel, more: &ByLevel) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
}

/// The record that stands for loss `number` of a guest.
pub(crate) const fn record_of(guest: GuestId, number: u32, time: Nanos) -> LogRecord {
    LogRecord { time, callsite: guest.callsite(LOSS), task: 0, extra: number }
}

/// No callsite of a guest has this number.
pub(crate) const LOSS: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_added_to_the_last_loss_of_its_stream() {
        let mut losses = Losses::default();
        let by_level = [0, 0, 1, 0, 2, 0];
        let (why, bytes) = (Why::NotInTrace, Some(100));
        let loss = LogLoss { by_level, first: 5, last: 9, cpu: 1, why, bytes, is_about: false };
        for number in (0..).take(MAX_LOSSES) {
            assert_eq!(losses.add(loss, None), Some(number));
        }
        let full = LogLoss { why: Why::Discarded(Cause::Full), ..loss };
        assert_eq!(losses.add(full, Some(3)), None);
        let kept = losses.get(3).map(|loss| (loss.by_level, loss.why, loss.bytes));
        assert_eq!(kept, Some(([0, 0, 2, 0, 4, 0], Why::Various, Some(200))));
        let all = MAX_LOSSES as u64 + 1;
        assert_eq!(losses.sum, [0, 0, all, 0, 2 * all, 0]);
    }

    #[test]
    fn a_loss_reads_as_a_sentence_with_its_numbers() {
        let (by_level, why) = ([0, 0, 12, 0, 45, 0], Why::Various);
        let mut loss = LogLoss { by_level, first: 1000, last: 9000, cpu: 1, why, bytes: None, is_about: false };
        let why = "they were discarded for several reasons";
        assert_eq!(loss.sentence(), format!("lost 57 records (12 WARN, 45 DEBUG) since 0.000001000 s: {why}"));
        loss.bytes = Some(2280);
        let sentence = |length| format!("lost 57 records (12 WARN, 45 DEBUG) of {length} since 0.000001000 s: {why}");
        assert_eq!(loss.sentence(), sentence("2280 bytes"));
        loss.is_about = true;
        assert_eq!(loss.sentence(), sentence("about 2280 bytes"));
        (loss.bytes, loss.is_about) = (None, false);
        loss.by_level = [0, 1, 0, 0, 0, 0];
        assert_eq!(loss.sentence(), format!("lost 1 record (1 ERROR) since 0.000001000 s: {why}"));
    }

    #[test]
    fn why_records_are_missing_is_told_by_what_grew_since_the_packet_before() {
        let why = |causes: &[Cause], packets| {
            let mut discarded = Discarded::default();
            causes.iter().for_each(|&cause| discarded[cause as usize] = 3);
            Why::of(&discarded, packets)
        };
        assert_eq!(why(&[], 0), Why::Discarded(Cause::Overwritten));
        assert_eq!(why(&[], 2), Why::NotInTrace);
        assert_eq!(why(&[Cause::Full], 0), Why::Discarded(Cause::Full));
        assert_eq!(why(&[Cause::Full], 2), Why::Various);
        assert_eq!(why(&[Cause::Full, Cause::TooBig], 0), Why::Various);
    }
}
