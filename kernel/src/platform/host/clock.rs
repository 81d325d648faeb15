//! Time since boot, from the operating system's monotonic clock.

use std::sync::OnceLock;
use std::time::Instant;

static BOOT: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the first call; never backwards.
#[must_use]
pub fn now() -> u64 {
    // 2^64 ns are 584 years.
    u64::try_from(BOOT.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Guests of this machine share the counter itself.
pub(crate) fn shared_nanos_at(_ticks: u64) -> Option<u64> {
    None
}
