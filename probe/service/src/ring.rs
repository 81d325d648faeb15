//! The trace ring of a process: a mapped file in the ring directory, so that what was recorded outlives any death.
//!
//! When it is full, the newest events replace the oldest, unless a collector asks otherwise: see [`fata_probe::ring`].

#![expect(unsafe_code, reason = "a mapped file is memory")]

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fata_probe::cost;
use fata_probe::region::{Config, Region, RegionError};
use fata_wire::shared::{Clock, Platform};
use memmap2::MmapMut;

use crate::directory;

/// The clock is compared with the operating system's for so long: 10 ms make its error about 5 millionths.
const CALIBRATION: Duration = Duration::from_millis(10);

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// There is no `/proc`.
    #[error("cannot tell the user's id from /proc/self: {0}")]
    NoUser(#[source] io::Error),
    /// The file cannot be made or mapped.
    #[error("no trace ring can be made in {}: {error}; set FATA_DIR to another directory", directory.display())]
    NoFile {
        /// Where it was to lie.
        directory: PathBuf,
        /// What the operating system says.
        #[source]
        error: io::Error,
    },
    /// The ring cannot be as it was asked for.
    #[error("no trace ring in {}: {error}", path.display())]
    NoRegion {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: RegionError,
    },
}

/// Lays out a ring as `config` says, but for what this process alone can tell: platform, process id, the trace's number.
///
/// # Errors
/// See [`RingError`].
pub fn install(config: &Config<'_>) -> Result<&'static Region, RingError> {
    let config = Config { platform: Platform::Host, uuid: uuid(), pid: process::id(), ..*config };
    let directory = directory::path().map_err(RingError::NoUser)?;
    let (mut map, path) = map_ring(&directory, config.name, config.total_bytes())
        .map_err(|error| RingError::NoFile { directory: directory.clone(), error })?;
    let (memory, len) = (map.as_mut_ptr(), config.total_bytes());
    std::mem::forget(map);
    // SAFETY: the mapping is `len` bytes long, forgotten and so never unmapped, and nobody else has its address. The
    // collector maps the file too, but of what we read it writes only the control page, which the region reads as atomics.
    unsafe { Region::install(memory, len, &config) }.map_err(|error| RingError::NoRegion { path, error })
}

fn map_ring(directory: &Path, name: &str, len_bytes: u64) -> io::Result<(MmapMut, PathBuf)> {
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

/// Finds out what a tick is worth, and tells readers. Takes ten milliseconds.
pub fn calibrate(region: &Region) {
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

/// A number that no other trace has; where there is no source of chance, made of the time and the process id.
fn uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    if fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut uuid)).is_err() {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        uuid = (nanos << 32 | u128::from(process::id())).to_le_bytes();
    }
    fata_wire::uuid_of_random(uuid)
}
