//! Where log records go: one trait, and the reporters that implement it.
//!
//! 1. **Reporting is apart from generation.** A record was made, stamped and numbered in the guest; here it only travels.
//!    The application installs reporters, a library never does.
//! 2. **Every buffer is bounded in bytes**, and what does not fit is counted where it was lost: one [`Loss`] in the place of
//!    the records, shown by every reporter. Produced = reported + discarded, exactly.
//! 3. **No text is trusted.** Guests, users and peers wrote it; it is escaped for whatever will show it.
//! 4. **A reporter cannot hurt the program**: one that logs, panics, blocks or forgets is held off by the front before it.
//!
//! | module | |
//! |---|---|
//! | [`record`] | one log record: time, level, target, spans, typed fields |
//! | [`loss`] | what is shown in the place of records that were discarded |
//! | [`reporter`] | the trait, as callers see it: ready, report, done |
//! | [`console`] | a record as a line for people |
//! | [`json`] | a record as a line for programs |
//! | [`combine`] | reporters made of reporters: tee, filter, threshold, fallback |
//! | [`order`] | several inputs as one order of time |
//! | [`rings`] | this program's own records, read back from its rings |
//! | [`front`] | what stands before a reporter: a bounded queue and a thread of its own |
//! | [`lines`], [`mod@file`] | lines to a pipe or terminal; to a file that is rotated |
//! | [`syslog`] | syslog messages; sent as datagrams, over TCP, TLS, to `/dev/log` |
//! | [`journald`] | entries of systemd's journal, over its native protocol |
//! | [`otlp`] | OpenTelemetry log records over HTTP |
//! | [`trace`] | a CTF trace |
//! | [`spec`] | reporters as words of a command line |
//! | [`text`] | untrusted bytes as text that no terminal interprets; texts of bounded length |
//! | [`time`] | when: wall time, or time since the guest's start |
//!
//! Without the feature `std` the crate is `no_std`, and but for `rings` (a feature of its own) it does not allocate: a guest's
//! own console task uses it.
//!
//! ```
//! use fata_reporters::console::Console;
//! use fata_reporters::record::{Field, Record, Value};
//! use fata_reporters::reporter::Item;
//! use fata_reporters::time::Time;
//! use fata_wire::field::Level;
//!
//! let fields = [Field { name: "message", value: Value::Str(b"link up") }, Field { name: "mtu", value: Value::U64(1500) }];
//! let time = Time::since_start(1_500_000_000);
//! let record = Record { time, level: Level::Info, target: "net", fields: &fields, ..Record::BLANK };
//! let mut line = String::new();
//! Console::plain().write(&mut line, &Item::Record(record)).unwrap();
//! assert_eq!(line.trim_start(), "+1.500000s INFO  net: link up mtu=1500\n");
//! ```
#![no_std]

#[cfg(feature = "rings")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "std")]
mod codec;
pub mod combine;
pub mod console;
#[cfg(feature = "std")]
pub mod file;
#[cfg(feature = "std")]
pub mod front;
#[cfg(feature = "std")]
pub mod journald;
pub mod json;
#[cfg(feature = "std")]
pub mod lines;
pub mod loss;
#[cfg(feature = "std")]
mod net;
#[cfg(feature = "std")]
pub mod order;
#[cfg(feature = "std")]
pub mod otlp;
#[cfg(feature = "std")]
pub mod queue;
pub mod record;
pub mod reporter;
#[cfg(feature = "rings")]
pub mod rings;
#[cfg(feature = "std")]
pub mod spec;
pub mod syslog;
pub mod text;
pub mod time;
#[cfg(feature = "std")]
pub mod trace;

pub use fata_wire::field::Level;
pub use loss::Loss;
pub use record::{Field, Record, Value};
pub use reporter::{Item, ReportError, Reporter};
#[cfg(feature = "std")]
pub use spec::open;
