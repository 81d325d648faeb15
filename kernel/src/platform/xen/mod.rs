//! The guest as a domain of Xen: a PVH domU with one vCPU, its memory shared page by page with those it grants them to.
//!
//! | file | drives |
//! |---|---|
//! | `boot` | what starting takes |
//! | `hypercall` | calls into Xen |
//! | `events` | event channels, Xen's interrupts |
//! | `grants` | leave for another domain to map a page |
//! | `clock` | Xen's system time |
//! | `idle` | pausing until an event |
//! | `net` | the network device |
//! | `console` | the console ring that dom0's `xenconsoled` reads |
//! | `store` | XenStore, the tree through which domains find one another |
//! | `services` | what the toolstack asks of the guest: to shut down, to reboot |
//! | `trace` | the ring that dom0 reads: granted, and advertised in XenStore |
//! | `lies` | what a hostile guest may say of it, for trying out |
//! | `vchan` | the control channel: requests in text |
//! | `power` | the end |
//!
//! What is so on every PVH machine lies in [`machine`]. Sources: Xen 4.17, `xen/include/public`.

pub(super) mod boot;
pub(super) mod clock;
pub(super) mod console;
mod events;
mod grants;
mod hypercall;
pub(super) mod idle;
mod lies;
pub(super) mod net;
pub(super) mod power;
pub(super) mod services;
mod store;
pub(super) mod trace;
mod vchan;

use super::machine::{self, cpu};
