//! A booted image, for tests: QEMU with its memory in a file, as `fata run --platform qemu` starts it.
//!
//! ```ignore
//! let Some(machine) = Machine::boot("microvm", "sample=hello", &[]) else { return };   // said aloud: no QEMU here
//! let ended = machine.wait(Duration::from_secs(20));
//! assert_eq!(ended.code, Some(0));
//! ```
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fata_collector::sink::stream::StreamSink;
use fata_collector::source::Guest;
use fata_collector::{Collector, Options, request};
use fata_model::ingest::{Ingest, Limits};
use fata_model::source as trace_source;
use fata_model::trace::Trace;
use fata_tests::image;
use fata_tests::skipped::{is_quick, skipped};
use fata_wire::describe::{Record, Records};
use fata_wire::field::Kind;
use fata_wire::packet::{Packet, metadata_packet};
use fata_wire::shared::{Clock, Geometry, MESSAGE_BYTES, State, Status, at, text_at};

const QEMU: &str = "qemu-system-x86_64";

/// A running machine; it is ended when dropped.
pub(crate) struct Machine {
    child: Child,
    console: Arc<Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    memory: PathBuf,
    started: Instant,
}

/// What a machine left behind.
pub(crate) struct Ended {
    /// The guest's exit code; `None` where QEMU ended without being told one (a reset, a signal).
    pub(crate) code: Option<i32>,
    pub(crate) console: String,
    pub(crate) memory: Memory,
}

/// The file of a machine's memory, removed when dropped.
pub(crate) struct Memory(PathBuf);

impl Machine {
    /// Boots the image on the machine type `machine` with the boot parameters `append`, and further arguments for QEMU.
    /// `None`, said aloud, where QEMU is not installed; with CI=true that fails.
    pub(crate) fn boot(machine: &str, append: &str, more: &[&str]) -> Option<Self> {
        is_possible().then(|| Machine::start(image::image(), machine, append, more))
    }

    /// As [`boot`](Machine::boot), of the image without probes.
    pub(crate) fn boot_plain(machine: &str, append: &str, more: &[&str]) -> Option<Self> {
        is_possible().then(|| Machine::start(image::plain_image(), machine, append, more))
    }

    fn start(image: &Path, machine: &str, append: &str, more: &[&str]) -> Self {
        static COUNT: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut count = COUNT.lock().unwrap();
            *count += 1;
            *count
        };
        let directory = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let memory = directory.join(format!("fata-test-{}-{number}", std::process::id()));
        let mut child = Command::new(QEMU)
            .args(["-accel", "tcg", "-m", "64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-M", &format!("{machine},memory-backend=ram")])
            .args(["-object", &format!("memory-backend-file,id=ram,size=64M,share=on,mem-path={}", memory.display())])
            .args(["-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
            .arg("-kernel")
            .arg(image)
            .args(["-append", append])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let console = Arc::new(Mutex::new(Vec::new()));
        let mut output = child.stdout.take().unwrap();
        let sink = Arc::clone(&console);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                sink.lock().unwrap().extend_from_slice(&bytes[..len]);
            }
        });
        // The form of name by which a collector knows whose memory it is.
        let named = directory.join(format!("fata-test-{number}.{}.qemu", child.id()));
        let started = Instant::now();
        while !memory.exists() && started.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::fs::rename(&memory, &named).unwrap();
        Machine { child, console, reader: Some(reader), memory: named, started }
    }

    /// What the guest has written so far.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&self.console.lock().unwrap()).replace('\r', "")
    }

    /// Waits until the guest has written `text`.
    pub(crate) fn wait_for(&self, text: &str, at_most: Duration) {
        while !self.console().contains(text) {
            assert!(self.started.elapsed() < at_most, "{text:?} did not appear: {}", self.console());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the machine's end.
    pub(crate) fn wait(mut self, at_most: Duration) -> Ended {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(self.started.elapsed() < at_most, "the machine does not end: {}", self.console());
            std::thread::sleep(Duration::from_millis(2));
        };
        self.reader.take().unwrap().join().unwrap();
        Ended {
            // isa-debug-exit makes `code` into 2 code + 1.
            code: status.code().filter(|status| status & 1 == 1).map(|status| status >> 1),
            console: self.console(),
            memory: Memory(std::mem::take(&mut self.memory)),
        }
    }

    /// The processor time that QEMU has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The command's name, in parentheses, may hold spaces; then the 12th and 13th are user and system time in ticks
        // of 10 ms.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// What the guest answers to a request.
    pub(crate) fn ask(&self, line: &str) -> String {
        request::ask(&self.guest(), line, request::PATIENCE).unwrap().text
    }

    /// The guest, as a collector finds it.
    pub(crate) fn guest(&self) -> Guest {
        Guest::at(&self.memory).unwrap()
    }

    /// The ring as it is now, while the guest runs.
    pub(crate) fn ring(&self) -> Ring {
        Ring::read(&self.memory)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.memory.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.memory);
        }
    }
}

impl Memory {
    pub(crate) fn ring(&self) -> Ring {
        Ring::read(&self.0)
    }

    /// The ring as a trace.
    pub(crate) fn trace(&self) -> Trace {
        let stream = snapshot(&Guest::at(&self.0).unwrap());
        let mut ingest = Ingest::new(Limits::default());
        let mut reader = trace_source::from_read("ring", std::io::Cursor::new(stream)).unwrap();
        trace_source::read_into(&mut reader, &mut ingest).unwrap();
        ingest.finish()
    }

    /// Whether the memory holds a trace ring.
    pub(crate) fn has_ring(&self) -> bool {
        Guest::at(&self.0).unwrap().open(false).is_ok()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the trace ring in a machine's memory says, read by the format crate.
pub(crate) struct Ring {
    pub(crate) state: State,
    pub(crate) message: String,
    pub(crate) clock: Clock,
    /// The names of all events, in order.
    pub(crate) events: Vec<String>,
    /// The log records, as `level target`.
    pub(crate) logs: Vec<String>,
    pub(crate) unfinished: usize,
}

impl Ring {
    fn read(path: &Path) -> Self {
        let guest = Guest::at(path).unwrap();
        let memory = guest.open(false).unwrap();
        let page = memory.header_page();
        let geometry = Geometry::parse(&page, u64::MAX).unwrap();
        let status = Status::parse(&page, &geometry);
        let mut description = Vec::new();
        let described = usize::try_from(status.description_used).unwrap();
        memory.copy(usize::try_from(geometry.description_offset).unwrap(), described, &mut description);
        let names: std::collections::HashMap<u16, (String, Option<String>)> = Records::new(&description)
            .filter_map(|record| match record.unwrap() {
                Record::Callsite(callsite) => {
                    let log = format!("{} {}", callsite.level.text(), callsite.category);
                    Some((callsite.id, (callsite.name.to_owned(), (callsite.kind == Kind::Log).then_some(log))))
                }
                _ => None,
            })
            .collect();

        let bytes = snapshot(&guest);
        let (mut rest, mut events, mut logs, mut unfinished) = (&bytes[..], Vec::new(), Vec::new(), 0);
        while !rest.is_empty() {
            if let Ok((_, len)) = metadata_packet::parse(rest) {
                rest = &rest[len..];
                continue;
            }
            let packet = Packet::parse(rest).unwrap();
            for event in packet.events() {
                let id = event.unwrap().id;
                if id.callsite() == fata_wire::event::UNFINISHED {
                    unfinished += 1;
                } else if let Some((name, log)) = names.get(&id.callsite()) {
                    events.push(name.clone());
                    logs.extend(log.clone());
                }
            }
            rest = &rest[packet.bytes.len()..];
        }
        let message = String::from_utf8_lossy(text_at(&page, at::MESSAGE, MESSAGE_BYTES)).into_owned();
        Ring { state: status.state, message, clock: status.clock, events, logs, unfinished }
    }
}

/// What the ring of `guest` holds now, as a trace stream.
fn snapshot(guest: &Guest) -> Vec<u8> {
    let mut sink = StreamSink::new(Vec::new(), "ring");
    let mut collector = Collector::attach(guest, &Options { snapshot: true, ..Options::default() }, &[]).unwrap();
    collector.run(&mut sink, &mut |_| false).unwrap();
    sink.into_inner()
}

/// Whether a machine can be booted here. Says so aloud where it cannot, and fails if it must.
pub(crate) fn is_possible() -> bool {
    if is_quick() {
        return false;
    }
    let installed = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !installed {
        skipped(&format!("{QEMU} is not installed (package qemu-system-x86)"));
    }
    installed
}
