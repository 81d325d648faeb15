//! What the collector costs: processor time, and events that found no room, at several rates of a guest that is a process of
//! its own.
//!
//! ```text
//! cargo run --release -p fata-collector --example price            # the rates below, three seconds each
//! cargo run --release -p fata-collector --example price -- 20e6 10 # one rate, events/s, for ten seconds
//! ```
//! The guest writes an event without payload and one with a u64 in turn, in steps of a millisecond; rate 0 is as fast as it
//! can. Its ring has 4 MiB, as a guest's has by default; what is collected goes to a directory in shared memory that keeps 256 MiB.
#![expect(unsafe_code, reason = "a region is installed in a mapped file, as the host platform does")]

use std::error::Error;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fata_collector::collector::discarded_in_all;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::source::Guest;
use fata_collector::{Collector, Options};
use fata_probe::instant;
use fata_probe::region::{Config, Region};
use fata_wire::shared::Clock;

const RATES: [f64; 6] = [1e5, 1e6, 5e6, 2e7, 3e7, 0.0];
const SECONDS: f64 = 3.0;
const STEP: Duration = Duration::from_millis(1);
/// Makes this program the guest; the value is its ring's directory and rate.
const GUEST: &str = "FATA_PRICE_GUEST";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    if let Ok(value) = std::env::var(GUEST) {
        let (rate, dir) = value.split_once(' ').ok_or("no rate")?;
        return write(Path::new(dir), rate.parse()?);
    }
    let mut arguments = std::env::args().skip(1);
    let rates = match arguments.next() {
        Some(rate) => vec![rate.parse()?],
        None => RATES.to_vec(),
    };
    let seconds = arguments.next().map_or(Ok(SECONDS), |text| text.parse())?;
    println!(
        "{:>12} {:>12} {:>12} {:>12} {:>10} {:>8}",
        "asked/s", "read/s", "discarded/s", "MB/s", "% of core", "ns/event"
    );
    for rate in rates {
        measure(rate, Duration::from_secs_f64(seconds))?;
    }
    Ok(())
}

/// Collects from a guest of this rate and prints a line.
fn measure(rate: f64, time: Duration) -> Result<()> {
    let dir = Scratch::new()?;
    let guest = start(&dir.0, rate)?;
    let mut sink = DirectorySink::open(&dir.0.join("trace"), directory::Options { keep_bytes: Some(256 << 20) })?;
    let mut collector = Collector::attach(&guest.1, &Options { duration: Some(time), ..Options::default() }, &[])?;
    // What the ring held before is no part of the rate.
    collector.poll(&mut sink)?;
    let (before, cpu, started) = (collector.totals(), cpu_nanos()?, Instant::now());
    collector.run(&mut sink, &mut |_| true)?;
    let (after, cpu, elapsed) = (collector.totals(), cpu_nanos()? - cpu, started.elapsed());
    let per_second = |n: u64| n as f64 / elapsed.as_secs_f64();
    let events = after.events - before.events;
    println!(
        "{rate:>12.0} {:>12.0} {:>12.0} {:>12.1} {:>10.2} {:>8.2}",
        per_second(events),
        per_second(discarded_in_all(&after.discarded) - discarded_in_all(&before.discarded)),
        per_second(after.bytes - before.bytes) / 1e6,
        cpu as f64 / elapsed.as_nanos() as f64 * 100.0,
        cpu as f64 / events.max(1) as f64,
    );
    Ok(())
}

/// The time that all threads of this process have had a processor.
fn cpu_nanos() -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_ascii_whitespace().next().ok_or("no schedstat")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// A directory that goes with this.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = PathBuf::from(format!("/dev/shm/fata-price-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A guest that ends with this.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, rate: f64) -> Result<(Ends, Guest)> {
    let value = format!("{rate} {}", dir.display());
    let child = Command::new(std::env::current_exe()?).env(GUEST, value).stdin(Stdio::null()).spawn()?;
    let child = Ends(child);
    let path = dir.join(format!("price.{}.host", child.0.id()));
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Ok(guest) = Guest::at(&path)
            && guest.is_alive()
            && guest.open(false).is_ok()
        {
            return Ok((child, guest));
        }
        if Instant::now() > deadline {
            return Err("the guest does not start".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The guest: writes until it is killed.
fn write(dir: &Path, rate: f64) -> Result<()> {
    let pid = std::process::id();
    let config = Config { name: "price", pid, uuid: [1; 16], packets_per_stream: 64, ..Config::default() };
    let file =
        OpenOptions::new().create_new(true).read(true).write(true).open(dir.join(format!("price.{pid}.host")))?;
    file.set_len(config.total_bytes())?;
    let map = memmap2::MmapOptions::new().map_raw(&file)?;
    let memory = map.as_mut_ptr();
    std::mem::forget(map);
    // SAFETY: the mapping is forgotten, so it stays, and only this region touches it.
    let region =
        unsafe { Region::install(memory, config.total_bytes(), &config) }.map_err(|error| error.to_string())?;
    let _attached = region.attach(0).ok_or("no stream")?;
    let (ticks, time) = (fata_probe::ticks(), Instant::now());
    std::thread::sleep(Duration::from_millis(20));
    let hz = (fata_probe::ticks() - ticks) as f64 / time.elapsed().as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a frequency")]
    region.set_running(&Clock { hz: hz as u64, anchor_ticks: fata_probe::ticks(), ..Clock::default() });
    let started = Instant::now();
    let mut written = 0u64;
    loop {
        let due = if rate > 0.0 { started.elapsed().as_secs_f64() * rate } else { f64::INFINITY };
        let mut step = 0;
        while (written as f64) < due && step < 1 << 16 {
            instant!("price.plain");
            instant!("price.number", i = written);
            written += 2;
            step += 2;
        }
        fata_probe::control::poll();
        if rate > 0.0 && written as f64 >= due {
            std::thread::sleep(STEP);
        }
    }
}
