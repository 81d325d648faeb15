//! A trace that is read by one thread and looked at by another.
//!
//! The loader's thread holds the lock for one packet at a time and lets whoever waits go first, so a frame waits for at
//! most one packet (a fraction of a millisecond). Nothing is buffered here: a slow model makes the reader read slowly, and
//! the guest's ring keeps the account.
//!
//! ```no_run
//! # fn main() -> Result<(), fata_model::source::OpenError> {
//! use fata_model::{ingest::Limits, live::Loader, source};
//! let loader = Loader::spawn(source::open("trace".as_ref())?, Limits::default(), || { /* request a repaint */ });
//! println!("{} events so far", loader.trace().events_total());
//! # Ok(()) }
//! ```

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ingest::{Ingest, Limits};
use crate::source::{Chunk, OpenError, TraceReader};
use crate::trace::Trace;

/// How often at most the other side is told that there is more.
const NOTIFY: Duration = Duration::from_millis(30);

/// What the loader is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Reads; how much it has read, 0 to 1, where that is known.
    Reading(Option<f64>),
    /// The input has ended.
    Ended,
    /// The input could not be read on; the sentence says why.
    Failed(String),
}

struct Shared {
    ingest: RwLock<Ingest>,
    progress: RwLock<Progress>,
    /// Readers that wait for the lock.
    waiting: AtomicU32,
    /// Grows with every change.
    version: AtomicU64,
    stop: AtomicBool,
}

/// See the module.
pub struct Loader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

/// The trace while it is looked at; the loader waits meanwhile.
#[derive(Debug)]
pub struct TraceGuard<'a>(RwLockReadGuard<'a, Ingest>);

impl Deref for TraceGuard<'_> {
    type Target = Trace;

    fn deref(&self) -> &Trace {
        self.0.trace()
    }
}

impl Loader {
    /// Begins to read; `changed` is called from the loader's thread, at most every 30 ms and once at the end.
    pub fn spawn(reader: TraceReader, limits: Limits, changed: impl Fn() + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            ingest: RwLock::new(Ingest::new(limits)),
            progress: RwLock::new(Progress::Reading(reader.progress())),
            waiting: AtomicU32::new(0),
            version: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("fata-loader".to_owned()).spawn(move || run(reader, &theirs, &changed));
        if let Err(error) = &thread {
            shared.set_progress(Progress::Failed(format!("no thread could be started to read the trace: {error}")));
        }
        Loader { shared, thread: thread.ok() }
    }

    /// The trace so far. Look quickly: the loader waits.
    #[must_use]
    pub fn trace(&self) -> TraceGuard<'_> {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.shared.ingest.read().unwrap_or_else(PoisonError::into_inner);
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        TraceGuard(guard)
    }

    /// What the loader is doing.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.progress.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Grows with every change of the trace: the same number, the same picture.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Relaxed)
    }

    /// Waits for the end of the input.
    pub fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A loader that panicked has said so; what it read stays.
            let _ = thread.join();
        }
    }
}

impl Drop for Loader {
    /// The loader's thread ends with its next packet.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn set_progress(&self, progress: Progress) {
        *self.progress.write().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ingest) -> T) -> T {
        while self.waiting.load(Ordering::Relaxed) > 0 {
            // A lock taken again at once would be had before whoever waits has woken up.
            thread::sleep(Duration::from_micros(50));
        }
        let result = change(&mut self.ingest.write().unwrap_or_else(PoisonError::into_inner));
        self.version.fetch_add(1, Ordering::Relaxed);
        result
    }
}

fn run(mut reader: TraceReader, shared: &Shared, changed: &impl Fn()) {
    let mut told = Instant::now();
    let end = loop {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        match take(&mut reader, shared) {
            Ok(true) => {}
            Ok(false) => break Progress::Ended,
            Err(error) => break Progress::Failed(error.to_string()),
        }
        if told.elapsed() >= NOTIFY {
            shared.set_progress(Progress::Reading(reader.progress()));
            changed();
            told = Instant::now();
        }
    };
    shared.change(|ingest| {
        reader.warnings().iter().for_each(|warning| ingest.warn(warning.clone()));
        ingest.release();
    });
    shared.set_progress(end);
    changed();
}

/// Takes one chunk; `false` at the end.
fn take(reader: &mut TraceReader, shared: &Shared) -> Result<bool, OpenError> {
    match reader.next_chunk()? {
        None => Ok(false),
        Some(Chunk::Metadata(text)) => {
            shared.change(|ingest| ingest.metadata(text))?;
            Ok(true)
        }
        Some(Chunk::Packet(packet)) => {
            shared.change(|ingest| {
                if let Err(error) = ingest.packet(packet) {
                    ingest.warn(error.to_string());
                }
            });
            Ok(true)
        }
    }
}
