//! `fata` in a bare dom0: what it makes of domains that run, are paused, renamed, destroyed, crash or lie, and of those that
//! are not there.

use std::fs;

use super::command::{
    BRISK, BUSY, PATIENCE, brisk, busy, bytes_in, calm, collecting, ctl, ctls, fata, number_before, outside,
    read_and_lost, refused, stats, stop_and_compare, wait_until,
};
use super::dom0::{Dom0, these_tests};
use super::guest::Guest;
use super::turns::with_dom0;

#[test]
fn a_domain_that_is_paused_renamed_and_destroyed_while_it_is_collected_loses_nothing_that_it_committed() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = brisk(dom0, "victim");
    let collecting = collecting(dom0, "victim", "victim-trace", 40_000);
    dom0.sh("xl pause victim");
    assert!(fata(dom0, "list").lines().any(|line| line.contains("victim.") && line.contains("paused")));
    let stuck = refused(dom0, "ctl --timeout 0.5 victim ping");
    assert!(stuck.contains("has not answered within 0.5 s"), "{stuck}");
    dom0.sh("xl unpause victim; xl rename victim renamed");
    assert!(ctl(dom0, "renamed ping").starts_with("ok: up "));
    let before = bytes_in(&dom0.share().join("victim-trace"));
    wait_until("it was not collected on", || bytes_in(&dom0.share().join("victim-trace")) > before + 20_000);
    dom0.sh("xl destroy renamed");
    let said = collecting.wait(PATIENCE).text;
    assert!(said.contains("the guest is gone without a word"), "{said}");
    assert_eq!(read_and_lost(dom0, "victim-trace").0, number_before(&said, " events, "), "{said}");
    guest.wait_for_its_last_page();
}

/// Crashes a domain from without: not one instruction of it runs any more, and nothing is sealed.
pub(crate) fn crash(dom0: &Dom0, domid: u32) {
    let crash = these_tests("collect::crashes_the_domain_of_this_number");
    dom0.sh(&format!("DOMID={domid} {crash}"));
}

#[test]
#[ignore = "run in dom0 by the test that needs a crash"]
fn crashes_the_domain_of_this_number() {
    #![expect(unsafe_code, reason = "asks Xen what no tool of its asks: to shut another domain down as crashed")]
    /// The hypercall `sched_op`, its operation `remote_shutdown`, and the reason "crash" (`xen/include/public/sched.h`).
    const SCHED_OP: u64 = 29;
    const REMOTE_SHUTDOWN: u64 = 4;
    const CRASH: u64 = 3;
    let Ok(domid) = std::env::var("DOMID") else { return };
    let argument = Box::new(domid.trim().parse::<u64>().unwrap() | CRASH << 32);
    let call = [SCHED_OP, REMOTE_SHUTDOWN, (&raw const *argument).addr() as u64, 0, 0, 0];
    let privcmd = fs::OpenOptions::new().read(true).write(true).open("/dev/xen/privcmd").unwrap();
    // SAFETY: `call` is a `struct privcmd_hypercall`, and what it points at lives until the call returns.
    let result = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&privcmd), 0x0030_5000, call.as_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_crash_is_said_by_itself_and_a_domain_that_is_kept_is_read_afterwards_too() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::attended(dom0, "churn", "crashes", BRISK, "on_crash=\"preserve\"");
    let collecting = collecting(dom0, "crashes", "crashes-trace", 40_000);
    crash(dom0, guest.domid);
    let said = collecting.wait(PATIENCE).text;
    assert!(said.contains("; the guest crashed"), "{said}");
    let list = fata(dom0, "list");
    assert!(list.lines().any(|line| line.contains("crashes.") && line.contains("crashed")), "{list}");
    let dead = refused(dom0, "ctl crashes ping");
    assert!(dead.contains("is gone without a word"), "{dead}");
    // Whoever comes late reads what the ring still holds.
    let late = fata(dom0, "collect crashes -o late-trace --snapshot");
    assert!(number_before(&late, " events, ") > 1000, "{late}");
    assert!(read_and_lost(dom0, "late-trace").0 > 1000);
    // One that had the time to say why has said so.
    let last = Guest::attended(dom0, "hello", "last-words", "crash=panic", "on_crash=\"preserve\"");
    last.wait_for("crash=panic was asked for");
    last.wait_for_crash();
    let list = fata(dom0, "list");
    assert!(list.lines().any(|line| line.contains("last-words.") && line.contains("panicked")), "{list}");
    let said = fata(dom0, "collect last-words -o last-trace");
    assert!(said.contains("the guest panicked: ") && said.contains("crash=panic was asked for"), "{said}");
}

/// Boot parameters of a domain that has lists of grants that lie.
const LIAR: &str = "rounds=1000000 mib=1 rest_micros=200000 ring_mib=1 lies=yes";

#[test]
fn whatever_a_domain_says_in_xenstore_is_a_sentence_and_costs_another_domain_no_event() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let (_honest, liar) = (calm(dom0, "honest"), Guest::create(dom0, "churn", "liar", LIAR, ""));
    ctls(dom0, &["liar ping", "honest ping"]);
    let domid = liar.domid;
    let place = format!("/local/domain/{domid}/data/fata");
    let read = dom0.sh(&format!(
        "for key in lies/version lies/count lies/cycle lies/refs lies/header pages ring-ref; do
             xenstore-read {place}/$key
         done"
    ));
    let mut read = read.lines().map(str::to_owned);
    let [version, count, cycle, refs, header, pages, index] = [(); 7].map(|()| read.next().unwrap());
    let index: u32 = index.parse().unwrap();
    // One program for both, to which the one lies from the begin.
    dom0.sh(&format!("xenstore-write {place}/ring-ref {count}"));
    let collecting = collecting(dom0, "honest liar", "honest-trace", 20_000);
    let said = || collecting.text();
    wait_until("nothing is said of the lie", || said().contains(&format!("fata: liar.{domid}: ")));
    assert!(said().contains("its list of grants claims 4294967295 in one page"), "{}", said());
    let (data_page, no_grant) = ((index - 100).to_string(), "4000000000".to_owned());
    let [too_few, too_many] =
        [9, 3000].map(|claimed| format!("it says that it has {claimed} pages, and lists {pages}"));
    let lies = [
        ("version", "2", "use a later `fata`"),
        ("version", "x\u{1b}[2J", "use a later `fata`"),
        ("pages", "0", "4 to"),
        ("pages", "4000000000", "4 to"),
        ("pages", "1e3", "is no number"),
        ("pages", "9", &too_few),
        ("pages", "3000", &too_many),
        ("ring-ref", &data_page, "does not"),
        ("ring-ref", &no_grant, "cannot be mapped"),
        ("ring-ref", "", "is no number"),
        ("ring-ref", &version, "use a later `fata`"),
        ("ring-ref", &count, "claims 4294967295 in one page"),
        ("ring-ref", &cycle, "and more"),
        ("ring-ref", &refs, "its pages cannot be mapped"),
        ("ring-ref", &header, "no trace ring here"),
    ];
    let truth = format!("{place}/version 1 {place}/pages {pages} {place}/ring-ref {index}");
    // Every fifth lie is also told to who lists all domains, which maps the honest one's ring each time.
    let is_listed = |i: usize| i.is_multiple_of(5);
    let tell = |(i, (key, lie, _)): (usize, &(&str, &str, &str))| {
        let list = if is_listed(i) { "fata list;" } else { "" };
        format!(
            "xenstore-write {truth} {place}/{key} '{lie}'; fata collect liar -o liar-trace; echo ended with $?; {list} echo '-- next --'\n"
        )
    };
    // One script for all. A bell that is none is done without.
    let told = dom0.sh(&format!(
        "{} xenstore-write {truth} {place}/event-channel 999 && fata collect liar -o liar-trace --duration 0.5",
        lies.iter().enumerate().map(tell).collect::<String>()
    ));
    let told: Vec<&str> = told.split("-- next --\n").collect();
    assert_eq!(told.len(), lies.len() + 1, "{told:?}");
    for (i, ((key, lie, sentence), said)) in lies.into_iter().zip(told).enumerate() {
        assert!(
            said.contains("fata: ") && said.contains(sentence) && said.contains("ended with 1\n"),
            "{key} = {lie:?}: {said}"
        );
        assert!(!said.contains('\u{1b}') && !said.contains("panicked"), "{key} = {lie:?}: {said}");
        assert!(!is_listed(i) || said.contains("honest."), "{key} = {lie:?}: {said}");
    }
    stop_and_compare(dom0, "honest", "honest-trace", collecting);
}

#[test]
fn what_is_not_there_and_what_is_slow_is_a_sentence() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    assert!(refused(dom0, "collect xen:nobody -o x").contains("no Xen domain \"nobody\""));
    assert!(refused(dom0, "ctl nobody ping").contains("no guest \"nobody\""));
    // As an ordinary user; and as on a machine without Xen.
    dom0.sh("echo nobody:x:65534:65534::/:/bin/sh >>/etc/passwd");
    let user = |args: &str| {
        dom0.start(&format!("start-stop-daemon -S -c nobody:65534 -n nobodys -a /bin/fata -- {args}")).wait(PATIENCE)
    };
    let forbidden = user("collect xen:nobody -o /tmp/x");
    let sentence =
        "/dev/xen/xenbus may not be opened: Permission denied (os error 13); Xen's devices are for root in dom0";
    assert!(forbidden.code == 1 && forbidden.text.contains(sentence), "{}", forbidden.text);
    let list = user("list");
    assert!(list.code == 0 && list.text.contains("Xen's domains are missing here: "), "{}", list.text);
    let none = "mount -t tmpfs none /dev/xen; mount -t tmpfs none /proc/xen; exec fata collect xen:nobody -o x";
    let none = dom0.start(&format!("unshare -m sh -c '{none}'")).wait(PATIENCE);
    assert!(none.code == 1 && none.text.contains("there is no Xen here"), "{}", none.text);
    let _slow = busy(dom0, "slow", "tsc_mode=\"always_emulate\"");
    ctl(dom0, "slow ping");
    let said = fata(dom0, "collect slow -o slow-trace --duration 1");
    assert!(said.contains("Xen emulates its TSC; set tsc_mode=\"native\""), "{said}");
    let slow = said.lines().find(|line| line.contains("TSC")).unwrap();
    assert!(number_before(slow, " µs, and so does every event") > 0, "{slow}");
    println!("measured: {slow}");
    // The same stream that ssh would carry to a desktop, read there.
    dom0.sh("fata collect slow -o - --duration 1 --quiet >slow-stream");
    assert!(stats(dom0, "slow-stream")["events_total"].as_u64().unwrap() > 0);
}

#[test]
fn what_a_domain_logs_is_read_in_dom0_and_its_level_is_changed_there() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let _guest = Guest::create(dom0, "chatter", "talker", "rounds=1000000 pause_ms=50", "");
    wait_until("there is no error in its log", || fata(dom0, "log --level error --json talker").contains("giving up"));
    let said = fata(dom0, "log --level error --json talker");
    let record: serde_json::Value = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|record: &serde_json::Value| record["level"] == "error")
        .unwrap();
    assert_eq!(
        (record["guest"].as_str(), record["task"].as_str()),
        (Some("talker"), Some("chatter.writer")),
        "{record}"
    );
    assert_eq!(record["target"], "store", "{record}");
    assert!(record["fields"]["error"].as_str().unwrap().ends_with("was not stored: the device is full"), "{record}");
    // Below the level that a guest begins with, until dom0 asks for it.
    assert!(!fata(dom0, "log --no-history --level trace talker").contains("probing"));
    assert!(ctl(dom0, "talker level store=trace").starts_with("ok"));
    wait_until("the level was not changed", || fata(dom0, "log --no-history --level trace talker").contains("probing"));
}

#[test]
fn a_domain_that_is_renamed_reboots_and_shuts_down_beside_another_is_collected_on_and_costs_it_nothing() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let (mut guest, bystander) = (Guest::attended(dom0, "churn", "phoenix", BUSY, ""), busy(dom0, "sparrow", ""));
    let (first, beside) = (guest.domid, bystander.domid);
    let collecting = collecting(dom0, "phoenix sparrow", "phoenix-trace", 1000);
    // It is started anew by the name that it has then.
    guest.name = "simurgh".to_owned();
    dom0.sh("xl rename phoenix simurgh");
    wait_until("the new name was not noticed", || {
        collecting.text().contains(&format!("phoenix.{first} was renamed to simurgh: the recording goes on"))
    });
    dom0.sh("xl reboot simurgh");
    let said_second = || {
        let said = collecting.text();
        said.split_once("was started anew as simurgh.")?.1.split_once(|c: char| !c.is_ascii_digit())?.0.parse().ok()
    };
    wait_until("the next life was not noticed", || said_second().is_some());
    let second: u32 = said_second().unwrap();
    assert!(second > first);
    guest.domid = second;
    let trace = dom0.share().join("phoenix-trace");
    wait_until("the next life is not collected", || {
        fs::metadata(trace.join("stream_32")).is_ok_and(|file| file.len() > 20_000)
    });
    // Whoever holds the control channel is told that nobody answers any more, and needs not be killed.
    let channel = format!("/local/domain/{second}/data/fata/ctl");
    // Its input does not end.
    let input = "mkfifo /tmp/input; exec 3<>/tmp/input";
    let client = dom0.start(&format!("{input}; exec vchan-socket-proxy {second} {channel} - <&3"));
    dom0.sh(&format!(
        "until lsevtchn {second} | grep \" $(xenstore-read {channel}/event-channel):.*(Connected)\"; do sleep 0.3; done"
    ));
    dom0.sh("xl shutdown simurgh");
    client.wait(PATIENCE);
    wait_until("its end was not said", || collecting.text().matches("; the guest ended.").count() == 2);
    collecting.kill();
    let said = collecting.wait(PATIENCE);
    assert!(said.code == 0 && said.text.contains(&format!("was started anew as simurgh.{second}")), "{}", said.text);
    assert_eq!(said.text.matches("; the guest ended.").count(), 2, "{}", said.text);
    assert_eq!(said.text.matches("; its clock is right to ").count(), 3, "{}", said.text);
    let stats = stats(dom0, "phoenix-trace");
    for (place, label) in
        [format!("phoenix.{first}"), format!("sparrow.{beside}"), format!("simurgh.{second}")].iter().enumerate()
    {
        let line = said
            .text
            .lines()
            .find(|line| line.starts_with(&format!("{label}: ")))
            .unwrap_or_else(|| panic!("{}", said.text));
        let life = &stats["guests"][place];
        assert_eq!(life["events"].as_u64(), Some(number_before(line, " events, ")), "{life}, {line}");
        assert_eq!(life["discarded"], 0, "{life}, {line}");
    }
    assert_eq!((stats["guests"].as_array().map(Vec::len), stats["gaps"].as_array().map(Vec::len)), (Some(3), Some(0)));
    assert!(
        !outside(dom0, &["dump", "phoenix-trace"]).contains("fata.unfinished"),
        "a sealed ring holds whole records"
    );
}
