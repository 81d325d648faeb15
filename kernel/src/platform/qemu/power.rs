//! The end of the guest: the ring is sealed, then QEMU is told to end through `isa-debug-exit`; without it, the vCPU halts
//! and uses no CPU.
//!
//! QEMU ends with the status `2 * code + 1`, never 0: a status of 0 means that the machine was switched off or reset, as it
//! is by a triple fault.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::console;
use super::cpu::{self, Port};
use super::trace;

/// `-device isa-debug-exit,iobase=0xf4,iosize=0x04`
const DEBUG_EXIT: Port = Port::new(0xf4);

/// The exit code of a guest that panicked, as of a Rust program.
pub(super) const EXIT_PANIC: i32 = 101;
/// The exit code of a guest that a CPU exception ended.
pub(super) const EXIT_EXCEPTION: i32 = 102;
/// The exit code of a guest that could not start.
pub(super) const EXIT_BOOT: i32 = 100;

/// Set once the guest has begun to die: a panic on the way out must not start over.
static DYING: AtomicBool = AtomicBool::new(false);

/// Seals the ring and ends the guest with `code`.
pub fn exit(code: i32) -> ! {
    trace::exited();
    stop(code)
}

/// Prints where and why the guest panicked, seals the ring with that message, and ends. The image's panic handler.
pub fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    use fmt::Write as _;
    // The console takes everything, so there is no error to look at.
    let _ = writeln!(console::Console, "\n{info}");
    died(format_args!("{info}"), EXIT_PANIC)
}

/// Seals the ring with the guest's last words and ends it.
pub(super) fn died(message: fmt::Arguments<'_>, code: i32) -> ! {
    cpu::disable_interrupts();
    if !DYING.swap(true, Ordering::Relaxed) {
        trace::died(message);
    }
    stop(code)
}

/// Ends the guest as it is.
pub(super) fn stop(code: i32) -> ! {
    cpu::disable_interrupts();
    DEBUG_EXIT.write_u32(code.cast_unsigned());
    // Still here: there is no such device.
    cpu::halt()
}
