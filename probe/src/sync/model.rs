//! What `sync` is in a model: the watched words are loom's, all others plain memory.
//!
//! Loom runs all threads of a model on one thread of the system, one at a time, so that plain memory is sequentially
//! consistent there, and thread-locals of `std` are the model's own state. Watching few words keeps a model small; the code
//! that runs is the ring's own.
#![cfg_attr(not(test), allow(dead_code, reason = "the models are tests"))]

use core::cell::{Cell, RefCell};
use core::panic::Location;
use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::vec::Vec;

use loom::sync::atomic::AtomicU64;

/// A place in the source: file and line.
pub(crate) type Site = (&'static str, u32);
/// What an interrupt does.
pub(crate) type Handler = Rc<dyn Fn()>;

std::thread_local! {
    static WORDS: RefCell<HashMap<usize, &'static AtomicU64>> = RefCell::default();
    static WEAKENED: Cell<Option<Site>> = const { Cell::new(None) };
    static SITES: RefCell<BTreeSet<Site>> = RefCell::default();
    static POINTS: Cell<usize> = const { Cell::new(0) };
    static INTERRUPTS: RefCell<(Vec<usize>, Option<Handler>)> = RefCell::default();
    static TICKS: Cell<u64> = const { Cell::new(0) };
}

/// Begins a model's run: no word is watched, no interrupt comes, the clock stands at the beginning.
pub(crate) fn reset() {
    WORDS.take();
    POINTS.set(0);
    INTERRUPTS.take();
    TICKS.set(1000);
}

/// Makes the word at `pointer` one of loom's, with the value that it has.
pub(crate) fn watch(pointer: *mut u64) {
    // SAFETY: the model watches words of its own region.
    let value = unsafe { *pointer };
    WORDS.with_borrow_mut(|words| words.insert(pointer.addr(), Box::leak(Box::new(AtomicU64::new(value)))));
}

/// Leaves out the ordering or fence at this place, in all models from now on.
pub(crate) fn weaken(site: Option<Site>) {
    WEAKENED.set(site);
}

/// Every place that has ordered anything so far.
pub(crate) fn sites() -> BTreeSet<Site> {
    SITES.with_borrow(Clone::clone)
}

/// Lets `handler` interrupt at these points, counted from now on.
pub(crate) fn interrupt_at(points: &[usize], handler: Handler) {
    POINTS.set(0);
    INTERRUPTS.replace((points.to_vec(), Some(handler)));
}

/// How many points there were since the interrupts were set.
pub(crate) fn points() -> usize {
    POINTS.get()
}

/// Here an interrupt may come.
pub(crate) fn interrupt_point() {
    let point = POINTS.replace(POINTS.get() + 1);
    let handler = INTERRUPTS.with_borrow(|(points, handler)| handler.clone().filter(|_| points.contains(&point)));
    if let Some(handler) = handler {
        handler();
    }
}

/// The clock: a little later at each look.
pub(crate) fn ticks() -> u64 {
    TICKS.replace(TICKS.get() + 1)
}

/// Lets time pass.
pub(crate) fn sleep(ticks: u64) {
    TICKS.set(TICKS.get() + ticks);
}

/// `ordering`, unless it is the one to be left out.
fn ordering_at(site: &'static Location<'static>, ordering: Ordering) -> Ordering {
    if ordering == Ordering::Relaxed {
        return ordering;
    }
    let site = (site.file(), site.line());
    SITES.with_borrow_mut(|sites| sites.insert(site));
    if WEAKENED.get() == Some(site) { Ordering::Relaxed } else { ordering }
}

/// A fence, unless it is the one to be left out.
#[track_caller]
pub(crate) fn fence(ordering: Ordering) {
    interrupt_point();
    let ordering = ordering_at(Location::caller(), ordering);
    if ordering != Ordering::Relaxed && !WORDS.with_borrow(HashMap::is_empty) {
        loom::sync::atomic::fence(ordering);
    }
}

/// A word of shared memory.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a>(*mut u64, core::marker::PhantomData<&'a ()>);

/// The word at `pointer`.
///
/// # Safety
/// `pointer` is aligned and lies in a region's memory.
pub(crate) unsafe fn word<'a>(pointer: *mut u64) -> Word<'a> {
    Word(pointer, core::marker::PhantomData)
}

impl Word<'_> {
    fn watched(self) -> Option<&'static AtomicU64> {
        WORDS.with_borrow(|words| words.get(&self.0.addr()).copied())
    }

    fn plain(&self) -> &core::sync::atomic::AtomicU64 {
        // SAFETY: by the contract of `word`.
        unsafe { core::sync::atomic::AtomicU64::from_ptr(self.0) }
    }

    #[track_caller]
    pub(crate) fn load(self, ordering: Ordering) -> u64 {
        let ordering = ordering_at(Location::caller(), ordering);
        match self.watched() {
            Some(word) => word.load(ordering),
            None => self.plain().load(Ordering::Relaxed),
        }
    }

    #[track_caller]
    pub(crate) fn store(self, value: u64, ordering: Ordering) {
        interrupt_point();
        let ordering = ordering_at(Location::caller(), ordering);
        match self.watched() {
            Some(word) => word.store(value, ordering),
            None => self.plain().store(value, Ordering::Relaxed),
        }
    }

    #[track_caller]
    pub(crate) fn fetch_add(self, value: u64, ordering: Ordering) -> u64 {
        let ordering = ordering_at(Location::caller(), ordering);
        match self.watched() {
            Some(word) => word.fetch_add(value, ordering),
            None => self.plain().fetch_add(value, Ordering::Relaxed),
        }
    }
}
