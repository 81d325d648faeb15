//! More threads than streams, all of which log as fast as they can: what is said of it adds up, to the record.
#![cfg(all(feature = "tracing", feature = "std"))]

mod records;

use std::time::Duration;

use fata_probe::region::{Config, Region};
use fata_probe::{log, threads};
use fata_wire::log::{Account, Count, SUPPRESSED};
use records::Copy;

const THREADS: u64 = 6;
const EACH: u64 = 20_000;

fn say(thread: u64, number: u64) {
    fata_probe::log!(Info, "by log!", thread = thread, number = number);
    tracing::info!(thread, number, "by tracing");
}

#[test]
fn what_several_threads_are_not_allowed_to_say_is_counted_to_the_record_and_so_told() {
    let config = Config { name: "threads", streams: 3, log_streams: 6, ..Config::default() };
    let region = Region::in_memory(&config).unwrap();
    threads::open(region);
    log::install().unwrap();
    log::set_rate(100);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                (0..EACH).for_each(|number| say(thread, number));
            });
        }
    });
    // After a period of a second what has not been said is said, by whoever looks.
    std::thread::sleep(Duration::from_millis(1200));
    threads::on_shared(log::tick);

    let copy = Copy::of(region);
    let accounts: Vec<Account> = (0..6).map(|stream| copy.account(stream)).collect();
    let sum = |of: fn(&Account) -> [u64; 3]| accounts.iter().flat_map(of).sum::<u64>();
    let (offered, suppressed) = (sum(|account| account.offered), sum(|account| account.suppressed));
    let records = copy.records();
    let told: Vec<_> = records.iter().filter(|record| record.name == SUPPRESSED).collect();
    let own = told.len() as u64;
    assert_eq!(sum(|account| account.discarded), 0);
    assert_eq!(offered + suppressed, 2 * THREADS * EACH + own, "{:?}", Count::Suppressed);
    assert_eq!(
        told.iter().map(|record| record.field("count").unwrap().parse::<u64>().unwrap()).sum::<u64>(),
        suppressed
    );
    assert_eq!(records.len() as u64, offered, "a record has a number that is not there, or is there without one");
    assert!(suppressed > THREADS * EACH, "{suppressed}");
    // Whoever was silent for so long is heard.
    say(THREADS, 0);
    assert_eq!(Copy::of(region).records().len(), records.len() + 2);
}
