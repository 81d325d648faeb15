//! LTTng-UST, where the machine has it (`liblttng-ust-dev`, `lttng-tools`, a C compiler): a small C program that is compiled
//! for the occasion, traced by a session in LTTng's own overwrite mode, with a ring as long as ours.
//!
//! Uses the session daemon that runs, or starts one and ends it afterwards.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use fata_wire::u64_at;

use super::compiled::Scratch;
use crate::burst;
use crate::case::{Case, Unit};
use crate::case_of;
use crate::served::Child;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lttng");
/// By the names of the cases; how many events a round has.
pub(super) const CASES: [(&str, u64); 2] = [("lttng-ust", 2 << 10), ("lttng-ust.burst", burst::EVENTS)];
/// So many are counted in bytes: they fill half of the ring.
const COUNTED: u64 = 128 << 10;
/// Where a packet of LTTng's says how much of it is used, in bits, and how long it is
/// (`lttng-ust`, `src/common/ringbuffer-clients/template.h`).
const CONTENT_SIZE: usize = 48;
const PACKET_SIZE: usize = 56;

/// A session, and the traced programs. What was made is unmade when this is dropped.
pub(super) struct Session {
    /// One for each case; they end before the session does.
    programs: Vec<Child>,
    name: String,
    daemon: Option<Process>,
    scratch: Scratch,
}

impl Session {
    /// Compiles the program and starts it in a session of its own, for each case.
    pub(super) fn start() -> Result<Self, String> {
        let scratch = Scratch::new("lttng")?;
        let program = scratch.compile(
            "cc",
            &["-O2", "-I", SOURCES, &format!("{SOURCES}/bench.c"), "-llttng-ust", "-ldl"].map(OsStr::new),
            "Debian's packages: liblttng-ust-dev, lttng-tools",
        )?;
        let name = format!("fata-bench-{}", std::process::id());
        let mut session = Session { programs: Vec::new(), name: name.clone(), daemon: daemon()?, scratch };
        let output = format!("--output={}", session.scratch.path().join("out").display());
        lttng(&["create", &name, "--snapshot", &output])?;
        let geometry = ["--overwrite", "--num-subbuf=64", "--subbuf-size=64k"];
        lttng(&[&["enable-channel", "--userspace", "--session", &name][..], &geometry, &["ring"]].concat())?;
        lttng(&["enable-event", "--userspace", "--session", &name, "--channel", "ring", "fata_bench:instant"])?;
        lttng(&["start", &name])?;
        for args in [&[][..], &["burst"]] {
            session.programs.push(Child::start(Command::new(&program).args(args))?);
        }
        Ok(session)
    }

    /// The cases, which have the session in common.
    pub(super) fn cases(self) -> Vec<Case> {
        let session = Rc::new(RefCell::new(self));
        let case = |(i, (name, events)): (usize, (&'static str, u64))| {
            let (rounds, snapshot) = (session.clone(), session.clone());
            let round = move |events| rounds.borrow_mut().round(i, events);
            // A burst's events are as long as others.
            let bytes = move || if i == 0 { snapshot.borrow_mut().bytes_per_event().map(Some) } else { Ok(None) };
            case_of(name, Unit::Event, events, round, bytes)
        };
        CASES.into_iter().enumerate().map(case).collect()
    }

    fn round(&mut self, program: usize, events: u64) -> Result<f64, String> {
        self.programs.get_mut(program).ok_or("not started")?.round(events)
    }

    /// What a known number of events takes of the ring, packet headers included, as a snapshot of it says.
    fn bytes_per_event(&mut self) -> Result<f64, String> {
        let name = self.name.clone();
        lttng(&["stop", &name])?;
        lttng(&["clear", &name])?;
        lttng(&["start", &name])?;
        self.round(0, COUNTED)?;
        lttng(&["stop", &name])?;
        let out = self.scratch.path().join("counted");
        lttng(&["snapshot", "record", "--session", &name, &format!("file://{}", out.display())])?;
        let bits = content_bits(&out).map_err(|error| format!("{}: {error}", out.display()))?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let bytes = bits as f64 / 8.0 / COUNTED as f64;
        Ok(bytes)
    }
}

/// What the packets of all stream files below `directory` hold in sum; `metadata` is no stream.
fn content_bits(directory: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // The index files hold the sizes once more.
            sum += if entry.file_name() == "index" { 0 } else { content_bits(&entry.path())? };
        } else if entry.file_name() != "metadata" {
            let stream = std::fs::read(entry.path())?;
            let mut rest = &stream[..];
            while let packet @ 1.. = usize::try_from(u64_at(rest, PACKET_SIZE) / 8).unwrap_or(usize::MAX) {
                sum += u64_at(rest, CONTENT_SIZE);
                rest = rest.get(packet..).unwrap_or(&[]);
            }
        }
    }
    Ok(sum)
}

impl Drop for Session {
    fn drop(&mut self) {
        self.programs.clear();
        let _ = lttng(&["destroy", &self.name]);
        if let Some(mut daemon) = self.daemon.take() {
            // Not killed outright: it ends its consumers.
            let ended = Command::new("kill").arg(daemon.id().to_string()).status();
            if ended.is_ok_and(|status| status.success()) {
                let _ = daemon.wait();
            }
        }
    }
}

/// A session daemon of ours, if none runs.
fn daemon() -> Result<Option<Process>, String> {
    if lttng(&["list"]).is_ok() {
        return Ok(None);
    }
    let daemon = Command::new("lttng-sessiond")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("lttng-sessiond does not start: {error} (Debian's package: lttng-tools)"))?;
    let mut tries = 50;
    while lttng(&["list"]).is_err() && tries > 0 {
        std::thread::sleep(Duration::from_millis(50));
        tries -= 1;
    }
    Ok(Some(daemon))
}

fn lttng(args: &[&str]) -> Result<(), String> {
    let output = Command::new("lttng")
        .arg("--no-sessiond")
        .args(args)
        .output()
        .map_err(|error| format!("lttng does not start: {error} (Debian's package: lttng-tools)"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("lttng {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
