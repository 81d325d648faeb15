//! Which test uses which machine: each one to itself.
//!
//! ```ignore
//! let Some((dom0, _turn)) = with_dom0() else { return };
//! ```
//! What a test waits for is mostly the one processor that its dom0 has. Beside another one it would take twice as long, and for as
//! long its guests and collectors would work, which takes most of what this machine has.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::dom0::{Dom0, MACHINES, machine};

static IS_TAKEN: Mutex<[bool; MACHINES]> = Mutex::new([false; MACHINES]);
static CHANGED: Condvar = Condvar::new();

fn is_taken() -> MutexGuard<'static, [bool; MACHINES]> {
    IS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A machine, until it is dropped.
pub(crate) struct Turn(usize);

impl Turn {
    fn begin() -> Self {
        let mut taken = is_taken();
        loop {
            if let Some(machine) = taken.iter().position(|is_taken| !is_taken) {
                taken[machine] = true;
                return Turn(machine);
            }
            taken = CHANGED.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        is_taken()[self.0] = false;
        CHANGED.notify_one();
    }
}

/// dom0, and the right to use it.
pub(crate) fn with_dom0() -> Option<(&'static Dom0, Turn)> {
    let turn = Turn::begin();
    Some((machine(turn.0)?, turn))
}

/// What `record` makes of a machine, once for all tests that look at it; `None` in the quick tests.
pub(crate) fn recorded_once<T>(recorded: &'static OnceLock<T>, record: impl FnOnce() -> T) -> Option<&'static T> {
    (!fata_tests::skipped::is_quick()).then(|| recorded.get_or_init(record))
}
