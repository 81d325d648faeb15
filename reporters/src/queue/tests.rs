//! The queue against a count of everything that went in.

use std::vec::Vec;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::record::{Field, Record, Value};
use crate::time::Time;
use fata_wire::field::Level;

fn bounds(policy: Policy) -> Bounds {
    Bounds { bytes: 6000, reserved_bytes: 2000, item_bytes: 1000, policy }
}

fn push(queue: &mut Queue, level: Level, sequence: u64, text: &[u8]) -> Pushed {
    let fields = [Field { name: "message", value: Value::Str(text) }];
    let time = Time::wall(i64::try_from(sequence).unwrap());
    queue.push(&Item::Record(Record { level, sequence, time, fields: &fields, ..Record::BLANK }))
}

/// What was popped, in a form that is easy to compare.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Popped {
    Record(Level, u64),
    Loss(Cause, Counts),
}

fn pop(queue: &mut Queue, quiet_too: bool) -> Option<Popped> {
    let mut bytes = Vec::new();
    if !queue.pop(&mut bytes, quiet_too) {
        return None;
    }
    codec::decode(&bytes, |item| match item {
        Item::Record(record) => Popped::Record(record.level, record.sequence),
        Item::Loss(loss) => Popped::Loss(loss.cause, loss.counts),
    })
}

fn drain(queue: &mut Queue) -> Vec<Popped> {
    core::iter::from_fn(|| pop(queue, true)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Push(Level, usize),
    PushLoss(u64),
    Nested(Level),
    Pop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let level = any::<u8>().prop_map(|byte| Level::ALL[usize::from(byte) % 6]);
    let step = prop_oneof![
        6 => (level, 0usize..900).prop_map(|(level, len)| Step::Push(level, len)),
        1 => (0u64..50).prop_map(Step::PushLoss),
        1 => any::<bool>().prop_map(|bad| Step::Nested(if bad { Level::Warn } else { Level::Debug })),
        4 => Just(Step::Pop),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn what_went_in_comes_out_or_is_counted_whatever_the_policy(steps in steps(), newest in any::<bool>()) {
        let mut queue = Queue::new("q", bounds(if newest { Policy::KeepNewest } else { Policy::KeepOldest }));
        let (mut produced, mut foreign, mut sequence) = (Counts::default(), 0, 0);
        let mut popped = Vec::new();
        for step in steps {
            match step {
                Step::Push(level, len) => {
                    push(&mut queue, level, sequence, &std::vec![b'x'; len]);
                    produced.add(level);
                    sequence += 1;
                }
                Step::PushLoss(count) => {
                    let mut loss = Loss::new(Cause::Limited, "elsewhere", Time::wall(0));
                    loss.counts.unknown = count;
                    foreign += count;
                    queue.push(&Item::Loss(loss));
                }
                Step::Nested(level) => {
                    queue.discard(&Item::Record(Record { level, ..Record::BLANK }), Cause::Nested);
                    produced.add(level);
                }
                Step::Pop => popped.extend(pop(&mut queue, false)),
            }
        }
        popped.extend(drain(&mut queue));
        let (mut reported, mut told) = (Counts::default(), Counts::default());
        let mut last = None;
        for item in &popped {
            match item {
                Popped::Record(level, sequence) => {
                    reported.add(*level);
                    prop_assert!(last < Some(*sequence), "{sequence} after {last:?}");
                    last = Some(*sequence);
                }
                Popped::Loss(_, counts) => told.merge(counts),
            }
        }
        let mut sum = reported;
        sum.merge(&queue.discarded);
        prop_assert_eq!(sum, produced);
        let mut expected = queue.discarded;
        expected.unknown += foreign;
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn a_loss_stands_exactly_where_its_records_would(
        pushes in proptest::collection::vec((0usize..900, 0usize..3), 1..200),
        newest in any::<bool>(),
    ) {
        let policy = if newest { Policy::KeepNewest } else { Policy::KeepOldest };
        let mut queue = Queue::new("q", bounds(policy));
        let mut popped = Vec::new();
        for (sequence, (len, pops)) in pushes.iter().enumerate() {
            push(&mut queue, Level::Debug, sequence as u64, &std::vec![b'x'; *len]);
            for _ in 0..*pops {
                popped.extend(pop(&mut queue, false));
            }
        }
        popped.extend(drain(&mut queue));
        let mut next = 0;
        for item in popped {
            match item {
                Popped::Record(_, sequence) => {
                    prop_assert_eq!(sequence, next);
                    next += 1;
                }
                Popped::Loss(_, counts) => next += counts.total(),
            }
        }
        prop_assert_eq!(next, pushes.len() as u64);
    }
}

#[test]
fn a_flood_of_debug_cannot_take_the_room_of_a_warning() {
    for policy in [Policy::KeepOldest, Policy::KeepNewest] {
        let mut queue = Queue::new("q", bounds(policy));
        for sequence in 0..10_000 {
            push(&mut queue, Level::Debug, sequence, &[b'x'; 100]);
        }
        assert_eq!(push(&mut queue, Level::Warn, 10_000, b"disk nearly full"), Pushed::Kept);
        for sequence in 10_001..20_000 {
            push(&mut queue, Level::Trace, sequence, &[b'x'; 100]);
        }
        assert!(drain(&mut queue).contains(&Popped::Record(Level::Warn, 10_000)), "{policy:?}");
    }
}

#[test]
fn the_oldest_or_the_newest_are_kept_as_the_policy_says() {
    for (policy, kept) in [(Policy::KeepOldest, 0), (Policy::KeepNewest, 999)] {
        let mut queue = Queue::new("q", bounds(policy));
        for sequence in 0..1000 {
            push(&mut queue, Level::Info, sequence, b"x");
        }
        let popped = drain(&mut queue);
        assert!(popped.contains(&Popped::Record(Level::Info, kept)), "{policy:?}: {popped:?}");
        assert!(!popped.contains(&Popped::Record(Level::Info, 999 - kept)), "{policy:?}");
    }
}

#[test]
fn a_record_that_cannot_fit_even_alone_is_counted_as_too_big() {
    let mut queue = Queue::new("q", bounds(Policy::KeepNewest));
    let fields = [Field { name: "a field with a name", value: Value::U64(1) }; 200];
    queue.push(&Item::Record(Record { fields: &fields, ..Record::BLANK }));
    let [Popped::Loss(Cause::TooBig, counts)] = drain(&mut queue)[..] else { panic!("not too big") };
    assert_eq!(counts.total(), 1);
}

#[test]
fn losses_of_more_places_than_are_kept_apart_are_added_up_not_forgotten() {
    let mut queue = Queue::new("q", bounds(Policy::KeepOldest));
    while push(&mut queue, Level::Info, 0, &[b'x'; 800]) == Pushed::Kept {}
    for i in 0..100 {
        let place = std::format!("place {i}");
        let mut loss = Loss::new(Cause::Failed, &place, Time::wall(0));
        loss.counts.unknown = 3;
        queue.push(&Item::Loss(loss));
    }
    let told: u64 = drain(&mut queue).iter().map(|p| if let Popped::Loss(_, c) = p { c.unknown } else { 0 }).sum();
    assert_eq!(told, 300);
}

#[test]
fn what_a_reporter_logs_while_it_reports_does_not_call_it_again_by_itself() {
    let mut queue = Queue::new("q", bounds(Policy::KeepOldest));
    queue.discard(&Item::Record(Record::BLANK), Cause::Nested);
    assert_eq!(pop(&mut queue, false), None);
    push(&mut queue, Level::Info, 1, b"a record of the program");
    assert!(matches!(pop(&mut queue, false), Some(Popped::Loss(Cause::Nested, _))));
    assert_eq!(pop(&mut queue, false), Some(Popped::Record(Level::Info, 1)));
}
