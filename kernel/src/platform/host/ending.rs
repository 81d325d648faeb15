//! Being asked to end: SIGTERM, SIGINT and SIGHUP seal the ring and say which it was, then do what they always do.
//!
//! The handler does its work on the guest's own thread, as an interrupt would: a record that it interrupts stays unfinished,
//! and nobody writes after the seal. Whichever other thread the signal reaches hands it over. A signal that whoever started us
//! ignores, as `nohup` does, stays ignored.

#![expect(unsafe_code, reason = "signal handlers are functions of C")]

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::trace;

/// The signals that ask, and what the ring says of them.
const ASKING: [(libc::c_int, &str); 3] = [
    (libc::SIGTERM, "SIGTERM asked it to end"),
    (libc::SIGINT, "SIGINT (Ctrl-C) asked it to end"),
    (libc::SIGHUP, "SIGHUP: its terminal has gone"),
];

/// The guest's thread, as `pthread_self` has it.
static GUEST: AtomicU64 = AtomicU64::new(0);

/// From now on a request to end seals the ring of the calling thread's guest before it ends the process. Called once.
pub(super) fn seal_when_asked() {
    // SAFETY: it only says who we are.
    GUEST.store(unsafe { libc::pthread_self() }, Ordering::Relaxed);
    for (signal, _) in ASKING {
        // SAFETY: both structures are valid, an empty set of signals is all zeros in Linux, and `handle` has the signature of
        // a handler and keeps to what one may do. Where the system refuses, the signal ends the process as it does without us.
        unsafe {
            let mut before: libc::sigaction = MaybeUninit::zeroed().assume_init();
            libc::sigaction(signal, ptr::null(), &raw mut before);
            if before.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
            // One that comes while the ring is being sealed, and our system calls, wait for it.
            action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
}

/// Seals the ring: stores to mapped memory only, no lock and no allocation.
extern "C" fn handle(signal: libc::c_int) {
    let guest = GUEST.load(Ordering::Relaxed);
    // SAFETY: all of these may be called in a handler. The guest's thread is the process's first and lives as long as that.
    unsafe {
        if libc::pthread_self() != guest {
            libc::pthread_kill(guest, signal);
            return;
        }
        let words = ASKING.iter().find(|(number, _)| *number == signal).map_or("", |(_, words)| words);
        trace::asked_to_end(words);
        // It is blocked until this handler returns, and then ends the process.
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
