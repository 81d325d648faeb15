//! The guest's log to a reporter of its application: a background task that reads the rings back and hands on what it finds.
//!
//! Invariant: the reporter gets every record once and in the order of time, or a loss in its place, from the oldest on that the
//! rings hold. When it has no room the records wait in the rings; what those write over is lost, and told.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use fata_probe::{log, name};
use fata_reporters::combine::Counting;
use fata_reporters::reporter::{ReportError, Reporter};
use fata_reporters::rings::{Reader, Relay};

use crate::Guest;
use crate::platform::clock;

/// Between two looks for records.
const IDLE: Duration = Duration::from_millis(20);
/// At the end, a reporter that takes nothing for so long gets nothing more.
const PATIENCE_NANOS: u64 = 20_000_000;
/// At the end so many records are handed over at most; the rings hold fewer, unless somebody fills them meanwhile.
const LAST_RECORDS: usize = 100_000;

/// Nothing is recorded that could be reported: the guest was built without the feature `profiling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLog;

impl fmt::Display for NoLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this guest records no log: build it with the feature `profiling`")
    }
}

impl core::error::Error for NoLog {}

/// A reporter at work.
#[derive(Clone)]
pub(crate) struct Reporting {
    inner: Rc<RefCell<Inner>>,
}

type Chain = Counting<Box<dyn Reporter>>;

struct Inner {
    reader: Reader,
    relay: Relay<Chain>,
    /// The number of the task that reports; 0 before it was polled.
    own: u16,
}

impl Reporting {
    /// Starts the task.
    pub(crate) fn start(guest: &Guest, reporter: impl Reporter + 'static) -> Result<Self, NoLog> {
        let reader = super::reader().ok_or(NoLog)?;
        let reporter: Chain = Counting::new(Box::new(reporter), "the guest's reporter");
        let bytes = reader.worst_case_bytes() + size_of::<Inner>() + reporter.worst_case_bytes();
        log!(Info, target: "fata.log", "a reporter takes at most", bytes = bytes as u64);
        let reporting =
            Reporting { inner: Rc::new(RefCell::new(Inner { reader, relay: Relay::new(reporter), own: 0 })) };
        let (task, own) = (reporting.clone(), guest.clone());
        drop(guest.spawn_background(name!("reporter"), async move {
            if let Err(error) = task.run(&own).await {
                own.log(&format!("the log is not reported any more: {error}"));
            }
        }));
        Ok(reporting)
    }

    /// Hands on what there is for as long as the reporter takes any.
    async fn run(&self, guest: &Guest) -> Result<(), ReportError> {
        self.inner.borrow_mut().own = guest.current_task();
        loop {
            let ready = poll_fn(|cx| self.inner.borrow_mut().relay.reporter.poll_ready(cx)).await;
            if let Err(error @ ReportError::Never(_)) = ready {
                return Err(error);
            }
            if ready.is_ok() && self.inner.borrow_mut().hand_on(guest) {
                guest.yield_now().await;
                continue;
            }
            // Nothing waits: what was taken may go on its way. That it does not, the reporter itself will tell.
            poll_fn(|cx| {
                let _ = self.inner.borrow_mut().relay.reporter.poll_done(cx);
                Poll::Ready(())
            })
            .await;
            guest.sleep(IDLE).await;
        }
    }

    /// Hands over everything that is left, when no task runs any more.
    pub(crate) fn finish(&self, guest: &Guest) {
        let Ok(mut inner) = self.inner.try_borrow_mut() else { return };
        // What the reporter records meanwhile is its own.
        log::set_task(inner.own);
        for _ in 0..LAST_RECORDS {
            if !inner.wait(|reporter, cx| reporter.poll_ready(cx)) || !inner.hand_on(guest) {
                break;
            }
        }
        inner.relay.tell();
        inner.wait(|reporter, cx| reporter.poll_done(cx));
        log::set_task(0);
    }
}

impl Inner {
    /// Hands the next record or loss on; `false` where there is none.
    fn hand_on(&mut self, guest: &Guest) -> bool {
        let Inner { reader, relay, own } = self;
        let is_own = |task| task == *own && task != 0;
        reader.next(&|number| guest.task_name(number), |task, item| relay.hand_on(is_own(task), item)).is_some()
    }

    /// Asks again and again until the reporter is ready; whether it was, within [`PATIENCE_NANOS`].
    fn wait(&mut self, mut poll: impl FnMut(&mut Chain, &mut Context<'_>) -> Poll<Result<(), ReportError>>) -> bool {
        let since = clock::now();
        loop {
            match poll(&mut self.relay.reporter, &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => return result.is_ok(),
                Poll::Pending if clock::now() - since > PATIENCE_NANOS => return false,
                Poll::Pending => core::hint::spin_loop(),
            }
        }
    }
}
