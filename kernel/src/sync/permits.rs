//! A number of permits that are handed out strictly in order: who asks for many is not overtaken by who asks for few.
//!
//! Invariant: while someone waits, fewer permits are free than the first waiter needs.

use core::cell::Cell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use super::waiters::{HasWaiters, Waiters, Waiting};

pub(super) struct Permits {
    free: Cell<usize>,
    closed: Cell<bool>,
    waiters: Waiters,
}

impl Permits {
    pub(super) const fn new(count: usize) -> Self {
        Permits { free: Cell::new(count), closed: Cell::new(false), waiters: Waiters::new() }
    }

    pub(super) fn free(&self) -> usize {
        self.free.get()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Takes `count` permits if they are free and nobody waits.
    pub(super) fn try_take(&self, count: usize) -> bool {
        if !self.waiters.is_empty() || self.free.get() < count {
            return false;
        }
        self.free.set(self.free.get() - count);
        true
    }

    /// Adds `count` permits and wakes whom they suffice for, after having called `before` with how many those are.
    pub(super) fn give_back(&self, count: usize, before: impl FnOnce(usize)) {
        let mut free = self.free.get().saturating_add(count);
        let mut woken = 0;
        for need in self.waiters.needs() {
            match free.checked_sub(need) {
                Some(rest) => free = rest,
                None => break,
            }
            woken += 1;
        }
        self.free.set(free);
        before(woken);
        self.waiters.grant(woken);
    }

    /// Lets everyone who waits, or ever will, go on without a permit.
    pub(super) fn close(&self, before: impl FnOnce(usize)) {
        self.closed.set(true);
        let woken = self.waiters.needs().count();
        before(woken);
        self.waiters.grant(woken);
    }
}

/// Who owns permits that one can wait for.
pub(super) trait HasPermits {
    fn permits(&self) -> &Permits;

    /// Permits became free because a waiter gave up, which will wake so many others.
    fn passed_on(&self, woken: usize);
}

impl<P: HasPermits> HasWaiters for &P {
    fn waiters(&self) -> &Waiters {
        &self.permits().waiters
    }

    fn abandoned(&self, need: usize, granted: bool) {
        // Even without a grant: whoever stood behind may need less.
        let permits = self.permits();
        if !permits.is_closed() {
            permits.give_back(if granted { need } else { 0 }, |woken| {
                if woken > 0 {
                    self.passed_on(woken);
                }
            });
        }
    }
}

/// Waits for `count` permits of `owner`: `true` once they are the caller's, `false` if they never will be. Calls `wait`
/// before it first waits.
pub(super) async fn acquire<P: HasPermits>(owner: &P, count: usize, wait: impl Fn(&P)) -> bool {
    let mut waiting = pin!(Waiting::new(owner, count));
    poll_fn(|cx| {
        let permits = owner.permits();
        if permits.is_closed() {
            return Poll::Ready(false);
        }
        if waiting.is_fresh() && permits.try_take(count) {
            return Poll::Ready(true);
        }
        waiting.as_mut().poll_granted(cx, |owner| wait(owner)).map(|()| true)
    })
    .await
}
