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
use fata_wire::event::EventId;
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit};
use fata_wire::log::{FIRST_FIELDS, MESSAGE};
use fata_wire::metadata;
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
    let mut now = 0;
    for seq in 0..count {
        now += 1 + random.below(100);
        let at = usize::try_from(random.below(6)).unwrap();
        let task = u16::try_from(random.below(4)).unwrap();
        let said = format!(
            "{} of {} for peer-{}",
            ["accept", "Retransmit", "close"][at % 3],
            random.below(1000),
            random.below(50)
        );
        let mut payload = vec![seq];
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
