//! Domains that are dead and kept, and that nobody was attached to: read through their grants, or from their memory.

use super::collect::crash;
use super::command::{busy, ctl, fata, number_before, outside, refused, with_fata};

#[test]
fn a_dead_domain_that_nobody_collected_is_read_to_the_same_event_through_its_grants_and_from_its_memory() {
    let Some((dom0, _turn)) = with_fata() else { return };
    let _guest = busy(dom0, "kept", "on_crash=\"preserve\"");
    ctl(dom0, "kept mark before the end");
    crash(dom0, "kept");
    let place = dom0.sh("echo -n /local/domain/$(xl domid kept)/data/fata");
    let by_grants = fata(dom0, "collect kept -o by-grants --snapshot");
    assert!(by_grants.contains("; the guest crashed") && !by_grants.contains("read from its memory"), "{by_grants}");
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
        assert!(said.contains(because) && said.contains("; the guest crashed"), "{said}");
        assert_eq!(number_before(&said, " events, "), events, "{said}");
        let [grants, memory] = ["by-grants", trace].map(|trace| outside(dom0, &["dump", trace]));
        assert!(memory.contains("before the end"), "{memory}");
        assert!(grants == memory, "the two differ");
    }
    let dead = refused(dom0, "ctl kept ping");
    assert!(dead.contains("is gone without a word"), "{dead}");

    // One that has not run one instruction.
    dom0.sh("xl create -q -p kept.cfg 'kernel=\"/share/fata-image\"; name=\"unborn\"; on_crash=\"preserve\"'");
    let alive = refused(dom0, "collect unborn -o unborn-trace");
    assert!(alive.contains("advertises no trace ring in XenStore"), "{alive}");
    crash(dom0, "unborn");
    let dead = refused(dom0, "collect unborn -o unborn-trace");
    assert!(
        dead.contains("is dead; it advertises no ring in XenStore, and of its memory: no trace ring here"),
        "{dead}"
    );
    dom0.sh("xl destroy unborn; xl destroy kept");
    let gone = refused(dom0, "collect kept -o gone");
    assert!(gone.contains("no guest \"kept\""), "{gone}");
}
