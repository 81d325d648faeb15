//! The end of the guest is the end of the process: the ring is sealed, its file stays.
//!
//! A process that is killed ends without sealing; what it had recorded is read all the same.

use std::{format, panic, process};

use super::trace;

/// The exit code of a guest that panicked, as of a Rust program.
pub(super) const EXIT_PANIC: i32 = 101;
/// The exit code of a guest that could not start.
pub(super) const EXIT_BOOT: i32 = 100;

/// Seals the ring and ends the process with `code`, without unwinding.
pub fn exit(code: i32) -> ! {
    trace::exited();
    process::exit(code)
}

/// Ends a guest that cannot start, with a sentence that says why.
pub(super) fn refuse(why: &str) -> ! {
    super::console::write(&format!("fata: {why}\n"));
    process::exit(EXIT_BOOT)
}

/// From now on a panic of any thread ends the guest: it prints where and why, and leaves the same words in the ring.
pub(super) fn end_at_panic() {
    let print = panic::take_hook();
    panic::set_hook(std::boxed::Box::new(move |info| {
        print(info);
        trace::died(info);
        process::exit(EXIT_PANIC)
    }));
}
