//! What the host asks of the guest while it runs: looked at by the scheduler between two rounds, and at a tick when idle.
//!
//! Invariant: a request is answered within [`TICK_NANOS`] of an idle guest's time, or after the round that a busy one is in;
//! only a task that never gives way keeps it waiting, and then the host says that the guest is stuck. A tick that finds nothing is
//! no event and wakes no task. Without `profiling` there is nothing to ask and no tick.

use core::fmt::Write;

use fata_probe::control::{self, Reply};

use crate::heap;
use crate::platform::{clock, idle};

/// How long an idle guest may leave a request unseen where no interrupt announces it.
const TICK_NANOS: u64 = 50_000_000;

/// Does what was asked since the last look.
pub(crate) fn poll() {
    control::poll();
    control::serve(answer);
}

/// Sleeps until a kick, the deadline, or something that the host asks.
pub(crate) fn wait(deadline: Option<u64>) {
    if fata_probe::ENABLED {
        wait_ticking(deadline, TICK_NANOS);
    } else {
        idle::wait(deadline);
    }
}

fn wait_ticking(deadline: Option<u64>, tick_nanos: u64) {
    loop {
        let tick = clock::now().saturating_add(tick_nanos);
        let kicked = idle::wait(Some(deadline.map_or(tick, |deadline| deadline.min(tick))));
        // A kick is never passed over, also one that came with the tick: there is no other to tell of what it announced.
        if kicked {
            return;
        }
        // Earlier than the tick without one: the platform does not know better; the scheduler looks for work.
        let now = clock::now();
        if now < tick || deadline.is_some_and(|deadline| deadline <= now) || control::is_asked() {
            return;
        }
    }
}

/// Answers one request: what the probes cannot know is said here, all else they answer.
pub(crate) fn answer(line: &str, reply: &mut Reply) {
    control::answer(line, reply);
    let up_millis = clock::now() / 1_000_000;
    let up = format_args!("up {}.{:03} s", up_millis / 1000, up_millis % 1000);
    // A reply takes what fits.
    let _ = match (line.trim(), reply.text().starts_with("ok")) {
        // What a host puts its clock in order by: ours, and that of all guests at the same moment.
        ("ping", true) => {
            let ticks = fata_probe::ticks();
            match clock::shared_nanos_at(ticks) {
                None => write!(reply, ": {up}, tick {ticks}"),
                Some(nanos) => write!(reply, ": {up}, tick {ticks}, shared {nanos}"),
            }
        }
        ("dump", true) => write!(reply, "\n{up}, {} bytes on the heap", heap::levels().live_bytes),
        _ => Ok(()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kick_that_comes_with_a_tick_ends_the_wait() {
        // Other tests kick too, which can only hide a fault, not make one up.
        for _ in 0..100 {
            let begun = clock::now();
            idle::kick();
            wait_ticking(Some(begun + 1_000_000_000), 0);
            assert!(clock::now() - begun < 500_000_000);
        }
    }
}
