//! Wakes from other threads, which stand for interrupt handlers: none is lost.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use fata_kernel::executor::WakeCell;
use fata_kernel::{Boot, name};

const ROUNDS: u64 = 20_000;
/// Far more than all rounds take: only a lost wake waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A question and its answer, a number that grows: each is there for one wake.
static ASKED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static ANSWERED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Answers every question until the last, having told `tell` its waker.
async fn answer(line: usize, tell: mpsc::Sender<Waker>) {
    let mut told = false;
    poll_fn(|cx| {
        if !core::mem::replace(&mut told, true) {
            tell.send(cx.waker().clone()).expect("the thread waits for it");
        }
        // Acquire and Release: pair with the asking thread's.
        let asked = ASKED[line].load(Ordering::Acquire);
        ANSWERED[line].store(asked, Ordering::Release);
        if asked == ROUNDS { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn every_wake_from_another_thread_is_answered() {
    fata_kernel::run(Boot { name: "wakes", args: "" }, |guest| {
        Box::pin(async move {
            let mut tasks = vec![];
            for line in 0..ASKED.len() {
                let (tell, told) = mpsc::channel::<Waker>();
                thread::spawn(move || {
                    let waker = told.recv().unwrap();
                    for round in 1..=ROUNDS {
                        ASKED[line].store(round, Ordering::Release);
                        waker.wake_by_ref();
                        while ANSWERED[line].load(Ordering::Acquire) < round {
                            thread::yield_now();
                        }
                    }
                    // The task is gone by now, or soon: its waker may still be used.
                    (0..100).for_each(|_| waker.wake_by_ref());
                });
                tasks.push(guest.spawn(name!("answer"), answer(line, tell)));
            }
            for task in tasks {
                assert!(guest.timeout(PATIENCE, task).await.is_ok(), "a wake was lost");
            }
        })
    });
}

static BELL: WakeCell = WakeCell::new();
static RUNG: AtomicU64 = AtomicU64::new(0);

#[test]
fn every_ring_of_a_wake_cell_is_heard() {
    fata_kernel::run(Boot { name: "bell", args: "" }, |guest| {
        Box::pin(async move {
            thread::spawn(|| {
                for _ in 0..ROUNDS {
                    RUNG.fetch_add(1, Ordering::Release);
                    BELL.wake();
                }
            });
            let heard = poll_fn(|cx| {
                BELL.register(cx.waker());
                if RUNG.load(Ordering::Acquire) == ROUNDS { Poll::Ready(()) } else { Poll::Pending }
            });
            assert!(guest.timeout(PATIENCE, heard).await.is_ok(), "a ring was lost");
        })
    });
}
