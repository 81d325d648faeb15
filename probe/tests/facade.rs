//! What programs and libraries say by the crate `log`, key-values included, is what a reader of the rings finds.
#![cfg(all(feature = "log", feature = "std"))]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod records;

use fata_probe::log::{install_facade, rules, set_rate};
use fata_probe::region::{Config, Region};
use records::Copy;

const CONFIG: Config<'_> = Config {
    name: "facade",
    log_streams: 2,
    packets_per_stream: 4,
    packet_bytes: 4096,
    streams: 1,
    log_packets: 16,
    log_packet_bytes: 4096,
    description_bytes: 128 << 10,
    platform: fata_wire::shared::Platform::Host,
    uuid: [5; 16],
    pid: 0,
};

/// `level target name=value …`, without the place in the source, which every record brings.
fn lines(region: &Region) -> Vec<String> {
    let line = |record: &records::Record| {
        let own = ["fata.line", "fata.file", "fata.target"];
        assert!(record.field("fata.file").unwrap().ends_with("tests/facade.rs"));
        let rest = record.fields.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let rest = rest.map(|(name, value)| format!(" {name}={value}")).collect::<String>();
        format!("{} {}{rest}", record.level.text(), record.field("fata.target").unwrap())
    };
    Copy::of(region).records().iter().map(line).collect()
}

fn same_place(user: u64) {
    log::info!(target: "shop", user = user, path = "/", ratio = 0.5, is_new = true; "served");
}

/// One test, since the logger and the rules are the process's.
#[test]
fn key_values_keep_their_types_and_what_finds_no_field_is_told_as_text() {
    let region = Region::in_memory(&CONFIG).unwrap();
    let attached = region.attach(0).unwrap();
    install_facade().unwrap();
    set_rate(0);
    rules::set("info").unwrap();
    log::info!(target: "shop", "plain {}", 1);
    same_place(7);
    same_place(8);
    log::warn!(target: "shop", delta = -3i64, id:% = "x-7", list:? = [1, 2]; "odd {}", 2);
    log::error!(target: "shop", a = 1, b = 2, message = 3, c = 3, d = 4, e = "five", a = 6; "many");
    log::debug!(target: "shop", a = 1; "not recorded");
    log::info!(target: "shop", long:% = "x".repeat(5000), after = 1; "{}", "y".repeat(5000));
    let lines = lines(region);
    assert_eq!(
        &lines[..5],
        [
            "info shop message=plain 1",
            "info shop message=served user=7 path=/ ratio=0.5 is_new=true",
            "info shop message=served user=8 path=/ ratio=0.5 is_new=true",
            "warn shop message=odd 2 delta=-3 id=x-7 list=[1, 2]",
            "error shop message=many a=1 b=2 c=3 d=4 fata.more=message=3 e=five a=6 ",
        ]
    );
    assert!(lines[5].contains("y… long=xxx") && lines[5].ends_with("x… after=1"), "{}", lines[5]);
    assert_eq!(Copy::of(region).account(0).cut, 1);
    assert_eq!(lines.len(), 6);

    // What is said again is counted, in its span alone; an error that is said otherwise comes in between.
    for peer in [1, 1, 1, 2, 2] {
        log::info!(target: "shop", "peer {peer}");
        log::info!(target: "shop", peer = peer; "paired");
    }
    for _ in 0..4 {
        log::warn!(target: "shop", "again");
    }
    let account = |class| Copy::of(region).account(class);
    assert_eq!((account(0).folded, account(1).folded), ([0, 0, 0], [0, 0, 3]));
    for _ in 0..4 {
        log::info!(target: "shop", user = 7; "again");
    }
    assert_eq!(account(0).folded, [3, 0, 0]);

    // A region that comes later is told what the shapes are.
    drop(attached);
    let later = Region::in_memory(&CONFIG).unwrap();
    let _attached = later.attach(0).unwrap();
    same_place(9);
    assert_eq!(self::lines(later), ["info shop message=served user=9 path=/ ratio=0.5 is_new=true"]);

    // What the rate limit keeps out is told by its place.
    set_rate(2);
    for n in 0..100 {
        log::info!(target: "till", "spam {n}");
    }
    const LINE: u32 = line!() - 2;
    later.finish(fata_wire::shared::State::Exited, "");
    let copy = Copy::of(later);
    let records = copy.records();
    let told: Vec<_> = records.iter().filter(|record| record.name == fata_wire::log::SUPPRESSED).collect();
    assert_eq!(told.len(), 1, "{records:#?}");
    let of: u16 = told[0].field("callsite").unwrap().parse().unwrap();
    assert_eq!(copy.place(of), format!("info till {}:{LINE}", file!()));
    assert_eq!(told[0].field("count"), Some("98"));
}
