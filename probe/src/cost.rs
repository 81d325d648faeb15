//! What tracing itself costs on this machine, measured at boot and written into the ring for whoever reads durations.
//!
//! The measurement leaves `BATCHES * BATCH` events `boot.probe_cost` in the trace, of 8 bytes each. Of all batches the
//! fastest counts: an interruption only makes one slower.

#![cfg_attr(feature = "profiling", expect(unsafe_code, reason = "the macros' own link section"))]

use crate::{instant, span, ticks};

const BATCHES: u64 = 8;
const BATCH: u64 = 16;

/// Costs in picoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Reading the clock.
    pub clock_picos: u64,
    /// Recording an event without payload, clock included.
    pub probe_picos: u64,
}

/// Measures on a machine with so many ticks per second.
pub fn measure(hz: u64) -> Cost {
    let _span = span!("boot.cost");
    let picos = |ticks: u64| {
        let picos = u128::from(ticks) * 1_000_000_000_000 / u128::from((hz * BATCH).max(1));
        u64::try_from(picos).unwrap_or(u64::MAX)
    };
    Cost {
        clock_picos: picos(fastest(|| {
            core::hint::black_box(ticks());
        })),
        probe_picos: picos(fastest(|| instant!("boot.probe_cost"))),
    }
}

/// The ticks that a batch of calls takes when nothing interrupts it.
fn fastest(mut call: impl FnMut()) -> u64 {
    (0..BATCHES).map(|_| batch(&mut call)).min().unwrap_or(0)
}

/// One piece of code for all batches: an emulator takes longer to translate code than to run it, and does so once.
#[inline(never)]
fn batch(call: &mut impl FnMut()) -> u64 {
    let begin = ticks();
    (0..BATCH).for_each(|_| call());
    ticks() - begin
}

#[cfg(all(test, feature = "profiling"))]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_of_the_order_of_a_clock_read() {
        // Not on a ring: the probe is off, so this is the cost of looking.
        let cost = measure(2_000_000_000);
        assert!((100..100_000_000).contains(&cost.clock_picos), "{cost:?}");
        assert!(cost.probe_picos < 100_000_000, "{cost:?}");
    }
}
