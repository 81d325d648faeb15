//! What profiling adds to a change of a task's state, on the real executor.
//!
//! Tasks stand in a ring and each wakes the next: per poll there are three changes of state (woken, poll begun, poll ended).
//! The same program is measured with probes and, in a child, without; the difference is what the probes cost, the
//! scheduler's own work left out.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use fata_kernel::{Boot, Guest, LocalBoxFuture, name};
use fata_probe::region::Region;

use crate::case::{Case, Unit};
use crate::{case_of, fata, served};

const TASKS: usize = 8;
/// Changes of state per poll.
const CHANGES: u64 = 3;
/// So many changes fill a ring several times.
const MANY: u64 = 3 << 20;
/// The case.
pub(crate) const NAME: &str = "fata.switch";

thread_local! {
    static POLLS: Cell<u64> = const { Cell::new(0) };
    static NANOS: Cell<f64> = const { Cell::new(0.0) };
}

fn program(guest: Guest) -> LocalBoxFuture {
    Box::pin(async move {
        let left = Rc::new(Cell::new(POLLS.get()));
        let wakers: Rc<[RefCell<Option<Waker>>; TASKS]> = Rc::default();
        let start = Instant::now();
        let ring: Vec<_> = (0..TASKS)
            .map(|i| {
                let (wakers, left) = (wakers.clone(), left.clone());
                guest.spawn(
                    name!("bench.ring"),
                    poll_fn(move |cx| {
                        wakers[i].borrow_mut().get_or_insert_with(|| cx.waker().clone());
                        if let Some(next) = &*wakers[(i + 1) % TASKS].borrow() {
                            next.wake_by_ref();
                        }
                        left.set(left.get().saturating_sub(1));
                        if left.get() == 0 { Poll::Ready(()) } else { Poll::Pending }
                    }),
                )
            })
            .collect();
        for task in ring {
            task.await;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        NANOS.set(start.elapsed().as_nanos() as f64);
    })
}

/// Nanoseconds per change of state, the scheduler's own work included.
pub(crate) fn round(changes: u64) -> f64 {
    let polls = (changes / CHANGES).max(1);
    POLLS.set(polls);
    fata_kernel::run(Boot { name: "bench", args: "" }, program);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let nanos = NANOS.get() / (polls * CHANGES) as f64;
    nanos
}

/// Adds the case.
pub(crate) fn cases(cases: &mut Vec<Case>) -> Result<(), String> {
    let mut unprobed = served::Child::unprobed("switch")?;
    let both = move |changes| {
        let with = round(changes);
        Ok(with - unprobed.round(changes)?)
    };
    // The ring of all our cases: the executor records into that of its thread.
    let region = Region::youngest().ok_or("there is no ring yet")?;
    let bytes = move || Ok(Some(fata::bytes_per(region, MANY, || _ = round(MANY))));
    cases.push(case_of(NAME, Unit::Change, 3 * (8 << 10), both, bytes));
    Ok(())
}
