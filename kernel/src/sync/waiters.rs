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

    /// A waiter that needed `need` is gone: `granted` says whether it leaves a grant behind that it has not taken.
    fn abandoned(&self, need: usize, granted: bool);
}

/// The waiting part of a future. `S` keeps the queue alive.
pub(super) struct Waiting<S: HasWaiters> {
    shared: S,
    node: Node<Waiter>,
}

impl<S: HasWaiters> Waiting<S> {
    pub(super) const fn new(shared: S, need: usize) -> Self {
        let waiter = Waiter { need, granted: Cell::new(false), waker: RefCell::new(None) };
        Waiting { shared, node: Node::new(waiter) }
    }

    /// Ready once granted, which uses the grant up. Joins the queue at the first call that is not, after having called
    /// `first`.
    pub(super) fn poll_granted(self: Pin<&mut Self>, cx: &mut Context<'_>, first: impl FnOnce(&S)) -> Poll<()> {
        let this = self.into_ref().get_ref();
        if this.node.data.granted.take() {
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

    /// Whether it neither waits nor holds a grant.
    pub(super) fn is_fresh(&self) -> bool {
        !self.node.is_linked() && !self.node.data.granted.get()
    }
}

impl<S: HasWaiters> Drop for Waiting<S> {
    fn drop(&mut self) {
        let granted = self.node.data.granted.take();
        if granted || self.node.is_linked() {
            // SAFETY: the node is in this list or in none.
            unsafe { self.shared.waiters().list.remove(&self.node) };
            self.shared.abandoned(self.node.data.need, granted);
        }
    }
}
