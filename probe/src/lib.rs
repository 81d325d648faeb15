//! Instrument anything: spans, instants, counters and flows, recorded lock-free into shared memory.
//!
//! 1. **A probe encodes once, in place.** Enabled? → reserve → write → commit. No lock, no allocation, no formatting, and
//!    no wait; an event without payload takes 8 bytes, a `u64` field adds 8.
//! 2. **Off costs one relaxed load; compiled out costs nothing.** Without the feature `profiling` the macros check the types
//!    of their arguments and evaluate none of them.
//! 3. **Safe wherever code runs**: interrupt handlers, the allocator, the scheduler. An interrupt that nests inside a probe
//!    may itself record.
//! 4. **When the ring is full** the mode decides, and every discarded event is counted by cause: *overwrite* keeps the
//!    newest, *discard* keeps the oldest. See [`ring`].
//!
//! ```
//! # #[cfg(not(miri))] {
//! use fata_probe::{counter, flow_begin, flow_end, instant, span, FlowId};
//!
//! fn receive(frame: &[u8]) {
//!     let _span = span!("net.rx", bytes = frame.len());
//!     flow_begin!("net.request", id = FlowId(17));
//!     if frame.is_empty() {
//!         instant!(level: Warn, "net.empty_frame");
//!     }
//!     counter!("net.queue", frames = 3u64);
//!     flow_end!("net.request", id = FlowId(17));
//! }
//! # receive(b"abc");
//! # }
//! ```
//!
//! The word before a name's first dot is its category, which a collector can turn on and off while the guest runs. A guest
//! becomes visible by [installing a region](region::Region::install) and attaching its vCPU, or its thread, to a stream.
#![no_std]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod bytes;
mod callsite;
mod clock;
pub mod control;
pub mod cost;
mod current;
mod describe;
pub mod log;
mod macros;
mod name;
pub mod region;
pub mod ring;
mod span;
mod sync;
#[cfg(all(feature = "std", feature = "profiling"))]
pub mod threads;
mod value;
mod wait;

pub use callsite::Callsite;
pub use clock::ticks;
pub use fata_wire::field::{Kind, Level};
pub use name::Name;
pub use span::{Span, SpanGuard};
pub use value::{Bytes, FlowId, Nanos, ObjectId, Packet, Small, TaskId};
pub use wait::Wait;

/// Whether this program was built with its probes: guards set-up work that only they need.
pub const ENABLED: bool = cfg!(feature = "profiling");

/// What the macros expand to. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::callsite::{Callsite, category_of};
    pub use crate::current::{record, seldom};
    pub use crate::span::{Span, SpanGuard, begin};
    pub use crate::value::{Cons, Nil};
}
