//! A pipe whose collector was killed: what its successor repeats is left out, to the event, and nothing else is.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod common;

use common::{A, CLOCK, Guest, MARK, metadata, picture};
use fata_model::dump::dump;
use fata_model::ingest::{Ingest, Limits};
use fata_model::packets::UUID;
use fata_model::source;
use fata_model::trace::Trace;
use fata_wire::packet::{FLAG_MAY_REPEAT, HEADER_BYTES, PacketHeader, metadata_packet};

/// The packets of a guest whose packet `n` holds `events[n]` events.
fn packets(events: &[u64]) -> Vec<Vec<u8>> {
    let mut guest = Guest::new();
    let mut number = 0;
    for count in events {
        guest.begin(A);
        for _ in 2..*count {
            guest.with(MARK, 0, &[number]);
            number += 1;
        }
        guest.end(A).seal();
    }
    guest.packets
}

fn header(packet: &[u8]) -> PacketHeader {
    PacketHeader::parse(packet).unwrap()
}

fn changed(packet: &[u8], change: impl FnOnce(&mut PacketHeader)) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let mut header = header(&packet);
    change(&mut header);
    header.write(&mut packet);
    packet
}

/// A recording of these packets, as a collector makes it: numbered from 1 on behind an empty packet.
fn recording(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let empty = changed(&packets[0][..HEADER_BYTES], |header| {
        (header.events, header.timestamp_end) = (0, header.timestamp_begin);
        (header.content_size, header.packet_size) = (HEADER_BYTES as u64 * 8, HEADER_BYTES as u64 * 8);
    });
    let all = std::iter::once(&empty).chain(packets);
    all.zip(0..).map(|(packet, seq)| changed(packet, |header| header.packet_seq_num = seq)).collect()
}

/// The recording of whoever goes on after a kill: its first packet with events bears the mark.
fn successor(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = packets.to_vec();
    packets[0] = changed(&packets[0], |header| header.flags |= FLAG_MAY_REPEAT);
    let mut recording = recording(&packets);
    recording[0] = changed(&recording[0], |header| header.flags = 0);
    recording
}

fn trace(packets: &[Vec<u8>]) -> (Trace, Vec<String>) {
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&metadata(&CLOCK)).unwrap();
    let refused = packets.iter().filter_map(|packet| Some(ingest.packet(packet).err()?.to_string())).collect();
    (ingest.finish(), refused)
}

/// A recording of all packets, and that it is the same trace as `pieces`, one recording behind the other.
fn assert_nothing_is_lost_or_repeated(whole: &[Vec<u8>], pieces: &[Vec<u8>]) {
    let ((expected, _), (found, refused)) = (trace(&recording(whole)), trace(pieces));
    assert_eq!(refused, [""; 0]);
    assert_eq!(found.events_total(), expected.events_total());
    assert_eq!(picture(&found), picture(&expected));
    assert_eq!(found.stats().callsites, expected.stats().callsites);
    assert_eq!((found.gaps(), found.stats().discarded), (expected.gaps(), expected.stats().discarded));
    assert_eq!(dumped(pieces), dumped(&recording(whole)));
}

/// The lines of `fata dump`.
fn dumped(packets: &[Vec<u8>]) -> String {
    let metadata = metadata(&CLOCK);
    let mut bytes = metadata_packet::header(UUID, metadata.len()).to_vec();
    bytes.extend(metadata.as_bytes());
    packets.iter().for_each(|packet| bytes.extend(packet));
    let mut lines = Vec::new();
    dump(&mut source::from_read("a pipe", std::io::Cursor::new(bytes)).unwrap(), &mut lines).unwrap();
    String::from_utf8(lines).unwrap()
}

#[test]
fn a_packet_that_is_repeated_whole_is_left_out() {
    let all = packets(&[4, 5, 6, 7]);
    let pipe = [recording(&all[..2]), successor(&all[1..])].concat();
    assert_nothing_is_lost_or_repeated(&all, &pipe);
}

#[test]
fn a_packet_that_bears_the_mark_and_repeats_nothing_is_taken_whole() {
    let all = packets(&[4, 5, 6, 7]);
    let pipe = [recording(&all[..2]), successor(&all[2..])].concat();
    assert_nothing_is_lost_or_repeated(&all, &pipe);
}

#[test]
fn of_a_packet_that_was_handed_over_in_part_the_rest_is_taken() {
    let all = packets(&[4, 9, 6]);
    // What the guest had committed when the collector looked: all but the last five events, and their words.
    let part = changed(&all[1], |header| header.events -= 5);
    let events = fata_wire::packet::Packet::parse(&part).unwrap();
    let mut walk = events.events();
    (0..4).for_each(|_| assert!(walk.next().unwrap().is_ok()));
    let (bytes, ticks) = (header(&all[1]).content_size / 8 - walk.rest_bytes() as u64, walk.ticks());
    let mut part = changed(&part, |header| {
        (header.content_size, header.packet_size, header.timestamp_end) = (bytes * 8, bytes * 8, ticks);
        // It is still being written.
        header.lock -= 1;
    });
    part.truncate(usize::try_from(bytes).unwrap());
    let pipe = [recording(&[all[0].clone(), part]), successor(&all[1..])].concat();
    assert_nothing_is_lost_or_repeated(&all, &pipe);
}

#[test]
fn a_second_kill_repeats_as_little_as_the_first() {
    let all = packets(&[4, 5, 6, 7]);
    let pipe = [recording(&all[..2]), successor(&all[1..3]), successor(&all[2..])].concat();
    assert_nothing_is_lost_or_repeated(&all, &pipe);
}

#[test]
fn a_recording_that_is_put_behind_itself_is_read_once() {
    for events in [&[4, 5, 6][..], &[4]] {
        let once = recording(&packets(events));
        let (twice, refused) = trace(&[once.clone(), once.clone()].concat());
        assert_eq!(twice.events_total(), trace(&once).0.events_total());
        assert!(!refused.is_empty() && refused[0].ends_with("it was left out"), "{refused:?}");
    }
}
