//! What a log record costs: ours by `log!`, by the macros of `tracing` and by those of `log`, with no field, one and three.
//!
//! Each in a process of its own with log rings of the length that a guest has by default, without a reader: what is measured
//! includes the change of packets. No rate limit, since what is suppressed costs less.

use fata_probe::region::Region;

use crate::case::{Case, timed};
use crate::log_case;
use crate::peers::Server;
use crate::served::Child;

/// So many in a round.
const RECORDS: u64 = 8 << 10;
/// The rate limit takes a token for each record; this is as many as there are.
const UNLIMITED: u32 = 0;

fn none(records: u64) -> f64 {
    timed!(records, 1, |i| fata_probe::log!(Info, "request served");)
}

fn one(records: u64) -> f64 {
    timed!(records, 1, |i| fata_probe::log!(Info, "request served", id = i);)
}

fn three(records: u64) -> f64 {
    timed!(records, 1, |i| fata_probe::log!(Info, "request served", id = i, status = !i, bytes = i + 1);)
}

fn filtered(records: u64) -> f64 {
    timed!(records, 1, |i| fata_probe::log!(Debug, "request served", id = i, status = !i, bytes = i + 1);)
}

/// The same by other macros, in a program that has them.
#[cfg(feature = "logs")]
mod others {
    use crate::case::timed;

    pub(super) fn tracing_none(records: u64) -> f64 {
        timed!(records, 1, |i| tracing::info!("request served");)
    }

    pub(super) fn tracing_one(records: u64) -> f64 {
        timed!(records, 1, |i| tracing::info!(id = i, "request served");)
    }

    pub(super) fn tracing_three(records: u64) -> f64 {
        timed!(records, 1, |i| tracing::info!(id = i, status = !i, bytes = i + 1, "request served");)
    }

    pub(super) fn tracing_filtered(records: u64) -> f64 {
        timed!(records, 1, |i| tracing::debug!(id = i, status = !i, bytes = i + 1, "request served");)
    }

    pub(super) fn facade_three(records: u64) -> f64 {
        // The copies of the statement lie in one line: where they said the same they would be folded.
        let mut id = 0u64;
        timed!(records, 1, |i| {
            id += 1;
            log::info!("request served id={} status={} bytes={}", id, !i, i + 1);
        })
    }

    /// Has the macros reach our rings.
    pub(super) fn install() -> Result<(), String> {
        fata_probe::log::install().map_err(|error| error.to_string())?;
        fata_probe::log::install_facade().map_err(|error| error.to_string())
    }
}

type Rounds = fn(u64) -> f64;

/// By the names of the cases.
const OWN: &[(&str, Rounds)] = &[
    ("log.0", none),
    ("log.1", one),
    ("log.3", three),
    ("log.filtered", filtered),
    #[cfg(feature = "logs")]
    ("tracing.0", others::tracing_none),
    #[cfg(feature = "logs")]
    ("tracing.1", others::tracing_one),
    #[cfg(feature = "logs")]
    ("tracing.3", others::tracing_three),
    #[cfg(feature = "logs")]
    ("tracing.filtered", others::tracing_filtered),
    #[cfg(feature = "logs")]
    ("facade.3", others::facade_three),
];

/// The records that the ordinary log stream was offered, and how many bytes lie in it per record.
fn offered(region: &Region) -> u64 {
    let copy = region.copy();
    let at = region.geometry().log_account(region.geometry().stream_count);
    copy.get(at..).map_or(0, |bytes| fata_wire::log::Account::parse(bytes).offered.iter().sum())
}

/// Rounds of one of our cases.
pub(crate) fn server(name: &str) -> Option<Result<Server, String>> {
    let (name, round) = *OWN.iter().find(|(known, _)| *known == name)?;
    Some(start(name, round))
}

fn start(name: &'static str, round: Rounds) -> Result<Server, String> {
    let region = crate::fata::ring_with_logs()?;
    fata_probe::log::set_rate(UNLIMITED);
    #[cfg(feature = "logs")]
    others::install()?;
    let is_filtered = name.ends_with("filtered");
    let bytes = if is_filtered { 0.0 } else { crate::fata::bytes_per_log(region, || _ = round(RECORDS)) };
    Ok(Box::new(move |records| {
        let before = offered(region);
        let nanos = round(records);
        let made = offered(region) - before;
        if made < records && !is_filtered || made > 0 && is_filtered {
            return Err(format!("{made} records of {records} were made"));
        }
        Ok((nanos, Some(bytes)))
    }))
}

/// The names of the cases.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OWN.iter().map(|(name, _)| *name)
}

/// Adds the cases.
pub(crate) fn cases(cases: &mut Vec<Case>) -> Result<(), String> {
    for (name, _) in OWN {
        cases.push(log_case(name, RECORDS, Child::own(name)?));
    }
    Ok(())
}
