//! Time since boot, from the TSC; what a tick of it is worth, and what time of day it is.
//!
//! Invariant: time is 0 at the image's entry and never goes back. Until boot has found the frequency, time stands at 0.
//!
//! The TSC must run at a constant rate. QEMU's emulation gives the host's TSC less a constant, so what the host measured
//! over a long time is right here too: the boot parameter `tsc_hz=` takes precedence over all that the guest can measure.

use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu::{self, Port};
use super::pit;

/// The TSC at the image's entry.
static ENTRY_TICKS: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per tick, times 2^32.
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(0);

/// Where the frequency is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Source {
    /// The boot parameter `tsc_hz=`.
    Parameter = 1,
    /// The hypervisor's leaf of `cpuid`.
    Hypervisor = 2,
    /// Measured against the interval timer.
    Pit = 3,
}

impl Source {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Source::Parameter => "boot parameter tsc_hz",
            Source::Hypervisor => "cpuid",
            Source::Pit => "measured against the PIT",
        }
    }
}

/// Remembers when the image was entered.
pub(super) fn entered(ticks: u64) {
    ENTRY_TICKS.store(ticks, Ordering::Relaxed);
}

/// Finds out what a tick is worth; `None` where nothing tells.
pub(super) fn start(parameter: Option<u64>) -> Option<(u64, Source)> {
    let (hz, source) = parameter
        .map(|hz| (hz, Source::Parameter))
        .or_else(|| hypervisor_hz().map(|hz| (hz, Source::Hypervisor)))
        .or_else(|| pit::measure_tsc_hz().map(|hz| (hz, Source::Pit)))
        // A frequency outside of 1 MHz to 100 GHz is a mistake, and would not fit the fraction below.
        .filter(|(hz, _)| (1_000_000..=100_000_000_000).contains(hz))?;
    let scale = (1_000_000_000u128 << 32) / u128::from(hz);
    NANOS_PER_TICK.store(u64::try_from(scale).ok()?, Ordering::Relaxed);
    Some((hz, source))
}

/// Nanoseconds since the image's entry; never backwards.
#[must_use]
pub(crate) fn now() -> u64 {
    let ticks = cpu::ticks().saturating_sub(ENTRY_TICKS.load(Ordering::Relaxed));
    let nanos = (u128::from(ticks) * u128::from(NANOS_PER_TICK.load(Ordering::Relaxed))) >> 32;
    // 2^64 ns are 584 years.
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// QEMU has no clock of its own that a guest could read.
pub(in crate::platform) fn shared_nanos_at(_ticks: u64) -> Option<u64> {
    None
}

/// What KVM and VMware say of the TSC, in kHz.
fn hypervisor_hz() -> Option<u64> {
    let khz = cpu::cpuid(0x4000_0010)?.eax;
    (khz != 0).then_some(u64::from(khz) * 1000)
}

/// Nanoseconds since 1970 by the machine's real-time clock, which counts seconds; `None` where there is none.
///
/// The clock is trusted to run on UTC, QEMU's default.
pub(in crate::platform) fn unix_nanos() -> Option<u64> {
    // The clock must not change between two registers: two equal readings in a row were not changed.
    let mut last = [0xff; 7];
    for _ in 0..100 {
        let registers = [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32].map(cmos);
        if registers == last && cmos(0x0a) & 0x80 == 0 {
            return unix_seconds(registers, cmos(0x0b)).map(|seconds| seconds * 1_000_000_000);
        }
        last = registers;
    }
    None
}

fn cmos(register: u8) -> u8 {
    Port::new(0x70).write(register);
    Port::new(0x71).read()
}

/// Seconds since 1970 of the registers second, minute, hour, day, month, year, century, in the format that `status` says.
fn unix_seconds(registers: [u8; 7], status: u8) -> Option<u64> {
    let binary = status & 4 != 0;
    let decode = |byte: u8| u64::from(if binary { byte } else { (byte >> 4) * 10 + (byte & 15) });
    let [second, minute, hour, day, month, year, century] = registers;
    let mut hours = decode(hour & 0x7f);
    if status & 2 == 0 {
        // 12-hour format, bit 7 is afternoon.
        hours = hours % 12 + if hour & 0x80 != 0 { 12 } else { 0 };
    }
    let (day, month) = (decode(day), decode(month));
    let year = decode(year) + 100 * if century == 0 || century == 0xff { 20 } else { decode(century) };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1970..2200).contains(&year) {
        return None;
    }
    // Days of the Gregorian calendar, with the year beginning in March so that the leap day is its last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hours * 3600 + decode(minute) * 60 + decode(second))
}
