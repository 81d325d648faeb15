//! What the CPU refuses to do, as an unmapped address or an illegal instruction, ends the process; the ring is sealed first,
//! with the fault's name and address.
//!
//! The handler then puts back what was there before it and returns, so that the instruction faults again: the process ends
//! as it would have without us, with Rust's own words about a stack that overflowed, and with the signal's exit status.

#![expect(unsafe_code, reason = "signal handlers are functions of C")]

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use super::trace;

/// The signals of faults, and of `abort`.
const FAULTS: [(libc::c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV, an access to memory that is not there or not allowed"),
    (libc::SIGBUS, "SIGBUS, an access to memory that has nothing behind it"),
    (libc::SIGILL, "SIGILL, an instruction that the CPU does not have"),
    (libc::SIGFPE, "SIGFPE, an impossible calculation"),
    (libc::SIGABRT, "SIGABRT, the program gave itself up"),
];

/// What was done at each of [`FAULTS`] before.
static BEFORE: OnceLock<[libc::sigaction; FAULTS.len()]> = OnceLock::new();
/// Set once a fault is being handled: one in the handler must not come back to it.
static FAULTED: AtomicBool = AtomicBool::new(false);

/// From now on a fault of any thread seals the ring before it ends the process. Called once.
pub(super) fn seal_at_fault() {
    BEFORE.get_or_init(|| FAULTS.map(|(signal, _)| install(signal)));
}

/// Makes `handle` the handler of `signal`, and gives what was there.
fn install(signal: libc::c_int) -> libc::sigaction {
    let mut before = MaybeUninit::zeroed();
    // SAFETY: both structures are valid, an empty set of signals is all zeros in Linux, and `handle` has the signature that
    // SA_SIGINFO asks for and keeps to what a handler may do. On failure `before` stays zero, which is the default action.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handle as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        // Rust gives every thread a stack for its own handler; ours uses it too, since a fault may be a full stack.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(signal, &raw const action, before.as_mut_ptr());
        before.assume_init()
    }
}

/// Seals the ring: stores to mapped memory only, no lock and no allocation.
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    let fault = FAULTS.iter().position(|(number, _)| *number == signal).unwrap_or(0);
    if !FAULTED.swap(true, Ordering::Relaxed) {
        // SAFETY: the kernel passes a valid structure to a handler with SA_SIGINFO.
        let address = unsafe { (*info).si_addr() }.addr();
        trace::faulted(FAULTS[fault].1, address);
    }
    if let Some(before) = BEFORE.get() {
        // SAFETY: what `sigaction` gave may be given back to it.
        unsafe { libc::sigaction(signal, &raw const before[fault], ptr::null_mut()) };
    }
    if signal == libc::SIGABRT {
        // Unlike a fault, this one does not happen again by itself.
        // SAFETY: raising a signal is allowed in a handler.
        unsafe { libc::raise(signal) };
    }
}
