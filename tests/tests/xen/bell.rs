//! The event channel by which a guest tells dom0 that packets are ready: once for an eighth of its ring, never for an event.
//!
//! Both ends are counted: the guest records each time that it rings, and dom0's kernel counts what it hears.

use std::time::Duration;

use super::command::{PATIENCE, bytes_in, ctl, number_before, outside, stats, wait_until};
use super::guest::Guest;
use super::turns::with_dom0;

/// So many bells at least, of which each stands for an eighth of the ring.
const RINGS: u64 = 3;
/// The guest's ring: boot parameter `ring_mib=1`.
const RING_BYTES: u64 = 1 << 20;

#[test]
fn a_guest_rings_for_an_eighth_of_its_ring_and_never_for_less() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    // Collected from its first instructions on: nothing rings for what had filled the ring before anybody listened.
    let _guest = Guest::paused(dom0, "churn", "ringer", "rounds=1000000 mib=1 rest_micros=20 ring_mib=1", "");
    // dom0's kernel counts a channel's events under the name of the program that listens, which `fata ctl` has too.
    let collecting = dom0.start("ln -sf fata /bin/listener; exec listener collect ringer -o ringer-trace");
    dom0.sh("sleep 0.3; xl unpause ringer");
    let trace = dom0.share().join("ringer-trace");
    wait_until("too little is collected", || bytes_in(&trace) > (2 * RINGS + 1) * RING_BYTES / 8);
    assert!(ctl(dom0, "ringer stop").starts_with("ok: stopped"));
    let interrupts = dom0.sh("grep evtchn:listener /proc/interrupts");
    std::thread::sleep(Duration::from_millis(300));
    collecting.kill();
    let said = collecting.wait(PATIENCE).text;
    // Once Xen itself has rung, at the binding, since what was rung before that may be lost.
    let heard = interrupts.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() - 1;

    let dump = outside(dom0, &["dump", "ringer-trace"]);
    let field = |line: &str, name: &str| -> u64 {
        let value = line.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{line}")).1;
        value.split_ascii_whitespace().next().unwrap().parse().unwrap()
    };
    let rings: Vec<(u64, u64)> = dump
        .lines()
        .filter(|line| line.contains("trace.packets_ready"))
        .map(|line| (field(line, "packet"), field(line, "step")))
        .collect();
    let (stats, events) = (stats(dom0, "ringer-trace"), number_before(&said, " events, "));
    println!(
        "measured: a guest rang {} times for {} packets of {events} events; dom0 heard {heard}",
        rings.len(),
        stats["packets"]
    );
    assert!(rings.len() as u64 >= RINGS, "{dump}");
    for pair in rings.windows(2) {
        assert!(pair[1].0 >= pair[0].0 + pair[0].1, "{pair:?}: packets from bell to bell");
    }
    // Not only the first one. (An event channel does not count: dom0 may hear two as one. And a bell that is rung before its event
    // is collected, or while the guest stops to record, leaves none.)
    assert!((2..=2 * rings.len() as u64).contains(&heard), "{interrupts}");
    assert!(events > 1000 * rings.len() as u64, "{said}");
}

#[test]
fn a_guest_that_rings_all_the_time_is_heard_as_seldom_as_it_is_looked_at() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest =
        Guest::create(dom0, "churn", "tinkler", "rounds=1000000 mib=1 rest_micros=20000 ring_mib=2 try=yes", "");
    let collecting = dom0.start("ln -sf fata /bin/tinkled; exec tinkled collect tinkler -o tinkler-trace");
    let trace = dom0.share().join("tinkler-trace");
    wait_until("nothing is collected", || bytes_in(&trace) > 1000);
    guest.have_try("ring_bell");
    let counts = dom0.sh("grep evtchn:tinkled /proc/interrupts; sleep 1; grep evtchn:tinkled /proc/interrupts");
    let counts: Vec<u64> =
        counts.lines().map(|line| line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()).collect();
    collecting.kill();
    collecting.wait(PATIENCE);
    let heard = counts[1] - counts[0];
    println!("measured: a guest that rings all the time was heard {heard} times in a second");
    // Of two pauses of 5 ms one hears it. It does ring, and not at an eighth of its ring alone.
    assert!((3..=250).contains(&heard), "{counts:?}");
}
