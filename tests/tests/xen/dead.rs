//! Domains that have crashed while they were writing a record: destroyed at once under a collector's hands, or kept, with nobody
//! attached, and then read through their grants or from their memory.

use super::collect::crash;
use super::command::{PATIENCE, fata, number_before, outside, read_and_lost, refused};
use super::guest::Guest;
use super::turns::with_dom0;

/// Boot parameters of a domain that works for a while, and then crashes with a record reserved and not written.
const CRASHES: &str = "mib=4 rest_micros=1000 crash=unfinished";
/// How its recording ends, and what the dump of it says of that record.
const END: &str = "; the guest crashed; 1 of its records are unfinished: the last shows what it was at";
const RECORD: &str = "fata.unfinished  meant=crash.unfinished  at=";

#[test]
fn a_domain_that_crashes_and_is_destroyed_at_once_is_said_to_have_crashed_and_where_it_was() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::paused(dom0, "churn", "torn", &format!("rounds=5 {CRASHES}"), "on_crash=\"destroy\"");
    // The collector waits for its first instructions.
    let said = dom0.sh("fata collect torn -o torn-trace & sleep 0.3; xl unpause torn; wait $!");
    assert!(said.contains(END), "{said}");
    let (events, lost) = read_and_lost(dom0, "torn-trace");
    assert!((events, lost) == (number_before(&said, " events, "), 0) && events > 1000, "{said}");
    let dump = outside(dom0, &["dump", "torn-trace"]);
    assert!(dump.lines().last().unwrap().contains(RECORD), "{dump}");
    guest.wait_for_its_last_page();
}

#[test]
fn a_dead_domain_that_nobody_collected_is_read_to_the_same_event_through_its_grants_and_from_its_memory() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    // Little memory, since all of it is looked through.
    let args = format!("rounds=2 {CRASHES}");
    let guest = Guest::attended(dom0, "churn", "kept", &args, "on_crash=\"preserve\"; memory=32");
    // One that has not run one instruction: who asks for its ring waits a while.
    let unborn = Guest::paused(dom0, "churn", "unborn", "", "on_crash=\"preserve\"; memory=24");
    let waiting = dom0.start("fata collect unborn -o unborn-trace");
    guest.wait_for_crash();
    let place = format!("/local/domain/{}/data/fata", guest.domid);
    let by_grants = fata(dom0, "collect kept -o by-grants --snapshot");
    assert!(by_grants.contains(END) && !by_grants.contains("read from its memory"), "{by_grants}");
    let events = number_before(&by_grants, " events, ");
    assert!(events > 1000, "{by_grants}");

    // What it advertises is of no use, and then it advertises nothing.
    for (trace, script, because) in [
        ("lied", format!("xenstore-write {place}/ring-ref 4000000000"), "cannot be mapped"),
        ("mute", format!("xenstore-rm {place}"), "it advertises no ring in XenStore"),
    ] {
        dom0.sh(&script);
        let said = fata(dom0, &format!("collect kept -o {trace}"));
        assert!(said.contains("the domain is dead, and this was read from its memory: "), "{said}");
        assert!(said.contains(because) && said.contains(END), "{said}");
        assert_eq!(number_before(&said, " events, "), events, "{said}");
        let [grants, memory] = ["by-grants", trace].map(|trace| outside(dom0, &["dump", trace]));
        assert!(memory.contains(RECORD), "{memory}");
        assert!(grants == memory, "the two differ");
    }
    let dead = refused(dom0, "ctl kept ping");
    assert!(dead.contains("is gone without a word"), "{dead}");

    let alive = waiting.wait(PATIENCE);
    assert!(alive.code == 1 && alive.text.contains("advertises no trace ring in XenStore"), "{}", alive.text);
    crash(dom0, unborn.domid);
    let dead = refused(dom0, "collect unborn -o unborn-trace");
    assert!(
        dead.contains("is dead; it advertises no ring in XenStore, and of its memory: no trace ring here"),
        "{dead}"
    );
    guest.destroy();
    let gone = refused(dom0, "collect kept -o gone");
    assert!(gone.contains("no guest \"kept\""), "{gone}");
}
