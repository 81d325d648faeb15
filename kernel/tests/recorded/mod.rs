//! Runs a program as a guest on this thread and gives what it recorded, one short line per event.
//!
//! Objects are called by their names, tasks by their numbers, which a fresh guest gives out from 1. Idle spans are left
//! out: how often a wait ends early is the operating system's affair.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail by panicking")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use fata_kernel::{Boot, Main};
use fata_probe::region::{Config, Region};
use fata_wire::describe::{Callsite, Record, Records};
use fata_wire::event::{CLOCK, Event, Events, MAX_CALLSITES};
use fata_wire::field::{Kind, Level, Value};
use fata_wire::packet::{HEADER_BYTES, PacketHeader};
use fata_wire::repair::committed_prefix;
use fata_wire::shared::{Geometry, PAGE_BYTES, Status, control};
use fata_wire::{put_u32, put_u64};

/// What the guest whose program is `main` recorded, from its first event to its last.
pub(crate) fn record(main: Main, joined: bool) -> Vec<String> {
    record_with("", main, joined)
}

/// As [`record`], of a guest with boot parameters.
pub(crate) fn record_with(args: &str, main: Main, joined: bool) -> Vec<String> {
    let region = Region::in_memory(&Config { name: "test", ..Config::default() }).expect("a region");
    let attached = region.attach(0).expect("the only stream");
    if joined {
        join(region);
    }
    fata_kernel::run(Boot { name: "test", args }, main);
    drop(attached);
    read(&region.copy())
}

/// Writes the control page as a collector does that wants everything.
fn join(region: &Region) {
    #![expect(unsafe_code, reason = "the control page is written by address, as by another process")]
    let mut page = [0; 24];
    put_u32(&mut page, control::GENERATION, 1);
    put_u64(&mut page, control::CATEGORIES, u64::MAX);
    put_u32(&mut page, control::LEVEL, Level::Info as u32);
    for (i, word) in page.as_chunks::<8>().0.iter().enumerate() {
        let offset = usize::try_from(region.geometry().control_offset).unwrap() + i * 8;
        // SAFETY: the control page lies in the region, and is touched as atomic words only.
        unsafe { AtomicU64::from_ptr(region.memory().add(offset).cast()) }
            .store(u64::from_le_bytes(*word), Ordering::Relaxed);
    }
}

/// What the ring in `bytes` holds, sealed or not.
pub(crate) fn read(bytes: &[u8]) -> Vec<String> {
    Trace::new(bytes).lines()
}

struct Trace<'a> {
    bytes: &'a [u8],
    geometry: Geometry,
    callsites: HashMap<u16, Callsite<'a>>,
    names: HashMap<u16, &'a str>,
    /// The names of the objects that live, by number.
    objects: HashMap<u16, &'a str>,
}

impl<'a> Trace<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let page: &[u8; PAGE_BYTES] = bytes.first_chunk().unwrap();
        let geometry = Geometry::parse(page, bytes.len() as u64).unwrap();
        let start = usize::try_from(geometry.description_offset).unwrap();
        let used = usize::try_from(Status::parse(page, &geometry).description_used).unwrap();
        let (mut callsites, mut names) = (HashMap::new(), HashMap::new());
        for record in Records::new(&bytes[start..start + used]) {
            match record.unwrap() {
                Record::Callsite(callsite) => {
                    if callsite.kind == Kind::Name {
                        names.insert(callsite.id, callsite.name);
                    }
                    callsites.insert(callsite.id, callsite);
                }
                Record::Name { id, text } => {
                    names.insert(id, text);
                }
                Record::Env { .. } => {}
            }
        }
        Trace { bytes, geometry, callsites, names, objects: HashMap::new() }
    }

    fn lines(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for number in 0..u64::from(self.geometry.packets_per_stream) {
            let start = usize::try_from(self.geometry.packet_offset(0, number)).unwrap();
            let packet = &self.bytes[start..start + self.geometry.packet_bytes as usize];
            let Ok(header) = PacketHeader::parse(packet) else { break };
            let content = match header.lock.checked_sub(2 * number) {
                // The writer has not sealed it: it was killed.
                Some(1) => {
                    let walk = committed_prefix(&packet[HEADER_BYTES..], header.timestamp_begin, MAX_CALLSITES);
                    &packet[HEADER_BYTES..HEADER_BYTES + walk.bytes]
                }
                Some(2) => &packet[HEADER_BYTES..usize::try_from(header.content_size / 8).unwrap()],
                _ => break,
            };
            for event in Events::new(content, header.timestamp_begin) {
                lines.extend(self.line(&event.unwrap()));
            }
        }
        lines
    }

    fn line(&mut self, event: &Event<'a>) -> Option<String> {
        if event.id.callsite() == CLOCK {
            return None;
        }
        // A copy of a running guest's memory may hold an event that was described after the description was copied.
        let Some(&callsite) = self.callsites.get(&event.id.callsite()) else {
            return Some(format!("undescribed {}", event.id.callsite()));
        };
        if callsite.name == "cpu.idle" {
            return None;
        }
        if event.id.is_end() {
            return Some(format!("{} end", callsite.name));
        }
        let mut values = callsite.fields.values(event.arg, event.payload);
        let mut line = match callsite.kind {
            Kind::Instant | Kind::Span | Kind::Counter => callsite.name.to_owned(),
            // `task.ready` and `sync.signal` are called by the second word.
            _ => callsite.name.split('.').next_back().unwrap().to_owned(),
        };
        if let Kind::Create | Kind::Exists = callsite.kind {
            let (Some((_, Value::Object(object))), Some((_, Value::Name(name)))) = (values.next(), values.next())
            else {
                panic!("a create event has an object and a name")
            };
            if callsite.kind == Kind::Exists {
                assert_eq!(self.objects.get(&object), Some(&self.names[&name]), "what is said again is what was said");
            }
            self.objects.insert(object, self.names[&name]);
            return Some(format!("{} {line} {}", callsite.kind.text(), self.names[&name]));
        }
        for (_, value) in values {
            line += " ";
            line += &match value {
                Value::Task(task) => task.to_string(),
                Value::Name(name) => format!("{:?}", self.names.get(&name).copied().unwrap_or("?")),
                Value::Object(object) => self.objects.get(&object).copied().unwrap_or("?").to_owned(),
                Value::U64(number) => number.to_string(),
                other => format!("{other:?}"),
            };
        }
        Some(line)
    }
}

/// Compares with a text in which events are separated by `;` or lines.
#[track_caller]
pub(crate) fn assert_events(recorded: &[String], expected: &str) {
    let expected: Vec<_> = expected.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(recorded == expected, "recorded:\n{}\nexpected:\n{}", recorded.join("; "), expected.join("; "));
}
