//! The unikernel library: executor, sync, net, heap, and the platforms they run on.
//!
//! 1. **One vCPU, one thread of control.** Tasks are futures that give way only at `.await`; interrupt handlers (on the
//!    host: other threads) do nothing but wake tasks. No lock is needed anywhere, and none is used.
//! 2. **What happens is an event.** Every transition of a task, every reason to wait and every reason to go on is a probe
//!    (feature `profiling`); tests compare the exact list.
//! 3. **The platform is one folder**, chosen once in [`platform`]. Nothing else asks what the guest runs on.
//!
//! ```
//! use fata_kernel::{Boot, Guest, LocalBoxFuture, name};
//!
//! fn program(guest: Guest) -> LocalBoxFuture {
//!     Box::pin(async move {
//!         let child = guest.spawn(name!("child"), async { 6 * 7 });
//!         guest.log(&format!("the child says {}", child.await));
//!     })
//! }
//! # fn boot() {
//! fata_kernel::run(Boot { name: "hello", args: "" }, program);
//! # }
//! ```
#![no_std]

extern crate alloc;
// The host's platform is made of it; nothing outside of `platform/host` and tests uses it.
#[cfg(any(feature = "host", test))]
extern crate std;

mod control;
pub mod executor;
mod guest;
pub mod heap;
mod list;
mod logs;
pub mod net;
mod numbers;
pub mod platform;
#[cfg(any(feature = "xen", test))]
mod pvclock;
pub mod ring;
pub mod sync;
mod trace_ring;

pub use executor::JoinHandle;
pub use fata_probe::{Name, name};
/// Where a guest's log may go: what [`Guest::report_to`] takes.
pub use fata_reporters as reporters;
pub use guest::{Boot, Guest, LocalBoxFuture, Main, TimedOut, run};
pub use logs::NoLog;
