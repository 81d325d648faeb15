//! However fast a guest writes and however long, the collector's own memory stays small, the cap is kept, and the sums are
//! exact; it records as `fata collect` does, and serves as many viewers as there may be, of which none reads. Alone in its file:
//! the peak of memory is the process's.
//!
//! Two seconds, or so many gigabytes: `FATA_ENDURANCE_GB=100 cargo test --release -p fata-collector --test memory -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[cfg(test)]
mod common;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{TempDir, babeltrace_count, guest, install, read_stream};
use fata_collector::collector::discarded_in_all;
use fata_collector::peek::peek;
use fata_collector::serve::{MAX_VIEWERS, Server};
use fata_collector::sink::directory::{DirectorySink, Options as DirOptions};
use fata_collector::sink::tee::Tee;
use fata_collector::sink::together::Together;
use fata_collector::{Collector, End, Options, Seat};
use fata_probe::instant;
use fata_probe::region::Config;
use fata_wire::shared::State;

const LIMIT_KIB: u64 = fata_collector::collector::WORST_CASE_BYTES as u64 >> 10;

/// Not a test: the process that writes as fast as it can, until it is told to end.
#[test]
#[ignore = "started by the other test"]
fn child_guest() {
    let Some(dir) = std::env::var_os("FATA_TEST_CHILD") else { return };
    let dir = Path::new(&dir);
    let config = Config { packets_per_stream: 256, ..Config::default() };
    let (_, region) = install(dir, "fast", &config);
    let _attached = region.attach(0).unwrap();
    let mut i = 0u64;
    while !i.is_multiple_of(1 << 16) || !dir.join("enough").exists() {
        instant!("memory.event", i = i);
        i += 1;
    }
    region.finish(State::Exited, "");
    std::fs::write(dir.join("produced"), i.to_string()).unwrap();
}

#[test]
fn the_peak_of_memory_stays_below_64_mib_while_a_guest_writes_at_full_speed_and_no_viewer_reads() {
    let wanted_gb: Option<u64> = std::env::var("FATA_ENDURANCE_GB").ok().map(|text| text.parse().unwrap());
    let keep_bytes: u64 = if wanted_gb.is_some() { 2 << 30 } else { 64 << 20 };
    let dir = TempDir::new("memory");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_guest", "--ignored"])
        .env("FATA_TEST_CHILD", &dir.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let path = dir.join(&format!("fast.{}.host", child.id()));
    while !path.exists() || guest(&path).open(true).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let out = dir.join("trace");
    let together = Together::new(DirectorySink::open(&out, DirOptions { keep_bytes: Some(keep_bytes) }).unwrap());
    let seat = Seat { number: 0, uuid: None, clock: None, says_wires: false };
    let options = Options { seat: Some(seat), ..Options::default() };
    let mut collector = Collector::attach(&guest(&path), &options, &[]).unwrap();
    let mut server = Server::new("fast", "host", collector.uuid());
    let viewers: Vec<_> = (0..MAX_VIEWERS)
        .map(|_| {
            let (end, viewer) = UnixStream::pair().unwrap();
            server.add(end).unwrap();
            viewer
        })
        .collect();
    let started = Instant::now();
    let mut most_kept_bytes = 0;
    let end = collector.run(&mut Tee(&mut together.seat(0), &mut server), &mut |status| {
        let enough = match wanted_gb {
            Some(gb) => status.totals.bytes >= gb * 1_000_000_000,
            None => started.elapsed() >= Duration::from_secs(2),
        };
        if enough {
            std::fs::write(dir.join("enough"), "").unwrap();
        }
        most_kept_bytes = most_kept_bytes.max(length(&out));
        true
    });
    let (elapsed, peak_kib) = (started.elapsed(), peak_kib());
    assert!(server.lost() > 0, "the queues were not filled");
    drop(viewers);
    assert!(child.wait().unwrap().success());
    assert_eq!(end.unwrap(), End::Exited);

    let totals = collector.totals();
    let discarded = discarded_in_all(&totals.discarded);
    println!(
        "measured: {} events, {} MB in {:.1} s; discarded {discarded}; peak of memory {} MiB; kept at most {} of {} MiB",
        totals.events,
        totals.bytes / 1_000_000,
        elapsed.as_secs_f64(),
        peak_kib >> 10,
        most_kept_bytes >> 20,
        keep_bytes >> 20,
    );
    assert!(totals.events > 1_000_000, "{totals:?}");
    assert!(peak_kib < LIMIT_KIB, "{peak_kib} KiB");
    assert!(most_kept_bytes <= keep_bytes && length(&out) <= keep_bytes, "{most_kept_bytes}");

    // What happened is what the writer counted, and for each silence (it may have to wait for a processor) a clock event.
    let produced: u64 = std::fs::read_to_string(dir.join("produced")).unwrap().parse().unwrap();
    let happened = peek(&guest(&path)).unwrap().produced();
    assert!((produced..produced + 1000).contains(&happened), "{happened} of {produced}");
    assert_eq!(totals.events + discarded, happened);

    let kept = check_kept(&out, produced);
    assert!(kept > 0 && kept <= totals.events);
    if let Some(counted) = babeltrace_count(&out) {
        assert_eq!(counted, kept, "babeltrace2 counts otherwise");
    }
}

/// Reads all that was kept, a file at a time: in each, the numbers of the events grow by one but for those that were discarded;
/// the last one also says what was discarded behind its last event.
fn check_kept(dir: &Path, produced: u64) -> u64 {
    let (mut events, mut next) = (0, None);
    let mut files: Vec<_> = streams(dir).collect();
    // Numbers have three digits, and more when there are more.
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    for (i, path) in files.iter().enumerate() {
        let read = read_stream(&std::fs::read(path).unwrap());
        events += read.events;
        assert_eq!(read.unfinished, 0);
        let (Some(&first), Some(&last)) = (read.values.first(), read.values.last()) else { continue };
        assert!(read.values.is_sorted_by(|a, b| a < b) && next.is_none_or(|next| first >= next));
        let clocks = read.events - read.values.len() as u64;
        assert!(clocks < 1000, "{clocks} events without a number");
        let end = if i + 1 == files.len() { produced } else { last + 1 };
        let accounted = read.values.len() as u64 + read.discarded_in_all();
        assert_eq!(end - first, accounted, "{}", path.display());
        next = Some(end);
    }
    events
}

fn streams(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    files(dir).filter(|path| path.file_name().is_some_and(|name| name != "metadata"))
}

fn files(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path())
}

/// Length of all that lies in `dir`, but for files that were dropped meanwhile.
fn length(dir: &Path) -> u64 {
    streams(dir).filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum()
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap()
}
