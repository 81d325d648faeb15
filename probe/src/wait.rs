//! What a task waits for, told by the event that ends its poll, which is there anyway: it costs neither an event nor a word.
//!
//! Each wait is two callsites of its own, one for a poll that ends before the scheduler looks further and one for a poll that
//! the next task's follows at once. Behind the `/` in their names stands what is waited for.
//!
//! ```
//! use fata_probe::{TaskId, Wait, wait};
//!
//! static READ: &Wait = wait!("tcp.read");
//! let recorded = READ.pending(TaskId(7)); // an event `task.pending/tcp.read` of 8 bytes
//! # let _ = recorded;
//! ```

use crate::callsite::Callsite;
use crate::value::{Cons, Nil, TaskId};
use crate::{Kind, Level};

/// What a task may wait for. Made by [`wait!`](crate::wait!).
#[derive(Debug)]
pub struct Wait {
    pending: &'static Callsite,
    switch: &'static Callsite,
}

/// Is in no section, so nobody ever turns it on.
static OFF: Callsite = Callsite::new(Kind::Name, Level::Info, "", "", "", 0, &[]);

impl Wait {
    /// A wait that nothing is recorded of.
    pub const OFF: Wait = Wait { pending: &OFF, switch: &OFF };

    /// A wait of these two callsites. For [`wait!`](crate::wait!).
    #[must_use]
    pub const fn of_callsites(pending: &'static Callsite, switch: &'static Callsite) -> Self {
        Wait { pending, switch }
    }

    /// Records that the poll of `task` ended, and that it waits for this. Returns whether it was recorded.
    #[inline(always)]
    pub fn pending(&self, task: TaskId) -> bool {
        record(self.pending, task)
    }

    /// Records that the current poll ended, that its task waits for this, and that `task` is polled now. Returns whether it was
    /// recorded.
    #[inline(always)]
    pub fn switch(&self, task: TaskId) -> bool {
        record(self.switch, task)
    }
}

#[inline(always)]
fn record(callsite: &'static Callsite, task: TaskId) -> bool {
    let record = |template| crate::current::record(callsite, template, Cons(task, Nil));
    crate::ENABLED && callsite.enabled().is_some_and(record)
}
