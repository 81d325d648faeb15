//! Which test uses which machine, and who else does at the time.
//!
//! ```ignore
//! let Some((dom0, _turn)) = with_fata() else { return };        // beside another test
//! let Some((dom0, _turn)) = with_fata_alone() else { return };  // beside none on this machine
//! ```
//! Invariant: a machine has [`AT_ONCE`] places, and each test holds one of them, or all. One that wants all claims a machine, which
//! others then leave to it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use fata_tests::image;

use super::dom0::{Dom0, MACHINES, machine};

/// How many tests use a machine at the same time. What they mostly wait for is the one processor that its dom0 has, so that more
/// would only make each of them slower.
const AT_ONCE: usize = 2;

/// A machine's places.
struct Places {
    free: usize,
    is_claimed: bool,
}

static PLACES: Mutex<[Places; MACHINES]> =
    Mutex::new([const { Places { free: AT_ONCE, is_claimed: false } }; MACHINES]);
static CHANGED: Condvar = Condvar::new();

fn places() -> MutexGuard<'static, [Places; MACHINES]> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Places on a machine, until it is dropped.
pub(crate) struct Turn {
    machine: usize,
    taken: usize,
}

impl Turn {
    /// One place, on the machine with most of them.
    fn beside_others() -> Self {
        let mut all = places();
        loop {
            let open = all.iter_mut().enumerate().filter(|(_, places)| !places.is_claimed && places.free > 0);
            if let Some((machine, places)) = open.min_by_key(|(_, places)| AT_ONCE - places.free) {
                places.free -= 1;
                return Turn { machine, taken: 1 };
            }
            all = CHANGED.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All places of a machine.
    fn alone() -> Self {
        let mut all = places();
        let machine = loop {
            let open = all.iter_mut().enumerate().filter(|(_, places)| !places.is_claimed);
            if let Some((machine, places)) = open.min_by_key(|(_, places)| AT_ONCE - places.free) {
                places.is_claimed = true;
                break machine;
            }
            all = CHANGED.wait(all).unwrap_or_else(PoisonError::into_inner);
        };
        while all[machine].free < AT_ONCE {
            all = CHANGED.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
        all[machine].free = 0;
        Turn { machine, taken: AT_ONCE }
    }

    fn dom0(self) -> Option<(&'static Dom0, Turn)> {
        Some((machine(self.machine)?, self))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = places();
        let places = &mut all[self.machine];
        places.free += self.taken;
        if self.taken == AT_ONCE {
            places.is_claimed = false;
        }
        CHANGED.notify_all();
    }
}

/// dom0, and the right to use it beside another test.
pub(crate) fn with_dom0() -> Option<(&'static Dom0, Turn)> {
    Turn::beside_others().dom0()
}

/// The same, with the command `fata`.
pub(crate) fn with_fata() -> Option<(&'static Dom0, Turn)> {
    with_command(Turn::beside_others())
}

/// The same for a test that measures, or whose guests work hard: no other test uses the machine meanwhile.
pub(crate) fn with_fata_alone() -> Option<(&'static Dom0, Turn)> {
    with_command(Turn::alone())
}

fn with_command(turn: Turn) -> Option<(&'static Dom0, Turn)> {
    let (dom0, turn) = turn.dom0()?;
    dom0.install("fata", image::slim_fata());
    Some((dom0, turn))
}
