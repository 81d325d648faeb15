//! A front before reporters that do everything wrong.

use core::task::{Context, Poll, Waker};
use std::string::{String, ToString};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::vec::Vec;

use super::*;
use crate::loss::Loss;
use crate::record::{Field, Value};
use crate::reporter::submit_within;

const PLENTY: Duration = Duration::from_secs(20);

fn quiet(_: &str, _: Option<&ReportError>) {}

fn options(policy: Policy) -> Options {
    let bounds = Bounds { bytes: 6000, reserved_bytes: 2000, item_bytes: 1000, policy };
    Options { bounds, patience: Duration::from_secs(5), trouble: quiet }
}

fn record(level: Level, sequence: u64) -> Item<'static> {
    Item::Record(Record { level, sequence, ..Record::BLANK })
}

/// What arrived, shared with the test.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Arrived>>);

#[derive(Default)]
struct Arrived {
    sequences: Vec<u64>,
    told: Counts,
    losses: Vec<String>,
}

impl Seen {
    fn take(&self, item: &Item<'_>) {
        let mut seen = self.0.lock().unwrap();
        match item {
            Item::Record(record) => seen.sequences.push(record.sequence),
            Item::Loss(loss) => {
                seen.told.merge(&loss.counts);
                seen.losses.push(loss.to_string());
            }
        }
    }
}

/// A reporter out of a closure.
struct Of<F>(F);

impl<F: FnMut(&Item<'_>) -> Result<(), ReportError>> Reporter for Of<F> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        (self.0)(item)
    }
}

/// produced = reported + discarded; and what arrived is what the account says.
fn check(account: &Account, seen: &Seen) {
    let mut sum = account.reported;
    sum.merge(&account.discarded);
    assert_eq!(sum, account.produced);
    let seen = seen.0.lock().unwrap();
    assert_eq!(seen.sequences.len() as u64, account.reported.total());
    assert_eq!(seen.told, account.discarded, "{:?}", seen.losses);
    assert!(seen.sequences.is_sorted());
}

#[test]
fn what_many_threads_hand_over_arrives_or_is_counted_by_level_and_in_place() {
    for policy in [Policy::KeepOldest, Policy::KeepNewest, Policy::Block] {
        let seen = Seen::default();
        let reporters = seen.clone();
        let front = Front::spawn(
            "x",
            Of(move |item: &Item<'_>| {
                reporters.take(item);
                Ok(())
            }),
            options(policy),
        )
        .unwrap();
        let sequence = Mutex::new(0);
        std::thread::scope(|scope| {
            for level in [Level::Debug, Level::Info, Level::Warn, Level::Error] {
                let (front, sequence) = (&front, &sequence);
                scope.spawn(move || {
                    for _ in 0..5000 {
                        let mut sequence = sequence.lock().unwrap();
                        *sequence += 1;
                        front.hand_over(&record(level, *sequence));
                    }
                });
            }
        });
        let account = front.close(PLENTY);
        check(&account, &seen);
        assert_eq!(account.produced.total(), 20_000);
        if policy == Policy::Block {
            assert_eq!(account.discarded.total(), 0);
        }
    }
}

#[test]
fn a_reporter_that_panics_costs_one_record_and_says_so() {
    let seen = Seen::default();
    let reporters = seen.clone();
    let reporter = Of(move |item: &Item<'_>| {
        if matches!(item, Item::Record(record) if record.sequence % 10 == 3) {
            panic!("seven");
        }
        reporters.take(item);
        Ok(())
    });
    let front = Front::spawn("x", reporter, options(Policy::Block)).unwrap();
    (0..100).for_each(|sequence| front.hand_over(&record(Level::Info, sequence)));
    let account = front.close(PLENTY);
    check(&account, &seen);
    assert_eq!(account.discarded.total(), 10);
}

#[test]
fn a_reporter_that_only_panics_gets_nothing_more_and_the_program_goes_on() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let reporter = Of(move |_: &Item<'_>| -> Result<(), ReportError> {
        count.fetch_add(1, Ordering::Relaxed);
        panic!("always");
    });
    let front = Front::spawn("x", reporter, options(Policy::Block)).unwrap();
    (0..1000).for_each(|sequence| front.hand_over(&record(Level::Info, sequence)));
    let account = front.close(PLENTY);
    assert_eq!((account.discarded.total(), calls.load(Ordering::Relaxed)), (1000, 3));
    let trouble = front.trouble().unwrap().to_string();
    assert!(trouble.contains("always") && trouble.contains("nothing more"), "{trouble}");
}

#[test]
fn a_reporter_that_logs_into_its_own_front_neither_recurses_nor_deadlocks_and_is_counted() {
    for policy in [Policy::KeepOldest, Policy::KeepNewest, Policy::Block] {
        let seen = Seen::default();
        let (reporters, own) = (seen.clone(), Arc::new(Mutex::new(None::<Front>)));
        let inner = own.clone();
        let reporter = Of(move |item: &Item<'_>| {
            if let Some(front) = &*inner.lock().unwrap() {
                for _ in 0..100 {
                    front.hand_over(&record(Level::Error, 0));
                }
            }
            reporters.take(item);
            Ok(())
        });
        let front = Front::spawn("x", reporter, options(policy)).unwrap();
        *own.lock().unwrap() = Some(front.clone());
        for sequence in 1..=20 {
            front.hand_over(&record(Level::Info, sequence));
            wait_until(|| {
                front.account().reported.of(Level::Info) + front.account().discarded.of(Level::Info) == sequence
            });
        }
        *own.lock().unwrap() = None;
        let account = front.close(PLENTY);
        check(&account, &seen);
        // Each record and each loss that was told made a hundred; a loss alone does not call the reporter again.
        let nested = account.discarded.of(Level::Error);
        assert!((2000..=6000).contains(&nested), "{nested}");
    }
}

#[test]
fn a_reporter_that_hangs_costs_neither_the_caller_nor_the_end_more_than_its_time() {
    let released = Arc::new(AtomicBool::new(false));
    let hold = released.clone();
    let reporter = Of(move |_: &Item<'_>| {
        while !hold.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let front = Front::spawn("x", reporter, options(Policy::KeepOldest)).unwrap();
    let start = Instant::now();
    (0..10_000).for_each(|sequence| front.hand_over(&record(Level::Info, sequence)));
    let account = front.close(Duration::from_millis(50));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!((account.produced.total(), account.discarded.total()), (10_000, 10_000));
    // It comes back too late: the account no longer changes.
    released.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(front.account(), account);
}

#[test]
fn a_caller_that_chose_to_block_waits_no_longer_than_the_patience_for_a_reporter_that_hangs() {
    let reporter = Of(|_: &Item<'_>| {
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    });
    let patience = Duration::from_millis(100);
    let front = Front::spawn("x", reporter, Options { patience, ..options(Policy::Block) }).unwrap();
    let start = Instant::now();
    (0..1000).for_each(|sequence| front.hand_over(&record(Level::Info, sequence)));
    assert!(start.elapsed() >= patience && start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(front.account().discarded.total() > 0);
    let _ = front.close(Duration::ZERO);
}

#[test]
fn a_reporter_that_is_never_ready_or_never_done_is_named_after_the_patience() {
    struct Forgets;
    impl Reporter for Forgets {
        fn report(&mut self, _: &Item<'_>) -> Result<(), ReportError> {
            Ok(())
        }
        fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
            Poll::Pending
        }
    }
    let patience = Duration::from_millis(20);
    let mut front = Front::spawn("x", Forgets, Options { patience, ..options(Policy::KeepOldest) }).unwrap();
    front.hand_over(&record(Level::Info, 1));
    wait_until(|| front.trouble().is_some_and(|trouble| trouble.as_str().contains("not answered")));
    // The completion signal comes all the same, and the record counts as taken.
    assert!(front.poll_done(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(front.close(PLENTY).reported.total(), 1);
}

#[test]
fn a_reporter_that_takes_nothing_now_gets_the_same_records_later_in_order() {
    let seen = Seen::default();
    let (reporters, mut refusals) = (seen.clone(), 0);
    let reporter = Of(move |item: &Item<'_>| {
        refusals += 1;
        if refusals % 5 != 0 {
            return Err(ReportError::later("not now"));
        }
        reporters.take(item);
        Ok(())
    });
    let front = Front::spawn("x", reporter, options(Policy::Block)).unwrap();
    (0..5).for_each(|sequence| front.hand_over(&record(Level::Info, sequence)));
    let account = front.close(PLENTY);
    check(&account, &seen);
    assert_eq!(account.reported.total(), 5);
}

#[test]
fn a_cooperative_caller_waits_for_room_and_then_loses_nothing() {
    let seen = Seen::default();
    let reporters = seen.clone();
    let slow = Of(move |item: &Item<'_>| {
        std::thread::sleep(Duration::from_micros(50));
        reporters.take(item);
        Ok(())
    });
    let mut front = Front::spawn("x", slow, options(Policy::KeepOldest)).unwrap();
    let mut pending = 0;
    for sequence in 0..2000 {
        while front.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending() {
            pending += 1;
            std::thread::yield_now();
        }
        front.report(&record(Level::Info, sequence)).unwrap();
    }
    let account = front.close(PLENTY);
    check(&account, &seen);
    assert_eq!((account.discarded.total(), pending > 0), (0, true));
}

#[test]
fn a_caller_that_blocks_for_room_loses_nothing_and_one_whose_time_is_over_goes_on() {
    let seen = Seen::default();
    let reporters = seen.clone();
    let slow = Of(move |item: &Item<'_>| {
        std::thread::sleep(Duration::from_micros(50));
        reporters.take(item);
        Ok(())
    });
    let mut front = Front::spawn("x", slow, options(Policy::KeepOldest)).unwrap();
    (0..2000).for_each(|sequence| submit_within(&mut front, &record(Level::Info, sequence), PLENTY).unwrap());
    let account = front.close(PLENTY);
    check(&account, &seen);
    assert_eq!(account.discarded.total(), 0);

    let hangs = Of(|_: &Item<'_>| {
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    });
    let mut front = Front::spawn("x", hangs, options(Policy::KeepOldest)).unwrap();
    let start = Instant::now();
    (0..200).for_each(|n| submit_within(&mut front, &record(Level::Info, n), Duration::from_millis(1)).unwrap());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(front.account().discarded.total() > 0);
    let _ = front.close(Duration::ZERO);
}

#[test]
fn a_loss_from_further_up_is_passed_on_and_never_counted_twice() {
    let seen = Seen::default();
    let reporters = seen.clone();
    let front = Front::spawn(
        "x",
        Of(move |item: &Item<'_>| {
            reporters.take(item);
            Ok(())
        }),
        options(Policy::KeepOldest),
    )
    .unwrap();
    let mut loss = Loss::new(Cause::Full, "the ring", Time::wall(0));
    loss.add(Level::Debug, 10, Time::wall(0));
    front.hand_over(&Item::Loss(loss));
    let account = front.close(PLENTY);
    assert_eq!((account.produced.total(), account.discarded.total()), (0, 0));
    assert_eq!(seen.0.lock().unwrap().told.of(Level::Debug), 1);
}

#[test]
fn the_worst_case_holds_for_a_flood_of_long_records() {
    let reporter = Of(|_: &Item<'_>| {
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    });
    let front = Front::spawn("x", reporter, options(Policy::KeepNewest)).unwrap();
    let fields = [Field { name: "message", value: Value::Str(&[b'x'; 100_000]) }];
    for _ in 0..1000 {
        front.hand_over(&Item::Record(Record { fields: &fields, ..Record::BLANK }));
    }
    let account = front.account();
    assert!(account.discarded.total() > 900);
    assert!(front.worst_case_bytes() < 40_000, "{}", front.worst_case_bytes());
    let _ = front.close(PLENTY);
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PLENTY, "it did not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}
