//! `fata log` as a person uses it: a guest that runs, one that is dead, and a trace say the same; a running guest's rules change.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{Ends, Place, text_of};

/// The lines of a successful command.
fn lines(place: &Place, args: &[&str]) -> Vec<String> {
    let output = place.run(args);
    assert!(output.status.success(), "{args:?}: {}", text_of(&output.stderr));
    text_of(&output.stdout).lines().map(str::to_owned).collect()
}

/// A line without its time.
fn untimed(line: &str) -> String {
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_dead_guest_and_its_trace_say_the_same_in_order_with_the_causes_and_the_history_of_an_error() {
    let place = Place::new("log-dead");
    let mut guest = place.guest(&["run", "chatter", "rounds=10", "pause_ms=1", "log=debug"]);
    assert!(guest.0.wait().unwrap().success());
    let dead = lines(&place, &["log", "chatter"]);
    assert!(place.run(&["collect", "chatter", "-o", "trace", "--snapshot"]).status.success());
    assert_eq!(lines(&place, &["log", "trace"]), dead);

    let times: Vec<_> = dead.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let shown: Vec<_> = dead.iter().map(|line| untimed(line)).collect();
    let error = "ERROR chatter/2 chatter.writer store: giving up error=\"key 9 was not stored: the device is full\" in round{worker=1 round=9}";
    assert!(shown.contains(&error.to_owned()), "{shown:#?}");
    let history = "DEBUG chatter/1 chatter.writer store: (before the error) writing key=9 in round{worker=1 round=9}";
    assert!(shown.contains(&history.to_owned()), "{shown:#?}");
    assert!(!shown.iter().any(|line| line.contains("chatter.reader store: (before")), "{shown:#?}");
    assert!(shown[2].starts_with("APP chatter/2 main app: chatter begins"), "{shown:#?}");
    assert!(shown.last().unwrap().ends_with("app: chatter ends"));

    let count = |args: &[&str]| lines(&place, &[&["log", "chatter", "--no-history"], args].concat()).len();
    assert_eq!(count(&["--level", "error"]), 3, "two words of the program, and an error");
    assert_eq!(count(&["--target", "cache"]), 10 + 2);
    assert_eq!(count(&["--level", "debug", "--task", "chatter.reader", "--target", "store"]), 10);
    assert_eq!(count(&["--level", "debug", "--field", "key=9"]), 1);
    // What the span around a record carries is looked for, too.
    assert_eq!(count(&["--level", "debug", "--field", "worker=1", "--target", "store"]), 20 + 1);
    assert_eq!(count(&["--level", "debug", "--grep", "writing"]), 10);
    assert_eq!(
        (count(&["--grep", "CHATTER"]), count(&["--grep", "CHATTER", "--ignore-case"])),
        (0, count(&["--grep", "chatter"]))
    );
    assert_eq!(count(&["--until", "2000-01-01"]), 0);
    assert_eq!(count(&["--since", "1d"]), count(&[]));
    let records = lines(&place, &["log", "chatter", "--no-history", "--json"]);
    let records: Vec<serde_json::Value> = records.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let micros = |record: &serde_json::Value| record["nanos"].as_i64().unwrap() / 1000;
    for at in [0, records.len() / 2, records.len() - 1] {
        // As it is shown, so as it is typed: whole microseconds.
        let time = records[at]["time"].as_str().unwrap();
        let from_there = records.iter().filter(|record| micros(record) >= micros(&records[at])).count();
        let since = count(&["--since", time]);
        assert_eq!(since, from_there, "{time}");
        let until = count(&["--until", time]);
        assert!(until + since == records.len() || until + since == records.len() + 1, "{until} {since} {time}");
        assert_eq!(count(&["--since", time, "--until", "+0"]), since, "a time since a start is no time of day");
    }
    for line in lines(&place, &["log", "chatter", "--json"]) {
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(record["nanos"].is_number() && record["guest"] == "chatter", "{line}");
    }
    // A dead guest cannot be asked for anything.
    let refused = place.run(&["log", "chatter", "--level", "store=trace"]);
    assert!(!refused.status.success() && text_of(&refused.stderr).contains("none of these runs"));
}

#[test]
fn a_running_guest_says_more_once_it_was_asked_to_and_is_followed_to_its_end() {
    let place = Place::new("log-live");
    let mut guest = place.guest(&["run", "chatter", "--name", "talker", "rounds=150", "pause_ms=10"]);
    place.wait_until_listed("running");
    let asked = ["log", "talker", "--level", "store=debug", "--target", "store", "--no-history"];
    let mut following = Ends(place.fata(&asked).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let shown: Vec<_> = BufReader::new(following.0.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(following.0.wait().unwrap().success());
    assert!(guest.0.wait().unwrap().success());
    let said = text_of(&std::io::read_to_string(following.0.stderr.take().unwrap()).unwrap().into_bytes());
    assert!(said.contains("ok: *:info store:debug"), "{said}");
    let debug = shown.iter().filter(|line| line.contains("DEBUG")).count();
    assert!(debug > 20, "{debug} of {}", shown.len());
    assert!(shown.last().is_some_and(|line| line.contains("round=149") || line.contains("149")), "{shown:?}");
    assert!(!shown.iter().any(|line| line.contains("TRACE") || line.contains("discarded")));
}

#[test]
fn a_guest_without_a_reader_keeps_its_newest_records_and_says_how_many_are_missing() {
    let place = Place::new("log-loss");
    let rounds = 3000;
    let args = format!("rounds={rounds}");
    let mut guest = place.guest(&["run", "chatter", &args, "pause_ms=0", "log=debug", "log_kib=16", "log_rate=0"]);
    assert!(guest.0.wait().unwrap().success());
    let lines = lines(&place, &["log", "chatter", "--level", "debug"]);
    let is_debug = |line: &&String| line.contains(" DEBUG ") && !line.contains("discarded");
    let kept = lines.iter().filter(is_debug).count() as u64;
    let lost: u64 = lines
        .iter()
        .filter_map(|line| {
            let (_, counts) = line.split_once("discarded ")?;
            let (before, _) = counts.split_once(" DEBUG")?;
            before.rsplit([' ', '(']).next()?.replace(',', "").parse::<u64>().ok()
        })
        .sum();
    assert!(lost > 0, "{lines:#?}");
    assert_eq!(kept + lost, 3 * rounds, "two tasks look up, one writes");
    let losses: Vec<_> = lines.iter().filter(|line| line.contains("discarded ")).collect();
    assert!(losses.iter().all(|line| line.contains(" bytes)")), "{losses:#?}");
    assert!(lines.last().unwrap().contains("chatter ends"));
}
