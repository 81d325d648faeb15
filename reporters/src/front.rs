//! What stands before a reporter: a bounded queue, and a thread of its own that does the reporting.
//!
//! Invariant: produced = reported + discarded + waiting, by level, at every moment; and a caller is never made to wait, unless
//! it chose [`Policy::Block`] or asks [`Reporter::poll_ready`]. When the queue is full its [`Policy`] decides.
//!
//! Whatever the reporter does, the program goes on:
//!
//! | the reporter | what happens |
//! |---|---|
//! | logs | what it logs while it reports is counted ([`Cause::Nested`]) and told with the next record |
//! | panics | the panic is caught, the record counted; three in a row, and it gets nothing more |
//! | blocks | the queue fills, and its policy decides; `close` gives up after its time and counts |
//! | forgets (is never ready or never done) | after [`Options::patience`] a sentence says so |
//! | fails for now | the record is kept and offered again; the queue fills meanwhile |
//! | takes records and cannot deliver them | [`Account::unconfirmed`] says how many; it is asked again and again |
//!
//! ```
//! use fata_reporters::front::{Front, Options};
//! use fata_reporters::{Item, Record, ReportError, Reporter};
//! use std::time::Duration;
//!
//! struct Nowhere;
//! impl Reporter for Nowhere {
//!     fn report(&mut self, _: &Item<'_>) -> Result<(), ReportError> {
//!         Ok(())
//!     }
//! }
//! let mut front = Front::spawn("nowhere", Nowhere, Options::default()).unwrap();
//! front.report(&Item::Record(Record::BLANK)).unwrap();
//! let account = front.close(Duration::from_secs(5));
//! assert_eq!((account.reported.total(), account.discarded.total()), (1, 0));
//! ```

mod worker;

use core::fmt;
use core::task::{Context, Poll, Waker};
use std::io;
use std::string::String;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use std::vec::Vec;

use fata_wire::field::Level;

use crate::codec::decoded_bytes;
use crate::loss::{Cause, Counts};
use crate::queue::{Bounds, Policy, Queue};
use crate::record::Record;
use crate::reporter::{Item, ReportError, Reporter, Sentence};
use crate::time::Time;

/// So many cooperative callers are woken one by one; further ones look again by themselves.
const MAX_WAKERS: usize = 64;
/// How long the last handle waits for the reporter when it is dropped.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// How a front behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How much may wait, and what goes when that is full.
    pub bounds: Bounds,
    /// How long a reporter may take nothing, or not be done, before that is told; and how long [`Policy::Block`] waits for
    /// one that makes no progress.
    pub patience: Duration,
    /// Is told, by the reporter's thread, when the reporter fails in a new way, and when it works again (`None`).
    pub trouble: fn(name: &str, error: Option<&ReportError>),
}

impl Default for Options {
    fn default() -> Self {
        Options { bounds: Bounds::default(), patience: Duration::from_secs(10), trouble: tell_on_standard_error }
    }
}

fn tell_on_standard_error(name: &str, error: Option<&ReportError>) {
    use std::io::Write as _;
    let mut out = io::stderr();
    // Where standard error is gone too, nobody is left to tell.
    let _ = match error {
        Some(error) => writeln!(out, "fata: {name}: {error}"),
        None => writeln!(out, "fata: {name} works again"),
    };
}

/// What became of the records so far: produced = reported + discarded + waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Handed to the front.
    pub produced: Counts,
    /// Taken by the reporter.
    pub reported: Counts,
    /// Discarded by the front, each told by a loss as long as the reporter takes any.
    pub discarded: Counts,
    /// Of those taken by the reporter, the ones it has not yet said to have arrived.
    pub unconfirmed: u64,
}

/// A reporter behind a queue. Clones share it; the last one that is dropped closes it.
#[derive(Clone)]
pub struct Front {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    options: Options,
    reporter_bytes: usize,
    state: Mutex<State>,
    /// For the worker: something waits, or the end comes.
    work: Condvar,
    /// For callers: there is room, or everything has arrived, or the worker has ended.
    progress: Condvar,
}

struct State {
    queue: Queue,
    produced: Counts,
    reported: Counts,
    /// The record that the reporter has in its hands: its level, time and length.
    in_hand: Option<(Level, Time, usize)>,
    /// Items handed over, and how many of them were there when the reporter was last done.
    handed: u64,
    done: u64,
    /// When a reporter whose completion failed for now is asked again.
    done_again: Option<Instant>,
    /// Records taken by the reporter since it was last done.
    unconfirmed: u64,
    worker: Option<ThreadId>,
    last_progress: Instant,
    wakers: Vec<Waker>,
    trouble: Option<Sentence>,
    /// The reporter takes nothing any more.
    dead: bool,
    closing: bool,
    ended: bool,
}

impl State {
    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    /// Remembers to wake `waker` at the next progress.
    fn wake_later(&mut self, waker: &Waker) {
        if self.wakers.iter().any(|known| known.will_wake(waker)) {
            return;
        }
        if self.wakers.len() < MAX_WAKERS { self.wakers.push(waker.clone()) } else { waker.wake_by_ref() }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding the lock; if somebody did, the counts are still the best there are.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front {
    /// Puts a front before `reporter`, which gets a thread. Losses and troubles call it `name`.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn spawn(name: &str, reporter: impl Reporter + Send + 'static, options: Options) -> io::Result<Self> {
        let place = std::format!("the queue to {name}");
        let shared = Arc::new(Shared {
            name: name.into(),
            options,
            reporter_bytes: reporter.worst_case_bytes(),
            state: Mutex::new(State {
                queue: Queue::new(&place, options.bounds),
                produced: Counts::default(),
                reported: Counts::default(),
                in_hand: None,
                handed: 0,
                done: 0,
                done_again: None,
                unconfirmed: 0,
                worker: None,
                last_progress: Instant::now(),
                wakers: Vec::with_capacity(MAX_WAKERS),
                trouble: None,
                dead: false,
                closing: false,
                ended: false,
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
        });
        let workers = shared.clone();
        let builder = std::thread::Builder::new().name("fata-reporter".into());
        let handle = builder.spawn(move || worker::run(&workers, reporter))?;
        shared.lock().worker = Some(handle.thread().id());
        Ok(Front { owner: Arc::new(Owner { shared }) })
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// Hands `item` over: it will be reported, or counted as the policy says.
    pub fn hand_over(&self, item: &Item<'_>) {
        let shared = self.shared();
        let mut state = shared.lock();
        if let Item::Record(record) = item {
            state.produced.add(record.level);
        }
        if state.worker == Some(std::thread::current().id()) {
            state.queue.discard(item, Cause::Nested);
            return;
        }
        if state.dead || state.closing {
            let cause = if state.dead { Cause::Failed } else { Cause::Closed };
            state.queue.discard(item, cause);
            return;
        }
        if state.queue.bounds().policy == Policy::Block {
            state = self.wait_for_room(state, item);
        }
        state.queue.push(item);
        state.handed += 1;
        drop(state);
        shared.work.notify_one();
    }

    /// Waits as long as the reporter makes progress, and the patience beyond that.
    fn wait_for_room<'a>(&self, mut state: MutexGuard<'a, State>, item: &Item<'_>) -> MutexGuard<'a, State> {
        let shared = self.owner.shared.as_ref();
        while !state.queue.has_room(item) && !state.dead && !state.closing {
            let left = shared.options.patience.saturating_sub(state.last_progress.elapsed());
            if left.is_zero() {
                break;
            }
            state = self.owner.shared.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// What became of the records so far.
    #[must_use]
    pub fn account(&self) -> Account {
        let state = self.shared().lock();
        let State { produced, reported, unconfirmed, .. } = *state;
        Account { produced, reported, discarded: state.queue.discarded, unconfirmed }
    }

    /// What keeps the reporter from taking records, if anything does.
    #[must_use]
    pub fn trouble(&self) -> Option<Sentence> {
        self.shared().lock().trouble
    }

    /// Waits up to `time` until everything has been reported, then counts what has not, and ends.
    ///
    /// A reporter that hangs keeps its thread; it gets nothing more, and nothing it does is counted.
    #[must_use = "the account says whether everything arrived"]
    pub fn close(&self, time: Duration) -> Account {
        self.shared().close(time);
        self.account()
    }
}

impl Shared {
    fn close(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut state = self.lock();
        state.closing = true;
        self.work.notify_all();
        self.progress.notify_all();
        if state.worker == Some(std::thread::current().id()) {
            // The reporter itself held the last handle; it would wait for itself.
            return;
        }
        while !state.ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.ended = true;
                if let Some((level, time, bytes)) = state.in_hand.take() {
                    let record = Record { level, time, ..Record::BLANK };
                    state.queue.discard_popped(&Item::Record(record), Cause::Stuck, bytes);
                }
                state.queue.discard_all(Cause::Closed);
                state.wake();
                break;
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Reporter for Front {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        self.hand_over(item);
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        let mut state = self.shared().lock();
        if state.dead {
            return Poll::Ready(Err(state
                .trouble
                .map_or_else(|| ReportError::never("it has ended"), ReportError::Never)));
        }
        if state.queue.has_room_for_any() {
            return Poll::Ready(Ok(()));
        }
        state.wake_later(cx.waker());
        Poll::Pending
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        let mut state = self.shared().lock();
        if state.done >= state.handed || state.ended || state.dead {
            return Poll::Ready(Ok(()));
        }
        state.wake_later(cx.waker());
        Poll::Pending
    }

    fn worst_case_bytes(&self) -> usize {
        let shared = self.shared();
        // The queue, the item in the worker's hands, and what the reporter itself keeps.
        let queue = &shared.lock().queue;
        queue.worst_case_bytes()
            + queue.bounds().item_bytes
            + decoded_bytes(queue.bounds().item_bytes)
            + shared.reporter_bytes
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let already = self.shared.lock().closing;
        self.shared.close(DROP_PATIENCE);
        // Whoever calls `close` gets the account; who only drops the front must not lose records in silence.
        let state = self.shared.lock();
        let (untold, unconfirmed) = (state.queue.discarded_at_the_end, state.unconfirmed);
        drop(state);
        if !already && untold + unconfirmed > 0 {
            let error = ReportError::never(format_args!(
                "ended before {untold} records were reported, and {unconfirmed} more were said to have arrived"
            ));
            (self.shared.options.trouble)(&self.shared.name, Some(&error));
        }
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("name", &self.shared().name).field("account", &self.account()).finish()
    }
}

#[cfg(test)]
mod tests;
