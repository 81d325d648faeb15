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

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "the test writes the control page as a host does: words of shared memory")]

    use std::sync::atomic::{AtomicU64, Ordering};

    use fata_probe::region::{Config, Region};
    use fata_wire::log::Account;
    use fata_wire::request::{REQUEST, Slip, TEXT};

    use super::*;

    fn ask(region: &Region, sequence: u32, line: &str) {
        let control = usize::try_from(region.geometry().control_offset).unwrap() + REQUEST;
        let word = |offset: usize| {
            // SAFETY: the control page lies in the region, which lives for ever and is only accessed atomically.
            unsafe { AtomicU64::from_ptr(region.memory().add(control + offset).cast()) }
        };
        for (i, chunk) in line.as_bytes().chunks(8).enumerate() {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word(TEXT + 8 * i).store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let len_bytes = u32::try_from(line.len()).unwrap();
        word(0).store(Slip { sequence, len_bytes }.pack(), Ordering::Release);
    }

    #[test]
    fn a_level_that_is_changed_from_outside_is_in_force_after_one_tick_and_not_before() {
        let config = Config { name: "ticker", streams: 2, log_streams: 4, ..Config::default() };
        let region = Region::in_memory(&config).unwrap();
        threads::open(region);
        // How many records at DEBUG there were, after one more was said.
        let say = || {
            log!(Debug, target: "ticker", "said");
            let copy = region.copy();
            let account = |stream| Account::parse(&copy[region.geometry().log_account(stream)..]);
            [2, 4].map(|stream| account(stream).offered[1]).iter().sum::<u64>()
        };
        assert_eq!(say(), 0);
        for (sequence, line, before, after) in
            [(1, "level ticker:debug", 0, 1), (2, "level ticker:off", 2, 2), (3, "level ticker=trace", 2, 3)]
        {
            ask(region, sequence, line);
            assert_eq!(say(), before, "{line}: nobody has looked");
            // As the service does: on a thread that has no stream of its own.
            thread::scope(|scope| scope.spawn(|| threads::on_shared(tick)).join().unwrap());
            assert_eq!(say(), after, "{line}");
        }
    }
}
