//! Sleeping without using the processor until another thread kicks, or a deadline comes.
//!
//! Invariant: a kick between two waits makes the second one return at once, so that "look for work, then wait" loses none.
//! Kicks are counted, and each waiting thread remembers the count at which it last returned: many kicks before a wait are
//! one.

use core::cell::Cell;
use core::time::Duration;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread_local;

use super::clock;

static KICKS: Mutex<u64> = Mutex::new(0);
static KICKED: Condvar = Condvar::new();

thread_local! {
    static ANSWERED: Cell<u64> = const { Cell::new(0) };
}

/// Sleeps until a [`kick`] that no wait of this thread has answered, or until the clock reads `deadline` nanoseconds.
pub fn wait(deadline: Option<u64>) -> bool {
    // Nobody can panic while holding the lock; if it were poisoned all the same, the count would still be right.
    let mut kicks = KICKS.lock().unwrap_or_else(PoisonError::into_inner);
    while *kicks == ANSWERED.get() {
        kicks = match deadline.map(|deadline| deadline.saturating_sub(clock::now())) {
            Some(0) => break,
            Some(nanos) => {
                KICKED.wait_timeout(kicks, Duration::from_nanos(nanos)).unwrap_or_else(PoisonError::into_inner).0
            }
            None => KICKED.wait(kicks).unwrap_or_else(PoisonError::into_inner),
        };
    }
    ANSWERED.replace(*kicks) != *kicks
}

/// Nothing to do: whatever happens to a process, a thread of its own takes notice of.
pub(crate) const fn look(_now_nanos: u64) {}

/// Makes the running wait return, or the next one if none is running. From any thread.
pub fn kick() {
    *KICKS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    KICKED.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_kick_before_the_wait_is_not_lost() {
        kick();
        wait(None);
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let deadline = clock::now() + 3_000_000;
        // Other tests kick too.
        while clock::now() < deadline {
            wait(Some(deadline));
        }
        assert!(clock::now() < deadline + 1_000_000_000);
    }

    #[test]
    fn a_kick_of_another_thread_ends_the_wait() {
        let waiter = thread::spawn(|| wait(None));
        thread::sleep(Duration::from_millis(5));
        kick();
        waiter.join().unwrap();
    }
}
