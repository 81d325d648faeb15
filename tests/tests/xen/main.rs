//! Guests on a real Xen, and what a real dom0 sees of them. `tests/run xen` runs these tests alone.
//!
//! Xen and dom0 boot in QEMU, from Debian's packages (see [`dom0`]), twice; every test uses one of these machines, with guests of
//! its own name. Nothing is skipped: where the machine cannot be made, all of them fail and say why.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod axis;
mod bell;
mod clock;
mod collect;
mod command;
mod control;
mod cpio;
mod dead;
mod dom0;
mod guest;
mod hard;
mod image;
mod network;
mod packages;
mod picture;
mod stamps;
mod turns;

use std::fs;
use std::time::Duration;

use guest::Guest;
use network::VIF;
use turns::{with_dom0, with_fata};

#[test]
fn xen_and_dom0_boot_and_dom0_has_what_the_tests_need() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    fs::write(dom0.share().join("from-the-test"), "shared").unwrap();
    let list = dom0.sh("xl list; ls -d /dev/xen/* /sys/class/net/*; cat from-the-test; curl -V; iperf3 -v");
    for word in ["Domain-0", "xen/gntdev", "xen/evtchn", "xen/privcmd", "net/xenbr0", "shared", "curl 7", "iperf 3"] {
        assert!(list.contains(word), "{word} is missing: {list}");
    }
    assert_eq!(dom0.start("exit 7").wait(Duration::from_secs(20)).code, 7);
}

#[test]
fn the_image_that_boots_in_qemu_boots_as_a_domain_and_ends_on_its_own() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::attended(dom0, "hello", "hello-1", "", "");
    let console = guest.wait_for("hello from task 1");
    assert!(console.contains("hello from a unikernel"), "{console}");
    guest.wait_until_gone();
}

#[test]
fn a_guest_advertises_its_ring_to_dom0_and_to_nobody_else() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::create(dom0, "http", "http-1", "", VIF);
    guest.wait_for("listening on port 80");
    let owner = guest.domid();
    let place = format!("/local/domain/{owner}/data/fata");
    for line in dom0.sh(&format!("xenstore-ls -fp {place}")).lines() {
        assert!(line.ends_with(&format!("(n{owner},r0)")), "{line}");
    }
    for (key, value) in [("version", "1"), ("name", "http-1"), ("state", "running")] {
        assert_eq!(dom0.sh(&format!("xenstore-read {place}/{key}")).trim(), value);
    }
    let pages: usize = dom0.sh(&format!("xenstore-read {place}/pages")).trim().parse().unwrap();
    assert!(pages > 1024, "4 MiB of ring and what belongs to it are {pages} pages");
    // Nobody has bound to the other end of the channel.
    let port = dom0.sh(&format!("xenstore-read {place}/event-channel"));
    let channels = dom0.sh(&format!("lsevtchn {owner}"));
    let line = channels.lines().find(|line| line.trim_start().starts_with(&format!("{}:", port.trim())));
    assert!(line.is_some_and(|line| line.contains("Waiting connection) - Remote Domain 0")), "{port}{channels}");
    // It looks around 20 times a second, and sleeps in between.
    let seconds = || -> f64 {
        let list = dom0.sh("xl list http-1 | tail -n 1");
        list.split_ascii_whitespace().last().unwrap().parse().unwrap()
    };
    let before = seconds();
    dom0.sh("sleep 2");
    let used = seconds() - before;
    println!("measured: an idle domain used {used:.1} s of its processor in 2 s");
    assert!(used < 0.5, "an idle domain used {used} s of its processor in 2 s");
}

#[test]
fn a_bare_dom0_needs_no_library_of_xens_and_none_of_a_desktops() {
    const ANY_LINUX: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];
    if fata_tests::skipped::is_quick() {
        return;
    }
    let needed = image::needed(fata_tests::image::slim_fata());
    assert!(!needed.is_empty() && needed.iter().all(|name| ANY_LINUX.contains(&name.as_str())), "{needed:?}");
}

#[test]
fn the_trace_of_a_ring_that_has_seized_up_names_the_ring_who_waits_and_for_how_many_slots() {
    let Some((dom0, _turn)) = with_fata() else { return };
    let guest = Guest::paused(dom0, "ring-deadlock", "stuck", "", "");
    dom0.sh("fata collect stuck -o stuck-trace & sleep 0.3; xl unpause stuck; wait $!");
    guest.wait_until_gone();
    let dump = command::outside(dom0, &["dump", "stuck-trace"]);
    let lines: Vec<&str> = dump.lines().collect();
    let waits: Vec<_> = lines.iter().enumerate().filter(|(_, line)| line.contains("  wire.wait  ")).collect();
    assert_eq!(waits.len(), 3, "{dump}");
    for (at, line) in waits {
        assert!(line.contains("holds=") && line.contains("waits_for="), "{line}");
        assert!(lines[at + 1].contains("  sync.try  ") && lines[at + 1].contains("wire.slots"), "{}", lines[at + 1]);
    }
}

#[test]
fn the_guest_is_reached_over_netback_also_when_every_frame_is_in_many_pieces() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    for (name, address, args) in [("http-2", "10.0.2.22", ""), ("http-3", "10.0.2.23", "tx_fragment=85")] {
        let guest = Guest::create(dom0, "http", name, &format!("ip={address}/24 {args}"), VIF);
        guest.wait_for("listening on port 80");
        // One at a time, and patiently: what emulates all of this may be busy, and late is not lost.
        dom0.sh(&format!("for i in 1 2 3 4 5; do ping -c 1 -W 15 {address} || exit; done"));
        // One curl, since it is slow to start, and a connection for each request.
        let urls = |path: &str, times| format!("http://{address}/{path} ").repeat(times);
        let curl = "curl -sS -H 'Connection: close'";
        let big =
            dom0.sh(&format!("{curl} {} | tee /tmp/{name} | wc -c; tr -d . </tmp/{name} | wc -c", urls("big", 3)));
        assert_eq!(big.split_ascii_whitespace().collect::<Vec<_>>(), ["307200", "0"], "three times 100 KiB of dots");
        let answers = dom0.sh(&format!("{curl} {}", urls("health", 8)));
        assert_eq!(answers.matches("ok").count(), 8, "{answers}");
    }
}

#[test]
fn the_toolstack_ends_a_guest_and_starts_it_anew() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::attended(dom0, "http", "http-4", "ip=10.0.2.24/24", VIF);
    guest.wait_for("listening on port 80");
    let first = guest.domid();
    dom0.sh("xl reboot http-4");
    let again = "until d=$(xl domid http-4 2>/dev/null) && [ $d != FIRST ] && xenstore-exists /local/domain/$d/data/fata/state; do sleep 0.2; done";
    dom0.sh(&again.replace("FIRST", &first.to_string()));
    assert_ne!(guest.domid(), first);
    // Its processor, and those that it may have: not the first, on which QEMU would kill it (`dom0`).
    let processors = dom0.sh("xl vcpu-list http-4 | tail -n 1");
    assert_eq!(processors.split_ascii_whitespace().nth(6), Some("1"), "{processors}");
    dom0.sh("until curl -sS -m 1 http://10.0.2.24/health; do sleep 0.2; done");
    dom0.sh("xl shutdown -w http-4");
    guest.wait_until_gone();
}

#[test]
fn a_guest_that_dies_says_why_and_is_kept() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    for (crash, words) in [("panic", "crash=panic was asked for"), ("null", "the page at 0: a null pointer")] {
        let guest = Guest::attended(dom0, "hello", &format!("dying-{crash}"), &format!("crash={crash}"), "");
        guest.wait_for(words);
        let state = guest.state();
        assert!(state.as_ref().is_some_and(|state| state.contains('c')), "{crash}: {state:?}");
    }
}

#[test]
fn debians_own_vchan_tool_talks_to_the_guest_again_and_again() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::create(dom0, "http", "http-5", "ip=10.0.2.25/24", VIF);
    guest.wait_for("listening on port 80");
    let domid = guest.domid();
    dom0.sh(&format!("until xenstore-exists /local/domain/{domid}/data/fata/ctl/event-channel; do sleep 0.1; done"));
    // `answered N` waits for the Nth answer.
    let talk = |requests: &str| {
        dom0.sh(&format!(
            "answered() {{ until [ $(grep -c '^ok\\|^error' /tmp/answers) -ge $1 ]; do sleep 0.1; done; }}; : >/tmp/answers
             ({requests}) | timeout 100 vchan-socket-proxy {domid} /local/domain/{domid}/data/fata/ctl - >/tmp/answers
             cat /tmp/answers"
        ))
    };
    // Each is a client of its own; the second one finds nothing of the first.
    for _ in 0..2 {
        let answers = talk("echo ping; answered 1; echo mark from a test; answered 2; echo nonsense; answered 3");
        let lines: Vec<&str> = answers.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 3, "{answers}");
        assert!(lines[0].starts_with("ok: up "), "{answers}");
        assert!(lines[1].starts_with("ok"), "{answers}");
        assert!(lines[2].starts_with("error: there is no request \"nonsense\""), "{answers}");
    }
    // Longer than the ring, and more answers than it holds.
    let answers =
        talk("head -c 3000 /dev/zero | tr '\\0' x; echo; for i in 1 2 3 4 5 6 7 8; do echo dump; done; answered 9");
    assert!(answers.starts_with("error: a request has at most 1000 bytes"), "{answers}");
    assert_eq!(answers.matches("ok: recording").count(), 8, "{answers}");
}
