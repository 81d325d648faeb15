//! The log: records in the order of time, about nine bytes each beside their fields; the text is put together when it is
//! looked at.
//!
//! Records come in several streams, whose packets overlap. Packets are handed in by their begin, so what is older than the
//! begin of the newest can be followed by nothing older: it is *settled*, and packed. The few others are kept sorted behind
//! it. What is missing has a place among them ([`log_losses`](crate::log_losses)). Invariant: records lie in time order; a
//! settled one never changes its index. Never full: the tracks' budget counts records, and the oldest are given up in pieces of
//! 512, as intervals are.

use std::borrow::Cow;

use fata_wire::field::{FieldType, Level, Value};
use fata_wire::log::summary::{Summarised, Summary};
use fata_wire::log::{FILE, FIRST_FIELDS, LINE, MESSAGE, SPANS, TARGET};
use fata_wire::numbers::ByLevel;

use crate::columns::FAN_OUT;
use crate::columns::packed::Packed;
use crate::guests::GuestId;
use crate::log_losses::{LOSS, LogLoss, Losses, record_of};
use crate::text;
use crate::time::Nanos;
use crate::trace::Trace;

/// A log record, or the [loss](Trace::log_loss) of some; its text is asked for with [`Trace::log_text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was made.
    pub time: Nanos,
    /// Its callsite, which has its level, its target (the category) and its fields' names.
    pub callsite: u16,
    /// The number of the task that made it; 0 for what is no task.
    pub task: u16,
    /// Where its fields are.
    pub(crate) extra: u32,
}

impl LogRecord {
    /// Whose it is.
    #[must_use]
    pub const fn guest(&self) -> GuestId {
        GuestId::of_callsite(self.callsite)
    }

    /// Whether it stands for records that are missing.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        self.callsite == self.guest().callsite(LOSS)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Logs {
    /// Distances from the group's first time, callsites, tasks, and fields as distances from the group's least.
    groups: Packed<4>,
    /// The least place of fields, by group.
    places: Vec<u32>,
    /// Settled, and fewer than a group; then what is not settled.
    youngest: Vec<LogRecord>,
    /// How many of the youngest are settled.
    settled: usize,
    forgotten: usize,
    losses: Losses,
}

impl Logs {
    pub(crate) fn new() -> Self {
        Logs {
            groups: Packed::new(),
            places: Vec::new(),
            youngest: Vec::new(),
            settled: 0,
            forgotten: 0,
            losses: Losses::default(),
        }
    }

    /// How many records by level are missing, as their numbers tell.
    #[must_use]
    pub fn lost(&self) -> ByLevel {
        self.losses.sum
    }

    /// How many records and losses, the forgotten ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.groups() * FAN_OUT + self.youngest.len()
    }

    /// How many groups are packed.
    pub(crate) fn groups(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records before this index never change.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.groups.groups() * FAN_OUT + self.settled
    }

    /// How many of the oldest were given up.
    #[must_use]
    pub fn forgotten(&self) -> usize {
        self.forgotten
    }

    /// The record of this index; `None` beyond the last, and for what was forgotten.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<LogRecord> {
        let group = index / FAN_OUT;
        if group >= self.places.len() {
            return self.youngest.get(index - self.places.len() * FAN_OUT).copied();
        }
        self.group(group)?.get(index % FAN_OUT).copied()
    }

    /// The records of a packed group, the indices from `group * 8` on.
    pub(crate) fn group(&self, group: usize) -> Option<[LogRecord; FAN_OUT]> {
        let least = *self.places.get(group)?;
        let (start, [times, callsites, tasks, places]) = self.groups.get(group)?;
        let narrow = |number: u64| u16::try_from(number).unwrap_or(0);
        let mut records = [LogRecord { time: start, callsite: 0, task: 0, extra: least }; FAN_OUT];
        for (i, record) in records.iter_mut().enumerate() {
            record.time += times[i].cast_signed();
            record.callsite = narrow(callsites[i]);
            record.task = narrow(tasks[i]);
            record.extra = least.wrapping_add(u32::try_from(places[i]).unwrap_or(0));
        }
        Some(records)
    }

    /// The index of the first record at or after `time`.
    #[must_use]
    pub fn first_from(&self, time: Nanos) -> usize {
        let group = self.groups.first_from(time).saturating_sub(1);
        let first = (group * FAN_OUT).max(self.forgotten);
        // Beyond the groups the youngest are asked by halves: there may be many that are not settled.
        if group + 1 < self.groups.groups() {
            let before = (first..first + 2 * FAN_OUT).take_while(|&i| self.get(i).is_some_and(|r| r.time < time));
            return first + before.count();
        }
        let packed = self.groups.groups() * FAN_OUT;
        let in_group = (first..packed).take_while(|&index| self.get(index).is_some_and(|r| r.time < time)).count();
        if first + in_group < packed {
            return first + in_group;
        }
        packed + self.youngest.partition_point(|record| record.time < time)
    }

    pub(crate) fn push(&mut self, record: LogRecord) {
        // Settled ones are never overtaken; what comes too late is put behind them.
        let after = self.youngest.partition_point(|known| known.time <= record.time).max(self.settled);
        self.youngest.insert(after, record);
    }

    /// Notes records that are missing, before the record that tells; `known` is the last loss of the same stream.
    pub(crate) fn lose(&mut self, loss: LogLoss, known: Option<u32>) -> Option<u32> {
        let Some(number) = self.losses.add(loss, known) else { return known };
        let before = self.youngest.partition_point(|known| known.time < loss.last).max(self.settled);
        self.youngest.insert(before, record_of(GuestId::of_cpu(loss.cpu), number, loss.last));
        Some(number)
    }

    /// Nothing older than `time` will come.
    pub(crate) fn settle(&mut self, time: Nanos) {
        let rest = self.youngest.get(self.settled..).unwrap_or(&[]);
        self.settled += rest.partition_point(|record| record.time < time);
        let whole = self.settled / FAN_OUT * FAN_OUT;
        if whole == 0 {
            return;
        }
        for group in self.youngest.get(..whole).unwrap_or(&[]).as_chunks::<FAN_OUT>().0 {
            let least = group.iter().map(|record| record.extra).min().unwrap_or(0);
            let start = group[0].time;
            let mut columns = [[0; FAN_OUT]; 4];
            for (i, record) in group.iter().enumerate() {
                columns[0][i] = (record.time - start).max(0).cast_unsigned();
                columns[1][i] = record.callsite.into();
                columns[2][i] = record.task.into();
                columns[3][i] = u64::from(record.extra - least);
            }
            self.groups.push(start, &columns);
            self.places.push(least);
        }
        self.youngest.drain(..whole);
        self.settled -= whole;
    }

    /// Gives up records before `time`, and returns how many.
    pub(crate) fn forget_before(&mut self, time: Nanos) -> usize {
        let forgotten = self.groups.forget_before(self.groups.first_from(time).saturating_sub(1)) * FAN_OUT;
        self.forgotten += forgotten;
        forgotten
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.groups.memory_bytes()
            + self.places.capacity() * 4
            + self.youngest.capacity() * size_of::<LogRecord>()
            + self.losses.memory_bytes()
    }
}

/// Whether a field is looked into when a text is looked for.
fn is_sought(name: &str) -> bool {
    is_said(name) || name == TARGET
}

/// Whether a field says something to a reader of the log, beside what has a column of its own.
fn is_said(name: &str) -> bool {
    ![SPANS, TARGET, FILE, LINE].contains(&name) && FIRST_FIELDS.iter().all(|first| first.name != name)
}

impl Trace {
    /// The log.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// What is missing, where a record stands for that.
    #[must_use]
    pub fn log_loss(&self, record: &LogRecord) -> Option<&LogLoss> {
        record.is_loss().then(|| self.logs.losses.get(record.extra))?
    }

    /// How much a record matters; of a loss, the most important of what is missing.
    #[must_use]
    pub fn log_level(&self, record: &LogRecord) -> Level {
        if let Some(loss) = self.log_loss(record) {
            let worst = Level::ALL.iter().find(|&&level| loss.by_level[level as usize] > 0);
            return worst.copied().unwrap_or(Level::Trace);
        }
        self.description.callsite(record.callsite).map_or(Level::Info, |callsite| callsite.level)
    }

    /// The target of a record: its own, where its callsite is that of all records of the crate `log`, or else its callsite's.
    #[must_use]
    pub fn log_target(&self, record: &LogRecord) -> Cow<'_, str> {
        let Some(callsite) = self.description.callsite(record.callsite) else { return Cow::Borrowed("") };
        let brings_its_own = callsite.fields.iter().any(|field| &*field.name == TARGET);
        if let Some((arg, payload)) = self.args.get(record.extra).filter(|_| brings_its_own) {
            let fields = callsite.wire_fields();
            let mut values = fields.values(arg, &payload);
            let own = values.find_map(|(field, value)| match value {
                Value::Str(said) if field.name == TARGET => Some(text::escaped(said)),
                _ => None,
            });
            if let Some(own) = own {
                return Cow::Owned(own);
            }
        }
        Cow::Borrowed(&callsite.category)
    }

    /// What a record says: its message, then its fields; control characters and broken text escaped. What the log says of
    /// itself, and what is missing, is a sentence.
    #[must_use]
    pub fn log_text(&self, record: &LogRecord) -> String {
        if let Some(loss) = self.log_loss(record) {
            return loss.sentence();
        }
        let Some(callsite) = self.description.callsite(record.callsite) else { return String::new() };
        let Some((arg, payload)) = self.args.get(record.extra) else {
            return format!("{} (its fields were given up)", callsite.name);
        };
        let fields = callsite.wire_fields();
        let values = fields.values(arg, &payload).map(|(field, value)| (field.name, value));
        if let Some(summary) = Summary::of(&callsite.category, &callsite.name, values) {
            return self.summary_text(record.guest(), &summary);
        }
        let (mut message, mut rest) = (String::new(), String::new());
        for (field, value) in fields.values(arg, &payload) {
            match value {
                Value::Str(said) if field.name == MESSAGE => message = text::escaped(said),
                Value::Str(said) if is_said(field.name) => {
                    rest += &format!("  {}={}", field.name, text::escaped(said));
                }
                _ if is_said(field.name) => {
                    let value = text::value(&value, field.unit, self, record.guest(), record.time);
                    rest += &format!("  {}={value}", field.name);
                }
                _ => {}
            }
        }
        if message.is_empty() { format!("{}{rest}", callsite.name) } else { message + &rest }
    }

    /// What the log says of itself, as a sentence.
    fn summary_text(&self, guest: GuestId, summary: &Summary) -> String {
        let scale = self.scale(guest);
        let within = scale.nanos_from_ticks(scale.origin_ticks().saturating_add(summary.within_ticks));
        let within = text::duration(within);
        let of = self.description.callsite(guest.callsite(summary.callsite));
        let (count, is_one) = (summary.count, summary.count == 1);
        match summary.what {
            Summarised::Suppressed => {
                let level = of.map_or_else(String::new, |of| format!("{} ", of.level.text().to_uppercase()));
                let records = if is_one { "record" } else { "records" };
                let place =
                    of.map_or_else(|| "one callsite".to_owned(), |of| format!("{} of {}", of.name, of.category));
                let about = if summary.is_about { "about " } else { "" };
                let bytes = summary.bytes.map_or_else(String::new, |bytes| format!(" of {about}{bytes} bytes"));
                format!(
                    "suppressed {count} {level}{records}{bytes} within {within}: {place} may say no more in a second"
                )
            }
            Summarised::Repeated => {
                let times = if is_one { "once".to_owned() } else { format!("{count} times") };
                format!("the record before was repeated {times} within {within}")
            }
        }
    }

    /// Whether a record's text holds `needle`, which is in lower case. `text_alone` is [`Trace::says_text_alone`].
    pub(crate) fn log_says(&self, record: &LogRecord, needle: &str, text_alone: bool) -> bool {
        // Where all that is said is text, a record need not be put together. What is ASCII and no control character stands in
        // the text as it came.
        if text_alone && let Some((arg, payload)) = self.args.raw(record.extra) {
            if !holds(payload, needle.as_bytes()) {
                return false;
            }
            let Some(callsite) = self.description.callsite(record.callsite) else { return false };
            return callsite.wire_fields().values(arg, payload).any(|(field, value)| {
                matches!(value, Value::Str(said) if is_sought(field.name) && holds(said, needle.as_bytes()))
            });
        }
        let is_in = |text: &str| text.to_lowercase().contains(needle);
        is_in(&self.log_text(record)) || is_in(&self.log_target(record))
    }

    /// Whether `needle` can stand in nothing but the texts of a callsite's records: not among numbers, nor in what fields are
    /// called, nor in the callsite's name.
    pub(crate) fn says_text_alone(&self, callsite: u16, needle: &str) -> bool {
        let Some(callsite) = self.description.callsite(callsite) else { return false };
        let mut said = callsite.fields.iter().filter(|field| is_sought(&field.name));
        needle.bytes().all(|byte| byte.is_ascii_graphic() && !b"=\\{}".contains(&byte))
            && !holds(callsite.name.as_bytes(), needle.as_bytes())
            && said.all(|field| field.ty == FieldType::Str && !holds(field.name.as_bytes(), needle.as_bytes()))
    }
}

/// Whether a text holds `needle`, which is in lower case and not empty.
fn holds(text: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else { return true };
    let upper = first.to_ascii_uppercase();
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|text| text.iter().position(|&byte| byte == first || byte == upper))
    {
        from += at + 1;
        if text.get(from..from + rest.len()).is_some_and(|text| text.eq_ignore_ascii_case(rest)) {
            return true;
        }
    }
    false
}
