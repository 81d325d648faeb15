//! The scheduler and the synchronisation objects, judged by the exact list of events that they emit.
//!
//! Each list begins with the guest's own start and ends with its end: see `BEGIN` and `END`. `1` is the task of `main`.
#![cfg(feature = "profiling")]

mod recorded;

use std::time::{Duration, Instant};

use fata_kernel::sync::{Abandoned, Closed, Condition, Semaphore, TrySendError, channel, oneshot};
use fata_kernel::{Boot, LocalBoxFuture, Main, name};

use recorded::{assert_events, record};

/// `main` is spawned by the scheduler, 0, and polled.
const BEGIN: &str = "create timer timer; spawn 1 \"main\" 0; ready 1; poll 1;";
/// `main` ends, and with it the guest.
const END: &str = "done 1";

/// Longer than this thread is ever kept from running: a sleep whose end has passed before it begins is none.
const LONG: Duration = Duration::from_millis(50);

#[track_caller]
fn assert_main(main: Main, expected: &str) {
    assert_events(&record(main, false), &format!("{BEGIN}{expected};{END}"));
}

fn boxed(future: impl Future<Output = ()> + 'static) -> LocalBoxFuture {
    Box::pin(future)
}

#[test]
fn a_guest_that_does_nothing_is_spawned_polled_and_done() {
    assert_main(|_| boxed(async {}), "");
}

#[test]
fn waiting_for_a_task_says_so_and_its_end_wakes_the_waiter() {
    assert_main(
        |guest| {
            boxed(async move {
                let child = guest.spawn(name!("child"), async { 7 });
                assert_eq!(child.await, 7);
            })
        },
        r#"spawn 2 "child" 1; ready 2
           join "join" 2; switch 2
           ready 1; done 2; poll 1"#,
    );
}

#[test]
fn tasks_that_give_way_take_turns_with_one_event_per_turn() {
    assert_main(
        |guest| {
            boxed(async move {
                let other = guest.clone();
                let child = guest.spawn(name!("child"), async move {
                    other.yield_now().await;
                    other.yield_now().await;
                });
                guest.yield_now().await;
                child.await;
            })
        },
        r#"spawn 2 "child" 1; ready 2
           ready 1; switch 2
           ready 2; switch 1
           join "join" 2; switch 2
           ready 2; switch 2
           ready 1; done 2; poll 1"#,
    );
}

#[test]
fn a_task_spawned_by_a_task_has_it_as_parent_and_a_dropped_handle_lets_it_run() {
    assert_main(
        |guest| {
            boxed(async move {
                let inner = guest.clone();
                let child = guest.spawn(name!("child"), async move {
                    drop(inner.spawn(name!("grandchild"), async {}));
                });
                child.await;
                guest.yield_now().await;
            })
        },
        r#"spawn 2 "child" 1; ready 2; join "join" 2; switch 2
           spawn 3 "grandchild" 2; ready 3; ready 1; done 2
           poll 3; done 3
           poll 1; ready 1; switch 1"#,
    );
}

#[test]
fn a_background_task_is_polled_when_all_others_wait_and_not_before_however_early_it_was_ready() {
    assert_main(
        |guest| {
            boxed(async move {
                let other = guest.clone();
                let background = guest.spawn_background(name!("background"), async {});
                let child = guest.spawn(name!("child"), async move {
                    other.yield_now().await;
                    other.yield_now().await;
                });
                guest.yield_now().await;
                child.await;
                background.await;
            })
        },
        r#"spawn 2 "background" 1; ready 2; spawn 3 "child" 1; ready 3
           ready 1; switch 3
           ready 3; switch 1
           join "join" 3; switch 3
           ready 3; switch 3
           ready 1; done 3; poll 1
           join "join" 2; pending 1
           poll 2; ready 1; done 2; poll 1"#,
    );
}

#[test]
fn a_background_task_has_its_turn_also_beside_one_that_never_rests() {
    let never_rests: Main = |guest| {
        boxed(async move {
            let background = guest.spawn_background(name!("background"), async {});
            let start = Instant::now();
            while !background.is_done() {
                assert!(start.elapsed() < Duration::from_secs(60), "the background has waited for a minute");
                guest.yield_now().await;
            }
        })
    };
    fata_kernel::run(Boot { name: "test", args: "" }, never_rests);
}

#[test]
fn of_two_background_tasks_each_has_its_turn_and_a_task_that_one_wakes_goes_before_the_other() {
    assert_main(
        |guest| {
            boxed(async move {
                let (wake, woken) = oneshot(name!("turn"));
                let first = guest.spawn_background(name!("first"), async move { wake.resolve(()) });
                let second = guest.spawn_background(name!("second"), async {});
                let _ = woken.await;
                guest.yield_now().await;
                second.await;
                let _ = first.await;
            })
        },
        r#"create promise turn; spawn 2 "first" 1; ready 2; spawn 3 "second" 1; ready 3
           try turn; pending 1
           poll 2; resolve turn; ready 1; done 2
           poll 1; read turn; drop turn; ready 1; switch 1
           join "join" 3; pending 1
           poll 3; ready 1; done 3; poll 1"#,
    );
}

#[test]
fn a_sleeper_waits_for_the_timer_and_the_timer_wakes_it() {
    assert_main(
        |guest| {
            boxed(async move {
                let before = guest.now();
                guest.sleep(LONG).await;
                assert!(guest.now() >= before + 50_000_000);
            })
        },
        r#"pending/sleep 1; signal timer 1; ready 1; poll 1"#,
    );
}

#[test]
fn sleepers_of_one_deadline_are_woken_by_one_signal_in_the_order_in_which_they_came() {
    assert_main(
        |guest| {
            boxed(async move {
                let deadline = guest.now() + 100_000_000;
                let sleep = |guest: fata_kernel::Guest| async move { guest.sleep_until(deadline).await };
                let first = guest.spawn(name!("first"), sleep(guest.clone()));
                let second = guest.spawn(name!("second"), sleep(guest.clone()));
                first.await;
                second.await;
            })
        },
        r#"spawn 2 "first" 1; ready 2; spawn 3 "second" 1; ready 3; join "join" 2
           switch 2; switch/sleep 3; pending/sleep 3
           signal timer 2; ready 2; ready 3
           poll 2; ready 1; done 2; poll 3; done 3; poll 1"#,
    );
}

#[test]
fn a_timeout_takes_its_timer_with_it_when_the_future_is_first() {
    assert_main(
        |guest| {
            boxed(async move {
                assert_eq!(guest.timeout(Duration::from_secs(3600), guest.yield_now()).await, Ok(()));
                assert!(guest.timeout(LONG, std::future::pending::<()>()).await.is_err());
            })
        },
        r#"ready 1; switch/sleep 1
           pending/sleep 1; signal timer 1; ready 1; poll 1"#,
    );
}

#[test]
fn a_promise_is_tried_resolved_and_read() {
    assert_main(
        |guest| {
            boxed(async move {
                let (resolver, promise) = oneshot(name!("answer"));
                let child = guest.spawn(name!("asker"), promise);
                guest.yield_now().await;
                assert!(!resolver.is_unwanted());
                resolver.resolve(42);
                assert_eq!(child.await, Ok(42));
            })
        },
        r#"create promise answer; spawn 2 "asker" 1; ready 2; ready 1
           switch 2; try answer
           switch 1; resolve answer; ready 2
           join "join" 2; switch 2; read answer; drop answer; ready 1; done 2; poll 1"#,
    );
}

#[test]
fn a_promise_that_is_given_up_fails_and_wakes_who_waits() {
    assert_main(
        |guest| {
            boxed(async move {
                let (resolver, promise) = oneshot::<u32>(name!("broken"));
                let child = guest.spawn(name!("asker"), promise);
                guest.yield_now().await;
                drop(resolver);
                assert_eq!(child.await, Err(Abandoned));
            })
        },
        r#"create promise broken; spawn 2 "asker" 1; ready 2; ready 1
           switch 2; try broken
           switch 1; fail broken; ready 2
           join "join" 2; switch 2; drop broken; ready 1; done 2; poll 1"#,
    );
}

#[test]
fn a_full_channel_makes_senders_wait_in_order() {
    assert_main(
        |guest| {
            boxed(async move {
                let (sender, mut receiver) = channel(name!("frames"), 1);
                assert_eq!(sender.try_send(0), Ok(()));
                assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
                for n in [1, 2] {
                    let sender = sender.clone();
                    drop(guest.spawn(name!("sender"), async move { assert!(sender.send(n).await.is_ok()) }));
                }
                drop(sender);
                guest.yield_now().await;
                let mut received = vec![];
                while let Some(n) = receiver.recv().await {
                    received.push(n);
                }
                assert_eq!(received, [0, 1, 2]);
            })
        },
        r#"create channel frames; send frames 1
           spawn 2 "sender" 1; ready 2; spawn 3 "sender" 1; ready 3; ready 1
           switch 2; full frames; switch 3; full frames
           switch 1; read frames; signal frames 1; ready 2; try frames
           switch 2; send frames 1; ready 1; done 2
           poll 1; read frames; signal frames 1; ready 3; try frames
           switch 3; send frames 1; ready 1; fail frames; done 3
           poll 1; read frames; drop frames"#,
    );
}

#[test]
fn a_receiver_that_goes_gives_waiting_senders_their_values_back() {
    assert_main(
        |guest| {
            boxed(async move {
                let (sender, receiver) = channel(name!("frames"), 1);
                assert!(sender.send(1).await.is_ok());
                let child = guest.spawn(name!("sender"), async move { sender.send(2).await });
                guest.yield_now().await;
                drop(receiver);
                assert_eq!(child.await, Err(Closed(2)));
            })
        },
        r#"create channel frames; send frames 1; spawn 2 "sender" 1; ready 2; ready 1
           switch 2; full frames
           switch 1; signal frames 1; ready 2; join "join" 2
           switch 2; drop frames; ready 1; done 2; poll 1"#,
    );
}

#[test]
fn a_signal_without_a_waiter_is_lost_and_says_that_it_woke_none() {
    assert_main(
        |guest| {
            boxed(async move {
                let plugged = Condition::new(name!("plugged"));
                assert_eq!(plugged.signal(), 0);
                let late = plugged.clone();
                let child = guest.spawn(name!("late"), async move { late.wait().await });
                guest.yield_now().await;
                assert!(!child.is_done());
                assert_eq!(plugged.signal(), 1);
                child.await;
            })
        },
        r#"create condition plugged; signal plugged 0; spawn 2 "late" 1; ready 2; ready 1
           switch 2; try plugged
           switch 1; signal plugged 1; ready 2; join "join" 2
           switch 2; read plugged; ready 1; done 2; poll 1; drop plugged"#,
    );
}

#[test]
fn a_broadcast_wakes_all_waiters_in_order_and_one_who_gave_up_is_not_counted() {
    assert_main(
        |guest| {
            boxed(async move {
                let go = Condition::new(name!("go"));
                let wait = |go: Condition| async move { go.wait().await };
                let first = guest.spawn(name!("first"), wait(go.clone()));
                let second = guest.spawn(name!("second"), wait(go.clone()));
                assert!(guest.timeout(Duration::ZERO, go.wait()).await.is_err());
                guest.yield_now().await;
                assert_eq!(go.broadcast(), 2);
                first.await;
                second.await;
            })
        },
        r#"create condition go; spawn 2 "first" 1; ready 2; spawn 3 "second" 1; ready 3; try go; ready 1
           switch 2; try go; switch 3; try go
           switch 1; signal go 2; ready 2; ready 3; join "join" 2
           switch 2; read go; ready 1; done 2
           poll 3; read go; done 3; poll 1; drop go"#,
    );
}

#[test]
fn who_asks_for_many_permits_is_not_overtaken_by_who_asks_for_few() {
    assert_main(
        |guest| {
            boxed(async move {
                let slots = Semaphore::new(name!("slots"), 2);
                let held = slots.acquire(1).await;
                let (many, few) = (slots.clone(), slots.clone());
                let many = guest.spawn(name!("many"), async move { drop(many.acquire(2).await) });
                let few = guest.spawn(name!("few"), async move { drop(few.acquire(1).await) });
                guest.yield_now().await;
                assert!(slots.try_acquire(1).is_none());
                drop(held);
                many.await;
                few.await;
                assert_eq!(slots.free(), 2);
            })
        },
        r#"create semaphore slots; read slots
           spawn 2 "many" 1; ready 2; spawn 3 "few" 1; ready 3; ready 1
           switch 2; try slots; switch 3; try slots
           switch 1; signal slots 1; ready 2; join "join" 2
           switch 2; read slots; signal slots 1; ready 3; ready 1; done 2
           poll 3; read slots; signal slots 0; done 3; poll 1; drop slots"#,
    );
}

#[test]
fn a_waiter_that_gives_up_lets_those_behind_it_in() {
    assert_main(
        |guest| {
            boxed(async move {
                let slots = Semaphore::new(name!("slots"), 1);
                let few = slots.clone();
                let mut many = Box::pin(slots.acquire(2));
                assert!(guest.timeout(Duration::ZERO, many.as_mut()).await.is_err());
                let few = guest.spawn(name!("few"), async move { few.acquire(1).await.forget() });
                guest.yield_now().await;
                drop(many);
                few.await;
            })
        },
        r#"create semaphore slots; try slots; spawn 2 "few" 1; ready 2; ready 1
           switch 2; try slots
           switch 1; signal slots 1; ready 2; join "join" 2
           switch 2; read slots; ready 1; done 2; poll 1; drop slots"#,
    );
}
