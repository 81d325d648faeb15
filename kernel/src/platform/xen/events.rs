//! Event channels: in the shared page a bit for each, which the scheduler looks at, and a pause that any of them ends.
//!
//! Invariant: a port has a function before it is unmasked, and ports without one stay masked. So whatever is pending and not
//! masked has somebody who answers. No event is slept through: [`pause`] names every port that has a function, and Xen looks
//! at their bits after it has noted that the vCPU pauses.
//!
//! The function wakes tasks and does no more. An event has no content and no count; who is woken looks at the ring that the
//! event is about.
//!
//! ```text
//!   Xen: pending bit, its word's bit, upcall byte ─► look: takes them back, calls the function
//!        └─► ends the pause
//! ```
//! Xen is given no vector to interrupt by. Tasks are not preempted, so that a handler could only note what the next look sees
//! as well; and of two interrupts that QEMU's emulated processor delivers, one may be made up. When a hypervisor injects an
//! interrupt there (`helper_vmrun`, QEMU 7.2 to 9 at least), the vector stays behind in `exception_index`, and is delivered once
//! more, whatever the interrupt flag says, when another thread of QEMU's happens to ask for the processor before the guest
//! leaves it again. On a stack of the gate's own that second frame overwrites the first, whose handler then returns into
//! itself for ever. Linux, whose frames nest, runs its handler twice.

#![expect(unsafe_code, reason = "functions are kept as pointers in a static table")]

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use super::hypercall::{self, Refused, Space};
use crate::ring::Page;

/// Ports have small numbers: Xen gives out the lowest one that is free. It takes no more in one pause.
const PORTS: usize = 128;
/// In the shared page: whether an event is pending (a byte), which words of bits hold one, the bits, and the masks.
const UPCALL_PENDING: usize = 0;
const PENDING_WORDS: usize = 8;
const PENDING: usize = 2048;
const MASK: usize = 2560;

/// A function per port.
static FUNCTIONS: [AtomicPtr<()>; PORTS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; PORTS];
/// The ports that have one: the first [`CONNECTED`].
static NUMBERS: [AtomicU32; PORTS] = [const { AtomicU32::new(0) }; PORTS];
static CONNECTED: AtomicUsize = AtomicUsize::new(0);
static SHARED: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// A port of this domain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(u32);

/// Puts Xen's shared page where one of ours is, and masks all events.
pub(super) fn start() -> Result<Page, Refused> {
    const NO_MEMORY: Refused = Refused(-12);
    let page = Page::new().ok_or(NO_MEMORY)?;
    // SAFETY: the page is ours, new, and never given back.
    unsafe { hypercall::replace_page(Space::SharedInfo, 0, page.frame()) }?;
    for word in 0..64 {
        page.long(MASK + 8 * word).store(u64::MAX, Ordering::Relaxed);
    }
    SHARED.store((page.frame() << 12) as *mut (), Ordering::Relaxed);
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

    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// Has `function` called after each event, when the scheduler looks.
    pub(super) fn connect(self, function: fn()) {
        let Some(slot) = FUNCTIONS.get(self.0 as usize) else { return };
        if slot.swap(function as *mut (), Ordering::Relaxed).is_null() {
            let count = CONNECTED.fetch_add(1, Ordering::Relaxed);
            NUMBERS[count].store(self.0, Ordering::Relaxed);
        }
        hypercall::unmask(self.0);
    }

    /// Tells the other end.
    pub(super) fn notify(self) {
        hypercall::send(self.0);
    }

    /// Waits until `ready`, or until Xen's clock reads `deadline`; says which. `ready` is looked at after every event of
    /// the port. Nothing else runs meanwhile, and the function is not called.
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
            hypercall::wait_for_ports(&[AtomicU32::new(self.0)], deadline);
        }
    }
}

/// Pauses the vCPU until an event of a connected port, or until Xen's clock reads `deadline` (0: for as long as it takes). Returns
/// at once if there is such an event already. May return early.
pub(super) fn pause(deadline: u64) {
    let count = CONNECTED.load(Ordering::Relaxed).min(PORTS);
    hypercall::wait_for_ports(&NUMBERS[..count], deadline);
}

/// Calls the functions of the ports that had events since the last look. Cheap where there are none: one byte.
pub(super) fn look() {
    let Some(page) = shared_page() else { return };
    if page.byte(UPCALL_PENDING).load(Ordering::Relaxed) == 0 {
        return;
    }
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
