//! How QEMU is told that the guest has ended: through `isa-debug-exit`. Without it, the vCPU halts and uses no CPU.
//!
//! QEMU ends with the status `2 * code + 1`, never 0: a status of 0 means that the machine was switched off or reset, as it
//! is by a triple fault.

use super::cpu::{self, Port};

/// `-device isa-debug-exit,iobase=0xf4,iosize=0x04`
const DEBUG_EXIT: Port = Port::new(0xf4);

/// Ends the guest as it is.
pub(in crate::platform) fn stop(code: i32) -> ! {
    DEBUG_EXIT.write_u32(code.cast_unsigned());
    // Still here: there is no such device.
    cpu::halt()
}
