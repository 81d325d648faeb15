//! What the kernel stands on, behind one set of names; the only place that knows which platform it is.
//!
//! Each platform is a folder with the same file names:
//!
//! | file | what the kernel asks of it |
//! |---|---|
//! | `boot` | the entry: lays out the trace ring, then calls [`crate::run`] |
//! | `clock` | `now() -> u64`: nanoseconds since boot, never backwards |
//! | `cpu` | `current() -> usize`: which execution context this is; 1 on bare metal, where there is one |
//! | `idle` | `wait(deadline) -> bool`: until a kick (`true`) or the deadline, `kick()` from anywhere; no kick is lost |
//! | `console` | `write(&str)`: text for the person in front of the machine |
//! | `memory` | `grow(len)`, `give_back(len)`: the heap's memory, in one piece; `contains(block)`, `…_outside`: all other |
//! | `net` | `start(guest) -> Net`: the network on the machine's device, if there is one |
//! | `power` | `exit(code) -> !` |
//! | `services` | `start(guest)`: tasks that the platform itself needs |
//!
//! `host` is a program's one platform. An image may hold `qemu` and `xen`: `machine` is what they have in common, and
//! `chosen` finds out at boot which of them it is.
//!
//! An interrupt handler (on the host: another thread) may call `idle::kick` and wake tasks. It must not allocate, and call
//! nothing else here.

#[cfg(feature = "host")]
mod host;
#[cfg(feature = "host")]
pub(crate) use host::services;
#[cfg(feature = "host")]
pub use host::{boot, clock, console, cpu, idle, memory, net, power};

#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
mod chosen;
#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
mod machine;
#[cfg(all(feature = "qemu", not(feature = "host")))]
mod qemu;
#[cfg(all(feature = "xen", not(feature = "host")))]
mod xen;
#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
pub(crate) use chosen::services;
#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
pub use chosen::{clock, console, idle, net};
#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
pub use machine::{boot, cpu, memory, power};

#[cfg(not(any(feature = "host", feature = "qemu", feature = "xen")))]
compile_error!("choose what fata-kernel runs on: enable its feature `host`, or `qemu`, `xen` or both");
