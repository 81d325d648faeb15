//! The old interval timer: the only clock of known frequency that every machine has, so the TSC is measured against it.
//!
//! A reading of it takes a microsecond or so, and another guest may run in the middle of one. So each end of a measurement
//! is the reading, out of several, that took the least time, and of three measurements the middle one counts: an error is
//! below 0.1 ‰ unless the host is busy throughout. `fata run` knows better and passes `tsc_hz=`.

use super::cpu::{self, Port};

/// What channel 0 counts in a second.
const PIT_HZ: u64 = 1_193_182;
const CHANNEL_0: Port = Port::new(0x40);
const COMMAND: Port = Port::new(0x43);
/// A measurement takes 12 ms of the 55 that the counter lasts.
const WINDOW_COUNTS: u16 = 14_318;
const READINGS: usize = 8;

/// The TSC's frequency, or `None` where there is no timer that counts.
pub(super) fn measure_tsc_hz() -> Option<u64> {
    let mut results = [measure()?, measure()?, measure()?];
    results.sort_unstable();
    Some(results[1])
}

fn measure() -> Option<u64> {
    COMMAND.write(0x34); // channel 0, low byte then high byte, mode 2: counts down and starts over
    CHANNEL_0.write(0xff);
    CHANNEL_0.write(0xff);
    let start = reading();
    // Half a second of a TSC of 5 GHz: a counter that stands still is no counter.
    while start.counter.wrapping_sub(latch()) < WINDOW_COUNTS {
        if cpu::ticks() - start.ticks > 2_500_000_000 {
            return None;
        }
    }
    let end = reading();
    let counts = u64::from(start.counter.wrapping_sub(end.counter));
    (counts > 0).then(|| (end.ticks - start.ticks) * PIT_HZ / counts)
}

/// The counter, and the TSC at that moment.
struct Reading {
    counter: u16,
    ticks: u64,
    took_ticks: u64,
}

/// The reading that took the least time.
fn reading() -> Reading {
    let one = || {
        let before = cpu::ticks();
        let counter = latch();
        let took_ticks = cpu::ticks() - before;
        Reading { counter, ticks: before + took_ticks / 2, took_ticks }
    };
    let first = one();
    (1..READINGS).map(|_| one()).fold(first, |best, next| if next.took_ticks < best.took_ticks { next } else { best })
}

fn latch() -> u16 {
    COMMAND.write(0);
    let low = CHANNEL_0.read();
    u16::from_le_bytes([low, CHANNEL_0.read()])
}
