//! Sudden ends: the writer killed at any instruction, the collector killed at any instruction, the disk full, the trace cut
//! at any byte.
//!
//! What must hold: every committed event that was still in memory is recovered, no unfinished one is taken for whole, and the
//! account stays exact. Each kind of death comes 30 times; `FATA_FAULT_KILLS=1000 cargo test --release -p fata-tests --test
//! faults` is a full run.
#![expect(unsafe_code, reason = "mapped files, signals and limits of child processes")]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fata_collector::sink::SinkError;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::sink::stream::StreamSink;
use fata_collector::source::Guest;
use fata_collector::{CollectError, Collector, Continue, End, Options};
use fata_model::ingest::Limits;
use fata_probe::instant;
use fata_probe::region::{Config, Region};
use fata_wire::event::UNFINISHED;
use fata_wire::packet::{Cause, Discarded, Packet, metadata_packet};
use fata_wire::shared::{Clock, State};
use memmap2::MmapRaw;

fn kills() -> u64 {
    std::env::var("FATA_FAULT_KILLS").map_or(30, |text| text.parse().unwrap())
}

/// A number that is another one each time.
fn random(limit: u64) -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let tick = fata_probe::ticks() ^ STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    ((tick ^ (tick >> 7)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % limit.max(1)
}

const CLOCK: Clock =
    Clock { hz: 2_000_000_000, anchor_ticks: 0, anchor_unix_nanos: 1, clock_cost_picos: 0, probe_cost_picos: 0 };

/// Maps the file at `path`, which is made `bytes` long, for ever.
fn map(path: &Path, bytes: u64) -> *mut u8 {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
    let map = MmapRaw::map_raw(&file).unwrap();
    let start = map.as_mut_ptr();
    std::mem::forget(map);
    start
}

fn install(path: &Path, packets_per_stream: u32) -> &'static Region {
    let config = Config {
        name: "faulty",
        pid: std::process::id(),
        uuid: [7; 16],
        packets_per_stream,
        packet_bytes: 4096,
        description_bytes: 16 << 10,
        ..Config::default()
    };
    let memory = map(path, config.total_bytes());
    // SAFETY: the mapping was leaked, and only this region touches it.
    let region = unsafe { Region::install(memory, config.total_bytes(), &config) }.unwrap();
    region.set_running(&CLOCK);
    region
}

/// A word in a file of its own, by which a child says how far it has come.
fn progress(path: &Path) -> &'static AtomicU64 {
    // SAFETY: the mapping was leaked, is page-aligned and only accessed atomically.
    unsafe { AtomicU64::from_ptr(map(path, 4096).cast()) }
}

/// An event whose two halves must fit.
fn event(i: u64) {
    if i.is_multiple_of(5) {
        instant!("fault.text", i = i, check = !i, text = "a longer payload, written in many steps");
    } else {
        instant!("fault.event", i = i, check = !i);
    }
}

/// A child that runs one of the tests below, which without this variable are empty.
fn child(test: &str, variable: &str, value: &str) -> Kill {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(variable, value)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Kill(child)
}

/// Kills a child with SIGKILL, at the latest when its test ends.
struct Kill(Child);

impl Kill {
    fn now(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a trace says, held to the format on the way.
#[derive(Debug, Default)]
struct Read {
    /// The numbers of the events of this file, in order.
    values: Vec<u64>,
    unfinished: u64,
    discarded: Discarded,
    /// What was discarded before the first packet.
    baseline: Discarded,
    packets: u64,
    /// Where each packet ends in the bytes, and how many events there are up to it.
    ends: Vec<(usize, u64)>,
}

impl Read {
    fn lost(&self) -> u64 {
        self.discarded.iter().zip(self.baseline).map(|(now, before)| now - before).sum()
    }

    fn stream(bytes: &[u8]) -> Self {
        let mut read = Read::default();
        let mut at = 0;
        let mut last: Option<(u64, u64)> = None;
        while at < bytes.len() {
            if let Ok((_, len)) = metadata_packet::parse(&bytes[at..]) {
                at += len;
                continue;
            }
            let packet = Packet::parse(&bytes[at..]).unwrap();
            let header = packet.header;
            if let Some((seq, end)) = last {
                assert_eq!(header.packet_seq_num, seq + 1, "a gap between published packets");
                assert!(header.timestamp_begin >= end);
            } else {
                read.baseline = header.discarded;
            }
            last = Some((header.packet_seq_num, header.timestamp_end));
            for event in packet.events() {
                let event = event.unwrap();
                if event.id.callsite() == UNFINISHED {
                    read.unfinished += 1;
                    continue;
                }
                let words = event.payload.as_chunks::<8>().0;
                // Texts make a payload that begins with its length.
                let skip = usize::from(words.len() > 2);
                let (i, check) = (u64::from_le_bytes(words[skip]), u64::from_le_bytes(words[skip + 1]));
                assert_eq!(check, !i, "an event that was not whole was taken for whole");
                read.values.push(i);
            }
            read.discarded = header.discarded;
            read.packets += 1;
            at += packet.bytes.len();
            read.ends.push((at, read.values.len() as u64 + read.unfinished));
        }
        read
    }

    fn directory(dir: &Path) -> Self {
        Self::stream(&std::fs::read(dir.join("stream_0")).unwrap())
    }

    fn is_contiguous(&self) -> bool {
        self.values.windows(2).all(|pair| pair[0] + 1 == pair[1])
    }
}

fn collect(guest: &Path, out: &Path) -> End {
    let mut sink = DirectorySink::open(out, directory::Options::default()).unwrap();
    let earlier: Vec<_> = sink.earlier().cloned().into_iter().collect();
    let mut collector = Collector::attach(&Guest::at(guest).unwrap(), &Options::default(), &earlier).unwrap();
    collector.run(&mut sink, &mut |_| true).unwrap()
}

/// In a child: records for ever.
#[test]
fn a_writer_that_will_be_killed() {
    let Ok(dir) = std::env::var("FATA_FAULT_WRITER") else { return };
    let dir = PathBuf::from(dir);
    let progress = progress(&dir.join("progress"));
    let region = install(&dir.join(format!("faulty.{}.host", std::process::id())), 8);
    region.attach(0).unwrap().forever();
    for i in 0.. {
        event(i);
        progress.store(i + 1, Ordering::Release);
    }
}

#[test]
fn a_writer_that_is_killed_at_any_point_leaves_every_committed_event_and_no_half_one() {
    let (mut recovered, mut unfinished) = (0, 0);
    for _ in 0..kills() {
        let dir = tempfile::tempdir().unwrap();
        let progress = progress(&dir.path().join("progress"));
        let writer = child("a_writer_that_will_be_killed", "FATA_FAULT_WRITER", dir.path().to_str().unwrap());
        let started = Instant::now();
        while progress.load(Ordering::Acquire) == 0 {
            assert!(started.elapsed() < Duration::from_secs(20), "the writer does not begin");
            std::thread::sleep(Duration::from_micros(200));
        }
        // From the first packet to some laps of the ring.
        let until = Instant::now() + Duration::from_nanos(random(3_000_000));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let path = dir.path().join(format!("faulty.{}.host", writer.0.id()));
        writer.now();
        let committed = progress.load(Ordering::Acquire);
        let out = dir.path().join("trace");
        let end = collect(&path, &out);
        let read = Read::directory(&out);
        assert_eq!(end, End::Killed(read.unfinished));
        assert!(read.unfinished <= 1, "one writer has at most one unfinished record");
        assert!(read.is_contiguous());
        // The last event may have been committed without the writer having come to say so.
        let produced = read.values.last().unwrap() + 1;
        assert!((committed..=committed + 1).contains(&produced), "{committed} committed, {produced} found");
        assert!(produced + read.unfinished <= committed + 1);
        assert_eq!(read.values.len() as u64 + read.lost(), produced, "{:?}", read.discarded);
        assert_eq!(read.lost(), read.discarded[Cause::Overwritten as usize]);
        // Whatever was overwritten, the ring is full of what was not: seven packets of 4 KiB at least.
        assert!(read.lost() == 0 || read.values.len() > 700, "{} of {produced}", read.values.len());
        recovered += read.values.len();
        unfinished += read.unfinished;
    }
    println!("measured {} writers killed: {recovered} events recovered, {unfinished} records unfinished", kills());
}

/// In a child: collects until it is killed. The value is `guest|directory|limit of a file's length`.
#[test]
fn a_collector_that_will_end() {
    let Ok(value) = std::env::var("FATA_FAULT_COLLECTOR") else { return };
    let parts: Vec<_> = value.split('|').collect();
    if let Ok(limit) = parts[2].parse() {
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: limits this process alone, and lets a write that is too long fail instead of killing us.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
        }
    }
    let (guest, out) = (Path::new(parts[0]), Path::new(parts[1]));
    let mut sink = DirectorySink::open(out, directory::Options::default()).unwrap();
    let earlier: Vec<_> = sink.earlier().cloned().into_iter().collect();
    let mut collector = Collector::attach(&Guest::at(guest).unwrap(), &Options::default(), &earlier).unwrap();
    match collector.run(&mut sink, &mut |_| true) {
        Err(CollectError::Sink(SinkError::Full { .. })) => std::process::exit(17),
        result => drop(result.unwrap()),
    }
}

/// Lets `visit` happen to the collectors of a guest that goes on, then checks that nothing was lost or repeated.
fn while_a_guest_goes_on(visit: impl Fn(&Path, &Path)) -> Read {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("faulty.{}.host", std::process::id()));
    let out = dir.path().join("trace");
    let region = install(&path, 64);
    let stop = AtomicBool::new(false);
    let produced = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let _attached = region.attach(0).unwrap();
            let mut produced = 0;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..200 {
                    event(produced);
                    produced += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            region.finish(State::Exited, "");
            produced
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| visit(&path, &out)));
        stop.store(true, Ordering::Relaxed);
        let produced = writer.join().unwrap();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        produced
    });
    assert_eq!(collect(&path, &out), End::Exited);
    let read = Read::directory(&out);
    assert!(read.values.windows(2).all(|pair| pair[0] < pair[1]), "an event was repeated");
    assert_eq!(read.values.len() as u64 + read.lost(), produced, "{:?} {:?}", read.baseline, read.discarded);
    assert_eq!(read.unfinished, 0);
    read
}

/// The tests that keep a guest going share the process's callsites and its cores.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn a_collector_that_is_killed_at_any_point_is_followed_by_one_that_neither_loses_nor_repeats() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let read = while_a_guest_goes_on(|guest, out| {
        for _ in 0..kills() {
            let value = format!("{}|{}|", guest.display(), out.display());
            let collector = child("a_collector_that_will_end", "FATA_FAULT_COLLECTOR", &value);
            std::thread::sleep(Duration::from_micros(5_000 + random(40_000)));
            collector.now();
        }
    });
    println!("measured {} collectors killed: {} events, {} discarded", kills(), read.values.len(), read.lost());
    assert!(read.values.len() > 1000);
}

#[test]
fn a_full_disk_ends_the_recording_readably_and_a_later_one_goes_on_where_it_ended() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    while_a_guest_goes_on(|guest, out| {
        for limit in [40_000, 100_000, 150_001] {
            let value = format!("{}|{}|{limit}", guest.display(), out.display());
            let mut collector = child("a_collector_that_will_end", "FATA_FAULT_COLLECTOR", &value);
            let status = collector.0.wait().unwrap();
            assert_eq!(status.code(), Some(17), "the collector says that the disk is full");
            let read = Read::directory(out);
            assert!(read.values.len() > 100, "what was written before is whole");
            let trace = fata_model::source::load(out, Limits::default()).unwrap();
            assert_eq!(trace.events_total(), read.values.len() as u64 + read.unfinished);
        }
    });
}

/// A finished guest's file.
fn finished(dir: &Path, events: u64) -> PathBuf {
    let path = dir.join("image");
    let region = install(&path, 8);
    let attached = region.attach(0).unwrap();
    (0..events).for_each(event);
    region.finish(State::Exited, "");
    drop(attached);
    path
}

fn image(path: &Path, earlier: &[Continue]) -> Collector {
    let options = Options { snapshot: true, ..Options::default() };
    Collector::attach(&Guest::at(path).unwrap(), &options, earlier).unwrap()
}

#[test]
fn a_stream_to_a_full_device_ends_with_a_sentence() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let path = finished(dir.path(), 100);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = image(&path, &[]).run(&mut StreamSink::new(full, "/dev/full"), &mut |_| true).unwrap_err();
    assert!(matches!(error, CollectError::Sink(SinkError::Full { .. })), "{error}");
}

#[test]
fn a_trace_that_was_cut_at_any_byte_opens_up_to_the_cut() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let path = finished(dir.path(), 60);
    let whole = dir.path().join("whole");
    let mut sink = DirectorySink::open(&whole, directory::Options::default()).unwrap();
    image(&path, &[]).run(&mut sink, &mut |_| true).unwrap();
    drop(sink);
    let mut stream = StreamSink::new(Vec::new(), "memory");
    image(&path, &[]).run(&mut stream, &mut |_| true).unwrap();
    let bytes = std::fs::read(whole.join("stream_0")).unwrap();
    let read = Read::stream(&bytes);
    assert_eq!(read.values.len(), 60);
    assert!(read.packets >= 2);
    let cut_dir = dir.path().join("cut");
    std::fs::create_dir(&cut_dir).unwrap();
    std::fs::copy(whole.join("metadata"), cut_dir.join("metadata")).unwrap();
    for cut in 0..=bytes.len() {
        std::fs::write(cut_dir.join("stream_0"), &bytes[..cut]).unwrap();
        let (end, before) = read.ends.iter().rev().find(|(end, _)| *end <= cut).copied().unwrap_or((0, 0));
        let trace =
            fata_model::source::load(&cut_dir, Limits::default()).unwrap_or_else(|error| panic!("{cut}: {error}"));
        assert!((before..=60).contains(&trace.events_total()), "{cut}: {} of {before}", trace.events_total());
        assert!(cut == end || trace.warnings().count() > 0 || cut < 144, "{cut}: nothing says that the file was cut");
        // Our own next recording there changes nothing before it goes on, behind the whole packets.
        let mut sink = DirectorySink::open(&cut_dir, directory::Options::default()).unwrap();
        assert_eq!(sink.kept_bytes(), end as u64);
        assert_eq!(std::fs::metadata(cut_dir.join("stream_0")).unwrap().len(), cut as u64);
        let earlier: Vec<_> = sink.earlier().cloned().into_iter().collect();
        image(&path, &earlier).run(&mut sink, &mut |_| true).unwrap();
        assert_eq!(Read::directory(&cut_dir).values, read.values, "cut at {cut}");
    }
    // A stream carries its own metadata: cut within that, there is a sentence instead of a trace.
    let stream = stream.into_inner();
    let read = Read::stream(&stream);
    let file = dir.path().join("stream");
    let text = metadata_packet::parse(&stream).unwrap().1;
    for cut in (0..text).step_by(13).chain(text..=stream.len()) {
        std::fs::write(&file, &stream[..cut]).unwrap();
        let before = read.ends.iter().rev().find(|(end, _)| *end <= cut).map_or(0, |(_, events)| *events);
        match fata_model::source::load(&file, Limits::default()) {
            Ok(trace) => assert!((before..=60).contains(&trace.events_total()), "{cut}"),
            Err(error) => assert!(before == 0 && !error.to_string().is_empty(), "{cut}: {error}"),
        }
    }
    drop(File::open(&file).unwrap());
}
