//! What a guest's scheduler does for it: look at what the host asks, and say what has been counted. A thread that wakes every
//! [`TICK`], 20 times a second.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fata_probe::{control, log, threads};

const TICK: Duration = Duration::from_millis(50);
/// Threads say again who they are so often, for a reader that has come since.
const ROLL_CALL: Duration = Duration::from_secs(1);

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Without a thread, where the system has none, the service records all the same and answers nobody.
    pub(crate) fn start() -> Self {
        let (stop, stopped) = channel();
        let run = move || {
            let mut generation = control::generation();
            let mut called = Instant::now();
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                threads::on_shared(tick);
                if control::generation() != generation || called.elapsed() >= ROLL_CALL {
                    (generation, called) = (control::generation(), Instant::now());
                    threads::call_roll();
                }
            }
            threads::on_shared(log::tick);
        };
        let thread = thread::Builder::new().name("fata".into()).spawn(run).ok();
        Ticker { stop: Some(stop), thread }
    }
}

fn tick() {
    control::poll();
    control::serve(control::answer);
    log::tick();
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did there would be nothing left to do.
            let _ = thread.join();
        }
    }
}
