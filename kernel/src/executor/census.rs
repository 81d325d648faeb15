//! When to say again what the tasks and objects are called, for readers that were not there when it was said.
//!
//! All at once when a host has asked for something, which a collector does when it joins. Otherwise one chunk of each a
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

/// What is to be said again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    All,
    /// The chunk of this number, counted round and round.
    Chunk(usize),
}

impl Due {
    /// Which of `chunks` that is.
    pub(crate) fn of(self, chunks: usize) -> Range<usize> {
        match self {
            Due::All => 0..chunks,
            Due::Chunk(number) if chunks > 0 => number % chunks..number % chunks + 1,
            Due::Chunk(_) | Due::Nothing => 0..0,
        }
    }
}

impl Census {
    /// What is due now.
    pub(super) fn due(&self) -> Due {
        let generation = fata_probe::control::generation();
        let now = clock::now();
        if self.generation.replace(generation) != generation {
            self.said_nanos.set(now);
            return Due::All;
        }
        if now.wrapping_sub(self.said_nanos.get()) < INTERVAL_NANOS {
            return Due::Nothing;
        }
        self.said_nanos.set(now);
        let chunk = self.next.get();
        self.next.set(chunk.wrapping_add(1));
        Due::Chunk(chunk)
    }
}
