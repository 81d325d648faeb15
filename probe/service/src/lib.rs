//! One line makes an ordinary program visible: `fata list` finds it, `fata log` follows it, `fata collect` records it, the
//! viewer shows its spans.
//!
//! ```no_run
//! let _fata = fata_service::start("shop")?;
//! tracing::info!(port = 8080, "listening");
//! # Ok::<(), fata_service::StartError>(())
//! ```
//! Everything that the program and its libraries say with `tracing` or with `log` goes in binary into a ring of shared memory
//! in the same directory as the rings of host guests; nothing is formatted, sent or waited for here. `FATA_LOG`, or else
//! `RUST_LOG`, says what is recorded (`info,shop::cart=debug`); `fata log shop --level …` changes it while the program runs.
//!
//! With the feature `reporters` the application says where its log goes as well, from its first record on: to files, syslog, the
//! journal, an OTLP receiver (`Builder::report`), or to a reporter of its own (`Builder::reporter`).
//!
//! A program that has a subscriber of its own adds [`layer`] to it, and starts with [`Builder::without_subscriber`].
//!
//! - **When the ring is full** the newest events replace the oldest, unless a collector is attached: then the oldest are
//!   kept, and the others counted. Warnings and errors have a ring of their own, which no flood of the others can take.
//! - **Threads**: the first four that record have rings of their own, all others share one and take turns
//!   ([`fata_probe::threads`]). The memory is bounded: [`Service::memory_bytes`].
//! - **A panic** of any thread is a record at ERROR, and the program's hook is called as before. How the program ended can be
//!   seen: it dropped the [`Service`], or panicked through it, or neither.

mod directory;
#[cfg(feature = "service")]
mod layer;
#[cfg(feature = "reporters")]
mod report;
pub mod ring;
#[cfg(feature = "service")]
mod start;
#[cfg(feature = "service")]
mod ticker;

#[cfg(feature = "service")]
pub use layer::{Layer, Rules, layer};
#[cfg(feature = "reporters")]
pub use report::AttachError;
#[cfg(feature = "service")]
pub use start::{Builder, Service, StartError, builder, start};
