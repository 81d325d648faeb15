//! The trace ring of the process: a mapped file in the ring directory, so that what was recorded outlives any death.
//!
//! When it is full, the newest events replace the oldest, unless a collector asks otherwise: see `fata_probe::ring`. In a
//! program built without `profiling` there is none.

#![expect(unsafe_code, reason = "a mapped file is memory")]

use core::fmt::{self, Write};
use std::format;
use std::io::{self, Read};
use std::path::PathBuf;
use std::string::{String, ToString};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, process, thread};

use fata_probe::region::{Config, Region};
use fata_wire::shared::{Clock, MESSAGE_BYTES, Platform, State};
use memmap2::MmapMut;

use super::directory;
use crate::{cost, logs};

static REGION: OnceLock<&'static Region> = OnceLock::new();

const PACKET_BYTES: u32 = 64 << 10;
const DEFAULT_RING_MIB: u64 = 4;
/// The clock is compared with the operating system's for so long: 10 ms make its error about 5 millionths.
const CALIBRATION: Duration = Duration::from_millis(10);

/// Lays the ring out and makes the calling thread its writer. `ring_mib` is rounded up to a power of two.
///
/// # Errors
/// A sentence for the person who started the guest.
pub(super) fn start(name: &str, ring_mib: Option<u64>, log_kib: Option<u64>) -> Result<(), String> {
    if !fata_probe::ENABLED {
        return Ok(());
    }
    let ring_bytes = (ring_mib.unwrap_or(DEFAULT_RING_MIB).clamp(1, 1024) << 20).next_power_of_two();
    let config = Config {
        name,
        platform: Platform::Host,
        uuid: uuid(),
        pid: process::id(),
        packets_per_stream: u32::try_from(ring_bytes / u64::from(PACKET_BYTES)).unwrap_or(u32::MAX),
        packet_bytes: PACKET_BYTES,
        log_streams: 2,
        log_packets: logs::packets(log_kib),
        log_packet_bytes: logs::PACKET_BYTES,
        ..Config::default()
    };
    let directory = directory::path().map_err(|error| format!("cannot tell the user's id from /proc/self: {error}"))?;
    let (mut map, path) = map_ring(&directory, name, config.total_bytes()).map_err(|error| {
        format!("no trace ring can be made in {}: {error}; set FATA_DIR to another directory", directory.display())
    })?;
    let (memory, len) = (map.as_mut_ptr(), config.total_bytes());
    std::mem::forget(map);
    // SAFETY: the mapping is `len` bytes long, forgotten and so never unmapped, and nobody else has its address. The
    // collector maps the file too, but of what we read it writes only the control page, which the region reads as atomics.
    let region = unsafe { Region::install(memory, len, &config) }
        .map_err(|error| format!("no trace ring in {}: {error}", path.display()))?;
    if let Some(attached) = region.attach(0) {
        attached.forever();
    }
    let _ = REGION.set(region);
    Ok(())
}

fn map_ring(directory: &std::path::Path, name: &str, len_bytes: u64) -> io::Result<(MmapMut, PathBuf)> {
    let (file, path) = directory::create_ring(directory, name, len_bytes)?;
    // SAFETY: the file was just made for us, and whoever shortens a ring file ends its guest, which is theirs to do.
    match unsafe { MmapMut::map_mut(&file) } {
        Ok(map) => Ok((map, path)),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

/// Finds out what a tick is worth, and tells readers.
pub(super) fn calibrate() {
    let Some(region) = REGION.get() else { return };
    let (ticks_begin, time_begin) = both_clocks();
    thread::sleep(CALIBRATION);
    let (ticks_end, time_end) = both_clocks();
    let nanos = time_end.duration_since(time_begin).as_nanos().max(1);
    let hz = u64::try_from(u128::from(ticks_end - ticks_begin) * 1_000_000_000 / nanos).unwrap_or(0);
    let cost = cost::measure(hz);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    region.set_running(&Clock {
        hz,
        anchor_ticks: fata_probe::ticks(),
        anchor_unix_nanos: u64::try_from(wall.as_nanos()).unwrap_or(0),
        clock_cost_picos: cost.clock_picos,
        probe_cost_picos: cost.probe_picos,
    });
}

/// The two clocks at the same moment: of several attempts the one that an interruption stretched least.
fn both_clocks() -> (u64, Instant) {
    let attempt = || {
        let before = fata_probe::ticks();
        let time = Instant::now();
        let after = fata_probe::ticks();
        (after - before, before + (after - before) / 2, time)
    };
    let (_, ticks, time) = (0..32).map(|_| attempt()).min_by_key(|(width, ..)| *width).unwrap_or_else(attempt);
    (ticks, time)
}

/// Notes a fact about the guest.
pub(super) fn describe(key: &str, value: &str) {
    if let Some(region) = REGION.get() {
        region.describe_env(key, value);
    }
}

/// Seals the ring of a guest that ends on its own.
pub(super) fn exited() {
    if let Some(region) = REGION.get() {
        region.finish(State::Exited, "");
    }
}

/// Seals the ring of a guest that somebody ends, on the guest's thread. For signal handlers: allocates nothing.
pub(super) fn asked_to_end(words: &str) {
    if let Some(region) = REGION.get() {
        region.finish(State::Exited, words);
    }
}

/// Seals the ring of a guest that a panic ends.
pub(super) fn died(message: &dyn ToString) {
    if let Some(region) = REGION.get() {
        region.finish(State::Panicked, &message.to_string());
    }
}

/// Seals the ring of a guest that a fault ends. For signal handlers: allocates nothing.
pub(super) fn faulted(what: &str, address: usize) {
    if let Some(region) = REGION.get() {
        let mut text = Text { bytes: [0; MESSAGE_BYTES], len: 0 };
        // A text that is too long is cut, which is no error.
        let _ = write!(text, "{what}; address {address:#x}");
        region.finish(State::Panicked, core::str::from_utf8(&text.bytes[..text.len]).unwrap_or(what));
    }
}

/// Text in a buffer of its own, cut between two characters.
struct Text {
    bytes: [u8; MESSAGE_BYTES],
    len: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text = &text[..text.floor_char_boundary(self.bytes.len() - self.len)];
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// A number that no other trace has; where there is no source of chance, made of the time and the process id.
fn uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    if fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut uuid)).is_err() {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        uuid = (nanos << 32 | u128::from(process::id())).to_le_bytes();
    }
    // Version 4, variant 1, as RFC 9562 asks of random ones.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}
