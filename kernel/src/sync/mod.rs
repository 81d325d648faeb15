//! Ways for tasks of one guest to wait for one another, each of which says why.
//!
//! | type | a task waits until | when it is full |
//! |---|---|---|
//! | [`oneshot()`] | someone resolves a promise, once | holds one value |
//! | [`channel()`] | a value is there; or, sending, until there is room | senders wait in the order in which they came |
//! | [`Condition`] | someone signals from now on; a signal without a waiter is lost | has no memory |
//! | [`Semaphore`] | so many permits are free; nobody is overtaken | acquirers wait in order |
//!
//! Every object has a [`Name`](crate::Name) and a number, and emits what happens to it (category `sync`): that a task found
//! it not ready and waits (`try`), what made it ready (`resolve`, `signal`, `fail`) directly before the `task.ready` that
//! this caused, and that a task went on because of it (`read`). So "why did I wait" and "who woke me" have answers.
//!
//! Nothing here is `Send`: interrupt handlers and other threads wake a task through a
//! [`WakeCell`](crate::executor::WakeCell).

mod channel;
mod condition;
mod object;
mod oneshot;
mod permits;
mod semaphore;
mod waiters;

pub use channel::{Closed, Receiver, Sender, TrySendError, channel};
pub use condition::Condition;
pub(crate) use object::{Object, What, say_again};
pub use oneshot::{Abandoned, Promise, Resolver, oneshot};
pub use semaphore::{Permit, Semaphore};
