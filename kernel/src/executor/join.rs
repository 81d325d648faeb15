//! Waiting for a task's result.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use fata_probe::name;

use super::events;

/// A started task. Awaiting it gives what the task's future returned; dropping it lets the task run on.
///
/// Awaited again after it gave the result, it waits for ever.
pub struct JoinHandle<T> {
    pub(super) shared: Rc<Joint<T>>,
}

/// What task and handle share.
pub(super) struct Joint<T> {
    pub(super) result: RefCell<Option<T>>,
    pub(super) done: Cell<bool>,
    pub(super) waiter: RefCell<Option<Waker>>,
    pub(super) number: u16,
}

impl<T> JoinHandle<T> {
    /// The task's number in the trace.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.shared.number
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.shared.done.get()
    }
}

impl<T> Joint<T> {
    pub(super) fn finish(&self, value: T) {
        *self.result.borrow_mut() = Some(value);
        self.done.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.shared.result.take() {
            return Poll::Ready(value);
        }
        if self.shared.waiter.replace(Some(cx.waker().clone())).is_none() {
            events::wait_for_task(name!("join"), self.shared.number);
        }
        Poll::Pending
    }
}
