//! The guest's log, from its first instruction: `tracing` records into the rings, with the rules of the boot parameters.
//!
//! | boot parameter | meaning |
//! |---|---|
//! | `log=` | rules, separated by commas: `log=info,net:debug,tcp:off`; see [`fata_probe::log::rules`] |
//! | `log_kib=` | length of each of the two log rings, rounded up to a power of two; 64 by default |
//! | `log_rate=` | how many records a callsite may make in a second; 1000 by default, 0 for as many as it wants |
//! | `console=` | a level: records of it and more severe ones are shown on the console too; none by default |

mod console;
mod report;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};

use fata_probe::log;
use fata_probe::region::Region;
use fata_reporters::rings::Reader;

pub(crate) use console::ConsoleLog;
pub use report::NoLog;
pub(crate) use report::Reporting;

/// The length of a packet of a log ring.
pub(crate) const PACKET_BYTES: u32 = 4096;
const DEFAULT_RING_KIB: u64 = 64;

/// How many packets a log ring of `ring_kib` has.
pub(crate) fn packets(ring_kib: Option<u64>) -> u32 {
    let bytes = ring_kib.unwrap_or(DEFAULT_RING_KIB).clamp(16, 16 << 10) << 10;
    u32::try_from(bytes / u64::from(PACKET_BYTES)).unwrap_or(u32::MAX).next_power_of_two()
}

/// The most memory that the log takes, its rings and tables together; 0 where nothing is recorded.
pub(crate) fn memory_bytes() -> u64 {
    Region::youngest().map_or(0, log::memory_bytes)
}

/// A reader of the guest's own records, from the oldest that is still there; `None` where it records no log.
fn reader() -> Option<Reader> {
    let region = Region::youngest()?;
    Reader::new(*region.geometry(), Box::new(move |offset, out| region.copy_out(offset, out)))
}

/// Begins to record what code says with `tracing`, as the boot parameters `args` ask; `more` are rules from elsewhere, which
/// come first. Allocates, once.
///
/// # Errors
/// A sentence for the person who started the guest.
pub(crate) fn start(args: &str, more: Option<&str>) -> Result<(), String> {
    if !fata_probe::ENABLED {
        return Ok(());
    }
    // A program that runs two guests, one after the other, has installed it already.
    #[cfg(feature = "profiling")]
    let (_, _) = (log::install(), log::install_facade());
    let values = |key: &'static str| {
        args.split_ascii_whitespace().filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
    };
    fata_probe::log!(Info, target: "fata.log", "all of the log takes at most", bytes = memory_bytes());
    if let Some(rate) = values("log_rate").next_back() {
        log::set_rate(rate.parse().map_err(|_| format!("the boot parameter `log_rate={rate}` is not a number"))?);
    }
    for (whence, rules) in
        more.map(|rules| ("FATA_LOG", rules)).into_iter().chain(values("log").map(|rules| ("log", rules)))
    {
        let applied = log::rules::set(rules).map_err(|error| format!("{whence}={rules}: {error}"))?;
        fata_probe::log!(Info, target: "fata.log", "rules", rules = applied.to_string().as_str());
    }
    Ok(())
}
