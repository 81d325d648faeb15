//! From a program to a program that is seen.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use fata_probe::region::{Config, Region};
use fata_probe::{log, threads};
use fata_wire::shared::State;

use crate::ring::{self, RingError};
use crate::ticker::Ticker;

/// A program starts one service.
static STARTED: AtomicBool = AtomicBool::new(false);

/// Threads with rings of their own, and the ring of all others.
const STREAMS: u32 = 5;
const PACKET_BYTES: u32 = 64 << 10;
const LOG_PACKET_BYTES: u32 = 4096;

/// Why a program is not seen.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A second service in the same program.
    #[error("this program has started a service already: keep what `start` returned until the program ends")]
    Started,
    /// There is no ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// `FATA_LOG` or `RUST_LOG` does not parse.
    #[error("{variable}={rules}: {error}")]
    Rules {
        /// Which of them.
        variable: &'static str,
        /// What it says.
        rules: String,
        /// The word and its column.
        error: String,
    },
    /// Another subscriber, or another logger.
    #[error("{0}; or use Builder::without_subscriber")]
    Taken(log::Taken),
}

/// From now on the program is seen as `name`, for as long as what this returns lives.
///
/// # Errors
/// [`StartError`]; the program may go on without being seen.
pub fn start(name: &str) -> Result<Service, StartError> {
    Builder::new(name).start()
}

/// How a program is to be seen, where [`start`] does not say it.
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    ring_kib: u32,
    log_kib: u32,
    subscriber: bool,
}

impl Builder {
    /// A program of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Builder { name: name.into(), ring_kib: 1024, log_kib: 64, subscriber: true }
    }

    /// The length of each thread's ring of spans; 1024 by default. Rounded up to a power of two, 256 at least.
    #[must_use]
    pub fn ring_kib(mut self, kib: u32) -> Self {
        self.ring_kib = kib.clamp(256, 1 << 20).next_power_of_two();
        self
    }

    /// The length of each of a thread's two log rings; 64 by default. Rounded up to a power of two, 16 at least.
    #[must_use]
    pub fn log_kib(mut self, kib: u32) -> Self {
        self.log_kib = kib.clamp(16, 1 << 14).next_power_of_two();
        self
    }

    /// Installs neither a subscriber of `tracing` nor a logger: the program has its own, with [`layer`](crate::layer) in it.
    #[must_use]
    pub fn without_subscriber(mut self) -> Self {
        self.subscriber = false;
        self
    }

    fn config(&self) -> Config<'_> {
        Config {
            name: &self.name,
            streams: STREAMS,
            packets_per_stream: (self.ring_kib << 10) / PACKET_BYTES,
            packet_bytes: PACKET_BYTES,
            log_streams: 2 * STREAMS,
            log_packets: (self.log_kib << 10) / LOG_PACKET_BYTES,
            log_packet_bytes: LOG_PACKET_BYTES,
            ..Config::default()
        }
    }

    /// Starts.
    ///
    /// # Errors
    /// [`StartError`]; the program may go on without being seen.
    pub fn start(self) -> Result<Service, StartError> {
        if STARTED.swap(true, Ordering::Relaxed) {
            return Err(StartError::Started);
        }
        set_rules()?;
        let region = ring::install(&self.config())?;
        threads::open(region);
        ring::calibrate(region);
        if self.subscriber {
            log::install().map_err(StartError::Taken)?;
            log::install_facade().map_err(StartError::Taken)?;
        }
        record_panics();
        let service = Service { region, ticker: Some(Ticker::start()) };
        fata_probe::log!(Info, target: "fata.log", "rings", bytes = service.memory_bytes());
        Ok(service)
    }
}

/// What the environment says of the log.
fn set_rules() -> Result<(), StartError> {
    let given =
        |variable| std::env::var(variable).ok().filter(|rules| !rules.is_empty()).map(|rules| (variable, rules));
    let Some((variable, rules)) = given("FATA_LOG").or_else(|| given("RUST_LOG")) else { return Ok(()) };
    match log::rules::set(&rules) {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::Rules { variable, error: error.to_string(), rules: rules.clone() }),
    }
}

/// A panic of any thread is an error that somebody will want to read.
fn record_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or("a panic without words");
        let (file, line) = info.location().map_or(("", 0), |place| (place.file(), place.line()));
        fata_probe::log!(Error, target: "panic", "panic", message = text, file = file, line = line);
        before(info);
    }));
}

/// A program that is seen: dropped where it ends.
#[derive(Debug)]
#[must_use = "the program is seen for as long as this lives: bind it to a name, `let _fata = …`"]
pub struct Service {
    region: &'static Region,
    ticker: Option<Ticker>,
}

impl Service {
    /// The most memory that all rings together take, whatever the program records.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.region.geometry().total_bytes
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.ticker.take());
        let (state, words) = match std::thread::panicking() {
            true => (State::Panicked, "the thread that started the service panicked"),
            false => (State::Exited, ""),
        };
        threads::close();
        self.region.finish(state, words);
    }
}
