//! What a PVH machine is whoever runs it: the loader's word, the processor, memory, exceptions, and the ring.
//!
//! | file | what |
//! |---|---|
//! | `boot`, `start_info` | from the image's entry to the executor |
//! | `cpu` | privileged instructions |
//! | `interrupts`, `exception` | gates, and CPU exceptions in words |
//! | `kicked`, `local` | what ends a pause; statics of the one vCPU |
//! | `memory`, `pages` | what is free, and what may be done with it |
//! | `power` | the end |
//! | `trace` | the ring |
//!
//! There is one vCPU. What QEMU's and Xen's machines do not have in common lies in [`qemu`](super::qemu) and
//! [`xen`](super::xen), and is reached through [`chosen`](super::chosen).

pub mod boot;
pub mod cpu;
mod exception;
pub(super) mod interrupts;
pub(super) mod kicked;
pub(super) mod local;
pub mod memory;
pub(super) mod pages;
pub mod power;
pub(super) mod start_info;
pub(super) mod trace;

/// Formats straight to the console, without memory: for exceptions and for what comes before the heap.
pub(super) struct Console;

impl core::fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        super::chosen::console::write(text);
        Ok(())
    }
}
