//! A number of permits that are handed out strictly in order: who asks for many is not overtaken by who asks for few.
//!
//! Invariant: while someone waits, fewer permits are free than the first waiter needs.

use alloc::rc::Rc;
use core::cell::Cell;
use core::pin::Pin;
use core::task::{Context, Poll};

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
}

/// Access to the waiters of a shared owner of permits.
pub(super) struct Owner<P>(pub(super) Rc<P>);

impl<P: HasPermits> HasWaiters for Owner<P> {
    fn waiters(&self) -> &Waiters {
        &self.0.permits().waiters
    }
}

/// Waits for permits; what was granted and not taken goes back when it is dropped.
pub(super) struct Acquire<P: HasPermits> {
    waiting: Waiting<Owner<P>>,
    count: usize,
}

impl<P: HasPermits> Acquire<P> {
    pub(super) fn new(owner: Rc<P>, count: usize) -> Self {
        Acquire { waiting: Waiting::new(Owner(owner), count), count }
    }

    pub(super) fn owner(&self) -> &Rc<P> {
        &self.waiting.shared.0
    }

    /// Ready with `true` once the permits are the caller's, with `false` if they never will be. Calls `wait` before it
    /// first returns `Pending`.
    pub(super) fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, wait: impl FnOnce(&P)) -> Poll<bool> {
        let permits = self.waiting.shared.0.permits();
        if permits.is_closed() {
            return Poll::Ready(false);
        }
        if !self.waiting.is_waiting() && !self.waiting.is_granted() && permits.try_take(self.count) {
            return Poll::Ready(true);
        }
        match self.as_mut().waiting().poll_granted(cx, |owner| wait(&owner.0)) {
            Poll::Ready(()) => Poll::Ready(self.waiting.take_grant()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn waiting(self: Pin<&mut Self>) -> Pin<&mut Waiting<Owner<P>>> {
        pin_field::waiting(self)
    }
}

impl<P: HasPermits> Drop for Acquire<P> {
    fn drop(&mut self) {
        self.waiting.leave();
        if self.waiting.take_grant() && !self.owner().permits().is_closed() {
            self.owner().permits().give_back(self.count, |_| ());
        } else if !self.owner().permits().is_closed() {
            // Whoever waits behind us may need less than we did.
            self.owner().permits().give_back(0, |_| ());
        }
    }
}

mod pin_field {
    #![expect(unsafe_code, reason = "projecting a pin to the one field that is pinned")]
    use super::{Acquire, HasPermits, Owner, Waiting};
    use core::pin::Pin;

    pub(super) fn waiting<P: HasPermits>(acquire: Pin<&mut Acquire<P>>) -> Pin<&mut Waiting<Owner<P>>> {
        // SAFETY: `waiting` is structurally pinned: `Acquire` never moves out of it, and its Drop does not either.
        unsafe { acquire.map_unchecked_mut(|acquire| &mut acquire.waiting) }
    }
}
