//! What a record takes from where it is made: the vCPU's rings, the running task, the spans that are entered.
//!
//! Invariant: a context belongs to one vCPU, or one thread; an interrupt that uses it in between leaves it as it was, but
//! for counters, which are changed by single instructions. Of grants it knows four at a time: with interrupts four deep between
//! `enabled` and the event, the outermost takes a second token.

use core::ptr;
#[cfg(any(feature = "tracing", feature = "log", all(feature = "std", feature = "profiling")))]
use core::sync::atomic::AtomicU32;
#[cfg(any(feature = "tracing", feature = "log"))]
use core::sync::atomic::AtomicU64;
use core::sync::atomic::{AtomicPtr, AtomicU16, Ordering};

use super::slot::{NOBODY, Slot};

/// How deep records may nest: an interrupt within one, and what a `Display` of a field logs.
#[cfg(any(feature = "tracing", feature = "log"))]
const DEPTH: usize = 3;
/// The longest payload of a record made at run time, in words.
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) const SCRATCH_WORDS: usize = 256;
/// How many entered spans are known; of deeper ones records only say that they are there.
#[cfg(feature = "tracing")]
pub(crate) const MAX_ENTERED: usize = 32;

pub(crate) struct Context {
    slot: AtomicPtr<Slot>,
    task: AtomicU16,
    /// The roll call that the thread has answered, see [`crate::threads`]; 0 where it has no stream of its own.
    #[cfg(all(feature = "std", feature = "profiling"))]
    pub(crate) called: AtomicU32,
    /// The thread waits for the shared stream, or gives it back.
    #[cfg(all(feature = "std", feature = "profiling"))]
    pub(crate) waiting: core::sync::atomic::AtomicBool,
    /// The places of callsites whose next event has its token already: as a number above 0, 16 bits each, the youngest lowest.
    #[cfg(feature = "tracing")]
    granted: AtomicU64,
    #[cfg(any(feature = "tracing", feature = "log"))]
    depth: AtomicU32,
    #[cfg(any(feature = "tracing", feature = "log"))]
    scratch: [[AtomicU64; SCRATCH_WORDS]; DEPTH],
    #[cfg(feature = "tracing")]
    pub(crate) entered: super::spans::Entered,
}

impl Context {
    const fn new() -> Self {
        Context {
            slot: AtomicPtr::new((&raw const NOBODY).cast_mut()),
            task: AtomicU16::new(0),
            #[cfg(all(feature = "std", feature = "profiling"))]
            called: AtomicU32::new(0),
            #[cfg(all(feature = "std", feature = "profiling"))]
            waiting: core::sync::atomic::AtomicBool::new(false),
            #[cfg(feature = "tracing")]
            granted: AtomicU64::new(0),
            #[cfg(any(feature = "tracing", feature = "log"))]
            depth: AtomicU32::new(0),
            #[cfg(any(feature = "tracing", feature = "log"))]
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

    /// Whether what is recorded here reaches nobody.
    #[cfg(all(feature = "std", feature = "profiling"))]
    pub(crate) fn has_no_slot(&self) -> bool {
        ptr::eq(self.slot(), &NOBODY)
    }

    /// Whether the thread has to look for a stream first.
    #[inline(always)]
    pub(crate) fn is_due(&self) -> bool {
        #[cfg(all(feature = "std", feature = "profiling"))]
        return crate::threads::is_due(self.called.load(Ordering::Relaxed));
        #[cfg(not(all(feature = "std", feature = "profiling")))]
        return false;
    }

    #[inline(always)]
    pub(crate) fn task(&self) -> u16 {
        self.task.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set_task(&self, task: u16) {
        self.task.store(task, Ordering::Relaxed);
    }

    /// The spans that are entered, as a record in the ring of `class` has them ([`fata_wire::log::SPANS`]): their fields are told
    /// there first.
    #[cfg(any(feature = "tracing", feature = "log"))]
    #[inline(always)]
    pub(crate) fn spans_told(&self, class: &super::slot::Class) -> u64 {
        #[cfg(feature = "tracing")]
        return self.entered.word() | self.entered.tell(class);
        #[cfg(not(feature = "tracing"))]
        {
            let _ = class;
            0
        }
    }

    /// Tells the fields of the spans that are entered in the reserved ring, for the record that is made next.
    #[inline(always)]
    pub(crate) fn tell_reserved(&self, slot: &Slot) {
        #[cfg(feature = "tracing")]
        self.entered.told.store(self.entered.tell(slot.class(1)), Ordering::Relaxed);
        #[cfg(not(feature = "tracing"))]
        let _ = slot;
    }

    /// The spans that are entered, as a record in the reserved ring has them, where [`Context::tell_reserved`] came before.
    pub(crate) fn spans(&self) -> u64 {
        #[cfg(feature = "tracing")]
        return self.entered.word() | self.entered.told.load(Ordering::Relaxed);
        #[cfg(not(feature = "tracing"))]
        return 0;
    }

    /// The next event of `site` need not ask for a token.
    #[cfg(feature = "tracing")]
    pub(crate) fn grant(&self, site: &'static super::table::Site) {
        // An interrupt between load and store takes back what it grants.
        self.granted.store(self.granted.load(Ordering::Relaxed) << 16 | site.number(), Ordering::Relaxed);
    }

    /// The place of the callsite of `meta`, if its next event was the last to be granted its token, which it takes.
    #[cfg(feature = "tracing")]
    #[inline(always)]
    pub(crate) fn take_last_grant(&self, meta: &tracing_core::Metadata<'_>) -> Option<&'static super::table::Site> {
        let granted = self.granted.load(Ordering::Relaxed);
        let site = super::table::numbered(granted & 0xffff).filter(|site| site.is_of(meta))?;
        self.granted.store(granted >> 16, Ordering::Relaxed);
        Some(site)
    }

    /// Whether the event of `site` has its token. What was granted later, and never became an event, is forgotten; what was
    /// granted earlier stays: it is that of code which this one has interrupted.
    #[cfg(feature = "tracing")]
    pub(crate) fn take_grant(&self, site: &'static super::table::Site) -> bool {
        let granted = self.granted.load(Ordering::Relaxed);
        let is_it = |at: &u32| granted >> (16 * at) & 0xffff == site.number();
        let Some(at) = (0..4).find(is_it) else { return false };
        // Two steps, since all 64 bits cannot be shifted out in one.
        self.granted.store(granted >> (16 * at) >> 16, Ordering::Relaxed);
        true
    }

    /// Room to encode a record in; `None` where records are nested too deep.
    #[cfg(any(feature = "tracing", feature = "log"))]
    pub(crate) fn scratch(&self) -> Option<Scratch<'_>> {
        let depth = self.depth.load(Ordering::Relaxed);
        let words = self.scratch.get(depth as usize)?;
        self.depth.store(depth + 1, Ordering::Relaxed);
        Some(Scratch { words, depth: &self.depth })
    }
}

/// Words that one record has to itself, until this is dropped.
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) struct Scratch<'a> {
    pub(crate) words: &'a [AtomicU64; SCRATCH_WORDS],
    depth: &'a AtomicU32,
}

#[cfg(any(feature = "tracing", feature = "log"))]
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

/// As [`with`], for what records: a thread without a stream is given one first.
#[inline(always)]
pub(crate) fn recording<T>(f: impl FnOnce(&Context) -> T) -> T {
    with(|context| {
        #[cfg(all(feature = "std", feature = "profiling"))]
        if context.is_due() {
            return crate::threads::lease(context, f);
        }
        f(context)
    })
}
