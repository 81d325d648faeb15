//! The handle through which a unikernel reaches its kernel.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;

use crate::executor::Executor;
use crate::executor::events::Name;
use crate::executor::join::JoinHandle;
use crate::platform::{clock, console};

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

/// The guest, to itself. Clones are the same guest.
#[derive(Clone)]
pub struct Guest {
    inner: Rc<Inner>,
}

struct Inner {
    executor: Executor,
    name: String,
    args: String,
}

/// Runs the guest whose program is `main`, and returns when `main` has ended; other tasks are left as they are.
pub fn run(boot: Boot<'_>, main: Main) {
    let guest = Guest::new(boot);
    let main = guest.inner.executor.spawn(crate::name!("main"), main(guest.clone()));
    guest.inner.executor.run(&main);
}

impl Guest {
    fn new(boot: Boot<'_>) -> Self {
        Guest { inner: Rc::new(Inner { executor: Executor::new(), name: boot.name.into(), args: boot.args.into() }) }
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

    /// Nanoseconds since boot.
    #[must_use]
    pub fn now(&self) -> u64 {
        clock::now()
    }

    /// Returns once `duration` has passed, never before.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))).await;
    }

    /// Returns once the clock has reached `deadline` (nanoseconds since boot), never before.
    pub async fn sleep_until(&self, deadline: u64) {
        self.inner.executor.sleep_until(deadline).await;
    }

    /// A line on the console.
    pub fn log(&self, line: &str) {
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
