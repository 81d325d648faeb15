//! Permits to do something so many times at once, handed out strictly in the order in which they were asked for.
//!
//! Who asks for many waits until so many are free, and nobody is served before it meanwhile: a big request cannot starve.
//!
//! ```
//! # use fata_kernel::sync::Semaphore;
//! # use fata_probe::name;
//! # async fn example() {
//! let slots = Semaphore::new(name!("ring.slots"), 16);
//! let two = slots.acquire(2).await;
//! assert_eq!(slots.free(), 14);
//! drop(two); // gives them back
//! # }
//! ```
//! Any number of tasks may wait; they take no memory beyond their own futures.

use alloc::rc::Rc;

use fata_probe::Name;

use super::permits::{HasPermits, Permits, acquire};
use super::{Object, What};
use crate::executor::events;

/// A semaphore; clones are the same one.
#[derive(Clone)]
pub struct Semaphore {
    shared: Rc<Shared>,
}

struct Shared {
    permits: Permits,
    object: Object,
}

impl HasPermits for Shared {
    fn permits(&self) -> &Permits {
        &self.permits
    }

    fn passed_on(&self, woken: usize) {
        events::signal(self.object.number(), woken);
    }
}

/// Permits that are the holder's until it drops this.
#[must_use = "dropped, the permits go back at once"]
pub struct Permit {
    shared: Rc<Shared>,
    count: usize,
}

impl Semaphore {
    /// A semaphore with `count` permits.
    #[must_use]
    pub fn new(name: Name, count: usize) -> Self {
        let object = Object::new(What::Semaphore, name);
        Semaphore { shared: Rc::new(Shared { permits: Permits::new(count), object }) }
    }

    /// How many permits nobody holds.
    #[must_use]
    pub fn free(&self) -> usize {
        self.shared.permits.free()
    }

    /// Waits until `count` permits are free and everyone who came before was served. Asked for more than there ever are, it
    /// waits until [`Self::add`] has made up for it.
    pub async fn acquire(&self, count: usize) -> Permit {
        let shared = &self.shared;
        // A semaphore is never closed, so the permits are ours.
        acquire(&**shared, count, |shared| events::try_object(shared.object.number())).await;
        events::read(shared.object.number());
        Permit { shared: shared.clone(), count }
    }

    /// Takes `count` permits if they are free and nobody waits.
    #[must_use]
    pub fn try_acquire(&self, count: usize) -> Option<Permit> {
        self.shared.permits.try_take(count).then(|| {
            events::read(self.shared.object.number());
            Permit { shared: self.shared.clone(), count }
        })
    }

    /// Adds `count` permits for good.
    pub fn add(&self, count: usize) {
        self.shared.release(count);
    }
}

impl Shared {
    fn release(&self, count: usize) {
        self.permits.give_back(count, |woken| events::signal(self.object.number(), woken));
    }
}

impl Permit {
    /// How many permits this holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Keeps the permits for good: they never go back.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.count > 0 {
            self.shared.release(self.count);
        }
    }
}
