//! What is fuzzed: a function per decoder, which takes any bytes and fails where a decoder breaks its word.
//!
//! libFuzzer runs each for as long as it is let (`cargo +nightly fuzz run packet --fuzz-dir tests/fuzz`); `tests/tests/fuzz.rs`
//! runs the same functions with a small mutation driver on the stable compiler. Both start from `corpus/`.

use fata_collector::xen::wire::{HEADER_BYTES, MAX_PAYLOAD_BYTES, Message, WireError};
use fata_wire::describe::Records;
use fata_wire::event::Events;
use fata_wire::grants::{IndexPage, MAX_REFS, index_page};
use fata_wire::metadata::Line;
use fata_wire::packet::{Packet, metadata_packet};
use fata_wire::repair::{committed_prefix, repair, repair_open};
use fata_wire::shared::{Geometry, PAGE_BYTES, Status, StreamStatus};

/// A decoder under test.
pub type Target = fn(&[u8]);

/// Every target and its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("packet", packet),
    ("events", events),
    ("description", description),
    ("header_page", header_page),
    ("metadata", metadata),
    ("frames", frames),
    ("grants", grants),
    ("xenstore", xenstore),
    ("stream", stream),
    ("directory", directory),
];

/// A packet's header, and its events.
pub fn packet(bytes: &[u8]) {
    if let Ok(packet) = Packet::parse(bytes) {
        assert!(packet.bytes.len() <= bytes.len());
        let decoded: usize = packet.events().map_while(Result::ok).map(|event| 8 + event.payload.len()).sum();
        assert!(decoded <= packet.bytes.len());
    }
    if let Ok((text, len)) = metadata_packet::parse(bytes) {
        assert!(text.len() < len && len <= bytes.len());
    }
}

/// What a collector does to the content of a packet, live and dead.
pub fn events(bytes: &[u8]) {
    let ticks = fata_wire::u64_at(bytes, 0) >> 2;
    let content = bytes.get(8..).unwrap_or(&[]);
    let prefix = committed_prefix(content, ticks, 100);
    for mend in [repair, repair_open] {
        let mut copy = content.to_vec();
        let walk = mend(&mut copy, ticks, 100);
        assert!(walk.bytes <= copy.len() && walk.events >= prefix.events && walk.bytes >= prefix.bytes);
        let mut last = ticks;
        let mut count = 0;
        for event in Events::new(&copy[..walk.bytes], ticks) {
            let event = event.expect("what was repaired is whole");
            assert!(event.ticks >= last);
            last = event.ticks;
            count += 1;
        }
        assert_eq!(count, walk.events + walk.unfinished);
    }
}

/// The description area.
pub fn description(bytes: &[u8]) {
    let mut records = Records::new(bytes);
    let mut text = String::new();
    for record in records.by_ref().flatten() {
        text.clear();
        fata_wire::metadata::write_record(&mut text, &record).expect("a string takes everything");
        let read = text.lines().filter_map(Line::parse).count();
        assert_eq!(read, 1, "a record is one line: {text}");
        assert_eq!(text.matches("*/").count(), 1, "no text ends its comment: {text}");
    }
    assert!(records.consumed_bytes() <= bytes.len());
}

/// An index page, by which a Xen guest lists its grants.
pub fn grants(bytes: &[u8]) {
    let mut page = [0; PAGE_BYTES];
    let len = bytes.len().min(PAGE_BYTES);
    page[..len].copy_from_slice(&bytes[..len]);
    if let Ok(index) = IndexPage::parse(&page) {
        assert!((1..=MAX_REFS).contains(&index.refs().count()));
        let refs: Vec<u32> = index.refs().collect();
        let words = index_page(&refs, index.next());
        assert!(words.eq(page.chunks(4).take(4 + refs.len()).map(|word| fata_wire::u32_at(word, 0))));
    }
}

/// A message of XenStore.
pub fn xenstore(bytes: &[u8]) {
    match Message::parse(bytes) {
        Ok(message) => {
            assert!(HEADER_BYTES + message.payload.len() <= bytes.len());
            assert!(message.texts().all(|text| !text.contains(&0)));
        }
        Err(WireError::Incomplete { missing_bytes }) => {
            assert!((1..=MAX_PAYLOAD_BYTES + HEADER_BYTES).contains(&missing_bytes));
        }
        Err(WireError::TooLong(_)) => {}
    }
}

/// The first page of a ring.
pub fn header_page(bytes: &[u8]) {
    let mut page = [0; PAGE_BYTES];
    let len = bytes.len().min(PAGE_BYTES);
    page[..len].copy_from_slice(&bytes[..len]);
    let mapped = 1 << 22;
    if let Ok(geometry) = Geometry::parse(&page, mapped) {
        for stream in 0..geometry.all_streams() {
            for number in [0, 7, u64::MAX] {
                let offset = geometry.packet_offset(stream, number);
                assert!(offset >= PAGE_BYTES as u64 && offset + u64::from(geometry.packet_bytes_of(stream)) <= mapped);
            }
            let _ = StreamStatus::parse(&page, stream);
        }
        assert!(geometry.description_offset + Status::parse(&page, &geometry).description_used <= mapped);
    }
}

/// Metadata text.
pub fn metadata(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = text.lines().filter_map(Line::parse).count();
    let mut description = fata_model::description::Description::new();
    let _ = description.metadata(&text);
}

/// What a viewer reads from a collector's socket.
pub fn frames(bytes: &[u8]) {
    let mut reader = fata_collector::frames::Reader::new(bytes);
    let mut frames = 0;
    while let Ok(Some(_)) = reader.next_frame() {
        frames += 1;
        assert!(frames * 5 <= bytes.len(), "a frame is at least its length and its kind");
    }
}

fn limits() -> fata_model::ingest::Limits {
    fata_model::ingest::Limits {
        intervals: 1 << 16,
        field_bytes: 1 << 20,
        tracks: 256,
        tasks: 256,
        streams: 4,
        flow_points: 1 << 12,
        gaps: 1 << 8,
    }
}

/// A trace stream: a pipe or a recorded file.
pub fn stream(bytes: &[u8]) {
    let input = std::io::Cursor::new(bytes.to_vec());
    let Ok(mut reader) = fata_model::source::from_read("fuzz", input) else { return };
    let mut ingest = fata_model::ingest::Ingest::new(limits());
    let _ = fata_model::source::read_into(&mut reader, &mut ingest);
    let trace = ingest.finish();
    let _ = trace.stats();
    assert!(trace.warnings().count() < 10_000);
}

/// A trace directory: metadata up to the first NUL, then packets.
pub fn directory(bytes: &[u8]) {
    let split = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (text, mut rest) = bytes.split_at(split);
    let mut ingest = fata_model::ingest::Ingest::new(limits());
    if ingest.metadata(&String::from_utf8_lossy(text)).is_err() {
        return;
    }
    rest = rest.get(1..).unwrap_or(&[]);
    while let Ok(packet) = Packet::parse(rest) {
        let _ = ingest.packet(packet.bytes);
        rest = &rest[packet.bytes.len()..];
    }
    let trace = ingest.finish();
    let _ = trace.stats();
    for track in trace.tracks() {
        let _ = trace.track_label(track.kind);
        let _ = trace.open_end(track);
    }
}
