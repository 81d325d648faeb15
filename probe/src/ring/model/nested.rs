//! Interrupts at any point of a writer, two deep: what the ring holds when everything has ended.

use core::cell::Cell;
use std::rc::Rc;
use std::vec::Vec;

use fata_wire::event::Events;
use fata_wire::packet::{HEADER_BYTES, PacketHeader};
use fata_wire::repair::{End, repair};
use fata_wire::shared::{Mode, StreamStatus};

use super::guest::{Guest, View};
use super::{MARK, PACKETS, filler, template};
use crate::sync::model;
use crate::value::{Cons, Nil, Small};

/// What a ring holds when everything has ended: produced = recorded + overwritten + discarded, none torn, none twice.
fn check_account(view: &View, produced: u64) {
    let bytes = view.bytes();
    let status = StreamStatus::parse(bytes.first_chunk().unwrap(), 0);
    let youngest = (status.lock - 1) / 2;
    let mut expected = None;
    let (mut recorded, mut values) = (0, Vec::new());
    for number in (youngest + 1).saturating_sub(PACKETS)..=youngest {
        let start = usize::try_from(view.geometry.packet_offset(0, number)).unwrap();
        let header = PacketHeader::parse(&bytes[start..]).unwrap();
        assert_eq!(header.lock, 2 * number + 2, "sealed");
        assert_eq!(expected.unwrap_or(header.events_before), header.events_before);
        let end = start + usize::try_from(header.content_size / 8).unwrap();
        let mut content = bytes[start + HEADER_BYTES..end].to_vec();
        let walk = repair(&mut content, header.timestamp_begin, 4096);
        assert_eq!((walk.events, walk.unfinished, walk.end), (header.events, 0, End::Whole));
        for event in Events::new(&content, header.timestamp_begin) {
            let event = event.unwrap();
            if event.id.callsite() == MARK {
                assert_eq!(event.payload.len(), 8);
                values.push((event.arg, fata_wire::u64_at(event.payload, 0)));
            }
        }
        expected = Some(header.events_before + header.events);
        recorded = header.events_before + header.events;
    }
    let discarded: u64 = status.discarded.iter().sum();
    assert_eq!(recorded + discarded, produced, "{:?}", status.discarded);
    let mut unique = values.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), values.len(), "an event twice");
}

/// Two levels of interrupts at the given points of a writer that fills `packets` packets; returns how many points there are.
fn nested(mode: Mode, packets: u64, points: &[usize]) -> usize {
    let guest = Guest::new();
    guest.region().set_mode(mode);
    guest.attach();
    let writer = guest.writer();
    let produced = Rc::new(Cell::new(0u64));
    let produce = {
        let produced = produced.clone();
        move |level: u16| {
            produced.set(produced.get() + 1);
            writer.record(template(MARK), Cons(Small(level), Cons(produced.get(), Nil)));
        }
    };
    let (handler_produce, handler_produced) = (produce.clone(), produced.clone());
    let level = Cell::new(0);
    model::interrupt_at(
        points,
        Rc::new(move || {
            level.set(level.get() + 1);
            handler_produce(level.get());
            handler_produced.set(handler_produced.get() + 1);
            filler(writer);
            handler_produce(level.get());
            level.set(level.get() - 1);
        }),
    );
    for _ in 0..packets {
        produce(0);
        produced.set(produced.get() + 1);
        filler(writer);
    }
    let count = model::points();
    model::interrupt_at(&[], Rc::new(|| ()));
    writer.finish();
    check_account(&guest.view(), produced.get());
    guest.free();
    count
}

#[test]
fn an_interrupt_at_any_point_and_another_within_it_leave_the_account_exact() {
    for mode in [Mode::Overwrite, Mode::Discard] {
        let points = nested(mode, 6, &[]);
        assert!(points > 100);
        for first in 0..points {
            let more = nested(mode, 6, &[first]);
            assert!(more > first);
            // Any later point, the handler's own among them: all of a few, a few of all.
            let step = if first % 64 == 0 { 13 } else { 997 };
            for second in (first + 1..more).step_by(step) {
                nested(mode, 6, &[first, second]);
            }
        }
    }
}
