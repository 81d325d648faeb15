//! The layer beside another one: each sees what it asked for, and what Fata sees is in the ring with its spans.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[path = "../../tests/records/mod.rs"]
mod records;

use std::sync::{Arc, Mutex};

use fata_probe::log::rules;
use fata_probe::region::{Config, Region};
use fata_probe::threads;
use fata_wire::log::Account;
use fata_wire::shared::Geometry;
use tracing_subscriber::prelude::*;

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Other(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Other {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        self.0.lock().unwrap().push(event.metadata().level().to_string());
    }
}

/// How many records all threads together offered of INFO and DEBUG, and of WARN.
fn offered(region: &Region) -> (u64, u64, u64) {
    let copy = region.copy();
    let geometry = Geometry::parse(copy.first_chunk().unwrap(), copy.len() as u64).unwrap();
    let account = |stream: u32| Account::parse(&copy[geometry.log_account(stream)..]);
    let streams = geometry.stream_count..geometry.stream_count + geometry.log_streams;
    streams.map(account).enumerate().fold((0, 0, 0), |(info, debug, warn), (i, account)| match i % 2 {
        0 => (info + account.offered[0], debug + account.offered[1], warn),
        _ => (info, debug, warn + account.offered[2]),
    })
}

#[test]
fn each_layer_sees_what_it_asked_for_and_a_change_of_the_rules_changes_ours_alone() {
    let config = Config { name: "layer", streams: 3, log_streams: 6, ..Config::default() };
    let region = Region::in_memory(&config).unwrap();
    threads::open(region);
    let other = Other::default();
    tracing_subscriber::registry().with(fata_service::layer()).with(other.clone()).init();

    let say = |n: u64| {
        let _span = tracing::info_span!("outer", n).entered();
        tracing::warn!(n, "warned");
        tracing::info!(n, "informed");
        tracing::debug!(n, "debugged");
    };
    say(0);
    assert_eq!(offered(region), (1, 0, 1));
    assert_eq!(*other.0.lock().unwrap(), ["WARN", "INFO", "DEBUG"]);
    let copy = records::Copy::of(region);
    let lines = copy.lines();
    assert_eq!(lines, ["warn layer <outer{n=0}> message=warned n=0", "info layer <outer{n=0}> message=informed n=0"]);
    assert_eq!(
        copy.trace().iter().filter(|line| line.starts_with("outer")).collect::<Vec<_>>(),
        ["outer n=0", "outer end"]
    );

    rules::set("debug").unwrap();
    say(1);
    assert_eq!(offered(region), (2, 1, 2));
    rules::set("off").unwrap();
    say(2);
    assert_eq!(offered(region), (2, 1, 2));
    assert_eq!(other.0.lock().unwrap().len(), 9);

    // More threads than rings: those that have none of their own take turns, and no record is lost or counted twice.
    rules::set("reset").unwrap();
    fata_probe::log::set_rate(0);
    let before = offered(region);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for n in 0..500 {
                    let _span = tracing::info_span!("inner", thread).entered();
                    tracing::info!(thread, n, "from a thread");
                    fata_probe::log!(Info, "from a thread", thread = thread, n = n);
                }
            });
        }
    });
    assert_eq!(offered(region).0 - before.0, 8 * 2 * 500);
    let copy = records::Copy::of(region);
    let inner: Vec<_> = copy.records().into_iter().filter(|record| record.field("message").is_some()).collect();
    let from_threads = inner.iter().filter_map(|record| Some((&record.spans, record.field("thread")?)));
    let own = from_threads.clone().filter(|(spans, thread)| **spans == [format!("inner{{thread={thread}}}")]).count();
    // What the first record of a ring that was written over has around it may have stood before it.
    let bare = from_threads.clone().filter(|(spans, _)| **spans == ["inner"]).count();
    assert!(own > 100 && bare <= 3 && own + bare == from_threads.count(), "{own} and {bare} of {inner:?}");
}
