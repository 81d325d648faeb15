//! What the kernel stands on, behind one set of names; the only place that knows which platform it is.
//!
//! Each platform is a folder with the same file names:
//!
//! | file | what the kernel asks of it |
//! |---|---|
//! | `boot` | the entry: lays out the trace ring, then calls [`crate::run`] |
//! | `clock` | `now() -> u64`: nanoseconds since boot, never backwards |
//! | `cpu` | `current() -> usize`: which execution context this is; 1 on bare metal, where there is one |
//! | `idle` | `wait(deadline)` until a kick or the deadline, `kick()` from anywhere; a kick before `wait` is not lost |
//! | `console` | `write(&str)`: text for the person in front of the machine |
//! | `memory` | `grow(len)`, `give_back(len)`: the heap's memory, in one piece; `contains(block)`, `…_outside`: all other |
//! | `net` | `device()`: the network device, if there is one |
//! | `power` | `exit(code) -> !` |
//!
//! An interrupt handler (on the host: another thread) may call `idle::kick` and wake tasks. It must not allocate, and call
//! nothing else here.

#[cfg(feature = "host")]
mod host;
#[cfg(feature = "host")]
pub use host::{boot, clock, console, cpu, idle, memory, net, power};

#[cfg(all(feature = "qemu", not(feature = "host")))]
mod qemu;
#[cfg(all(feature = "qemu", not(feature = "host")))]
pub use qemu::{boot, clock, console, cpu, idle, memory, net, power};

#[cfg(not(any(feature = "host", feature = "qemu")))]
compile_error!("choose what fata-kernel runs on: enable its feature `host` or `qemu`");
