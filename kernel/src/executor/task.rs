//! A task: a future with a number, a state that anyone may advance from idle to ready, and a slot that is never freed.
//!
//! ```text
//!               1                        2
//!    (none) ─────────► READY ───────────────────► RUNNING ──────┐
//!                        ▲                         │  │  ▲      │ 5
//!                      3 │          4              │  └──┘ 6    ▼
//!                       IDLE ◄─────────────────────┘          DONE
//! ```
//! | | function | event |
//! |---|---|---|
//! | 1 | `Executor::spawn` | `task.spawn`, `task.ready` |
//! | 2 | [`Slot::begin_poll`] | `task.poll`, or `task.switch` directly after another task's 4 |
//! | 3 | [`Slot::wake`], from anywhere | `task.ready` |
//! | 4 | the future returned `Pending` | `task.pending`, or the next task's `task.switch` |
//! | 5 | the future returned `Ready` | `task.done` |
//! | 6 | [`Slot::wake`] during the task's own poll: 4 then leads to READY at once | `task.ready` |
//!
//! **A waker is a number, not an owner.** It is the slot's address and, in the bits that alignment leaves, the slot's
//! generation. Slots are leaked on purpose (a guest has one executor, and reuses them), so a waker may be cloned, dropped
//! and used at any time from an interrupt handler or another thread: nothing is counted, allocated or freed. Waking a task
//! that is gone does nothing, because its generation is over. Only a waker that is kept while the same slot serves 128
//! further tasks can wake a stranger, which costs that task a poll in vain: every future must bear that.
#![expect(
    unsafe_code,
    reason = "wakers are pointers, and the future's cell is shared with threads that never touch it"
)]

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::future::Future;
use core::pin::Pin;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, Ordering};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use fata_probe::Name;

use super::events;
use super::queue::Incoming;

/// In the run queue, or about to be.
const QUEUED: u32 = 1;
/// A task lives here.
const LIVE: u32 = 2;
/// Woken where no event can be emitted; the executor emits it when it takes the task over.
const UNSAID: u32 = 4;
const GENERATION_SHIFT: u32 = 8;
const GENERATIONS: u32 = 128;

/// A task as its slot keeps it.
pub(super) struct Body {
    pub(super) future: Pin<Box<dyn Future<Output = ()>>>,
    pub(super) name: Name,
    /// Who spawned it.
    pub(super) parent: u16,
}

/// The place of one task at a time. Its alignment is the number of generations a waker can tell apart.
#[repr(align(128))]
pub(crate) struct Slot {
    state: AtomicU32,
    number: AtomicU16,
    /// The link of the run queue; belongs to whoever set QUEUED, then to the executor.
    pub(super) next: AtomicPtr<Slot>,
    incoming: &'static Incoming,
    /// Touched by the executor alone.
    body: UnsafeCell<Option<Body>>,
}

// SAFETY: everything but `body` is atomic or shared. `body` is touched only by `start`, `poll` and `clear`, which are for
// the executor alone, and the executor does not leave its thread.
unsafe impl Sync for Slot {}

const _: () = assert!(align_of::<Slot>() == GENERATIONS as usize);

/// What the state was when a poll began.
pub(super) enum Begin {
    /// The task is to be polled.
    Poll,
    /// The task ended while it was queued: nothing links to the slot any more.
    Gone,
}

impl Slot {
    pub(super) const fn new(incoming: &'static Incoming) -> Self {
        Slot {
            state: AtomicU32::new(0),
            number: AtomicU16::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            incoming,
            body: UnsafeCell::new(None),
        }
    }

    pub(super) fn number(&self) -> u16 {
        self.number.load(Ordering::Relaxed)
    }

    /// Makes the slot the place of task `number` in a new generation, idle.
    ///
    /// # Safety
    /// By the executor, on a slot that is not live.
    pub(super) unsafe fn start(&self, number: u16, body: Body) {
        self.number.store(number, Ordering::Relaxed);
        // SAFETY: the executor is the only one to touch the body.
        unsafe { *self.body.get() = Some(body) };
        let generation = (self.state.load(Ordering::Relaxed) >> GENERATION_SHIFT) + 1;
        // Release: pairs with the Acquire in `wake`, which then sees the number.
        self.state.store((generation % GENERATIONS) << GENERATION_SHIFT | LIVE, Ordering::Release);
    }

    /// Takes the slot out of the run queue's account.
    pub(super) fn begin_poll(&self) -> Begin {
        // Acquire: pairs with the Release in `wake`: the poll sees what came before each wake that it answers.
        // Release: a later `wake` that reads this sees the link free.
        let state = self.state.fetch_and(!(QUEUED | UNSAID), Ordering::AcqRel);
        if state & LIVE == 0 { Begin::Gone } else { Begin::Poll }
    }

    /// Whether the wake that queued the slot could not emit its event.
    pub(super) fn is_unsaid(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (UNSAID | LIVE) == UNSAID | LIVE
    }

    /// Polls the future; a future that is done is dropped here.
    ///
    /// # Safety
    /// By the executor, not from within another `poll` of this slot.
    pub(super) unsafe fn poll(&'static self) -> Poll<()> {
        let waker = self.waker();
        // SAFETY: the executor is the only one to touch the body, and does not while this reference lives: `start` and
        // `clear` need a slot that is not live or not polled.
        let body = unsafe { &mut *self.body.get() };
        match body {
            Some(body) => body.future.as_mut().poll(&mut Context::from_waker(&waker)),
            None => Poll::Ready(()),
        }
    }

    /// The name and the parent of the task that lives here, if one does.
    ///
    /// # Safety
    /// By the executor, not from within `poll` of this slot.
    pub(super) unsafe fn name_and_parent(&self) -> Option<(Name, u16)> {
        // SAFETY: the executor is the only one to touch the body, and nobody polls.
        unsafe { &*self.body.get() }.as_ref().map(|body| (body.name, body.parent))
    }

    /// Ends the generation and returns the future for the caller to drop, and whether the slot is free now; otherwise it
    /// is still in the run queue and becomes free when [`Self::begin_poll`] says `Gone`.
    ///
    /// # Safety
    /// By the executor, not from within `poll` of this slot.
    pub(super) unsafe fn clear(&self) -> (Option<Body>, bool) {
        // AcqRel: no wake of this generation queues the slot after this.
        let state = self.state.fetch_and(!LIVE, Ordering::AcqRel);
        // SAFETY: the executor is the only one to touch the body.
        (unsafe { (*self.body.get()).take() }, state & QUEUED == 0)
    }

    /// Makes the task ready, unless it is already or is of another generation. (Several wakes find it so for one that does not:
    /// compiled into the waker's function, they are over with that.)
    #[inline(always)]
    pub(super) fn wake(&'static self, generation: u32) {
        let here = self.incoming.is_here();
        let queue = if here { QUEUED } else { QUEUED | UNSAID };
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state >> GENERATION_SHIFT != generation || state & LIVE == 0 {
                return;
            }
            // A wake that finds the task queued writes all the same: only a write can publish to the coming poll what
            // came before this wake.
            let next = if state & QUEUED == 0 { state | queue } else { state };
            // Release: pairs with the Acquire in `begin_poll`. Acquire: `start` set the number before.
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if state & QUEUED == 0 => break,
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        if here {
            events::ready(self.number());
        }
        self.incoming.push(self);
    }

    /// Wakes the task that lives here now.
    pub(super) fn wake_now(&'static self) {
        self.wake(self.state.load(Ordering::Relaxed) >> GENERATION_SHIFT);
    }

    pub(super) fn waker(&'static self) -> Waker {
        let generation = self.state.load(Ordering::Relaxed) >> GENERATION_SHIFT;
        let data = ptr::from_ref(self).map_addr(|address| address | generation as usize);
        // SAFETY: the functions of VTABLE take what `waker` makes: the address of a slot, which is never freed, with the
        // generation in its low bits. They may be called from any thread, since `wake` touches atomics only.
        unsafe { Waker::from_raw(RawWaker::new(data.cast(), &VTABLE)) }
    }
}

pub(super) static VTABLE: RawWakerVTable = RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), wake, wake, |_| ());

/// Wakes the task whose waker has this `data`.
///
/// # Safety
/// `data` comes from [`Slot::waker`].
pub(super) unsafe fn wake(data: *const ()) {
    let mask = GENERATIONS as usize - 1;
    // SAFETY: `data` was made by `Slot::waker` from a slot that is never freed.
    let slot: &'static Slot = unsafe { &*data.map_addr(|address| address & !mask).cast() };
    slot.wake(u32::try_from(data.addr() & mask).unwrap_or(0));
}
