//! From a program to a program that is seen.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use fata_probe::region::{Config, Region};
use fata_probe::{log, threads};
use fata_wire::shared::State;

#[cfg(feature = "reporters")]
use crate::report::{AttachError, Reporting, Wanted};
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
    /// A reporter cannot be installed.
    #[cfg(feature = "reporters")]
    #[error(transparent)]
    Attach(#[from] AttachError),
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

/// How the program called `name` is to be seen, where [`start`] does not say it.
#[must_use]
pub fn builder(name: &str) -> Builder {
    Builder::new(name)
}

/// How a program is to be seen, where [`start`] does not say it.
#[derive(Debug)]
pub struct Builder {
    name: String,
    ring_kib: u32,
    log_kib: u32,
    subscriber: bool,
    #[cfg(feature = "reporters")]
    reporters: Vec<Wanted>,
}

impl Builder {
    /// A program of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Builder {
            name: name.into(),
            ring_kib: 1024,
            log_kib: 64,
            subscriber: true,
            #[cfg(feature = "reporters")]
            reporters: Vec::new(),
        }
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

    /// Installs the reporter that `words` ask for, as `fata log --to` takes them ([`fata_reporters::spec`]): it gets what the
    /// program says, from its first record on. May be called several times.
    ///
    /// ```no_run
    /// # #[cfg(feature = "reporters")] {
    /// let _fata = fata_service::builder("shop").report("file:/var/log/shop.log,rotate=10M else console")?.start()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A word that nobody knows, a destination that cannot be opened, no thread.
    #[cfg(feature = "reporters")]
    pub fn report(mut self, words: &str) -> Result<Self, AttachError> {
        self.reporters.push(Wanted::open(words)?);
        Ok(self)
    }

    /// Installs a reporter of the program's own, behind a queue of 1 MiB; troubles and losses call it `name`.
    ///
    /// # Errors
    /// No thread.
    #[cfg(feature = "reporters")]
    pub fn reporter(
        mut self,
        name: &str,
        reporter: impl fata_reporters::Reporter + Send + 'static,
    ) -> Result<Self, AttachError> {
        self.reporters.push(Wanted::of(name, reporter)?);
        Ok(self)
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
        #[cfg(feature = "reporters")]
        let reporting = self.reporters.into_iter().map(|wanted| wanted.install(region)).collect::<Result<_, _>>()?;
        let service = Service {
            region,
            ticker: Some(Ticker::start()),
            #[cfg(feature = "reporters")]
            reporting,
        };
        fata_probe::log!(Info, target: "fata.log", "all of it takes at most", bytes = service.memory_bytes());
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
    #[cfg(feature = "reporters")]
    reporting: Vec<Reporting>,
}

impl Service {
    /// The most memory that being seen takes, whatever the program records: all rings, the tables of the log, and what waits
    /// for reporters.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let bytes = self.region.geometry().total_bytes + log::table_bytes(self.region);
        #[cfg(feature = "reporters")]
        let bytes = bytes + self.reporting.iter().map(|reporting| reporting.bytes as u64).sum::<u64>();
        bytes
    }

    /// Installs a reporter while the program runs, as [`Builder::report`] does. It gets what was recorded before, as far as the
    /// rings still hold it, first.
    ///
    /// # Errors
    /// Those of [`Builder::report`].
    #[cfg(feature = "reporters")]
    pub fn report(&mut self, words: &str) -> Result<(), AttachError> {
        self.reporting.push(Wanted::open(words)?.install(self.region)?);
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.ticker.take());
        #[cfg(feature = "reporters")]
        self.reporting.clear();
        let (state, words) = match std::thread::panicking() {
            true => (State::Panicked, "the thread that started the service panicked"),
            false => (State::Exited, ""),
        };
        threads::close();
        self.region.finish(state, words);
    }
}
