//! However fast a guest writes, the collector's own memory stays small. Alone in its file: the peak is the process's.

#[cfg(test)]
mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{TempDir, babeltrace_count, guest, install};
use fata_collector::sink::directory::{DirectorySink, Options as DirOptions};
use fata_collector::{Collector, End, Options};
use fata_probe::instant;
use fata_probe::region::Config;

/// Not a test: the process that writes as fast as it can.
#[test]
#[ignore = "started by the other test"]
fn child_guest() {
    let Some(dir) = std::env::var_os("FATA_TEST_CHILD") else { return };
    let config = Config { packets_per_stream: 256, ..Config::default() };
    let (_, region) = install(std::path::Path::new(&dir), "fast", &config);
    let _attached = region.attach(0).unwrap();
    for i in 0u64.. {
        instant!("memory.event", i = i);
    }
}

#[test]
fn the_peak_of_memory_stays_below_64_mib_while_a_guest_writes_at_full_speed() {
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
    let mut sink = DirectorySink::open(&out, DirOptions { keep_bytes: Some(64 << 20) }).unwrap();
    let options = Options { duration: Some(Duration::from_secs(3)), ..Options::default() };
    let mut collector = Collector::attach(&guest(&path), &options, &[]).unwrap();
    let end = collector.run(&mut sink, &mut |_| true);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(end.unwrap(), End::Stopped);
    let totals = collector.totals();
    let peak_kib: u64 = std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap();
    println!(
        "measured: {} events, {} MiB in 3 s; discarded {:?}; peak of memory {} MiB",
        totals.events,
        totals.bytes >> 20,
        totals.discarded,
        peak_kib >> 10
    );
    assert!(totals.events > 1_000_000, "{totals:?}");
    assert!(peak_kib < 64 << 10, "{peak_kib} KiB");
    assert!(babeltrace_count(&out).is_none_or(|events| events > 0));
}
