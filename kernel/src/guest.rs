//! The handle through which a unikernel reaches its kernel.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{OnceCell, RefCell};
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;

use fata_probe::{Name, name};
use fata_reporters::Reporter;

use crate::executor::{Executor, JoinHandle};
use crate::heap;
use crate::logs::{ConsoleLog, NoLog, Reporting};
use crate::net::Net;
use crate::platform::{self, clock, console};

/// A future that stays on its vCPU.
pub type LocalBoxFuture = Pin<Box<dyn Future<Output = ()>>>;
/// The program of a unikernel.
pub type Main = fn(Guest) -> LocalBoxFuture;

/// What the platform tells the guest when it starts it.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The guest's name.
    pub name: &'a str,
    /// The boot parameters: `key=value` words, separated by spaces.
    pub args: &'a str,
}

/// The time was over before the future was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took too long")
    }
}

impl core::error::Error for TimedOut {}

/// The guest, to itself. Clones are the same guest.
#[derive(Clone)]
pub struct Guest {
    inner: Rc<Inner>,
}

struct Inner {
    executor: Executor,
    name: String,
    args: String,
    net: OnceCell<Net>,
    console: OnceCell<ConsoleLog>,
    reporting: RefCell<Vec<Reporting>>,
}

/// Runs the guest whose program is `main`, and returns when `main` has ended; other tasks are left as they are.
pub fn run(boot: Boot<'_>, main: Main) {
    let guest = Guest::new(boot);
    platform::services::start(&guest);
    let main = guest.inner.executor.spawn(name!("main"), main(guest.clone()));
    if let Some(log) = ConsoleLog::start(&guest) {
        let _ = guest.inner.console.set(log);
    }
    guest.inner.executor.run(&main);
    if let Some(log) = guest.inner.console.get() {
        log.finish(&guest);
    }
    for reporting in guest.inner.reporting.take() {
        reporting.finish(&guest);
    }
    heap::report();
    // The end of a guest is the end of its machine: what is left stays as it is, and in the trace no task that still waits
    // for something is seen to give up.
    core::mem::forget(guest);
}

impl Guest {
    fn new(boot: Boot<'_>) -> Self {
        Guest {
            inner: Rc::new(Inner {
                executor: Executor::new(),
                name: boot.name.into(),
                args: boot.args.into(),
                net: OnceCell::new(),
                console: OnceCell::new(),
                reporting: RefCell::new(Vec::new()),
            }),
        }
    }

    /// The guest's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Starts a task. Dropping the handle lets the task run on; awaiting it gives the task's result.
    pub fn spawn<T: 'static>(&self, name: Name, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.inner.executor.spawn(name, future)
    }

    /// Starts a task that is polled where no other task is ready, or four times a second where there always is one: for work
    /// that can wait.
    pub fn spawn_background<T: 'static>(&self, name: Name, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.inner.executor.spawn_background(name, future)
    }

    /// Reports what the guest records with `tracing` or `log`, from its first record on, to `reporter` too.
    ///
    /// A [background task](Guest::spawn_background) reads the guest's own rings and waits for a reporter that has no room
    /// ([`Reporter::poll_ready`]); records wait in the rings meanwhile, and what those write over is told as a loss in its place.
    /// The reporter is part of the guest: one that does not return stops it, and what it logs while it reports is counted and
    /// never reported. At the end it gets what is left, for 20 ms after it last took something.
    ///
    /// # Errors
    /// A guest built without the feature `profiling` records nothing.
    pub fn report_to(&self, reporter: impl Reporter + 'static) -> Result<(), NoLog> {
        let reporting = Reporting::start(self, reporter)?;
        self.inner.reporting.borrow_mut().push(reporting);
        Ok(())
    }

    /// The number of the task that asks; 0 outside of any.
    pub(crate) fn current_task(&self) -> u16 {
        self.inner.executor.current()
    }

    /// The number of the name of a task that lives, or ended not long ago, and is not the one that asks.
    pub(crate) fn task_name(&self, number: u16) -> Option<u16> {
        self.inner.executor.name_of(number).map(Name::id)
    }

    /// Nanoseconds since boot.
    #[must_use]
    pub fn now(&self) -> u64 {
        clock::now()
    }

    /// Returns once `duration` has passed, never before.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.after(duration)).await;
    }

    fn after(&self, duration: Duration) -> u64 {
        self.now().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns once the clock has reached `deadline` (nanoseconds since boot), never before.
    pub async fn sleep_until(&self, deadline: u64) {
        self.inner.executor.sleep_until(deadline).await;
    }

    /// What `future` gives, or [`TimedOut`] where it has given nothing when `duration` is over. It is dropped then.
    ///
    /// # Errors
    /// [`TimedOut`], see above.
    pub async fn timeout<T>(&self, duration: Duration, future: impl Future<Output = T>) -> Result<T, TimedOut> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.inner.executor.sleep_until(self.after(duration)));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(TimedOut)),
        })
        .await
    }

    /// Gives way to every other task that is ready.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|cx| {
            if core::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// The network. The first call brings it up; where there is none, everything asked of it fails with a sentence.
    #[must_use]
    pub fn net(&self) -> &Net {
        self.inner.net.get_or_init(|| platform::net::start(self))
    }

    /// A line on the console.
    pub fn log(&self, line: &str) {
        if let Some(log) = self.inner.console.get() {
            log.end_line();
        }
        console::write(line);
        console::write("\n");
    }

    /// The value of the boot parameter `key`; the last one where it is given twice.
    #[must_use]
    pub fn arg(&self, key: &str) -> Option<&str> {
        self.args().filter(|(k, _)| *k == key).map(|(_, value)| value).last()
    }

    /// The boot parameters in order; a word without `=` has the empty value.
    pub fn args(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inner.args.split_ascii_whitespace().map(|word| word.split_once('=').unwrap_or((word, "")))
    }
}
