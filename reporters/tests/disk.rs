//! A disk that is full and is then given room: what was written is whole, what was not is told where it is missing.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[path = "../../tests/src/skipped.rs"]
mod skipped;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fata_reporters::file::{File, Options};
use fata_reporters::front::{self, Front};
use fata_reporters::queue::{Bounds, Policy};
use fata_reporters::record::Record;
use fata_reporters::reporter::{Item, ReportError};
use fata_reporters::{Level, lines::Format};
use skipped::skipped;

fn quiet(_: &str, _: Option<&ReportError>) {}

fn send(front: &Front, sequence: u64) {
    let level = if sequence.is_multiple_of(1000) { Level::Error } else { Level::Debug };
    front.hand_over(&Item::Record(Record { sequence, level, name: "a record of some length", ..Record::BLANK }));
}

/// Sequences of the records, and how many records the losses among them tell, in the order of the lines.
fn check(path: &Path) -> (Vec<u64>, u64) {
    let (mut sequences, mut told) = (Vec::new(), 0);
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match line["sequence"].as_u64() {
            Some(sequence) => sequences.push(sequence),
            None => told += line["discarded"].as_u64().unwrap(),
        }
    }
    (sequences, told)
}

#[test]
fn a_full_disk_is_named_costs_what_the_policy_says_and_is_written_to_again_when_it_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(dir.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return skipped("only root can mount a small disk");
    }
    let (path, ballast) = (dir.path().join("x.log"), dir.path().join("ballast"));
    std::fs::write(&ballast, vec![0; 128 << 10]).unwrap();
    let file = File::open(&path, Options { format: Format::Json, ..Options::default() }).unwrap();
    let bounds = Bounds { bytes: 64 << 10, reserved_bytes: 16 << 10, item_bytes: 4 << 10, policy: Policy::KeepOldest };
    let options = front::Options { bounds, patience: Duration::from_secs(5), trouble: quiet };
    let front = Front::spawn("file", file, options).unwrap();
    let mut sequence = 0;
    let start = Instant::now();
    while front.trouble().is_none_or(|trouble| !trouble.as_str().contains("no space left")) {
        (0..100).for_each(|_| {
            send(&front, sequence);
            sequence += 1;
        });
        assert!(start.elapsed() < Duration::from_secs(20), "the disk does not fill");
    }
    for _ in 0..10_000 {
        send(&front, sequence);
        sequence += 1;
    }
    // What is there ends with a whole line.
    assert!(std::fs::read(&path).unwrap().ends_with(b"}\n"));
    std::fs::remove_file(ballast).unwrap();
    while front.trouble().is_some() {
        std::thread::sleep(Duration::from_millis(5));
        assert!(start.elapsed() < Duration::from_secs(20), "it is not written to again");
    }
    send(&front, sequence);
    let account = front.close(Duration::from_secs(20));
    let (sequences, told) = check(&path);
    let unmounted = Command::new("umount").arg(dir.path()).status().unwrap().success();
    assert_eq!(account.produced.total(), sequence + 1);
    assert_eq!(account.reported.total(), sequences.len() as u64);
    assert_eq!((account.discarded.total(), account.discarded.of(Level::Error)), (told, 0));
    assert_eq!(account.produced.total(), sequences.len() as u64 + told);
    assert!(told > 5000 && sequences.is_sorted_by(|a, b| a < b));
    assert!(unmounted);
}
