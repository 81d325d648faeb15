//! One domain that is listed, collected, and asked by `fata ctl` over its control channel: beside Debian's own client, after one that
//! died, and with one that lies.

use super::command::{busy, collecting, ctl, ctls, fata, outside, refused, stop_and_compare};
use super::turns::with_dom0;

#[test]
fn requests_go_over_the_channel_or_past_it_and_what_the_domain_recorded_is_what_was_collected() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = busy(dom0, "asked", "");
    let domid = guest.domid;
    // What stands in XenStore where the domain has its channel.
    let place = format!("/local/domain/{domid}/data/fata/ctl");
    dom0.sh(&format!("until xenstore-exists {place}/event-channel; do sleep 0.2; done"));
    let list: serde_json::Value = serde_json::from_str(&fata(dom0, "list --json")).unwrap();
    let row = list.as_array().unwrap().iter().find(|row| row["name"] == "asked").unwrap();
    assert_eq!((row["platform"].as_str(), row["state"].as_str()), (Some("xen"), Some("running")), "{list}");
    let collecting = collecting(dom0, "asked", "asked-trace", 1000);
    let busy = refused(dom0, "collect asked -o another");
    assert!(busy.contains("is being collected by process"), "{busy}");
    // What is not recorded in between is counted by neither side.
    let requests = [
        "ping",
        "level churn=debug",
        "flush",
        "disable heap",
        "freeze",
        "start",
        "enable heap",
        "mode overwrite",
        "mode discard",
    ];
    let requests = requests.map(|request| format!("asked {request}"));
    let answers = ctls(dom0, &requests.each_ref().map(String::as_str));
    assert!(answers[0].starts_with("ok: up ") && answers.iter().all(|answer| answer.starts_with("ok")), "{answers:?}");
    assert_eq!(ctl(dom0, "asked mark over the channel"), "ok: marked\n");
    assert!(refused(dom0, "ctl asked nonsense").contains("there is no request \"nonsense\""));

    // Debian's client has it, until it is killed and can say nothing of that.
    let client = format!("sleep 1000 | vchan-socket-proxy {domid} {place} - >/dev/null & echo $! >client.pid; wait");
    let client = dom0.start(&client);
    dom0.sh(&format!(
        "until lsevtchn {domid} | grep \" $(xenstore-read {place}/event-channel):.*(Connected)\"; do sleep 0.3; done"
    ));
    let said = ctl(dom0, "asked mark past the channel");
    assert!(said.contains("is taken by another client") && said.contains("asked through its control page"), "{said}");
    assert!(said.contains("ok: marked"), "{said}");
    let again = dom0.sh("kill -9 $(cat client.pid); fata ctl --timeout 40 asked mark over it again");
    assert_eq!(again, "ok: marked\n");
    drop(client);

    for (key, lie, sentence) in [
        ("ring-ref", "4000000000", "the page behind its grant 4000000000 cannot be mapped"),
        ("ring-ref", "x", "is no number"),
        ("event-channel", "999", "its event channel 999 cannot be bound to"),
    ] {
        let said = dom0.sh(&format!(
            "place={place}/{key}; was=$(xenstore-read $place); xenstore-write $place {lie}; fata ctl asked ping; echo ended with $?
             xenstore-write $place $was"
        ));
        assert!(said.contains(sentence) && said.contains("needs no channel"), "{key} = {lie}: {said}");
        assert!(
            said.contains("fata: ") && said.ends_with("ended with 1\n") && !said.contains("panicked"),
            "{key} = {lie}: {said}"
        );
    }
    // Where none is offered, there is the control page.
    let without = dom0.sh(&format!("xenstore-rm {place} && fata ctl --timeout 40 asked mark without one"));
    assert!(without.contains("ok: marked"), "{without}");
    let said = stop_and_compare(dom0, "asked", "asked-trace", collecting);
    assert!(said.contains("stopped; the guest goes on"), "{said}");

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
