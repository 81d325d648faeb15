//! babeltrace2 is the independent oracle of the format: it reads what a collector wrote, unmodified, and finds the same
//! events at the same times with the same fields.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::source::Guest;
use fata_collector::{Collector, Options};
use fata_probe::region::{Config, Region};
use fata_probe::{FlowId, Kind, TaskId, event, instant, name, span};
use fata_tests::skipped::skipped;
use fata_wire::packet::Packet;
use fata_wire::shared::{Clock, State};

/// Runs babeltrace2; `None`, loudly, where it is not installed.
fn babeltrace2(arguments: &[&str], dir: &Path) -> Option<String> {
    match Command::new("babeltrace2").args(arguments).arg(dir).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{errors}");
            assert!(!errors.contains("WARNING") || errors.contains("discarded"), "{errors}");
            Some(String::from_utf8(output.stdout).unwrap() + &errors)
        }
        Err(_) => {
            skipped("babeltrace2 is not installed");
            None
        }
    }
}

#[test]
fn babeltrace2_finds_the_same_events_at_the_same_ticks_also_after_a_silence_longer_than_32_bits_of_clock() {
    let dir = tempfile::tempdir().unwrap();
    let region = Region::in_memory(&Config { name: "oracle", ..Config::default() }).unwrap();
    let attached = region.attach(0).unwrap();
    region.set_running(&Clock { hz: 1_000_000_000, ..Clock::default() });
    {
        let _span = span!("net.rx", bytes = 1500usize, from = "a peer");
        instant!("oracle.texts", first = "nine bytes", second = "", third = "three", number = 3u64, last = "x");
        instant!("oracle.kinds", ok = true, signed = -5i64, real = 1.5f64, flow = FlowId(7));
    }
    std::thread::sleep(Duration::from_millis(2500));
    event!(Kind::Ready, "task.ready", task = TaskId(3));
    instant!("oracle.name", name = name!("http.connection"));
    instant!("oracle.long", a = 1u64, b = 2u64, c = 3u64, d = 4u64, e = 5u64, f = 6u64, g = 7u64);
    std::thread::sleep(Duration::from_millis(900));
    // A packet that ends with a text which does not fill its last word.
    instant!("oracle.last", text = "end");
    drop(attached);
    region.finish(State::Exited, "");

    // A dead guest's memory is a trace.
    let image = dir.path().join("image");
    std::fs::write(&image, region.copy()).unwrap();
    let trace = dir.path().join("trace");
    let mut sink = DirectorySink::open(&trace, directory::Options::default()).unwrap();
    let options = Options { snapshot: true, ..Options::default() };
    let mut collector = Collector::attach(&Guest::at(&image).unwrap(), &options, &[]).unwrap();
    collector.run(&mut sink, &mut |_| true).unwrap();

    let stream = std::fs::read(trace.join("stream_0")).unwrap();
    let mut ours = Vec::new();
    let mut rest = &stream[..];
    while !rest.is_empty() {
        let packet = Packet::parse(rest).unwrap();
        ours.extend(packet.events().map(|event| event.unwrap().ticks));
        rest = &rest[packet.bytes.len()..];
    }
    let silence = ours.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(silence > 1 << 32 || silence > 2_400_000_000, "the clock is too slow for this test: {silence}");

    let Some(text) = babeltrace2(&["--clock-cycles"], &trace) else { return };
    let theirs: Vec<u64> =
        text.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']')?.0.parse().ok()).collect();
    assert_eq!(theirs, ours, "{text}");
    for expected in [
        "net.rx_begin: ",
        "bytes = 1500, from = \"a peer\", end = { } }",
        "first = \"nine bytes\", end_0 = { }, second = \"\", end_1 = { }, third = \"three\", number = 3, last = \"x\", end = { } }",
        "{ arg = 1 }, { signed = -5, real = 1.5, flow = 7 }",
        "net.rx_end: ",
        "{ arg = 3 }, { }",
        "{ payload_words = 8, a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7 }",
        "fata.clock: ",
        "oracle.last: ",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}
