//! Something that tasks wait to be told, and that has no memory: a signal that nobody waits for is lost.
//!
//! That is the condition of Lwt and of POSIX, with its trap: who looks at some state, decides to wait, and begins to wait
//! only after the state has changed, waits for ever. The trace shows it as a signal that woke 0.
//!
//! ```
//! # use fata_kernel::sync::Condition;
//! # use fata_probe::name;
//! # async fn example() {
//! let plugged = Condition::new(name!("plugged"));
//! assert_eq!(plugged.signal(), 0); // nobody waits
//! plugged.wait().await; // waits for the next one
//! # }
//! ```
//! Any number of tasks may wait; they take no memory beyond their own futures.

use alloc::rc::Rc;
use core::future::poll_fn;
use core::pin::pin;

use fata_probe::Name;

use super::waiters::{HasWaiters, Waiters, Waiting};
use super::{Object, What};
use crate::executor::events;

/// A condition; clones are the same one.
#[derive(Clone)]
pub struct Condition {
    shared: Rc<Shared>,
}

struct Shared {
    waiters: Waiters,
    object: Object,
}

impl Condition {
    /// A condition that nobody waits for.
    #[must_use]
    pub fn new(name: Name) -> Self {
        let object = Object::new(What::Condition, name);
        Condition { shared: Rc::new(Shared { waiters: Waiters::new(), object }) }
    }

    /// Waits for a signal that comes after this is first polled.
    pub async fn wait(&self) {
        let mut waiting = pin!(Waiting::new(&*self.shared, 1));
        poll_fn(|cx| waiting.as_mut().poll_granted(cx, |shared| events::try_object(shared.object.number()))).await;
        events::read(self.shared.object.number());
    }

    /// Wakes whoever has waited longest. Returns how many that is: 0 or 1.
    pub fn signal(&self) -> usize {
        self.wake(1)
    }

    /// Wakes everyone who waits, and returns how many.
    pub fn broadcast(&self) -> usize {
        self.wake(usize::MAX)
    }

    fn wake(&self, max: usize) -> usize {
        let woken = self.shared.waiters.needs().take(max).count();
        events::signal(self.shared.object.number(), woken);
        self.shared.waiters.grant(woken);
        woken
    }
}

impl HasWaiters for &Shared {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn abandoned(&self, _need: usize, _granted: bool) {
        // A signal has no memory: who gave up waiting takes its own with it.
    }
}
