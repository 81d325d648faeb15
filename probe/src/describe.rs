//! Writing descriptions: what the numbers in events mean, into the description area of every region.
//!
//! Invariant: one writer at a time, held by [`exclusive`]. An interrupt that comes while a description is being written, and
//! reaches a callsite that has none yet, cannot wait: its event is discarded and counted as nested.

#[cfg(feature = "std")]
use core::sync::atomic::compiler_fence;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use fata_wire::describe::{Callsite as Description, Record};
use fata_wire::event::MAX_CALLSITES;
use fata_wire::field::{Field, Fields, Kind};

use crate::callsite::{self, Callsite, TypesFn};
use crate::region::{self, Region};

/// What became of a description.
pub(crate) enum Outcome {
    /// It is written; this is the callsite's template from now on.
    Described(u32),
    /// Another description is being written beneath us.
    Busy,
    /// The area is full: the callsite is off for good, and the records of one that logs are counted.
    NoRoom,
}

/// Writes the description of a callsite that is reached for the first time.
pub(crate) fn describe(callsite: &'static Callsite, types: TypesFn) -> Outcome {
    let Some(id) = callsite.id().filter(|_| !callsite.is_refused()) else { return Outcome::NoRoom };
    exclusive(|| {
        let known = callsite.types.get().is_some();
        if callsite.is_refused() {
            return Outcome::NoRoom;
        }
        if !known {
            callsite.types.set(types);
            // Every region that has room gets it, whatever the others have.
            let refused = region::all().filter(|region| !append_callsite(region, callsite, id)).count();
            if refused > 0 {
                callsite.refuse();
                // Log records go on being asked for, and are counted.
                if callsite.kind != Kind::Log {
                    callsite.set_template(0);
                }
                return Outcome::NoRoom;
            }
        }
        let template = callsite.on_template(id);
        // It may have been turned off meanwhile; this one event is still recorded.
        if callsite.enabled().is_some() {
            callsite.set_template(template);
        }
        Outcome::Described(template)
    })
    .unwrap_or(Outcome::Busy)
}

/// Writes everything that is known at link time into a new region.
pub(crate) fn describe_all(region: &Region) {
    let _ = exclusive(|| {
        // First, so that there is room: what the log says of itself tells of losses.
        let own = crate::log::summary::own();
        for (callsite, types) in own {
            callsite.types.set(types);
            match callsite.id() {
                Some(id) if append_callsite(region, callsite, id) => {}
                _ => callsite.refuse(),
            }
        }
        let is_own = |callsite: &Callsite| own.iter().any(|(own, _)| core::ptr::eq(*own, callsite));
        for callsite in callsite::all().iter().filter(|callsite| !is_own(callsite)) {
            let Some(id) = callsite.id() else { break };
            if callsite.fields.is_empty() || callsite.types.get().is_some() {
                append_callsite(region, callsite, id);
            }
        }
        #[cfg(feature = "tracing")]
        crate::log::table::describe_all(region);
        #[cfg(feature = "log")]
        crate::log::pairs::describe_all(region);
        #[cfg(feature = "log")]
        crate::log::places::describe_all(region);
        for (bit, category) in crate::control::categories().enumerate() {
            let mut key = *b"category.00";
            let digits = u8::try_from(bit).unwrap_or(99).min(99);
            key[9] += digits / 10;
            key[10] += digits % 10;
            region.append(&Record::Env { key: core::str::from_utf8(&key).unwrap_or("category"), value: category });
        }
    });
}

/// Appends a fact about the guest.
pub(crate) fn append_env(region: &Region, key: &str, value: &str) -> bool {
    exclusive(|| region.append(&Record::Env { key, value })).unwrap_or(false)
}

/// Gives `text` the next number and writes it into every region; `None` where one has no room or the numbers are used up.
pub(crate) fn dynamic_name(text: &str) -> Option<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(MAX_CALLSITES);
    exclusive(|| {
        let id = NEXT.load(Ordering::Relaxed);
        if id >= fata_wire::event::ARG_LIMIT || !region::all().all(|region| region.append(&Record::Name { id, text })) {
            return None;
        }
        NEXT.store(id + 1, Ordering::Relaxed);
        Some(id)
    })
    .flatten()
}

fn append_callsite(region: &Region, callsite: &Callsite, id: u16) -> bool {
    let mut fields = Fields::EMPTY;
    if let Some(types) = callsite.types.get() {
        let types = types(callsite.fields);
        for (&name, &(ty, unit)) in callsite.fields.iter().zip(&types.list[..types.len]) {
            fields.push(Field { name, ty, unit });
        }
    }
    let Callsite { line, kind, level, category, name, file, .. } = *callsite;
    debug_assert!(kind != Kind::Name || fields.as_slice().is_empty());
    region.append(&Record::Callsite(Description { id, kind, level, line, category, name, file, fields }))
}

/// Somebody describes.
static HELD: AtomicBool = AtomicBool::new(false);

/// What the thread has of the right to describe.
#[cfg(feature = "std")]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mine {
    Nothing,
    /// It waits for it, or gives it back.
    Asked,
    Held,
}

#[cfg(feature = "std")]
std::thread_local! {
    static MINE: core::cell::Cell<Mine> = const { core::cell::Cell::new(Mine::Nothing) };
}

/// The thread is at this step, as an interrupt of it sees it too.
#[cfg(feature = "std")]
fn step(mine: Mine) {
    // Every step lies, for an interrupt of this thread, between what is written before and after it.
    compiler_fence(Ordering::SeqCst);
    MINE.set(mine);
    compiler_fence(Ordering::SeqCst);
}

/// Runs `work` unless it runs already: `None` where this thread, or on bare metal anyone, is in the middle of it. On the host
/// another thread is waited for.
pub(crate) fn exclusive<T>(work: impl FnOnce() -> T) -> Option<T> {
    #[cfg(feature = "std")]
    {
        if MINE.get() != Mine::Nothing {
            return None;
        }
        step(Mine::Asked);
    }
    // Acquire: pairs with the Release below; the next holder sees what the last one wrote.
    #[cfg(feature = "std")]
    while HELD.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    #[cfg(not(feature = "std"))]
    if HELD.swap(true, Ordering::Acquire) {
        return None;
    }
    #[cfg(feature = "std")]
    step(Mine::Held);
    let result = work();
    #[cfg(feature = "std")]
    step(Mine::Asked);
    HELD.store(false, Ordering::Release);
    #[cfg(feature = "std")]
    step(Mine::Nothing);
    Some(result)
}

/// Whether the running code has interrupted [`exclusive`] where nobody else can be inside: until it returns, nobody goes on.
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) fn is_held_beneath() -> bool {
    #[cfg(feature = "std")]
    return MINE.get() == Mine::Held;
    #[cfg(not(feature = "std"))]
    return HELD.load(Ordering::Relaxed);
}
