//! Packets: their headers, and those that carry metadata.

use fata_wire::packet::{HEADER_BYTES, Packet, PacketError, PacketHeader, metadata_packet};
use fata_wire::put_u32;
use proptest::collection::vec;
use proptest::prelude::*;

use super::events::{check_events, content, written};
use super::mutations::{mutate, mutations};

/// A packet with this content, its sizes right.
fn packet(content: &[u8], ticks: u64) -> Vec<u8> {
    let bits = (HEADER_BYTES + content.len()) as u64 * 8;
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend(content);
    PacketHeader {
        uuid: [7; 16],
        stream_id: 0,
        content_size: bits,
        packet_size: bits,
        timestamp_begin: ticks,
        timestamp_end: ticks,
        packet_seq_num: 1,
        events_discarded: 0,
        lock: 2,
        events_before: 0,
        events: 0,
        cpu_id: 0,
        flags: 0,
        discarded: [0; 5],
    }
    .write(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_packet_decoder_panic_or_promise_more_than_there_is(
        writes in vec(written(), 0..10),
        mutations in mutations(),
        noise in vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = packet(&content(&writes, 3), 3);
        prop_assert!(Packet::parse(&bytes).is_ok());
        mutate(&mut bytes, &mutations);
        bytes.extend(noise);
        match Packet::parse(&bytes) {
            Ok(packet) => {
                prop_assert!(packet.bytes.len() <= bytes.len() && packet.bytes.len() >= HEADER_BYTES);
                prop_assert!(packet.header.content_size <= packet.header.packet_size);
                check_events(packet.events(), packet.bytes.len() - HEADER_BYTES, packet.header.timestamp_begin)?;
            }
            Err(PacketError::Incomplete { needed_bytes }) => prop_assert!(needed_bytes > bytes.len()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn a_packet_header_survives_its_bytes(words in proptest::array::uniform18(any::<u64>())) {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        put_u32(&mut bytes, 0, fata_wire::packet::MAGIC);
        let header = PacketHeader::parse(&bytes).unwrap();
        let mut again = vec![0; HEADER_BYTES];
        header.write(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn a_metadata_packet_gives_its_text_back_and_no_header_makes_it_panic(
        text in vec(any::<u8>(), 0..300),
        mutations in mutations(),
    ) {
        let mut bytes = metadata_packet::header([3; 16], text.len()).to_vec();
        bytes.extend(&text);
        prop_assert_eq!(metadata_packet::parse(&bytes), Ok((&text[..], bytes.len())));
        mutate(&mut bytes, &mutations);
        match metadata_packet::parse(&bytes) {
            Ok((text, len)) => prop_assert!(text.len() + metadata_packet::HEADER_BYTES <= len && len <= bytes.len()),
            Err(PacketError::Incomplete { needed_bytes }) => prop_assert!(needed_bytes > bytes.len()),
            Err(_) => {}
        }
    }
}
