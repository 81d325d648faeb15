//! Where a model checker cannot go: unlocked instructions under real interruption. Signals stand in for interrupts, three
//! levels deep, while another thread reads packets as a collector does.
//!
//! What must hold in both modes: produced = read + discarded, exactly and by cause; no event torn, none out of order.
//! `FATA_STRESS_EVENTS=1000000000 cargo test --release -p fata-probe --test stress` is a full run. Log records under the same
//! storm are `log_stress.rs`.
#![cfg(all(feature = "profiling", feature = "std", target_os = "linux"))]
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test's helpers fail by panicking")]

mod interrupts;

use std::sync::atomic::{AtomicU64, Ordering};

use fata_probe::region::{Config, Region};
use fata_probe::{Small, instant};
use fata_wire::event::Event;
use fata_wire::packet::Cause;
use fata_wire::shared::Mode;
use fata_wire::u64_at;
use interrupts::{LEVELS, Reader, deepest, set_control, storm};

static PRODUCED: [AtomicU64; LEVELS] = [const { AtomicU64::new(0) }; LEVELS];

/// One event of interruption level `level`: a number that counts up, and one that must fit it.
fn produce(level: usize) {
    let i = PRODUCED[level].fetch_add(1, Ordering::Relaxed);
    if i.is_multiple_of(3) {
        instant!("stress.plain", level = Small(level as u16));
    } else {
        instant!("stress.event", level = Small(level as u16), i = i, check = !i);
    }
}

fn run(mode: Mode, events: u64) {
    PRODUCED.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    let config = Config { name: "stress", packets_per_stream: 64, packet_bytes: 4096, ..Config::default() };
    let region = Region::in_memory(&config).unwrap();
    let mut generation = 1;
    set_control(region, generation, mode, &[0]);
    fata_probe::control::poll();
    let mut reader = Reader::new(0);
    let mut last = [None; LEVELS];
    let mut check = |event: &Event<'_>| {
        if event.payload.len() == 16 {
            let (level, i) = (usize::from(event.arg), u64_at(event.payload, 0));
            assert_eq!(u64_at(event.payload, 8), !i, "a torn event");
            assert!(last[level].is_none_or(|last| last < i), "an event out of order");
            last[level] = Some(i);
        }
    };
    storm(region, produce, events, || {
        reader.read(region, false, &mut check);
        if mode == Mode::Discard {
            generation += 1;
            set_control(region, generation, mode, &[reader.next]);
        }
    });
    reader.read(region, true, &mut check);
    let produced: u64 = PRODUCED.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let (overwritten, by_cause) = reader.missed(region);
    let discarded: u64 = by_cause.iter().sum();
    println!(
        "{mode:?}: {produced} produced = {} read + {overwritten} overwritten + {discarded} discarded {by_cause:?}; {} torn copies noticed, {} levels deep",
        reader.read,
        reader.torn_copies,
        deepest()
    );
    assert_eq!(deepest(), 3);
    assert_eq!(produced, reader.read + overwritten + discarded);
    assert_eq!(by_cause[Cause::TooBig as usize], 0);
    match mode {
        Mode::Discard => assert_eq!(overwritten, 0),
        Mode::Overwrite => assert_eq!(by_cause[Cause::Full as usize], 0),
    }
}

#[test]
fn interrupts_three_levels_deep_tear_nothing_and_the_account_is_exact() {
    let events = std::env::var("FATA_STRESS_EVENTS").map_or(20_000_000, |text| text.parse().unwrap());
    run(Mode::Discard, events / 2);
    run(Mode::Overwrite, events / 2);
}
