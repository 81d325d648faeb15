//! What a record takes from where it is made: the vCPU's rings, the running task, the spans that are entered.
//!
//! Invariant: a context belongs to one vCPU, or one thread; an interrupt that uses it in between leaves it as it was, but
//! for counters, which are changed by single instructions.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU16, Ordering};
#[cfg(feature = "tracing")]
use core::sync::atomic::{AtomicU32, AtomicU64};

use super::slot::{NOBODY, Slot};

/// How deep records may nest: an interrupt within one, and what a `Display` of a field logs.
#[cfg(feature = "tracing")]
const DEPTH: usize = 3;
/// The longest payload of a record made at run time, in words.
#[cfg(feature = "tracing")]
pub(crate) const SCRATCH_WORDS: usize = 256;
/// How many entered spans are known; deeper ones are entered and left without a trace.
#[cfg(feature = "tracing")]
pub(crate) const MAX_ENTERED: usize = 32;

pub(crate) struct Context {
    slot: AtomicPtr<Slot>,
    task: AtomicU16,
    #[cfg(feature = "tracing")]
    depth: AtomicU32,
    #[cfg(feature = "tracing")]
    scratch: [[AtomicU64; SCRATCH_WORDS]; DEPTH],
    #[cfg(feature = "tracing")]
    pub(crate) entered: super::spans::Entered,
}

impl Context {
    const fn new() -> Self {
        Context {
            slot: AtomicPtr::new((&raw const NOBODY).cast_mut()),
            task: AtomicU16::new(0),
            #[cfg(feature = "tracing")]
            depth: AtomicU32::new(0),
            #[cfg(feature = "tracing")]
            scratch: [const { [const { AtomicU64::new(0) }; SCRATCH_WORDS] }; DEPTH],
            #[cfg(feature = "tracing")]
            entered: super::spans::Entered::new(),
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "a pointer in a static or thread-local")]
    pub(crate) fn slot(&self) -> &'static Slot {
        // SAFETY: from the start, and whenever `set_slot` stores, the pointer is a reference that lives for ever.
        unsafe { &*self.slot.load(Ordering::Relaxed).cast_const() }
    }

    pub(crate) fn set_slot(&self, slot: Option<&'static Slot>) {
        self.slot.store(ptr::from_ref(slot.unwrap_or(&NOBODY)).cast_mut(), Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn task(&self) -> u16 {
        self.task.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set_task(&self, task: u16) {
        self.task.store(task, Ordering::Relaxed);
    }

    /// Room to encode a record in; `None` where records are nested too deep.
    #[cfg(feature = "tracing")]
    pub(crate) fn scratch(&self) -> Option<Scratch<'_>> {
        let depth = self.depth.load(Ordering::Relaxed);
        let words = self.scratch.get(depth as usize)?;
        self.depth.store(depth + 1, Ordering::Relaxed);
        Some(Scratch { words, depth: &self.depth, nested: depth > 0 })
    }
}

/// Words that one record has to itself, until this is dropped.
#[cfg(feature = "tracing")]
pub(crate) struct Scratch<'a> {
    pub(crate) words: &'a [AtomicU64; SCRATCH_WORDS],
    depth: &'a AtomicU32,
    /// Whether another record is being made beneath this one.
    pub(crate) nested: bool,
}

#[cfg(feature = "tracing")]
impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.depth.store(self.depth.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }
}

/// Gives the context of the running code.
#[cfg(feature = "std")]
#[inline(always)]
pub(crate) fn with<T>(f: impl FnOnce(&Context) -> T) -> T {
    std::thread_local! {
        static CONTEXT: Context = const { Context::new() };
    }
    CONTEXT.with(f)
}

/// Gives the context of the running code: there is one vCPU.
#[cfg(not(feature = "std"))]
#[inline(always)]
pub(crate) fn with<T>(f: impl FnOnce(&Context) -> T) -> T {
    static CONTEXT: Context = Context::new();
    f(&CONTEXT)
}
