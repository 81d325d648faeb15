//! What was written, read back by the format's own decoders, and by babeltrace2.

#[path = "../../../tests/src/skipped.rs"]
mod skipped;

use std::path::Path;
use std::process::Command;
use std::string::{String, ToString as _};
use std::vec::Vec;

use fata_wire::field::Value as WireValue;
use fata_wire::metadata::Line;
use fata_wire::packet::Packet;

use super::*;
use crate::loss::Cause;
use crate::record::{Field, Span, Value};

/// Every event of a trace: its time, name, and fields as text; and what the last packet says was discarded.
fn read(dir: &Path) -> (Vec<(u64, String, Vec<String>)>, u64) {
    let metadata = fs::read_to_string(dir.join("metadata")).unwrap();
    let callsites: HashMap<u16, Callsite<'_>> = metadata
        .lines()
        .filter_map(Line::parse)
        .filter_map(|line| match line {
            Line::Record(describe::Record::Callsite(callsite)) => Some((callsite.id, callsite)),
            _ => None,
        })
        .collect();
    let bytes = fs::read(dir.join("stream_0")).unwrap();
    let (mut rest, mut events, mut discarded) = (bytes.as_slice(), Vec::new(), 0);
    while !rest.is_empty() {
        let packet = Packet::parse(rest).unwrap();
        let mut count = 0;
        for event in packet.events() {
            let event = event.unwrap();
            count += 1;
            if [CLOCK, LEDGER].contains(&event.id.callsite()) {
                continue;
            }
            let callsite = &callsites[&event.id.callsite()];
            let fields = callsite.fields.values(event.arg, event.payload).map(|(field, value)| {
                let value = match value {
                    WireValue::U64(value) => value.to_string(),
                    WireValue::I64(value) => value.to_string(),
                    WireValue::F64(value) => value.to_string(),
                    WireValue::Bool(value) => value.to_string(),
                    WireValue::Str(text) => String::from_utf8_lossy(text).into_owned(),
                    other => std::format!("{other:?}"),
                };
                std::format!("{}={value}", field.name)
            });
            let name = std::format!("{} {} {}", callsite.level.text(), callsite.category, callsite.name);
            events.push((event.ticks, name, fields.collect()));
        }
        assert_eq!(count, packet.header.events);
        discarded = packet.header.events_discarded;
        rest = &rest[packet.bytes.len()..];
    }
    (events, discarded)
}

#[test]
fn every_value_is_read_back_and_losses_are_gaps_in_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let mut trace = Trace::create(dir.path()).unwrap();
    let fields = [
        Field { name: "message", value: Value::Str(b"up\0down") },
        Field { name: "b", value: Value::Bool(true) },
        Field { name: "c", value: Value::Bool(false) },
        Field { name: "i", value: Value::I64(-7) },
        Field { name: "f", value: Value::F64(0.5) },
        Field { name: "b", value: Value::U64(9) },
    ];
    let spans = [Span { name: "serve", fields: &[] }];
    let time = |nanos: i64| Time::wall(1_700_000_000_000_000_000 + nanos);
    let record = Record { time: time(0), guest: "g", target: "net", name: "n", ..Record::BLANK };
    trace.report(&Item::Record(Record { fields: &fields, spans: &spans, task: "t", ..record })).unwrap();
    let mut loss = Loss::new(Cause::Full, "x", time(1));
    (0..5).for_each(|_| loss.add(Level::Info, 1, time(1)));
    trace.report(&Item::Loss(loss)).unwrap();
    trace.report(&Item::Record(Record { time: time(10_000_000_000), guest: "other", ..record })).unwrap();
    trace.report(&Item::Record(Record { time: time(3), late: true, ..record })).unwrap();
    drop(trace);
    let (events, discarded) = read(dir.path());
    let start = 1_700_000_000_000_000_000;
    let expected = [
        (
            start,
            &[
                "fata.seq=0",
                "fata.task_name=t",
                "fata.in=serve",
                "message=up?down",
                "b=true",
                "c=false",
                "i=-7",
                "f=0.5",
                "fata.more=b=9",
            ][..],
        ),
        (start + 10_000_000_000, &["fata.seq=6", "fata.guest=other"]),
        (start + 10_000_000_000, &["fata.seq=7", "fata.made_ns=1700000000000000003"]),
    ];
    assert_eq!((events.len(), discarded), (3, 5));
    for ((ticks, name, fields), (expected_ticks, expected)) in events.iter().zip(expected) {
        assert_eq!((*ticks, name.as_str()), (expected_ticks, "info net n"));
        assert_eq!(fields, expected);
    }
}

#[test]
fn a_record_of_a_megabyte_and_one_of_a_hundred_fields_are_cut_to_what_an_event_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut trace = Trace::create(dir.path()).unwrap();
    let text = std::vec![b'x'; 1 << 20];
    let names: Vec<_> = (0..100).map(|i| std::format!("field{i}")).collect();
    let fields: Vec<_> = names.iter().map(|name| Field { name, value: Value::Str(&text) }).collect();
    trace.report(&Item::Record(Record { fields: &fields, ..Record::BLANK })).unwrap();
    trace.report(&Item::Record(Record { fields: &fields[..1], ..Record::BLANK })).unwrap();
    drop(trace);
    let (events, _) = read(dir.path());
    assert_eq!((events[0].2.len(), events[1].2.len()), (12, 2));
    assert!(events.iter().all(|(_, _, fields)| fields[1].ends_with('…')), "{events:?}");
}

#[test]
fn babeltrace2_reads_every_record_of_many_packets() {
    if Command::new("babeltrace2").arg("--version").output().is_err() {
        return skipped::skipped("babeltrace2 is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut trace = Trace::create(dir.path()).unwrap();
    for i in 0..20_000_u64 {
        let fields = [
            Field { name: "message", value: Value::Str(b"a text of some length") },
            Field { name: "i", value: Value::U64(i) },
        ];
        let level = Level::ALL[usize::try_from(i % 6).unwrap()];
        let time = Time::wall(1_700_000_000_000_000_000 + i64::try_from(i).unwrap() * 1_000_000);
        trace
            .report(&Item::Record(Record { level, time, target: "net", name: "n", fields: &fields, ..Record::BLANK }))
            .unwrap();
    }
    drop(trace);
    let output = Command::new("babeltrace2").arg(dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().count(), 20_000);
    assert!(
        text.lines().last().unwrap().contains("message = \"a text of some length\", i = 19999"),
        "{:?}",
        text.lines().last()
    );
}

#[test]
fn a_directory_that_holds_a_trace_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Trace::create(dir.path()).unwrap());
    let error = Trace::create(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("holds a trace already: choose another directory"), "{error}");
}
