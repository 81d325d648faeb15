//! Other loggers, each in a process of its own: what the program waits for until a record is out of its hands. What they
//! write goes to a writer that counts; what is written by a thread of their own is written between the rounds.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Server;
use crate::case::timed;

/// By the names of the cases; how many records a round has.
pub(super) const CASES: [(&str, u64); 11] = [
    ("tracing-appender.0", 1 << 10),
    ("tracing-appender.1", 1 << 10),
    ("tracing-appender.3", 1 << 10),
    ("tracing-appender.filtered", 8 << 10),
    ("env_logger.0", 1 << 10),
    ("env_logger.1", 1 << 10),
    ("env_logger.3", 1 << 10),
    ("env_logger.filtered", 8 << 10),
    ("defmt.0", 8 << 10),
    ("defmt.1", 8 << 10),
    ("defmt.3", 8 << 10),
];

/// Counts lines and bytes.
#[derive(Clone, Default)]
struct Counter(Arc<(AtomicU64, AtomicU64)>);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.0.1.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // Release: pairs with the Acquire in `wait_for`, which then sees the bytes too.
        self.0.0.fetch_add(lines, Ordering::Release);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Counter {
    /// Waits until so many lines were written; bytes per line.
    fn wait_for(&self, lines: u64) -> f64 {
        while self.0.0.load(Ordering::Acquire) < lines {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let bytes = self.0.1.load(Ordering::Relaxed) as f64 / lines as f64;
        bytes
    }
}

/// Rounds of one of these cases.
pub(super) fn server(name: &str) -> Option<Result<Server, String>> {
    let (peer, fields) = name.split_once('.')?;
    Some(match peer {
        "tracing-appender" => appender(tracing_rounds(fields)?),
        "env_logger" => env_logger(log_rounds(fields)?),
        "defmt" => Ok(super::defmt::server(fields)?),
        _ => return None,
    })
}

type Rounds = (fn(u64) -> f64, bool);

fn tracing_rounds(fields: &str) -> Option<Rounds> {
    Some(match fields {
        "0" => (|n| timed!(n, 1, |i| tracing::info!("request served");), true),
        "1" => (|n| timed!(n, 1, |i| tracing::info!(id = i, "request served");), true),
        "3" => (|n| timed!(n, 1, |i| tracing::info!(id = i, status = !i, bytes = i + 1, "request served");), true),
        "filtered" => (|n| timed!(n, 1, |i| tracing::debug!(id = i, status = !i, bytes = i + 1, "served");), false),
        _ => return None,
    })
}

fn log_rounds(fields: &str) -> Option<Rounds> {
    Some(match fields {
        "0" => (|n| timed!(n, 1, |i| log::info!("request served");), true),
        "1" => (|n| timed!(n, 1, |i| log::info!("request served id={i}");), true),
        "3" => (|n| timed!(n, 1, |i| log::info!("request served id={} status={} bytes={}", i, !i, i + 1);), true),
        "filtered" => (|n| timed!(n, 1, |i| log::debug!("served id={} status={} bytes={}", i, !i, i + 1);), false),
        _ => return None,
    })
}

/// `tracing` with `tracing-subscriber`'s formatter and the non-blocking writer of `tracing-appender`, as its documentation
/// has it, but for colours.
fn appender((round, writes): Rounds) -> Result<Server, String> {
    let counter = Counter::default();
    let (writer, guard) = tracing_appender::non_blocking(counter.clone());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    Ok(counted(counter, round, writes, guard))
}

/// `log` with `env_logger`, which writes at once.
fn env_logger((round, writes): Rounds) -> Result<Server, String> {
    let counter = Counter::default();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .target(env_logger::Target::Pipe(Box::new(counter.clone())))
        .try_init()
        .map_err(|error| error.to_string())?;
    Ok(counted(counter, round, writes, ()))
}

fn counted(counter: Counter, round: fn(u64) -> f64, writes: bool, keep: impl Sized + 'static) -> Server {
    let mut made = 0;
    Box::new(move |records| {
        let _ = &keep;
        let nanos = round(records);
        if !writes {
            return Ok((nanos, Some(0.0)));
        }
        // A round makes a multiple of sixteen.
        made += (records / 16).max(1) * 16;
        Ok((nanos, Some(counter.wait_for(made))))
    })
}
