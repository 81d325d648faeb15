//! A guest whose clock is changed under it: what it recorded by either clock is read, and never by the other.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[cfg(test)]
mod common;

use std::path::Path;

use common::{CLOCK, TempDir, guest, install, read_dir, small};
use fata_collector::sink::directory::{DirectorySink, Options as DirOptions};
use fata_collector::{CollectError, Collector, End, Options};
use fata_probe::instant;
use fata_wire::packet::Cause;
use fata_wire::shared::{Clock, State};

const LATER: Clock =
    Clock { hz: 1_000_000_000, anchor_ticks: 77, anchor_unix_nanos: 1_700_000_100_000_000_000, ..CLOCK };

fn collect(path: &Path, options: &Options, out: &Path) -> End {
    let mut sink = DirectorySink::open(out, DirOptions::default()).unwrap();
    let mut collector = Collector::attach(&guest(path), options, &[]).unwrap();
    collector.run(&mut sink, &mut |_| true).unwrap()
}

fn frequency(trace: &Path) -> String {
    let metadata = std::fs::read_to_string(trace.join("metadata")).unwrap();
    metadata.lines().find(|line| line.contains("freq = ")).unwrap().trim().to_owned()
}

#[test]
fn what_a_guest_recorded_before_and_after_its_clock_was_changed_are_two_recordings_and_no_event_is_in_both_or_in_none()
{
    let dir = TempDir::new("clock");
    let (path, region) = install(&dir.0, "clock", &small(16));
    let attached = region.attach(0).unwrap();
    for i in 0..300u64 {
        instant!("clock.before", i = i);
    }
    // Attached before the change, and read after it.
    let mut sink = DirectorySink::open(&dir.join("first"), DirOptions::default()).unwrap();
    let mut first = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap();
    first.poll(&mut sink).unwrap();
    for i in 300..400u64 {
        instant!("clock.before", i = i);
    }
    region.change_clock(&LATER);
    for i in 400..700u64 {
        instant!("clock.after", i = i);
    }
    assert_eq!(first.run(&mut sink, &mut |_| true).unwrap(), End::ClockChanged);
    let read = read_dir(&dir.join("first"));
    assert_eq!((read.values, read.discarded), ((0..400).collect(), Default::default()));
    assert_eq!(frequency(&dir.join("first")), "freq = 2600000000;");
    drop(sink);
    // The same recording does not go on by another clock.
    let sink = DirectorySink::open(&dir.join("first"), DirOptions::default()).unwrap();
    let refused = Collector::attach(&guest(&path), &Options::default(), std::slice::from_ref(sink.earlier().unwrap()));
    assert!(matches!(refused, Err(CollectError::OtherClock { .. })), "{refused:?}");

    region.finish(State::Exited, "");
    drop(attached);
    assert_eq!(collect(&path, &Options::default(), &dir.join("second")), End::Exited);
    let read = read_dir(&dir.join("second"));
    assert_eq!((read.values, read.discarded), ((400..700).collect(), Default::default()));
    assert_eq!(frequency(&dir.join("second")), "freq = 1000000000;");
}

#[test]
fn who_comes_after_the_change_counts_what_is_by_the_old_clock_as_lost() {
    let dir = TempDir::new("clock-late");
    let (path, region) = install(&dir.0, "clock-late", &small(16));
    let attached = region.attach(0).unwrap();
    for i in 0..300u64 {
        instant!("clock.old", i = i);
    }
    region.change_clock(&LATER);
    for i in 300..500u64 {
        instant!("clock.new", i = i);
    }
    for snapshot in [true, false] {
        let out = dir.join(if snapshot { "snapshot" } else { "live" });
        if !snapshot {
            region.finish(State::Exited, "");
        }
        collect(&path, &Options { snapshot, ..Options::default() }, &out);
        let read = read_dir(&out);
        assert_eq!(read.values, (300..500).collect::<Vec<_>>());
        assert_eq!((read.discarded_in_all(), read.discarded[Cause::Overwritten as usize]), (300, 300));
        assert_eq!(frequency(&out), "freq = 1000000000;");
    }
    drop(attached);
}
