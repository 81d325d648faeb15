//! One time axis for dom0 and all domains: two that talk to each other over dom0's bridge, and a program in dom0, collected
//! into one trace.

use std::process::Command;

use super::command::{PATIENCE, ctl, outside, stats, wait_until};
use super::guest::Guest;
use super::network::VIF;
use super::turns::with_fata_alone;

#[test]
fn packets_between_two_domains_are_joined_none_arrives_before_it_was_sent_and_dom0_lies_on_the_same_axis() {
    let Some((dom0, _turn)) = with_fata_alone() else { return };
    let server = Guest::create(dom0, "http", "server", "ip=10.0.2.31/24", VIF);
    server.wait_for("listening on port 80");
    let _client =
        Guest::create(dom0, "fetch", "client", "ip=10.0.2.32/24 from=10.0.2.31 requests=1000000 pause_ms=5", VIF);
    let here = dom0.start("echo $$ >here.pid; exec fata run chatter --name here rounds=1000000 pause_ms=50");
    dom0.sh("until fata list | grep here; do sleep 0.2; done");
    let collecting = dom0.start("echo $$ >pair.pid; exec fata collect server client here -o pair");
    let pair = dom0.share().join("pair");
    wait_until("nothing is collected", || {
        [("stream_0", 100_000), ("stream_16", 100_000), ("stream_32", 0)]
            .iter()
            .all(|(stream, len)| std::fs::metadata(pair.join(stream)).is_ok_and(|file| file.len() > *len))
    });
    // In turn: what is true of the order here must be true of the order there.
    let order =
        [("server", "mark-1"), ("here", "mark-2"), ("client", "mark-3"), ("here", "mark-4"), ("server", "mark-5")];
    for (guest, text) in order {
        assert_eq!(ctl(dom0, &format!("{guest} mark {text}")), "ok: marked\n");
    }
    dom0.sh("kill $(cat pair.pid) $(cat here.pid)");
    let said = collecting.wait(PATIENCE).text;
    here.wait(PATIENCE);
    assert_eq!(said.matches("(by Xen's system time, asked ").count(), 2, "{said}");
    assert_eq!(said.matches("(same counter)").count(), 1, "{said}");

    let stats = stats(dom0, "pair");
    let guests = stats["guests"].as_array().unwrap();
    for (guest, name) in guests.iter().zip(["server", "client"]) {
        assert_eq!((guest["name"].as_str(), guest["discarded"].as_u64()), (Some(name), Some(0)), "{guest}");
        assert_eq!(guest["clock_known_from"], "Xen's system time", "{guest}");
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
        assert!(0 < error && error <= clocks + 1 && clocks < 50_000_000, "{wire}, {said}");
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
    let marks = order.map(|(_, text)| dump.find(text).unwrap_or_else(|| panic!("no {text}")));
    assert!(marks.is_sorted(), "{marks:?}");
    let Ok(merged) = Command::new("babeltrace2").arg("--clock-seconds").arg(&pair).output() else {
        return fata_tests::skipped::skipped("babeltrace2 is not installed");
    };
    let merged = String::from_utf8_lossy(&merged.stdout);
    let times: Vec<&str> = merged.lines().filter_map(|line| Some(line.strip_prefix('[')?.split_once(']')?.0)).collect();
    assert_eq!(times.len() as u64, events);
    assert!(times.is_sorted(), "seconds since 1970 have equally many digits");
}
