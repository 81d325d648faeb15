//! The header page: what lies where, and what the guest says of itself.

use fata_wire::shared::{Geometry, PAGE_BYTES, Platform, STORED_MAGIC, State, Status, StreamStatus, at, text_at};
use fata_wire::{VERSION, put_u32, put_u64, u64_at};
use proptest::collection::vec;
use proptest::prelude::*;

use super::mutations::{Mutation, mutations};

fn header_page(mutations: &[Mutation]) -> Box<[u8; PAGE_BYTES]> {
    let geometry = Geometry::lay_out([1; 16], Platform::Host, 65536, 2, 8, 4096);
    let mut page = vec![0; PAGE_BYTES];
    put_u64(&mut page, at::MAGIC, STORED_MAGIC);
    put_u32(&mut page, at::VERSION, VERSION);
    put_u64(&mut page, at::TOTAL_BYTES, geometry.total_bytes);
    put_u32(&mut page, at::PLATFORM, Platform::Host as u32);
    put_u32(&mut page, at::STATE, State::Running as u32);
    put_u64(&mut page, at::DESCRIPTION_OFFSET, geometry.description_offset);
    put_u64(&mut page, at::DESCRIPTION_CAPACITY, geometry.description_capacity);
    put_u64(&mut page, at::CONTROL_OFFSET, geometry.control_offset);
    put_u64(&mut page, at::STREAMS_OFFSET, geometry.streams_offset);
    put_u64(&mut page, at::STREAM_COUNT, 2 | 8 << 32);
    put_u32(&mut page, at::PACKET_BYTES, 4096);
    for mutation in mutations {
        // Aimed at the fields that say what lies where.
        match *mutation {
            Mutation::Byte(at, byte) => page[at % 176] = byte,
            Mutation::Word(at, word) => put_u64(&mut page, (at % 176) & !7, word),
            _ => {}
        }
    }
    page.try_into().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_geometry_that_is_accepted_lies_inside_the_memory(mutations in mutations(), mapped in 0..1u64 << 24) {
        let page = header_page(&mutations);
        if let Ok(geometry) = Geometry::parse(&page, mapped) {
            prop_assert!(geometry.total_bytes <= mapped);
            let inside = |offset: u64, len: u64| offset >= PAGE_BYTES as u64 && offset + len <= mapped && offset.is_multiple_of(8);
            prop_assert!(inside(geometry.description_offset, geometry.description_capacity));
            prop_assert!(inside(geometry.control_offset, PAGE_BYTES as u64));
            for stream in 0..geometry.all_streams() {
                for number in [0, 1, u64::MAX, u64::MAX / 2, 12345] {
                    prop_assert!(inside(geometry.packet_offset(stream, number), u64::from(geometry.packet_bytes_of(stream))));
                }
                prop_assert!(Geometry::stream_entry(stream) + 64 <= PAGE_BYTES);
            }
            prop_assert!(Status::parse(&page, &geometry).description_used <= geometry.description_capacity);
        }
    }

    #[test]
    fn no_header_page_makes_a_status_panic(noise in vec(any::<u8>(), PAGE_BYTES), stream: u32, offset in 0..8192usize, len in 0..8192usize) {
        let page: &[u8; PAGE_BYTES] = noise.first_chunk().unwrap();
        let _ = StreamStatus::parse(page, stream);
        prop_assert!(text_at(page, offset, len).len() <= len);
        prop_assert!(Geometry::parse(page, u64::MAX).is_err() || u64_at(page, 0) == STORED_MAGIC);
    }
}
