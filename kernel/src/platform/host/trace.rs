//! The trace ring of the process: a mapped file in the ring directory, so that what was recorded outlives any death.
//!
//! When it is full, the newest events replace the oldest, unless a collector asks otherwise: see `fata_probe::ring`. In a
//! program built without `profiling` there is none.

use std::string::{String, ToString};
use std::sync::OnceLock;

use fata_probe::region::Region;
use fata_service::ring;
use fata_wire::shared::State;

use crate::trace_ring::{self, LastWords};

static REGION: OnceLock<&'static Region> = OnceLock::new();

/// Lays the ring out and makes the calling thread its writer. `ring_mib` is rounded up to a power of two.
///
/// # Errors
/// A sentence for the person who started the guest.
pub(super) fn start(name: &str, ring_mib: Option<u64>, log_kib: Option<u64>) -> Result<(), String> {
    if !fata_probe::ENABLED {
        return Ok(());
    }
    let config = trace_ring::config(name, ring_mib, log_kib);
    let region = ring::install(&config).map_err(|error| error.to_string())?;
    if let Some(attached) = region.attach(0) {
        attached.forever();
    }
    let _ = REGION.set(region);
    Ok(())
}

/// Finds out what a tick is worth, and tells readers.
pub(super) fn calibrate() {
    if let Some(region) = REGION.get() {
        ring::calibrate(region);
    }
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
        region.finish(State::Panicked, LastWords::of(format_args!("{what}; address {address:#x}")).text());
    }
}
