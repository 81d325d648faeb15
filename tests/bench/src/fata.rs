//! Our own cases, and the floor under them.
//!
//! The ring has the length that a guest's has by default, 4 MiB, and overwrites: what is measured includes the change of
//! packets, whose zeroing is a share of every event's cost.

use std::sync::atomic::{AtomicU64, Ordering};

use fata_probe::region::{Config, Region};
use fata_probe::{counter, instant, span};
use fata_wire::packet::PacketHeader;
use fata_wire::shared::StreamStatus;

use crate::case::{Case, Unit, timed};
use crate::{case_of, served};

const EVENTS: u64 = 16 << 10;
/// Words of the floor's buffer: 16 KiB stay in the first-level cache.
const FLOOR_WORDS: usize = 2048;
/// The ring of a guest that was not told otherwise.
pub(crate) const CONFIG: Config<'_> = Config {
    name: "bench",
    platform: fata_wire::shared::Platform::Host,
    uuid: [7; 16],
    pid: 0,
    streams: 1,
    packets_per_stream: 64,
    packet_bytes: 64 << 10,
    log_streams: 0,
    log_packets: 16,
    log_packet_bytes: 4096,
    description_bytes: 128 << 10,
};

/// Reading the clock and storing eight bytes.
pub(crate) fn floor(events: u64) -> f64 {
    static BUFFER: [AtomicU64; FLOOR_WORDS] = [const { AtomicU64::new(0) }; FLOOR_WORDS];
    let mut at = 0;
    timed!(events, 1, |i| {
        BUFFER[at % FLOOR_WORDS].store(fata_probe::ticks(), Ordering::Relaxed);
        at += 1;
    })
}

pub(crate) fn instants(events: u64) -> f64 {
    timed!(events, 1, |i| instant!("bench.instant");)
}

fn one_u64(events: u64) -> f64 {
    timed!(events, 1, |i| instant!("bench.u64", i = i);)
}

pub(crate) fn spans(events: u64) -> f64 {
    timed!(events, 2, |i| {
        let _span = span!("bench.span");
    })
}

fn counters(events: u64) -> f64 {
    timed!(events, 1, |i| counter!("bench.counter", bytes = i);)
}

fn four_fields(events: u64) -> f64 {
    timed!(events, 1, |i| instant!("bench.fields4", a = i, b = !i, c = i + 1, d = i + 2);)
}

/// Compiled in, and off: callsites of this level are off until a host asks for them.
fn disabled(events: u64) -> f64 {
    timed!(events, 1, |i| instant!(level: Debug, "bench.disabled", i = i);)
}

/// For the program that is built without probes: the same statements as in [`one_u64`].
#[cfg(not(feature = "profiling"))]
pub(crate) fn compiled_out(events: u64) -> f64 {
    one_u64(events)
}

/// Makes a ring and this thread its writer.
pub(crate) fn ring() -> Result<&'static Region, String> {
    ring_of(&CONFIG)
}

/// As [`ring`], with log rings beside it.
pub(crate) fn ring_with_logs() -> Result<&'static Region, String> {
    ring_of(&Config { log_streams: 2, ..CONFIG })
}

fn ring_of(config: &Config<'_>) -> Result<&'static Region, String> {
    let region = Region::in_memory(config).map_err(|error| error.to_string())?;
    region.attach(0).ok_or("the stream is taken")?.forever();
    Ok(region)
}

type Rounds = fn(u64) -> f64;

/// By the names of the cases: what is recorded.
const RECORDED: [(&str, Rounds); 5] = [
    ("fata.instant", instants),
    ("fata.u64", one_u64),
    ("fata.span", spans),
    ("fata.counter", counters),
    ("fata.fields4", four_fields),
];

/// The names of the cases.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let recorded = RECORDED.iter().map(|(name, _)| *name);
    ["floor"].into_iter().chain(recorded).chain(["fata.disabled", "fata.compiled_out"])
}

/// Sets the ring up and adds the cases.
pub(crate) fn cases(cases: &mut Vec<Case>) -> Result<(), String> {
    if !fata_probe::ENABLED {
        return Err("built without its feature `profiling` this program only serves another".into());
    }
    let region = ring()?;

    cases.push(case_of("floor", Unit::Event, EVENTS, |events| Ok(floor(events)), || Ok(Some(8.0))));
    for (name, round) in RECORDED {
        let bytes = move || Ok(Some(bytes_per_event(region, || _ = round(CONFIG.total_bytes() / 8))));
        cases.push(case_of(name, Unit::Event, EVENTS, move |events| Ok(round(events)), bytes));
    }
    cases.push(case_of("fata.disabled", Unit::Event, EVENTS, |events| Ok(disabled(events)), || Ok(Some(0.0))));
    let mut unprobed = served::Child::unprobed("compiled_out")?;
    let round = move |events| unprobed.round(events);
    cases.push(case_of("fata.compiled_out", Unit::Event, EVENTS, round, || Ok(Some(0.0))));
    Ok(())
}

/// Bytes of packets that `make` fills, headers included, for each of the `count` things that it makes. Exact to one packet, so
/// `count` is to be large.
pub(crate) fn bytes_per(region: &Region, count: u64, make: impl FnOnce()) -> f64 {
    let opened = || {
        let copy = region.copy();
        let lock = copy.first_chunk().map_or(0, |page| StreamStatus::parse(page, 0).lock);
        lock.saturating_sub(1) / 2
    };
    let before = opened();
    make();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let bytes = ((opened() - before) * u64::from(region.geometry().packet_bytes)) as f64 / count as f64;
    bytes
}

/// Fills the whole ring by `fill` and divides what its sealed packets hold, headers included, by their events.
pub(crate) fn bytes_per_event(region: &Region, fill: impl FnOnce()) -> f64 {
    fill();
    per_event(region, 0)
}

/// As [`bytes_per_event`], of the ordinary log ring.
pub(crate) fn bytes_per_log(region: &Region, fill: impl FnOnce()) -> f64 {
    fill();
    per_event(region, region.geometry().stream_count)
}

fn per_event(region: &Region, stream: u32) -> f64 {
    let (copy, geometry) = (region.copy(), region.geometry());
    let (mut bytes, mut events) = (0, 0);
    let start = usize::try_from(geometry.packet_offset(stream, 0)).unwrap_or(usize::MAX);
    let (len, count) = (geometry.packet_bytes_of(stream) as usize, geometry.packets_of(stream) as usize);
    for packet in copy.get(start..).unwrap_or(&[]).chunks_exact(len).take(count) {
        if let Ok(header) = PacketHeader::parse(packet)
            && header.events > 0
        {
            bytes += header.content_size / 8;
            events += header.events;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let mean = bytes as f64 / events as f64;
    mean
}
