//! How long a collector sleeps between two looks at its rings: seldom enough to cost nothing, often enough that none fills.
//!
//! Each look tells how full the fullest ring was. The pause is halved above an eighth and doubled below a sixteenth, so that
//! at a steady rate a ring is about a tenth full when it is looked at, whatever the rate and its length are. Above a half
//! there is no pause. The longest one is what a guest has to fill a ring in, that was silent before and now writes as fast as
//! it can.
//!
//! A guest that has a bell may cut a pause short by it, and rings for an eighth of its ring: it is looked at as seldom as is shown at
//! once to who watches. One that rang for less than a sixteenth of its ring sleeps out the next pause unheard, which is then no longer
//! than without a bell: so a guest that rings all the time has at most twice as many looks as one that has none.

#![expect(unsafe_code, reason = "asking the scheduler for less")]

use std::time::Duration;

const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(5);
/// The longest that a bell ends.
const LONGEST_WITH_BELL: Duration = Duration::from_millis(20);

/// Full is this.
pub(crate) const FULL: u64 = 1000;

/// From now on the calling thread, when it wakes up, waits until whoever runs has had its time: what it watches may be what it would
/// interrupt. It gets its share of a processor all the same (`SCHED_BATCH`, sched(7)). Who may not ask for that goes on as before.
pub(crate) fn give_way() {
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: the structure is borrowed until the call returns; 0 is the calling thread.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const ordinary) };
}

/// The pauses between looks.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Duration,
    has_bell: bool,
}

/// The pause between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) length: Duration,
    /// Whether the guest's bell ends it.
    pub(crate) hears_bell: bool,
}

impl Pace {
    pub(crate) fn new(has_bell: bool) -> Self {
        Pace { next: SHORTEST, has_bell }
    }

    /// The pause after a look at rings of which the fullest held `fill` thousandths, and for which a bell `rang` or not. `None`
    /// where there is no time for one.
    pub(crate) fn after(&mut self, fill: u64, rang: bool) -> Option<Pause> {
        let longest = if self.has_bell { LONGEST_WITH_BELL } else { LONGEST };
        if fill > FULL / 8 {
            self.next = (self.next / 2).max(SHORTEST);
        } else if fill < FULL / 16 {
            self.next = (self.next * 2).min(longest);
        }
        let hears_bell = !(rang && fill < FULL / 16);
        let length = if hears_bell { self.next } else { self.next.min(LONGEST) };
        (fill <= FULL / 2).then_some(Pause { length, hears_bell })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it takes to wake up and look.
    const WAKING: Duration = Duration::from_micros(60);

    /// How full a ring becomes that is filled at `per_second` rings a second, and how often it is looked at.
    fn settle(per_second: f64, has_bell: bool) -> (u64, u32) {
        let mut pace = Pace::new(has_bell);
        let (mut fill, mut looks) = (0, 0);
        let mut time = Duration::ZERO;
        while time < Duration::from_secs(1) {
            let pause = pace.after(fill, false).map_or(Duration::ZERO, |pause| pause.length) + WAKING;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
            {
                fill = (pause.as_secs_f64() * per_second * FULL as f64) as u64;
            }
            time += pause;
            looks += 1;
        }
        (fill, looks)
    }

    #[test]
    fn a_ring_is_never_half_full_at_a_steady_rate_and_a_quiet_one_is_looked_at_seldom() {
        for rings_per_second in [0.0, 0.3, 10.0, 60.0, 240.0, 1000.0] {
            for (has_bell, seldom) in [(false, 250), (true, 80)] {
                let (fill, looks) = settle(rings_per_second, has_bell);
                assert!(fill < FULL / 2, "{rings_per_second} rings a second: {fill}");
                assert!(looks < seldom || rings_per_second > 1.0, "{rings_per_second} rings a second: {looks} looks");
            }
        }
    }

    /// How often a guest is looked at in a second that rings whenever it is heard, and has written `fill` thousandths each time.
    fn looks_at_one_that_rings(fill: u64) -> u32 {
        let mut pace = Pace::new(true);
        let (mut rang, mut time, mut looks) = (false, Duration::ZERO, 0);
        while time < Duration::from_secs(1) {
            let pause = pace.after(fill, rang).unwrap();
            rang = pause.hears_bell;
            time += if rang { WAKING } else { pause.length + WAKING };
            looks += 1;
        }
        looks
    }

    #[test]
    fn a_bell_that_rings_for_nothing_brings_few_looks_and_one_that_rings_for_an_eighth_is_heard_each_time() {
        for fill in [0, FULL / 16 - 1] {
            let looks = looks_at_one_that_rings(fill);
            assert!(looks < 450, "{looks} looks for a bell that rang for {fill}");
        }
        assert!(looks_at_one_that_rings(FULL / 8) > 10_000);
    }
}
