//! A program that logs with the macros of `tracing`: at every level, in spans, from several tasks, now and then an error with its
//! causes, and once in a while one that the program forgets to look at, which the log says then. `rounds=N` says how often (by
//! default 100), `pause_ms=N` how long it sleeps in between.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::time::Duration;

use fata_kernel::{Guest, name};
use fata_probe::log::{Chain, Unread};
use tracing::{debug, error, info, info_span, trace, warn};

/// Every round of this number fails.
const FAILING: u64 = 10;
/// After every round of this number something fails that nobody looks at.
const FORGOTTEN: u64 = 25;

/// A store that cannot be written to, and why.
#[derive(Debug)]
struct StoreError {
    key: u64,
    cause: DeviceError,
}

/// What the store's device says.
#[derive(Debug)]
struct DeviceError;

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} was not stored", self.key)
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the device is full")
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

impl Error for DeviceError {}

pub(crate) async fn main(guest: Guest) {
    let number = |key| guest.arg(key).and_then(|text| text.parse().ok());
    let (rounds, pause) = (number("rounds").unwrap_or(100), Duration::from_millis(number("pause_ms").unwrap_or(20)));
    info!(target: "app", rounds, "chatter begins");
    let workers: Vec<_> = [name!("chatter.reader"), name!("chatter.writer")]
        .into_iter()
        .enumerate()
        .map(|(i, task)| {
            let guest = guest.clone();
            guest.clone().spawn(task, async move {
                for round in 0..rounds {
                    work(i, round);
                    guest.sleep(pause).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await;
    }
    info!(target: "app", "chatter ends");
}

fn work(worker: usize, round: u64) {
    let _span = info_span!("round", worker, round).entered();
    debug!(target: "store", round, "looking up");
    trace!(target: "store", round, bucket = round % 7, "probing");
    if worker == 0 {
        info!(target: "cache", hits = round * 3, ratio = 0.75, "looked up");
    } else {
        if let Err(error) = store(round) {
            error!(target: "store", error = %Chain(&error), "giving up");
        }
        // A mistake, and how it comes to light: nobody reads what went wrong.
        let _ = flush(round);
    }
    if round % FAILING == FAILING / 2 {
        warn!(target: "cache", free_bytes = 4096 - round, "nearly full");
    }
}

fn store(key: u64) -> Result<(), StoreError> {
    debug!(target: "store", key, "writing");
    if key % FAILING == FAILING - 1 { Err(StoreError { key, cause: DeviceError }) } else { Ok(()) }
}

/// Its error says so if nobody reads it.
fn flush(round: u64) -> Result<(), Unread<StoreError>> {
    if round % FORGOTTEN == FORGOTTEN - 1 {
        Err(StoreError { key: round, cause: DeviceError })?;
    }
    Ok(())
}
