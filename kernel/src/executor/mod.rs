//! The cooperative scheduler of one vCPU: it polls tasks in the order in which they became ready, fires timers, and sleeps.
//!
//! Invariant: outside of `idle::wait`, either a task is being polled or the scheduler is looking for one; whenever both
//! the run queues and the timers have nothing due, the CPU sleeps. A background task is polled only where no other is ready, or
//! where that has not been so for a quarter of a second: a guest that never rests still shows its log.
//!
//! ```text
//! ┌─► pop a ready task ──► poll it ──┐
//! │        │ none                    │
//! │        ▼                         │
//! │   fire timers, read the control page, take over what was woken
//! │        │ nothing                 │
//! │        ▼                         │
//! │   pop a ready background task ──► poll it
//! │        │ none                    │
//! │        ▼                         │
//! └── sleep until a wake or a timer ◄┘
//! ```
//! The life of a task is drawn in `task.rs`; how a wake reaches the queue from an interrupt is told in `queue.rs`.
#![expect(unsafe_code, reason = "the executor is the one caller of the slots' functions that are not for everyone")]

mod census;
mod ended;
pub(crate) mod events;
mod join;
mod queue;
mod task;
mod timer;
mod wake_cell;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::task::Poll;

use fata_probe::{Name, Wait, span};

use crate::numbers::Numbers;
use crate::platform::{clock, idle};
use crate::sync;
use crate::{control, heap};
use census::Census;
pub(crate) use census::Due;
use ended::Ended;
pub use join::JoinHandle;
use join::Joint;
use queue::{Incoming, RunQueue};
use task::{Begin, Body, Slot};
use timer::Timers;
pub use wake_cell::WakeCell;

/// How often the scheduler runs its errands, at most: whoever looks on does not notice four milliseconds, and a busy guest has
/// hundreds of rounds in them.
const ERRANDS_NANOS: u64 = 4_000_000;
/// For so long the background waits at most, one poll of one task a time: under one thousandth of what a busy guest does.
const BACKGROUND_PATIENCE_NANOS: u64 = 250_000_000;
/// Slots are allocated by so many.
const SLOTS_PER_CHUNK: usize = 32;
/// After so many polls in a row the scheduler looks at timers and the control page even if tasks are ready.
const POLLS_PER_ROUND: u32 = 256;

/// A scheduler with its tasks. Lives as long as the machine, or the process: tasks that are not done are never dropped.
pub(crate) struct Executor {
    foreground: Lane,
    background: Lane,
    chunks: RefCell<Vec<&'static [Slot]>>,
    numbers: Box<Numbers>,
    current: Cell<u16>,
    ended: Ended,
    timers: Rc<Timers>,
    census: Census,
    /// When there are errands again, see [`Executor::run_errands`].
    next_errands: Cell<u64>,
    /// When the background's patience ends.
    next_background: Cell<u64>,
}

/// Tasks that wait for each other's turn, and the slots that such tasks have had.
struct Lane {
    incoming: &'static Incoming,
    ready: RunQueue,
    free: RefCell<Vec<&'static Slot>>,
}

impl Lane {
    fn new() -> Self {
        Lane { incoming: Box::leak(Box::new(Incoming::new())), ready: RunQueue::new(), free: RefCell::new(Vec::new()) }
    }

    /// Moves what was woken to the private half of the queue, and emits the wakes that came from elsewhere.
    fn take_over(&self, unsaid_pending: &mut Option<Pending>) {
        self.ready.take(self.incoming, |slot| {
            if slot.is_unsaid() {
                say_pending(unsaid_pending);
                events::ready(slot.number());
            }
        });
    }
}

impl Executor {
    pub(crate) fn new() -> Self {
        Executor {
            foreground: Lane::new(),
            background: Lane::new(),
            chunks: RefCell::new(Vec::new()),
            census: Census::default(),
            next_errands: Cell::new(0),
            next_background: Cell::new(clock::now() + BACKGROUND_PATIENCE_NANOS),
            numbers: Box::new(Numbers::new()),
            current: Cell::new(0),
            ended: Ended::new(),
            timers: Rc::new(Timers::new(clock::now())),
        }
    }

    /// Starts a task; it is polled for the first time after those that are ready now.
    pub(crate) fn spawn<T: 'static>(&self, name: Name, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.spawn_in(&self.foreground, name, future)
    }

    /// Starts a task that is polled where no other is ready, or where that has not been so for long.
    pub(crate) fn spawn_background<T: 'static>(
        &self,
        name: Name,
        future: impl Future<Output = T> + 'static,
    ) -> JoinHandle<T> {
        self.spawn_in(&self.background, name, future)
    }

    fn spawn_in<T: 'static>(
        &self,
        lane: &Lane,
        name: Name,
        future: impl Future<Output = T> + 'static,
    ) -> JoinHandle<T> {
        let number = self.numbers.take();
        let joint =
            Rc::new(Joint { result: RefCell::new(None), done: Cell::new(false), waiter: RefCell::new(None), number });
        let shared = joint.clone();
        let future = Box::pin(async move { shared.finish(future.await) });
        let body = Body { future, name, parent: self.current.get() };
        let slot = self.free_slot(lane);
        // SAFETY: we are the executor, and a slot from the free list is not live.
        unsafe { slot.start(number, body) };
        events::spawn(number, name, self.current.get());
        slot.wake_now();
        JoinHandle { shared: joint }
    }

    fn free_slot(&self, lane: &Lane) -> &'static Slot {
        if let Some(slot) = lane.free.borrow_mut().pop() {
            return slot;
        }
        let chunk: &'static [Slot] =
            Box::leak((0..SLOTS_PER_CHUNK).map(|_| Slot::new(lane.incoming)).collect::<Box<[Slot]>>());
        self.chunks.borrow_mut().push(chunk);
        let mut free = lane.free.borrow_mut();
        free.extend(chunk.iter().skip(1).rev());
        &chunk[0]
    }

    /// Polls tasks until the one of `main` is done.
    pub(crate) fn run<T>(&self, main: &JoinHandle<T>) {
        let mut unsaid_pending = None;
        let mut polls = 0;
        while !main.is_done() {
            let (slot, lane) = if polls < POLLS_PER_ROUND
                && let Some(slot) = self.next_ready(&mut unsaid_pending)
            {
                polls += 1;
                (slot, &self.foreground)
            } else {
                polls = 0;
                say_pending(&mut unsaid_pending);
                let now = clock::now();
                idle::look(now);
                self.run_errands(now);
                self.timers.fire(now);
                self.foreground.take_over(&mut unsaid_pending);
                let is_quiet = self.foreground.ready.is_empty();
                if !is_quiet && now < self.next_background.get() {
                    continue;
                }
                self.next_background.set(now.saturating_add(BACKGROUND_PATIENCE_NANOS));
                self.background.take_over(&mut unsaid_pending);
                match self.background.ready.pop() {
                    Some(slot) => (slot, &self.background),
                    None if is_quiet => {
                        self.sleep();
                        continue;
                    }
                    None => continue,
                }
            };
            // The one place that polls, so that it is compiled into the loop.
            self.poll(slot, lane, &mut unsaid_pending);
        }
        say_pending(&mut unsaid_pending);
    }

    /// Sees to what is no task's business, at most every [`ERRANDS_NANOS`]: what the host asks, levels that changed, names
    /// for who joins late.
    fn run_errands(&self, now: u64) {
        if events::ON && (now >= self.next_errands.get() || fata_probe::control::is_asked()) {
            self.run_errands_now(now);
        }
    }

    /// Apart, as [`sleep`](Self::sleep) is: the loop that polls is short.
    #[inline(never)]
    fn run_errands_now(&self, now: u64) {
        self.next_errands.set(now.saturating_add(ERRANDS_NANOS));
        control::poll();
        fata_probe::log::tick();
        heap::report_sometimes();
        self.take_census();
    }

    /// The next task to poll, if no timer wants to come first.
    fn next_ready(&self, unsaid_pending: &mut Option<Pending>) -> Option<&'static Slot> {
        if let Some(slot) = self.foreground.ready.pop() {
            return Some(slot);
        }
        if self.timers.next_deadline().is_some_and(|deadline| deadline <= clock::now()) {
            return None;
        }
        self.foreground.take_over(unsaid_pending);
        self.foreground.ready.pop()
    }

    fn poll(&self, slot: &'static Slot, lane: &Lane, unsaid_pending: &mut Option<Pending>) {
        if let Begin::Gone = slot.begin_poll() {
            lane.free.borrow_mut().push(slot);
            return;
        }
        let number = slot.number();
        match unsaid_pending.take() {
            Some(before) => events::switch(number, before.waits),
            None => events::poll(number),
        }
        self.set_current(number);
        // SAFETY: we are the executor, and a task cannot poll itself: `run` is not reentered.
        let poll = unsafe { slot.poll() };
        let waits = events::take_wait();
        if let Poll::Ready(()) = poll {
            // SAFETY: we are the executor, and the poll is over.
            let (body, free) = unsafe { slot.clear() };
            let name = body.as_ref().map(|body| body.name);
            // The future's destructors are the task's own doing.
            drop(body);
            events::done(number);
            if let Some(name) = name.filter(|_| events::ON) {
                self.ended.keep(number, name);
            }
            self.numbers.give_back(number);
            if free {
                lane.free.borrow_mut().push(slot);
            }
        } else {
            *unsaid_pending = Some(Pending { task: number, waits });
        }
        self.set_current(0);
    }

    /// Who runs from now on, for who asks and for log records; 0 is the scheduler.
    fn set_current(&self, number: u16) {
        self.current.set(number);
        fata_probe::log::set_task(number);
    }

    /// The number of the task that is being polled; 0 where none is.
    pub(crate) fn current(&self) -> u16 {
        self.current.get()
    }

    /// What a task is called that is not the one being polled: one that lives, or else one that ended not long ago.
    pub(crate) fn name_of(&self, number: u16) -> Option<Name> {
        if number == self.current.get() {
            return None;
        }
        let chunks = self.chunks.borrow();
        // A number is given again: slots whose tasks have ended may still have it.
        let mut slots = chunks.iter().copied().flatten().filter(|slot| slot.number() == number);
        // SAFETY: we are the executor, and it is another task's poll that is going on, if any.
        let living = slots.find_map(|slot| unsafe { slot.name_and_parent() }).map(|(name, _)| name);
        living.or_else(|| self.ended.name_of(number))
    }

    /// Says again what the living tasks and objects are called: all of them when a collector has joined, and some every
    /// second, so that the recorder's newest part explains itself.
    fn take_census(&self) {
        if !events::ON {
            return;
        }
        let due = self.census.due();
        sync::say_again(due);
        let chunks = self.chunks.borrow();
        for slot in due.of(chunks.len()).filter_map(|chunk| chunks.get(chunk)).copied().flatten() {
            // SAFETY: we are the executor, and no poll is going on.
            if let Some((name, parent)) = unsafe { slot.name_and_parent() } {
                events::alive(slot.number(), name, parent);
            }
        }
    }

    #[inline(never)]
    fn sleep(&self) {
        let deadline = self.timers.next_deadline();
        // Both before either is believed: a wake kicks only a lane that is said to sleep.
        let lanes = [self.foreground.incoming, self.background.incoming];
        if lanes.map(Incoming::prepare_sleep) == [true, true] {
            let _span = span!("cpu.idle");
            control::wait(deadline);
        }
        lanes.into_iter().for_each(Incoming::end_sleep);
    }

    /// A future that is ready once the clock has reached `deadline`.
    pub(crate) fn sleep_until(&self, deadline: u64) -> timer::Sleep {
        timer::Sleep::new(self.timers.clone(), deadline)
    }
}

/// A task whose poll ended as pending, while that has not been said yet: the next poll may say it along.
struct Pending {
    task: u16,
    waits: &'static Wait,
}

fn say_pending(unsaid: &mut Option<Pending>) {
    if let Some(Pending { task, waits }) = unsaid.take() {
        events::pending(task, waits);
    }
}
