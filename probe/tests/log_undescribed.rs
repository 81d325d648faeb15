//! A description area that is full: records of a callsite that found no room there are lost, and every one of them is counted by
//! level, at its length, with its cause; those of all others arrive. A program of its own, since the callsites stay refused.
#![cfg(all(feature = "tracing", feature = "log", feature = "std"))]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod records;

use fata_probe::log::{install, install_facade, rules, set_rate};
use fata_probe::region::{Attached, Config, Region};
use fata_wire::field::Level;
use fata_wire::log::class_of;
use fata_wire::log::ledger::{Extent, Share};
use records::Copy;

/// The rules and the area of descriptions are the process's.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A record of a callsite that is described while there is room.
fn known(i: u64) {
    fata_probe::log!(Info, "known", i = i);
}

/// A guest whose area of descriptions is full, and that has recorded one record.
fn guest(name: &str) -> (&'static Region, Attached) {
    let config = Config { name, log_streams: 2, log_packets: 64, description_bytes: 8192, ..Config::default() };
    set_rate(0);
    let region = Region::in_memory(&config).unwrap();
    let attached = region.attach(0).unwrap();
    known(0);
    while region.describe_env("filler", "nothing but words, to have the area filled") {}
    while region.describe_env("", "") {}
    (region, attached)
}

/// What is missing of a class, after what is still there was read; and the sum that both must have.
fn share(copy: &Copy, class: u32, missing: u64) -> (Share, Extent) {
    let (read, mut balance) = copy.balance(class);
    let account = copy.account(class);
    balance.end(Extent { records: account.discarded.iter().sum(), bytes: account.bytes.unwrap().discarded });
    assert_eq!(read.records + balance.left().records, account.offered.iter().sum());
    (balance.take(missing), read)
}

#[test]
fn records_that_cannot_be_described_are_counted_by_level_at_their_length_whoever_makes_them() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let _ = (install(), install_facade());
    rules::set("debug").unwrap();
    let (region, attached) = guest("undescribed");
    for i in 0..100u64 {
        known(1 + i);
        fata_probe::log!(Info, "too late", i = i);
        fata_probe::log!(Debug, "too late", i = i, text = "seven..");
        fata_probe::log!(Warn, "too late", i = i);
        tracing::info!(i, "too late");
        tracing::error!(i);
        log::info!("too late {i}");
        log::debug!(i = i; "too late");
        if i == 50 {
            // Whatever is changed meanwhile, a callsite without a description is not taken for one that has one.
            rules::set("reset,trace").unwrap();
        }
    }
    drop(attached);
    let copy = Copy::of(region);
    let records = copy.records();
    assert_eq!(records.len(), 101, "{records:#?}");
    assert!(records.iter().all(|record| record.name == "known"));
    let account = |level| {
        let (class, place) = class_of(level);
        let account = copy.account(class);
        let other = account.filtered[place] + account.suppressed[place] + account.folded[place];
        (account.offered[place], account.discarded[place], other)
    };
    assert_eq!(account(Level::Info), (101 + 300, 300, 0));
    assert_eq!(account(Level::Debug), (200, 200, 0));
    assert_eq!(account(Level::Warn), (100, 100, 0));
    assert_eq!(account(Level::Error), (100, 100, 0));
    // A header, a number and `i`; with the spans, and a text with the length before it.
    let (missing, read) = share(&copy, 1, 200);
    let (warn, error) = (8 * 4, 8 * 4);
    let expected = Share { bytes: Some(100 * (warn + error)), is_about: false, undescribed: 200 };
    assert_eq!((missing, read.records), (expected, 0));
    let (missing, read) = share(&copy, 0, 500);
    assert_eq!((missing.undescribed, missing.is_about, read), (500, false, Extent { records: 101, bytes: 101 * 24 }));
    assert_eq!(missing.bytes, copy.account(0).bytes.map(|bytes| bytes.discarded));
    // By `log!` without a text, with one; by `tracing`. The two of the crate `log` bring their file's name.
    let least = 100 * (24 + 8 * (1 + 1 + 1 + 1 + 1) + 8 * (1 + 1 + 1 + 1 + 1 + 2));
    assert!(missing.bytes.unwrap() > least && missing.bytes.unwrap() < 8 * least, "{missing:?}");
    // Each callsite was refused once, not each record.
    assert!(copy.names_refused() < 20, "{}", copy.names_refused());
}

#[test]
fn a_flood_of_a_callsite_without_a_description_is_limited_as_any_other() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let _ = install();
    rules::set("reset").unwrap();
    let (region, attached) = guest("limited");
    set_rate(100);
    for i in 0..20_000u64 {
        fata_probe::log!(Info, "never described", i = i);
        tracing::info!(i, "never described");
    }
    region.finish(fata_wire::shared::State::Exited, "");
    drop(attached);
    let copy = Copy::of(region);
    let account = copy.account(0);
    let summaries = copy.records().iter().filter(|record| record.name == fata_wire::log::SUPPRESSED).count() as u64;
    assert!(summaries >= 2 && account.discarded[0] >= 200 && account.suppressed[0] > 30_000);
    assert_eq!(account.discarded[0] + account.suppressed[0], 40_000);
    assert_eq!(account.offered[0], 1 + account.discarded[0] + summaries);
    let (missing, read) = share(&copy, 0, account.discarded[0]);
    assert_eq!((missing.undescribed, read.records), (account.discarded[0], 1 + summaries));
}
