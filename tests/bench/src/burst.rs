//! A program that does something between its events: [`walk`] goes through memory for as long as Tracy's thread needs to empty
//! its queue, and a burst of a thousand events follows.
//!
//! In the rounds of all other cases events follow one another, so that ring, queue and code lie in the caches and the branches
//! are known: every tracer at its best. Here the caches hold what the program had to do, the same for all, and the first events
//! pay for that. What the pages that are walked through cost is not measured; their events are.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::case::{Case, Unit};
use crate::{case_of, fata};

/// Events of a burst: a thousand, in sixteens.
pub(crate) const EVENTS: u64 = 1 << 10;
/// How long the program does something else. `lttng/bench.c` has the same.
const PAUSE: Duration = Duration::from_millis(4);
/// How much memory it goes through, in turn: more than the caches of a core, and than its share of those of its machine.
const WORDS: usize = (64 << 20) / 8;
/// Words of a cache line: one of them is changed.
const LINE: usize = 8;
/// How often the clock is asked.
const LINES_PER_LOOK: usize = 1 << 10;

thread_local! {
    static MEMORY: RefCell<(Vec<u64>, usize)> = const { RefCell::new((Vec::new(), 0)) };
}

/// Does something else than to trace.
pub(crate) fn walk() {
    MEMORY.with_borrow_mut(|(memory, place)| {
        memory.resize(WORDS, 1);
        let start = Instant::now();
        while start.elapsed() < PAUSE {
            for _ in 0..LINES_PER_LOOK {
                if let Some(word) = memory.get_mut(*place) {
                    *word = word.wrapping_mul(3);
                }
                *place = (*place + LINE) % WORDS;
            }
        }
        std::hint::black_box(&*memory);
    });
}

type Rounds = fn(u64) -> f64;

/// By the names of the cases.
const OWN: [(&str, Rounds); 3] =
    [("floor.burst", fata::floor), ("fata.instant.burst", fata::instants), ("fata.span.burst", fata::spans)];

/// The names of our cases.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OWN.iter().map(|(name, _)| *name)
}

/// Adds our cases: the events are those of the same cases without bursts.
pub(crate) fn cases(cases: &mut Vec<Case>) {
    for (name, round) in OWN {
        let burst = move |events| {
            walk();
            Ok(round(events))
        };
        cases.push(case_of(name, Unit::Event, EVENTS, burst, || Ok(None)));
    }
}
