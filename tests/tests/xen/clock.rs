//! A domain whose counter is changed under it while it is collected, by much and by little: Xen says so, the domain goes on by the new
//! one, and all parts lie where they belong on the axis of time.

use std::time::Instant;

use super::command::{collecting, ctl, outside, stats, stop_and_compare, wait_until};
use super::guest::Guest;
use super::turns::with_dom0;

/// How far the time between two marks in the trace may be from that by the clock of this machine, beside what the marking takes.
const ERROR_SECONDS: f64 = 0.5;

#[test]
fn a_domain_whose_counter_begins_anew_is_collected_on_as_another_guest_of_the_trace_with_the_right_times() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::create(dom0, "churn", "moved", "rounds=1000000 mib=1 rest_micros=20000 ring_mib=2 try=yes", "");
    let collecting = collecting(dom0, "moved", "moved-trace", 1000);
    let mark = |text: &str| {
        let asked = Instant::now();
        assert_eq!(ctl(dom0, &format!("moved mark {text}")), "ok: marked\n");
        (asked, Instant::now())
    };
    let before = mark("by-the-old-clock");
    guest.have_try("reset_tsc");
    let noticed = || collecting.text().matches(" goes on by a changed clock: ").count();
    wait_until("the change was not noticed", || noticed() > 0);
    let after = mark("by-the-new-clock");
    // By less than what Xen's own corrections may come to in time.
    let before_that = noticed();
    guest.have_try("advance_tsc");
    wait_until("the little change was not noticed", || noticed() > before_that);
    let last = mark("by-the-last-clock");
    let said = stop_and_compare(dom0, "moved", "moved-trace", collecting);
    assert!(said.contains("; the guest's clock was changed: what it recorded since is by another clock."), "{said}");

    let stats = stats(dom0, "moved-trace");
    // Two more at least: what Xen says of the time, it may say in two steps.
    assert!(stats["guests"].as_array().is_some_and(|guests| guests.len() >= 3), "{said}");
    // Between two recordings the guest keeps the newest, and what it wrote over is counted.
    let mut causes = stats["discarded"].as_object().unwrap().iter();
    assert!(causes.all(|(cause, count)| cause == "overwritten" || count == 0), "{said}");
    let dump = outside(dom0, &["dump", "moved-trace"]);
    let time = |text: &str| -> f64 {
        let line = dump.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text}"));
        line.split_once(" s  ").unwrap().0.parse().unwrap()
    };
    for ((from, began), (to, ended)) in [
        (("by-the-old-clock", before), ("by-the-new-clock", after)),
        (("by-the-new-clock", after), ("by-the-last-clock", last)),
    ] {
        let seconds = time(to) - time(from);
        let (least, most) =
            (ended.0.duration_since(began.1).as_secs_f64(), ended.1.duration_since(began.0).as_secs_f64());
        println!("measured: over a changed clock {seconds:.3} s, by this machine's {least:.3} to {most:.3} s");
        assert!((least - ERROR_SECONDS..most + ERROR_SECONDS).contains(&seconds), "{seconds} s: {said}");
    }
    assert!(dump.contains("clock.changed  hz="), "the change stands in the trace");
}
