//! Domains that end at any moment or mean ill, while they are collected beside one that does not: it loses nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::command::{
    PATIENCE, busy, bytes_in, calm, collecting, fata, number_before, read_and_lost, refused, stats, stop_and_compare,
    wait_until,
};
use super::dom0::Dom0;
use super::turns::with_dom0;

/// How many domains are destroyed, at another moment in each run, unless `FATA_XEN_KILLS` says otherwise.
const KILLS: u64 = 1;
/// From the first collected byte to the end, at most.
const LONGEST_LIFE_MILLIS: u64 = 1500;

/// The trace reads without a complaint, holds what the collector said that it has collected, and nothing is missing in it.
fn is_whole(dom0: &Dom0, trace: &str, said: &str) {
    let (read, lost) = read_and_lost(dom0, trace);
    assert_eq!((read, lost), (number_before(said, " events, "), 0), "{said}");
    let stats = stats(dom0, trace);
    assert_eq!(stats["gaps"].as_array().unwrap().len(), 0, "{stats}");
    assert!(read > 100, "{said}");
}

#[test]
fn a_domain_that_is_destroyed_at_any_moment_leaves_a_whole_trace_and_costs_another_no_event() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let kills = std::env::var("FATA_XEN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let mut random = u64::from(seed) | 1;
    println!("measured: the moments of death come from the seed {seed}");
    let _bystander = calm(dom0, "bystander");
    let beside = collecting(dom0, "bystander", "bystander-trace", 1000);
    // Each waits a while for the next life of its domain.
    let mut collectors = Vec::new();
    for kill in 0..kills {
        let (name, trace) = (format!("prey-{kill}"), format!("prey-{kill}-trace"));
        let prey = busy(dom0, &name, "");
        let collecting = collecting(dom0, &name, &trace, 1);
        // xorshift64 (Marsaglia).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(random % LONGEST_LIFE_MILLIS));
        prey.destroy();
        collectors.push((trace, collecting));
    }
    for (trace, collecting) in collectors {
        let ended = collecting.wait(PATIENCE);
        assert_eq!(ended.code, 0, "{}", ended.text);
        assert!(ended.text.contains("the guest is gone without a word"), "{}", ended.text);
        is_whole(dom0, &trace, &ended.text);
    }
    stop_and_compare(dom0, "bystander", "bystander-trace", beside);
}

#[test]
fn a_domain_that_ends_its_grants_is_read_by_who_has_mapped_them_and_refused_to_all_others() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let _bystander = calm(dom0, "faithful");
    let beside = collecting(dom0, "faithful", "faithful-trace", 1000);
    let hostile = super::guest::Guest::create(
        dom0,
        "churn",
        "faithless",
        "rounds=1000000 mib=1 rest_micros=50000 ring_mib=2 try=yes",
        "",
    );
    let collecting = collecting(dom0, "faithless", "faithless-trace", 1000);
    hostile.have_try("end_grants");
    let before = bytes_in(&dom0.share().join("faithless-trace"));
    wait_until("it was not collected on", || bytes_in(&dom0.share().join("faithless-trace")) > before + 5_000);
    let said = refused(dom0, "collect faithless -o another");
    assert!(said.contains("cannot be mapped"), "{said}");
    assert!(fata(dom0, "list").contains("faithful."));
    hostile.destroy();
    let ended = collecting.wait(PATIENCE);
    assert_eq!(ended.code, 0, "{}", ended.text);
    is_whole(dom0, "faithless-trace", &ended.text);
    stop_and_compare(dom0, "faithful", "faithful-trace", beside);
}
