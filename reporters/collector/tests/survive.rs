//! Restarts, deaths, full disks and lies: what was committed is read once, and what is wrong is said.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[cfg(test)]
mod common;

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::skipped::skipped;
use common::{TempDir, babeltrace, guest, install, read_dir, read_stream, small};
use fata_collector::sink::directory::{DirectorySink, Options as DirOptions};
use fata_collector::sink::stream::StreamSink;
use fata_collector::sink::{Sink, SinkError};
use fata_collector::source::Guest;
use fata_collector::{CollectError, Collector, End, Options};
use fata_probe::instant;
use fata_wire::event::{EventId, Header};
use fata_wire::packet::{Cause, HEADER_BYTES};
use fata_wire::shared::{Geometry, Mode, PAGE_BYTES, State, at, control};

fn attach(guest: &Guest, sink: Option<&DirectorySink>) -> Collector {
    let earlier = sink.and_then(DirectorySink::earlier);
    Collector::attach(guest, &Options::default(), earlier.map(std::slice::from_ref).unwrap_or(&[])).unwrap()
}

fn directory(path: &std::path::Path) -> DirectorySink {
    DirectorySink::open(path, DirOptions::default()).unwrap()
}

#[test]
fn a_collector_that_leaves_makes_the_guest_a_flight_recorder_again_and_the_next_one_counts_what_was_overwritten() {
    let dir = TempDir::new("leave");
    let (path, region) = install(&dir.0, "leave", &small(4));
    let _attached = region.attach(0).unwrap();
    let guest = guest(&path);
    let write = |range: std::ops::Range<u64>| range.for_each(|i| instant!("survive.leave", i = i));
    let (first, second) = (dir.join("first"), dir.join("second"));
    let mut sink = directory(&first);
    let mut collector = attach(&guest, None);
    write(0..100);
    collector.leave(&mut sink).unwrap();
    assert_eq!(guest.open(true).unwrap().control_u32(control::MODE), Mode::Overwrite as u32);
    assert_eq!(guest.open(true).unwrap().control_u64(control::COLLECTOR), 0);
    write(100..5_000);
    let mut sink = directory(&second);
    attach(&guest, None).leave(&mut sink).unwrap();
    let (first, second) = (read_dir(&first), read_dir(&second));
    assert_eq!(first.values, (0..100).collect::<Vec<_>>());
    assert_eq!(second.values, (5_000 - second.events..5_000).collect::<Vec<_>>());
    assert_eq!(second.discarded[Cause::Overwritten as usize], 4_900 - second.events);
}

#[test]
fn a_snapshot_copies_the_flight_recorder_and_changes_nothing_of_it() {
    let dir = TempDir::new("snapshot");
    let (path, region) = install(&dir.0, "snapshot", &small(4));
    let _attached = region.attach(0).unwrap();
    let guest = guest(&path);
    let control_page = || {
        let mut page = vec![0; PAGE_BYTES];
        std::fs::File::open(&path).unwrap().read_exact_at(&mut page, region.geometry().control_offset).unwrap();
        page
    };
    for i in 0..3_000u64 {
        instant!("survive.snapshot", i = i);
    }
    let before = control_page();
    let mut reads = Vec::new();
    for name in ["one", "two"] {
        let out = dir.join(name);
        let mut sink = directory(&out);
        let options = Options { snapshot: true, ..Options::default() };
        let mut collector = Collector::attach(&guest, &options, &[]).unwrap();
        assert_eq!(collector.run(&mut sink, &mut |_| true).unwrap(), End::Copied);
        reads.push(read_dir(&out));
        if let Some(seen) = babeltrace(&out) {
            assert_eq!(seen, (reads[0].events, reads[0].discarded_in_all()));
        }
    }
    assert_eq!(control_page(), before);
    assert_eq!(reads[0], reads[1]);
    assert_eq!(reads[0].values, (3_000 - reads[0].events..3_000).collect::<Vec<_>>());
    assert_eq!(reads[0].events + reads[0].discarded_in_all(), 3_000);
}

/// Not a test: the process that the tests below kill. It writes events for ever, as fast as it can.
#[test]
#[ignore = "started by other tests"]
fn child_guest() {
    let Some(dir) = std::env::var_os("FATA_TEST_CHILD") else { return };
    let (_, region) = install(std::path::Path::new(&dir), "child", &small(64));
    let _attached = region.attach(0).unwrap();
    for i in 0u64.. {
        instant!("survive.child", i = i);
        if i % 64 == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

struct Child(std::process::Child);

impl Child {
    fn start(dir: &std::path::Path) -> (Self, Guest) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_guest", "--ignored"])
            .env("FATA_TEST_CHILD", dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let path = dir.join(format!("child.{}.host", child.id()));
        let child = Child(child);
        for _ in 0..500 {
            if let Ok(guest) = Guest::at(&path)
                && guest.open(false).is_ok()
            {
                return (child, guest);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the child has made no ring");
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_guest_killed_with_9_is_read_to_its_last_committed_event_and_the_end_is_said() {
    let dir = TempDir::new("killed");
    let (mut child, guest) = Child::start(&dir.0);
    let out = dir.join("trace");
    let mut sink = directory(&out);
    let mut collector = attach(&guest, None);
    let mut reports = 0;
    let end = collector
        .run(&mut sink, &mut |_| {
            reports += 1;
            if reports == 2 {
                child.kill();
            }
            true
        })
        .unwrap();
    let read = read_dir(&out);
    assert!(matches!(end, End::Killed(_)), "{end}");
    assert!(end.to_string().contains("killed"), "{end}");
    let overwritten = read.discarded[Cause::Overwritten as usize];
    assert!(read.events > 100);
    assert_eq!(read.values.len() as u64, read.events - read.unfinished);
    assert_eq!(read.discarded_in_all(), overwritten + read.discarded[Cause::Full as usize]);
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (read.events, read.discarded_in_all()));
    }
    // Reading the dead once more into the same directory adds nothing.
    drop(sink);
    let mut sink = directory(&out);
    let mut again = attach(&guest, Some(&sink));
    assert!(matches!(again.run(&mut sink, &mut |_| true).unwrap(), End::Killed(_)));
    assert_eq!(read_dir(&out).values, read.values);
}

#[test]
fn a_second_collector_is_told_who_is_attached() {
    let dir = TempDir::new("second");
    let (child, guest) = Child::start(&dir.0);
    // The child has the ring mapped, as a collector has.
    let pid = u64::from(child.0.id());
    guest.open(true).unwrap().set_control_u64(control::COLLECTOR, pid);
    let error = Collector::attach(&guest, &Options::default(), &[]).unwrap_err();
    assert!(matches!(error, CollectError::Busy { pid: found, .. } if found == pid), "{error}");
    assert!(error.to_string().contains(&pid.to_string()), "{error}");
    // Process 1 lives, but has nothing to do with this guest: whoever wrote its number is dead.
    guest.open(true).unwrap().set_control_u64(control::COLLECTOR, 1);
    drop(attach(&guest, None));
}

#[test]
fn records_that_a_dead_guest_had_begun_are_shown_as_unfinished() {
    let dir = TempDir::new("unfinished");
    let (path, region) = install(&dir.0, "unfinished", &small(4));
    let attached = region.attach(0).unwrap();
    for i in 0..10u64 {
        instant!("survive.unfinished", i = i);
    }
    // A copy of the memory belongs to nobody: the guest in it is dead.
    let mut image = region.copy();
    drop(attached);
    let open = usize::try_from(region.geometry().packet_offset(0, 0)).unwrap();
    let end = open + HEADER_BYTES + 10 * 16;
    let busy = Header { ticks_low: 0, id: EventId::begin(9), busy: true, words: 3, arg: 3 }.pack();
    image[end..end + 8].copy_from_slice(&busy.to_le_bytes());
    image[end + 8..end + 16].copy_from_slice(&77u64.to_le_bytes());
    let path = path.with_file_name("image");
    std::fs::write(&path, image).unwrap();
    let out = dir.join("trace");
    let mut sink = directory(&out);
    let end = attach(&guest(&path), None).run(&mut sink, &mut |_| true).unwrap();
    assert_eq!(end, End::Image(State::Running, 1));
    let read = read_dir(&out);
    assert_eq!((read.events, read.unfinished), (11, 1));
    assert_eq!(read.values, (0..10).collect::<Vec<_>>());
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (11, 0));
    }
}

/// Runs a test of this file once more where whoever runs it may mount: as root of namespaces of its own.
fn as_root_of_a_namespace(test: &str) {
    const INSIDE: &str = "FATA_TEST_NAMESPACE";
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount"]);
        command
    };
    let possible = unshare().arg("true").output().is_ok_and(|output| output.status.success());
    if std::env::var_os(INSIDE).is_some() || !possible {
        return skipped("a small disk can be mounted neither by this user nor in a namespace of its own");
    }
    let program = std::env::current_exe().unwrap();
    let output = unshare().arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("SKIPPED"), "in a namespace of its own it may mount");
}

#[test]
fn a_disk_that_is_full_is_said_and_what_was_written_stays_readable() {
    let dir = TempDir::new("full");
    let (path, region) = install(&dir.0, "full", &small(64));
    let mut collector = attach(&guest(&path), None);
    let attached = region.attach(0).unwrap();
    for i in 0..10_000u64 {
        instant!("survive.full", i = i);
    }
    region.finish(State::Exited, "");
    drop(attached);
    let out = dir.join("small");
    std::fs::create_dir(&out).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=96k", "tmpfs"]).arg(&out).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return as_root_of_a_namespace("a_disk_that_is_full_is_said_and_what_was_written_stays_readable");
    }
    let mut sink = directory(&out);
    let result = collector.run(&mut sink, &mut |_| true);
    let read = read_dir(&out);
    let seen = babeltrace(&out);
    drop(sink);
    assert!(Command::new("umount").arg(&out).status().unwrap().success());
    let error = result.unwrap_err();
    assert!(matches!(error, CollectError::Sink(SinkError::Full { .. })), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(read.events > 1_000, "{}", read.events);
    assert_eq!(read.values, (0..read.events).collect::<Vec<_>>());
    assert_eq!(collector.totals().events, read.events);
    assert!(seen.is_none_or(|seen| seen == (read.events, 0)));
}

#[test]
fn a_full_device_and_a_closed_pipe_are_told_apart() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = StreamSink::new(full, "stdout").metadata([0; 16], "text").unwrap_err();
    assert!(matches!(error, SinkError::Full { .. }), "{error}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let error = StreamSink::new(writer, "stdout").metadata([0; 16], "text").unwrap_err();
    assert!(matches!(error, SinkError::Closed), "{error}");
}

#[test]
fn a_cap_keeps_the_newest_events_and_babeltrace2_reads_what_is_left() {
    let dir = TempDir::new("keep");
    let (path, region) = install(&dir.0, "keep", &small(16));
    let keep = 3 << 20;
    let out = dir.join("trace");
    let mut sink = DirectorySink::open(&out, DirOptions { keep_bytes: Some(keep) }).unwrap();
    let mut collector = attach(&guest(&path), None);
    let attached = region.attach(0).unwrap();
    for i in 0..500_000u64 {
        instant!("survive.keep", i = i);
        if i % 2_000 == 0 {
            collector.poll(&mut sink).unwrap();
        }
    }
    region.finish(State::Exited, "");
    drop(attached);
    collector.run(&mut sink, &mut |_| true).unwrap();
    assert!(sink.dropped().files > 0);
    assert!(sink.kept_bytes() <= keep, "{}", sink.kept_bytes());
    let on_disk: u64 = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk <= keep + (64 << 10), "{on_disk}");
    let read = read_dir(&out);
    assert!(read.events > 100_000, "{}", read.events);
    assert_eq!(read.values, (500_000 - read.events..500_000).collect::<Vec<_>>());
    if let Some(seen) = babeltrace(&out) {
        assert_eq!(seen, (read.events, 0));
    }
}

#[test]
fn a_guest_without_a_ring_is_told_from_one_of_another_version() {
    let dir = TempDir::new("noring");
    let path = dir.join("nothing");
    std::fs::write(&path, [0; 3 * PAGE_BYTES]).unwrap();
    let error = Collector::attach(&guest(&path), &Options::default(), &[]).unwrap_err().to_string();
    assert!(error.contains("profiling"), "{error}");
    let (ring, region) = install(&dir.0, "version", &small(4));
    let file = std::fs::OpenOptions::new().write(true).open(&ring).unwrap();
    file.write_all_at(&(7u32 << 16).to_le_bytes(), at::VERSION as u64).unwrap();
    let error = Collector::attach(&guest(&ring), &Options::default(), &[]).unwrap_err().to_string();
    assert!(error.contains("7.0"), "{error}");
    assert_eq!(region.geometry().stream_count, 1);
}

#[test]
fn the_ring_is_found_anywhere_in_a_sparse_memory_and_its_holes_are_not_touched() {
    let dir = TempDir::new("sparse");
    let (_, region) = install(&dir.0, "sparse", &small(4));
    let attached = region.attach(0).unwrap();
    instant!("survive.sparse", i = 1u64);
    region.finish(State::Exited, "");
    let path = dir.join("memory");
    let file = std::fs::OpenOptions::new().create_new(true).read(true).write(true).open(&path).unwrap();
    file.set_len(8 << 30).unwrap();
    file.write_all_at(&region.copy(), 5 << 30).unwrap();
    drop(attached);
    let started = std::time::Instant::now();
    let mut stream = StreamSink::new(Vec::new(), "memory");
    assert_eq!(attach(&guest(&path), None).run(&mut stream, &mut |_| true).unwrap(), End::Exited);
    assert_eq!(read_stream(&stream.into_inner()).values, [1]);
    assert!(started.elapsed() < Duration::from_secs(2));
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap());
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
}

/// Takes everything and counts nothing, but insists on whole packets.
struct Strict;

impl Sink for Strict {
    fn metadata(&mut self, _uuid: [u8; 16], text: &str) -> Result<(), SinkError> {
        assert!(text.len() < 32 << 20);
        Ok(())
    }

    fn packet(&mut self, _stream: u32, packet: &[u8]) -> Result<(), SinkError> {
        let parsed = fata_wire::packet::Packet::parse(packet).unwrap();
        assert_eq!(parsed.bytes.len(), packet.len());
        assert_eq!(parsed.events().filter(|event| event.is_ok()).count() as u64, parsed.header.events);
        assert!(parsed.header.timestamp_begin <= parsed.header.timestamp_end);
        Ok(())
    }
}

#[test]
fn a_guest_that_writes_anything_anywhere_gets_no_panic_and_no_malformed_packet_out_of_us() {
    let dir = TempDir::new("hostile");
    let (_, region) = install(&dir.0, "hostile", &small(4));
    let attached = region.attach(0).unwrap();
    for i in 0..1_000u64 {
        instant!("survive.hostile", i = i);
    }
    let image = region.copy();
    drop(attached);
    let geometry: Geometry = *region.geometry();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..300 {
        let path = dir.join(&format!("image{round}"));
        std::fs::write(&path, &image).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let Ok(mut collector) = Collector::attach(&guest(&path), &Options::default(), &[]) else { continue };
        for _ in 0..20 {
            // Mostly the words that decide something: stream entries, description, packet headers, the first events.
            let offset = match random() % 5 {
                0 => at::STREAMS as u64 + random() % 64,
                1 => geometry.description_offset + random() % 4096,
                2 => (at::STATE as u64 & !7) + random() % 64,
                _ => geometry.packet_offset(0, random()) + random() % 256,
            };
            let value = match random() % 4 {
                0 => random(),
                1 => u64::MAX - random() % 3,
                2 => random() % 5,
                _ => 1 << (random() % 64),
            };
            file.write_all_at(&value.to_le_bytes(), offset & !7).unwrap();
            let _ = collector.poll(&mut Strict).unwrap();
        }
        let _ = collector.leave(&mut Strict);
        std::fs::remove_file(&path).unwrap();
    }
    std::io::stderr().flush().unwrap();
}
