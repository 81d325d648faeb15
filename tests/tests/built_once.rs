//! What `tests/run` builds for its tests, the demo finds built: an empty cache is filled once.
//!
//! Cargo unites the features of what it builds together, and what is asked for with other features is another thing to build.
//! So the command alone, and everything with its tests, must ask the same of whatever comes from elsewhere.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Small, used by one other alone, and with its standard library by what compares pictures.
const TWICE: &str = "crossbeam-utils ";

/// The packages from elsewhere, each as `name version features`.
fn packages(edges: &str, which: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--locked", "--prefix", "none", "--format", "{p} [{f}]", "--edges", edges]);
    let output = cargo.args(which).current_dir(ROOT).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let foreign = lines.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.contains(" (/"));
    foreign.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_command_asks_of_its_dependencies_what_the_tests_ask_of_them() {
    let alone = packages("normal,build", &["--package", "fata"]);
    let with_tests = packages("normal,build,dev", &["--workspace", "--exclude", "fata-bench"]);
    let others: Vec<_> = alone.difference(&with_tests).filter(|package| !package.starts_with(TWICE)).collect();
    assert!(alone.len() > 100, "cargo tree lists {} packages", alone.len());
    assert_eq!(
        others, [""; 0],
        "these would be built a second time: let the manifests of the tests ask for the same features"
    );
}

/// The packages that a file of profiles says something of for `release`.
fn profiled(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(format!("{ROOT}/{file}")).unwrap();
    let sections = text.lines().filter_map(|line| line.strip_prefix("[profile.release.package.")?.strip_suffix(']'));
    sections.filter(|name| *name == "fata" || name.starts_with("fata-")).map(str::to_owned).collect()
}

#[test]
fn each_of_our_packages_is_optimised_for_people_and_checked_for_tests() {
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(["metadata", "--format-version=1", "--no-deps"]).current_dir(ROOT).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let members = metadata["packages"].as_array().unwrap().iter();
    let members: BTreeSet<_> = members.map(|package| package["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(profiled("Cargo.toml"), members);
    assert_eq!(profiled("tests/checked.toml"), members);
}
