//! The ids of callsites that come into being at run time: behind those of the link section, one after another.

use core::sync::atomic::{AtomicU16, Ordering};

use fata_wire::event::{FIRST_CALLSITE, MAX_CALLSITES};

/// How many were given away.
static TAKEN: AtomicU16 = AtomicU16::new(0);

/// The next id, if `describe` finds room for what it is to mean; `None` also where all are used up. The caller is inside
/// `exclusive`.
pub(crate) fn give(describe: impl FnOnce(u16) -> bool) -> Option<u16> {
    let linked = u16::try_from(crate::callsite::all().len()).ok()?;
    let taken = TAKEN.load(Ordering::Relaxed);
    let id = linked.checked_add(FIRST_CALLSITE)?.checked_add(taken).filter(|&id| id < MAX_CALLSITES)?;
    if !describe(id) {
        return None;
    }
    TAKEN.store(taken + 1, Ordering::Relaxed);
    Some(id)
}
