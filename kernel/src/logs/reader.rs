//! The guest's own log records, read back from its rings in the order of time.
//!
//! Invariant: a record is given out once, and only if its packet was still the same after it had been copied; records that are
//! missing are given out as a loss of so many of each level, found by the numbers that every record carries. Nothing here
//! changes what a collector sees: its cursor is not moved.
//!
//! The reader runs on the vCPU that writes, so only an interrupt handler comes between; its memory is one packet for each of
//! the two rings, and 16 bytes for each callsite that logs.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use fata_probe::region::Region;
use fata_reporters::loss::{Cause, Loss};
use fata_reporters::record::{Field, Record, Span, Value};
use fata_reporters::reporter::Item;
use fata_reporters::time::Time;
use fata_wire::describe::{self, MAX_RECORD_BYTES, Records};
use fata_wire::event::{CLOCK, Event, Events, MAX_CALLSITES};
use fata_wire::field::{self, Kind};
use fata_wire::log::{CLASS_LEVELS, FILE, LINE, MORE_SPANS, SEQ, SPANS, TARGET, TASK, class_of, levels_of, span_ids};
use fata_wire::packet::{self, HEADER_BYTES, PacketHeader};
use fata_wire::repair::committed_prefix;
use fata_wire::shared::{self, Geometry};
use fata_wire::u64_at;

/// No description is shorter: length and kind, a number, a text.
const LEAST_RECORD_BYTES: u64 = 16;
/// What noting a description takes at most: an entry of a tree whose nodes are half full at least.
const NOTE_BYTES: usize = 32;
/// The names of so many tasks are kept.
const MAX_TASKS: usize = 256;

/// Reads the log rings of the first vCPU.
pub(super) struct Reader {
    region: &'static Region,
    streams: [Stream; 2],
    numbers: [Numbers; 2],
    /// Where the description of each callsite lies that logs, or that is a span around records.
    callsites: BTreeMap<u16, u64>,
    /// Where each name lies that tasks may have.
    names: BTreeMap<u16, u64>,
    /// The numbers of the names of tasks whose records were shown, for those that have ended since.
    tasks: BTreeMap<u16, u16>,
    /// How much of the description area has been looked at.
    described: u64,
}

/// One log ring.
struct Stream {
    number: u32,
    /// Number of the packet that is being read, and how much of its content has been.
    packet: u64,
    taken: usize,
    /// Committed events of that packet that have not been given out, from `at` on.
    events: Vec<u8>,
    at: usize,
    /// The packet is sealed, and nothing comes after `events`.
    last: bool,
    ticks: u64,
}

/// Which numbers of a log ring's records have been seen, by level.
#[derive(Default)]
struct Numbers {
    /// The number that the next record has if none is missing.
    expected: [u64; CLASS_LEVELS],
    /// Records that came behind one of a greater number, as an interrupt's records make others do: they were told as lost,
    /// so as many of the next losses are none.
    overtold: [u64; CLASS_LEVELS],
}

impl Numbers {
    /// How many records are missing before `number`; they are not missing again.
    fn missing_before(&mut self, place: usize, number: u64) -> u64 {
        let missing = number.saturating_sub(self.expected[place]);
        self.expected[place] += missing;
        let forgiven = missing.min(self.overtold[place]);
        self.overtold[place] -= forgiven;
        missing - forgiven
    }

    /// The record `number` has been given out.
    fn seen(&mut self, place: usize, number: u64) {
        self.overtold[place] += u64::from(number < self.expected[place]);
        self.expected[place] = self.expected[place].max(number.saturating_add(1));
    }
}

impl Reader {
    /// A reader from the oldest record that is still there; `None` where the guest records no log.
    pub(super) fn new() -> Option<Self> {
        let region = Region::youngest()?;
        let geometry = region.geometry();
        if geometry.log_streams < 2 {
            return None;
        }
        let stream = |class| Stream {
            number: geometry.stream_count + class,
            packet: 0,
            taken: 0,
            events: Vec::with_capacity(geometry.log_packet_bytes as usize),
            at: 0,
            last: false,
            ticks: 0,
        };
        Some(Reader {
            region,
            streams: [stream(0), stream(1)],
            numbers: <[Numbers; 2]>::default(),
            callsites: BTreeMap::new(),
            names: BTreeMap::new(),
            tasks: BTreeMap::new(),
            described: 0,
        })
    }

    /// The most memory it takes.
    pub(super) fn worst_case_bytes(&self) -> usize {
        let geometry = self.region.geometry();
        let described = usize::try_from(geometry.description_capacity / LEAST_RECORD_BYTES).unwrap_or(usize::MAX);
        2 * geometry.log_packet_bytes as usize + (described + MAX_TASKS) * NOTE_BYTES + 4 * MAX_RECORD_BYTES
    }

    /// Gives the oldest record, or the loss in its place, to `with`; `None` where there is nothing new.
    /// `task_name` knows the numbers of the names of tasks.
    pub(super) fn next<T>(
        &mut self,
        task_name: &dyn Fn(u16) -> Option<u16>,
        with: impl FnOnce(&Item<'_>) -> T,
    ) -> Option<T> {
        loop {
            for stream in &mut self.streams {
                stream.refill(self.region);
            }
            let first = |stream: &Stream| stream.peek().map(|event| event.ticks);
            let class = match (first(&self.streams[0]), first(&self.streams[1])) {
                (None, None) => return None,
                (Some(ordinary), Some(reserved)) => usize::from(reserved <= ordinary),
                (ordinary, _) => usize::from(ordinary.is_none()),
            };
            self.look_at_descriptions();
            let stream = &self.streams[class];
            let event = stream.peek()?;
            let mut description = [0; MAX_RECORD_BYTES];
            let described = self.callsites.get(&event.id.callsite()).copied();
            let callsite = described.and_then(|at| read_callsite(self.region, at, &mut description));
            let Some(callsite) = callsite.filter(|callsite| callsite.kind == Kind::Log) else {
                // A clock event, or one that was never described.
                self.streams[class].pass();
                continue;
            };
            let time = time_from_ticks(self.region, event.ticks);
            let (_, place) = class_of(callsite.level);
            let number = callsite.fields.values(event.arg, event.payload).find_map(|(field, value)| match value {
                field::Value::U64(number) if field.name == SEQ => Some(number),
                _ => None,
            });
            let numbers = &mut self.numbers[class];
            let missing = number.map_or(0, |number| numbers.missing_before(place, number));
            if missing > 0 {
                let mut loss = Loss::new(Cause::Full, "the log ring", time_from_ticks(self.region, stream.ticks));
                loss.last = time;
                loss.counts.by_level[levels_of(u32::from(class == 1))[place] as usize] = missing;
                return Some(with(&Item::Loss(loss)));
            }
            if let Some(number) = number {
                numbers.seen(place, number);
            }
            note_task(&mut self.tasks, event.arg, task_name);
            let known =
                Known { region: self.region, callsites: &self.callsites, names: &self.names, tasks: &self.tasks };
            let given = known.give(&callsite, &event, time, with);
            self.streams[class].pass();
            return Some(given);
        }
    }

    /// Notes where the callsites are described that came since the last look.
    fn look_at_descriptions(&mut self) {
        let geometry = self.region.geometry();
        let used = word(self.region, shared::at::DESCRIPTION_USED as u64).min(geometry.description_capacity);
        let mut bytes = [0; MAX_RECORD_BYTES];
        while self.described < used {
            let len = usize::try_from(used - self.described).unwrap_or(usize::MAX).min(MAX_RECORD_BYTES);
            let at = geometry.description_offset + self.described;
            let Some(room) = bytes.get_mut(..len).filter(|room| !room.is_empty()) else { return };
            if !self.region.copy_out(at, room) {
                return;
            }
            let mut records = Records::new(room);
            let Some(Ok(record)) = records.next() else { return };
            match record {
                describe::Record::Callsite(callsite) if matches!(callsite.kind, Kind::Log | Kind::Span) => {
                    self.callsites.insert(callsite.id, at);
                }
                describe::Record::Callsite(callsite) if callsite.kind == Kind::Name => {
                    self.names.insert(callsite.id, at);
                }
                describe::Record::Name { id, .. } => {
                    self.names.insert(id, at);
                }
                _ => {}
            }
            self.described += records.consumed_bytes() as u64;
        }
    }
}

/// Notes what a task is called as long as it lives.
fn note_task(tasks: &mut BTreeMap<u16, u16>, number: u16, task_name: &dyn Fn(u16) -> Option<u16>) {
    if let Some(name) = task_name(number) {
        if tasks.len() == MAX_TASKS {
            tasks.clear();
        }
        tasks.insert(number, name);
    }
}

/// What a record's numbers stand for.
struct Known<'a> {
    region: &'static Region,
    callsites: &'a BTreeMap<u16, u64>,
    names: &'a BTreeMap<u16, u64>,
    tasks: &'a BTreeMap<u16, u16>,
}

impl Known<'_> {
    /// Makes a record of `event`, and gives it to `with`.
    fn give<T>(
        &self,
        callsite: &describe::Callsite<'_>,
        event: &Event<'_>,
        time: Time,
        with: impl FnOnce(&Item<'_>) -> T,
    ) -> T {
        let mut fields = Vec::new();
        let mut names = Vec::new();
        let mut task = String::new();
        let mut sequence = 0;
        let (mut target, mut file, mut line) = (callsite.category, callsite.file, callsite.line);
        for (field, value) in callsite.fields.values(event.arg, event.payload) {
            match (field.name, value) {
                (SEQ, field::Value::U64(number)) => sequence = number,
                (TASK, field::Value::Task(number)) if number > 0 => task = self.task(number),
                (TASK, _) => {}
                (SPANS, field::Value::U64(spans)) => names = span_names(self.region, self.callsites, spans),
                (TARGET, field::Value::Str(text)) => target = core::str::from_utf8(text).unwrap_or(target),
                (FILE, field::Value::Str(text)) => file = core::str::from_utf8(text).unwrap_or(file),
                (LINE, field::Value::U64(number)) => line = u32::try_from(number).unwrap_or(0),
                (name, value) => fields.push(Field { name, value: reported(value) }),
            }
        }
        let spans: Vec<_> = names.iter().map(|name| Span { name, fields: &[] }).collect();
        with(&Item::Record(Record {
            time,
            sequence,
            level: callsite.level,
            task: &task,
            target,
            name: callsite.name,
            file,
            line,
            spans: &spans,
            fields: &fields,
            ..Record::BLANK
        }))
    }

    /// What the task is called; its number where that is not known, as of one that ended before its first record was shown.
    fn task(&self, number: u16) -> String {
        let named = || {
            let mut description = [0; MAX_RECORD_BYTES];
            let at = self.names.get(self.tasks.get(&number)?)?;
            match read_record(self.region, *at, &mut description)? {
                describe::Record::Callsite(callsite) => Some(callsite.name.to_string()),
                describe::Record::Name { text, .. } => Some(text.to_string()),
                describe::Record::Env { .. } => None,
            }
        };
        named().unwrap_or_else(|| format!("#{number}"))
    }
}

fn reported(value: field::Value<'_>) -> Value<'_> {
    match value {
        field::Value::U64(value) | field::Value::Flow(value) => Value::U64(value),
        field::Value::I64(value) => Value::I64(value),
        field::Value::F64(value) => Value::F64(value),
        field::Value::Bool(value) => Value::Bool(value),
        field::Value::Str(text) => Value::Str(text),
        field::Value::Task(value) | field::Value::Name(value) | field::Value::Object(value) => Value::U64(value.into()),
    }
}

/// The names of the spans in the word, outermost first.
fn span_names(region: &Region, callsites: &BTreeMap<u16, u64>, spans: u64) -> Vec<String> {
    let more = (spans & MORE_SPANS != 0).then(|| String::from("…"));
    let named = span_ids(spans).filter_map(|id| {
        let mut description = [0; MAX_RECORD_BYTES];
        let at = callsites.get(&id)?;
        Some(String::from(read_callsite(region, *at, &mut description)?.name))
    });
    more.into_iter().chain(named).collect()
}

fn read_callsite<'a>(
    region: &Region,
    at: u64,
    bytes: &'a mut [u8; MAX_RECORD_BYTES],
) -> Option<describe::Callsite<'a>> {
    match read_record(region, at, bytes)? {
        describe::Record::Callsite(callsite) => Some(callsite),
        _ => None,
    }
}

fn read_record<'a>(region: &Region, at: u64, bytes: &'a mut [u8; MAX_RECORD_BYTES]) -> Option<describe::Record<'a>> {
    let geometry = region.geometry();
    let end = geometry.description_offset + geometry.description_capacity;
    let len = usize::try_from(end.checked_sub(at)?).ok()?.min(MAX_RECORD_BYTES);
    let bytes = bytes.get_mut(..len)?;
    if !region.copy_out(at, bytes) {
        return None;
    }
    Records::new(bytes).next()?.ok()
}

fn word(region: &Region, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    if region.copy_out(offset, &mut bytes) { u64::from_le_bytes(bytes) } else { 0 }
}

/// Wall time where the guest knows it, else time since the anchor, which is its start.
fn time_from_ticks(region: &Region, ticks: u64) -> Time {
    let clock = |at: usize| word(region, at as u64);
    let hz = i128::from(clock(shared::at::CLOCK_HZ).max(1));
    let since = i128::from(ticks) - i128::from(clock(shared::at::ANCHOR_TICKS));
    let nanos = i64::try_from(since * 1_000_000_000 / hz).unwrap_or(i64::MAX);
    match clock(shared::at::ANCHOR_UNIX_NANOS) {
        0 => Time::since_start(nanos),
        anchor => Time::wall(i64::try_from(anchor).unwrap_or(i64::MAX).saturating_add(nanos)),
    }
}

impl Stream {
    fn peek(&self) -> Option<Event<'_>> {
        Events::new(self.events.get(self.at..)?, self.ticks).next()?.ok()
    }

    /// Goes behind the event that was looked at.
    fn pass(&mut self) {
        let Some(event) = self.peek() else { return };
        let (len, ticks) = (8 + event.payload.len(), event.ticks);
        self.ticks = if event.id.callsite() == CLOCK { u64_at(event.payload, 0).max(ticks) } else { ticks };
        self.at += len;
        self.taken += len;
        if self.at >= self.events.len() && self.last {
            self.go_to(self.packet + 1);
        }
    }

    fn go_to(&mut self, packet: u64) {
        (self.packet, self.taken, self.at, self.last) = (packet, 0, 0, false);
        self.events.clear();
    }

    /// Copies what has been committed since the last time, when everything before it has been given out.
    fn refill(&mut self, region: &Region) {
        let geometry = region.geometry();
        let ring = u64::from(geometry.packets_of(self.number));
        for _ in 0..2 * ring {
            if self.at < self.events.len() {
                return;
            }
            let entry = (Geometry::stream_entry(self.number) + shared::at::STREAM_LOCK) as u64;
            let Some(youngest) = word(region, entry).checked_sub(1).map(|lock| lock / 2) else { return };
            if self.packet > youngest {
                return;
            }
            let oldest = (youngest + 1).saturating_sub(ring);
            if self.packet < oldest {
                self.go_to(oldest);
            }
            if !self.copy(region) {
                return;
            }
        }
    }

    /// Copies the rest of the current packet, or goes on to the next where nothing is left of it; `false` where that has to
    /// wait.
    fn copy(&mut self, region: &Region) -> bool {
        let geometry = region.geometry();
        let offset = geometry.packet_offset(self.number, self.packet);
        let lock = word(region, offset + packet::at::LOCK as u64);
        let sealed = lock == 2 * self.packet + 2;
        if !sealed && lock != 2 * self.packet + 1 {
            return false;
        }
        let mut header = [0; HEADER_BYTES];
        let parsed = region.copy_out(offset, &mut header).then(|| PacketHeader::parse(&header).ok()).flatten();
        let Some(header) = parsed else { return false };
        let whole = geometry.packet_bytes_of(self.number) as usize;
        let content = if sealed { usize::try_from(header.content_size / 8).unwrap_or(0).min(whole) } else { whole };
        let begin = HEADER_BYTES + self.taken;
        if self.taken == 0 {
            self.ticks = header.timestamp_begin;
        }
        self.events.resize(content.saturating_sub(begin), 0);
        self.at = 0;
        let copied = region.copy_out(offset + begin as u64, &mut self.events);
        if !copied || word(region, offset + packet::at::LOCK as u64) != lock {
            // An interrupt handler's records have taken the packet's place, or sealed it: look again.
            self.events.clear();
            return true;
        }
        let walk = committed_prefix(&self.events, self.ticks, MAX_CALLSITES);
        self.events.truncate(walk.bytes);
        self.last = sealed;
        if walk.bytes == 0 && sealed {
            // What is left of it was begun and never ended.
            self.go_to(self.packet + 1);
            return true;
        }
        walk.bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_an_interrupt_overtook_is_not_lost_twice_and_the_sum_stays_right() {
        let mut numbers = Numbers::default();
        let mut lost = 0;
        // 2 was taken before 3, and put behind it; 5 and 6 are missing.
        for number in [0, 1, 3, 2, 4, 7, 8] {
            lost += numbers.missing_before(0, number);
            numbers.seen(0, number);
        }
        assert_eq!(lost, 2);
    }
}
