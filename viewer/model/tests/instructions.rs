//! What the model takes to read an event: a number of instructions that is kept in `instructions.txt`.
//!
//! Nanoseconds differ from machine to machine and from run to run; instructions do not. The file is written anew with
//! `FATA_BLESS=1 cargo test -p fata-model --test instructions`. Another compiler may need a few more, so a count may exceed the
//! one that is kept by [`TOLERANCE`].
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use fata_model::synthetic::Synthetic;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/instructions.txt");
/// Instructions by which an event may exceed what is kept.
const TOLERANCE: u64 = 5;
/// Spans of two traces, of which the longer one takes more by what its further events take. Both are long enough that rows
/// are packed and pyramids have grown.
const SPANS: [u64; 2] = [100_000, 300_000];

/// The optimised example that opens a trace.
fn measure() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--example", "measure", "--target-dir"]).arg(&target);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    assert!(cargo.status().unwrap().success(), "the example does not build");
    target.join("release/examples/measure")
}

/// Instructions in opening a trace of so many spans, and its events.
fn opened(program: &Path, spans: u64) -> Option<(u64, u64)> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("synthetic-{spans}"));
    Synthetic { spans, ..Synthetic::default() }.write_directory(&directory).unwrap();
    let result = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=fata_model::source::read_into"])
        .arg(program)
        .args(["--open", &spans.to_string()])
        .arg(&directory)
        .env("OPENS", "1")
        .output();
    let Ok(result) = result else {
        // Past the test's capture: a skip must be seen.
        std::io::stderr().write_all(b"SKIPPED: valgrind is not installed (package valgrind)\n").unwrap();
        return None;
    };
    let said = String::from_utf8_lossy(&result.stderr).into_owned();
    let count = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    assert!(count.is_some(), "callgrind counted nothing:\n{said}");
    let printed = String::from_utf8_lossy(&result.stdout).into_owned();
    let (before, _) = printed.split_once(" events").unwrap();
    Some((count?.parse().unwrap(), before.rsplit(' ').next().unwrap().parse().unwrap()))
}

#[test]
fn an_event_takes_no_more_instructions_than_are_kept() {
    let program = measure();
    let [Some(short), Some(long)] = SPANS.map(|spans| opened(&program, spans)) else { return };
    let events = long.1 - short.1;
    let count = (long.0 - short.0).div_ceil(events);
    assert!(events > 2 * (SPANS[1] - SPANS[0]), "{events} events more");
    if std::env::var_os("FATA_BLESS").is_some() {
        let text = format!(
            "# Instructions of the model for an event of the synthetic trace, counted by callgrind.\n\
             # Written by tests/instructions.rs.\n\
             event {count}\n"
        );
        std::fs::write(KEPT, text).unwrap();
    }
    let kept = std::fs::read_to_string(KEPT).unwrap();
    let kept: u64 = kept.lines().find_map(|line| line.strip_prefix("event ")?.parse().ok()).unwrap();
    assert!(count <= kept + TOLERANCE, "an event takes {count} instructions, {kept} are kept");
}
