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

/// The accounts of the place's only guest: ordinary and reserved streams in turn.
fn accounts(place: &Place) -> Vec<Account> {
    let ring = std::fs::read_dir(place.0.join("rings")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(ring).unwrap();
    let geometry = Geometry::parse(bytes.first_chunk().unwrap(), bytes.len() as u64).unwrap();
    let streams = geometry.stream_count..geometry.stream_count + geometry.log_streams;
    streams.map(|stream| Account::parse(&bytes[geometry.log_account(stream)..])).collect()
}

/// How many records the place's only guest has numbered, by its own account.
fn made(place: &Place) -> Counted {
    let mut made = Counted::new();
    for (account, class) in accounts(place).iter().zip([0, 1].into_iter().cycle()) {
        for (level, offered) in levels_of(class).into_iter().zip(account.offered) {
            *made.entry(level.text().to_owned()).or_default() += offered;
        }
    }
    made.retain(|_, count| *count > 0);
    made
}

/// Every record that the guest made, those that were never recorded included, and those that rules and limits kept out.
fn fates(place: &Place) -> (u64, u64, u64) {
    accounts(place).iter().fold((0, 0, 0), |(made, filtered, suppressed), account| {
        let sum = |counts: [u64; 3]| counts.iter().sum::<u64>();
        let own: u64 = (0..3).map(|level| account.made(level)).sum();
        (made + own, filtered + sum(account.filtered), suppressed + sum(account.suppressed))
    })
}

#[test]
fn what_became_of_every_record_is_told_at_the_end_of_a_dead_guest_a_trace_and_a_guest_that_is_followed() {
    let place = Place::new("report-sums");
    // Errors of the store are kept out by a rule, others by the limit, some are overwritten.
    let args = ["run", "chatter", "rounds=2000", "pause_ms=0", "log=debug,store:off", "log_kib=16", "log_rate=20"];
    let mut guest = place.guest(&args);
    place.wait_until_listed("chatter");
    let followed = place.run(&["log", "chatter", "--follow", "--no-history", "--level", "warn"]);
    assert!(guest.0.wait().unwrap().success());
    let (made, filtered, suppressed) = fates(&place);
    assert!(filtered >= 200 && suppressed > 100, "{filtered} {suppressed}");
    let dead = place.run(&["log", "chatter", "--no-history", "--level", "warn"]);
    assert!(place.run(&["collect", "chatter", "-o", "trace"]).status.success());
    let trace = place.run(&["log", "trace", "--no-history", "--level", "warn"]);
    for output in [followed, dead, trace] {
        let said = text_of(&output.stderr);
        let line = said.lines().find(|line| line.starts_with("chatter: ")).unwrap_or_else(|| panic!("{said}"));
        let count = |word: &str| -> u64 {
            let parts =
                line.split([':', ',']).map(str::trim).filter_map(|part| part.trim_end_matches('.').split_once(' '));
            parts.filter(|(_, what)| *what == word).map(|(count, _)| count.parse::<u64>().unwrap()).sum()
        };
        assert_eq!(count("records made"), made, "{line}");
        assert_eq!((count("kept out by rules"), count("by the rate limit")), (filtered, suppressed), "{line}");
        let fates = [
            "shown",
            "not asked for",
            "lost",
            "not in what was read",
            "kept out by rules",
            "by the rate limit",
            "the same as the one before",
        ];
        assert_eq!(fates.map(count).iter().sum::<u64>(), made, "{line}");
        // What was shown is what was written: a line each, but for what was lost in the rings.
        let lines = text_of(&output.stdout);
        let shown =
            lines.lines().filter(|line| !line.contains("discarded") || line.contains("limits how often")).count();
        assert_eq!(count("shown"), shown as u64, "{lines}");
    }
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
            // No record is shorter than a header and a number.
            let (count, bytes) = (item["discarded"].as_u64().unwrap(), item["bytes"].as_u64().unwrap());
            assert!(item["cause"] == "overwritten" && bytes >= 16 * count, "{item}");
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
    let made = made(&place);
    // The last message may be among the lost ones.
    wait_until("every record arrives, or is told as lost", || {
        let (sum, ..) = arrived(&server.lines());
        sum.values().sum::<u64>() >= made.values().sum()
    });

    let lines = server.lines();
    let (sum, times, losses) = arrived(&lines);
    assert!(times.is_sorted());
    println!("measured: {} messages, {losses} of them tell of losses", lines.len());
    // Syslog has one word for two of our levels, and another for two more.
    let mut expected = Counted::new();
    made.into_iter().for_each(|(level, count)| *expected.entry(merged(&level)).or_default() += count);
    let mut merged_sum = Counted::new();
    sum.into_iter().for_each(|(level, count)| *merged_sum.entry(merged(&level)).or_default() += count);
    assert_eq!(merged_sum, expected, "{said}");
}

/// By level, what has arrived and what of it is told as lost; the times of the records; and how many losses are told.
fn arrived(lines: &[String]) -> (Counted, Vec<String>, usize) {
    let (mut sum, mut times, mut losses) = (Counted::new(), Vec::new(), 0);
    for parts in lines.iter().map(|line| line.splitn(8, '|').collect::<Vec<_>>()).filter(|parts| parts.len() == 8) {
        if parts[3] == "fata.reporters" {
            losses += 1;
            told(parts[7], &mut sum);
        } else {
            *sum.entry(level_of(parts[0])).or_default() += 1;
            times.push(parts[1].to_owned());
        }
    }
    (sum, times, losses)
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
