//! The trace ring of the process: a mapped file in the ring directory, so that what was recorded outlives any death.
//!
//! When it is full, the newest events replace the oldest, unless a collector asks otherwise: see `fata_probe::ring`. In a
//! program built without `profiling` there is none.

use core::fmt::{self, Write};
use std::string::{String, ToString};
use std::sync::OnceLock;

use fata_probe::region::{Config, Region};
use fata_service::ring;
use fata_wire::shared::{MESSAGE_BYTES, State};

use crate::logs;

static REGION: OnceLock<&'static Region> = OnceLock::new();

const PACKET_BYTES: u32 = 64 << 10;
const DEFAULT_RING_MIB: u64 = 4;

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
        packets_per_stream: u32::try_from(ring_bytes / u64::from(PACKET_BYTES)).unwrap_or(u32::MAX),
        packet_bytes: PACKET_BYTES,
        log_streams: 2,
        log_packets: logs::packets(log_kib),
        log_packet_bytes: logs::PACKET_BYTES,
        ..Config::default()
    };
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
