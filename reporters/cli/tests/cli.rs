//! The command as a person uses it: what it prints, what it leaves behind, and how it fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::skipped::skipped;
use common::{Ends, Place, get, json, text_of};

#[test]
fn every_failure_is_a_sentence_that_says_what_to_do_and_an_exit_code() {
    let place = Place::new("failures");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let publish = format!("{}:80", taken.local_addr().unwrap().port());
    std::fs::write(place.0.join("text"), "not a trace at all").unwrap();
    std::fs::write(place.0.join("rings/empty.1.host"), [0; 8192]).unwrap();
    let cases: [(&[&str], &str); 14] = [
        (&["collect", "nobody", "-o", "x"], "no guest \"nobody\""),
        (&["collect", "empty", "-o", "x"], "feature `profiling`"),
        (&["collect", "/nowhere/at/all", "-o", "x"], "fata list"),
        (&["collect", "empty", "-o", "x", "--keep", "2 gallons"], "2G"),
        (&["serve", "nobody"], "no guest \"nobody\""),
        (&["run", "nothing"], "the samples are"),
        (&["run", "hello", "two words"], "key=value"),
        (&["run", "http", "--publish", &publish], "in use"),
        (&["run", "http", "--publish", "80"], "HOST:GUEST"),
        (&["run", "--platform", "qemu", "--machine", "pdp11", "hello"], "microvm or q35"),
        (&["stats", "missing"], "there is no trace at"),
        (&["stats", "text"], "is not a trace"),
        (&["dump", "."], "not a trace"),
        (&["view"], "viewer"),
    ];
    for (args, sentence) in cases {
        if args == ["view"] && cfg!(feature = "viewer") {
            continue;
        }
        let output = place.run(args);
        let said = text_of(&output.stderr);
        assert!(!output.status.success(), "{args:?} succeeds");
        assert!(said.contains(sentence), "{args:?} says {said:?} and not {sentence:?}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn without_qemu_the_missing_package_is_named_before_an_image_is_built() {
    let place = Place::new("no-qemu");
    for args in [&["run", "--platform", "qemu", "hello"][..], &["demo", "--platform", "qemu", "--headless", "-o", "x"]]
    {
        // Nothing is found along this path, so cargo is not either.
        let output = place.fata(args).env("PATH", place.0.join("nothing")).output().unwrap();
        let said = text_of(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("fata: ") && said.contains("install the package qemu-system-x86"), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert!(!place.0.join("x").exists(), "a demo that cannot begin leaves no recording behind");
}

#[test]
fn a_host_guest_is_listed_collected_and_counted_as_babeltrace2_counts() {
    let place = Place::new("whole");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _guest = place.guest(&["run", "http", "--name", "web", "--publish", &format!("{port}:80")]);
    let list = place.wait_until_listed("running");
    assert!(list.contains("web."), "{list}");
    let trace = place.0.join("trace");
    let mut collecting =
        Ends(place.fata(&["collect", "web", "-o", "trace", "--duration", "2"]).stderr(Stdio::piped()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_millis(1500);
    let mut requests = 0u64;
    while Instant::now() < deadline {
        requests += u64::from(get(port));
    }
    assert!(collecting.0.wait().unwrap().success());
    let mut said = String::new();
    collecting.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("events/s") && said.contains("discarded 0; stopped"), "{said}");
    assert!(requests > 10, "{requests}");
    let stats = json(&place, &["stats", "--json", "trace"]);
    assert!(stats["events_total"].as_u64().unwrap() > requests * 10, "{stats}");
    let request = stats["callsites"].as_array().unwrap().iter().find(|site| site["name"] == "http.request").unwrap();
    assert_eq!((request["count"].as_u64(), request["kind"].as_str()), (Some(requests), Some("span")));
    for name in ["total_ns", "self_ns", "mean_ns", "p50_ns", "p99_ns", "max_ns"] {
        assert!(request[name].is_number(), "{name} in {request}");
    }
    for name in ["id", "name", "parent", "polls", "running_ns", "ready_ns", "idle_ns", "state"] {
        assert!(!stats["tasks"][0][name].is_null(), "{name} in {}", stats["tasks"][0]);
    }
    for name in ["name", "unit", "last", "min", "max"] {
        assert!(!stats["counters"][0][name].is_null(), "{name} in {}", stats["counters"][0]);
    }
    assert!(stats["clock"]["hz"].as_u64().unwrap() > 1_000_000);
    let dump = place.run(&["dump", "trace"]);
    let lines = dump.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64;
    assert_eq!(Some(lines), stats["events_total"].as_u64());
    if let Some((events, discarded)) = babeltrace(&trace) {
        assert_eq!(Some(events), stats["events_total"].as_u64());
        let ours: u64 = stats["discarded"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(discarded, ours);
    }
}

fn babeltrace(dir: &Path) -> Option<(u64, u64)> {
    let Ok(output) = Command::new("babeltrace2").arg(dir).output() else {
        skipped("babeltrace2 is not installed");
        return None;
    };
    let errors = text_of(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let count = |line: &str| line.split_once("Tracer discarded ")?.1.split(' ').next()?.parse::<u64>().ok();
    Some((output.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64, errors.lines().filter_map(count).sum()))
}

#[test]
fn a_stream_down_a_pipe_says_the_same_as_a_directory() {
    let place = Place::new("pipe");
    let mut guest = place.guest(&["run", "hello", "--name", "pipe"]);
    guest.0.wait().unwrap();
    let stream = place.run(&["collect", "pipe", "-o", "-", "--snapshot", "--quiet"]);
    assert!(stream.status.success(), "{}", text_of(&stream.stderr));
    assert!(place.run(&["collect", "pipe", "-o", "trace", "--quiet"]).status.success());
    let mut stats =
        Ends(place.fata(&["stats", "--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    stats.0.stdin.take().unwrap().write_all(&stream.stdout).unwrap();
    let mut piped = String::new();
    stats.0.stdout.take().unwrap().read_to_string(&mut piped).unwrap();
    let piped: serde_json::Value = serde_json::from_str(&piped).unwrap();
    assert_eq!(piped, json(&place, &["stats", "--json", "trace"]));
    let list = json(&place, &["list", "--json"]);
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&"pipe".into(), &"exited".into()));
}

#[test]
fn the_never_resolved_promise_of_lost_wakeup_is_named_and_so_is_the_signal_that_was_lost() {
    let place = Place::new("lost");
    place.guest(&["run", "lost-wakeup"]).0.wait().unwrap();
    assert!(place.run(&["collect", "lost-wakeup", "-o", "trace"]).status.success());
    let stats = json(&place, &["stats", "--json", "trace"]);
    let unresolved: Vec<[&str; 4]> = (stats["unresolved"].as_array().unwrap().iter())
        .map(|one| ["name", "kind", "verdict", "task"].map(|key| one[key].as_str().unwrap()))
        .collect();
    let expected = [
        ["arp.reply", "sync.condition", "signal_lost", "arp.query #4"],
        ["arp.address", "sync.promise", "never_resolved", "main #1"],
    ];
    assert_eq!(unresolved, expected);
    let text = text_of(&place.run(&["stats", "trace"]).stdout);
    let told = text.split_once("\nNEVER RESOLVED\n").unwrap().1;
    assert!(told.contains("arp.reply: arp.query #4 waits since ") && told.contains("; it was signalled "), "{text}");
    assert!(told.contains("arp.address: main #1 waits since "), "{text}");

    // Of one that is fixed there is nothing to tell.
    place.guest(&["run", "lost-wakeup", "--name", "fixed", "fixed=yes"]).0.wait().unwrap();
    assert!(place.run(&["collect", "fixed", "-o", "well"]).status.success());
    assert_eq!(json(&place, &["stats", "--json", "well"])["unresolved"].as_array().map(Vec::len), Some(0));
}

/// What the shell would offer for the last of `words`.
fn completions(place: &Place, words: &[&str]) -> Vec<String> {
    let mut command = place.fata(&[&["--", "fata"], words].concat());
    let index = words.len().to_string();
    command.env("FATA_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    text_of(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn a_shell_is_offered_every_command_the_guests_that_run_and_their_categories() {
    let place = Place::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let script = text_of(&place.run(&["completions", shell]).stdout);
        assert!(script.contains("FATA_COMPLETE") && !script.contains("target/"), "{shell}: {script}");
    }
    let commands = completions(&place, &[""]);
    for command in ["run", "list", "collect", "serve", "view", "stats", "dump", "demo", "ctl"] {
        assert!(commands.iter().any(|known| known == command), "{command} in {commands:?}");
    }
    place.guest(&["run", "hello", "--name", "dead"]).0.wait().unwrap();
    let _talker = place.guest(&["run", "chatter", "--name", "talker", "rounds=100000", "pause_ms=5"]);
    place.wait_until_listed("running");
    let _guest = place.web("alive");
    place.wait_until_listed("alive.");
    assert_eq!(
        completions(&place, &["ctl", ""]).iter().filter(|word| !word.starts_with('-')).collect::<Vec<_>>(),
        ["alive", "talker"]
    );
    assert!(completions(&place, &["collect", "d"]).contains(&"dead".to_owned()));
    assert!(completions(&place, &["ctl", "alive", "fr"]).contains(&"freeze".to_owned()));
    assert_eq!(completions(&place, &["ctl", "alive", "mode", "o"]), ["overwrite"]);
    assert_eq!(completions(&place, &["ctl", "--timeout", "5", "alive", "mode", "d"]), ["discard"]);
    assert_eq!(completions(&place, &["ctl", "talker", "level", "de"]), ["debug"]);
    // It is a target once it has logged something.
    let deadline = Instant::now() + Duration::from_secs(20);
    while completions(&place, &["ctl", "talker", "level", "sto"]) != ["store="] {
        assert!(Instant::now() < deadline, "the target `store` is not offered");
    }
    assert_eq!(completions(&place, &["ctl", "talker", "level", "store=e"]), ["store=error"]);
    let categories = completions(&place, &["ctl", "alive", "enable", ""]);
    assert!(["net", "task", "http"].iter().all(|known| categories.iter().any(|c| c == known)), "{categories:?}");
}

#[test]
fn a_guest_does_what_it_is_asked_and_who_cannot_answer_is_told_apart() {
    let place = Place::new("ctl");
    let said = |args: &[&str]| {
        let output = place.run(args);
        (output.status.success(), text_of(&output.stdout) + &text_of(&output.stderr))
    };
    let sentence = |args: &[&str], part: &str| {
        let (good, said) = said(args);
        assert!(!good && said.starts_with("fata: ") && said.contains(part), "{args:?} says {said:?}");
    };
    sentence(&["ctl", "nobody", "ping"], "no guest \"nobody\"");
    place.guest(&["run", "hello", "--name", "ended"]).0.wait().unwrap();
    sentence(&["ctl", "ended", "ping"], "has ended");

    let guest = place.web("web");
    place.wait_until_listed("running");
    let asked = Instant::now();
    for _ in 0..10 {
        let (good, said) = said(&["ctl", "web", "ping"]);
        assert!(good && said.starts_with("ok: up "), "{said}");
    }
    println!("measured: an idle host guest answers in {:?}, command and all", asked.elapsed() / 10);
    sentence(&["ctl", "web", "dance"], "there is no request \"dance\"");
    sentence(&["ctl", "web", "enable", "nothing"], "it has ");
    for request in ["mode discard", "mode overwrite", "disable heap", "enable heap", "level debug", "flush"] {
        let words: Vec<&str> = ["ctl", "web"].into_iter().chain(request.split(' ')).collect();
        let (good, said) = said(&words);
        assert!(good && said.starts_with("ok: "), "{request}: {said}");
    }
    assert!(said(&["ctl", "web", "mark", "here", "it", "is"]).0);
    assert!(said(&["ctl", "web", "freeze"]).0);
    sentence(&["ctl", "web", "mark", "nowhere"], "`start` first");
    let (_, dump) = said(&["ctl", "web", "dump"]);
    assert!(dump.contains("stopped, overwrite") && dump.contains("categories:"), "{dump}");
    assert!(place.run(&["collect", "web", "-o", "trace", "--snapshot"]).status.success());
    let events = text_of(&place.run(&["dump", "trace"]).stdout);
    assert!(events.contains("here it is") && !events.contains("nowhere"), "{events}");

    // Stopped as a debugger would: it lives, and gives no answer.
    let stat = place.wait_until_listed("running");
    let pid: i32 = stat.split_once("web.").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    sentence(&["ctl", "web", "--timeout", "0.3", "start"], "has not answered within 0.3 s");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    // What nobody waited for was not done.
    let (_, dump) = said(&["ctl", "web", "dump"]);
    assert!(dump.contains("stopped"), "{dump}");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    drop(guest);
    sentence(&["ctl", "web", "ping"], "is gone without a word");
}

#[test]
fn a_guest_that_is_asked_to_end_says_so_in_the_list_and_to_its_collector() {
    let place = Place::new("asked");
    let mut guest = place.web("asked");
    place.wait_until_listed("running");
    let collecting = Ends(place.fata(&["collect", "asked", "-o", "trace"]).stderr(Stdio::piped()).spawn().unwrap());
    place.wait_until_listed("collected by");
    assert!(Command::new("kill").arg(guest.0.id().to_string()).status().unwrap().success());
    guest.0.wait().unwrap();
    let said = common::last_words(collecting);
    assert!(said.contains("the guest ended: SIGTERM asked it to end"), "{said}");
    let list = json(&place, &["list", "--json"]);
    assert_eq!((&list[0]["state"], &list[0]["reason"]), (&"exited".into(), &"SIGTERM asked it to end".into()));
    assert!(text_of(&place.run(&["list"]).stdout).contains("SIGTERM asked it to end"));
}

#[test]
fn a_guest_whose_collector_was_killed_becomes_a_flight_recorder_again_by_itself() {
    let place = Place::new("orphan");
    let _guest = place.guest(&["run", "churn", "rounds=1000000", "ring_mib=1"]);
    place.wait_until_listed("running");
    let mut collecting = place.guest(&["collect", "churn", "-o", "trace", "--level", "trace"]);
    place.wait_until_listed("collected by");
    collecting.0.kill().unwrap();
    collecting.0.wait().unwrap();
    // While the ring is full and nobody comes, every event is discarded; after two seconds they are kept.
    let produced = || {
        let list = json(&place, &["list", "--json"]);
        (list[0]["events"].as_u64().unwrap(), list[0]["discarded"].as_u64().unwrap())
    };
    let (first, _) = produced();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut last = produced();
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = produced();
        // More than the ring holds, and nothing of it was discarded lately.
        if now.1 == last.1 && now.0 > last.0 && now.0 - now.1 - first > 1 << 18 {
            break;
        }
        assert!(Instant::now() < deadline, "it discards for ever: {last:?}, {now:?}");
        last = now;
    }
    // Whoever collects next gets the newest, and the account goes on.
    assert!(place.run(&["collect", "churn", "-o", "trace", "--duration", "0.3"]).status.success());
    let stats = json(&place, &["stats", "--json", "trace"]);
    assert!(
        stats["discarded"]["full"].as_u64().unwrap() > 0 && stats["discarded"]["overwritten"].as_u64().unwrap() > 0
    );
}

#[test]
fn several_guests_are_collected_at_once_and_a_ctf_reader_shows_them_on_one_time_axis() {
    let place = Place::new("several");
    let (_first, _second) = (place.web("first"), place.web("second"));
    place.wait_until_listed("first.");
    place.wait_until_listed("second.");
    for guest in ["first", "second"] {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !place.run(&["ctl", guest, "ping"]).status.success() {
            assert!(Instant::now() < deadline, "{guest} does not answer");
        }
    }
    let both = ["collect", "first", "second", "-o", "set", "--duration", "2"];
    let mut collecting = Ends(place.fata(&both).stderr(Stdio::piped()).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(700));
    // In turn: what is true of the order here must be true of the order there.
    for (guest, text) in [("first", "mark-1"), ("second", "mark-2"), ("first", "mark-3"), ("second", "mark-4")] {
        assert!(place.run(&["ctl", guest, "mark", text]).status.success());
    }
    assert!(collecting.0.wait().unwrap().success());
    let mut said = String::new();
    collecting.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("first.") && said.contains("second.") && said.contains("the guest goes on"), "{said}");
    if babeltrace(&place.0.join("set")).is_some() {
        let merged = Command::new("babeltrace2").arg(place.0.join("set")).output().unwrap();
        let merged = text_of(&merged.stdout);
        let at = |text: &str| merged.find(text).unwrap_or_else(|| panic!("no {text}"));
        let order = ["mark-1", "mark-2", "mark-3", "mark-4"].map(at);
        assert!(order.is_sorted(), "{order:?}");
    }
    for (args, part) in [
        (&["collect", "first", "second", "-o", "-", "--keep", "1G"][..], "needs a directory"),
        (&["collect", "first", "first", "-o", "x"], "named twice"),
        (&["collect", "first", "nobody", "-o", "x"], "no guest \"nobody\""),
    ] {
        let output = place.run(args);
        assert!(!output.status.success() && text_of(&output.stderr).contains(part), "{}", text_of(&output.stderr));
    }
}
