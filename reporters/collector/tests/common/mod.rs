//! A guest made of the real probe, in a file of the ring directory's form, and an independent reader of what is collected.
#![expect(unsafe_code, reason = "a region is installed in a mapped file, as the host platform does")]
#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../../../tests/src/skipped.rs"]
pub(crate) mod skipped;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

use fata_collector::source::Guest;
use fata_probe::region::{Config, Region};
use fata_wire::packet::{Discarded, Packet, metadata_packet};
use fata_wire::shared::Clock;

/// A directory that is removed when the test ends.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = base.join(format!("fata-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) const CLOCK: Clock = Clock {
    hz: 2_600_000_000,
    anchor_ticks: 1_000_000,
    anchor_unix_nanos: 1_700_000_000_000_000_000,
    clock_cost_picos: 9_500,
    probe_cost_picos: 10_000,
};

/// Lays out the ring of a guest called `name` in a file of `dir`.
pub(crate) fn install(dir: &Path, name: &str, config: &Config<'_>) -> (PathBuf, &'static Region) {
    let pid = std::process::id();
    let path = dir.join(format!("{name}.{pid}.host"));
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    file.set_len(config.total_bytes()).unwrap();
    let map = memmap2::MmapOptions::new().map_raw(&file).unwrap();
    let memory = map.as_mut_ptr();
    std::mem::forget(map);
    let config = Config { pid, name, uuid: uuid_of(name), ..*config };
    // SAFETY: the mapping was leaked, and only this region touches it.
    let region = unsafe { Region::install(memory, config.total_bytes(), &config) }.unwrap();
    region.set_running(&CLOCK);
    (path, region)
}

fn uuid_of(name: &str) -> [u8; 16] {
    let mut uuid = *b"0123456789abcdef";
    for (to, from) in uuid.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    uuid
}

pub(crate) fn small(packets: u32) -> Config<'static> {
    Config { packets_per_stream: packets, packet_bytes: 4096, ..Config::default() }
}

pub(crate) fn guest(path: &Path) -> Guest {
    Guest::at(path).unwrap()
}

/// What a trace says, read packet by packet with the format crate alone.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub(crate) struct Read {
    pub(crate) events: u64,
    pub(crate) packets: u64,
    /// From the first packet of each stream to its last.
    pub(crate) discarded: Discarded,
    /// The first payload word of every event that has one, in order.
    pub(crate) values: Vec<u64>,
    pub(crate) unfinished: u64,
}

impl Read {
    pub(crate) fn discarded_in_all(&self) -> u64 {
        self.discarded.iter().sum()
    }
}

pub(crate) fn read_dir(dir: &Path) -> Read {
    let mut names: Vec<(u32, u32, PathBuf)> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?.strip_prefix("stream_")?.to_owned();
            let (stream, part) = name.split_once('_').unwrap_or((&name, "0"));
            Some((stream.parse().ok()?, part.parse().ok()?, path))
        })
        .collect();
    names.sort();
    let mut bytes = Vec::new();
    for (_, _, path) in names {
        bytes.extend(std::fs::read(path).unwrap());
    }
    read_stream(&bytes)
}

pub(crate) fn read_stream(mut bytes: &[u8]) -> Read {
    let mut read = Read::default();
    let mut last: Vec<Option<(u64, u64, Discarded)>> = vec![None; 16];
    while !bytes.is_empty() {
        if let Ok((_, len)) = metadata_packet::parse(bytes) {
            bytes = &bytes[len..];
            continue;
        }
        let packet = Packet::parse(bytes).unwrap();
        let header = packet.header;
        let cpu = header.cpu_id as usize;
        if let Some((seq, end, discarded)) = last[cpu] {
            assert_eq!(header.packet_seq_num, seq + 1, "published packets are numbered without a gap");
            assert!(header.timestamp_begin >= end, "packets of a stream are in the order of time");
            for (sum, (now, before)) in read.discarded.iter_mut().zip(header.discarded.iter().zip(discarded)) {
                *sum += now - before;
            }
        }
        let mut events = 0;
        let mut ticks = header.timestamp_begin;
        for event in packet.events() {
            let event = event.unwrap();
            assert!(event.ticks >= ticks, "events are in the order of time");
            ticks = event.ticks;
            events += 1;
            if event.id.callsite() == fata_wire::event::UNFINISHED {
                read.unfinished += 1;
            } else if event.payload.len() >= 8 {
                read.values.push(fata_wire::u64_at(event.payload, 0));
            }
        }
        assert!(ticks <= header.timestamp_end);
        assert_eq!(header.events, events, "a packet says how many events it has");
        last[cpu] = Some((header.packet_seq_num, header.timestamp_end, header.discarded));
        read.events += events;
        read.packets += 1;
        bytes = &bytes[packet.bytes.len()..];
    }
    read
}

/// Events and discarded events as babeltrace2 counts them; `None`, said aloud, where it is not installed.
pub(crate) fn babeltrace(dir: &Path) -> Option<(u64, u64)> {
    let output = match Command::new("babeltrace2").arg(dir).output() {
        Ok(output) => output,
        Err(_) => {
            skipped::skipped("babeltrace2 is not installed");
            return None;
        }
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "babeltrace2 refuses the trace: {errors}");
    assert!(!errors.contains("may have discarded"), "babeltrace2 cannot say how many: {errors}");
    assert!(!errors.contains("packets between"), "babeltrace2 misses packets: {errors}");
    let discarded = errors
        .lines()
        .filter_map(|line| line.split_once("Tracer discarded ")?.1.split(' ').next()?.parse::<u64>().ok())
        .sum();
    let events = output.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64;
    Some((events, discarded))
}

/// Events as babeltrace2 counts them in a trace whose oldest files are gone.
pub(crate) fn babeltrace_count(dir: &Path) -> Option<u64> {
    let output = Command::new("babeltrace2").arg(dir).args(["--component", "sink.utils.counter"]).output().ok()?;
    assert!(output.status.success(), "babeltrace2 refuses the trace");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // It says how far it is on the way; the last word counts.
    text.lines().filter_map(|line| line.trim().strip_suffix(" Event messages")?.trim().parse().ok()).next_back()
}
