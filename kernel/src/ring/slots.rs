//! Which slots of a ring a producer may fill: neighbours, as many as it needs, when it is its turn.
//!
//! Invariant: reservations are granted strictly in the order in which they were asked for, one exists at a time, and the
//! slots between `taken` and `taken + free` are nobody's. So what one producer writes lies in one piece, and leaves in order.
//!
//! When it is full: a producer waits at the head of the queue until the consumer has freed as many slots as it needs, and
//! everybody else waits behind it; so a large request cannot starve, and none can be overtaken. One that needs more than the
//! ring has is refused at once ([`TooMany`]), since it would wait for ever.
//!
//! ```
//! # use fata_kernel::ring::{Slots, TooMany};
//! # use fata_probe::name;
//! # async fn example() -> Result<(), TooMany> {
//! let slots = Slots::new(name!("tx.turn"), name!("tx.slots"), 16);
//! let three = slots.reserve(3).await?;
//! for slot in three.indices() { /* fill it */ }
//! three.commit(); // dropped instead, nothing has happened
//! slots.free(1); // the consumer is done with the first one
//! # Ok(())
//! # }
//! ```
//! Three faults that rings of this kind have had are ruled out by construction: that an acknowledgement wakes one waiter where
//! it would do for two; that a waiter looks again before the slots are free, and then sleeps; and that two producers take
//! slots in turns, so that both hold some and neither gets the rest. The sample `ring-deadlock` shows the last.
//!
//! In the trace a producer waits for one of two objects: its *turn*, or the *slots*; the event `ring.wait` says how many
//! slots it needs, and how many there are.

use core::cell::Cell;
use core::fmt;

use fata_probe::{Name, instant};

use crate::sync::{Permit, Semaphore};

/// The slots of one ring.
pub struct Slots {
    /// Held by the one that may take slots.
    turn: Semaphore,
    free: Semaphore,
    size: usize,
    /// The free-running index of the next slot that was never reserved.
    next: Cell<u32>,
}

/// More slots were asked for than the ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// How many were asked for.
    pub asked: usize,
    /// How many the ring has.
    pub size: usize,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, size } = self;
        write!(f, "{asked} slots were asked for, and the ring has {size}: send it in pieces")
    }
}

impl core::error::Error for TooMany {}

/// Slots that are the holder's to fill. Nobody else gets any until it is committed, or dropped.
#[must_use = "dropped, the slots go back at once"]
pub struct Reservation<'a> {
    slots: &'a Slots,
    free: Permit,
    _turn: Permit,
}

impl Slots {
    /// `size` slots, all free. The names are what tasks wait for: their turn, and free slots.
    #[must_use]
    pub fn new(turn: Name, slots: Name, size: usize) -> Self {
        Slots { turn: Semaphore::new(turn, 1), free: Semaphore::new(slots, size), size, next: Cell::new(0) }
    }

    /// How many slots are free now.
    #[must_use]
    pub fn free_now(&self) -> usize {
        self.free.free()
    }

    /// Waits for its turn, and then until `count` neighbouring slots are free.
    ///
    /// # Errors
    /// [`TooMany`] at once, where the ring never has so many.
    pub async fn reserve(&self, count: usize) -> Result<Reservation<'_>, TooMany> {
        self.check(count)?;
        if let Ok(Some(reservation)) = self.try_reserve(count) {
            return Ok(reservation);
        }
        instant!("ring.wait", slots = count, free = self.free.free());
        let turn = self.turn.acquire(1).await;
        let free = self.free.acquire(count).await;
        Ok(Reservation { slots: self, free, _turn: turn })
    }

    /// Reserves if nobody waits and so many slots are free now.
    ///
    /// # Errors
    /// [`TooMany`], where the ring never has so many.
    pub fn try_reserve(&self, count: usize) -> Result<Option<Reservation<'_>>, TooMany> {
        self.check(count)?;
        let Some(turn) = self.turn.try_acquire(1) else { return Ok(None) };
        Ok(self.free.try_acquire(count).map(|free| Reservation { slots: self, free, _turn: turn }))
    }

    /// The consumer is done with so many more slots.
    pub fn free(&self, count: usize) {
        self.free.add(count);
    }

    const fn check(&self, count: usize) -> Result<(), TooMany> {
        if count <= self.size { Ok(()) } else { Err(TooMany { asked: count, size: self.size }) }
    }
}

impl Reservation<'_> {
    /// The slots, as free-running indices: their places are these modulo the ring's size.
    pub fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        let first = self.slots.next.get();
        // No ring has 2^32 slots.
        (0..u32::try_from(self.free.count()).unwrap_or(0)).map(move |slot| first.wrapping_add(slot))
    }

    /// The slots are filled: the next producer may have its turn. Returns the index behind the last one.
    pub fn commit(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "indices run freely")]
        let next = self.slots.next.get().wrapping_add(self.free.count() as u32);
        self.slots.next.set(next);
        self.free.forget();
        next
    }
}
