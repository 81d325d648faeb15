//! A domain that serves, and what dom0's own programs make of it: XenStore, Debian's client of its control channel, and curl.
//!
//! What they said of one domain is recorded once, and each test looks at its part; that of `network` at how long requests took.

use std::fs;
use std::sync::OnceLock;

use super::command::{collecting, stop_and_compare};
use super::dom0::Dom0;
use super::guest::Guest;
use super::network::VIF;
use super::turns::{recorded_once, with_dom0};

/// How often [`reach`] asks a guest for `big` and for `health`.
pub(crate) const REACHED: (usize, usize) = (3, 8);

/// What was said of a domain called `served`.
pub(crate) struct Recorded {
    pub(crate) dom0: &'static Dom0,
    domid: u32,
    /// All that stands below `data/fata` in XenStore, with each entry's rights, and then the event channels of the domain, before
    /// anybody has talked to it.
    advertised: String,
    /// `xl list`, and the same 2 s later.
    lists: String,
    /// What came for `big` three times and `health` eight times.
    bodies: String,
    /// What it answered to three clients of its control channel.
    answers: [String; 3],
    /// When curl was connected and when it had each of 40 answers, to `slow` and to `/` in turn, in seconds. All of it is in the
    /// trace `served-trace`, too.
    pub(crate) times: String,
}

/// Records once, for all tests.
pub(crate) fn recorded() -> Option<&'static Recorded> {
    static RECORDED: OnceLock<Recorded> = OnceLock::new();
    recorded_once(&RECORDED, record)
}

fn record() -> Recorded {
    let (dom0, _turn) = with_dom0().unwrap();
    let guest = Guest::create(dom0, "http", "served", "ip=10.0.2.22/24", VIF);
    guest.wait_for("listening on port 80");
    let domid = guest.domid;
    let place = format!("/local/domain/{domid}/data/fata");
    let advertised = dom0.sh(&format!("xenstore-ls -fp {place}; echo; lsevtchn {domid}"));
    let lists = dom0.sh("xl list served; sleep 2; xl list served");
    let bodies = reach(dom0, "served", "10.0.2.22");
    dom0.sh(&format!("until xenstore-exists {place}/ctl/event-channel; do sleep 0.2; done"));
    // Each is a client of its own; the second one finds nothing of the first. The third one asks for more than the ring holds, and
    // gets more.
    let few = "echo ping; answered 1; echo mark from a test; answered 2; echo nonsense; answered 3";
    let many = "head -c 3000 /dev/zero | tr '\\0' x; echo; for i in 1 2 3 4 5 6 7 8; do echo dump; done; answered 9";
    // `answered N` waits for the Nth answer.
    let answers = [few, few, many].map(|requests| {
        dom0.sh(&format!(
            "answered() {{ until [ $(grep -c '^ok\\|^error' /tmp/answers) -ge $1 ]; do sleep 0.2; done; }}; : >/tmp/answers
             ({requests}) | timeout 100 vchan-socket-proxy {domid} {place}/ctl - >/tmp/answers
             cat /tmp/answers"
        ))
    });
    let collecting = collecting(dom0, "served", "served-trace", 1000);
    // In turn, so that whatever else the machine does bears on both; each over a connection of its own; and by one curl, which
    // takes half a second to start.
    let urls = "-o /dev/null http://10.0.2.22/slow -o /dev/null http://10.0.2.22/ ".repeat(20);
    let times = dom0.sh(&format!("curl -sS -H 'Connection: close' -w '%{{time_connect}} %{{time_total}}\\n' {urls}"));
    stop_and_compare(dom0, "served", "served-trace", collecting);
    Recorded { dom0, domid, advertised, lists, bodies, answers, times }
}

/// Pings a guest, and asks it for `big` and `health`.
fn reach(dom0: &Dom0, name: &str, address: &str) -> String {
    let urls = |path: &str, times| format!("http://{address}/{path} ").repeat(times);
    // One ping at a time, and patiently: what emulates all of this may be busy, and late is not lost. One curl, since it is slow
    // to start, and a connection for each request.
    dom0.sh(&format!(
        "for i in 1 2 3 4 5; do ping -c 1 -W 15 {address} || exit; done
         curl -sS -H 'Connection: close' {} {} >{name}.bodies",
        urls("big", REACHED.0),
        urls("health", REACHED.1)
    ));
    fs::read_to_string(dom0.share().join(format!("{name}.bodies"))).unwrap()
}

#[test]
fn a_guest_advertises_its_ring_to_dom0_and_to_nobody_else() {
    let Some(Recorded { domid, advertised, lists, .. }) = recorded() else { return };
    let place = format!("/local/domain/{domid}/data/fata");
    let (entries, channels) = advertised.split_once("\n\n").unwrap();
    for line in entries.lines() {
        assert!(line.ends_with(&format!("(n{domid},r0)")), "{line}");
    }
    let entry = |key: &str| {
        let value =
            entries.split_once(&format!("{place}/{key} = \"")).unwrap_or_else(|| panic!("no {key}: {entries}")).1;
        value.split_once('"').unwrap().0
    };
    assert_eq!(["version", "name", "state"].map(entry), ["1", "served", "running"]);
    let pages: usize = entry("pages").parse().unwrap();
    assert!(pages > 1024, "4 MiB of ring and what belongs to it are {pages} pages");
    // Nobody has bound to the other end of the channel.
    let port = entry("event-channel");
    let line = channels.lines().find(|line| line.trim_start().starts_with(&format!("{port}:")));
    assert!(line.is_some_and(|line| line.contains("Waiting connection) - Remote Domain 0")), "{port}: {channels}");
    // It looks around 20 times a second, and sleeps in between.
    let lists = lists.lines().filter(|line| line.starts_with("served "));
    let used: Vec<f64> = lists.map(|line| line.split_ascii_whitespace().last().unwrap().parse().unwrap()).collect();
    let used = used[1] - used[0];
    println!("measured: an idle domain used {used:.1} s of its processor in 2 s");
    assert!(used < 0.5, "an idle domain used {used} s of its processor in 2 s");
}

#[test]
fn the_guest_is_reached_over_netback_also_when_every_frame_is_in_many_pieces() {
    let Some(Recorded { bodies: whole, .. }) = recorded() else { return };
    let (dom0, _turn) = with_dom0().unwrap();
    let guest = Guest::create(dom0, "http", "pieces", "ip=10.0.2.23/24 tx_fragment=85", VIF);
    guest.wait_for("listening on port 80");
    for bodies in [whole, &reach(dom0, "pieces", "10.0.2.23")] {
        let (dots, rest) = bodies.split_at_checked(307_200).unwrap_or_else(|| panic!("{} bytes", bodies.len()));
        assert!(dots.bytes().all(|byte| byte == b'.') && !rest.contains('.'), "three times 100 KiB of dots: {rest}");
        assert_eq!(rest.matches("ok").count(), 8, "{rest}");
    }
}

#[test]
fn debians_own_vchan_tool_talks_to_the_guest_again_and_again() {
    let Some(Recorded { answers: [first, second, many], .. }) = recorded() else { return };
    for answers in [first, second] {
        let lines: Vec<&str> = answers.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 3, "{answers}");
        assert!(lines[0].starts_with("ok: up "), "{answers}");
        assert!(lines[1].starts_with("ok"), "{answers}");
        assert!(lines[2].starts_with("error: there is no request \"nonsense\""), "{answers}");
    }
    assert!(many.starts_with("error: a request has at most 1000 bytes"), "{many}");
    assert_eq!(many.matches("ok: recording").count(), 8, "{many}");
}
