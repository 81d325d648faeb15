//! When to say again what the tasks are called, for readers that were not there when it was said.
//!
//! All at once when a host has asked for something, which a collector does when it joins. Otherwise one chunk of slots a
//! second in turn: what a flight recorder holds then names its tasks however long the guest has run, and thousands of tasks
//! do not fill it with their names.

use core::cell::Cell;
use core::ops::Range;

use crate::platform::clock;

const INTERVAL_NANOS: u64 = 1_000_000_000;

/// What was said, and when.
#[derive(Default)]
pub(super) struct Census {
    generation: Cell<u32>,
    said_nanos: Cell<u64>,
    next: Cell<usize>,
}

impl Census {
    /// Which of `chunks` are due now.
    pub(super) fn due(&self, chunks: usize) -> Range<usize> {
        let generation = fata_probe::control::generation();
        let now = clock::now();
        if self.generation.replace(generation) != generation {
            self.said_nanos.set(now);
            return 0..chunks;
        }
        if now.wrapping_sub(self.said_nanos.get()) < INTERVAL_NANOS {
            return 0..0;
        }
        self.said_nanos.set(now);
        let chunk = self.next.get() % chunks.max(1);
        self.next.set(chunk + 1);
        chunk..chunk + 1
    }
}
