//! The thread of a front: takes one item after the other to the reporter, and holds off whatever the reporter does wrong.
//!
//! Invariant: the lock is never held while the reporter runs.
//!
//! ```text
//! pop → (1) report → Ok: count as reported
//!                  → Later: wait, (1) again with the same item
//!                  → Item, or a panic: count as discarded
//!                  → Never, or the third panic in a row: count everything from here on as discarded
//! nothing waits → done → sleep
//! ```

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

use super::{Shared, State};
use crate::codec::{self, Head};
use crate::loss::Cause;
use crate::reporter::{ReportError, Reporter, done, submit};
use crate::text::Text;

/// So many panics in a row, and the reporter gets nothing more.
const MAX_PANICS: u32 = 3;
/// Between two offers of an item to a reporter that takes nothing now.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) fn run(shared: &Shared, mut reporter: impl Reporter) {
    let mut bytes = Vec::with_capacity(shared.lock().queue.bounds().item_bytes);
    let mut panics = 0;
    while let Some(work) = next(shared, &mut bytes) {
        let outcome = match work {
            Work::Item => report(shared, &mut reporter, &bytes),
            Work::Done(handed) => {
                let outcome = guarded(|| wait(shared, done(&mut reporter)));
                let mut state = shared.lock();
                state.done = state.done.max(handed);
                state.wake();
                drop(state);
                shared.progress.notify_all();
                outcome
            }
        };
        panics = if matches!(outcome, Err(Failure::Panic(_))) { panics + 1 } else { 0 };
        settle(shared, work, outcome, panics, &bytes);
    }
    // Its destructor is the reporter's too, and may do what it likes.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(reporter)));
    let mut state = shared.lock();
    state.ended = true;
    state.wake();
    drop(state);
    shared.progress.notify_all();
}

#[derive(Clone, Copy)]
enum Work {
    /// An item is in the buffer.
    Item,
    /// Nothing waits; so many items had been handed over.
    Done(u64),
}

enum Failure {
    Error(ReportError),
    Panic(ReportError),
}

/// Waits for something to do; `None` at the end.
fn next(shared: &Shared, bytes: &mut Vec<u8>) -> Option<Work> {
    let mut state = shared.lock();
    loop {
        if state.ended {
            return None;
        }
        if state.dead {
            state.queue.discard_all(Cause::Failed);
        } else {
            let closing = state.closing;
            if state.queue.pop(bytes, closing) {
                let head = Head::parse(bytes);
                state.in_hand = head.filter(|head| !head.is_loss).map(|head| (head.level, head.time, head.len));
                return Some(Work::Item);
            }
            if state.done < state.handed {
                return Some(Work::Done(state.handed));
            }
        }
        if state.closing {
            return None;
        }
        state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Offers the item in `bytes` until the reporter takes it, refuses it, or the front ends.
fn report(shared: &Shared, reporter: &mut impl Reporter, bytes: &[u8]) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        let result = guarded(|| codec::decode(bytes, |item| wait(shared, submit(reporter, item))).unwrap_or(Ok(())));
        let Err(Failure::Error(error @ ReportError::Later(_))) = result else { return result };
        let mut state = tell(shared, Some(error));
        // New records do not cut the pause short, since the reporter has said that it takes none; the end does.
        let until = Instant::now() + if state.closing { FIRST_PAUSE } else { pause };
        let was_closing = state.closing;
        while !state.ended && state.closing == was_closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.ended {
            return Ok(());
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Counts what became of the work.
fn settle(shared: &Shared, work: Work, outcome: Result<(), Failure>, panics: u32, bytes: &[u8]) {
    let error = match outcome {
        Ok(()) => None,
        Err(Failure::Error(error)) => Some(error),
        Err(Failure::Panic(error)) if panics >= MAX_PANICS => {
            Some(ReportError::never(format_args!("{error}, {panics} times in a row; it gets nothing more")))
        }
        Err(Failure::Panic(error)) => Some(error),
    };
    let is_item = matches!(work, Work::Item);
    if is_item || error.is_some() {
        let mut state = tell(shared, error);
        state.dead |= matches!(error, Some(ReportError::Never(_)));
        if is_item && !state.ended {
            account(&mut state, error.is_none(), bytes);
        }
        state.wake();
    }
    shared.progress.notify_all();
}

fn account(state: &mut State, taken: bool, bytes: &[u8]) {
    if taken {
        if let Some((level, ..)) = state.in_hand {
            state.reported.add(level);
        }
        state.last_progress = Instant::now();
    } else {
        codec::decode(bytes, |item| state.queue.discard_popped(item, Cause::Failed, bytes.len()));
    }
    state.in_hand = None;
}

/// Says what is wrong when that is new, and that it works again when it does.
fn tell(shared: &Shared, error: Option<ReportError>) -> std::sync::MutexGuard<'_, State> {
    let mut state = shared.lock();
    let sentence = error.as_ref().map(|error| Text::of(error.sentence()));
    if state.trouble != sentence && !state.dead {
        state.trouble = sentence;
        drop(state);
        let _ = catch_unwind(AssertUnwindSafe(|| (shared.options.trouble)(&shared.name, error.as_ref())));
        state = shared.lock();
    }
    state
}

/// Runs what belongs to the reporter, and makes of its panic a sentence.
fn guarded(run: impl FnOnce() -> Result<(), ReportError>) -> Result<(), Failure> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(Failure::Error),
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            Err(Failure::Panic(ReportError::item(format_args!("the reporter panicked: {text}"))))
        }
    }
}

/// Turns `future` until it is ready or the patience is over.
fn wait(shared: &Shared, future: impl Future<Output = Result<(), ReportError>>) -> Result<(), ReportError> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let end = Instant::now() + shared.options.patience;
    // Most reporters are ready at once, and need no waker that could wake.
    if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return result;
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut cx) {
            return result;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ReportError::later(format_args!(
                "the reporter has not answered for {} s",
                shared.options.patience.as_secs()
            )));
        }
        std::thread::park_timeout(left);
    }
}
