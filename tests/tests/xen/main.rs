//! Guests on a real Xen, and what a real dom0 sees of them. `tests/run xen` runs these tests alone.
//!
//! Xen and dom0 boot once, in QEMU, from Debian's packages (see [`dom0`]); every test uses that machine, with guests of its
//! own name. Nothing is skipped: where the machine cannot be made, all of them fail and say why.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod cpio;
mod dom0;
mod guest;
mod image;
mod packages;

use std::fs;
use std::time::Duration;

use dom0::dom0;
use guest::Guest;

#[test]
fn xen_and_dom0_boot_and_dom0_has_what_the_tests_need() {
    let Some(dom0) = dom0() else { return };
    fs::write(dom0.share().join("from-the-test"), "shared").unwrap();
    let list = dom0.sh("xl list; ls -d /dev/xen/* /sys/class/net/*; cat from-the-test; curl -V; iperf3 -v");
    for word in ["Domain-0", "xen/gntdev", "xen/evtchn", "xen/privcmd", "net/xenbr0", "shared", "curl 7", "iperf 3"] {
        assert!(list.contains(word), "{word} is missing: {list}");
    }
    assert_eq!(dom0.start("exit 7").wait(Duration::from_secs(20)).code, 7);
}

#[test]
fn the_image_that_boots_in_qemu_boots_as_a_domain_and_ends_on_its_own() {
    let Some(dom0) = dom0() else { return };
    let guest = Guest::create(dom0, "hello", "hello-1", "", "");
    let console = guest.wait_for("hello from task 1");
    assert!(console.contains("hello from a unikernel"), "{console}");
    guest.wait_until_gone();
}
