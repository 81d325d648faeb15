//! Log records under real interruption: signals stand in for interrupts, three levels deep, and log by `log!`, with and
//! without texts, by the macros of `tracing` and in their spans, from the first record on, when nothing is described yet.
//!
//! What must hold in both modes, by level: made = read + discarded + overwritten, exactly, and every number below what was
//! offered was read once or is missing for one of these reasons; no record torn, none with another's fields, and none said to be in
//! another's span. The same holds of bytes, of which the rings' ledgers say how many are missing.
//! `FATA_STRESS_RECORDS=100000000 cargo test --release -p fata-probe --test log_stress` is a full run.
#![cfg(all(feature = "tracing", feature = "std", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod interrupts;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use fata_probe::log;
use fata_probe::log::{install, rules, set_rate};
use fata_probe::region::{Config, Region};
use fata_wire::describe::{self, Records};
use fata_wire::event::{Event, LEDGER};
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit, Value};
use fata_wire::log::context::Group;
use fata_wire::log::ledger::{Balance, Extent, Ledger};
use fata_wire::log::{Account, Fates, SEQ, SPANS};
use fata_wire::shared::{Mode, PAGE_BYTES, at};
use interrupts::{LEVELS, Reader, copy, deepest, set_control, storm};

const LOGGED: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];
/// Records by level of interruption, and by level.
static MADE: [[AtomicU64; LOGGED.len()]; LEVELS] = [const { [const { AtomicU64::new(0) }; LOGGED.len()] }; LEVELS];
/// How long these were in the rings, or would have been, in words; by class.
static WORDS: [[AtomicU64; 2]; LEVELS] = [const { [const { AtomicU64::new(0) }; 2] }; LEVELS];
static TURN: [AtomicU64; LEVELS] = [const { AtomicU64::new(0) }; LEVELS];

const TEXT: &str = "a text that is to arrive whole";

/// One record of code at this level of interruption.
fn say(from: usize) {
    let turn = TURN[from].fetch_add(1, Ordering::Relaxed);
    // Warnings and errors are fewer, as in life.
    let place = match turn % 16 {
        0 => 0,
        1 | 2 => 1,
        3..8 => 2,
        _ => 3,
    };
    let i = MADE[from][place].fetch_add(1, Ordering::Relaxed);
    // A header, a number, three fields; with the spans, by `tracing` and of errors; with the text, and the length before it.
    let words = match (place, turn / 16 % 3) {
        (0, 0) | (1, 1..) => 6,
        (2, 0) | (3, 1..) => 5,
        (2, 1) => 10,
        _ => 11,
    };
    WORDS[from][usize::from(place < 2)].fetch_add(words, Ordering::Relaxed);
    match (place, turn / 16 % 3) {
        (0, 0) => log!(Error, "by log!", from = from, i = i, check = !i),
        (0, _) => tracing::error!(from, i, check = !i, text = TEXT),
        (1, 0) => log!(Warn, "by log!", from = from, i = i, check = !i, text = TEXT),
        (1, _) => tracing::warn!(from, i, check = !i),
        (2, 0) => log!(Info, "by log!", from = from, i = i, check = !i),
        (2, 1) => log!(Info, "by log!, with a text", from = from, i = i, check = !i, text = TEXT),
        (2, _) => tracing::info_span!("span", from).in_scope(|| tracing::info!(from, i, check = !i, text = TEXT)),
        (_, 0) => tracing::debug!(from, i, check = !i, text = TEXT),
        _ => log!(Debug, "by log!", from = from, i = i, check = !i),
    }
}

/// What a callsite's records are.
struct Site {
    kind: Kind,
    level: Level,
    fields: Vec<(String, FieldType)>,
}

/// The callsites of log streams that are described so far, by id.
fn sites(region: &Region) -> HashMap<u16, Site> {
    let used = fata_wire::u64_at(&copy(region, at::DESCRIPTION_USED as u64, 8), 0);
    let area = copy(region, region.geometry().description_offset, usize::try_from(used).unwrap());
    let site = |record| match record {
        describe::Record::Callsite(site) if matches!(site.kind, Kind::Log | Kind::Context) => {
            let fields = site.fields.as_slice().iter().map(|field| (field.name.to_owned(), field.ty)).collect();
            Some((site.id, Site { kind: site.kind, level: site.level, fields }))
        }
        _ => None,
    };
    Records::new(&area).map(Result::unwrap).filter_map(site).collect()
}

/// Which numbers of a level were read.
#[derive(Default)]
struct Seen {
    bits: Vec<u64>,
    count: u64,
}

impl Seen {
    fn add(&mut self, number: u64) {
        let (word, bit) = (usize::try_from(number / 64).unwrap(), 1 << (number % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        assert_eq!(self.bits[word] & bit, 0, "the number {number} was read twice");
        self.bits[word] |= bit;
        self.count += 1;
    }

    /// One more than the highest number.
    fn end(&self) -> u64 {
        let word = self.bits.iter().rposition(|word| *word != 0);
        word.map_or(0, |word| word as u64 * 64 + u64::from(self.bits[word].ilog2()) + 1)
    }
}

/// What was read of all records.
struct Log {
    region: &'static Region,
    sites: HashMap<u16, Site>,
    seen: [Seen; Level::ALL.len()],
    /// By class: what is missing, and the records and bytes that were read.
    balance: [Balance; 2],
    read: [Extent; 2],
    /// By class: from where the spans are entered that are around the records; and how many records said so.
    around: [Group<u64>; 2],
    /// By class: how many records there were before the packet that is read, and how many of it were read.
    packet: [(u64, u64); 2],
    in_spans: u64,
}

impl Log {
    fn take(&mut self, class: usize, event: &Event<'_>) {
        let id = event.id.callsite();
        if id == LEDGER {
            let ledger = Ledger::parse(event.payload);
            let (before, read) = self.packet[class];
            if ledger.recorded.records > before {
                if ledger.recorded.records != before + read {
                    self.around[class].lose();
                }
                self.packet[class] = (ledger.recorded.records, 0);
            }
            return self.balance[class].ledger(&ledger);
        }
        if !self.sites.contains_key(&id) {
            self.sites = sites(self.region);
        }
        let site = &self.sites[&id];
        let list: Vec<_> = site.fields.iter().map(|(name, ty)| Field { name, ty: *ty, unit: Unit::None }).collect();
        if site.kind == Kind::Context {
            let from = Fields::new(&list).values(event.arg, event.payload).find_map(|(field, value)| match value {
                Value::U64(from) if field.name == "from" => Some(from),
                _ => None,
            });
            return self.around[class].context(event.arg, from.unwrap());
        }
        let bytes = 8 + event.payload.len() as u64;
        self.balance[class].read(bytes);
        self.read[class].records += 1;
        self.packet[class].1 += 1;
        self.read[class].bytes += bytes;
        let (mut i, mut check, mut from, mut spans) = (None, None, None, None);
        for (field, value) in Fields::new(&list).values(event.arg, event.payload) {
            match (field.name, value) {
                (SEQ, Value::U64(number)) => self.seen[site.level as usize].add(number),
                ("i", Value::U64(value)) => i = Some(value),
                ("check", Value::U64(value)) => check = Some(value),
                ("from", Value::U64(value)) => from = Some(value),
                (SPANS, Value::U64(word)) => spans = Some(word),
                ("text", Value::Str(text)) => assert_eq!(text, TEXT.as_bytes(), "a torn text"),
                _ => {}
            }
        }
        let of = || format!("of {:?} {:?}: {:x?}", site.level, site.fields, event);
        assert_eq!(i.map(|i| !i), check, "a torn record {}", of());
        assert!(from.is_some_and(|from| from < LEVELS as u64), "a torn record {}", of());
        if let Some(word) = spans {
            // All levels' spans are of one callsite. Records of INFO are made in a span of their own; the others are those of what was
            // interrupted, which is never the same level, and level 0 interrupts nobody.
            let around: Vec<u64> = self.around[class].of_record(word).copied().collect();
            let is_in_own = site.level == Level::Info && !around.is_empty();
            let interrupted = around.split_last().filter(|_| is_in_own).map_or(&*around, |(_, outer)| outer);
            assert!(interrupted.iter().skip(1).all(|level| *level != 0), "{around:?}");
            assert!(interrupted.iter().all(|level| Some(*level) != from), "{around:?} around {from:?}");
            assert!(!is_in_own || around.last() == from.as_ref(), "{around:?} around {from:?}");
            self.in_spans += u64::from(is_in_own);
        }
    }
}

fn run(mode: Mode, records: u64) {
    let counts = MADE.iter().flatten().chain(WORDS.iter().flatten()).chain(&TURN);
    counts.for_each(|count| count.store(0, Ordering::Relaxed));
    let config = Config {
        name: "stress",
        packets_per_stream: 64,
        packet_bytes: 4096,
        log_streams: 2,
        log_packets: 64,
        ..Config::default()
    };
    let region = Region::in_memory(&config).unwrap();
    let mut generation = 1;
    set_control(region, generation, mode, &[0, 0, 0]);
    fata_probe::control::poll();
    let mut readers = [Reader::new(1), Reader::new(2)];
    let (sites, seen, read) = (HashMap::new(), Default::default(), Default::default());
    let (balance, around) = ([Balance::from_zero(); 2], Default::default());
    let mut log = Log { region, sites, seen, balance, read, around, packet: [(0, 0); 2], in_spans: 0 };
    storm(region, say, records, || {
        for (class, reader) in readers.iter_mut().enumerate() {
            reader.read(region, false, &mut |event| log.take(class, event));
        }
        if mode == Mode::Discard {
            generation += 1;
            // The spans are nobody's here: their stream is full, and says so.
            set_control(region, generation, mode, &[0, readers[0].next, readers[1].next]);
        }
    });
    for (class, reader) in readers.iter_mut().enumerate() {
        reader.read(region, true, &mut |event| log.take(class, event));
    }
    let mut fates = Fates::default();
    for class in 0..2 {
        let account = Account::of_page(&copy(region, 0, PAGE_BYTES), region.geometry(), class + 1);
        fates.add(class, &account);
        let class = usize::from(class == 1);
        let (read, made_words) = (log.read[class], WORDS.iter().map(|words| words[class].load(Ordering::Relaxed)));
        let made = Extent { records: account.offered.iter().sum(), bytes: 8 * made_words.sum::<u64>() };
        let discarded = Extent { records: account.discarded.iter().sum(), bytes: account.bytes.unwrap().discarded };
        log.balance[class].end(discarded);
        let lost = log.balance[class].left();
        println!("{mode:?}: {made:?} = {read:?} read + {lost:?} lost, of which {discarded:?} were discarded");
        assert_eq!(Extent { records: read.records + lost.records, bytes: read.bytes + lost.bytes }, made);
        match mode {
            Mode::Discard => assert_eq!(lost, discarded),
            Mode::Overwrite => assert!(lost.records > discarded.records && lost.bytes > discarded.bytes),
        }
    }
    for (place, level) in LOGGED.into_iter().enumerate() {
        let made: u64 = MADE.iter().map(|from| from[place].load(Ordering::Relaxed)).sum();
        let (fate, seen) = (fates.of(level), &log.seen[level as usize]);
        println!("{mode:?}: {made} made at {} = {} read; {fate:?}", level.text(), seen.count);
        assert_eq!((fate.filtered, fate.suppressed, fate.folded), (0, 0, 0));
        assert_eq!(fate.offered, made, "at {}", level.text());
        assert!(seen.end() <= made && seen.count > 0);
        match mode {
            Mode::Discard => assert_eq!(seen.count + fate.discarded, made, "at {}", level.text()),
            Mode::Overwrite => assert!(seen.count + fate.discarded <= made),
        }
    }
    let read_info = log.seen[Level::Info as usize].count;
    println!(
        "{mode:?}: of {read_info} of INFO, of which a third is in spans, {} said what their span carries",
        log.in_spans
    );
    assert!(log.in_spans * 4 > read_info);
    let total = fates.total();
    assert_eq!(total.offered, LOGGED.iter().map(|level| fates.of(*level).offered).sum::<u64>());
    let (mut overwritten, mut discarded) = (0, 0);
    for reader in &mut readers {
        let (missed, by_cause) = reader.missed(region);
        (overwritten, discarded) = (overwritten + missed, discarded + by_cause.iter().sum::<u64>());
    }
    // What the rings count by cause is what the accounts count by level.
    assert_eq!(discarded, total.discarded);
    assert_eq!(deepest(), 3);
    if mode == Mode::Discard {
        assert_eq!(overwritten, 0);
    }
}

#[test]
fn records_of_interrupts_three_levels_deep_are_read_or_counted_by_level_and_none_is_torn() {
    install().unwrap();
    rules::set("debug").unwrap();
    set_rate(0);
    let records = std::env::var("FATA_STRESS_RECORDS").map_or(2_000_000, |text| text.parse().unwrap());
    run(Mode::Discard, records / 2);
    run(Mode::Overwrite, records / 2);
}
