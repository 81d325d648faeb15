//! `fata` as a bare dom0 runs it, and what tests do with it again and again.
//!
//! ```ignore
//! let Some((dom0, _turn)) = with_dom0() else { return };    // `turns`
//! let guest = busy(dom0, "a-name", "");
//! assert!(ctl(dom0, "a-name ping").starts_with("ok: up "));
//! ```

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fata_tests::image;

use super::dom0::{Dom0, Running};
use super::guest::Guest;

/// Longer than any command here takes, with other tests beside it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Boot parameters of a `churn` that works until it is ended, and rests enough that dom0 and another one get on beside it. Its ring is
/// half as long as usual: each page takes a millisecond of such a dom0 to map.
pub(crate) const BUSY: &str = "rounds=1000000 mib=1 rest_micros=20000 ring_mib=2";

/// The same of one that has soon recorded several packets, and is not meant to run for long: dom0 has the time that it rests.
pub(crate) const BRISK: &str = "rounds=1000000 mib=1 rest_micros=10000 ring_mib=2";

/// The same of one of which it is enough that it goes on: it leaves dom0 nearly all of the time.
const CALM: &str = "rounds=1000000 mib=1 rest_micros=50000 ring_mib=2";

/// A guest of [`BUSY`].
pub(crate) fn busy(dom0: &'static Dom0, name: &str, settings: &str) -> Guest {
    Guest::create(dom0, "churn", name, BUSY, settings)
}

/// A guest of [`CALM`].
pub(crate) fn calm(dom0: &'static Dom0, name: &str) -> Guest {
    Guest::create(dom0, "churn", name, CALM, "")
}

/// A guest of [`BRISK`].
pub(crate) fn brisk(dom0: &'static Dom0, name: &str) -> Guest {
    Guest::create(dom0, "churn", name, BRISK, "")
}

/// What a command says that must succeed.
pub(crate) fn fata(dom0: &Dom0, args: &str) -> String {
    dom0.sh(&format!("fata {args}"))
}

/// What a guest answers, which is slow where everything is emulated.
pub(crate) fn ctl(dom0: &Dom0, request: &str) -> String {
    ctls(dom0, &[request]).remove(0)
}

/// What is answered to each of these requests, of which one is made after the other, by one script, since a script of its own for each
/// takes longer.
pub(crate) fn ctls(dom0: &Dom0, requests: &[&str]) -> Vec<String> {
    const NEXT: &str = "-- next --\n";
    let script: String = requests
        .iter()
        .map(|request| format!("fata ctl --timeout 40 {request} || exit; echo '{}'; ", NEXT.trim_end()))
        .collect();
    let ended = dom0.start(&script).wait(PATIENCE);
    let mut answers: Vec<String> = ended.text.split(NEXT).map(str::to_owned).collect();
    let rest = answers.pop().unwrap_or_default();
    if ended.code != 0 {
        // Where the guest stands, and what Xen knows of its events and timers.
        let request = requests.get(answers.len()).unwrap_or(&"");
        let id = format!("$(xl domid {})", request.split(' ').next().unwrap_or_default());
        let state = format!("xl list; xenctx -a {id}; sleep 1; xenctx {id}; xl debug-keys qea; xl dmesg | tail -n 90");
        panic!("{request}: {}{}", ended.text, dom0.start(&state).wait(PATIENCE).text);
    }
    assert!(answers.len() == requests.len() && rest.is_empty(), "{}", ended.text);
    answers
}

/// What a command says that must fail.
pub(crate) fn refused(dom0: &Dom0, args: &str) -> String {
    let ended = dom0.start(&format!("fata {args}")).wait(PATIENCE);
    assert_eq!(ended.code, 1, "fata {args} says {}", ended.text);
    assert!(ended.text.contains("fata: ") && !ended.text.contains("panicked"), "fata {args}: {}", ended.text);
    ended.text
}

/// Starts to collect, and returns once so many bytes of events have come.
pub(crate) fn collecting<'a>(dom0: &'a Dom0, name: &str, trace: &str, bytes: u64) -> Running<'a> {
    let _ = fs::remove_dir_all(dom0.share().join(trace));
    let running = dom0.start(&format!("exec fata collect {name} -o {trace}"));
    let first = dom0.share().join(trace);
    wait_until("nothing is collected", || bytes_in(&first) > bytes);
    running
}

/// Length of the stream files so far.
pub(crate) fn bytes_in(trace: &Path) -> u64 {
    let files = fs::read_dir(trace).into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

pub(crate) fn wait_until(or: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{or}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The number that stands before `what` in `text`.
pub(crate) fn number_before(text: &str, what: &str) -> u64 {
    let before = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}")).0;
    before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// What the command says of a trace in the share, read from without: dom0 is slow, and need not be asked.
pub(crate) fn stats(dom0: &Dom0, trace: &str) -> serde_json::Value {
    serde_json::from_str(&outside(dom0, &["stats", "--json", trace])).unwrap()
}

/// What the command prints when it is run outside of the emulated machine, in the share.
pub(crate) fn outside(dom0: &Dom0, args: &[&str]) -> String {
    let output = Command::new(image::slim_fata()).args(args).current_dir(dom0.share()).output().unwrap();
    assert!(output.status.success(), "fata {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Events that a trace holds, and those that it says were lost.
pub(crate) fn read_and_lost(dom0: &Dom0, trace: &str) -> (u64, u64) {
    let stats = stats(dom0, trace);
    (stats["events_total"].as_u64().unwrap(), lost(&stats))
}

fn lost(stats: &serde_json::Value) -> u64 {
    stats["discarded"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// Events of a trace's vCPU, without those of its log, which have rings and counts of their own.
fn of_the_vcpu(stats: &serde_json::Value) -> u64 {
    let of_the_log =
        |callsite: &&serde_json::Value| ["log", "context", "ledger"].iter().any(|kind| callsite["kind"] == *kind);
    let logs = stats["callsites"].as_array().unwrap().iter().filter(of_the_log);
    stats["events_total"].as_u64().unwrap() - logs.map(|callsite| callsite["count"].as_u64().unwrap()).sum::<u64>()
}

/// What was lost of the rings of a guest's log. A stream's number is that of its guest, and behind it, in 24 bits, that of its ring, of
/// which the first is the one vCPU's.
fn lost_of_the_log(stats: &serde_json::Value) -> u64 {
    let gaps = stats["gaps"].as_array().unwrap().iter();
    let of_the_log = gaps.filter(|gap| !gap["cpu"].as_u64().unwrap().is_multiple_of(1 << 24));
    of_the_log.map(|gap| gap["discarded"].as_u64().unwrap()).sum()
}

/// Events of its vCPU that the guest itself has counted, by its answer to `dump`, those among them that its ring had no room for.
fn counted(dump: &str) -> u64 {
    number_before(dump, " events recorded") + number_before(dump, " discarded")
}

/// Ends what has been collecting a guest that was told to stop, and compares the counts of both sides. A span that is open when
/// the guest is told still ends in the ring, so that the guest is asked before, and after where more was read.
pub(crate) fn stop_and_compare(dom0: &Dom0, name: &str, trace: &str, collecting: Running<'_>) -> String {
    let answers = ctls(dom0, &[&format!("{name} stop"), &format!("{name} dump")]);
    assert!(answers[0].starts_with("ok: stopped"), "{answers:?}");
    let before = counted(&answers[1]);
    std::thread::sleep(Duration::from_millis(100));
    collecting.kill();
    let said = collecting.wait(PATIENCE).text;
    let stats = stats(dom0, trace);
    let (read, lost) = (of_the_vcpu(&stats), lost(&stats) - lost_of_the_log(&stats));
    let after = if read + lost == before { before } else { counted(&ctl(dom0, &format!("{name} dump"))) };
    println!(
        "measured: {name} has counted {before} events when it was stopped, {after} at the end; {read} were read, {lost} lost"
    );
    assert!((before..=after).contains(&(read + lost)), "{said}");
    said
}
