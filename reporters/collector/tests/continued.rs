//! A recording is gone on with where it ended, or left alone: what was collected is neither repeated, nor lost, nor cut.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[cfg(test)]
mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{TempDir, babeltrace, guest, install, read_dir, small};
use fata_collector::drain::PIECE_INTERVAL;
use fata_collector::sink::directory::{DirectorySink, Options as DirOptions};
use fata_collector::sink::together::Together;
use fata_collector::sink::{Sink, SinkError};
use fata_collector::source::Guest;
use fata_collector::{CollectError, Collector, End, Options, Seat};
use fata_probe::instant;
use fata_wire::packet::{FLAG_MAY_REPEAT, HEADER_BYTES, Packet};
use fata_wire::shared::{State, at};

fn attach(guest: &Guest, sink: Option<&DirectorySink>) -> Collector {
    let earlier = sink.and_then(DirectorySink::earlier);
    Collector::attach(guest, &Options::default(), earlier.map(std::slice::from_ref).unwrap_or(&[])).unwrap()
}

fn directory(path: &Path) -> DirectorySink {
    DirectorySink::open(path, DirOptions::default()).unwrap()
}

/// Polls long enough that a piece is due.
fn poll_all(collector: &mut Collector, sink: &mut dyn Sink) {
    std::thread::sleep(PIECE_INTERVAL);
    for _ in 0..3 {
        collector.poll(sink).unwrap();
    }
}

#[test]
fn a_collector_that_died_is_continued_without_losing_or_repeating_an_event() {
    for same_directory in [true, false] {
        let dir = TempDir::new(if same_directory { "same" } else { "other" });
        let (path, region) = install(&dir.0, "restart", &small(16));
        let attached = region.attach(0).unwrap();
        let guest = guest(&path);
        let mut written = 0u64;
        let mut values = Vec::new();
        for round in 0..6 {
            let out = dir.join(&if same_directory { "trace".to_owned() } else { format!("trace{round}") });
            let mut sink = directory(&out);
            let mut collector = attach(&guest, Some(&sink));
            // Half of the rounds end within a packet, half after several.
            for _ in 0..if round % 2 == 0 { 100 } else { 700 } {
                instant!("survive.restart", i = written);
                written += 1;
            }
            poll_all(&mut collector, &mut sink);
            // What it would be after kill -9: nothing is put back.
            std::mem::forget(collector);
            // And what comes while nobody is there fits the ring.
            for _ in 0..50 {
                instant!("survive.restart", i = written);
                written += 1;
            }
            if !same_directory {
                values.extend(read_dir(&out).values);
                // Of what a collector left that was killed, the first packet bears a mark, and no other.
                let marked = marked(&out);
                assert_eq!(marked.iter().filter(|marked| **marked).count(), usize::from(round > 0), "{marked:?}");
                assert!(round == 0 || marked[1], "behind the empty packet that begins each recording");
            }
        }
        region.finish(State::Exited, "");
        drop(attached);
        let out = dir.join(if same_directory { "trace" } else { "last" });
        let mut sink = directory(&out);
        assert_eq!(attach(&guest, Some(&sink)).run(&mut sink, &mut |_| true).unwrap(), End::Exited);
        let last = read_dir(&out);
        assert_eq!(last.discarded_in_all(), 0);
        values.extend(last.values);
        assert_eq!(values, (0..written).collect::<Vec<_>>());
        if let (true, Some(seen)) = (same_directory, babeltrace(&out)) {
            assert_eq!(seen, (written, 0));
        }
    }
}

/// Which packets of the recording may repeat one of a collector that was killed.
fn marked(dir: &Path) -> Vec<bool> {
    let bytes = std::fs::read(dir.join("stream_0")).unwrap();
    let mut rest = &bytes[..];
    std::iter::from_fn(|| {
        let packet = Packet::parse(rest).ok()?;
        rest = &rest[packet.bytes.len()..];
        Some(packet.header.flags & FLAG_MAY_REPEAT != 0)
    })
    .collect()
}

#[test]
fn a_directory_that_was_cut_anywhere_is_continued_after_its_last_whole_packet() {
    let dir = TempDir::new("cut");
    let (path, region) = install(&dir.0, "cut", &small(4));
    let attached = region.attach(0).unwrap();
    for i in 0..20u64 {
        instant!("survive.cut", i = i);
    }
    region.finish(State::Exited, "");
    drop(attached);
    let out = dir.join("trace");
    let mut sink = directory(&out);
    attach(&guest(&path), None).run(&mut sink, &mut |_| true).unwrap();
    drop(sink);
    let whole = std::fs::read(out.join("stream_0")).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(out.join("stream_0"), &whole[..cut]).unwrap();
        let mut sink = directory(&out);
        let mut collector = attach(&guest(&path), Some(&sink));
        collector.run(&mut sink, &mut |_| true).unwrap();
        // With nothing left to go on from, the guest's own cursor says that all was read.
        let expected = if cut < HEADER_BYTES { 0 } else { 20 };
        assert_eq!(read_dir(&out).values, (0..expected).collect::<Vec<_>>(), "cut at {cut}");
    }
}

/// A recording of twenty events in `trace`, the guest that it is of, and another guest.
fn recorded(dir: &TempDir) -> (PathBuf, Guest, Guest) {
    let (other, _) = install(&dir.0, "other", &small(4));
    let (path, region) = install(&dir.0, "recorded", &small(4));
    let attached = region.attach(0).unwrap();
    let out = dir.join("trace");
    let mut sink = directory(&out);
    let mut collector = attach(&guest(&path), None);
    for i in 0..20u64 {
        instant!("survive.recorded", i = i);
        if i == 9 {
            poll_all(&mut collector, &mut sink);
        }
    }
    collector.leave(&mut sink).unwrap();
    drop(attached);
    (out, guest(&path), guest(&other))
}

/// Every file of a directory, by name, with what it holds.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

/// Where the packets of a stream file begin.
fn packets(bytes: &[u8]) -> Vec<usize> {
    let mut at = 0;
    std::iter::from_fn(|| {
        let packet = Packet::parse(bytes.get(at..)?).ok()?;
        let begin = at;
        at += packet.bytes.len();
        Some(begin)
    })
    .collect()
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = TempDir::new("occupied");
    std::fs::write(dir.join("metadata"), "/* CTF 1.8 */ trace of another program").unwrap();
    let error = DirectorySink::open(&dir.0, DirOptions::default()).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    let dir = TempDir::new("occupied-stream");
    let (out, ..) = recorded(&dir);
    // A reader would take each for a stream; the first would be the last of four billion, the others of one that is there.
    for name in [
        "stream_4000000000",
        "stream_240",
        "stream_00",
        "stream_+0",
        "stream_0_000",
        "stream_0.bak",
        "stream_0_18446744073709551615",
    ] {
        std::fs::write(out.join(name), "").unwrap();
        let before = contents(&out);
        let error = DirectorySink::open(&out, DirOptions::default()).unwrap_err();
        assert!(matches!(error, SinkError::Occupied { .. }), "{name}: {error}");
        assert_eq!(contents(&out), before);
        std::fs::remove_file(out.join(name)).unwrap();
    }
    drop(directory(&out));
}

#[test]
fn a_recording_of_another_guest_keeps_every_byte_also_those_that_its_own_collector_would_cut() {
    let dir = TempDir::new("foreign");
    let (out, own, other) = recorded(&dir);
    let stream = out.join("stream_0");
    let whole = std::fs::read(&stream).unwrap();
    // As a collector leaves it that was killed while it wrote its last packet.
    std::fs::write(&stream, &whole[..whole.len() - 8]).unwrap();
    let before = contents(&out);
    let sink = directory(&out);
    let earlier = [sink.earlier().unwrap().clone()];
    let error = Collector::attach(&other, &Options::default(), &earlier).unwrap_err();
    assert!(matches!(error, CollectError::OtherGuest { .. }), "{error}");
    drop(sink);
    assert_eq!(contents(&out), before);
    // A command that did not look at what is there.
    let mut sink = directory(&out);
    let error =
        Collector::attach(&other, &Options::default(), &[]).unwrap().run(&mut sink, &mut |_| false).unwrap_err();
    assert!(matches!(error, CollectError::Sink(SinkError::Occupied { .. })), "{error}");
    assert!(error.to_string().contains("choose another directory"), "{error}");
    drop(sink);
    assert_eq!(contents(&out), before);
    // Its own collector cuts what is torn, and nothing before that.
    let mut sink = directory(&out);
    attach(&own, Some(&sink)).leave(&mut sink).unwrap();
    let last = *packets(&whole).last().unwrap();
    assert_eq!(std::fs::read(&stream).unwrap()[..last], whole[..last]);
    drop(read_dir(&out));
}

#[test]
fn a_recording_that_is_damaged_before_its_end_is_refused_and_keeps_every_byte() {
    use fata_wire::packet::at;
    let dir = TempDir::new("damaged");
    let (out, own, _) = recorded(&dir);
    let stream = out.join("stream_0");
    let whole = std::fs::read(&stream).unwrap();
    let begins = packets(&whole);
    assert!(begins.len() > 2, "{begins:?}");
    let refuse = |bytes: &[u8], at: usize, what: &str| {
        std::fs::write(&stream, bytes).unwrap();
        let before = contents(&out);
        match DirectorySink::open(&out, DirOptions::default()) {
            Err(error @ SinkError::Damaged { at: found, .. }) => {
                assert_eq!(found, at as u64, "{what}");
                assert!(error.to_string().contains("choose another directory"), "{error}");
            }
            other => panic!("{what} of the packet at {at}: {other:?}"),
        }
        assert_eq!(contents(&out), before, "{what} of the packet at {at}");
    };
    for &begin in &begins {
        let is_first = begin == 0;
        for (what, field, value) in [
            ("magic", at::MAGIC, [0; 8]),
            ("identity", at::UUID, [0x55; 8]),
            ("stream", at::STREAM_ID, [1; 8]),
            ("length", at::PACKET_SIZE, (1u64 << 20).to_le_bytes()),
            ("impossible length", at::PACKET_SIZE, u64::MAX.to_le_bytes()),
            ("last number", at::PACKET_SEQ_NUM, u64::MAX.to_le_bytes()),
            ("time", at::TIMESTAMP_END, u64::MAX.to_le_bytes()),
        ] {
            let mut bytes = whole.clone();
            bytes[begin + field..][..8].copy_from_slice(&value);
            match what {
                // The first packet alone says whose recording it is, so that those after it are of another.
                "identity" if is_first => refuse(&bytes, begins[1], what),
                // The last one may be longer than what is there: it was not finished.
                "length" if begin == *begins.last().unwrap() => {}
                _ => refuse(&bytes, begin, what),
            }
        }
    }
    // What is no begin of a packet, behind the last one.
    for tail in [&[0; 100][..], &[0x1f], &whole[8..40]] {
        refuse(&[&whole, tail].concat(), whole.len(), "tail");
    }
    // A file that is not the stream's last ends with a whole packet.
    std::fs::write(out.join("stream_0_001"), "").unwrap();
    refuse(&whole[..whole.len() - 8], *begins.last().unwrap(), "end");
    std::fs::remove_file(out.join("stream_0_001")).unwrap();
    std::fs::write(&stream, &whole).unwrap();
    let mut sink = directory(&out);
    attach(&own, Some(&sink)).leave(&mut sink).unwrap();
}

#[test]
fn what_was_described_stays_and_is_not_described_twice_whatever_the_guest_says_of_itself_by_now() {
    let dir = TempDir::new("described");
    let (path, region) = install(&dir.0, "described", &small(4));
    let attached = region.attach(0).unwrap();
    let (guest, out) = (guest(&path), dir.join("trace"));
    instant!("survive.described", i = 0u64);
    // Alone and as one of several that there may be, in turn.
    let collect = |alone: bool| {
        let sink = directory(&out);
        let earlier: Vec<_> = sink.earlier().cloned().into_iter().collect();
        let seat = Seat { number: 0, uuid: None, clock: None, says_wires: false };
        let options = Options { seat: (!alone).then_some(seat), ..Options::default() };
        let mut collector = Collector::attach(&guest, &options, &earlier).unwrap();
        let together = Together::new(sink);
        if alone {
            collector.leave(&mut together.into_inner()).unwrap();
        } else {
            collector.leave(&mut together.seat(0)).unwrap();
        }
        std::fs::read_to_string(out.join("metadata")).unwrap()
    };
    let first = collect(false);
    assert!(first.contains("survive.described"));
    assert_eq!([collect(true), collect(false)], [first.clone(), first.clone()]);
    instant!("survive.described_later", i = 1u64);
    let second = collect(true);
    let added = second.strip_prefix(&first).expect("what was described stays");
    assert_eq!(added.matches("event {").count(), 1, "{added}");
    // It takes back what it has said, but its ring holds events that were described when they were collected.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 8], at::DESCRIPTION_USED as u64).unwrap();
    assert_eq!([collect(false), collect(true)], [second.clone(), second]);
    drop(attached);
    assert_eq!(read_dir(&out).values, [0, 1]);
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (2, 0));
    }
}

#[test]
fn one_collector_at_a_time_has_a_directory() {
    let dir = TempDir::new("locked");
    let (out, own, _) = recorded(&dir);
    let mut sink = directory(&out);
    let before = contents(&out);
    let error = DirectorySink::open(&out, DirOptions::default()).unwrap_err();
    assert!(matches!(error, SinkError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("stop that collector"), "{error}");
    assert_eq!(contents(&out), before, "the lock leaves nothing behind that a reader would see");
    attach(&own, Some(&sink)).leave(&mut sink).unwrap();
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (20, 0));
    }
    drop(sink);
    drop(directory(&out));
}
