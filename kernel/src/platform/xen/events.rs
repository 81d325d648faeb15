//! Event channels: one vector for all of them, and in the shared page a bit for each.
//!
//! Invariant: a port has a function before it is unmasked, and ports without one stay masked. So whatever is pending and not
//! masked has somebody who answers.
//!
//! The function runs as an interrupt handler: it wakes tasks and does no more. An event has no content and no count; who
//! is woken looks at the ring that the event is about.
//!
//! ```text
//!   Xen: pending bit, its word's bit, upcall bit ─► EVENT_VECTOR ─► interrupted: takes them back, calls the function
//! ```

#![expect(unsafe_code, reason = "functions are kept as pointers in a static table")]

use core::sync::atomic::{AtomicPtr, Ordering};

use super::hypercall::{self, Refused, Space};
use crate::ring::Page;

/// The vector of all events.
pub(super) const EVENT_VECTOR: u8 = 33;
/// Ports have small numbers: Xen gives out the lowest one that is free.
const PORTS: usize = 256;
/// In the shared page: whether an event is pending (a byte), which words of bits hold one, the bits, and the masks.
const UPCALL_PENDING: usize = 0;
const PENDING_WORDS: usize = 8;
const PENDING: usize = 2048;
const MASK: usize = 2560;

/// A function per port.
static FUNCTIONS: [AtomicPtr<()>; PORTS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; PORTS];
static SHARED: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// A port of this domain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(u32);

/// Puts Xen's shared page where one of ours is, masks all events, and says by which vector they come.
pub(super) fn start() -> Result<Page, Refused> {
    const NO_MEMORY: Refused = Refused(-12);
    let page = Page::new().ok_or(NO_MEMORY)?;
    // SAFETY: the page is ours, new, and never given back.
    unsafe { hypercall::replace_page(Space::SharedInfo, 0, page.frame()) }?;
    for word in 0..64 {
        page.long(MASK + 8 * word).store(u64::MAX, Ordering::Relaxed);
    }
    SHARED.store((page.frame() << 12) as *mut (), Ordering::Relaxed);
    hypercall::set_callback(EVENT_VECTOR)?;
    Ok(page)
}

/// The shared page; `None` before [`start`].
pub(super) fn shared_page() -> Option<Page> {
    // SAFETY: null, or what `start` stored: the address of a page.
    unsafe { Page::at(SHARED.load(Ordering::Relaxed) as u64) }
}

impl Port {
    /// The port of this number, which the toolstack has made.
    pub(super) const fn of_number(number: u32) -> Self {
        Port(number)
    }

    /// A port to which domain `remote` may bind.
    pub(super) fn allocate(remote: u16) -> Result<Self, Refused> {
        hypercall::allocate_port(remote).map(Port)
    }

    /// The timer's port.
    pub(super) fn timer() -> Result<Self, Refused> {
        const TIMER: u32 = 0;
        hypercall::bind_virq(TIMER).map(Port)
    }

    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// Has `function` called at each event, as an interrupt handler.
    pub(super) fn connect(self, function: fn()) {
        let Some(slot) = FUNCTIONS.get(self.0 as usize) else { return };
        slot.store(function as *mut (), Ordering::Relaxed);
        hypercall::unmask(self.0);
    }

    /// Tells the other end.
    pub(super) fn notify(self) {
        hypercall::send(self.0);
    }

    /// Waits until `ready`, or until Xen's clock reads `deadline`; says which. `ready` is looked at after every event of
    /// the port. Interrupts must be off: the event must not be taken by the function.
    pub(super) fn wait_until(self, deadline: u64, mut ready: impl FnMut() -> bool) -> bool {
        loop {
            if let Some(page) = shared_page() {
                let bit = 1 << (self.0 % 64);
                // First the bit, then the look: an event that comes in between is seen by the call. SeqCst: pairs with
                // Xen's setting of the bit.
                page.long(PENDING + 8 * (self.0 as usize / 64 % 64)).fetch_and(!bit, Ordering::SeqCst);
            }
            if ready() {
                return true;
            }
            if super::clock::system_nanos() >= deadline {
                return false;
            }
            hypercall::wait_for_port(self.0, deadline);
        }
    }
}

/// An event has come. Interrupts are off.
pub(super) fn interrupted() {
    let Some(page) = shared_page() else { return };
    // In this order, each by one exchange: an event that comes meanwhile sets the upper bit again. SeqCst: pairs with Xen's
    // setting them in the other order.
    page.byte(UPCALL_PENDING).store(0, Ordering::SeqCst);
    let mut words = page.long(PENDING_WORDS).swap(0, Ordering::SeqCst);
    while words != 0 {
        let word = words.trailing_zeros() as usize;
        words &= words - 1;
        let mask = page.long(MASK + 8 * word).load(Ordering::Relaxed);
        let mut bits = page.long(PENDING + 8 * word).fetch_and(mask, Ordering::SeqCst) & !mask;
        while bits != 0 {
            call(word * 64 + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

fn call(port: usize) {
    let function = FUNCTIONS.get(port).map_or(core::ptr::null_mut(), |slot| slot.load(Ordering::Relaxed));
    if !function.is_null() {
        // SAFETY: only `connect` stores, and what it stores is such a function.
        let function = unsafe { core::mem::transmute::<*mut (), fn()>(function) };
        function();
    }
}
