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
mod http;
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
use turns::with_dom0;

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
    let Some((dom0, _turn)) = with_dom0() else { return };
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
fn the_toolstack_ends_a_guest_and_starts_it_anew() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::attended(dom0, "http", "http-4", "ip=10.0.2.24/24", VIF);
    guest.wait_for("listening on port 80");
    let first = guest.domid;
    dom0.sh("xl reboot http-4");
    let lives = || guest.console().matches("listening on port 80").count();
    command::wait_until("it was not started anew", || lives() == 2);
    let processors = dom0.sh("curl -sS -m 9 http://10.0.2.24/health; xl vcpu-list http-4");
    let columns: Vec<&str> = processors.lines().last().unwrap().split_ascii_whitespace().collect();
    assert!(columns[1].parse::<u32>().unwrap() > first, "{processors}");
    // Its processor, and those that it may have: not the first, on which QEMU would kill it (`dom0`).
    assert_eq!(columns[6], "1", "{processors}");
    dom0.sh("xl shutdown http-4");
    guest.wait_until_gone();
}

#[test]
fn a_guest_that_dies_says_why_and_is_kept() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    // One that panics: `collect`.
    let guest = Guest::attended(dom0, "hello", "dying", "crash=null", "");
    guest.wait_for("the page at 0: a null pointer");
    guest.wait_for_crash();
}
