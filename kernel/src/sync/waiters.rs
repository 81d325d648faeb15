//! A queue of waiting tasks, without memory of its own: each waits in a node inside its future.
//!
//! Invariant: a waiter is in the queue exactly while it waits. *Granting* takes it out and marks it, so a grant goes to one
//! waiter, and a waiter that dies after its grant can pass it on.
#![expect(unsafe_code, reason = "nodes join and leave an intrusive list; `Waiting` keeps the contract")]

use core::cell::{Cell, RefCell};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::list::{List, Node};

/// What the queue keeps in a waiting future.
pub(super) struct Waiter {
    /// How much it waits for.
    pub(super) need: usize,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Waiting tasks in the order in which they came.
pub(super) struct Waiters {
    list: List<Waiter>,
}

impl Waiters {
    pub(super) const fn new() -> Self {
        Waiters { list: List::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What each waiter needs, in order.
    pub(super) fn needs(&self) -> impl Iterator<Item = usize> {
        self.list.iter().map(|node| node.data.need)
    }

    /// Grants the first `count` waiters what they wait for.
    pub(super) fn grant(&self, count: usize) {
        for _ in 0..count {
            let Some(node) = self.list.pop_front() else { return };
            node.data.granted.set(true);
            // The node's owner may run in `wake`, if the waker is a stranger's: the node is not touched after it.
            let waker = node.data.waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Where a waiter finds the queue it waits in.
pub(super) trait HasWaiters {
    fn waiters(&self) -> &Waiters;
}

/// The waiting part of a future. `S` keeps the queue alive.
pub(super) struct Waiting<S: HasWaiters> {
    pub(super) shared: S,
    node: Node<Waiter>,
}

impl<S: HasWaiters> Waiting<S> {
    pub(super) fn new(shared: S, need: usize) -> Self {
        let waiter = Waiter { need, granted: Cell::new(false), waker: RefCell::new(None) };
        Waiting { shared, node: Node::new(waiter) }
    }

    /// Ready once granted, and then again and again until [`Self::take_grant`]. Joins the queue at the first call, after
    /// having called `first`.
    pub(super) fn poll_granted(self: Pin<&mut Self>, cx: &mut Context<'_>, first: impl FnOnce(&S)) -> Poll<()> {
        let this = self.into_ref().get_ref();
        if this.is_granted() {
            return Poll::Ready(());
        }
        *this.node.data.waker.borrow_mut() = Some(cx.waker().clone());
        if !this.node.is_linked() {
            first(&this.shared);
            // SAFETY: the node lies in a pinned future, whose destructor takes it out of this same list.
            unsafe { this.shared.waiters().list.push_back(&this.node) };
        }
        Poll::Pending
    }

    /// Whether a grant was given and not taken.
    pub(super) fn is_granted(&self) -> bool {
        self.node.data.granted.get()
    }

    /// Uses the grant up; `false` if there is none.
    pub(super) fn take_grant(&self) -> bool {
        self.node.data.granted.replace(false)
    }

    /// Whether the waiter is in the queue.
    pub(super) fn is_waiting(&self) -> bool {
        self.node.is_linked()
    }

    /// Leaves the queue.
    pub(super) fn leave(&self) {
        // SAFETY: the node is in this list or in none.
        unsafe { self.shared.waiters().list.remove(&self.node) };
    }
}

impl<S: HasWaiters> Drop for Waiting<S> {
    fn drop(&mut self) {
        self.leave();
    }
}
