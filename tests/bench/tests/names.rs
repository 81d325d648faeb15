//! The cases by name: programs that read `--json` know them.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

/// What a report on tracing's price is made of.
const WANTED: [&str; 14] = [
    "floor",
    "fata.instant",
    "fata.u64",
    "fata.span",
    "fata.counter",
    "fata.fields4",
    "fata.disabled",
    "fata.compiled_out",
    "fata.switch",
    "tracy",
    "fastrace",
    "puffin",
    "tracing-chrome",
    "lttng-ust",
];
/// What is measured in bursts too.
const BURSTS: [&str; 7] = ["floor", "fata.instant", "fata.span", "tracy", "fastrace", "puffin", "lttng-ust"];

fn listed() -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_fata-bench")).arg("--list").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_case_that_others_compare_by_is_there_under_its_name_and_no_name_is_there_twice() {
    let listed = listed();
    let names: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(names.len(), listed.len(), "a name twice: {listed:?}");
    let logs = ["log", "quill", "tracing-appender", "env_logger", "defmt"];
    let logs = logs.iter().flat_map(|logger| ["0", "1", "3"].map(|fields| format!("{logger}.{fields}")));
    let bursts = BURSTS.map(|name| format!("{name}.burst"));
    for name in WANTED.map(str::to_owned).into_iter().chain(bursts).chain(logs) {
        assert!(names.contains(name.as_str()), "{name} is not among {names:?}");
    }
}
