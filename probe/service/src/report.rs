//! Reporters that the application installs: each with a thread that reads the process's own log rings and hands on what it finds.
//!
//! Invariant: of what the program recorded from its first record on, a reporter gets everything in the order of time, but what
//! it gets as a loss in its place. Nothing that a reporter does reaches the threads that record: they write into their rings.
//!
//! ```text
//! threads ──► rings ──► Reader ──► Order ──► (queue ──► its thread) ──► reporter
//! ```
//! **When it is full**: a reporter that is slow has its queue fill ([`Front`]), whose policy decides; a reader that is slow finds
//! out what the rings wrote over. Both are told in their place. [`Service::memory_bytes`](crate::Service::memory_bytes) is the
//! sum of all of it.
//!
//! What a reporter itself logs, while it reports, is counted and never reported: it would have itself to report without end.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use fata_probe::region::Region;
use fata_probe::{Name, threads};
use fata_reporters::combine::Counting;
use fata_reporters::front::{Front, Options};
use fata_reporters::order::Order;
use fata_reporters::reporter::{Item, ReportError, Reporter, finish};
use fata_reporters::rings::{Reader, Relay};
use fata_reporters::spec::{self, Boxed, OpenError};

/// How often the rings are looked at.
const INTERVAL: Duration = Duration::from_millis(20);
/// How much later than a younger record of another thread a record may be committed and still be put in its place.
const WINDOW: Duration = Duration::from_millis(50);
/// What waits for its place takes at most so much.
const ORDER_BYTES: usize = 1 << 20;
/// Between two looks at whether the program ends, so many records are handed on at most.
const ROUND: usize = 10_000;
/// How long the end of the program waits for what is left, in all.
const END: Duration = Duration::from_secs(5);

/// Why a reporter cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The words do not say a destination, or it cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No thread for it.
    #[error("no thread for a reporter: {0}")]
    Thread(#[from] io::Error),
}

/// A reporter that is to be installed.
pub(crate) struct Wanted {
    chain: Boxed,
    threads: Threads,
}

/// The numbers of the threads in which reporters run, once they have.
#[derive(Clone, Default)]
struct Threads(Arc<Mutex<Vec<Arc<AtomicU16>>>>);

impl Threads {
    fn mark(&self, reporter: Boxed) -> Boxed {
        let thread = Arc::new(AtomicU16::new(0));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&thread));
        Box::new(Marked { reporter, thread })
    }

    fn has(&self, number: u16) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: the number was stored before anything that the thread recorded while it reported.
        number != 0 && all.iter().any(|thread| thread.load(Ordering::Relaxed) == number)
    }
}

/// Notes in which thread a reporter runs.
struct Marked {
    reporter: Boxed,
    thread: Arc<AtomicU16>,
}

impl Marked {
    fn mark(&mut self) -> &mut Boxed {
        self.thread.store(threads::number(), Ordering::Relaxed);
        &mut self.reporter
    }
}

impl Reporter for Marked {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        self.mark().report(item)
    }
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        self.mark().poll_ready(cx)
    }
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        self.mark().poll_done(cx)
    }
    fn worst_case_bytes(&self) -> usize {
        self.reporter.worst_case_bytes()
    }
}

impl Wanted {
    /// What the words ask for.
    pub(crate) fn open(words: &str) -> Result<Self, AttachError> {
        let threads = Threads::default();
        let chain = spec::open_around(words, &mut |reporter| threads.mark(reporter))?;
        Ok(Wanted { chain, threads })
    }

    /// A reporter of the program, behind a queue.
    pub(crate) fn of(name: &str, reporter: impl Reporter + Send + 'static) -> Result<Self, AttachError> {
        let threads = Threads::default();
        let front = Front::spawn(name, threads.mark(Box::new(reporter)), Options::default())?;
        Ok(Wanted { chain: Box::new(front), threads })
    }

    /// Begins to report what `region` holds and will hold.
    pub(crate) fn install(self, region: &'static Region) -> Result<Reporting, AttachError> {
        let copy_out = Box::new(move |offset, out: &mut [u8]| region.copy_out(offset, out));
        // A service's ring has log streams.
        let Some(reader) = Reader::new(*region.geometry(), copy_out) else {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        };
        let bytes = reader.worst_case_bytes() + ORDER_BYTES + self.chain.worst_case_bytes();
        let (stop, stopped) = channel();
        let (ending, ended) = channel::<()>();
        let run = move || {
            run(reader, self, &stopped);
            drop(ending);
        };
        thread::Builder::new().name("fata-log".into()).spawn(run)?;
        Ok(Reporting { bytes, stop: Some(stop), ended })
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("worst_case_bytes", &self.chain.worst_case_bytes()).finish_non_exhaustive()
    }
}

/// A reporter at work; when this is dropped it gets what is left, for [`END`] at most.
#[derive(Debug)]
pub(crate) struct Reporting {
    /// The most memory that it takes, queue and all.
    pub(crate) bytes: usize,
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl Drop for Reporting {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A reporter that hangs keeps its thread; the program ends all the same.
        let _ = self.ended.recv_timeout(END);
    }
}

/// What the thread does until the program ends.
fn run(mut reader: Reader, wanted: Wanted, stopped: &Receiver<()>) {
    let Wanted { chain, threads } = wanted;
    let mut relay = Relay::new(Order::new(Counting::new(chain, "the reporter"), WINDOW, ORDER_BYTES));
    let mut more = false;
    loop {
        let wait = if more { Duration::ZERO } else { INTERVAL };
        let stopping = stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
        let end = Instant::now() + END / 2;
        loop {
            let now = reader.time_from_ticks(fata_probe::ticks());
            more = hand_on(&mut reader, &mut relay, &threads);
            // What stands behind takes everything or counts it.
            let _ = relay.reporter.advance(now);
            if !more || !stopping || Instant::now() > end {
                break;
            }
        }
        if stopping {
            break;
        }
    }
    relay.tell();
    if let Ok(mut chain) = relay.reporter.finish() {
        let _ = finish(&mut chain, END / 2);
    }
}

/// Hands on what there is, or some of it; whether there is more.
fn hand_on(reader: &mut Reader, relay: &mut Relay<Order<Counting<Boxed>>>, threads: &Threads) -> bool {
    let name_of = |number| threads::name_of(number).map(Name::id);
    let handed =
        (0..ROUND).map_while(|_| reader.next(&name_of, |thread, item| relay.hand_on(threads.has(thread), item)));
    handed.count() == ROUND
}
