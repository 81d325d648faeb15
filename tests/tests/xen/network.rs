//! The network of a domain against netback, with Debian's own clients in dom0: what they measure, and what the trace says.

use super::command::{collecting, ctl, number_before, outside, stats, stop_and_compare};
use super::dom0::Dom0;
use super::guest::Guest;
use super::http::{REACHED, Recorded, recorded};
use super::turns::with_dom0;

/// The network device, with a hotplug script that dom0's small image can run.
pub(crate) const VIF: &str = r#"vif=["bridge=xenbr0,script=vif-fata"]"#;

/// How far curl's time of a request and the guest's may lie apart at the median, in milliseconds, beside what a handshake takes.
/// The guest's lasts from the handshake's last frame to that of the answer's acknowledgement, both as they come in. curl's lasts
/// until curl itself has run again and read the answer, which in an emulated dom0 takes most of this.
const MEDIAN_ERROR_MILLIS: f64 = 20.0;
/// How far they may differ about how much longer one request takes than another, beside half a handshake: what is the same for
/// all falls out.
const DIFFERENCE_ERROR_MILLIS: f64 = 5.0;

/// How often the trace has an event of this name.
fn count(stats: &serde_json::Value, name: &str) -> u64 {
    let callsites = stats["callsites"].as_array().unwrap().iter().filter(|callsite| callsite["name"] == name);
    callsites.map(|callsite| callsite["count"].as_u64().unwrap()).sum()
}

/// Frames that netback has taken from the domain, and brought to it.
fn frames(dom0: &Dom0, domid: u32) -> (u64, u64) {
    let text = dom0.sh(&format!("cd /sys/class/net/vif{domid}.0/statistics; cat rx_packets tx_packets"));
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Begin and end of each `http.request`, in seconds.
fn requests(dom0: &Dom0, trace: &str) -> Vec<(f64, f64)> {
    let text = outside(dom0, &["dump", trace]);
    let times = |event: &str| -> Vec<f64> {
        let lines = text.lines().filter(|line| line.contains(event));
        lines.map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
    };
    // One after the other, so that the nth end is that of the nth begin.
    times("http.request_begin").into_iter().zip(times("http.request_end")).collect()
}

fn median_millis<'a>(seconds: impl Iterator<Item = &'a f64>) -> f64 {
    let mut sorted: Vec<f64> = seconds.copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2] * 1000.0
}

#[test]
fn requests_take_as_long_in_the_trace_as_curl_says() {
    let Some(Recorded { dom0, times: said, .. }) = recorded() else { return };
    let (handshakes, theirs): (Vec<f64>, Vec<f64>) = said
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(connected, all)| (connected.parse::<f64>().unwrap(), all.parse::<f64>().unwrap()))
        .map(|(connected, all)| (connected, all - connected))
        .unzip();
    let mut ours: Vec<f64> = requests(dom0, "served-trace").iter().map(|(begin, end)| end - begin).collect();
    // Before them came those that it had been reached by.
    let before = REACHED.0 + REACHED.1;
    assert_eq!((ours.len(), theirs.len()), (before + 40, 40), "{said}");
    let ours = ours.split_off(before);
    let apart: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| (ours - theirs).abs()).collect();
    let [slow, fast] = [0, 1].map(|which| [&ours, &theirs].map(|all| median_millis(all.iter().skip(which).step_by(2))));
    let longer = [&ours, &theirs]
        .map(|all| median_millis(all.chunks(2).map(|pair| pair[0] - pair[1]).collect::<Vec<_>>().iter()));
    let (apart, handshake) = (median_millis(apart.iter()), median_millis(handshakes.iter()));
    println!(
        "measured: /slow takes {:.1} ms in the trace and {:.1} ms by curl, / {:.1} and {:.1} ms, so {:.1} and {:.1} ms longer; a request \
         is {apart:.1} ms apart, a handshake takes {handshake:.1} ms (medians)",
        slow[0], slow[1], fast[0], fast[1], longer[0], longer[1]
    );
    assert!(apart < MEDIAN_ERROR_MILLIS + handshake);
    assert!((longer[0] - longer[1]).abs() < DIFFERENCE_ERROR_MILLIS + handshake / 2.0);
    assert!(ours.iter().step_by(2).all(|seconds| *seconds >= 0.02), "/slow sleeps for 20 ms: {ours:?}");
}

#[test]
fn iperf3_and_the_guest_and_netback_and_the_trace_count_the_same() {
    let Some((dom0, _turn)) = with_dom0() else { return };
    let guest = Guest::create(dom0, "iperf", "loaded", "ip=10.0.2.27/24 tx_fragment=85", VIF);
    guest.wait_for("listening on port 5201");
    let collecting = collecting(dom0, "loaded", "loaded-trace", 1000);
    for (direction, sender) in [("", true), ("-R", false)] {
        let said = dom0.sh(&format!("iperf3 -c 10.0.2.27 -t 1 -J {direction}"));
        let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        let bytes = |end: &str| report["end"][end]["bytes"].as_u64().unwrap();
        let (sent, received) = (bytes("sum_sent"), bytes("sum_received"));
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e6;
        println!("measured: iperf3 {direction}: {sent} bytes sent, {received} received, {rate:.1} Mbit/s");
        assert!(received > 100_000, "{said}");
        // What the client sends the guest waits for; what the guest sends is cut off where the client has had enough.
        assert!(if sender { sent == received } else { sent >= received }, "{said}");
        guest.wait_for(&format!("a test of {sent} bytes"));
    }
    // The last acknowledgements, so that all three have counted the same frames. Another guest's broadcast may come at any time:
    // netback is asked before the trace ends and afterwards.
    dom0.sh("sleep 0.5");
    let before = frames(dom0, guest.domid);
    assert!(ctl(dom0, "loaded stop").starts_with("ok: stopped"));
    let (from_guest, to_guest) = frames(dom0, guest.domid);
    let said = stop_and_compare(dom0, "loaded", "loaded-trace", collecting);
    let stats = stats(dom0, "loaded-trace");
    let (sent, received) = (count(&stats, "net.tx"), count(&stats, "net.rx"));
    println!(
        "measured: netback carried {to_guest} frames to the guest and {from_guest} from it; the trace has {received} and {sent}; \
         {} events, {} discarded",
        number_before(&said, " events, "),
        stats["discarded"]
    );
    assert!(stats["discarded"].as_object().unwrap().values().all(|count| count == 0), "{}", stats["discarded"]);
    // A frame of the longest takes 18 of the ring's 256 slots, so that it has been full, and has become free again.
    assert!(count(&stats, "netfront.tx_full") > 0, "{}", stats["callsites"]);
    assert!((before.0..=from_guest).contains(&sent) && (before.1..=to_guest).contains(&received), "{before:?}");
}
