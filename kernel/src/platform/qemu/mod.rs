//! The guest as a machine: a PVH ELF on bare metal under QEMU, on `-M microvm` and on `-M q35`.
//!
//! | file | drives |
//! |---|---|
//! | `boot`, `start_info` | from the image's entry to the executor |
//! | `cpu` | privileged instructions |
//! | `interrupts`, `exception` | gates, and CPU exceptions in words |
//! | `mmio` | registers that lie in memory |
//! | `apic` | the local APIC (timer) and the I/O APICs (lines of devices) |
//! | `clock`, `pit` | time since boot, and what a tick is worth |
//! | `idle` | pausing until an interrupt |
//! | `memory`, `pages` | what is free, and what may be done with it |
//! | `net`, `queue`, `virtio` | the network device |
//! | `console`, `power` | the serial port, the end |
//! | `trace` | the ring that the host reads |
//!
//! There is one vCPU. Files name the devices that QEMU has; what another hypervisor of PVH guests does otherwise (Xen: event
//! channels for interrupts, grants for devices) is another platform with the same entry.

mod apic;
pub mod boot;
pub mod clock;
pub mod console;
pub mod cpu;
mod exception;
pub mod idle;
mod interrupts;
pub mod memory;
mod mmio;
pub mod net;
mod pages;
mod pit;
pub mod power;
mod queue;
mod start_info;
mod trace;
mod virtio;
