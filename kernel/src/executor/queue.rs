//! The run queue: anyone may put a ready task in, without a lock and without memory; the executor takes tasks out in order.
//!
//! Invariant: a slot is linked from exactly one place while its QUEUED bit is set, so one link per slot is enough and the
//! queue is never full.
//!
//! It has two halves. Wakers push onto a stack ([`Incoming`]); the executor takes the whole stack at once, turns it round,
//! and works the result off from its private half ([`RunQueue`]) before it looks at the stack again. Tasks thus run in the
//! order of their wakes, and a task that wakes itself for ever cannot keep others away.
#![expect(unsafe_code, reason = "the links are pointers to slots, which are never freed")]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::task::Slot;
use crate::platform::{cpu, idle};

/// Tasks that became ready since the executor last looked, the youngest first.
pub(crate) struct Incoming {
    youngest: AtomicPtr<Slot>,
    /// The executor has seen the stack empty and is about to wait.
    sleeping: AtomicBool,
    /// The only execution context that may emit events and take tasks.
    cpu: usize,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Incoming { youngest: AtomicPtr::new(ptr::null_mut()), sleeping: AtomicBool::new(false), cpu: cpu::current() }
    }

    /// Whether the caller runs on the executor's CPU.
    pub(super) fn is_here(&self) -> bool {
        cpu::current() == self.cpu
    }

    /// Adds `slot`, whose QUEUED bit the caller has just set.
    pub(super) fn push(&self, slot: &'static Slot) {
        let mut youngest = self.youngest.load(Ordering::Relaxed);
        loop {
            slot.next.store(youngest, Ordering::Relaxed);
            // SeqCst, which includes Release: pairs with the Acquire in `take`, which then sees the link. SeqCst: pairs
            // with `prepare_sleep`: either the load below sees `sleeping`, or the executor sees this slot.
            match self.youngest.compare_exchange_weak(
                youngest,
                ptr::from_ref(slot).cast_mut(),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => youngest = now,
            }
        }
        // SeqCst: pairs with the store in `prepare_sleep`.
        if self.sleeping.load(Ordering::SeqCst) {
            idle::kick();
        }
    }

    /// Announces that the executor is going to wait; `false` if it must not, because a task is there.
    pub(super) fn prepare_sleep(&self) -> bool {
        // SeqCst twice: pairs with `push`.
        self.sleeping.store(true, Ordering::SeqCst);
        self.youngest.load(Ordering::SeqCst).is_null()
    }

    pub(super) fn end_sleep(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

/// The executor's half: tasks taken over, the oldest first.
pub(super) struct RunQueue {
    oldest: Cell<Option<&'static Slot>>,
}

impl RunQueue {
    pub(super) const fn new() -> Self {
        RunQueue { oldest: Cell::new(None) }
    }

    /// Takes all of `incoming` over, calling `each` for every slot, the oldest first. Only when [`Self::pop`] gave none:
    /// otherwise nothing happens.
    pub(super) fn take(&self, incoming: &Incoming, mut each: impl FnMut(&'static Slot)) {
        if self.oldest.get().is_some() {
            return;
        }
        // Acquire: pairs with the Release in `push`.
        let mut slot = incoming.youngest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut younger: *mut Slot = ptr::null_mut();
        // SAFETY: a pointer in the stack is null or a slot, and slots are never freed.
        while let Some(this) = unsafe { slot.as_ref::<'static>() } {
            let older = this.next.load(Ordering::Relaxed);
            this.next.store(younger, Ordering::Relaxed);
            younger = slot;
            slot = older;
        }
        // SAFETY: as above.
        self.oldest.set(unsafe { younger.as_ref::<'static>() });
        let mut next = self.oldest.get();
        while let Some(slot) = next {
            each(slot);
            // SAFETY: as above.
            next = unsafe { slot.next.load(Ordering::Relaxed).as_ref::<'static>() };
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.oldest.get().is_none()
    }

    /// The task that has been ready for longest, of those taken over.
    pub(super) fn pop(&self) -> Option<&'static Slot> {
        let slot = self.oldest.get()?;
        // SAFETY: a link in the queue is null or a slot, and slots are never freed.
        self.oldest.set(unsafe { slot.next.load(Ordering::Relaxed).as_ref::<'static>() });
        Some(slot)
    }
}
