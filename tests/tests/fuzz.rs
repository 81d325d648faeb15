//! The fuzz targets on the stable compiler: a small deterministic driver mutates the committed corpora for a bounded time.
//!
//! `FATA_FUZZ_SECONDS` is how long each target runs, half a second where it is not set; four times as many run at a time as there
//! are processors, so that each has a quarter of one. libFuzzer, which also knows what it has covered, runs the same functions: see
//! `tests/fuzz/src/lib.rs`, and `tests/run fuzz SECONDS`, which takes whichever there is. `FATA_FUZZ_SEEDS=1` writes the seeds
//! anew.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fata_collector::frames::{Frame, PROTOCOL, encode};
use fata_collector::sink::stream::StreamSink;
use fata_collector::source::Guest;
use fata_collector::xen::wire::{Kind as Request, request};
use fata_collector::{Collector, Options};
use fata_probe::region::{Config, Region};
use fata_probe::{FlowId, Kind, TaskId, counter, event, flow_begin, flow_end, instant, name, span};
use fata_wire::field::Level;
use fata_wire::grants::index_page;
use fata_wire::packet::{HEADER_BYTES, metadata_packet};
use fata_wire::request::{REQUESTS, Slip};
use fata_wire::shared::{Clock, PAGE_BYTES, State, Status};
use targets::{CORE_BYTES, CORE_HEADERS, CORE_SPLIT, Target};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "elsewhere this file is a library")]
mod targets;

fn corpus(target: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus")).join(target)
}

/// A ring with some of everything in it, and the stream that is collected from it.
fn honest() -> (Vec<u8>, Vec<u8>, Places) {
    let config = Config {
        name: "seed",
        packet_bytes: 4096,
        packets_per_stream: 4,
        description_bytes: 8192,
        ..Config::default()
    };
    let region = Region::in_memory(&config).unwrap();
    region.set_running(&Clock { hz: 1_000_000_000, anchor_unix_nanos: 1, ..Clock::default() });
    let attached = region.attach(0).unwrap();
    event!(Kind::Spawn, "task.spawn", task = TaskId(1), name = name!("seed.task"), parent = TaskId(0));
    event!(Kind::Poll, "task.poll", task = TaskId(1));
    {
        let _span = span!("seed.span", bytes = 7usize, text = "a text");
        flow_begin!("seed.flow", id = FlowId(3));
        counter!("seed.counter", bytes = 4096u64);
        instant!("seed.many", a = 1u64, b = -2i64, c = 1.5f64, d = true, e = 5u64, f = 6u64, g = 7u64, h = 8u64);
        flow_end!("seed.flow", id = FlowId(3));
    }
    event!(Kind::Done, "task.done", task = TaskId(1));
    region.finish(State::Exited, "");
    drop(attached);
    let memory = region.copy();
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    std::fs::write(&image, &memory).unwrap();
    let mut sink = StreamSink::new(Vec::new(), "memory");
    let options = Options { snapshot: true, ..Options::default() };
    Collector::attach(&Guest::at(&image).unwrap(), &options, &[]).unwrap().run(&mut sink, &mut |_| true).unwrap();
    let geometry = *region.geometry();
    (memory, sink.into_inner(), Places { description: geometry.description_offset, packets: geometry.streams_offset })
}

/// Where the parts of the region are.
struct Places {
    description: u64,
    packets: u64,
}

/// What each target begins with. Made before anything is fuzzed: what a host asks of a guest holds for all of this process.
static SEEDS: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(seeds);

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let (memory, stream, places) = honest();
    let page = memory.first_chunk::<PAGE_BYTES>().unwrap();
    let geometry = fata_wire::shared::Geometry::parse(page, memory.len() as u64).unwrap();
    let used = usize::try_from(Status::parse(page, &geometry).description_used).unwrap();
    let at = usize::try_from(places.description).unwrap();
    let area = memory[at..at + used].to_vec();
    let at = usize::try_from(places.packets).unwrap();
    let content = usize::try_from(fata_wire::u64_at(&memory[at..], 24) / 8).unwrap();
    let packet = memory[at..at + 4096].to_vec();
    let (text, len) = metadata_packet::parse(&stream).unwrap();
    let mut directory = text.to_vec();
    directory.push(0);
    directory.extend(&stream[len..]);
    let mut frames = Vec::new();
    for frame in [
        Frame::Hello {
            protocol: PROTOCOL,
            format: fata_wire::VERSION,
            guest: "seed".into(),
            platform: "host".into(),
            uuid: [7; 16],
        },
        Frame::Metadata(text[..200].into()),
        Frame::Packet(packet[..HEADER_BYTES].into()),
        Frame::Lost { packets: 1, events: 2, bytes: 3 },
        Frame::End { reason: "over".into() },
    ] {
        encode(&frame, &mut frames);
    }
    let mut seeds = vec![
        ("packet", packet.clone()),
        ("packet", stream[..len].to_vec()),
        ("events", packet[HEADER_BYTES - 8..content].to_vec()),
        ("description", area),
        ("header_page", page[..1200].to_vec()),
        ("metadata", text.to_vec()),
        ("frames", frames),
        ("stream", stream.clone()),
        ("directory", directory),
        ("grants", index_page(&[5, 6, 7, 8], Some(9)).flat_map(u32::to_le_bytes).collect()),
        ("xenstore", request(Request::Directory, 3, "/local/domain/4/data/fata").unwrap()),
        ("reply", asked("ok: up 1.234 s, tick 5678, shared 91\nno more\n\nnor less", 36)),
        ("vchan", channel()),
        ("core", core_of_segments(16)),
        ("core", core_of_segments(24)),
        ("core", core_of_sections()),
    ];
    let requests = REQUESTS.iter().map(|(word, wants, _)| match *wants {
        "" => (*word).to_owned(),
        "RULES" => "level *:info,net=debug,tcp:-,tcp:quiet,app".to_owned(),
        "overwrite|discard" => "mode discard".to_owned(),
        _ => format!("{word} seed ß"),
    });
    seeds.extend(requests.map(|line| ("mailbox", mailbox(&line))));
    seeds
}

/// A slip with this length, and a text behind it.
fn asked(text: &str, len_bytes: u32) -> Vec<u8> {
    let mut bytes = Slip { sequence: 3, len_bytes }.pack().to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A control page that asks for all events, in discard mode, and a request.
fn mailbox(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [1 | 1 << 32, u64::MAX, u64::from(Level::Info as u32), 4711, 5, 0] {
        bytes.extend(u64::to_le_bytes(word));
    }
    bytes.extend(u32::try_from(line.len()).unwrap().to_le_bytes());
    bytes.extend(line.as_bytes());
    bytes
}

/// A channel whose server waits for its client and takes out and puts in what it can, a byte at a time.
fn channel() -> Vec<u8> {
    let mut page = [0; 24];
    page[16..24].copy_from_slice(&[10, 0, 11, 0, 2, 1, 3, 3]);
    let script = [(22, 3), (0, 5), (12, 9), (0, 200), (13, 4), (21, 0)];
    page.into_iter().chain(script.into_iter().flat_map(|(at, byte)| [at, byte])).collect()
}

/// The headers of an ELF core.
fn elf_header() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[16] = 4;
    elf
}

/// The two halves of the ring as segments, whose addresses of one kind, at this place of the header, put them in order.
fn core_of_segments(address_at: usize) -> Vec<u8> {
    let mut elf = elf_header();
    elf[32] = 64;
    elf[54] = 56;
    elf[56] = 2;
    let rest = CORE_BYTES - CORE_SPLIT;
    for (offset, address, len) in [(CORE_HEADERS, CORE_SPLIT, rest), (CORE_HEADERS + rest, 0, CORE_SPLIT)] {
        let mut segment = vec![0; 56];
        segment[0] = 1;
        fata_wire::put_u64(&mut segment, 8, offset as u64);
        fata_wire::put_u64(&mut segment, address_at, 0x7f00_0000_0000 + address as u64);
        fata_wire::put_u64(&mut segment, 32, len as u64);
        elf.extend(segment);
    }
    elf
}

/// The ring's pages and their numbers, as `xl dump-core` has them.
fn core_of_sections() -> Vec<u8> {
    let pages = CORE_BYTES / PAGE_BYTES;
    let first = CORE_SPLIT / PAGE_BYTES;
    let numbers = (first..pages).chain(0..first).flat_map(|number| (number as u64 + 77).to_le_bytes());
    let names = b"\0.shstrtab\0.xen_pages\0.xen_pfn\0";
    let names_at = 64 + 4 * 64;
    let sections =
        [(1, names_at, names.len()), (11, CORE_HEADERS, CORE_BYTES), (22, names_at + names.len(), pages * 8)];
    let mut elf = elf_header();
    elf[40] = 64;
    elf[58] = 64;
    elf[60] = 4;
    elf[62] = 1;
    elf.resize(128, 0);
    for (name, at, len) in sections {
        let mut section = vec![0; 64];
        section[0] = name;
        fata_wire::put_u64(&mut section, 24, at as u64);
        fata_wire::put_u64(&mut section, 32, len as u64);
        elf.extend(section);
    }
    elf.extend(names);
    elf.extend(numbers);
    elf
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap_or(0) % limit.max(1)
    }

    /// One step away from `bytes`.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const EDGES: [u64; 8] = [0, 1, 8, 0x7fff_ffff, 0x8000_0000, u64::MAX, u64::MAX / 2, 1 << 45];
        let at = self.below(bytes.len());
        match self.below(8) {
            0 | 1 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
            2 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte = u8::try_from(self.below(256)).unwrap()),
            3 => fata_wire::put_u64(bytes, at & !7, EDGES[self.below(8)]),
            4 => fata_wire::put_u32(bytes, at & !3, u32::try_from(self.below(1 << 20)).unwrap()),
            5 => bytes.truncate(at),
            6 => {
                let end = (at + self.below(256)).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
            _ => {
                let end = (at + self.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
}

/// Runs one target for so long, first on its corpus, then on bytes near to it.
fn fuzz(name: &str, target: Target, seconds: f64) {
    let mut files: Vec<_> = std::fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<_> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty(), "{name} has a corpus");
    corpus.iter().for_each(|bytes| target(bytes));
    let (start, mut runs) = (Instant::now(), 0u64);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(6) {
            random.mutate(&mut bytes);
        }
        if std::panic::catch_unwind(|| target(&bytes)).is_err() {
            let path = std::env::temp_dir().join(format!("fata-fuzz-{name}"));
            std::fs::write(&path, &bytes).unwrap();
            panic!("{name} broke on the bytes in {}", path.display());
        }
        runs += 1;
    }
    println!("measured fuzz target {name}: {runs} inputs in {seconds} s");
}

#[test]
fn no_mutation_of_the_corpora_breaks_a_decoder() {
    LazyLock::force(&SEEDS);
    if std::env::var_os("FATA_FUZZ_SEEDS").is_some() {
        for (i, (target, bytes)) in SEEDS.iter().enumerate() {
            std::fs::create_dir_all(corpus(target)).unwrap();
            std::fs::write(corpus(target).join(format!("seed-{i}")), bytes).unwrap();
        }
    }
    let seconds = std::env::var("FATA_FUZZ_SECONDS").map_or(0.5, |text| text.parse().unwrap());
    let at_once = 4 * std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some((name, target)) = targets::TARGETS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    fuzz(name, *target, seconds);
                }
            });
        }
    });
}

#[test]
fn the_corpora_are_what_our_own_writers_make() {
    // Seeds from an older format would be refused at the door, and nothing behind it be fuzzed.
    for (target, bytes) in SEEDS.iter() {
        let files: Vec<_> = std::fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty() && !bytes.is_empty(), "{target}");
    }
    for file in std::fs::read_dir(corpus("stream")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let Ok((_, len)) = metadata_packet::parse(&bytes) else { continue };
        assert!(fata_wire::packet::Packet::parse(&bytes[len..]).is_ok());
    }
    for (_, headers) in SEEDS.iter().filter(|(target, _)| *target == "core") {
        let file = targets::core_file(headers);
        assert_eq!(Guest::in_image(file.path()).unwrap().name, "core");
    }
}

#[test]
fn every_target_is_one_of_libfuzzers_too() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let mut files: Vec<_> = std::fs::read_dir(fuzz.join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(names, files);
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
        let file = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(file.contains(&format!("fata_fuzz::{name}(bytes)")), "{name}");
    }
}
