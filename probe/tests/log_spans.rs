//! What spans around a record carry is read with the record: whichever of several spans of one callsite is around it, in every
//! packet, after values that came later, and never that of another span, whatever was overwritten or found no room.
#![cfg(all(feature = "tracing", feature = "log", feature = "std"))]

#[path = "records/guest.rs"]
mod guest;
mod records;

use std::sync::atomic::{AtomicU64, Ordering};

use fata_probe::region::{Config, Region};
use fata_wire::log::ledger::Extent;
use fata_wire::shared::{Mode, PAGE_BYTES, control};
use guest::Guest;
use tracing::{error, info, info_span, warn};

fn guest(name: &str, log_packets: u32, mode: Mode) -> Guest {
    let guest = Guest::with(&Config { name, log_streams: 2, log_packets, ..Config::default() });
    ask_for(guest.region, mode);
    guest
}

/// Writes into the control page as a collector does that has read nothing.
#[expect(unsafe_code, reason = "the host's side of shared memory")]
fn ask_for(region: &Region, mode: Mode) {
    static GENERATION: AtomicU64 = AtomicU64::new(1);
    let generation = GENERATION.fetch_add(1, Ordering::Relaxed) | u64::from(mode as u32) << 32;
    for (offset, word) in [(control::CATEGORIES, u64::MAX), (control::LEVEL, 3), (control::GENERATION, generation)] {
        // SAFETY: the control page lies in the region, which lives for ever; accesses are atomic words.
        unsafe { AtomicU64::from_ptr(region.memory().add(PAGE_BYTES + offset).cast()).store(word, Ordering::Release) };
    }
    fata_probe::control::poll();
}

fn request(id: u64) -> tracing::Span {
    info_span!("request", id, size = tracing::field::Empty)
}

#[test]
fn records_of_requests_that_take_turns_name_their_own() {
    let guest = guest("turns", 16, Mode::Discard);
    let requests = [request(1), request(2)];
    for turn in 0..3u64 {
        for request in &requests {
            request.in_scope(|| info_span!("parse", turn).in_scope(|| info!("parsed")));
            request.in_scope(|| warn!("slow"));
        }
    }
    requests[0].record("size", 17u64);
    requests[0].in_scope(|| error!("gone"));
    info_span!("bare").in_scope(|| info!("alone"));
    let mut expected = Vec::new();
    for turn in 0..3 {
        for id in 1..3 {
            expected.push(format!("info log_spans <request{{id={id}}}> <parse{{turn={turn}}}> message=parsed"));
            expected.push(format!("warn log_spans <request{{id={id}}}> message=slow"));
        }
    }
    expected.push("error log_spans <request{id=1,size=17}> message=gone".to_owned());
    expected.push("info log_spans <bare> message=alone".to_owned());
    assert_eq!(guest.lines(), expected);
}

#[test]
fn a_span_is_told_once_in_a_packet_however_many_records_it_is_around() {
    let guest = guest("once", 16, Mode::Discard);
    request(5).in_scope(|| (0..20u64).for_each(|i| info!(i)));
    let copy = guest.copy();
    assert_eq!(copy.contexts(0), 1);
    assert!(copy.records().iter().all(|record| record.spans == ["request{id=5}"]));
    // As the ring's account sees it, only the records are records.
    let (read, balance) = copy.balance(0);
    assert_eq!((read.records, balance.left()), (20, Extent::default()));
}

#[test]
fn equal_records_of_other_spans_of_a_callsite_are_not_folded_and_those_of_one_are() {
    let guest = guest("fold", 16, Mode::Discard);
    for id in [1, 1, 2u64] {
        request(id).in_scope(|| (0..3).for_each(|_| warn!("again")));
        request(id).in_scope(|| (0..3).for_each(|_| fata_probe::log!(Warn, "own", text = "same")));
    }
    let copy = guest.copy();
    let lines: Vec<_> = copy.lines().into_iter().filter(|line| !line.contains("callsite=")).collect();
    let line = |id, says: &str| format!("warn log_spans <request{{id={id}}}> {says}");
    // Two spans with equal fields are two.
    let each = |id| [line(id, "message=again"), line(id, "text=same")];
    assert_eq!(lines, [each(1), each(1), each(2)].concat());
    assert_eq!(copy.account(1).folded, [0, 0, 12]);
}

/// Makes many records in spans that take turns, more than the ring holds.
fn flood() {
    let requests: Vec<_> = (0..7).map(request).collect();
    for i in 0..4000u64 {
        let id = i * 5 % 7;
        let text = "x".repeat((i % 90) as usize);
        requests[id as usize].in_scope(|| info!(id, text, "of"));
    }
}

#[test]
fn in_a_ring_that_is_written_over_records_name_their_own_span_or_its_name_alone() {
    let guest = guest("overwritten", 4, Mode::Overwrite);
    flood();
    let copy = guest.copy();
    let records = copy.records();
    let mut unknown = 0;
    for record in &records {
        let own = format!("request{{id={}}}", record.field("id").unwrap());
        unknown += usize::from(record.spans == ["request"]);
        assert!(record.spans == [own] || record.spans == ["request"], "{record:?}");
    }
    // Of the oldest packet's first record the fields may have stood in the packet before it.
    assert!(records.len() > 50 && unknown <= 1, "{unknown} of {}", records.len());
}

#[test]
fn in_a_ring_that_is_full_no_record_names_the_span_of_another_and_the_account_is_exact() {
    let guest = guest("full", 4, Mode::Discard);
    flood();
    let copy = guest.copy();
    let records = copy.records();
    for record in &records {
        assert_eq!(record.spans, [format!("request{{id={}}}", record.field("id").unwrap())]);
    }
    let account = copy.account(0);
    let (read, mut balance) = copy.balance(0);
    let discarded: u64 = account.discarded.iter().sum();
    balance.end(Extent { records: discarded, bytes: account.bytes.unwrap().discarded });
    assert_eq!((account.offered[0], read.records), (4000, records.len() as u64));
    assert_eq!((balance.left().records, 4000 - read.records), (discarded, discarded));
    assert_eq!(copy.discarded(0), discarded, "what is told of spans is no event that was lost");
}
