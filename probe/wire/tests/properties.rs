//! Properties of every decoder: what was written is read back, and no bytes at all make one panic, read outside of them, or
//! give more than the bytes can hold.
//!
//! Bytes are of three sorts: noise, what a writer makes, and what a writer made with a few bytes changed, cut or repeated,
//! which comes deepest. `PROPTEST_CASES` sets how many cases each property is tried on.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use fata_wire::describe::{Callsite, MAX_RECORD_BYTES, MAX_TEXT_BYTES, Record, Records};
use fata_wire::event::{ARG_LIMIT, Event, EventId, Events, Header, MAX_CALLSITES, MAX_PAYLOAD_WORDS, UNFINISHED};
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, MAX_FIELDS, Unit, Value};
use fata_wire::log::{Account, COUNTERS};
use fata_wire::metadata::{Line, write_account, write_preamble, write_record};
use fata_wire::packet::{HEADER_BYTES, Packet, PacketError, PacketHeader, metadata_packet};
use fata_wire::repair::{End, committed_prefix, repair, repair_open};
use fata_wire::shared::{
    Clock, Geometry, PAGE_BYTES, Platform, STORED_MAGIC, State, Status, StreamStatus, at, text_at,
};
use fata_wire::{VERSION, put_u32, put_u64, u64_at};
use proptest::collection::vec;
use proptest::prelude::*;

#[path = "properties/requests.rs"]
mod requests;

/// What may happen to bytes on their way, or be done to them on purpose.
#[derive(Clone, Debug)]
enum Mutation {
    Byte(usize, u8),
    Word(usize, u64),
    Cut(usize),
    Repeat(usize, usize),
    Zero(usize, usize),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let word = prop_oneof![
        any::<u64>(),
        Just(0),
        Just(u64::MAX),
        Just(i64::MAX.cast_unsigned()),
        Just(1 << 45),
        (0..1u64 << 20).prop_map(|size| size * 8)
    ];
    vec(
        prop_oneof![
            4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
            4 => (any::<usize>(), word).prop_map(|(at, word)| Mutation::Word(at, word)),
            1 => any::<usize>().prop_map(Mutation::Cut),
            1 => (any::<usize>(), 1..200usize).prop_map(|(at, len)| Mutation::Repeat(at, len)),
            1 => (any::<usize>(), 1..200usize).prop_map(|(at, len)| Mutation::Zero(at, len)),
        ],
        0..6,
    )
}

fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let len = bytes.len().max(1);
        match *mutation {
            Mutation::Byte(at, byte) => {
                if let Some(old) = bytes.get_mut(at % len) {
                    *old = byte;
                }
            }
            Mutation::Word(at, word) => put_u64(bytes, (at % len) & !7, word),
            Mutation::Cut(at) => bytes.truncate(at % len),
            Mutation::Repeat(at, run) => {
                let (from, to) = (at % len, (at % len + run).min(bytes.len()));
                bytes.extend_from_within(from.min(to)..to);
            }
            Mutation::Zero(at, run) => {
                let (from, to) = (at % len, (at % len + run).min(bytes.len()));
                bytes[from.min(to)..to].fill(0);
            }
        }
    }
}

/// One event as a writer leaves it: committed, or busy with part of its payload, or reserved and never begun.
#[derive(Clone, Debug)]
enum Written {
    Committed { gap: u32, callsite: u16, end: bool, arg: u16, payload: Vec<u64> },
    Busy { callsite: u16, words: u16, written: u16 },
    Untouched { words: u16 },
}

fn committed() -> impl Strategy<Value = Written> {
    let payload = prop_oneof![4 => vec(any::<u64>(), 0..7), 1 => vec(any::<u64>(), 7..40)];
    (any::<u32>(), 8..200u16, any::<bool>(), 0..ARG_LIMIT, payload).prop_map(
        |(gap, callsite, end, arg, mut payload)| {
            // No stamp is more than half of its range after the one before: the writer makes a clock event instead.
            let gap = gap >> 1;
            if payload.len() > 6 {
                payload[0] = payload.len() as u64;
            }
            Written::Committed { gap, callsite, end, arg, payload }
        },
    )
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        8 => committed(),
        1 => (8..200u16, 1..20u16, 0..20u16).prop_map(|(callsite, words, written)| Written::Busy { callsite, words, written }),
        1 => (1..20u16).prop_map(|words| Written::Untouched { words }),
    ]
}

const CALLSITES: u16 = 200;

/// The content that these writes leave, and how many committed events it holds.
fn content(writes: &[Written], ticks: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut ticks = ticks;
    for write in writes {
        match write {
            Written::Committed { gap, callsite, end, arg, payload } => {
                ticks += u64::from(*gap);
                let id = if *end { EventId::end(*callsite) } else { EventId::begin(*callsite) };
                let words = u8::try_from(payload.len()).unwrap().min(7);
                let ticks_low = u32::try_from(ticks & 0xffff_ffff).unwrap();
                bytes.extend(Header { ticks_low, id, busy: false, words, arg: *arg }.pack().to_le_bytes());
                bytes.extend(payload.iter().flat_map(|word| word.to_le_bytes()));
            }
            Written::Busy { callsite, words, written } => {
                let id = EventId::begin(*callsite);
                bytes.extend(Header { ticks_low: 1, id, busy: true, words: 0, arg: *words }.pack().to_le_bytes());
                bytes.extend((0..*words).flat_map(|i| u64::from(i < *written).to_le_bytes()));
            }
            Written::Untouched { words } => bytes.extend(std::iter::repeat_n(0, usize::from(*words) * 8)),
        }
    }
    bytes
}

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

/// What must hold of any packet's events, whatever the bytes: they lie in the content, one after another, and time grows.
fn check_events(events: Events<'_>, content_bytes: usize, begin: u64) -> Result<(), TestCaseError> {
    let (mut bytes, mut ticks) = (0, begin);
    let mut ended = false;
    for event in events {
        prop_assert!(!ended, "nothing follows an error");
        match event {
            Ok(Event { ticks: now, arg, payload, .. }) => {
                bytes += 8 + payload.len();
                prop_assert!(payload.len() <= MAX_PAYLOAD_WORDS * 8 && arg < ARG_LIMIT);
                prop_assert!(now >= ticks, "the clock runs backwards");
                ticks = now;
            }
            Err(_) => ended = true,
        }
    }
    prop_assert!(bytes <= content_bytes);
    Ok(())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z._]{0,24}", "\\PC{0,60}", any::<String>(), "[\"*\\\\/\n ]{0,8}"]
}

fn pick<T: Copy + std::fmt::Debug>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(|i| all[i])
}

type OwnedField = (String, FieldType, Unit);

#[derive(Clone, Debug)]
enum OwnedRecord {
    Callsite(u16, Kind, Level, u32, [String; 3], Vec<OwnedField>),
    Name(u16, String),
    Env(String, String),
}

fn record() -> impl Strategy<Value = OwnedRecord> {
    let field = (text(), pick(FieldType::ALL), pick(Unit::ALL));
    let callsite = (
        0..MAX_CALLSITES,
        pick(Kind::ALL),
        pick(Level::ALL),
        any::<u32>(),
        [text(), text(), text()],
        vec(field, 0..=MAX_FIELDS),
    );
    prop_oneof![
        3 => callsite.prop_map(|(id, kind, level, line, texts, fields)| OwnedRecord::Callsite(id, kind, level, line, texts, fields)),
        1 => (any::<u16>(), text()).prop_map(|(id, text)| OwnedRecord::Name(id, text)),
        1 => (text(), text()).prop_map(|(key, value)| OwnedRecord::Env(key, value)),
    ]
}

impl OwnedRecord {
    fn record(&self) -> Record<'_> {
        match self {
            OwnedRecord::Callsite(id, kind, level, line, [category, name, file], list) => {
                let mut fields = Fields::EMPTY;
                for (name, ty, unit) in list {
                    fields.push(Field { name, ty: *ty, unit: *unit });
                }
                Record::Callsite(Callsite {
                    id: *id,
                    kind: *kind,
                    level: *level,
                    line: *line,
                    category,
                    name,
                    file,
                    fields,
                })
            }
            OwnedRecord::Name(id, text) => Record::Name { id: *id, text },
            OwnedRecord::Env(key, value) => Record::Env { key, value },
        }
    }

    /// The record as its texts are after they were cut to what a record may hold.
    fn cut(&self) -> Self {
        let cut = |text: &str, max| text[..text.floor_char_boundary(max)].to_owned();
        match self {
            OwnedRecord::Callsite(id, kind, level, line, [category, name, file], fields) => {
                let start = file.ceil_char_boundary(file.len().saturating_sub(MAX_TEXT_BYTES));
                let texts = [cut(category, MAX_TEXT_BYTES), cut(name, MAX_TEXT_BYTES), file[start..].to_owned()];
                let fields = fields.iter().map(|(name, ty, unit)| (cut(name, 38), *ty, *unit)).collect();
                OwnedRecord::Callsite(*id, *kind, *level, *line, texts, fields)
            }
            OwnedRecord::Name(id, text) => OwnedRecord::Name(*id, cut(text, MAX_TEXT_BYTES)),
            OwnedRecord::Env(key, value) => OwnedRecord::Env(cut(key, MAX_TEXT_BYTES), cut(value, MAX_TEXT_BYTES)),
        }
    }

    /// The record as metadata text gives it back: without the characters that would end the text.
    fn quoted(&self) -> Self {
        let quote = |text: &String| {
            text.chars()
                .map(|c| match c {
                    '"' => '\'',
                    '\\' => '/',
                    '*' => '\u{b7}',
                    c if c.is_control() => '?',
                    c => c,
                })
                .collect::<String>()
        };
        match self {
            OwnedRecord::Callsite(id, kind, level, line, texts, fields) => OwnedRecord::Callsite(
                *id,
                *kind,
                *level,
                *line,
                texts.each_ref().map(quote),
                fields.iter().map(|(name, ty, unit)| (quote(name), *ty, *unit)).collect(),
            ),
            OwnedRecord::Name(id, text) => OwnedRecord::Name(*id, quote(text)),
            OwnedRecord::Env(key, value) => OwnedRecord::Env(quote(key), quote(value)),
        }
    }
}

fn area(records: &[OwnedRecord]) -> Vec<u8> {
    let mut area = Vec::new();
    for record in records {
        let mut buffer = [0; MAX_RECORD_BYTES];
        let len = record.record().encode(&mut buffer);
        area.extend_from_slice(&buffer[..len]);
    }
    area
}

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
    fn every_header_word_is_some_header_and_is_packed_to_itself(word: u64) {
        prop_assert_eq!(Header::unpack(word).pack(), word);
    }

    #[test]
    fn committed_events_are_read_back_as_they_were_written(
        writes in vec(committed(), 0..30),
        ticks in 0..1u64 << 60,
    ) {
        let content = content(&writes, ticks);
        let mut now = ticks;
        let mut events = Events::new(&content, ticks);
        for write in &writes {
            let Written::Committed { gap, callsite, end, arg, payload } = write else { unreachable!("generated") };
            now += u64::from(*gap);
            let event = events.next().unwrap().unwrap();
            let id = if *end { EventId::end(*callsite) } else { EventId::begin(*callsite) };
            prop_assert_eq!((event.ticks, event.id, event.arg), (now, id, *arg));
            prop_assert_eq!(event.payload, payload.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        }
        prop_assert_eq!(events.next(), None);
        let walk = committed_prefix(&content, ticks, CALLSITES);
        prop_assert_eq!((walk.events, walk.bytes, walk.ticks, walk.end), (writes.len() as u64, content.len(), now, End::Whole));
    }

    #[test]
    fn repair_counts_each_committed_event_once_and_takes_no_unfinished_one_for_whole(
        writes in vec(written(), 0..30),
        ticks in 0..1u64 << 60,
    ) {
        let mut bytes = content(&writes, ticks);
        let committed = writes.iter().filter(|write| matches!(write, Written::Committed { .. })).count() as u64;
        let prefix = committed_prefix(&bytes, ticks, CALLSITES);
        let whole = writes.iter().take_while(|write| matches!(write, Written::Committed { .. })).count() as u64;
        prop_assert_eq!(prefix.events, whole);
        let before = bytes.clone();
        let walk = repair(&mut bytes, ticks, CALLSITES);
        prop_assert_eq!((walk.events, walk.end, walk.bytes), (committed, End::Whole, bytes.len()));
        let holes = writes.len() as u64 - committed;
        prop_assert!((u64::from(holes > 0)..=holes).contains(&walk.unfinished), "untouched neighbours are one hole");
        let (mut read, mut unfinished, mut offset) = (0, 0, 0);
        for event in Events::new(&bytes, ticks) {
            let event = event.unwrap();
            let len = 8 + event.payload.len();
            if event.id.callsite() == UNFINISHED {
                unfinished += 1;
            } else {
                read += 1;
                prop_assert_eq!(&before[offset..offset + len], &bytes[offset..offset + len]);
            }
            offset += len;
        }
        prop_assert_eq!((read, unfinished), (walk.events, walk.unfinished));
        let again = repair(&mut bytes.clone(), ticks, CALLSITES);
        prop_assert_eq!((again.events, again.unfinished), (walk.events + walk.unfinished, 0), "what is repaired is whole");
    }

    #[test]
    fn free_space_at_the_end_of_an_open_packet_is_no_event(mut writes in vec(written(), 0..10), free in 0..50usize) {
        // An untouched reservation at the very end looks like free space, and nothing tells them apart.
        writes.truncate(writes.iter().rposition(|write| !matches!(write, Written::Untouched { .. })).map_or(0, |i| i + 1));
        let mut bytes = content(&writes, 5);
        let used = bytes.len();
        bytes.extend(vec![0; free * 8]);
        let walk = repair_open(&mut bytes, 5, CALLSITES);
        prop_assert_eq!((walk.end, walk.bytes), (End::Whole, used));
    }

    #[test]
    fn no_content_makes_a_walk_panic_leave_its_bytes_or_disagree_with_its_own_events(
        writes in vec(written(), 0..30),
        noise in vec(any::<u64>(), 0..20),
        mutations in mutations(),
        ticks: u64,
        callsites in 0..MAX_CALLSITES,
    ) {
        let mut bytes = content(&writes, ticks & 0xffff_ffff_ffff);
        bytes.extend(noise.iter().flat_map(|word| word.to_le_bytes()));
        mutate(&mut bytes, &mutations);
        let len = bytes.len();
        check_events(Events::new(&bytes, ticks), len, ticks)?;
        let prefix = committed_prefix(&bytes, ticks, callsites);
        prop_assert!(prefix.bytes <= len && prefix.events <= (len / 8) as u64 && prefix.unfinished == 0);
        for mend in [repair, repair_open] {
            let mut copy = bytes.clone();
            let walk = mend(&mut copy, ticks, callsites);
            prop_assert!(walk.bytes <= len && walk.bytes >= prefix.bytes && walk.events >= prefix.events);
            prop_assert_eq!(copy.len(), len);
            prop_assert_eq!(&copy[walk.bytes..], &bytes[walk.bytes..], "what is refused is left as it was");
            let events: Vec<_> = Events::new(&copy[..walk.bytes], ticks).collect();
            prop_assert!(events.iter().all(Result::is_ok));
            prop_assert_eq!(events.len() as u64, walk.events + walk.unfinished);
        }
    }

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

    #[test]
    fn records_survive_their_bytes_with_texts_cut_to_what_a_record_may_hold(records in vec(record(), 0..8)) {
        let area = area(&records);
        let read: Vec<_> = Records::new(&area).map(Result::unwrap).collect();
        let cut: Vec<_> = records.iter().map(OwnedRecord::cut).collect();
        prop_assert_eq!(read, cut.iter().map(OwnedRecord::record).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_the_record_decoder_panic_or_read_past_what_it_has_consumed(
        records in vec(record(), 0..8),
        mutations in mutations(),
    ) {
        let mut area = area(&records);
        mutate(&mut area, &mutations);
        let mut decoder = Records::new(&area);
        let mut good = 0;
        let mut errors = 0;
        for record in decoder.by_ref() {
            prop_assert_eq!(errors, 0, "nothing follows an error");
            match record {
                Ok(record) => {
                    good += 1;
                    if let Record::Callsite(callsite) = record {
                        prop_assert!(callsite.id < MAX_CALLSITES && callsite.name.len() <= MAX_TEXT_BYTES);
                    }
                }
                Err(_) => errors += 1,
            }
        }
        prop_assert!(decoder.consumed_bytes() <= area.len() && decoder.consumed_bytes() >= good * 16);
        prop_assert_eq!(decoder.consumed_bytes() == area.len(), errors == 0);
    }

    #[test]
    fn a_record_becomes_one_line_that_gives_it_back_whatever_its_texts_hold(record in record()) {
        let mut text = String::new();
        write_record(&mut text, &record.record()).unwrap();
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        let quoted = record.quoted();
        prop_assert_eq!(lines, [Line::Record(quoted.record())]);
        prop_assert_eq!(text.matches("/*").count(), 1);
        prop_assert_eq!(text.matches("*/").count(), 1);
        let events = match &record {
            OwnedRecord::Callsite(_, Kind::Span, ..) => 2,
            OwnedRecord::Callsite(_, kind, ..) if *kind != Kind::Name => 1,
            _ => 0,
        };
        prop_assert_eq!(text.lines().filter(|line| line.starts_with("event { name = \"")).count(), events);
        prop_assert_eq!(text.lines().count(), 1 + events);
    }

    #[test]
    fn the_preamble_gives_the_clock_back(uuid: [u8; 16], hz: u64, ticks: u64, nanos: u64, costs: (u64, u64)) {
        let clock = Clock {
            hz, anchor_ticks: ticks, anchor_unix_nanos: nanos, clock_cost_picos: costs.0, probe_cost_picos: costs.1,
        };
        let mut text = String::new();
        write_preamble(&mut text, uuid, &clock).unwrap();
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        prop_assert_eq!(lines, [Line::Version(VERSION), Line::Clock(clock)]);
    }

    #[test]
    fn every_account_is_read_back_from_its_line(stream in 0..16u32, class in 0..2u32, counters: [u64; COUNTERS]) {
        let account = Account::of_counters(&counters);
        prop_assert_eq!(account.counters(), counters);
        let mut text = String::new();
        write_account(&mut text, stream, class, &account).unwrap();
        let lines: Vec<_> = text.lines().filter_map(Line::parse).collect();
        prop_assert_eq!(lines, [Line::Account { stream, class, account }]);
    }

    #[test]
    fn no_text_makes_the_line_parser_panic(record in record(), cut: usize, noise in any::<String>(), at: usize) {
        let mut text = String::new();
        write_record(&mut text, &record.record()).unwrap();
        let line = text.lines().next().unwrap();
        let mut line = line[..line.floor_char_boundary(cut % (line.len() + 1))].to_owned();
        let at = line.floor_char_boundary(at % (line.len() + 1));
        line.insert_str(at, &noise);
        for text in [&line, &noise, &format!("/* fata {noise} */"), &format!("/* fata callsite {noise} */"), &format!("/* fata account {noise} */")] {
            if let Some(Line::Record(Record::Callsite(callsite))) = Line::parse(text) {
                prop_assert!(callsite.id < MAX_CALLSITES);
            }
        }
    }

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

    #[test]
    fn no_payload_makes_a_field_decoder_panic_or_give_more_values_than_fields(
        types in vec(pick(FieldType::ALL), 0..=MAX_FIELDS),
        arg in 0..ARG_LIMIT,
        payload in vec(any::<u8>(), 0..200),
    ) {
        let list: Vec<_> = types.iter().map(|&ty| Field { name: "f", ty, unit: Unit::None }).collect();
        let fields = Fields::new(&list);
        let values: Vec<_> = fields.values(arg, &payload).collect();
        prop_assert!(values.len() <= list.len());
        let texts: usize = values.iter().map(|(_, value)| if let Value::Str(text) = value { text.len() } else { 0 }).sum();
        prop_assert!(texts <= payload.len());
        if let Some(words) = fields.fixed_words() {
            let needed = (words + usize::from(fields.is_extended())) * 8;
            prop_assert_eq!(values.len() == list.len(), payload.len() >= needed);
        }
    }
}
