//! What a reporter is to its callers: it is ready for an item, takes it, and is done when all it took has arrived.
//!
//! Contract, which the accounts of the whole chain rest on: after `Ok` the item is the reporter's, which delivers it or tells
//! it by a [`Loss`] of its own; after `Err` it is still the caller's, who counts it or gives it to somebody else.
//!
//! When it is full, [`Reporter::poll_ready`] is pending: a caller that asks for back-pressure waits there, one that must not
//! wait calls [`Reporter::report`] all the same and gets `Err` or, from a front with a queue, its policy. The form is that of a
//! poll, so it needs no executor of a certain kind, no allocation, and is the same in a guest's task and in a thread.
//!
//! ```
//! use fata_reporters::reporter::{Item, ReportError, Reporter, deliver};
//! use core::task::{Context, Poll};
//!
//! struct Counting(u64);
//! impl Reporter for Counting {
//!     fn report(&mut self, _: &Item<'_>) -> Result<(), ReportError> {
//!         self.0 += 1;
//!         Ok(())
//!     }
//! }
//! # let item = Item::Record(fata_reporters::Record::BLANK);
//! let mut counting = Counting(0);
//! let arrived = async { deliver(&mut counting, &item).await };
//! # let mut cx = Context::from_waker(core::task::Waker::noop());
//! # assert_eq!(core::pin::pin!(arrived).poll(&mut cx), Poll::Ready(Ok(())));
//! # assert_eq!(counting.0, 1);
//! # use core::future::Future as _;
//! ```

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use fata_wire::field::Level;

use crate::loss::Loss;
use crate::record::Record;
use crate::text::Text;
use crate::time::Time;

/// What reporters get, in order: records, and losses in the place of records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// A record.
    Record(Record<'a>),
    /// What stands for records that were discarded.
    Loss(Loss<'a>),
}

impl Item<'_> {
    /// The level; of a loss, the one it is shown with.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Item::Record(record) => record.level,
            Item::Loss(loss) => loss.level(),
        }
    }

    /// When it was made; of a loss, when its first record was.
    #[must_use]
    pub const fn time(&self) -> Time {
        match self {
            Item::Record(record) => record.time,
            Item::Loss(loss) => loss.first,
        }
    }
}

/// A sentence for a person, of bounded length.
pub type Sentence = Text<116>;

/// Why a reporter did not take an item, and so what its caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// The destination takes nothing now; it may later: keep the item, hand it to another, or count it.
    Later(Sentence),
    /// This reporter takes nothing any more.
    Never(Sentence),
    /// This item cannot be reported here, others can.
    Item(Sentence),
}

impl ReportError {
    /// [`ReportError::Later`] with what `sentence` displays.
    pub fn later(sentence: impl fmt::Display) -> Self {
        ReportError::Later(Text::of(sentence))
    }

    /// [`ReportError::Never`] with what `sentence` displays.
    pub fn never(sentence: impl fmt::Display) -> Self {
        ReportError::Never(Text::of(sentence))
    }

    /// [`ReportError::Item`] with what `sentence` displays.
    pub fn item(sentence: impl fmt::Display) -> Self {
        ReportError::Item(Text::of(sentence))
    }

    /// What a person is told.
    #[must_use]
    pub fn sentence(&self) -> &str {
        match self {
            ReportError::Later(sentence) | ReportError::Never(sentence) | ReportError::Item(sentence) => {
                sentence.as_str()
            }
        }
    }
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl core::error::Error for ReportError {}

/// Where log records go.
pub trait Reporter {
    /// Takes one item: writes it, or keeps it in memory that the reporter has bounded.
    ///
    /// # Errors
    /// See [`ReportError`]; the item was not taken.
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError>;

    /// Ready when [`report`](Reporter::report) has room for one item more; until then the context's waker is kept, and woken
    /// when there is.
    ///
    /// # Errors
    /// An error will not pass by waiting.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        Poll::Ready(Ok(()))
    }

    /// Pushes everything on, and is ready when all that was taken has arrived as far as this reporter can know: the
    /// completion signal.
    ///
    /// # Errors
    /// What was taken and has not arrived is counted by the reporter, and told by a loss when it works again.
    fn poll_done(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        Poll::Ready(Ok(()))
    }

    /// The most memory that its buffers ever take, so that the worst case of a whole chain is one number.
    fn worst_case_bytes(&self) -> usize {
        0
    }
}

macro_rules! forward {
    ($($pointer:ty),+) => { $(
        impl<R: Reporter + ?Sized> Reporter for $pointer {
            fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
                (**self).report(item)
            }
            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
                (**self).poll_ready(cx)
            }
            fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
                (**self).poll_done(cx)
            }
            fn worst_case_bytes(&self) -> usize {
                (**self).worst_case_bytes()
            }
        }
    )+ };
}
forward!(&mut R);
#[cfg(feature = "rings")]
forward!(alloc::boxed::Box<R>);

/// Waits for room, then hands `item` over: back-pressure, without waiting for the item to arrive.
///
/// # Errors
/// Those of the reporter; the item was not taken.
pub async fn submit<R: Reporter + ?Sized>(reporter: &mut R, item: &Item<'_>) -> Result<(), ReportError> {
    poll_fn(|cx| reporter.poll_ready(cx)).await?;
    reporter.report(item)
}

/// Waits until all that `reporter` has taken has arrived.
///
/// # Errors
/// Those of the reporter.
pub async fn done<R: Reporter + ?Sized>(reporter: &mut R) -> Result<(), ReportError> {
    poll_fn(|cx| reporter.poll_done(cx)).await
}

/// Blocks this thread until all that `reporter` has taken has arrived, at most for `time`.
///
/// # Errors
/// Those of the reporter; and [`ReportError::Later`] when the time is over.
#[cfg(feature = "std")]
pub fn finish<R: Reporter + ?Sized>(reporter: &mut R, time: std::time::Duration) -> Result<(), ReportError> {
    block_for(time, |cx| reporter.poll_done(cx)).unwrap_or_else(|| {
        Err(ReportError::later(format_args!("not everything has arrived after {} s", time.as_secs())))
    })
}

/// Blocks this thread until `reporter` has room, at most for `time`, then hands `item` over: back-pressure for who reads
/// what waits anyway, as a trace.
///
/// # Errors
/// Those of the reporter; the item was not taken.
#[cfg(feature = "std")]
pub fn submit_within<R: Reporter + ?Sized>(
    reporter: &mut R,
    item: &Item<'_>,
    time: std::time::Duration,
) -> Result<(), ReportError> {
    block_for(time, |cx| reporter.poll_ready(cx)).unwrap_or(Ok(()))?;
    reporter.report(item)
}

/// What `poll` is ready with; `None` when the time is over.
#[cfg(feature = "std")]
fn block_for<T>(time: std::time::Duration, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    // Mostly it is ready, and then no waker is needed.
    if let Poll::Ready(value) = poll(&mut Context::from_waker(core::task::Waker::noop())) {
        return Some(value);
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let end = std::time::Instant::now() + time;
    loop {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

/// Waits for room, hands `item` over, and waits until it has arrived.
///
/// # Errors
/// Those of the reporter.
pub async fn deliver<R: Reporter + ?Sized>(reporter: &mut R, item: &Item<'_>) -> Result<(), ReportError> {
    submit(reporter, item).await?;
    done(reporter).await
}
