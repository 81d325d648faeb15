//! Reads the log records of a region back, as a collector would: every whole packet and the begin of the open one.
#![allow(dead_code, reason = "each test program uses a part")]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::collections::HashMap;

use fata_probe::region::Region;
use fata_wire::describe::Records;
use fata_wire::event::{CLOCK, Events, LEDGER};
use fata_wire::field::{FieldType, Kind, Level, Value};
use fata_wire::log::Account;
use fata_wire::log::context::Group;
use fata_wire::log::ledger::{Balance, Extent, Ledger};
use fata_wire::packet::{HEADER_BYTES, PacketHeader};
use fata_wire::repair::committed_prefix;
use fata_wire::shared::{Geometry, PAGE_BYTES, Status, StreamStatus};

/// One record, its values as text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) stream: u32,
    pub(crate) ticks: u64,
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) name: String,
    pub(crate) seq: u64,
    pub(crate) task: u16,
    /// Names of the spans around it, the outermost first, with their fields where they have any.
    pub(crate) spans: Vec<String>,
    pub(crate) fields: Vec<(String, String)>,
}

impl Record {
    /// `level target name: field=value …`, with nothing that differs from run to run.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{} {}", self.level.text(), self.target);
        for span in &self.spans {
            line += &format!(" <{span}>");
        }
        for (name, value) in &self.fields {
            line += &format!(" {name}={value}");
        }
        line
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

struct Described {
    kind: Kind,
    level: Level,
    target: String,
    name: String,
    file: String,
    line: u32,
    fields: Vec<(String, FieldType)>,
}

/// What a region holds at one moment.
pub(crate) struct Copy {
    bytes: Vec<u8>,
    pub(crate) geometry: Geometry,
}

impl Copy {
    pub(crate) fn of(region: &Region) -> Self {
        let bytes = region.copy();
        let geometry = Geometry::parse(bytes.first_chunk().unwrap(), bytes.len() as u64).unwrap();
        Copy { bytes, geometry }
    }

    fn page(&self) -> &[u8; PAGE_BYTES] {
        self.bytes.first_chunk().unwrap()
    }

    /// The account of a log stream, counted from the first; of the first vCPU that is its class.
    pub(crate) fn account(&self, class: u32) -> Account {
        Account::of_page(self.page(), &self.geometry, self.geometry.stream_count + class)
    }

    /// How much of a class was read that is still there, and what is missing, by the ring's ledgers.
    pub(crate) fn balance(&self, class: u32) -> (Extent, Balance) {
        let (mut read, mut balance) = (Extent::default(), Balance::from_zero());
        let callsites = self.callsites();
        let is_context = |id: u16| callsites.get(&id).is_some_and(|callsite| callsite.kind == Kind::Context);
        self.events(self.geometry.stream_count + class, |event| match event.id.callsite() {
            LEDGER => balance.ledger(&Ledger::parse(event.payload)),
            CLOCK => {}
            id if is_context(id) => {}
            _ => {
                let bytes = 8 + event.payload.len() as u64;
                balance.read(bytes);
                read = Extent { records: read.records + 1, bytes: read.bytes + bytes };
            }
        });
        (read, balance)
    }

    /// Events that a class has discarded, whatever they were.
    pub(crate) fn discarded(&self, class: u32) -> u64 {
        StreamStatus::parse(self.page(), self.geometry.stream_count + class).discarded.iter().sum()
    }

    /// How often a class was told what a span carries.
    pub(crate) fn contexts(&self, class: u32) -> usize {
        let (callsites, mut count) = (self.callsites(), 0);
        self.events(self.geometry.stream_count + class, |event| {
            let callsite = callsites.get(&event.id.callsite());
            count += usize::from(callsite.is_some_and(|callsite| callsite.kind == Kind::Context));
        });
        count
    }

    pub(crate) fn names_refused(&self) -> u64 {
        Status::parse(self.page(), &self.geometry).names_refused
    }

    fn callsites(&self) -> HashMap<u16, Described> {
        let start = usize::try_from(self.geometry.description_offset).unwrap();
        let used = usize::try_from(Status::parse(self.page(), &self.geometry).description_used).unwrap();
        let describe = |record| match record {
            fata_wire::describe::Record::Callsite(callsite) => Some((
                callsite.id,
                Described {
                    kind: callsite.kind,
                    level: callsite.level,
                    target: callsite.category.to_owned(),
                    name: callsite.name.to_owned(),
                    file: callsite.file.to_owned(),
                    line: callsite.line,
                    fields: callsite.fields.as_slice().iter().map(|f| (f.name.to_owned(), f.ty)).collect(),
                },
            )),
            _ => None,
        };
        Records::new(&self.bytes[start..start + used]).map(Result::unwrap).filter_map(describe).collect()
    }

    /// The name of the callsite `id`.
    pub(crate) fn name(&self, id: u16) -> String {
        self.callsites().remove(&id).map_or_else(|| format!("#{id}"), |callsite| callsite.name)
    }

    /// Where the callsite `id` is: `level target file:line`.
    pub(crate) fn place(&self, id: u16) -> String {
        let callsites = self.callsites();
        let callsite = &callsites[&id];
        format!("{} {} {}:{}", callsite.level.text(), callsite.target, callsite.file, callsite.line)
    }

    /// The events of `stream`, as callsite and `(id, ticks, arg, payload)`.
    fn events(&self, stream: u32, mut take: impl FnMut(fata_wire::event::Event<'_>)) {
        let ring = u64::from(self.geometry.packets_of(stream));
        let Some(youngest) = StreamStatus::parse(self.page(), stream).lock.checked_sub(1).map(|lock| lock / 2) else {
            return;
        };
        for number in (youngest + 1).saturating_sub(ring)..=youngest {
            let start = usize::try_from(self.geometry.packet_offset(stream, number)).unwrap();
            let bytes = &self.bytes[start..start + self.geometry.packet_bytes_of(stream) as usize];
            let header = PacketHeader::parse(bytes).unwrap();
            let body = &bytes[HEADER_BYTES..];
            let walk = committed_prefix(body, header.timestamp_begin, 4096);
            for event in Events::new(&body[..walk.bytes], header.timestamp_begin) {
                take(event.unwrap());
            }
        }
    }

    /// Every record that is still there, by time.
    pub(crate) fn records(&self) -> Vec<Record> {
        let callsites = self.callsites();
        let name = |id: u64| callsites.get(&u16::try_from(id).unwrap()).map_or_else(String::new, |c| c.name.clone());
        let mut records = Vec::new();
        for stream in self.geometry.stream_count..self.geometry.all_streams() {
            let mut around = Group::default();
            self.events(stream, |event| {
                let Some(callsite) = callsites.get(&event.id.callsite()) else { return };
                let list: Vec<_> = callsite
                    .fields
                    .iter()
                    .map(|(name, ty)| fata_wire::field::Field { name, ty: *ty, unit: fata_wire::field::Unit::None })
                    .collect();
                if callsite.kind == Kind::Context {
                    let fields = fata_wire::field::Fields::new(&list);
                    let values = fields.values(event.arg, event.payload).skip(1);
                    let fields: Vec<_> =
                        values.map(|(field, value)| format!("{}={}", field.name, text(value))).collect();
                    return around.context(event.arg, fields.join(","));
                }
                if callsite.kind != Kind::Log {
                    return;
                }
                let mut record = Record {
                    stream,
                    ticks: event.ticks,
                    level: callsite.level,
                    target: callsite.target.clone(),
                    name: callsite.name.clone(),
                    seq: 0,
                    task: 0,
                    spans: Vec::new(),
                    fields: Vec::new(),
                };
                for (field, value) in fata_wire::field::Fields::new(&list).values(event.arg, event.payload) {
                    match (field.name, value) {
                        (fata_wire::log::SEQ, Value::U64(seq)) => record.seq = seq,
                        (fata_wire::log::TASK, Value::Task(task)) => record.task = task,
                        (fata_wire::log::SPANS, Value::U64(word)) => {
                            let more = (word & fata_wire::log::MORE_SPANS != 0).then(|| "…".to_owned());
                            let mut fields = around.of_record(word);
                            let named = fata_wire::log::span_ids(word).map(|id| match fields.next() {
                                Some(fields) if !fields.is_empty() => format!("{}{{{fields}}}", name(u64::from(id))),
                                _ => name(u64::from(id)),
                            });
                            record.spans = more.into_iter().chain(named).collect();
                        }
                        (name, value) => record.fields.push((name.to_owned(), text(value))),
                    }
                }
                records.push(record);
            });
        }
        records.sort_by_key(|record| record.ticks);
        records
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.records().iter().map(Record::line).collect()
    }

    /// The names of the events in the first trace stream, spans with `begin` and `end`.
    pub(crate) fn trace(&self) -> Vec<String> {
        let callsites = self.callsites();
        let mut lines = Vec::new();
        self.events(0, |event| {
            let Some(callsite) = callsites.get(&event.id.callsite()) else { return };
            let end = if event.id.is_end() { " end" } else { "" };
            let mut line = format!("{}{end}", callsite.name);
            let list: Vec<_> = callsite
                .fields
                .iter()
                .map(|(name, ty)| fata_wire::field::Field { name, ty: *ty, unit: fata_wire::field::Unit::None })
                .collect();
            if !event.id.is_end() {
                for (field, value) in fata_wire::field::Fields::new(&list).values(event.arg, event.payload) {
                    line += &format!(" {}={}", field.name, text(value));
                }
            }
            lines.push(line);
        });
        lines
    }
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::U64(value) | Value::Flow(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Str(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Value::Task(id) | Value::Name(id) | Value::Object(id) => id.to_string(),
    }
}
