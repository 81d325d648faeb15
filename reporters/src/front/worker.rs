//! The thread of a front: takes one item after the other to the reporter, and holds off whatever the reporter does wrong.
//!
//! Invariant: the lock is never held while the reporter runs.
//!
//! ```text
//! pop → (1) report → Ok: count as reported
//!                  → Later, or no answer: pause, (1) again with the same item
//!                  → Item, or a panic: count as discarded
//!                  → Never, or the third panic in a row: count everything from here on as discarded
//! nothing waits → (2) done → Ok, or no answer: sleep
//!                          → Later: pause, (2) again, unless something waits by then
//! ```

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::sync::{Arc, MutexGuard, PoisonError};
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
/// Between two offers to a reporter that takes nothing now.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) fn run(shared: &Shared, mut reporter: impl Reporter) {
    let mut bytes = Vec::with_capacity(shared.lock().queue.bounds().item_bytes);
    let mut panics = 0;
    let mut pause = FIRST_PAUSE;
    while let Some(work) = next(shared, &mut bytes) {
        let outcome = match work {
            Work::Item => report(shared, &mut reporter, &bytes),
            Work::Done(_) => guarded(|| wait(shared, done(&mut reporter))),
        };
        panics = if matches!(outcome, Err(Failure::Panic(_))) { panics + 1 } else { 0 };
        let error = match outcome {
            Ok(()) => None,
            Err(Failure::Panic(error)) if panics >= MAX_PANICS => {
                Some(ReportError::never(format_args!("{error}, {panics} times in a row; it gets nothing more")))
            }
            Err(Failure::Error(error) | Failure::Silent(error) | Failure::Panic(error)) => Some(error),
        };
        let mut state = tell(shared, error);
        state.dead |= matches!(error, Some(ReportError::Never(_)));
        match work {
            _ if state.ended => {}
            Work::Item => account(&mut state, error.is_none(), &bytes),
            Work::Done(_) if matches!(outcome, Err(Failure::Error(ReportError::Later(_)))) => {
                state.done_again = Some(Instant::now() + pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Work::Done(handed) => {
                state.done = state.done.max(handed);
                state.unconfirmed = if error.is_none() { 0 } else { state.unconfirmed };
                pause = FIRST_PAUSE;
            }
        }
        state.wake();
        drop(state);
        shared.progress.notify_all();
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

/// What went wrong with a call to the reporter.
enum Failure {
    /// It said so.
    Error(ReportError),
    /// It did not answer.
    Silent(ReportError),
    /// It panicked.
    Panic(ReportError),
}

/// Waits for something to do; `None` at the end.
fn next(shared: &Shared, bytes: &mut Vec<u8>) -> Option<Work> {
    let mut state = shared.lock();
    loop {
        if state.ended {
            return None;
        }
        let mut pause = None;
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
                pause = state.done_again.map(|again| again.saturating_duration_since(Instant::now()));
                if pause.is_none_or(|pause| pause.is_zero()) {
                    state.done_again = None;
                    return Some(Work::Done(state.handed));
                }
            }
        }
        if state.closing && pause.is_none() {
            return None;
        }
        state = match pause {
            Some(pause) => shared.work.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0,
            None => shared.work.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

/// Offers the item in `bytes` until the reporter takes it, refuses it, or the front ends.
fn report(shared: &Shared, reporter: &mut impl Reporter, bytes: &[u8]) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        let result = guarded(|| codec::decode(bytes, |item| wait(shared, submit(reporter, item))).unwrap_or(Ok(())));
        let Err(Failure::Error(error @ ReportError::Later(_)) | Failure::Silent(error)) = result else {
            return result;
        };
        let mut state = tell(shared, Some(error));
        // New records do not cut the pause short, since the reporter has said that it takes none; the end does.
        let was_closing = state.closing;
        let until = Instant::now() + if was_closing { FIRST_PAUSE } else { pause };
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

/// Counts what became of the item in `bytes`.
fn account(state: &mut State, taken: bool, bytes: &[u8]) {
    if taken {
        if let Some((level, ..)) = state.in_hand {
            state.reported.add(level);
            state.unconfirmed += 1;
        }
        state.last_progress = Instant::now();
    } else {
        codec::decode(bytes, |item| state.queue.discard_popped(item, Cause::Failed, bytes.len()));
    }
    state.in_hand = None;
}

/// Says what is wrong when that is new, and that it works again when it does.
fn tell(shared: &Shared, error: Option<ReportError>) -> MutexGuard<'_, State> {
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
fn guarded(run: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(Failure::Panic(ReportError::item(format_args!("the reporter panicked: {text}"))))
    })
}

/// Turns `future` until it is ready or the patience is over.
fn wait(shared: &Shared, future: impl Future<Output = Result<(), ReportError>>) -> Result<(), Failure> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    // Most reporters are ready at once, and need no waker that could wake.
    if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return result.map_err(Failure::Error);
    }
    let patience = shared.options.patience;
    let end = Instant::now() + patience;
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut cx) {
            return result.map_err(Failure::Error);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = patience.as_secs_f32();
            return Err(Failure::Silent(ReportError::later(format_args!(
                "the reporter has not answered for {seconds} s"
            ))));
        }
        std::thread::park_timeout(left);
    }
}
