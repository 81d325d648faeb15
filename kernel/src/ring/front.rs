//! A ring of requests and answers in one shared page: the front's side. Each answer takes the place of a request.
//!
//! ```text
//!        freed            answered          published        taken            freed + size
//!   ───────┼── answers to ───┼── requests the ──┼── committed, ──┼── free slots ──┼──
//!          │   be taken      │   back works on  │   not said yet │                │
//! ```
//! Invariant: these five are in this order. The first, third and fourth are ours; the second is the back's, and what it says
//! is believed only as far as this order holds.
//!
//! When it is full, producers wait in order: see [`Slots`]. The back is told only when it asked to be told.
//!
//! Source: Xen, `xen/include/public/io/ring.h`. The page begins with four indices: requests produced, request at which the
//! back wants to be told, answers produced, answer at which we want to be told.

use core::sync::atomic::{Ordering, fence};

use super::page::{PAGE_BYTES, Page};
use super::slots::{Reservation, Slots, TooMany};

const PUBLISHED: usize = 0;
const TELL_BACK_AT: usize = 4;
const ANSWERED: usize = 8;
const TELL_US_AT: usize = 12;
const HEADER_BYTES: usize = 64;

/// How a ring's slots lie in its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Length of a slot, which a request or an answer fits in.
    pub slot_bytes: usize,
    /// How many there are: a power of two.
    pub slots: u32,
}

impl Layout {
    /// As many slots of this length as a page holds, rounded down to a power of two.
    ///
    /// # Panics
    /// Where not even one fits.
    #[must_use]
    pub const fn of_slots(slot_bytes: usize) -> Self {
        let most = (PAGE_BYTES - HEADER_BYTES) / slot_bytes;
        assert!(most > 0, "a slot is longer than a page");
        Layout { slot_bytes, slots: 1 << most.ilog2() }
    }
}

/// The front's side of a ring.
pub struct Front {
    page: Page,
    layout: Layout,
    slots: Slots,
    /// Requests before this one have been committed.
    taken: core::cell::Cell<u32>,
    published: core::cell::Cell<u32>,
    freed: core::cell::Cell<u32>,
}

impl Front {
    /// A ring in a page of zeros, whose slots are waited for by the names of `slots`.
    #[must_use]
    pub fn new(page: Page, layout: Layout, slots: Slots) -> Self {
        page.word(TELL_BACK_AT).store(1, Ordering::Relaxed);
        page.word(TELL_US_AT).store(1, Ordering::Relaxed);
        let zero = || core::cell::Cell::new(0);
        Front { page, layout, slots, taken: zero(), published: zero(), freed: zero() }
    }

    /// How many slots are free now.
    #[must_use]
    pub fn free_now(&self) -> usize {
        self.slots.free_now()
    }

    /// Waits for its turn and for `count` free slots: see [`Slots::reserve`].
    ///
    /// # Errors
    /// [`TooMany`] at once, where the ring never has so many.
    pub async fn reserve(&self, count: usize) -> Result<Reservation<'_>, TooMany> {
        self.slots.reserve(count).await
    }

    /// Reserves if nobody waits and so many slots are free now.
    ///
    /// # Errors
    /// [`TooMany`], where the ring never has so many.
    pub fn try_reserve(&self, count: usize) -> Result<Option<Reservation<'_>>, TooMany> {
        self.slots.try_reserve(count)
    }

    /// Writes one request per reserved slot, in order, and commits them. The back sees them after [`Self::publish`].
    pub fn fill<'a>(&self, reservation: Reservation<'_>, requests: impl IntoIterator<Item = &'a [u8]>) {
        for (index, request) in reservation.indices().zip(requests) {
            self.page.write(self.place(index), &request[..request.len().min(self.layout.slot_bytes)]);
        }
        self.taken.set(reservation.commit());
    }

    /// Shows the back what was committed; whether it wants to be told.
    #[must_use]
    pub fn publish(&self) -> bool {
        let (old, new) = (self.published.replace(self.taken.get()), self.taken.get());
        // Release: pairs with the back's acquire: the requests are there before the index says so.
        self.page.word(PUBLISHED).store(new, Ordering::Release);
        // SeqCst: either the back sees the index, or we see that it wants to be told.
        fence(Ordering::SeqCst);
        let at = self.page.word(TELL_BACK_AT).load(Ordering::Relaxed);
        // Was one of the new requests the one that it waits for?
        new.wrapping_sub(at) < new.wrapping_sub(old)
    }

    /// Takes the next answer, and frees its slot; whether there was one.
    #[must_use]
    pub fn take(&self, answer: &mut [u8]) -> bool {
        let freed = self.freed.get();
        if !self.has_answer() {
            return false;
        }
        let len = answer.len().min(self.layout.slot_bytes);
        self.page.read(self.place(freed), &mut answer[..len]);
        self.freed.set(freed.wrapping_add(1));
        self.slots.free(1);
        true
    }

    /// Whether there is an answer to be taken. One to a request that was not published is none.
    #[must_use]
    pub fn has_answer(&self) -> bool {
        // Acquire: pairs with the back's release: the answers are there before the index says so.
        let answered = self.page.word(ANSWERED).load(Ordering::Acquire);
        let freed = self.freed.get();
        let answers = answered.wrapping_sub(freed);
        answers != 0 && answers <= self.published.get().wrapping_sub(freed)
    }

    /// Asks to be told of the next answer. `true` where there is one already: then nobody tells.
    #[must_use]
    pub fn tell_us(&self) -> bool {
        self.page.word(TELL_US_AT).store(self.freed.get().wrapping_add(1), Ordering::Relaxed);
        // SeqCst: either the back sees that we want to be told, or we see its answer.
        fence(Ordering::SeqCst);
        self.has_answer()
    }

    const fn place(&self, index: u32) -> usize {
        HEADER_BYTES + (index & (self.layout.slots - 1)) as usize * self.layout.slot_bytes
    }
}

#[cfg(test)]
mod tests;
