//! A bounded queue of values from many senders to one receiver.
//!
//! When it is full, senders wait in the order in which they came, and values arrive in that order; [`Sender::try_send`] gives
//! the value back instead. When the last sender is gone the receiver gets what is queued, then `None`. When the receiver is
//! gone, sending gives the value back.
//!
//! ```
//! # use fata_kernel::sync::channel;
//! # use fata_probe::name;
//! # async fn example() {
//! let (sender, mut receiver) = channel(name!("frames"), 2);
//! assert!(sender.send(1).await.is_ok());
//! drop(sender);
//! assert_eq!(receiver.recv().await, Some(1));
//! assert_eq!(receiver.recv().await, None);
//! # }
//! ```

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use fata_probe::Name;

use super::permits::{HasPermits, Permits, acquire};
use super::{Object, What};
use crate::executor::events;

/// A channel that holds up to `capacity` values, at least one.
#[must_use]
pub fn channel<T>(name: Name, capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = capacity.max(1);
    let shared = Rc::new(Shared {
        values: RefCell::new(VecDeque::with_capacity(capacity)),
        room: Permits::new(capacity),
        senders: Cell::new(1),
        receiver: RefCell::new(None),
        object: Object::new(What::Channel, name),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

struct Shared<T> {
    values: RefCell<VecDeque<T>>,
    /// A permit is a free place in `values`; closed when the receiver is gone.
    room: Permits,
    senders: Cell<usize>,
    receiver: RefCell<Option<Waker>>,
    object: Object,
}

/// The channel has no receiver any more; here is the value back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// Why a value was not sent at once; it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room now, or others wait for it already.
    Full(T),
    /// There is no receiver any more.
    Closed(T),
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel's receiver is gone")
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel is full",
            TrySendError::Closed(_) => "the channel's receiver is gone",
        })
    }
}

/// Puts values in. Clones send to the same channel.
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

/// Takes values out.
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
}

impl<T> HasPermits for Shared<T> {
    fn permits(&self) -> &Permits {
        &self.room
    }

    fn passed_on(&self, woken: usize) {
        events::signal(self.object.number(), woken);
    }
}

impl<T> Shared<T> {
    /// Queues a value for which there is room.
    fn put(&self, value: T) {
        let queued = {
            let mut values = self.values.borrow_mut();
            values.push_back(value);
            values.len()
        };
        events::send(self.object.number(), queued);
        self.wake_receiver();
    }

    fn wake_receiver(&self) {
        let receiver = self.receiver.take();
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }

    /// Takes a value, and lets the sender in that has waited longest.
    fn take(&self) -> Option<T> {
        let value = self.values.borrow_mut().pop_front()?;
        events::read(self.object.number());
        self.room.give_back(1, |woken| {
            if woken > 0 {
                self.passed_on(woken);
            }
        });
        Some(value)
    }
}

impl<T> Sender<T> {
    /// Sends `value`, waiting for room if there is none.
    ///
    /// # Errors
    /// [`Closed`], with the value, when the receiver is gone.
    pub async fn send(&self, value: T) -> Result<(), Closed<T>> {
        let shared = &*self.shared;
        if acquire(shared, 1, |shared| events::try_send(shared.object.number())).await {
            shared.put(value);
            Ok(())
        } else {
            Err(Closed(value))
        }
    }

    /// Sends `value` if there is room now.
    ///
    /// # Errors
    /// See [`TrySendError`].
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.shared.room.is_closed() {
            return Err(TrySendError::Closed(value));
        }
        if !self.shared.room.try_take(1) {
            return Err(TrySendError::Full(value));
        }
        self.shared.put(value);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.set(self.shared.senders.get() + 1);
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let left = self.shared.senders.get() - 1;
        self.shared.senders.set(left);
        if left == 0 && !self.shared.room.is_closed() {
            events::fail(self.shared.object.number());
            self.shared.wake_receiver();
        }
    }
}

impl<T> Receiver<T> {
    /// The next value; `None` once all senders are gone and everything they sent was received.
    pub async fn recv(&mut self) -> Option<T> {
        let shared = &*self.shared;
        let mut tried = false;
        poll_fn(|cx| {
            if let Some(value) = shared.take() {
                return Poll::Ready(Some(value));
            }
            if shared.senders.get() == 0 {
                return Poll::Ready(None);
            }
            *shared.receiver.borrow_mut() = Some(cx.waker().clone());
            if !core::mem::replace(&mut tried, true) {
                events::try_object(shared.object.number());
            }
            Poll::Pending
        })
        .await
    }

    /// The next value if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        self.shared.take()
    }

    /// How many values are queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.values.borrow().len()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Nobody will see these; their destructors may use the channel, so it is not borrowed meanwhile.
        let values = self.shared.values.take();
        let senders = self.shared.senders.get();
        self.shared.room.close(|woken| {
            if senders > 0 {
                events::signal(self.shared.object.number(), woken);
            }
        });
        drop(values);
    }
}
