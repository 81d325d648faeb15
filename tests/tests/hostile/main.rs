//! A hostile guest: it owns the guest's side of the shared memory and writes anything at any time, also between the
//! collector's reads of one word and the next.
//!
//! What must hold, attack by attack: the collector returns in bounded time, takes no more memory than [`MAX_GUEST_BYTES`],
//! publishes nothing but well-formed packets, and counts what it refused; an honest guest that the very same thread collects
//! from loses nothing. `FATA_HOSTILE_SECONDS` makes each attack last longer than its half second.
#![expect(unsafe_code, reason = "the guest's side of shared memory, and an allocator that counts")]
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test's helpers fail by panicking")]

mod allocator;
mod attacks;
mod memory;
mod reading;

use std::fs::OpenOptions;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fata_collector::collector::Poll;
use fata_collector::serve::{MAX_VIEWERS, QUEUE_BYTES, Server};
use fata_collector::sink::Sink;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::sink::stream::StreamSink;
use fata_collector::sink::tee::Tee;
use fata_collector::sink::together::Together;
use fata_collector::source::Guest;
use fata_collector::{Collector, Options, Seat, peek};
use fata_probe::instant;
use fata_probe::region::{Config, Region};
use fata_wire::describe::Record;
use fata_wire::event::{EventId, FIRST_CALLSITE, Header};
use fata_wire::packet::{Cause, HEADER_BYTES, MAX_PACKET_BYTES, at as packet_at};
use fata_wire::shared::{Clock, MAX_DESCRIPTION_BYTES, MAX_STREAMS, PAGE_BYTES, State, at};

use allocator::LIVE;
use attacks::{ATTACKS, Attack, committed, encoded};
use memmap2::MmapRaw;
use memory::{Memory, Random};
use reading::Reading;

/// What a collector may allocate for one guest, whatever the guest does, and whatever it records into: copies of packets, and
/// of the description what is not handed over yet.
const MAX_GUEST_BYTES: usize = 16 << 20;
/// What it may allocate where it serves viewers too, of which none reads: their queues, the newest packets, and all that was
/// described, as text.
const MAX_SERVED_BYTES: usize = 56 << 20;
/// No look at the ring may take longer, on a machine that does other things too.
const MAX_POLL: Duration = Duration::from_secs(2);

fn seconds() -> Duration {
    Duration::from_secs_f64(std::env::var("FATA_HOSTILE_SECONDS").map_or(0.3, |text| text.parse().unwrap()))
}

fn guest(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join(format!("{name}.{}.host", std::process::id()))
}

fn small(name: &'static str, description_bytes: u32) -> Config<'static> {
    Config { name, packets_per_stream: 8, packet_bytes: 4096, description_bytes, ..Config::default() }
}

/// The tests share the machine's cores, and the honest guest wants its own.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Ends the other threads also where a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets `attack` go on against a collector that also collects from an honest guest, and checks both.
fn withstand(name: &str, attack: Attack, description_bytes: u32) {
    let dir = tempfile::tempdir().unwrap();
    let (hostile_path, honest_path) = (guest(dir.path(), "hostile"), guest(dir.path(), "honest"));
    let memory = Memory::new(&hostile_path, &small("hostile", description_bytes));
    attack(&memory, &mut Random(1));
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&honest_path).unwrap();
    let config =
        Config { name: "honest", pid: std::process::id(), uuid: [9; 16], packets_per_stream: 64, ..Config::default() };
    file.set_len(config.total_bytes()).unwrap();
    let map = MmapRaw::map_raw(&file).unwrap();
    let start = map.as_mut_ptr();
    std::mem::forget(map);
    // SAFETY: the mapping was leaked, and only this region touches it.
    let honest = unsafe { Region::install(start, config.total_bytes(), &config) }.unwrap();
    honest.set_running(&Clock { hz: 1_000_000_000, ..Clock::default() });
    let mut good = Collector::attach(&Guest::at(&honest_path).unwrap(), &Options::default(), &[]).unwrap();
    let stop = AtomicBool::new(false);
    // To attach may take as long as a guest may take to start; an attack holds back until the collector has come.
    let arriving = AtomicBool::new(true);
    let collected = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        let hostile = scope.spawn(|| {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            while !stop.load(Ordering::Relaxed) {
                if arriving.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                } else {
                    attack(&memory, &mut random);
                }
            }
        });
        let writer = scope.spawn(|| {
            let _attached = honest.attach(0).unwrap();
            let mut produced = 0u64;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..100 {
                    instant!("honest.event", i = produced);
                    produced += 1;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            produced
        });
        // The guest's turns between the collector's reads, from the collector's own thread: no luck is needed.
        let random = std::cell::RefCell::new(Random(0x1234_5678_9abc_def1));
        let between = || attack(&memory, &mut random.borrow_mut());
        let mut bad_sink = Reading::new(Some(&between));
        let mut good_sink = Reading::new(None);
        let mut bad: Option<Collector> = None;
        let end = Instant::now() + seconds();
        let before = LIVE.get().0;
        LIVE.set((before, before));
        let mut slowest = Duration::ZERO;
        let mut refusals = 0u64;
        let mut guests = 0u64;
        while Instant::now() < end {
            let started = Instant::now();
            match &mut bad {
                None => {
                    arriving.store(true, Ordering::Relaxed);
                    let guest = Guest::at(&hostile_path).unwrap();
                    // What is there now is read or refused with a sentence; then the guest lays out its ring anew.
                    match guest.open(true) {
                        Err(error) => {
                            assert!(!error.to_string().is_empty());
                            refusals += 1;
                        }
                        Ok(_) => bad = Collector::attach(&guest, &Options::default(), &[]).ok(),
                    }
                    guests += u64::from(bad.is_some());
                    bad_sink = Reading::new(Some(&between));
                    restore(&memory);
                    arriving.store(bad.is_none(), Ordering::Relaxed);
                }
                Some(collector) => {
                    if let Poll::Ended(end) = collector.poll(&mut bad_sink).unwrap() {
                        assert!(!end.to_string().chars().any(char::is_control));
                        refusals += collector.totals().discarded[Cause::Refused as usize];
                        bad = None;
                        restore(&memory);
                    }
                }
            }
            slowest = slowest.max(started.elapsed());
            assert!(good.poll(&mut good_sink).is_ok());
            let _ = peek::peek(&Guest::at(&hostile_path).unwrap());
            collected.fetch_add(1, Ordering::Relaxed);
        }
        let peak = LIVE.get().1 - before;
        stop.store(true, Ordering::Relaxed);
        hostile.join().unwrap();
        let produced = writer.join().unwrap();
        if let Some(mut collector) = bad {
            collector.leave(&mut bad_sink).unwrap();
            refusals += collector.totals().discarded[Cause::Refused as usize];
        }
        good.leave(&mut good_sink).unwrap();
        println!(
            "measured {name}: {} looks at {guests} rings, slowest {slowest:?}, peak {} KiB, {} packets and {} events published, \
             {refusals} refusals; honest: {produced} produced, {} read",
            collected.load(Ordering::Relaxed),
            peak >> 10,
            bad_sink.packets,
            bad_sink.events,
            good_sink.events,
        );
        assert!(guests > 0, "{name}: the collector was never attached");
        assert!(slowest < MAX_POLL, "{name}: a look took {slowest:?}");
        assert!(peak < MAX_GUEST_BYTES, "{name}: the collector took {peak} bytes for one guest");
        assert_eq!(
            (good_sink.events, good_sink.lost, good_sink.out_of_order),
            (produced, 0, 0),
            "{name}: the honest guest"
        );
    });
}

/// Puts a geometry back that can be read, so that the next attack gets past the door.
fn restore(memory: &Memory) {
    let geometry = &memory.geometry;
    memory.put(at::VERSION as u64, u64::from(fata_wire::VERSION));
    memory.put(at::TOTAL_BYTES as u64, geometry.total_bytes);
    memory.put(at::DESCRIPTION_OFFSET as u64, geometry.description_offset);
    memory.put(at::DESCRIPTION_CAPACITY as u64, geometry.description_capacity);
    memory.put(at::CONTROL_OFFSET as u64, geometry.control_offset);
    memory.put(at::STREAMS_OFFSET as u64, geometry.streams_offset);
    memory
        .put(at::STREAM_COUNT as u64, u64::from(geometry.stream_count) | u64::from(geometry.packets_per_stream) << 32);
    memory.put(at::PACKET_BYTES as u64, u64::from(geometry.packet_bytes));
    memory.put(at::PLATFORM as u64, 1 | u64::from(State::Running as u32) << 32);
    memory.put(at::UUID as u64, 0);
    memory.put(at::UUID as u64 + 8, 0);
    memory.put(at::MAGIC as u64, fata_wire::shared::STORED_MAGIC);
}

#[test]
fn no_attack_crashes_hangs_or_bloats_the_collector_or_costs_another_guest_an_event() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (name, attack) in ATTACKS {
        withstand(name, *attack, 64 << 10);
    }
}

#[test]
fn the_largest_description_area_stays_below_the_bound_whatever_fills_it() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (name, attack) in ATTACKS
        .iter()
        .filter(|(name, _)| name.contains("names") || name.contains("callsites") || name.contains("facts"))
    {
        withstand(name, *attack, MAX_DESCRIPTION_BYTES as u32);
    }
}

#[test]
fn the_longest_packets_with_unfinished_records_in_every_stream_stay_below_the_bound() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let path = guest(dir.path(), "long");
    let config =
        Config { streams: MAX_STREAMS, packet_bytes: MAX_PACKET_BYTES, log_streams: 0, ..small("long", 64 << 10) };
    let memory = Memory::new(&path, &config);
    let before = LIVE.get().0;
    LIVE.set((before, before));
    let mut collector = Collector::attach(&Guest::at(&path).unwrap(), &Options::default(), &[]).unwrap();
    let together = Together::new(StreamSink::new(std::io::sink(), "nowhere"));
    let mut sink = together.seat(0);
    // A record that its writer never came back to makes the collector copy the packet twice.
    let busy = Header { ticks_low: 0, id: EventId::begin(FIRST_CALLSITE), busy: true, words: 3, arg: 3 }.pack();
    let first = memory.youngest() + 1;
    // Each a little longer than the one before, so that what holds it grows step by step.
    for (number, words) in (first..).zip((1000..MAX_PACKET_BYTES as usize / 8 - HEADER_BYTES / 8).step_by(1500)) {
        let mut content = vec![0; words];
        content[0] = busy;
        for stream in 0..MAX_STREAMS {
            memory.publish_in(stream, number, number * 10, &content);
        }
        drop(content);
        collector.poll(&mut sink).unwrap();
    }
    collector.leave(&mut sink).unwrap();
    let peak = LIVE.get().1 - before;
    println!("measured the longest packets: {:?}, peak {} KiB", collector.totals(), peak >> 10);
    assert!(collector.totals().unfinished > u64::from(MAX_STREAMS), "{:?}", collector.totals());
    assert!(peak < MAX_GUEST_BYTES, "{peak} bytes");
}

/// Collects from a guest that describes all it can, again and again, into `sink`, and says how much memory that took at most.
fn collect_descriptions(
    memory: &Memory,
    path: &Path,
    attack: Attack,
    seat: Option<Seat>,
    sink: &mut dyn Sink,
) -> usize {
    let mut random = Random(0x1234_5678_9abc_def1);
    let before = LIVE.get().0;
    LIVE.set((before, before));
    let options = Options { seat, ..Options::default() };
    let mut collector = Collector::attach(&Guest::at(path).unwrap(), &options, &[]).unwrap();
    let end = Instant::now() + seconds();
    let mut content = Vec::new();
    while Instant::now() < end {
        collector.poll(sink).unwrap();
        sink.tick(&collector.status()).unwrap();
        attack(memory, &mut random);
        let number = memory.youngest() + 1;
        content.resize(400, committed(&mut random));
        memory.publish(number, number * 400, &content);
    }
    collector.leave(sink).unwrap();
    assert!(collector.totals().packets > 1);
    LIVE.get().1 - before
}

#[test]
fn a_recording_takes_no_more_memory_the_more_a_guest_describes_and_a_server_no_more_than_is_said() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let describing =
        ATTACKS.iter().filter(|(name, _)| ["names", "callsites", "facts"].iter().any(|what| name.contains(what)));
    for (name, attack) in describing {
        let dir = tempfile::tempdir().unwrap();
        let path = guest(dir.path(), "hostile");
        let directory =
            |name: &str| DirectorySink::open(&dir.path().join(name), directory::Options::default()).unwrap();
        let lay_out = || {
            let memory = Memory::new(&path, &small("hostile", MAX_DESCRIPTION_BYTES as u32));
            attack(&memory, &mut Random(1));
            memory
        };
        // As `fata collect` records.
        let together = Together::new(directory("collected"));
        let seat = Seat { number: 0, uuid: None, clock: None, says_wires: false };
        let collected = collect_descriptions(&lay_out(), &path, *attack, Some(seat), &mut together.seat(0));
        // As `fata serve -o DIR` does, for as many viewers as it takes.
        let mut recording = directory("served");
        let mut server = Server::new("hostile", "host", [7; 16]);
        let viewers: Vec<_> = (0..MAX_VIEWERS)
            .map(|_| {
                let (end, viewer) = UnixStream::pair().unwrap();
                server.add(end).unwrap();
                viewer
            })
            .collect();
        let queues = MAX_VIEWERS * QUEUE_BYTES;
        let mut tee = Tee(&mut recording, &mut server);
        let served = queues + collect_descriptions(&lay_out(), &path, *attack, None, &mut tee);
        let described = std::fs::metadata(dir.path().join("served/metadata")).unwrap().len();
        assert_eq!(server.viewers(), MAX_VIEWERS);
        println!(
            "measured {name}: {} KiB of metadata; to record it took {} KiB, to serve it {} KiB",
            described >> 10,
            collected >> 10,
            served >> 10
        );
        drop(viewers);
        assert!(collected < MAX_GUEST_BYTES, "{name}: {collected} bytes to record");
        assert!(served < MAX_SERVED_BYTES, "{name}: {served} bytes to serve");
    }
}

#[test]
fn a_guest_that_cuts_its_own_file_ends_its_recording_and_not_the_collector() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    for kept_pages in (0..10).rev() {
        let path = guest(dir.path(), &format!("cut{kept_pages}"));
        let memory = Memory::new(&path, &small("cut", 4096));
        let mut collector = Collector::attach(&Guest::at(&path).unwrap(), &Options::default(), &[]).unwrap();
        let number = memory.youngest();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(kept_pages * PAGE_BYTES as u64).unwrap();
        let mut sink = Reading::new(None);
        for _ in 0..3 {
            if let Poll::Ended(_) = collector.poll(&mut sink).unwrap() {
                break;
            }
        }
        collector.leave(&mut sink).unwrap();
        assert!(sink.packets <= number + 3, "zeros were taken for packets");
        assert!(peek::peek(&Guest::at(&path).unwrap()).is_err());
    }
}

#[test]
fn what_a_guest_lies_about_is_counted_as_refused_and_what_came_before_is_kept() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let path = guest(dir.path(), "liar");
    let memory = Memory::new(&path, &small("liar", 64 << 10));
    let mut collector = Collector::attach(&Guest::at(&path).unwrap(), &Options::default(), &[]).unwrap();
    let mut sink = Reading::new(None);
    collector.poll(&mut sink).unwrap();
    let honest = sink.events;
    assert!(honest > 100);
    // A packet of ten events of which the third is none.
    let number = memory.youngest() + 1;
    let good = Header { ticks_low: 0, id: EventId::begin(FIRST_CALLSITE), busy: false, words: 0, arg: 0 }.pack();
    let mut content = [good; 10];
    content[2] = Header { ticks_low: 0, id: EventId::begin(4000), busy: false, words: 0, arg: 0 }.pack();
    memory.put(memory.geometry.packet_offset(0, number - 1) + packet_at::LOCK as u64, 2 * number);
    memory.publish(number, 1000, &content);
    collector.leave(&mut sink).unwrap();
    let refused = collector.totals().discarded[Cause::Refused as usize];
    assert!(refused >= 8, "{refused} refused");
    assert_eq!(sink.last.unwrap().2[Cause::Refused as usize], refused, "the trace says it too");
    assert_eq!(collector.warnings(), Vec::<String>::new());
    // A record that is none, and then a name twice.
    for (record, said) in [(vec![0xff; 64], "damaged"), (encoded(&Record::Name { id: 4097, text: "x" }), "refused")] {
        let path = guest(dir.path(), said);
        let memory = Memory::new(&path, &small("liar", 64 << 10));
        memory.describe([record.clone(), record].into_iter());
        let mut collector = Collector::attach(&Guest::at(&path).unwrap(), &Options::default(), &[]).unwrap();
        collector.leave(&mut Reading::new(None)).unwrap();
        assert!(collector.warnings().iter().any(|warning| warning.contains(said)), "{:?}", collector.warnings());
    }
}
