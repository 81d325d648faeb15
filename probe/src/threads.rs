//! Programs whose threads come and go: each gets a stream at its first record, without being asked.
//!
//! ```
//! use fata_probe::region::{Config, Region};
//! use fata_probe::{instant, threads};
//! let region = Region::in_memory(&Config { name: "doc", streams: 3, log_streams: 6, ..Config::default() })?;
//! threads::open(region);
//! std::thread::spawn(|| instant!("doc.elsewhere")).join().map_err(|_| "it panicked")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! A thread is shown as a task of the thread's name, which runs from its first record to its end: when the operating system
//! has it wait is not seen.
//!
//! **When there are more threads than streams**, all but the first ones share the region's last stream: they take turns, each
//! record waits for the one that another thread is writing there, and such a thread is shown to run from one of its records to
//! the next of another. When a thread ends its stream is the next one's.
//!
//! Invariant: a writer, and the log rings beside it, are used by one thread at a time. Between two owners of a stream lies the
//! exchange of its bit in `FREE`, between two users of the shared one that of `TURN`.
#![expect(unsafe_code, reason = "a region in a static")]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, Ordering};
use std::collections::VecDeque;
use std::string::{String, ToString};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::vec::Vec;

use crate::log::context::{self, Context};
use crate::region::Region;
use crate::{Kind, Name, TaskId, event};

/// The region whose streams threads take; null in a program whose vCPUs are attached by hand.
static REGION: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());
/// A bit for each stream that is nobody's.
static FREE: AtomicU32 = AtomicU32::new(0);
/// Somebody uses the shared stream.
static TURN: AtomicBool = AtomicBool::new(false);
/// Whose turn it was last.
static LAST: AtomicU16 = AtomicU16::new(0);
/// How often threads were to say who they are; 0 where no region is open to them.
static ROLL_CALL: AtomicU32 = AtomicU32::new(0);
/// The number of the thread that came last.
static THREADS: AtomicU16 = AtomicU16::new(0);

/// The numbers of the threads that came last, and their names.
static NUMBERED: Mutex<VecDeque<(u16, Name)>> = Mutex::new(VecDeque::new());
/// Names of threads that have a number, which is the same for the same name.
static NAMES: Mutex<Vec<(String, Name)>> = Mutex::new(Vec::new());
/// With more different names than these, threads are shown without one; of so many threads the names are remembered.
const MAX_NAMES: usize = 256;

/// From now on every thread of the program that records takes a stream of `region`, of which the last one is shared. For the
/// application, once, and before any other thread records.
pub fn open(region: &'static Region) {
    let streams = region.geometry().stream_count;
    FREE.store((1u32 << (streams - 1)) - 1, Ordering::Relaxed);
    crate::log::limit::share();
    // Release: pairs with the Acquire in `region`.
    REGION.store(ptr::from_ref(region).cast_mut(), Ordering::Release);
    ROLL_CALL.store(1, Ordering::Relaxed);
}

/// No thread takes a stream any more; those that have one keep it.
pub fn close() {
    ROLL_CALL.store(0, Ordering::Relaxed);
    REGION.store(ptr::null_mut(), Ordering::Release);
}

/// Has each thread say who it is when it records next, for readers that have come since. Every second or so.
pub fn call_roll() {
    let now = ROLL_CALL.load(Ordering::Relaxed);
    if now > 0 {
        ROLL_CALL.store(now.checked_add(1).unwrap_or(1), Ordering::Relaxed);
    }
}

/// The number of the calling thread, which its records have from now on; 0 while the thread ends.
#[must_use]
pub fn number() -> u16 {
    ME.try_with(Me::number).unwrap_or(0)
}

/// What the thread of this number is called, if it is one of the last 256 that recorded something.
#[must_use]
pub fn name_of(number: u16) -> Option<Name> {
    let numbered = NUMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    numbered.iter().rev().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Runs `work` with the shared stream as its own, for a thread that records seldom and should take no stream from others.
pub fn on_shared<T>(work: impl FnOnce() -> T) -> T {
    context::with(|context| {
        let turn = region().and_then(|region| Turn::take(context, region, 0));
        let result = work();
        drop(turn);
        result
    })
}

/// Whether the thread of this context has to go by [`lease`]: it has no stream of its own, or is to say who it is.
#[inline(always)]
pub(crate) fn is_due(called: u32) -> bool {
    called != ROLL_CALL.load(Ordering::Relaxed)
}

/// Runs `work` with a stream for it: the thread's own, from now on, or the shared one meanwhile.
#[cold]
#[inline(never)]
pub(crate) fn lease<T>(context: &Context, work: impl FnOnce(&Context) -> T) -> T {
    let turn = find_stream(context);
    let result = work(context);
    drop(turn);
    result
}

/// Gives a thread that has no trace stream one of its own, where one is free.
pub(crate) fn attach() -> bool {
    context::with(|context| find_stream(context).is_none() && !context.has_no_slot())
}

fn region() -> Option<&'static Region> {
    // Acquire: pairs with the Release in `open`.
    // SAFETY: null, or stored by `open` from a reference that lives for ever.
    unsafe { REGION.load(Ordering::Acquire).cast_const().as_ref() }
}

/// Sees to it that the context has a stream; the turn at the shared one, where that is it.
fn find_stream(context: &Context) -> Option<Turn<'_>> {
    let call = ROLL_CALL.load(Ordering::Relaxed);
    let region = region()?;
    // While a thread ends, after what it knows of itself is gone, it shares.
    let number = ME.try_with(|me| me.number()).unwrap_or(0);
    if context.has_no_slot()
        && number != 0
        && let Some(stream) = take_free()
        && let Some((writer, slot)) = region.seat(stream)
    {
        context.set_slot(Some(slot));
        context.set_task(number);
        crate::current::set(Some(writer));
        let _ = ME.try_with(|me| me.stream.set(Some(stream)));
    }
    if context.has_no_slot() {
        let turn = Turn::take(context, region, number)?;
        let _ = ME.try_with(|me| me.say(call, false));
        return Some(turn);
    }
    if ME.try_with(|me| me.stream.get().is_some()).unwrap_or(false) {
        context.called.store(call, Ordering::Relaxed);
        let _ = ME.try_with(|me| me.say(call, true));
    }
    None
}

fn take_free() -> Option<u32> {
    let mut free = FREE.load(Ordering::Relaxed);
    while free != 0 {
        let stream = free.trailing_zeros();
        // Acquire: pairs with the Release in `Me::drop`: what the last owner wrote is there.
        match FREE.compare_exchange_weak(free, free & !(1 << stream), Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(stream),
            Err(now) => free = now,
        }
    }
    None
}

/// The shared stream is the context's until this is dropped.
struct Turn<'a> {
    context: &'a Context,
}

impl<'a> Turn<'a> {
    /// `None` where a signal handler records while its thread waits for its turn.
    fn take(context: &'a Context, region: &'static Region, task: u16) -> Option<Self> {
        let shared = region.geometry().stream_count - 1;
        if context.waiting.swap(true, Ordering::Relaxed) {
            region.count_discarded(region.geometry().stream_count + 2 * shared, fata_wire::packet::Cause::Nested);
            return None;
        }
        // Acquire: pairs with the Release in `drop`.
        while TURN.swap(true, Ordering::Acquire) {
            thread::yield_now();
        }
        if let Some((writer, slot)) = region.seat(shared) {
            context.set_slot(Some(slot));
            context.set_task(task);
            crate::current::set(Some(writer));
        }
        context.waiting.store(false, Ordering::Relaxed);
        if task != 0 && LAST.swap(task, Ordering::Relaxed) != task {
            event!(Kind::Switch, "thread.switch", task = TaskId(task));
        }
        Some(Turn { context })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.context.waiting.store(true, Ordering::Relaxed);
        crate::current::set(None);
        self.context.set_slot(None);
        TURN.store(false, Ordering::Release);
        self.context.waiting.store(false, Ordering::Relaxed);
    }
}

/// What a thread knows of itself.
struct Me {
    /// 0 until it is asked.
    number: Cell<u16>,
    name: Cell<Name>,
    /// The roll call that it answered last.
    said: Cell<u32>,
    stream: Cell<Option<u32>>,
}

std::thread_local! {
    static ME: Me = const { Me { number: Cell::new(0), name: Cell::new(Name::UNNAMED), said: Cell::new(0), stream: Cell::new(None) } };
}

impl Me {
    fn number(&self) -> u16 {
        if self.number.get() == 0 {
            // 0 is the scheduler; numbers come round after 32,767 threads, as those of tasks do.
            let number = THREADS.fetch_add(1, Ordering::Relaxed) % (fata_wire::event::ARG_LIMIT - 1) + 1;
            self.number.set(number);
            let name = name_for(&thread::current());
            self.name.set(name);
            let mut numbered = NUMBERED.lock().unwrap_or_else(PoisonError::into_inner);
            if numbered.len() == MAX_NAMES {
                numbered.pop_front();
            }
            numbered.push_back((number, name));
        }
        self.number.get()
    }

    /// Says who this is, once a roll call.
    fn say(&self, call: u32, own: bool) {
        if self.said.replace(call) == call {
            return;
        }
        let (task, name) = (TaskId(self.number.get()), self.name.get());
        if call > 1 {
            event!(Kind::Alive, "thread.alive", task = task, name = name);
        } else {
            event!(Kind::Spawn, "thread.start", task = task, name = name);
        }
        if own {
            event!(Kind::Switch, "thread.switch", task = task);
        }
    }
}

impl Drop for Me {
    fn drop(&mut self) {
        let Some(stream) = self.stream.get() else { return };
        event!(Kind::Done, "thread.end", task = TaskId(self.number.get()));
        context::with(|context| {
            crate::current::set(None);
            context.set_slot(None);
            context.called.store(0, Ordering::Relaxed);
        });
        // Release: pairs with the Acquire in `take_free`.
        FREE.fetch_or(1 << stream, Ordering::Release);
    }
}

fn name_for(thread: &thread::Thread) -> Name {
    let text = thread.name().unwrap_or("thread");
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, name)) = names.iter().find(|(known, _)| known == text) {
        return *name;
    }
    if names.len() == MAX_NAMES {
        return Name::UNNAMED;
    }
    let name = Name::new_dynamic(text);
    names.push((text.to_string(), name));
    name
}
