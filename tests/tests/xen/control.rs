//! `fata ctl` over the control channel of a domain: beside Debian's own client, after one that died, and with one that lies.

use super::command::{busy, collecting, ctl, fata, outside, refused, stop_and_compare};
use super::turns::with_fata;

/// What stands in XenStore where the domain has its channel.
const PLACE: &str = "/local/domain/$(xl domid asked)/data/fata/ctl";

#[test]
fn requests_go_over_the_channel_and_past_it_while_another_client_has_it() {
    let Some((dom0, _turn)) = with_fata() else { return };
    let _guest = busy(dom0, "asked", "");
    dom0.sh(&format!("until xenstore-exists {PLACE}/event-channel; do sleep 0.1; done"));
    let collecting = collecting(dom0, "asked", "asked-trace", 1000);
    assert!(ctl(dom0, "asked ping").starts_with("ok: up "));
    assert!(ctl(dom0, "asked level churn=debug").starts_with("ok"));
    // What is not recorded in between is counted by neither side.
    for request in ["flush", "disable heap", "freeze", "start", "enable heap", "mode overwrite", "mode discard"] {
        assert!(ctl(dom0, &format!("asked {request}")).starts_with("ok"), "{request}");
    }
    assert_eq!(ctl(dom0, "asked mark over the channel"), "ok: marked\n");
    assert!(refused(dom0, "ctl asked nonsense").contains("there is no request \"nonsense\""));

    // Debian's client has it, until it is killed and can say nothing of that.
    let client =
        format!("sleep 1000 | vchan-socket-proxy $(xl domid asked) {PLACE} - >/dev/null & echo $! >client.pid; wait");
    let client = dom0.start(&client);
    dom0.sh(&format!("until lsevtchn $(xl domid asked) | grep \" $(xenstore-read {PLACE}/event-channel):.*(Connected)\"; do sleep 0.1; done"));
    let said = ctl(dom0, "asked mark past the channel");
    assert!(said.contains("is taken by another client") && said.contains("asked through its control page"), "{said}");
    assert!(said.contains("ok: marked"), "{said}");
    dom0.sh("kill -9 $(cat client.pid)");
    drop(client);
    assert_eq!(ctl(dom0, "asked mark over it again"), "ok: marked\n");

    for (key, lie, sentence) in [
        ("ring-ref", "4000000000", "the page behind its grant 4000000000 cannot be mapped"),
        ("ring-ref", "x", "is no number"),
        ("event-channel", "999", "its event channel 999 cannot be bound to"),
    ] {
        let was = dom0.sh(&format!("xenstore-read {PLACE}/{key}"));
        dom0.sh(&format!("xenstore-write {PLACE}/{key} {lie}"));
        let said = refused(dom0, "ctl asked ping");
        assert!(said.contains(sentence) && said.contains("needs no channel"), "{key} = {lie}: {said}");
        dom0.sh(&format!("xenstore-write {PLACE}/{key} {was}"));
    }
    // Where none is offered, there is the control page.
    dom0.sh(&format!("xenstore-rm {PLACE}"));
    assert!(fata(dom0, "ctl --timeout 40 asked mark without one").contains("ok: marked"));
    stop_and_compare(dom0, "asked", "asked-trace", collecting);

    // The domain records each request that it gets over its channel, and each mark however it came.
    let dump = outside(dom0, &["dump", "asked-trace"]);
    let over = |text: &str| dump.lines().any(|line| line.contains("xen.request") && line.contains(text));
    for (text, by_channel) in [
        ("level churn=debug", true),
        ("enable heap", true),
        ("mode discard", true),
        ("mark over the channel", true),
        ("mark past the channel", false),
        ("mark over it again", true),
        ("mark without one", false),
    ] {
        assert_eq!(over(text), by_channel, "{text}: {dump}");
        let mark = text.strip_prefix("mark ").unwrap_or("");
        assert!(dump.contains(mark), "{mark}");
    }
}
