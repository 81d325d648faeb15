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

use crate::description::MetadataError;
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

/// Puts chunks into a [`Loader`]'s trace, for whoever gets them in another way than from a [`TraceReader`].
pub struct Feeder {
    shared: Arc<Shared>,
    changed: Box<dyn Fn() + Send>,
    told: Instant,
}

impl std::fmt::Debug for Feeder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feeder").finish_non_exhaustive()
    }
}

impl Loader {
    /// A trace that is fed by hand; `changed` is called at most every 30 ms and once at the end.
    #[must_use]
    pub fn fed(limits: Limits, changed: impl Fn() + Send + 'static) -> (Self, Feeder) {
        let shared = Arc::new(Shared {
            ingest: RwLock::new(Ingest::new(limits)),
            progress: RwLock::new(Progress::Reading(None)),
            waiting: AtomicU32::new(0),
            version: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let feeder = Feeder { shared: Arc::clone(&shared), changed: Box::new(changed), told: Instant::now() };
        (Loader { shared, thread: None }, feeder)
    }

    /// Begins to read; `changed` is called from the loader's thread, at most every 30 ms and once at the end.
    pub fn spawn(reader: TraceReader, limits: Limits, changed: impl Fn() + Send + 'static) -> Self {
        let (mut loader, feeder) = Loader::fed(limits, changed);
        let thread = thread::Builder::new().name("fata-loader".to_owned()).spawn(move || run(reader, feeder));
        match thread {
            Ok(thread) => loader.thread = Some(thread),
            Err(error) => loader
                .shared
                .set_progress(Progress::Failed(format!("no thread could be started to read the trace: {error}"))),
        }
        loader
    }

    /// The trace so far. Look quickly: the loader waits. A thread holds one guard at a time: asking for a second one while
    /// the loader waits for the first would wait for ever.
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

impl Feeder {
    /// Whether nobody looks any more: then feeding is in vain.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Takes one chunk. A packet that cannot be used becomes a warning of the trace.
    ///
    /// # Errors
    /// [`MetadataError`]: nothing after it can be read.
    pub fn chunk(&mut self, chunk: Chunk<'_>) -> Result<(), MetadataError> {
        self.shared.change(|ingest| match chunk {
            Chunk::Metadata(text) => ingest.metadata(text),
            Chunk::Packet(packet) => {
                if let Err(error) = ingest.packet(packet) {
                    ingest.warn(error.to_string());
                }
                Ok(())
            }
        })
    }

    /// Adds a warning to the trace.
    pub fn warn(&mut self, sentence: String) {
        self.shared.change(|ingest| ingest.warn(sentence));
    }

    /// Says how far it has come; the other side is told now and then.
    pub fn progress(&mut self, part: Option<f64>) {
        if self.told.elapsed() >= NOTIFY {
            self.told = Instant::now();
            self.shared.set_progress(Progress::Reading(part));
            (self.changed)();
        }
    }

    /// Says that nothing more comes, and why.
    pub fn finish(self, end: Progress) {
        self.shared.change(|ingest| {
            ingest.release();
            ingest.settle();
        });
        self.shared.set_progress(end);
        (self.changed)();
    }
}

fn run(mut reader: TraceReader, mut feeder: Feeder) {
    let end = loop {
        if feeder.is_abandoned() {
            return;
        }
        let taken = match reader.next_chunk() {
            Ok(Some(chunk)) => feeder.chunk(chunk).map_err(OpenError::from),
            Ok(None) => break Progress::Ended,
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            break Progress::Failed(error.to_string());
        }
        feeder.progress(reader.progress());
    };
    reader.warnings().iter().for_each(|warning| feeder.warn(warning.clone()));
    feeder.finish(end);
}
