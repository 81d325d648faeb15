//! The ledgers of a log ring under interrupts at any point of its writer: whatever was overwritten and discarded, what a reader has
//! and what the ledgers say is missing is what was offered, in records and in bytes.

use core::cell::Cell;
use std::rc::Rc;

use fata_wire::event::{Events, LEDGER};
use fata_wire::log::ledger::{Balance, Extent, Ledger};
use fata_wire::log::{LostBytes, ledger};
use fata_wire::packet::{HEADER_BYTES, PacketHeader};
use fata_wire::repair::{End, repair};
use fata_wire::shared::{Mode, StreamStatus};

use super::guest::{CONFIG, Guest, View};
use super::{BODY, PACKETS};
use crate::region::Config;
use crate::sync::model;

const LOGGING: Config<'static> = Config { log_streams: 2, ..CONFIG };
const STREAM: u32 = 1;
/// What a filler leaves of a packet behind its ledger: a mark, and room for a ledger more.
const FILLED: usize = BODY - 2 * (1 + ledger::WORDS) - 2;

/// What was offered to the ring, and what of it was lost when it was made.
#[derive(Clone, Copy, Default)]
struct Offered {
    all: Extent,
    lost: Extent,
}

fn add(sum: &mut Extent, words: usize) {
    sum.records += 1;
    sum.bytes += 8 * words as u64;
}

/// What is still there, and what is missing by the ledgers.
fn read(view: &View, lost: Extent) -> (Extent, Extent) {
    let bytes = view.bytes();
    let status = StreamStatus::parse(bytes.first_chunk().unwrap(), STREAM);
    let youngest = (status.lock - 1) / 2;
    let (mut found, mut balance) = (Extent::default(), Balance::from_zero());
    for number in (youngest + 1).saturating_sub(PACKETS)..=youngest {
        let start = usize::try_from(view.geometry.packet_offset(STREAM, number)).unwrap();
        let header = PacketHeader::parse(&bytes[start..]).unwrap();
        let end = start + usize::try_from(header.content_size / 8).unwrap();
        let mut content = bytes[start + HEADER_BYTES..end].to_vec();
        let walk = repair(&mut content, header.timestamp_begin, 4096);
        assert_eq!((walk.events, walk.unfinished, walk.end), (header.events, 0, End::Whole));
        for event in Events::new(&content, header.timestamp_begin) {
            let event = event.unwrap();
            if event.id.callsite() == LEDGER {
                balance.ledger(&Ledger::parse(event.payload));
            } else {
                add(&mut found, 1 + event.payload.len() / 8);
                balance.read(8 + event.payload.len() as u64);
            }
        }
    }
    let page = LostBytes::parse(&bytes[view.geometry.log_lost_bytes(STREAM)..]);
    assert_eq!(page.discarded, lost.bytes, "the header page");
    balance.end(lost);
    (found, balance.left())
}

/// A writer that offers two records a packet, interrupted at these points; returns how many points there are.
fn interrupted(mode: Mode, packets: u64, points: &[usize]) -> usize {
    let guest = Guest::with(&LOGGING);
    guest.region().set_mode(mode);
    let writer = guest.region().log_writer();
    writer.attach(guest.region(), STREAM);
    let offered = Rc::new(Cell::new(Offered::default()));
    let offer = {
        let offered = offered.clone();
        move |words: usize, is_recorded: &dyn Fn() -> bool| {
            let is_recorded = is_recorded();
            let mut sum = offered.get();
            add(&mut sum.all, words);
            if !is_recorded {
                add(&mut sum.lost, words);
            }
            offered.set(sum);
            if !is_recorded {
                writer.lose(words, false);
            }
        }
    };
    let mark = move |offer: &dyn Fn(usize, &dyn Fn() -> bool)| offer(2, &|| super::mark(writer, 7));
    let fill = move |offer: &dyn Fn(usize, &dyn Fn() -> bool)| offer(FILLED, &|| super::fill(writer, FILLED));
    let handler = offer.clone();
    model::interrupt_at(
        points,
        Rc::new(move || {
            mark(&handler);
            fill(&handler);
            mark(&handler);
        }),
    );
    for _ in 0..packets {
        mark(&offer);
        fill(&offer);
    }
    let count = model::points();
    model::interrupt_at(&[], Rc::new(|| ()));
    writer.finish();
    let Offered { all, lost } = offered.get();
    let (found, missing) = read(&guest.view(), lost);
    let sum = Extent { records: found.records + missing.records, bytes: found.bytes + missing.bytes };
    assert_eq!(sum, all, "{found:?} found, {missing:?} missing, {lost:?} discarded, {points:?}");
    assert!(mode == Mode::Overwrite || missing == lost);
    guest.free();
    count
}

#[test]
fn what_is_found_and_what_the_ledgers_miss_is_what_was_offered_wherever_an_interrupt_comes() {
    for mode in [Mode::Overwrite, Mode::Discard] {
        let points = interrupted(mode, 7, &[]);
        assert!(points > 30);
        for first in 0..points {
            let more = interrupted(mode, 7, &[first]);
            for second in (first + 1..more).step_by(211) {
                interrupted(mode, 7, &[first, second]);
            }
        }
    }
}
