//! Log records: made in binary, into rings of their own; formatting, sending and showing them is somebody else's work.
//!
//! **When it is full**: the rings are bounded in bytes and never wait. The mode that the control page names decides, as for
//! every ring: *overwrite* (nobody reads) keeps the newest records, *discard* (a collector reads) the oldest. Whatever is not
//! kept is counted, exactly and by level: see [`fata_wire::log`].
//!
//! 1. **Generation does no I/O, takes no lock and allocates nothing.** It is safe in an interrupt handler. A record that a
//!    level rule keeps out costs a load and a dozen instructions.
//! 2. **Two rings per vCPU**: an ordinary one, and a reserved one for APP, ERROR and WARN, so that a flood of DEBUG cannot
//!    take their room. Records are stamped and numbered when they are made; readers merge the rings by time.
//! 3. **Errors and warnings are counted before any rule**, and the counts survive every discard.
//! 4. **One callsite cannot drown the others**: each may make so many records a second ([`set_rate`]), and says how many
//!    more there were. A record that is the same as the one before, in the same spans, is counted instead; of those of
//!    [`log!`](crate::log!) only such as have a text, since to compare numbers would cost more than to record them.
//! 5. **A library never sets a level and never installs anything**: [`rules`] come from the boot parameter `log=`, from
//!    whoever starts the program, or from dom0 while it runs.
//!
//! The macro [`log!`](crate::log!) is the cheapest way. With the feature `tracing`, programs and libraries use the macros of
//! the crate `tracing` as they are, once `log::install` was called:
//!
//! ```
//! # #[cfg(feature = "profiling")] {
//! fata_probe::log!(Warn, "segment retransmitted", port = 80u16, attempt = 3u64);
//! fata_probe::log!(Debug, target: "net.tcp", "window closed");
//! # }
//! ```
//! Errors are said with all that they came from, with the task and the spans that they came up in: by
//! `error!(error = %Chain(&error), …)`, or by [`on_error`](ResultExt::on_error) where the program goes on without what failed.
//! One that should not be forgotten is [`watched`](ResultExt::watched): whoever drops it unread is told on.
//!
//! Libraries that use the crate `log` are heard too, key-values included, with the feature `log` and `log::install_facade`.
//!
//! Targets `app` and `app::…` are at the level APP: the program's own words to its user.
//!
//! What a record costs is in `tests/bench`. The memory is what [`Config`](crate::region::Config) says: two rings of 64 KiB
//! for each vCPU by default, the description area, and 512 callsites that register at run time (2048 with `std`).

pub(crate) mod context;
mod error;
mod flood;
mod fold;
pub(crate) mod limit;
mod record;
pub mod rules;
#[cfg(feature = "profiling")]
mod sentence;
pub(crate) mod slot;
pub(crate) mod summary;

#[cfg(feature = "tracing")]
mod encode;
#[cfg(feature = "log")]
pub(crate) mod facade;
#[cfg(any(feature = "tracing", feature = "log"))]
mod ids;
#[cfg(feature = "log")]
pub(crate) mod pairs;
#[cfg(any(feature = "tracing", feature = "log"))]
mod payload;
#[cfg(feature = "log")]
pub(crate) mod places;
#[cfg(feature = "tracing")]
mod spans;
#[cfg(feature = "tracing")]
mod subscriber;
#[cfg(feature = "tracing")]
pub(crate) mod table;
#[cfg(any(feature = "tracing", feature = "log"))]
mod text;
#[cfg(feature = "tracing")]
mod told;

pub use error::{Chain, ResultExt, Unread};
#[cfg(feature = "log")]
pub use facade::install_facade;
pub use limit::{Bucket, set_rate, tick};
pub use record::{Spans, filtered, record};
#[cfg(feature = "tracing")]
pub use subscriber::{Subscriber, install};

/// The most memory that making records takes, whatever is recorded: the log rings of `region`, where their callsites and names
/// are described, and all tables.
#[must_use]
pub fn memory_bytes(region: &crate::region::Region) -> u64 {
    let geometry = region.geometry();
    let rings = (geometry.stream_count..geometry.all_streams()).map(|stream| geometry.stream_bytes(stream));
    rings.sum::<u64>() + geometry.description_capacity + table_bytes(region)
}

/// The part of [`memory_bytes`] that is not shared memory: all tables.
#[must_use]
pub fn table_bytes(region: &crate::region::Region) -> u64 {
    let geometry = region.geometry();
    // With threads, a context for each that has a stream.
    let contexts = if cfg!(feature = "std") { geometry.stream_count as usize } else { 1 };
    let own = size_of::<slot::Slot>() * slot::MAX_LOGS + size_of::<context::Context>() * contexts;
    #[cfg(feature = "tracing")]
    let own = own + table::BYTES + spans::BYTES;
    #[cfg(feature = "log")]
    let own = own + facade::BYTES + pairs::BYTES + places::BYTES;
    own as u64
}

/// Somebody else receives the records already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

impl core::fmt::Display for Taken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(
            "another subscriber or logger was installed before: install Fata's first, or add its layer to the other",
        )
    }
}

impl core::error::Error for Taken {}

/// Whether `target` is that of the program's own words to its user: `app` and `app::…`.
#[cfg(any(feature = "tracing", feature = "log"))]
fn is_app(target: &str) -> bool {
    target.strip_prefix("app").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// From now on the records of this vCPU, or thread, are of `task`; 0 is the scheduler. For executors.
#[inline(always)]
pub fn set_task(task: u16) {
    if crate::ENABLED {
        context::with(|context| context.set_task(task));
    }
}
