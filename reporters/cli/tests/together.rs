//! Several guests in one trace: two that talk to each other over a cable lie on one time axis, and their packets are joined.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::skipped::skipped;
use common::{Ends, Place, json, last_words, text_of};

/// A server and a client on one cable; the client asks 200 times a second.
fn talking(place: &Place) -> (Ends, Ends) {
    let cable = format!("link={}", place.0.join("cable").display());
    let server = place.guest(&["run", "http", "--name", "server", &cable]);
    place.wait_until_listed("server");
    let client = place.guest(&[
        "run",
        "fetch",
        "--name",
        "client",
        &cable,
        "mac=52:54:00:12:34:57",
        "ip=10.0.2.16/24",
        "from=10.0.2.15",
        "requests=100000",
        "pause_ms=5",
    ]);
    place.wait_until_listed("client");
    (server, client)
}

#[test]
fn packets_between_two_guests_are_joined_on_one_axis_and_none_arrives_before_it_was_sent() {
    let place = Place::new("together");
    let _guests = talking(&place);
    let said = place.run(&["collect", "server", "client", "-o", "trace", "--duration", "2"]);
    assert!(said.status.success(), "{}", text_of(&said.stderr));
    assert_eq!(text_of(&said.stderr).matches("(same counter)").count(), 2, "{}", text_of(&said.stderr));

    let stats = json(&place, &["stats", "--json", "trace"]);
    let guests = stats["guests"].as_array().unwrap();
    assert_eq!(guests.iter().map(|guest| guest["name"].as_str().unwrap()).collect::<Vec<_>>(), ["server", "client"]);
    assert_eq!(stats["discarded_total"], 0);
    assert_eq!(stats["warnings"].as_array().map(Vec::len), Some(0), "{}", stats["warnings"]);
    let wires = stats["wires"].as_array().unwrap();
    let pairs: Vec<_> = wires.iter().map(|wire| (wire["from"].as_str(), wire["to"].as_str())).collect();
    assert_eq!(pairs, [(Some("server"), Some("client")), (Some("client"), Some("server"))]);
    for wire in wires {
        assert!(wire["joined"].as_u64().unwrap() > 50, "{wire}");
        assert_eq!(wire["impossible"], 0, "{wire}");
        // An axis that were wrong by what the two clocks may be off would show in the shortest way of one direction.
        let error = wire["error_ns"].as_i64().unwrap();
        assert!(error > 0 && error < 1_000_000, "{wire}");
        assert!(wire["min_ns"].as_i64().unwrap() > -error && wire["p50_ns"].as_i64().unwrap() < 50_000_000, "{wire}");
    }
    let joined: u64 = wires.iter().map(|wire| wire["joined"].as_u64().unwrap()).sum();
    let received = stats["wire_ends"]["received"].as_u64().unwrap();
    // At both ends of the recording a packet may have one end only.
    assert!(joined + 20 >= received, "{joined} of {received} were joined");

    // What asked for the packets' identities has left; the guest sees it with its next look at the control page.
    let alone = place.run(&["collect", "server", "-o", "alone", "--duration", "0.5"]);
    assert!(alone.status.success(), "{}", text_of(&alone.stderr));
    let sent = json(&place, &["stats", "--json", "alone"])["wire_ends"]["sent"].as_u64().unwrap();
    assert!(sent < 20, "{sent} of about 100 packets were told by their identity");

    in_one_order(&place.0.join("trace"), stats["events_total"].as_u64().unwrap());
    let dump = place.run(&["dump", "trace"]);
    let lines = text_of(&dump.stdout);
    let times: Vec<f64> = lines.lines().filter_map(|line| line.split_once(" s  ")?.0.parse().ok()).collect();
    assert_eq!(times.len() as u64, stats["events_total"].as_u64().unwrap());
    assert!(times.is_sorted());
    assert!(
        lines.contains("  server/cpu 0  http.request_begin") && lines.contains("  client/cpu 0  fetch.request_begin")
    );

    let again = place.run(&["collect", "server", "client", "-o", "trace", "--duration", "1"]);
    assert!(
        text_of(&again.stderr).contains("is not continued; choose another directory"),
        "{}",
        text_of(&again.stderr)
    );
}

#[test]
fn several_guests_go_down_one_pipe_as_one_trace() {
    let place = Place::new("pipe-together");
    let _guests = talking(&place);
    let collected = place.run(&["collect", "server", "client", "-o", "-", "--duration", "1", "--quiet"]);
    assert!(collected.status.success(), "{}", text_of(&collected.stderr));
    std::fs::write(place.0.join("stream"), &collected.stdout).unwrap();
    let stats = json(&place, &["stats", "--json", "stream"]);
    assert_eq!(stats["guests"].as_array().map(Vec::len), Some(2));
    assert!(stats["wires"].as_array().unwrap().iter().all(|wire| wire["joined"].as_u64().unwrap() > 20), "{stats}");
    assert_eq!(stats["warnings"].as_array().map(Vec::len), Some(0), "{}", stats["warnings"]);
}

#[test]
fn the_log_of_a_trace_of_two_guests_tells_them_apart() {
    let place = Place::new("log-together");
    for name in ["left", "right"] {
        assert!(place.run(&["run", "chatter", "--name", name, "rounds=3", "pause_ms=1"]).status.success());
    }
    let said = place.run(&["collect", "left", "right", "-o", "trace"]);
    assert!(said.status.success(), "{}", text_of(&said.stderr));
    in_one_order(&place.0.join("trace"), json(&place, &["stats", "--json", "trace"])["events_total"].as_u64().unwrap());
    let log = place.run(&["log", "trace", "--json"]);
    let lines = text_of(&log.stdout);
    for name in ["left", "right"] {
        let begins = |line: &&str| line.contains("chatter begins") && line.contains(name);
        assert_eq!(lines.lines().filter(begins).count(), 1, "{name}: {lines}{}", text_of(&log.stderr));
    }
}

/// The records of a log: whose, what number, when.
fn records(place: &Place, args: &[&str]) -> Vec<(String, u64, i64)> {
    let log = place.run(args);
    assert!(log.status.success(), "{}", text_of(&log.stderr));
    let items = text_of(&log.stdout);
    let items = items.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let items: Vec<_> = items.collect();
    assert!(items.iter().all(|item| item["late"].is_null() && item["discarded"].is_null()), "{items:#?}");
    let texts =
        |item: &serde_json::Value| (item["guest"].as_str().unwrap().to_owned(), item["sequence"].as_u64().unwrap());
    items.iter().map(|item| (texts(item).0, texts(item).1, item["nanos"].as_i64().unwrap())).collect()
}

#[test]
fn the_logs_of_two_living_guests_are_one_order_on_the_axis_that_a_recording_of_them_has() {
    let place = Place::new("log-living");
    let mut guests: Vec<_> = ["left", "right"]
        .map(|name| place.guest(&["run", "chatter", "--name", name, "rounds=200", "pause_ms=5", "log_kib=256"]))
        .into();
    for name in ["left.", "right."] {
        place.wait_until_listed(name);
    }
    let collecting = place.fata(&["collect", "left", "right", "-o", "trace"]).stderr(Stdio::piped()).spawn();
    let collecting = Ends(collecting.unwrap());
    let live = records(&place, &["log", "left", "right", "--follow", "--json", "--no-history"]);
    guests.iter_mut().for_each(|guest| assert!(guest.0.wait().unwrap().success()));
    assert!(live.iter().map(|(_, _, nanos)| *nanos).is_sorted(), "{live:?}");
    let of = |name: &str| live.iter().filter(|(guest, ..)| guest == name).count();
    assert!(of("left") > 200 && of("right") > 200, "{} and {}", of("left"), of("right"));
    let turns = live.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    assert!(turns > 50, "two that speak at the same time take turns: {turns}");

    // Dead, they are read one after the other, and still are one order.
    let dead = records(&place, &["log", "left", "right", "--json", "--no-history"]);
    assert!(dead.iter().map(|(_, _, nanos)| *nanos).is_sorted());
    assert_eq!(dead.len(), live.len());

    // What lies between a record of one guest and of the other is the same in a recording, whose axis is measured: a guest's own
    // word on the time of day would be off by what it was preempted for when it looked.
    let said = last_words(collecting);
    assert_eq!(said.matches("(same counter)").count(), 2, "{said}");
    let stored = records(&place, &["log", "trace", "--json", "--no-history"]);
    assert_eq!(stored.len(), live.len());
    let between = |all: &[(String, u64, i64)], at: usize| {
        let mut own = all.iter().filter(|(guest, ..)| guest == "left");
        let mut other = all.iter().filter(|(guest, ..)| guest == "right");
        other.nth(at).unwrap().2 - own.nth(at).unwrap().2
    };
    for at in [0, 100, 200] {
        let difference = between(&live, at) - between(&stored, at);
        assert!(difference.abs() < 20_000, "{difference} ns at {at}");
    }
}

#[test]
fn a_guest_that_is_started_anew_is_followed_and_both_lives_are_one_recording() {
    let place = Place::new("lives");
    assert!(place.run(&["run", "chatter", "--name", "phoenix", "rounds=2", "pause_ms=1"]).status.success());
    let first = place.wait_until_listed("phoenix.").lines().find(|line| line.contains("phoenix.")).unwrap().to_owned();
    let collecting = place.fata(&["collect", "phoenix", "-o", "trace", "--again"]).stderr(Stdio::piped()).spawn();
    let collecting = Ends(collecting.unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(place.0.join("trace/stream_0")).is_err() {
        assert!(Instant::now() < deadline, "nothing is collected");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = place.guest(&["run", "chatter", "--name", "phoenix", "rounds=100000", "pause_ms=5"]);
    while std::fs::metadata(place.0.join("trace/stream_16")).is_err() {
        assert!(Instant::now() < deadline, "the second life is not collected; the first was {first}");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(second);
    std::thread::sleep(Duration::from_millis(500));
    assert!(Command::new("kill").arg(collecting.0.id().to_string()).status().unwrap().success());
    let said = last_words(collecting);
    assert!(said.contains("was started anew as phoenix.") && said.contains("the guest ended"), "{said}");
    let stats = json(&place, &["stats", "--json", "trace"]);
    let lives: Vec<_> = stats["guests"].as_array().unwrap().iter().map(|life| life["name"].as_str().unwrap()).collect();
    assert_eq!(lives, ["phoenix:1", "phoenix:2"]);
    assert!(stats["guests"].as_array().unwrap().iter().all(|life| life["events"].as_u64().unwrap() > 10), "{stats}");
    in_one_order(&place.0.join("trace"), stats["events_total"].as_u64().unwrap());
    // Its first life alone would describe the others no more.
    let first = first.split_whitespace().find(|word| word.starts_with("phoenix.")).unwrap();
    let again = place.run(&["collect", first, "-o", "trace"]);
    assert!(!again.status.success() && text_of(&again.stderr).contains("choose another directory"), "{again:?}");
    assert_eq!(json(&place, &["stats", "--json", "trace"]), stats);
}

#[test]
fn a_guest_that_is_started_anew_beside_another_one_goes_on_on_the_same_axis_and_costs_the_other_nothing() {
    let place = Place::new("lives-together");
    let _bystander = place.guest(&["run", "chatter", "--name", "bystander", "rounds=100000", "pause_ms=5"]);
    let first = place.guest(&["run", "chatter", "--name", "phoenix", "rounds=100000", "pause_ms=5"]);
    for name in ["bystander.", "phoenix."] {
        place.wait_until_listed(name);
    }
    let mut collect = place.fata(&["collect", "bystander", "phoenix", "-o", "trace", "--again"]);
    let collecting = Ends(collect.stderr(Stdio::piped()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    let wait_for = |stream: &str| {
        while std::fs::metadata(place.0.join("trace").join(stream)).is_err() {
            assert!(Instant::now() < deadline, "{stream} is not there");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for("stream_0");
    wait_for("stream_16");
    drop(first);
    // Both guests of the name would do; one of them has a seat.
    let _second = place.guest(&["run", "chatter", "--name", "phoenix", "rounds=100000", "pause_ms=5"]);
    wait_for("stream_32");
    std::thread::sleep(Duration::from_millis(500));
    assert!(Command::new("kill").arg(collecting.0.id().to_string()).status().unwrap().success());
    let said = last_words(collecting);
    assert_eq!(said.matches("was started anew as phoenix.").count(), 1, "{said}");
    assert_eq!(said.matches("(same counter)").count(), 3, "{said}");
    let stats = json(&place, &["stats", "--json", "trace"]);
    let guests = stats["guests"].as_array().unwrap();
    let names: Vec<_> = guests.iter().map(|guest| guest["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bystander", "phoenix:1", "phoenix:2"]);
    assert!(guests.iter().all(|guest| guest["events"].as_u64().unwrap() > 10), "{stats}");
    assert_eq!((&guests[0]["discarded"], stats["gaps"].as_array().map(Vec::len)), (&0.into(), Some(0)), "{stats}");
    in_one_order(&place.0.join("trace"), stats["events_total"].as_u64().unwrap());
}

/// babeltrace2 finds as many events, merged by their time.
fn in_one_order(trace: &Path, events: u64) {
    let output = match Command::new("babeltrace2").arg("--clock-seconds").arg(trace).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(_) => return skipped("babeltrace2 is not installed"),
    };
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    let text = text_of(&output.stdout);
    let times: Vec<&str> = text.lines().filter_map(|line| Some(line.strip_prefix('[')?.split_once(']')?.0)).collect();
    assert_eq!(times.len() as u64, events);
    assert!(times.is_sorted(), "seconds since 1970 have equally many digits");
}
