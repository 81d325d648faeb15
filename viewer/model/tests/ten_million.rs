//! A log of ten million records, filtered as one types: counted in records that are looked at, not in time, which a busy
//! machine makes of any length.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::sync::LazyLock;

use fata_model::ingest::{Ingest, Limits};
use fata_model::log_filter::{LogFilter, LogSearch};
use fata_model::packets::{StreamWriter, UUID};
use fata_model::synthetic::CLOCK;
use fata_model::trace::Trace;
use fata_wire::event::EventId;
use fata_wire::metadata;

const RECORDS: usize = 10_000_000;
/// What a frame looks at before it looks at the clock again.
const STEP: usize = 2000;

/// The text of a record: its number below 1000, in three digits.
fn text(number: usize) -> [u8; 3] {
    [number / 100 % 10, number / 10 % 10, number % 10].map(|digit| b"0123456789"[digit])
}

/// What all tests look at.
static TRACE: LazyLock<Trace> = LazyLock::new(trace);

fn trace() -> Trace {
    let mut described = String::new();
    metadata::write_preamble(&mut described, UUID, &CLOCK).unwrap();
    described += "/* fata callsite 9 log info 1 \"app\" \"a.rs:1\" \"a.rs\" \"fata.seq\":u64:none \
                  \"fata.task\":task:none \"message\":str:none */\n";
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&described).unwrap();
    let mut take = |packet: &[u8]| ingest.packet(packet).unwrap();
    let mut writer = StreamWriter::new(1, 65_536);
    for number in 0..RECORDS {
        let [a, b, c] = text(number);
        let text = u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]);
        // What holds a text has its length in front, in words.
        writer.event(number as u64 * 100, EventId::begin(9), 1, &[2, number as u64, text], &mut take);
    }
    writer.seal(&mut take);
    ingest.finish()
}

/// How many records hold a text, by looking at each of the thousand that there are.
fn expected(needle: &str) -> usize {
    let holds = |number: &usize| String::from_utf8_lossy(&text(*number)).contains(needle);
    (0..1000).filter(holds).count() * (RECORDS / 1000)
}

#[test]
fn each_letter_looks_at_what_the_last_one_found_and_each_step_at_no_more_than_it_may() {
    let trace = &*TRACE;
    assert_eq!((trace.logs().len(), trace.logs().lost()), (RECORDS, [0; 6]));
    let mut search = LogSearch::default();
    let mut to_look_at = RECORDS;
    for needle in ["4", "42", "424"] {
        search.ask(&LogFilter { text: needle.to_owned(), ..LogFilter::default() });
        let mut steps = 0;
        loop {
            let before = (search.progress(trace).0, search.len(trace));
            steps += 1;
            let done = search.step(trace, STEP);
            let after = (search.progress(trace).0, search.len(trace));
            assert!(after.0 - before.0 <= STEP && after.1 - before.1 <= STEP, "{needle}: {before:?} to {after:?}");
            if done {
                break;
            }
        }
        assert_eq!(search.len(trace), expected(needle), "{needle}");
        assert!(steps <= to_look_at / STEP + 1, "{needle} took {steps} steps to look at {to_look_at} records");
        to_look_at = search.len(trace);
        let last = search.get(trace, to_look_at - 1).unwrap();
        assert!(trace.log_text(&last).contains(needle));
        assert_eq!(search.first_from(trace, last.time), to_look_at - 1);
    }
}

#[test]
fn a_filter_is_given_up_for_another_one_before_it_has_looked_at_everything() {
    let trace = &*TRACE;
    let mut search = LogSearch::default();
    for needle in ["4", "47", "4", "9", "99"] {
        search.ask(&LogFilter { text: needle.to_owned(), ..LogFilter::default() });
        assert!((0..10).all(|_| !search.step(trace, STEP)), "ten million are not looked at in ten steps");
    }
    assert!((0..=RECORDS / STEP).any(|_| search.step(trace, STEP)));
    assert_eq!(search.len(trace), expected("99"));
}
