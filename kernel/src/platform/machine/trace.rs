//! The trace ring of the machine: pages of its RAM, which the host sees. Under QEMU the RAM is a file; on Xen the guest grants
//! the ring's pages to dom0.
//!
//! Laid out as the first thing that Rust does, so that boot is in the trace. It lies on a page behind the image, wherever the
//! image ends, and is found there by its signature. In an image built without `profiling` there is none.
//!
//! When it is full, the newest events replace the oldest, unless a collector asks otherwise: see `fata_probe::ring`.

#![expect(unsafe_code, reason = "the ring is given memory by address")]

use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};

use fata_probe::region::{Config, Region, RegionError};
use fata_wire::shared::{Clock, State};

use super::{cpu, memory};
use crate::platform::chosen::{self, clock};
use crate::trace_ring::{self, LastWords};

/// The installed region; null before, and in an image without probes.
static REGION: AtomicPtr<Region> = AtomicPtr::new(core::ptr::null_mut());

/// Why there is no ring.
#[derive(Debug)]
pub(in crate::platform) enum TraceError {
    /// The machine has less memory behind the image than the ring needs.
    NoMemory(u64),
    /// The region refuses what it was given.
    Region(RegionError),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::NoMemory(bytes) => write!(
                f,
                "a trace ring of {bytes} bytes does not fit the guest's memory: give it more with -m, or set ring_mib= (on Xen: memory=)"
            ),
            TraceError::Region(error) => write!(f, "no trace ring: {error}"),
        }
    }
}

/// Lays the ring out and begins to record. `ring_mib` is rounded up to a power of two, and at least 1.
pub(in crate::platform) fn start(name: &str, ring_mib: Option<u64>, log_kib: Option<u64>) -> Result<(), TraceError> {
    if !fata_probe::ENABLED {
        return Ok(());
    }
    let ring = trace_ring::config(name, ring_mib, log_kib);
    let config = Config { platform: chosen::platform(), uuid: uuid(), ..ring };
    let needed = config.total_bytes();
    let pages = memory::reserve(needed).ok_or(TraceError::NoMemory(needed))?;
    // SAFETY: `reserve` gives every page once and for ever, and the map never takes a page of RAM away. No one else gets
    // the address.
    let region = unsafe { Region::install(pages.cast().as_ptr(), needed, &config) }.map_err(TraceError::Region)?;
    if let Some(attached) = region.attach(0) {
        attached.forever();
    }
    REGION.store(core::ptr::from_ref(region).cast_mut(), Ordering::Relaxed);
    Ok(())
}

/// Tells readers what a tick is worth, and what time of day it was at `anchor_ticks`.
pub(in crate::platform) fn clock_known(hz: u64, anchor_ticks: u64, unix_nanos: Option<u64>) {
    if let Some(region) = region() {
        region.set_running(&clock_of(hz, anchor_ticks, unix_nanos));
    }
}

/// The same, as the ring has it, with what reading it costs now.
pub(in crate::platform) fn clock_of(hz: u64, anchor_ticks: u64, unix_nanos: Option<u64>) -> Clock {
    let cost = fata_probe::cost::measure(hz);
    Clock {
        hz,
        anchor_ticks,
        anchor_unix_nanos: unix_nanos.unwrap_or(0),
        clock_cost_picos: cost.clock_picos,
        probe_cost_picos: cost.probe_picos,
    }
}

/// Notes a fact about the guest.
pub(in crate::platform) fn describe(key: &str, value: &str) {
    if let Some(region) = region() {
        region.describe_env(key, value);
    }
}

/// Seals the ring of a guest that ends on its own.
pub(in crate::platform) fn exited() {
    if let Some(region) = region() {
        region.finish(State::Exited, "");
    }
}

/// Seals the ring of a guest that a panic or an exception ends.
pub(in crate::platform) fn died(message: fmt::Arguments<'_>) {
    if let Some(region) = region() {
        region.finish(State::Panicked, LastWords::of(message).text());
    }
}

pub(in crate::platform) fn region() -> Option<&'static Region> {
    // SAFETY: null, or what `start` stored: a region, which lives for ever. There is one vCPU, so no ordering is needed.
    unsafe { REGION.load(Ordering::Relaxed).cast_const().as_ref() }
}

/// A number that no other boot has: of the time of day, and of the TSC, whose low bits no two boots share.
fn uuid() -> [u8; 16] {
    let mut state = clock::unix_nanos().unwrap_or(0) ^ cpu::ticks().rotate_left(32);
    let mut next = || {
        // SplitMix64, by Steele, Lea and Flood.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).to_le_bytes()
    };
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&next());
    uuid[8..].copy_from_slice(&next());
    fata_wire::uuid_of_random(uuid)
}
