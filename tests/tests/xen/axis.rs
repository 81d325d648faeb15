//! One time axis for dom0 and all domains: two that talk to each other over dom0's bridge, and a program in dom0, collected
//! into one trace, which two tests look at; while dom0's kernel stamps what passes over the bridge.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

use super::command::{PATIENCE, ctls, outside, stats, wait_until};
use super::dom0::Dom0;
use super::guest::Guest;
use super::network::VIF;
use super::stamps::{Stamps, stamping};
use super::turns::{recorded_once, with_dom0};

/// In turn: what is true of the order in which these are asked for must be true of their order in the trace.
const MARKS: [(&str, &str); 5] =
    [("server", "mark-1"), ("here", "mark-2"), ("client", "mark-3"), ("here", "mark-4"), ("server", "mark-5")];
/// The width of what the stamps leave open of a domain's clock, in nanoseconds: the shortest ways of a frame to the bridge and
/// back. One that were off by more would be noticed.
const OPEN_NANOS: f64 = 50_000_000.0;

/// What was recorded, as the folder `pair` and the file `pair-stamps` in the share.
struct Recorded {
    dom0: &'static Dom0,
    /// What the collector said.
    said: String,
    /// The network devices of server and client in dom0.
    devices: [String; 2],
}

/// Records once, for both tests.
fn recorded() -> Option<&'static Recorded> {
    static RECORDED: OnceLock<Recorded> = OnceLock::new();
    recorded_once(&RECORDED, record)
}

fn record() -> Recorded {
    let (dom0, _turn) = with_dom0().unwrap();
    let here = dom0.start("exec fata run chatter --name here rounds=1000000 pause_ms=200");
    dom0.sh("until fata list | grep here; do sleep 0.2; done");
    let server = Guest::create(dom0, "http", "server", "ip=10.0.2.31/24", VIF);
    server.wait_for("listening on port 80");
    let client =
        Guest::create(dom0, "fetch", "client", "ip=10.0.2.32/24 from=10.0.2.31 requests=1000000 pause_ms=20", VIF);
    let devices = [server.domid, client.domid].map(|domid| format!("vif{domid}.0"));
    let stamping = stamping(dom0, &devices.join(" "), "pair-stamps");
    let collecting = dom0.start("exec fata collect server client here -o pair");
    let pair = dom0.share().join("pair");
    wait_until("nothing is collected", || {
        [("stream_0", 15_000), ("stream_16", 15_000), ("stream_32", 0)]
            .iter()
            .all(|(stream, len)| std::fs::metadata(pair.join(stream)).is_ok_and(|file| file.len() > *len))
    });
    let marks = MARKS.map(|(guest, text)| format!("{guest} mark {text}"));
    assert_eq!(ctls(dom0, &marks.each_ref().map(String::as_str)), ["ok: marked\n"; MARKS.len()]);
    collecting.kill();
    here.kill();
    let said = collecting.wait(PATIENCE).text;
    stamping.kill();
    stamping.wait(PATIENCE);
    here.wait(PATIENCE);
    Recorded { dom0, said, devices }
}

#[test]
fn packets_between_two_domains_are_joined_none_arrives_before_it_was_sent_and_dom0_lies_on_the_same_axis() {
    let Some(Recorded { dom0, said, .. }) = recorded() else { return };
    // By Xen's system time too, where an emulated one does not contradict what the answers show.
    assert_eq!(said.matches(" times)").count(), 2, "{said}");
    assert_eq!(said.matches("(same counter)").count(), 1, "{said}");

    let stats = stats(dom0, "pair");
    let guests = stats["guests"].as_array().unwrap();
    for (guest, name) in guests.iter().zip(["server", "client"]) {
        assert_eq!((guest["name"].as_str(), guest["discarded"].as_u64()), (Some(name), Some(0)), "{guest}");
        assert!(["Xen's system time", "asked"].iter().any(|how| guest["clock_known_from"] == *how), "{guest}");
    }
    assert_eq!((guests.len(), guests[2]["name"].as_str()), (3, Some("here")));
    assert_eq!(stats["warnings"].as_array().map(Vec::len), Some(0), "{}", stats["warnings"]);
    let wires = stats["wires"].as_array().unwrap();
    let pairs: Vec<_> = wires.iter().map(|wire| (wire["from"].as_str(), wire["to"].as_str())).collect();
    assert_eq!(pairs, [(Some("server"), Some("client")), (Some("client"), Some("server"))]);
    // What is said of the clocks is what the arrows are drawn with, and a millisecond of it is what emulation makes of Xen's.
    let clocks: i64 = guests[..2].iter().map(|guest| guest["clock_error_ns"].as_i64().unwrap()).sum();
    for wire in wires {
        println!("measured: {wire}");
        assert!(wire["joined"].as_u64().unwrap() > 20 && wire["impossible"] == 0, "{wire}");
        let error = wire["error_ns"].as_i64().unwrap();
        assert!(0 < error && error <= clocks + 1 && clocks < 200_000_000, "{wire}, {said}");
        assert!(wire["min_ns"].as_i64().unwrap() > -error, "{wire}");
    }
    let joined: u64 = wires.iter().map(|wire| wire["joined"].as_u64().unwrap()).sum();
    let received = stats["wire_ends"]["received"].as_u64().unwrap();
    // Until both are recorded a packet has one end only; and some come from dom0, which is not recorded.
    assert!(joined <= received && joined * 4 >= received * 3, "{joined} of {received} were joined");

    let events = stats["events_total"].as_u64().unwrap();
    let dump = outside(dom0, &["dump", "pair"]);
    let times = dump.lines().filter_map(|line| line.split_once(" s  ")?.0.parse::<f64>().ok());
    let times: Vec<f64> = times.collect();
    assert!(times.len() as u64 == events && times.is_sorted());
    let marks = MARKS.map(|(_, text)| dump.find(text).unwrap_or_else(|| panic!("no {text}")));
    assert!(marks.is_sorted(), "{marks:?}");
    let Some(times) = unix_nanos_of_events(dom0) else { return };
    assert_eq!(times.len() as u64, events);
    assert!(times.is_sorted());
}

/// When each event of the trace happened, by another reader of the trace.
fn unix_nanos_of_events(dom0: &Dom0) -> Option<Vec<u64>> {
    let pair = dom0.share().join("pair");
    let Ok(merged) = Command::new("babeltrace2").arg("--clock-seconds").arg(&pair).output() else {
        fata_tests::skipped::skipped("babeltrace2 is not installed");
        return None;
    };
    let merged = String::from_utf8_lossy(&merged.stdout);
    let times = merged.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']')?.0.split_once('.'));
    Some(times.map(|(seconds, nanos)| format!("{seconds}{nanos}").parse().unwrap()).collect())
}

#[test]
fn frames_that_dom0_stamps_on_their_way_were_sent_before_and_received_afterwards_by_the_axis() {
    let Some(Recorded { dom0, devices, .. }) = recorded() else { return };
    let stats = stats(dom0, "pair");
    let guests = stats["guests"].as_array().unwrap();
    let stamps = Stamps::parse(&std::fs::read_to_string(dom0.share().join("pair-stamps")).unwrap());
    let Some(unix_nanos) = unix_nanos_of_events(dom0) else { return };
    // The counter of dom0's processor is the axis: of the guest that is a process there, the trace says what it is worth.
    let metadata = std::fs::read_to_string(dom0.share().join("pair/metadata")).unwrap();
    let clock = metadata.split_once("name = tsc_2_;").unwrap().1;
    let number = |key: &str| -> i128 {
        let text = clock.split_once(&format!("\n    {key} = ")).unwrap().1;
        text.split_once(';').unwrap().0.parse().unwrap()
    };
    let (hz, epoch) = (number("freq"), number("offset_s") * number("freq") + number("offset"));
    let by_ticks = stamps.by_ticks();
    let system_nanos = |unix: u64| by_ticks.at(u64::try_from(i128::from(unix) * hz / 1_000_000_000 - epoch).unwrap());

    // When each packet was sent and received, in Xen's system time: `net.tx` and `net.rx` stand before the events that name
    // the packet as both its ends know it.
    let dump = outside(dom0, &["dump", "pair"]);
    let mut latest = BTreeMap::new();
    let mut events: BTreeMap<(&str, &str), Vec<(u64, f64)>> = BTreeMap::new();
    let lines =
        dump.lines().filter(|line| line.split_once(" s  ").is_some_and(|(time, _)| time.parse::<f64>().is_ok()));
    for (line, unix) in lines.zip(unix_nanos) {
        let words: Vec<&str> = line.splitn(4, "  ").collect();
        let (guest, event) = (words[1].split_once('/').unwrap().0, words[2]);
        match event {
            "net.tx" | "net.rx" => drop(latest.insert((guest, event), unix)),
            "wire.tx" | "wire.rx" => {
                let identity = words[3].strip_prefix("id=flow ").unwrap().parse().unwrap();
                let key = (guest, if event == "wire.tx" { "net.tx" } else { "net.rx" });
                // None has come before where the recording begins between the two.
                let nanos = latest.get(&key).and_then(|&unix| system_nanos(unix));
                events.entry(key).or_default().extend(nanos.map(|nanos| (identity, nanos)));
            }
            _ => {}
        }
    }
    for ((guest, device), facts) in ["server", "client"].into_iter().zip(devices).zip(guests) {
        let error = facts["clock_error_ns"].as_f64().unwrap() + stamps.error_nanos();
        let way = |event: &str, to_domain| -> Vec<f64> {
            let stamped = once(stamps.frames(device, to_domain));
            let traced = once(events[&(guest, event)].iter().copied());
            traced.iter().filter_map(|(packet, at)| Some(at - stamped.get(packet)?)).collect()
        };
        let (sent, received) = (way("net.tx", false), way("net.rx", true));
        let latest_sent = sent.iter().copied().fold(f64::MIN, f64::max);
        let earliest_received = received.iter().copied().fold(f64::MAX, f64::min);
        println!(
            "measured: {guest} sent {} stamped frames {:.3} ms before the stamp at least and received {} {:.3} ms behind it; the trace \
             says {:.3} ms of its clock, the stamps are right to {:.3} ms",
            sent.len(),
            -latest_sent / 1e6,
            received.len(),
            earliest_received / 1e6,
            facts["clock_error_ns"].as_f64().unwrap() / 1e6,
            stamps.error_nanos() / 1e6
        );
        assert!(sent.len() > 20 && received.len() > 20);
        assert!(latest_sent <= error, "sent {latest_sent} ns after dom0 saw it, and {error} ns are the error");
        assert!(earliest_received >= -error, "received {earliest_received} ns before dom0 sent it");
        // Enough frames, so that a clock that were off by more could not pass.
        assert!(earliest_received - latest_sent < OPEN_NANOS);
    }
}

/// Those that come once: of two that share an identity it is not known which is which.
fn once(packets: impl Iterator<Item = (u64, f64)>) -> BTreeMap<u64, f64> {
    let mut all: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    packets.for_each(|(identity, at)| all.entry(identity).or_default().push(at));
    all.into_iter().filter_map(|(identity, at)| Some((identity, (at.len() == 1).then(|| at[0])?))).collect()
}
