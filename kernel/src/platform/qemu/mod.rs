//! The guest as a machine: a PVH ELF on bare metal under QEMU, on `-M microvm` and on `-M q35`.
//!
//! | file | drives |
//! |---|---|
//! | `boot` | what starting takes |
//! | `mmio` | registers that lie in memory |
//! | `apic` | the local APIC (timer) and the I/O APICs (lines of devices) |
//! | `clock`, `pit` | time since boot, and what a tick is worth |
//! | `idle` | pausing until an interrupt |
//! | `emulated` | what QEMU needs where it emulates the CPU too |
//! | `net`, `queue`, `virtio` | the network device |
//! | `console`, `power` | the serial port, the end |
//!
//! What is so on every PVH machine lies in [`machine`]. The host finds the ring in the guest's memory, which is a file.

mod apic;
pub(super) mod boot;
pub(super) mod clock;
pub(super) mod console;
mod emulated;
pub(super) mod idle;
mod mmio;
pub(super) mod net;
mod pit;
pub(super) mod power;
mod queue;
pub(super) mod services;
mod virtio;

use super::machine::{self, cpu};
