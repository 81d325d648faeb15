//! The log against a plain list: order, search, and what a person reads.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use fata_model::guests::GuestId;
use fata_model::ingest::{Ingest, Limits};
use fata_model::lives::Life;
use fata_model::log_filter::{LogFilter, LogSearch};
use fata_model::packets::{StreamWriter, UUID};
use fata_model::random::Random;
use fata_model::trace::{TaskRef, Trace};
use fata_wire::describe::{Callsite, Record};
use fata_wire::event::{EventId, LEDGER};
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit};
use fata_wire::log::{FIRST_FIELDS, MESSAGE, REPEATED, SUPPRESSED};
use fata_wire::metadata;
use fata_wire::packet::{Cause, HEADER_BYTES, PacketHeader};
use fata_wire::shared::Clock;

const LEVELS: [Level; 6] = [Level::App, Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
const TARGETS: [&str; 6] = ["app", "net", "net.tcp", "http", "heap", "Disk"];
/// The target that records bring themselves.
const OWN: &str = "Disk";

/// What a record should be found as.
#[derive(Clone, Debug)]
struct Plain {
    time: i64,
    level: Level,
    task: u16,
    target: &'static str,
    text: String,
}

/// A trace of two log streams whose packets overlap, and what it holds in the order of time.
fn log(count: u64, seed: u64) -> (Trace, Vec<Plain>) {
    let clock = Clock { hz: 1_000_000_000, ..fata_model::synthetic::CLOCK };
    let mut text = String::new();
    metadata::write_preamble(&mut text, UUID, &clock).unwrap();
    for (id, (level, target)) in (10..).zip(LEVELS.into_iter().zip(TARGETS)) {
        let mut fields = FIRST_FIELDS.to_vec();
        fields.push(Field { name: MESSAGE, ty: FieldType::Str, unit: Unit::None });
        if id % 2 == 0 {
            fields.push(Field { name: "attempt", ty: FieldType::U64, unit: Unit::None });
        }
        // As of the crate `log`: its records bring their target.
        let brings_its_own = target == OWN;
        if brings_its_own {
            fields.push(Field { name: fata_wire::log::TARGET, ty: FieldType::Str, unit: Unit::None });
        }
        let fields = Fields::new(&fields);
        let site = Callsite {
            id,
            kind: Kind::Log,
            level,
            line: 3,
            category: if brings_its_own { "fata.log" } else { target },
            name: "src/a.rs:3",
            file: "src/a.rs",
            fields,
        };
        metadata::write_record(&mut text, &Record::Callsite(site)).unwrap();
    }
    let mut random = Random::new(seed);
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let (mut writers, mut list) = ([StreamWriter::new(2, 4096), StreamWriter::new(3, 4096)], Vec::new());
    let (mut now, mut numbers) = (0, [0; 6]);
    for _ in 0..count {
        now += 1 + random.below(100);
        let at = usize::try_from(random.below(6)).unwrap();
        let task = u16::try_from(random.below(4)).unwrap();
        let said = format!(
            "{} of {} for peer-{}",
            ["accept", "Retransmit", "close"][at % 3],
            random.below(1000),
            random.below(50)
        );
        let mut payload = vec![numbers[at]];
        numbers[at] += 1;
        // Long enough for the extended form, which texts have.
        let said = format!("{said:<40}");
        let mut bytes = said.clone().into_bytes();
        bytes.resize((bytes.len() / 8 + 1) * 8, 0);
        payload.extend(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)));
        let mut text = said;
        let id = 10 + u16::try_from(at).unwrap();
        if id.is_multiple_of(2) {
            let attempt = random.below(9);
            payload.push(attempt);
            text += &format!("  attempt={attempt}");
        }
        if TARGETS[at] == OWN {
            payload.push(u64::from_le_bytes(*b"Disk\0\0\0\0"));
        }
        let writer = &mut writers[usize::from(at < 3)];
        writer.event(now, EventId::begin(id), task, &payload, &mut |packet| packets.push(packet.to_vec()));
        list.push(Plain { time: now.cast_signed(), level: LEVELS[at], task, target: TARGETS[at], text });
    }
    writers.iter_mut().for_each(|writer| writer.seal(&mut |packet| packets.push(packet.to_vec())));
    // As a reader hands them on: by their begin.
    packets.sort_by_key(|packet| fata_wire::packet::PacketHeader::parse(packet).unwrap().timestamp_begin);
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&text).unwrap();
    packets.iter().for_each(|packet| ingest.packet(packet).unwrap());
    let trace = ingest.finish();
    let origin = trace.origin().unwrap().ticks.cast_signed();
    list.iter_mut().for_each(|plain| plain.time -= origin);
    (trace, list)
}

#[test]
fn records_of_streams_that_overlap_stand_in_the_order_of_time() {
    let (trace, list) = log(5000, 1);
    assert_eq!((trace.logs().len(), trace.logs().settled()), (5000, 5000));
    for (index, plain) in list.iter().enumerate() {
        let record = trace.logs().get(index).unwrap();
        assert_eq!((record.time, record.task, trace.log_level(&record)), (plain.time, plain.task, plain.level));
        assert_eq!(trace.log_text(&record), plain.text);
        assert_eq!(trace.log_target(&record), plain.target);
        assert_eq!(trace.logs().first_from(plain.time), index);
        assert_eq!(trace.logs().first_from(plain.time + 1), index + 1);
    }
    assert_eq!(trace.warnings().collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_search_finds_what_looking_at_every_record_finds_however_it_was_typed() {
    let (trace, list) = log(3000, 2);
    let mut random = Random::new(3);
    let mut search = LogSearch::default();
    let end = list.last().unwrap().time;
    let texts =
        ["", "r", "re", "ret", "retrans", "retransmit of 9", "peer-4", "NET", "disk", "attempt=3", "=", "nothing"];
    for round in 0..400 {
        // Now and then the next letter comes before the last one was looked for everywhere.
        let steps = if round % 3 == 0 { 2 } else { usize::MAX };
        let text = texts[usize::try_from(random.below(texts.len() as u64)).unwrap()];
        let text = if round % 2 == 0 { text } else { texts[usize::try_from(random.below(6)).unwrap()] };
        let at = random.below(end.unsigned_abs()).cast_signed();
        let filter = LogFilter {
            text: text.to_owned(),
            level: LEVELS[usize::try_from(random.below(6)).unwrap()],
            task: [
                None,
                None,
                Some(Life { guest: GuestId::default(), number: 2, from: at / 2, until: at.max(end / 2) }),
            ][round % 3],
            range: [None, Some((at, at + end / 3))][round / 3 % 2],
        };
        search.ask(&filter);
        let done = (0..steps).any(|_| search.step(&trace, 100));
        if !done {
            continue;
        }
        let needle = text.to_lowercase();
        let fits = |plain: &&Plain| {
            plain.level <= filter.level
                && filter.task.is_none_or(|life| life.is(life.guest, plain.task, plain.time))
                && filter.range.is_none_or(|(from, to)| (from..=to).contains(&plain.time))
                && (plain.text.to_lowercase().contains(&needle) || plain.target.to_lowercase().contains(&needle))
        };
        let expected: Vec<i64> = list.iter().filter(fits).map(|plain| plain.time).collect();
        let found: Vec<i64> = (0..search.len(&trace)).map(|place| search.get(&trace, place).unwrap().time).collect();
        assert_eq!(found, expected, "{filter:?}");
        let first = search.first_from(&trace, at);
        assert_eq!(first, expected.partition_point(|&time| time < at), "{filter:?}");
    }
}

/// Two guests, whose clocks agree. In each a task 7 is spawned, says something, is done and dropped; then another task 7 is.
fn two_guests_with_a_number_used_twice() -> Trace {
    let mut text = String::from("/* fata version 1.0 */\n");
    for guest in 0..2 {
        text += &format!(
            "/* fata guest {guest} */\n/* fata clock 1000000000 1000 1000000000 0 0 */\n\
             /* fata env \"guest\" \"{}\" */\n\
             /* fata callsite 8 spawn info 1 \"task\" \"task.spawn\" \"t.rs\" \"task\":task:none \"name\":name:none \"parent\":task:none */\n\
             /* fata callsite 9 done info 1 \"task\" \"task.done\" \"t.rs\" \"task\":task:none */\n\
             /* fata callsite 10 log info 1 \"app\" \"said\" \"t.rs\" \"fata.seq\":u64:none \"fata.task\":task:none */\n\
             /* fata callsite 11 name info 1 \"name\" \"first\" \"t.rs\" */\n\
             /* fata callsite 12 name info 1 \"name\" \"second\" \"t.rs\" */\n",
            ["left", "right"][guest]
        );
    }
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&text).unwrap();
    for guest in 0..2 {
        let after = 5 * u64::from(guest);
        let mut take = |packet: &[u8]| ingest.packet(packet).unwrap();
        let mut writer = StreamWriter::new(0, 4096).of_guest(guest);
        for (ticks, id, payload) in [(1000, 8, &[11, 0][..]), (1400, 9, &[]), (1700, 8, &[12, 0]), (2000, 9, &[])] {
            writer.event(ticks + after, EventId::begin(id), 7, payload, &mut take);
        }
        writer.seal(&mut take);
        let mut writer = StreamWriter::new(1, 4096).of_guest(guest);
        for (seq, ticks) in [1100, 1200, 1401, 1800].into_iter().enumerate() {
            writer.event(ticks + after, EventId::begin(10), 7, &[seq as u64], &mut take);
        }
        writer.seal(&mut take);
    }
    ingest.finish()
}

#[test]
fn a_filter_by_task_finds_no_record_of_another_guest_nor_of_a_later_task_of_the_number() {
    let trace = two_guests_with_a_number_used_twice();
    let found = |task: TaskRef| {
        let mut search = LogSearch::default();
        search.ask(&LogFilter { task: trace.life_of(task), ..LogFilter::default() });
        assert!(search.step(&trace, usize::MAX));
        (0..search.len(&trace)).map(|place| search.get(&trace, place).unwrap().time).collect::<Vec<_>>()
    };
    let label = |task: u32| trace.task_label(TaskRef(task));
    assert_eq!([0, 1, 2, 3].map(label), ["left/first #7", "left/second #7", "right/first #7", "right/second #7"]);
    assert_eq!(found(TaskRef(0)), [100, 200, 401], "what a task says while it is dropped is its own");
    assert_eq!(found(TaskRef(1)), [800]);
    assert_eq!(found(TaskRef(2)), [105, 205, 406]);
    assert_eq!(found(TaskRef(3)), [805]);
}

#[test]
fn a_record_is_shown_with_the_task_that_had_its_number_then() {
    let trace = two_guests_with_a_number_used_twice();
    let said_by = |time| {
        let record = trace.logs().get(trace.logs().first_from(time)).unwrap();
        trace.task_by_number(record.guest(), record.task, record.time)
    };
    assert_eq!(
        [100, 105, 401, 800, 805].map(said_by),
        ["left/first #7", "right/first #7", "left/first #7", "left/second #7", "right/second #7"]
    );
    assert_eq!(trace.task_by_number(GuestId::new(0), 7, -1), "left/task #7", "before it was spawned");
}

#[test]
fn a_search_by_a_task_of_a_trace_that_grows_lets_go_of_what_a_later_task_of_the_number_said() {
    let trace = two_guests_with_a_number_used_twice();
    let whole = trace.life_of(TaskRef(0)).unwrap();
    let mut search = LogSearch::default();
    for life in [Life { until: i64::MAX, ..whole }, whole] {
        search.ask(&LogFilter { task: Some(life), ..LogFilter::default() });
        assert!(search.step(&trace, usize::MAX));
    }
    assert_eq!(search.len(&trace), 3);
}

#[test]
fn a_record_takes_ten_bytes_beside_its_fields() {
    let (short, _) = log(10_000, 4);
    let (long, _) = log(110_000, 4);
    let fields = 100_000 * 50;
    let more = long.memory_bytes() - short.memory_bytes();
    assert!(more < 100_000 * 11 + fields + (2 << 20), "{more}");
}

/// A guest that logs: a level's record is its own callsite, and so are the log's own two.
struct Logger {
    writer: StreamWriter,
    packets: Vec<Vec<u8>>,
}

const SAID: u16 = 20;
const SUPPRESSED_SITE: u16 = 30;
const REPEATED_SITE: u16 = 31;

impl Logger {
    fn new() -> Self {
        Logger { writer: StreamWriter::new(2, 4096), packets: Vec::new() }
    }

    /// A record of a level: which number it has, and when it was made.
    fn say(&mut self, level: Level, number: u64, ticks: u64) {
        let id = EventId::begin(SAID + level as u16);
        self.writer.event(ticks, id, 0, &[number], &mut |packet| self.packets.push(packet.to_vec()));
    }

    fn summary(&mut self, site: u16, number: u64, ticks: u64, fields: [u64; 3]) {
        let [callsite, count, within] = fields;
        let payload = [number, callsite, count, within];
        self.writer.event(ticks, EventId::begin(site), 0, &payload, &mut |packet| self.packets.push(packet.to_vec()));
    }

    /// What the ring says of itself: records, each of 16 bytes, before the packet; and records and bytes that were discarded, none of
    /// which could be described.
    fn ledger(&mut self, ticks: u64, recorded: u64, discarded: u64, bytes: u64) {
        let payload = [recorded, 16 * recorded, discarded, bytes, discarded];
        self.writer.event(ticks, EventId::begin(LEDGER), 0, &payload, &mut |packet| self.packets.push(packet.to_vec()));
    }

    fn seal(&mut self) {
        self.writer.seal(&mut |packet| self.packets.push(packet.to_vec()));
    }

    fn discard(&mut self, cause: Cause, events: u64) {
        self.writer.discard(cause, events, &mut |packet| self.packets.push(packet.to_vec()));
    }

    /// The log as people read it, without the packets for which `left_out` holds.
    fn read(mut self, left_out: impl Fn(usize) -> bool) -> (Trace, Vec<String>) {
        self.seal();
        let mut text = String::new();
        let clock = Clock { hz: 1_000_000_000, ..fata_model::synthetic::CLOCK };
        metadata::write_preamble(&mut text, UUID, &clock).unwrap();
        for level in LEVELS {
            let id = SAID + level as u16;
            text += &format!(
                "/* fata callsite {id} log {} 3 \"app\" \"said.{}\" \"a.rs\" \"fata.seq\":u64:none \"fata.task\":task:none */\n",
                level.text(),
                level.text()
            );
        }
        for (id, name) in [(SUPPRESSED_SITE, SUPPRESSED), (REPEATED_SITE, REPEATED)] {
            text += &format!(
                "/* fata callsite {id} log info 3 \"fata.log\" \"{name}\" \"s.rs\" \"fata.seq\":u64:none \
                 \"fata.task\":task:none \"callsite\":u64:none \"count\":u64:none \"within_ticks\":u64:none */\n"
            );
        }
        let mut ingest = Ingest::new(Limits::default());
        ingest.metadata(&text).unwrap();
        for (_, packet) in self.packets.iter().enumerate().filter(|(at, _)| !left_out(*at)) {
            ingest.packet(packet).unwrap();
        }
        let trace = ingest.finish();
        let line = |index| {
            let record = trace.logs().get(index).unwrap();
            let loss = if record.is_loss() { "LOST " } else { "" };
            format!("{} {loss}{}", record.time, trace.log_text(&record))
        };
        let lines = (0..trace.logs().len()).map(line).collect();
        (trace, lines)
    }
}

#[test]
fn what_is_missing_stands_in_its_place_with_its_levels_its_time_and_its_cause() {
    let mut guest = Logger::new();
    guest.say(Level::Info, 0, 1000);
    guest.say(Level::Debug, 0, 1100);
    guest.discard(Cause::Full, 9);
    guest.say(Level::Info, 3, 2000);
    guest.say(Level::Debug, 8, 2100);
    guest.say(Level::Info, 4, 2200);
    guest.seal();
    guest.say(Level::Info, 5, 3000);
    let (trace, lines) = guest.read(|_| false);
    assert_eq!(
        lines,
        [
            "0 said.info",
            "100 said.debug",
            "1000 LOST lost 9 records (2 INFO, 7 DEBUG) since 0.000000100 s: the guest's log ring was full",
            "1000 said.info",
            "1100 said.debug",
            "1200 said.info",
            "2000 said.info"
        ]
    );
    assert_eq!(trace.logs().lost(), [0, 0, 0, 2, 7, 0]);
    let loss = trace.logs().get(2).unwrap();
    assert_eq!(trace.log_level(&loss), Level::Info);
}

#[test]
fn the_cause_of_a_loss_is_kept_while_a_collector_publishes_packets_without_events() {
    let mut guest = Logger::new();
    guest.say(Level::Info, 0, 1000);
    guest.discard(Cause::Full, 9);
    guest.say(Level::Info, 5, 2000);
    guest.seal();
    // What was discarded is told at once, in a packet of its own.
    let mut empty = guest.packets[1][..HEADER_BYTES].to_vec();
    let mut header = PacketHeader::parse(&empty).unwrap();
    let bits = HEADER_BYTES as u64 * 8;
    (header.events, header.content_size, header.packet_size) = (0, bits, bits);
    header.write(&mut empty);
    let mut header = PacketHeader::parse(&guest.packets[1]).unwrap();
    header.packet_seq_num += 1;
    header.write(&mut guest.packets[1]);
    guest.packets.insert(1, empty);
    let (_, lines) = guest.read(|_| false);
    assert_eq!(lines[1], "1000 LOST lost 4 records (4 INFO) since 0.000000000 s: the guest's log ring was full");
}

#[test]
fn how_long_missing_records_were_and_whether_they_could_be_described_is_told_by_the_ledgers() {
    let mut guest = Logger::new();
    guest.say(Level::Info, 0, 1000);
    guest.seal();
    guest.ledger(2000, 4, 0, 0);
    guest.say(Level::Info, 4, 2000);
    guest.seal();
    guest.ledger(3000, 5, 0, 0);
    guest.ledger(3100, 5, 1, 40);
    guest.say(Level::Info, 6, 3200);
    let (_, lines) = guest.read(|_| false);
    let (full, undescribed) =
        ("the guest's log ring was full, and kept the newest", "the guest had no room left to describe");
    assert_eq!(lines[1], format!("1000 LOST lost 3 records (3 INFO) of 48 bytes since 0.000000000 s: {full}"));
    let expected =
        format!("2200 LOST lost 1 record (1 INFO) of 40 bytes since 0.000001000 s: {undescribed} what they are");
    assert_eq!((lines[3].as_str(), lines.len()), (expected.as_str(), 5));
}

#[test]
fn a_packet_that_the_trace_lacks_is_a_loss_of_its_records() {
    let mut guest = Logger::new();
    for packet in 0..3 {
        (0..5).for_each(|n| guest.say(Level::Warn, packet * 5 + n, 1000 + packet * 100 + n));
        guest.seal();
    }
    let (_, lines) = guest.read(|packet| packet == 1);
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[5], "200 LOST lost 5 records (5 WARN) since 0.000000004 s: their packets are not in the trace");
}

#[test]
fn a_trace_that_begins_in_the_middle_has_lost_nothing_of_what_was_before() {
    let mut guest = Logger::new();
    (0..5).for_each(|n| guest.say(Level::Info, n, 1000 + n));
    guest.seal();
    (5..10).for_each(|n| guest.say(Level::Info, n, 2000 + n));
    guest.say(Level::Debug, 77, 3000);
    let (trace, lines) = guest.read(|packet| packet == 0);
    assert_eq!((lines.len(), trace.logs().lost()), (6, [0; 6]));
}

#[test]
fn a_stream_that_is_whole_tells_what_is_missing_at_its_begin() {
    let mut guest = Logger::new();
    guest.say(Level::Error, 2, 1000);
    let (_, lines) = guest.read(|_| false);
    assert_eq!(lines[0].split(':').next(), Some("0 LOST lost 2 records (2 ERROR) since 0.000000000 s"));
}

#[test]
fn a_record_that_an_interrupt_overtook_is_not_missing() {
    let mut guest = Logger::new();
    for (number, ticks) in [(0, 1000), (2, 1001), (1, 1002), (3, 1003)] {
        guest.say(Level::Info, number, ticks);
    }
    let (trace, lines) = guest.read(|_| false);
    assert_eq!((lines.len(), trace.logs().lost()), (4, [0; 6]));
}

#[test]
fn what_the_log_says_of_itself_reads_as_a_sentence_and_is_found_by_it() {
    let mut guest = Logger::new();
    let debug = u64::from(SAID + Level::Debug as u16);
    guest.summary(SUPPRESSED_SITE, 0, 1000, [debug, 120, 500_000_000]);
    guest.summary(REPEATED_SITE, 1, 1001, [debug, 41, 12_300]);
    guest.summary(SUPPRESSED_SITE, 2, 1002, [999, 1, 70]);
    let (trace, lines) = guest.read(|_| false);
    assert_eq!(
        lines,
        [
            "0 suppressed 120 DEBUG records within 500.0 ms: said.debug of app may say no more in a second",
            "1 the record before was repeated 41 times within 12.30 µs",
            "2 suppressed 1 record within 70 ns: one callsite may say no more in a second"
        ]
    );
    let mut search = LogSearch::default();
    search.ask(&LogFilter { text: "repeated 41".to_owned(), ..LogFilter::default() });
    assert!(search.step(&trace, 100));
    assert_eq!(search.len(&trace), 1);
}

#[test]
fn a_loss_is_found_whatever_the_text_by_its_levels_its_time_and_its_guest() {
    let mut guest = Logger::new();
    guest.say(Level::Info, 0, 1000);
    guest.say(Level::Info, 2, 2000);
    guest.say(Level::Debug, 3, 3000);
    guest.seal();
    guest.say(Level::Debug, 6, 4000);
    let (trace, _) = guest.read(|_| false);
    let found = |filter: LogFilter| {
        let mut search = LogSearch::default();
        search.ask(&filter);
        assert!(search.step(&trace, 100));
        let times = (0..search.len(&trace)).filter_map(|place| search.get(&trace, place));
        times.map(|record| (record.time, record.is_loss())).collect::<Vec<_>>()
    };
    let any = LogFilter::default;
    assert_eq!(found(LogFilter { text: "nothing says this".to_owned(), ..any() }), [(1000, true), (3000, true)]);
    assert_eq!(found(LogFilter { text: "nothing".to_owned(), level: Level::Info, ..any() }), [(1000, true)]);
    assert_eq!(found(LogFilter { text: "nothing".to_owned(), range: Some((2000, 4000)), ..any() }), [(3000, true)]);
    let life = Life { guest: GuestId::new(1), number: 1, from: 0, until: 9000 };
    assert_eq!(found(LogFilter { task: Some(life), ..any() }), []);
    assert_eq!(found(LogFilter { task: Some(Life { guest: GuestId::new(0), ..life }), ..any() }).len(), 2);
}
