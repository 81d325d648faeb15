//! Packets as records: names for numbers, and a loss for each number that is missing.
//!
//! Invariant: of each level of each log stream, `records + losses = highest number + 1`, whatever was overwritten, discarded
//! or cut, as far as the trace tells. Names of tasks come from the other streams.

use std::collections::HashMap;
use std::rc::Rc;

use fata_model::description::{Callsite, Description};
use fata_model::guests::GuestId;
use fata_model::repeats::{Place, Progress};
use fata_model::time::TickScale;
use fata_reporters::loss::{Cause, Counts, Length};
use fata_reporters::time::Time;
use fata_wire::event::{Event, LEDGER, MAX_CALLSITES};
use fata_wire::field::{Kind, Level, Value};
use fata_wire::log::context::Group;
use fata_wire::log::ledger::{Balance, Extent, Ledger};
use fata_wire::log::summary::{Summarised, Summary};
use fata_wire::log::{self, Account, Fates};
use fata_wire::numbers::Numbers;
use fata_wire::packet::{Discarded, FLAG_LOG, Packet, PacketHeader};

use super::entry::{Entry, Fields, Owned, Said, Shown, What};

/// Decodes the packets of one guest.
pub(super) struct Decoder {
    guest: Rc<str>,
    /// Which of the trace's guests it is.
    id: GuestId,
    description: Description,
    scale: Option<(TickScale, Option<i64>)>,
    tasks: HashMap<u16, String>,
    streams: HashMap<u32, Stream>,
    /// Whether the first record of a stream would have the number 0 if nothing were missing.
    whole: bool,
    malformed: u64,
    /// Packets that were read before.
    repeated: u64,
    /// Records that had a number; of these, shown; and numbers that were missing.
    read: u64,
    shown: Shown,
    lost: u64,
}

/// What is known of a log stream.
struct Stream {
    numbers: Numbers,
    balance: Balance,
    /// What was said of the spans around the records that come next.
    around: Group<Fields>,
    /// What the guest had discarded when its last record was made, and what it has by now.
    discarded: Discarded,
    discarded_since: Discarded,
    /// When the last record was made.
    last: Option<Time>,
    progress: Progress,
}

impl Stream {
    /// One whose first record has the number 0 if the `whole` of it is read.
    fn new(whole: bool) -> Self {
        let (numbers, balance) = match whole {
            true => (Numbers::from_zero(), Balance::from_zero()),
            false => (Numbers::from_anywhere(), Balance::from_anywhere()),
        };
        let discarded = Discarded::default();
        Stream {
            numbers,
            balance,
            around: Group::default(),
            discarded,
            discarded_since: discarded,
            last: None,
            progress: Progress::default(),
        }
    }

    /// The same, of which this is the first packet: perhaps the stream's very first.
    fn from(header: &PacketHeader, whole: bool) -> Self {
        let is_begun = header.events_before == 0 && header.events_discarded == 0;
        let stream = Stream::new(whole);
        if is_begun { Stream { balance: Balance::from_zero(), ..stream } } else { stream }
    }

    /// How many of the first events of the packet were read before: a collector that was killed may have handed on what its
    /// successor begins with. `None` where all of it was: a stream may have been put behind itself.
    fn repeated(&mut self, header: &PacketHeader) -> Option<u64> {
        match self.progress.place(header) {
            Place::Behind { .. } => return None,
            Place::First | Place::Continued | Place::Next { missing: 0 } => {}
            Place::Next { .. } => self.around.lose(),
        }
        Some(self.progress.take(header))
    }

    /// Why so many records are missing, where they are lost, and how long they were. It is told once.
    fn loss(&mut self, counts: Counts, discarded: Discarded) -> (Cause, String, Length) {
        let share = self.balance.take(counts.total());
        let cause = Cause::of_ring(&self.discarded, &discarded, counts.total(), share.undescribed);
        let place =
            if cause == Cause::Undescribed { "the guest's area of descriptions" } else { "the guest's log ring" };
        (cause, place.to_owned(), share.into())
    }
}

/// A record as it came, with the number that it has among those of its level.
struct Numbered {
    number: Option<u64>,
    level: Level,
    entry: Entry,
}

impl Decoder {
    /// A guest of this name. `whole` says that what is missing at the beginning is a loss too.
    pub(super) fn new(guest: &str, whole: bool) -> Self {
        Decoder {
            guest: guest.into(),
            id: GuestId::default(),
            description: Description::new(),
            scale: None,
            tasks: HashMap::new(),
            streams: HashMap::new(),
            whole,
            malformed: 0,
            repeated: 0,
            read: 0,
            shown: Shown::default(),
            lost: 0,
        }
    }

    /// The decoders of the guests that a trace describes and that are not among `decoders` yet, of which there is one.
    pub(super) fn join(decoders: &mut Vec<Decoder>) {
        let Some(first) = decoders.first() else { return };
        let (description, whole) = (first.description.clone(), first.whole);
        for number in u16::try_from(decoders.len()).unwrap_or(u16::MAX)..description.guests() {
            let description = description.clone();
            decoders.push(Decoder { id: GuestId::new(number), description, ..Decoder::new("", whole) });
        }
    }

    pub(super) fn guest(&self) -> &str {
        &self.guest
    }

    /// What the trace itself calls the guest.
    pub(super) fn rename(&mut self) {
        if let Some((_, name)) = self.description.env(self.id).find(|(key, _)| *key == "guest") {
            self.guest = name.into();
        }
    }

    /// Packets that could not be read.
    pub(super) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Packets that had been read before, and were left out.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    pub(super) fn metadata(&mut self, text: &str) -> anyhow::Result<()> {
        self.description.metadata(text)?;
        Ok(())
    }

    pub(super) fn packet(&mut self, bytes: &[u8], take: &mut impl FnMut(Entry)) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.malformed += 1;
            return;
        };
        if packet.header.flags & FLAG_LOG == 0 {
            return self.names(&packet);
        }
        let stream = packet.header.stream_id >> 16;
        let whole = self.whole;
        let known = self.streams.entry(stream).or_insert_with(|| Stream::from(&packet.header, whole));
        let Some(repeated) = known.repeated(&packet.header) else {
            self.repeated += 1;
            return;
        };
        let (mut balance, mut around) = (known.balance, std::mem::take(&mut known.around));
        let mut records = Vec::new();
        let fresh = packet.events().skip(usize::try_from(repeated).unwrap_or(usize::MAX));
        for event in fresh {
            let Ok(event) = event else {
                around.lose();
                break;
            };
            if event.id.callsite() == LEDGER {
                balance.ledger(&Ledger::parse(event.payload));
            }
            let Some(callsite) = self.callsite(event.id.callsite()) else { continue };
            if callsite.kind == Kind::Context {
                let (span, fields) = context(callsite, &event);
                around.context(span, fields);
            } else if callsite.kind == Kind::Log {
                balance.read(8 + event.payload.len() as u64);
                let record = self.record(stream, callsite, &event, &mut around);
                records.push(record);
            }
        }
        if let Some(known) = self.streams.get_mut(&stream) {
            (known.balance, known.around) = (balance, around);
        }
        self.losses(stream, &packet.header, &records, take);
        for record in records {
            take(record.entry);
        }
    }

    /// The guest's callsite of this number.
    fn callsite(&self, own: u16) -> Option<&Callsite> {
        (own < MAX_CALLSITES).then(|| self.description.callsite(self.id.callsite(own)))?
    }

    /// Learns what tasks are called.
    fn names(&mut self, packet: &Packet<'_>) {
        for event in packet.events().map_while(Result::ok) {
            let Some(callsite) = self.callsite(event.id.callsite()) else { continue };
            if !matches!(callsite.kind, Kind::Spawn | Kind::Alive) {
                continue;
            }
            let name = callsite.wire_fields().values(event.arg, event.payload).find_map(|(_, value)| match value {
                Value::Name(name) => self.description.name(self.id.name(name)),
                _ => None,
            });
            if let Some(name) = name {
                self.tasks.insert(event.arg, name.to_owned());
            }
        }
    }

    fn record(&self, stream: u32, callsite: &Callsite, event: &Event<'_>, around: &mut Group<Fields>) -> Numbered {
        let mut said = Said {
            sequence: 0,
            level: callsite.level,
            stream,
            task: 0,
            task_name: String::new(),
            target: callsite.category.to_string(),
            name: callsite.name.to_string(),
            file: callsite.file.to_string(),
            line: callsite.line,
            spans: Vec::new(),
            fields: Vec::new(),
            late: false,
            history: false,
        };
        let mut number = None;
        for (field, value) in callsite.wire_fields().values(event.arg, event.payload) {
            match (field.name, value) {
                (log::SEQ, Value::U64(seq)) => number = Some(seq),
                (log::TASK, Value::Task(task)) => said.task = task,
                (log::SPANS, Value::U64(word)) => said.spans = self.spans(word, around),
                (log::TARGET, Value::Str(target)) => said.target = String::from_utf8_lossy(target).into_owned(),
                (log::FILE, Value::Str(file)) => said.file = String::from_utf8_lossy(file).into_owned(),
                (log::LINE, Value::U64(line)) => said.line = u32::try_from(line).unwrap_or(0),
                (name, value) => said.fields.push((name.to_owned(), owned(value))),
            }
        }
        said.sequence = number.unwrap_or(0);
        if said.task != 0 {
            said.task_name = self.tasks.get(&said.task).cloned().unwrap_or_else(|| format!("task {}", said.task));
        }
        let time = self.time(event.ticks);
        let what = match self.about_itself(&said, time) {
            Some(loss) => loss,
            None => {
                say_what_is_in_the_name(&mut said);
                What::Record(Box::new(said))
            }
        };
        // What the log says of itself is a record too, of a level and with a number of its own.
        let counted = number.map(|_| Rc::clone(&self.shown));
        Numbered { number, level: callsite.level, entry: Entry { counted, time, guest: Rc::clone(&self.guest), what } }
    }

    /// What the log says of itself, as what it means.
    fn about_itself(&self, said: &Said, time: Time) -> Option<What> {
        let numbers = said.fields.iter().filter_map(|(name, value)| match value {
            Owned::U64(value) => Some((name.as_str(), Value::U64(*value))),
            Owned::Bool(value) => Some((name.as_str(), Value::Bool(*value))),
            _ => None,
        });
        let summary = Summary::of(&said.target, &said.name, numbers)?;
        if summary.what != Summarised::Suppressed {
            return None;
        }
        let of = self.callsite(summary.callsite);
        let mut counts = Counts::default();
        match of {
            Some(of) => counts.by_level[of.level as usize] = summary.count,
            None => counts.unknown = summary.count,
        }
        let place = of.map_or_else(|| "a callsite".to_owned(), |of| format!("{} of {}", of.name, of.category));
        let nanos = self.nanos(summary.within_ticks);
        let first = Time { nanos: time.nanos.saturating_sub(nanos), epoch: time.epoch };
        Some(What::Loss { cause: Cause::Limited, place, counts, length: (&summary).into(), first })
    }

    /// The spans in a record's word, the outermost first, with what was said of them; `…` where there were more further out.
    fn spans(&self, word: u64, around: &mut Group<Fields>) -> Vec<(String, Fields)> {
        let more = (word & log::MORE_SPANS != 0).then(|| ("…".to_owned(), Fields::new()));
        let name = |id| self.callsite(id).map_or_else(|| format!("#{id}"), |span| span.name.to_string());
        let mut fields = around.of_record(word).cloned();
        let named = log::span_ids(word).map(|id| (name(id), fields.next().unwrap_or_default()));
        more.into_iter().chain(named).collect()
    }

    /// A loss for each run of numbers that is missing before and among `records`.
    fn losses(&mut self, stream: u32, header: &PacketHeader, records: &[Numbered], take: &mut impl FnMut(Entry)) {
        let begin = self.time(header.timestamp_begin);
        let whole = self.whole;
        let known = self.streams.entry(stream).or_insert_with(|| Stream::new(whole));
        known.discarded_since = header.discarded;
        if records.is_empty() {
            return;
        }
        let before = known.last.unwrap_or(begin);
        let number = |record: &Numbered| Some((record.level, record.number?, record.entry.time));
        let mut numbers: Vec<_> = records.iter().filter_map(number).collect();
        let missing = known.numbers.take_packet(&mut numbers);
        self.read += numbers.len() as u64;
        known.last = records.iter().map(|record| record.entry.time).max().or(known.last);
        if let Some((by_level, last)) = missing {
            let counts = Counts { by_level, unknown: 0 };
            self.lost += counts.total();
            let (cause, place, length) = known.loss(counts, header.discarded);
            let what = What::Loss { cause, place, counts, length, first: before.min(last) };
            take(Entry { counted: None, time: last, guest: Rc::clone(&self.guest), what });
        }
        known.discarded = header.discarded;
    }

    /// What was lost after the last record that was seen, by what the guest itself counted; and how much it made.
    pub(super) fn end(&mut self, accounts: &[(u32, u32, Account)], take: &mut impl FnMut(Entry)) {
        for (stream, class, account) in accounts {
            let whole = self.whole;
            let known = self.streams.entry(*stream).or_insert_with(|| Stream::new(whole));
            let mut counts = Counts::default();
            for (place, level) in log::levels_of(*class).into_iter().enumerate() {
                counts.by_level[level as usize] = known.numbers.missing_at_end(level, account.offered[place]);
            }
            self.lost += counts.total();
            if let Some(bytes) = account.bytes {
                let records = account.discarded.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
                known.balance.end(Extent { records, bytes: bytes.discarded });
            }
            if counts.total() > 0 {
                let last = known.last.unwrap_or(Time::since_start(0));
                let (cause, place, length) = known.loss(counts, known.discarded_since);
                let what = What::Loss { cause, place, counts, length, first: last };
                take(Entry { counted: None, time: last, guest: Rc::clone(&self.guest), what });
            }
        }
    }

    /// What became of the records of the guest, by the accounts that its trace carries.
    pub(super) fn fates(&self) -> Option<Fates> {
        self.description.log_fates(self.id)
    }

    /// A sentence that accounts for every record that the guest made, of which these were the `fates`.
    pub(super) fn sum(&self, fates: &Fates) -> String {
        let all = fates.total();
        let shown = self.shown.get();
        let parts = [
            (self.read.saturating_sub(shown), "not asked for"),
            (self.lost, "lost"),
            (all.offered.saturating_sub(self.read).saturating_sub(self.lost), "not in what was read"),
            (all.filtered, "kept out by rules"),
            (all.suppressed, "by the rate limit"),
            (all.folded, "the same as the one before"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, fate)| format!(", {count} {fate}"));
        format!("{}: {} records made: {shown} shown{}", self.guest, all.made(), parts.collect::<String>())
    }

    fn scale(&self) -> (TickScale, Option<i64>) {
        let clock = self.description.clock(self.id).unwrap_or_default();
        let anchored = clock.anchor_unix_nanos != 0;
        let scale = TickScale::new(clock.hz, if anchored { clock.anchor_ticks } else { 0 });
        (scale, anchored.then(|| i64::try_from(clock.anchor_unix_nanos).unwrap_or(i64::MAX)))
    }

    pub(super) fn time(&self, ticks: u64) -> Time {
        let (scale, anchor) = self.scale.unwrap_or_else(|| self.scale());
        let nanos = scale.nanos_from_ticks(ticks);
        match anchor {
            Some(anchor) => Time::wall(anchor.saturating_add(nanos)),
            None => Time::since_start(nanos),
        }
    }

    fn nanos(&self, ticks: u64) -> i64 {
        let (scale, _) = self.scale();
        scale.nanos_from_ticks(scale.origin_ticks().saturating_add(ticks))
    }

    /// The clock is known for good.
    pub(super) fn fix_clock(&mut self) {
        if self.scale.is_none() && self.description.clock(self.id).is_some_and(|clock| clock.hz > 0) {
            self.scale = Some(self.scale());
        }
    }
}

/// The callsite of the span that a context is about, and the span's fields.
fn context(callsite: &Callsite, event: &Event<'_>) -> (u16, Fields) {
    let (mut span, mut fields) = (0, Fields::new());
    for (field, value) in callsite.wire_fields().values(event.arg, event.payload) {
        match (field.name, value) {
            (log::SPAN, Value::Object(callsite)) => span = callsite,
            (name, value) => fields.push((name.to_owned(), owned(value))),
        }
    }
    (span, fields)
}

fn owned(value: Value<'_>) -> Owned {
    match value {
        Value::U64(value) | Value::Flow(value) => Owned::U64(value),
        Value::I64(value) => Owned::I64(value),
        Value::F64(value) => Owned::F64(value),
        Value::Bool(value) => Owned::Bool(value),
        Value::Str(bytes) => Owned::Str(bytes.to_vec()),
        Value::Task(id) | Value::Name(id) | Value::Object(id) => Owned::U64(u64::from(id)),
    }
}

/// A record without a message has its words in its name, unless that is only a place in the source.
fn say_what_is_in_the_name(said: &mut Said) {
    let has_message = said.fields.iter().any(|(name, _)| name == log::MESSAGE);
    let is_place = said.name.strip_suffix(&format!(":{}", said.line)).is_some_and(|file| said.file.ends_with(file));
    if !has_message && !is_place {
        said.fields.insert(0, (log::MESSAGE.to_owned(), Owned::Str(said.name.clone().into_bytes())));
    }
    if said.name == log::REPEATED {
        said.fields[0].1 = Owned::Str(b"the record before was repeated".to_vec());
    }
}

#[cfg(test)]
mod tests;
