//! What the compiler makes of a probe: nothing where probes are compiled out, a load and a branch where they are off, and
//! where they are on a number of instructions that is kept in `instructions.txt`.
//!
//! Nanoseconds differ from machine to machine and from run to run; instructions do not. The file is written anew with
//! `FATA_BLESS=1 cargo test -p fata-bench --test machine_code`. Another compiler may need a few more, so a count may exceed
//! the one that is kept by [`TOLERANCE`].
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
/// Instructions by which a probe may exceed what is kept.
const TOLERANCE: u64 = 3;
/// The functions of `src/hot.rs` with a probe in them.
const PROBED: [&str; 8] = ["plain", "one_u64", "fields4", "spanned", "disabled", "log_three", "log_off", "log_flooded"];

/// The optimised program with or without probes, built by itself: Cargo unites the features of what it builds together. What comes
/// from elsewhere it may find built where this test was.
fn program(probed: bool) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(if probed { "probed" } else { "unprobed" });
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--no-default-features", "--target-dir"]).arg(&target);
    cargo.env("CARGO_BUILD_BUILD_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/.."));
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    if probed {
        cargo.args(["--features", "profiling"]);
    }
    assert!(cargo.status().unwrap().success(), "the program does not build");
    target.join("release/fata-bench")
}

/// Says so past the test's capture: a skip must be seen.
fn skip(tool: &str, package: &str) {
    let said = format!("SKIPPED: {tool} is not installed (package {package})\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

/// What `tool` says, or `None` where the machine does not have it.
fn output(tool: &str, args: &[&str], program: &Path) -> Option<String> {
    let Ok(output) = Command::new(tool).args(args).arg(program).output() else {
        skip(tool, "binutils");
        return None;
    };
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where the functions of `src/hot.rs` lie, as the program itself says.
fn addresses(program: &Path) -> BTreeMap<String, String> {
    let said = Command::new(program).arg("--where").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let pair = |line: &str| line.split_once(' ').map(|(name, address)| (name.to_owned(), address.to_owned()));
    said.lines().filter_map(pair).collect()
}

/// The instructions of the function `name`, each as `mnemonic operands`.
fn disassembly(program: &Path, name: &str) -> Option<Vec<String>> {
    let symbol = format!("--disassemble=fata_bench::hot::{name}");
    let text = output("objdump", &["-C", "-M", "intel", "--no-show-raw-insn", &symbol], program)?;
    let instruction = |line: &str| {
        let (_, instruction) = line.split_once(":\t")?;
        Some(instruction.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let list: Vec<_> = text.lines().filter_map(instruction).filter(|text| text != "int3").collect();
    assert!(!list.is_empty(), "objdump found no {name}");
    Some(list)
}

#[test]
fn a_probe_that_is_compiled_out_leaves_no_trace_in_the_machine_code() {
    let program = program(false);
    let addresses = addresses(&program);
    for name in PROBED {
        // A compiler that finds the code of two functions equal may keep one of them: then they are at one address.
        if addresses[name] == addresses["bare"] {
            continue;
        }
        let Some(with) = disassembly(&program, name) else { return };
        let without = disassembly(&program, "bare").unwrap();
        assert_eq!(with, without, "{name} differs from the function without the macro");
    }
    let Some(symbols) = output("nm", &["-C"], &program) else { return };
    // The compiler may have kept any of the functions that it found equal.
    assert!(symbols.contains("fata_bench::hot::"), "nm reads no symbols");
    assert!(!symbols.contains("CALLSITE"), "a callsite is in the program");
}

#[test]
fn a_probe_that_is_compiled_in_is_seen_by_the_same_comparison() {
    let addresses = addresses(&program(true));
    for name in PROBED {
        assert_ne!(addresses[name], addresses["bare"], "{name}");
    }
}

#[test]
fn a_probe_that_is_off_is_one_load_and_one_branch() {
    let program = program(true);
    let (Some(off), Some(bare)) = (disassembly(&program, "disabled"), disassembly(&program, "bare")) else { return };
    // Up to its branch the function is the one without a probe, but for the load of the callsite's word and its test.
    let branch = off.iter().position(|text| text.starts_with('j')).unwrap();
    let own: Vec<_> = off[..=branch].iter().filter(|text| !same_work(text, &bare)).collect();
    assert!(
        matches!(&own[..], [load, test, branch]
            if load.contains("CALLSITE") && (test.starts_with("test ") || test.starts_with("cmp ")) && branch.starts_with('j'))
            || matches!(&own[..], [test, branch] if test.contains("CALLSITE") && branch.starts_with('j')),
        "{own:#?}"
    );
    // Where it branches to, or where it goes on, there is nothing left to do but return.
    let (_, target) = off[branch].split_once(' ').unwrap();
    let address = target.split_whitespace().next().unwrap();
    let text = output("objdump", &["-d", "-M", "intel", "--no-show-raw-insn"], &program).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{address}:"))).unwrap();
    assert!(line.ends_with("ret") || off[branch + 1] == "ret", "after the branch comes `{line}`");
}

/// Whether an instruction is one of `bare`'s, whatever the distance to the static that it names.
fn same_work(text: &str, bare: &[String]) -> bool {
    let shape = |text: &str| text.split(['+', '#']).next().map(str::to_owned);
    bare.iter().any(|other| shape(other) == shape(text))
}

#[test]
fn the_hot_paths_take_no_more_instructions_than_are_kept() {
    let program = program(true);
    let Some(counted) = PROBED.iter().map(|name| Some((*name, own_instructions(&program, name)?))).collect() else {
        return;
    };
    let counted: BTreeMap<&str, u64> = counted;
    if std::env::var_os("FATA_BLESS").is_some() {
        let mut text = String::from(
            "# Instructions of a probe (of a span: begin and end), counted by callgrind; the work around it not included.\n\
             # Written by tests/machine_code.rs.\n",
        );
        for (name, count) in &counted {
            text += &format!("{name} {count}\n");
        }
        std::fs::write(KEPT, text).unwrap();
    }
    let kept = std::fs::read_to_string(KEPT).unwrap();
    for line in kept.lines().filter(|line| !line.starts_with('#')) {
        let (name, kept) = line.split_once(' ').unwrap();
        let (count, kept) = (counted[name], kept.parse::<u64>().unwrap());
        assert!(count <= kept + TOLERANCE, "{name} takes {count} instructions, {kept} are kept: {counted:?}");
    }
    assert_eq!(kept.lines().filter(|line| !line.starts_with('#')).count(), PROBED.len(), "a probe is not kept");
}

/// Instructions per call of the function `name`, less those of the function without a probe.
fn own_instructions(program: &Path, name: &str) -> Option<u64> {
    // The first call describes the callsite, and is in both; the second count stays within a packet.
    let per_call = |name: &str| Some((collected(program, name, 900)? - collected(program, name, 100)?) / 800);
    Some(per_call(name)? - per_call("bare")?)
}

/// Instructions in so many calls of the function `name` and in what it calls.
fn collected(program: &Path, name: &str, calls: u64) -> Option<u64> {
    let toggle = format!("--toggle-collect=fata_bench::hot::{name}");
    let result = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", &toggle])
        .arg(program)
        .args(["--call", name, &calls.to_string()])
        .output();
    let Ok(result) = result else {
        skip("valgrind", "valgrind");
        return None;
    };
    let said = String::from_utf8_lossy(&result.stderr).into_owned();
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    let count = count.and_then(|(_, count)| count.trim().parse().ok());
    assert!(count.is_some(), "callgrind counted nothing:\n{said}");
    count
}
