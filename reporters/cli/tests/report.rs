//! From a guest through its rings and a reporter to a real receiver: what arrives is in order, and with what is told as lost it
//! is what the guest made, level by level.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;
#[path = "../../tests/common/mod.rs"]
mod receivers;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use common::{Ends, Place, text_of};
use fata_wire::field::Level;
use fata_wire::log::{Account, levels_of};
use fata_wire::shared::Geometry;
use receivers::rsyslog::Rsyslog;
use receivers::wait_until;

/// How many of each level.
type Counted = BTreeMap<String, u64>;

/// How many records the place's only guest has numbered, by its own account.
fn made(place: &Place) -> Counted {
    let ring = std::fs::read_dir(place.0.join("rings")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(ring).unwrap();
    let geometry = Geometry::parse(bytes.first_chunk().unwrap(), bytes.len() as u64).unwrap();
    let mut made = Counted::new();
    for stream in 0..geometry.log_streams {
        let account = Account::parse(&bytes[geometry.log_account(geometry.stream_count + stream)..]);
        for (level, offered) in levels_of(stream % 2).into_iter().zip(account.offered) {
            *made.entry(level.text().to_owned()).or_default() += offered;
        }
    }
    made.retain(|_, count| *count > 0);
    made
}

/// The counts of a loss's sentence: `discarded 1,222 records (22 WARN, 1,200 DEBUG; …`.
fn told(sentence: &str, into: &mut Counted) {
    let (_, counts) = sentence.split_once(" (").unwrap();
    let (counts, _) = counts.split_once(';').unwrap();
    for part in counts.split(", ") {
        let (count, level) = part.split_once(' ').unwrap();
        *into.entry(level.to_ascii_lowercase()).or_default() += count.replace(',', "").parse::<u64>().unwrap();
    }
}

#[test]
fn a_file_gets_a_flood_in_order_and_with_its_losses_all_that_the_guest_made() {
    let place = Place::new("report-file");
    let flood = ["run", "chatter", "rounds=2000", "pause_ms=0", "log=debug", "log_kib=16", "log_rate=0"];
    assert!(place.guest(&flood).0.wait().unwrap().success());
    let said = place.run(&["log", "chatter", "--level", "debug", "--no-history", "--to", "file:log.json,json"]);
    assert!(said.status.success(), "{}", text_of(&said.stderr));

    let (mut records, mut lost, mut times) = (Counted::new(), Counted::new(), Vec::new());
    for line in std::fs::read_to_string(place.0.join("log.json")).unwrap().lines() {
        let item: serde_json::Value = serde_json::from_str(line).unwrap();
        if item["discarded"].is_null() {
            assert!(item["late"].is_null(), "{item}");
            *records.entry(item["level"].as_str().unwrap().to_owned()).or_default() += 1;
            times.push(item["nanos"].as_i64().unwrap());
        } else {
            // Nobody has measured what a ring wrote over, and nobody says so.
            assert_eq!((&item["cause"], &item["bytes"]), (&"overwritten".into(), &serde_json::Value::Null), "{item}");
            for (level, count) in item["discarded_by_level"].as_object().unwrap() {
                *lost.entry(level.clone()).or_default() += count.as_u64().unwrap();
            }
        }
    }
    assert!(times.is_sorted());
    assert!(lost["debug"] > 1000 && records["debug"] > 50, "{records:?} {lost:?}");
    let mut sum = records;
    lost.into_iter().for_each(|(level, count)| *sum.entry(level).or_default() += count);
    assert_eq!(sum, made(&place));
}

#[test]
fn a_real_rsyslog_that_is_stopped_meanwhile_gets_a_guest_in_order_and_with_its_losses_all_that_it_made() {
    let Some(server) = Rsyslog::start() else { return };
    let place = Place::new("report-syslog");
    let mut guest = place.guest(&["run", "chatter", "rounds=4000", "pause_ms=1", "log=debug", "log_rate=0"]);
    place.wait_until_listed("running");
    let to = format!("syslog:tcp://127.0.0.1:{},buffer=64K", server.tcp);
    let follow = ["log", "chatter", "--follow", "--level", "debug", "--no-history", "--to", &to];
    let mut following = Ends(place.fata(&follow).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    wait_until("the first messages arrive", || server.lines().len() > 100);
    server.signal("STOP");
    std::thread::sleep(Duration::from_millis(1500));
    server.signal("CONT");
    assert!(guest.0.wait().unwrap().success());
    assert!(following.0.wait().unwrap().success());
    let said = std::io::read_to_string(following.0.stderr.take().unwrap()).unwrap();
    wait_until("the last message arrives", || server.lines().iter().any(|line| line.contains("chatter ends")));

    let (mut sum, mut times, mut losses) = (Counted::new(), Vec::new(), 0);
    let lines = server.lines();
    for line in &lines {
        let parts: Vec<_> = line.splitn(8, '|').collect();
        if parts[3] == "fata.reporters" {
            losses += 1;
            told(parts[7], &mut sum);
        } else {
            *sum.entry(level_of(parts[0])).or_default() += 1;
            times.push(parts[1].to_owned());
        }
    }
    assert!(times.is_sorted());
    println!("measured: {} messages, {losses} of them tell of losses", lines.len());
    // Syslog has one word for two of our levels, and another for two more.
    let mut expected = Counted::new();
    made(&place).into_iter().for_each(|(level, count)| *expected.entry(merged(&level)).or_default() += count);
    let mut merged_sum = Counted::new();
    sum.into_iter().for_each(|(level, count)| *merged_sum.entry(merged(&level)).or_default() += count);
    assert_eq!(merged_sum, expected, "{said}");
}

/// The level of a syslog priority: facility × 8 + severity.
fn level_of(priority: &str) -> String {
    let severity = priority.parse::<u32>().unwrap() % 8;
    let level = match severity {
        3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    };
    level.text().to_owned()
}

/// What remains of a level in syslog.
fn merged(level: &str) -> String {
    match level {
        "app" => "info",
        "trace" => "debug",
        other => other,
    }
    .to_owned()
}
