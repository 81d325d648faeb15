//! Nothing is lost without being counted: produced = read + discarded, by cause, in both modes, as we and babeltrace2 see it.

#[cfg(test)]
mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{TempDir, babeltrace, guest, install, read_dir, small};
use fata_collector::sink::directory::{DirectorySink, Options as DirOptions};
use fata_collector::{Collector, End, Options};
use fata_probe::instant;
use fata_probe::region::Config;
use fata_wire::field::Level;
use fata_wire::log::Fates;
use fata_wire::metadata::Line;
use fata_wire::packet::Cause;
use fata_wire::shared::State;

#[test]
fn a_finished_flight_recorder_gives_its_newest_events_and_counts_every_overwritten_one() {
    let dir = TempDir::new("overwrite");
    let (path, region) = install(&dir.0, "overwrite", &small(4));
    let attached = region.attach(0).unwrap();
    for i in 0..10_000u64 {
        instant!("exact.overwrite", i = i);
    }
    region.finish(State::Exited, "");
    drop(attached);
    let out = dir.join("trace");
    let mut sink = DirectorySink::open(&out, DirOptions::default()).unwrap();
    let mut collector = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    assert_eq!(collector.run(&mut sink, &mut |_| true).unwrap(), End::Exited);
    let read = read_dir(&out);
    assert_eq!(read.events + read.discarded_in_all(), 10_000);
    assert_eq!(read.discarded[Cause::Overwritten as usize], read.discarded_in_all());
    assert!(read.events > 500, "four packets of 4 KiB hold more than {}", read.events);
    assert_eq!(read.values, (10_000 - read.events..10_000).collect::<Vec<_>>());
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (read.events, read.discarded_in_all()));
    }
}

#[test]
fn a_recording_ends_with_what_became_of_every_log_record_also_of_those_that_no_rule_let_through() {
    let dir = TempDir::new("accounts");
    let (path, region) = install(&dir.0, "accounts", &Config { log_streams: 2, ..small(4) });
    let attached = region.attach(0).unwrap();
    fata_probe::log::rules::set("error").unwrap();
    for n in 0..5u64 {
        fata_probe::log!(Warn, "kept out", n = n);
        fata_probe::log!(Error, "made", n = n);
        fata_probe::log!(Error, "the same", text = "again");
    }
    region.finish(State::Exited, "");
    drop(attached);
    let out = dir.join("trace");
    let mut sink = DirectorySink::open(&out, DirOptions::default()).unwrap();
    let mut collector = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    assert_eq!(collector.run(&mut sink, &mut |_| true).unwrap(), End::Exited);
    let metadata = std::fs::read_to_string(out.join("metadata")).unwrap();
    let mut fates = Fates::default();
    let mut streams = Vec::new();
    for line in metadata.lines().filter_map(Line::parse) {
        if let Line::Account { stream, class, account } = line {
            fates.add(class, &account);
            streams.push((stream, class));
        }
    }
    assert_eq!(streams, [(1, 0), (2, 1)]);
    let (warn, error) = (fates.of(Level::Warn), fates.of(Level::Error));
    assert_eq!((warn.made(), warn.filtered, warn.offered), (5, 5, 0));
    assert_eq!((error.made(), error.filtered, error.offered, error.folded), (10, 0, 10, 0));
    if let Some(seen) = babeltrace(&out) {
        let read = read_dir(&out);
        assert_eq!(seen, (read.events, read.discarded_in_all()));
    }
}

#[test]
fn streaming_loses_nothing_that_is_not_counted_while_the_guest_writes_at_full_speed() {
    let dir = TempDir::new("stream");
    let (path, region) = install(&dir.0, "stream", &small(8));
    let stop = AtomicBool::new(false);
    let out = dir.join("trace");
    let mut sink = DirectorySink::open(&out, DirOptions::default()).unwrap();
    let mut collector = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    let produced = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let _attached = region.attach(0).unwrap();
            let mut produced = 0u64;
            while !stop.load(Ordering::Relaxed) {
                // Bursts, so that the ring is at times full and at times empty.
                for _ in 0..2_000 {
                    instant!("exact.stream", i = produced);
                    produced += 1;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            region.finish(State::Exited, "");
            produced
        });
        let mut reports = 0;
        let end = collector
            .run(&mut sink, &mut |_| {
                reports += 1;
                if reports == 2 {
                    stop.store(true, Ordering::Relaxed);
                }
                true
            })
            .unwrap();
        assert_eq!(end, End::Exited);
        writer.join().unwrap()
    });
    let read = read_dir(&out);
    assert_eq!(read.events + read.discarded_in_all(), produced);
    assert!(read.events > 10_000, "{read:?}");
    assert!(read.values.windows(2).all(|pair| pair[0] < pair[1]), "no event is repeated");
    let totals = collector.totals();
    assert_eq!((totals.events, totals.discarded), (read.events, read.discarded));
    // What was written before the collector's mode was seen may have been overwritten; afterwards only `full` is possible.
    let [full, nested, too_big, overwritten, refused] = read.discarded;
    assert_eq!((nested, too_big, refused), (0, 0, 0), "full {full}, overwritten {overwritten}");
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (read.events, read.discarded_in_all()));
    }
}

#[test]
fn events_that_were_discarded_after_the_last_packet_are_reported_too() {
    let dir = TempDir::new("tail");
    let (path, region) = install(&dir.0, "tail", &small(4));
    let mut collector = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    let out = dir.join("trace");
    let mut sink = DirectorySink::open(&out, DirOptions::default()).unwrap();
    let attached = region.attach(0).unwrap();
    // The collector does not come while the guest writes three rings full.
    for i in 0..3_000u64 {
        instant!("exact.tail", i = i);
    }
    region.finish(State::Exited, "");
    drop(attached);
    assert_eq!(collector.run(&mut sink, &mut |_| true).unwrap(), End::Exited);
    let read = read_dir(&out);
    assert_eq!(read.values, (0..read.events).collect::<Vec<_>>(), "discard mode keeps the oldest");
    assert_eq!(read.discarded[Cause::Full as usize], 3_000 - read.events);
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (read.events, 3_000 - read.events));
    }
}

#[test]
fn a_quiet_guest_is_seen_before_its_packet_is_sealed_and_no_event_of_it_twice() {
    let dir = TempDir::new("quiet");
    let (path, region) = install(&dir.0, "quiet", &small(4));
    let _attached = region.attach(0).unwrap();
    let out = dir.join("trace");
    let mut sink = DirectorySink::open(&out, DirOptions::default()).unwrap();
    let mut collector = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    for i in 0..5u64 {
        instant!("exact.quiet", i = i);
        for _ in 0..3 {
            collector.poll(&mut sink).unwrap();
        }
        assert_eq!(read_dir(&out).values, (0..=i).collect::<Vec<_>>());
        if let Some(seen) = babeltrace(&out) {
            assert_eq!(seen, (i + 1, 0));
        }
        std::thread::sleep(fata_collector::drain::PIECE_INTERVAL);
    }
}

#[test]
fn a_text_at_the_end_of_a_packet_is_its_end_for_babeltrace2_too() {
    let dir = TempDir::new("text");
    let (path, region) = install(&dir.0, "text", &small(4));
    let attached = region.attach(0).unwrap();
    for text in ["", "x", "seven77", "eight888", "nine99999"] {
        instant!("exact.text", text = text);
    }
    region.finish(State::Exited, "");
    drop(attached);
    let out = dir.join("trace");
    for (i, text) in ["", "eight888", "nine99999"].into_iter().enumerate() {
        let (path, region) = install(&dir.0, &format!("text{i}"), &small(4));
        let attached = region.attach(0).unwrap();
        instant!("exact.last_text", text = text);
        region.finish(State::Exited, "");
        drop(attached);
        let out = dir.join(&format!("trace{i}"));
        let mut sink = DirectorySink::open(&out, DirOptions::default()).unwrap();
        Collector::attach(&guest(&path), &Options::default(), &[]).unwrap().run(&mut sink, &mut |_| true).unwrap();
        if let Some(seen) = babeltrace(&out) {
            assert_eq!(seen, (1, 0), "{text:?}");
        }
    }
    let mut sink = DirectorySink::open(&out, DirOptions::default()).unwrap();
    Collector::attach(&guest(&path), &Options::default(), &[]).unwrap().run(&mut sink, &mut |_| true).unwrap();
    assert_eq!(read_dir(&out).events, 5);
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (5, 0));
    }
}

#[test]
fn each_stream_of_a_guest_is_accounted_for_on_its_own() {
    let dir = TempDir::new("streams");
    let config = fata_probe::region::Config { streams: 3, ..small(8) };
    let (path, region) = install(&dir.0, "streams", &config);
    let out = dir.join("trace");
    let mut sink = DirectorySink::open(&out, DirOptions::default()).unwrap();
    let mut collector = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    std::thread::scope(|scope| {
        // Stream 1 never has a writer.
        for (stream, events) in [(0, 30_000u64), (2, 20_000)] {
            scope.spawn(move || {
                let _attached = region.attach(stream).unwrap();
                for i in 0..events {
                    instant!("exact.streams", i = i);
                    if i % 500 == 0 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            });
        }
        for _ in 0..200 {
            collector.poll(&mut sink).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    region.finish(State::Exited, "");
    assert_eq!(collector.run(&mut sink, &mut |_| true).unwrap(), End::Exited);
    let read = read_dir(&out);
    assert_eq!(read.events + read.discarded_in_all(), 50_000);
    assert!(out.join("stream_0").exists() && !out.join("stream_1").exists() && out.join("stream_2").exists());
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (read.events, read.discarded_in_all()));
    }
}
