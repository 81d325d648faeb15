//! One value, once: a promise, and the resolver that keeps it.
//!
//! ```
//! # use fata_kernel::sync::oneshot;
//! # use fata_probe::name;
//! # async fn example() {
//! let (resolver, promise) = oneshot(name!("answer"));
//! resolver.resolve(42);
//! assert_eq!(promise.await, Ok(42));
//! # }
//! ```
//! A resolver that is dropped breaks the promise: the waiting task goes on with [`Abandoned`]. One that is kept and never
//! used leaves a promise that is never resolved, which the trace shows by name.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use fata_probe::Name;

use super::{Object, What};
use crate::executor::events;

/// A promise, and what resolves it.
#[must_use]
pub fn oneshot<T>(name: Name) -> (Resolver<T>, Promise<T>) {
    let shared = Rc::new(Shared {
        state: RefCell::new(State::Open(None)),
        tried: Cell::new(false),
        object: Object::new(What::Promise, name),
    });
    (Resolver { shared: shared.clone() }, Promise { shared })
}

/// Keeps a promise by giving it its value.
pub struct Resolver<T> {
    shared: Rc<Shared<T>>,
}

/// A value that will be there. Awaited again after it gave the value, it waits for ever.
pub struct Promise<T> {
    shared: Rc<Shared<T>>,
}

/// The promise will never be kept: its resolver is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whoever was to resolve the promise gave it up")
    }
}

impl core::error::Error for Abandoned {}

struct Shared<T> {
    state: RefCell<State<T>>,
    tried: Cell<bool>,
    object: Object,
}

enum State<T> {
    Open(Option<Waker>),
    Resolved(T),
    Abandoned,
    Taken,
}

impl<T> Shared<T> {
    /// Settles the promise and wakes who waits for it; the event comes before the wake that it causes.
    fn settle(&self, state: State<T>, say: fn(u16)) {
        if let State::Open(waiter) = self.state.replace(state) {
            say(self.object.number());
            if let Some(waiter) = waiter {
                waiter.wake();
            }
        }
    }
}

impl<T> Resolver<T> {
    /// Gives the promise its value. Without a promise any more, the value is dropped.
    pub fn resolve(self, value: T) {
        self.shared.settle(State::Resolved(value), events::resolve);
    }

    /// Whether the promise is gone, so that nobody will see the value.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        Rc::strong_count(&self.shared) == 1
    }
}

impl<T> Drop for Resolver<T> {
    fn drop(&mut self) {
        if matches!(*self.shared.state.borrow(), State::Open(_)) {
            self.shared.settle(State::Abandoned, events::fail);
        }
    }
}

impl<T> Future for Promise<T> {
    type Output = Result<T, Abandoned>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = &self.shared;
        let mut state = shared.state.borrow_mut();
        if let State::Open(waiter) = &mut *state {
            *waiter = Some(cx.waker().clone());
            if !shared.tried.replace(true) {
                events::try_object(shared.object.number());
            }
            return Poll::Pending;
        }
        match core::mem::replace(&mut *state, State::Taken) {
            State::Resolved(value) => {
                events::read(shared.object.number());
                Poll::Ready(Ok(value))
            }
            State::Abandoned => Poll::Ready(Err(Abandoned)),
            State::Taken | State::Open(_) => Poll::Pending,
        }
    }
}
