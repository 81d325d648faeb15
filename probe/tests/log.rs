//! Log records from the outside: what `tracing` and `log!` say is what a reader of the rings finds, record by record.
#![cfg(all(feature = "tracing", feature = "std"))]

#[path = "records/guest.rs"]
mod guest;
mod records;

use fata_probe::log::{rules, set_rate};
use fata_probe::region::Config;
use guest::Guest;
use tracing::{debug, error, info, info_span, trace, warn};

fn guest(name: &str) -> Guest {
    Guest::with(&Config { name, log_streams: 2, packets_per_stream: 4, packet_bytes: 4096, ..Config::default() })
}

#[derive(Debug)]
struct Failure(&'static str, Option<Box<Failure>>);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

#[test]
fn every_value_keeps_its_type_and_an_error_its_causes() {
    let guest = guest("values");
    let cause = Failure("cannot read", Some(Box::new(Failure("disk gone", None))));
    info!(target: "net", port = 80u16, delta = -3i64, ratio = 0.5, up = true, peer = "10.0.0.1", "link");
    warn!(target: "net", addr = ?[1, 2], "no {} for {}", "route", 7);
    error!(target: "disk", error = &cause as &dyn std::error::Error, "reading failed");
    info!(target: "app", "hello");
    info!(target: "app::start", "again");
    debug!(target: "net", "not recorded");
    assert_eq!(
        guest.lines(),
        [
            "info net message=link port=80 delta=-3 ratio=0.5 up=true peer=10.0.0.1",
            "warn net message=no route for 7 addr=[1, 2]",
            "error disk message=reading failed error=cannot read: disk gone",
            "app app message=hello",
            "app app::start message=again",
        ]
    );
    let records = guest.copy().records();
    let streams: Vec<_> = records.iter().map(|record| record.stream).collect();
    assert_eq!(streams, [1, 2, 2, 2, 2]);
    assert!(records[0].name.contains("tests/log.rs:"), "{}", records[0].name);
}

fn failure() -> Failure {
    Failure("cannot read", Some(Box::new(Failure("disk gone", None))))
}

#[test]
fn an_error_that_is_gone_on_from_is_in_the_log_with_its_causes_its_task_its_spans_and_its_place() {
    use fata_probe::log::ResultExt;
    let guest = guest("errors");
    fata_probe::log::set_task(7);
    let line = info_span!("request").in_scope(|| {
        let result = Err(failure()).on_error("taking the default", 7);
        assert_eq!(result, 7);
        line!() - 2
    });
    assert_eq!(Ok::<_, Failure>(3).on_error("not said", 7), 3);
    fata_probe::log::set_task(0);
    let copy = guest.copy();
    let records = copy.records();
    assert_eq!(records.len(), 1, "{records:#?}");
    let record = &records[0];
    assert_eq!((record.task, record.spans.as_slice()), (7, ["request".to_owned()].as_slice()));
    assert_eq!(record.field("error"), Some("cannot read: disk gone"));
    assert_eq!(record.field("message"), Some("taking the default"));
    assert!(record.field("fata.file").unwrap().ends_with("tests/log.rs"));
    assert_eq!(record.field("fata.line"), Some(line.to_string().as_str()));
}

#[test]
fn an_error_that_nobody_read_says_where_it_came_up_and_one_that_was_read_says_nothing() {
    use fata_probe::log::{Chain, ResultExt, Unread};
    const LINE: u32 = line!() + 2;
    fn asked() -> Result<(), Unread<Failure>> {
        Err(failure())?;
        Ok(())
    }
    let guest = guest("unread");
    fata_probe::log::set_task(5);
    let forgotten = info_span!("request", id = 17u64).in_scope(asked);
    // It is dropped elsewhere, by another task.
    fata_probe::log::set_task(6);
    info_span!("cleanup").in_scope(|| drop(forgotten));
    fata_probe::log::set_task(0);

    let read = || Err::<(), _>(failure()).watched().unwrap_err();
    assert_eq!(read().to_string(), "cannot read");
    assert_eq!(Chain(&read()).to_string(), "cannot read: disk gone");
    assert_eq!((read().0, read().read().0), ("cannot read", "cannot read"));
    assert!(format!("{:?}", read()).contains("disk gone"));
    assert!(std::error::Error::source(&read()).is_some());
    assert!(Ok::<_, Failure>(3).watched().is_ok());

    let records = guest.copy().records();
    assert_eq!(records.len(), 1, "{records:#?}");
    let record = &records[0];
    assert_eq!((record.task, record.spans.as_slice()), (5, ["request".to_owned()].as_slice()));
    assert_eq!(record.field("message"), Some("an error was dropped that nobody had read"));
    assert_eq!(record.field("error"), Some("cannot read: disk gone"));
    assert_eq!(record.field("fata.line"), Some(LINE.to_string().as_str()));
}

#[test]
fn a_chain_of_causes_that_is_too_long_is_cut_with_a_mark() {
    use fata_probe::log::{Chain, ResultExt};
    let guest = guest("chains");
    let chain = |causes: usize, text: &'static str| {
        (0..causes).fold(Failure(text, None), |cause, _| Failure(text, Some(Box::new(cause))))
    };
    assert!(Chain(&chain(16, "deep")).to_string().ends_with(": deep: deep"));
    assert!(Chain(&chain(17, "deep")).to_string().ends_with(": deep: …"));
    let long: &'static str = Box::leak("ß".repeat(400).into_boxed_str());
    Err(chain(2, long)).on_error("went on", ());
    let copy = guest.copy();
    let records = copy.records();
    let error = records[0].field("error").unwrap();
    assert!(error.ends_with("ß…") && error.len() > 500, "{} bytes", error.len());
    assert_eq!(copy.account(1).cut, 1);
}

#[test]
fn records_of_our_own_macro_name_their_spans_at_error_and_warn() {
    let guest = guest("own spans");
    info_span!("request").in_scope(|| {
        fata_probe::log!(Error, "own", code = 5u64);
        fata_probe::log!(Warn, target: "net", "own", code = 6u64);
        fata_probe::log!(Info, "own", code = 7u64);
    });
    assert_eq!(guest.lines(), ["error log <request> code=5", "warn net <request> code=6", "info log code=7"]);
}

#[test]
fn a_record_that_another_came_into_takes_one_token_and_not_two() {
    fn inner(i: u64) -> u64 {
        info!(i, "inner");
        i
    }
    let guest = guest("tokens");
    set_rate(10);
    for i in 0..20 {
        // The fields are evaluated after `tracing` has asked, which is when the token was taken.
        info!(i = inner(i), "outer");
    }
    let lines = guest.lines();
    let made = |name: &str| lines.iter().filter(|line| line.contains(name)).count();
    assert_eq!((made("outer"), made("inner")), (10, 10), "{lines:#?}");
}

#[test]
fn a_record_names_its_task_and_the_spans_around_it() {
    let guest = guest("spans");
    fata_probe::log::set_task(7);
    let outer = info_span!("request", id = 17u64, path = "/index");
    {
        let _entered = outer.enter();
        info_span!("parse").in_scope(|| info!("inside"));
        info!("outside");
    }
    info!("alone");
    fata_probe::log::set_task(0);
    let copy = guest.copy();
    assert_eq!(
        copy.lines(),
        [
            "info log <request{id=17,path=/index}> <parse> message=inside",
            "info log <request{id=17,path=/index}> message=outside",
            "info log message=alone"
        ]
    );
    assert!(copy.records().iter().all(|record| record.task == 7));
    assert_eq!(copy.trace(), ["request id=17 path=/index", "parse", "parse end", "request end"]);
}

#[test]
fn a_record_names_the_innermost_four_spans_that_are_recorded_and_marks_that_there_were_more() {
    let guest = guest("deep");
    let within = |names: &[&str]| {
        let spans: Vec<_> = names
            .iter()
            .map(|name| match *name {
                "a" => info_span!("a"),
                "b" => info_span!("b"),
                "c" => info_span!("c"),
                "off" => tracing::trace_span!("off"),
                other => panic!("there is no span {other}"),
            })
            .collect();
        let entered: Vec<_> = spans.iter().map(tracing::Span::enter).collect();
        info!(deep = names.len(), "within");
        // They are left from the innermost on.
        entered.into_iter().rev().for_each(drop);
    };
    within(&["a", "b", "c", "a"]);
    within(&["a", "b", "off", "c", "off", "a", "off"]);
    within(&["b", "a", "b", "c", "a"]);
    within(&["a"; 33]);
    let full: Vec<_> = (0..5000).map(|n| info_span!("many", n)).collect();
    let last = full.last().unwrap().clone();
    info_span!("a").in_scope(|| last.in_scope(|| info!("without a place")));
    drop((full, last));
    within(&["a"]);
    let spans: Vec<_> = guest.copy().records().iter().map(|record| record.spans.concat()).collect();
    assert_eq!(spans, ["abca", "abca", "…abca", "…aaaa", "…", "a"]);
    assert_eq!(guest.copy().account(0).folded, [0; 3]);
}

#[tracing::instrument(level = "info")]
fn instrumented(attempt: u32) -> Result<(), Failure> {
    warn!("about to fail");
    Err(Failure("failed", None))
}

#[test]
fn what_a_span_learns_later_is_an_instant_within_it_and_is_known_when_it_is_entered_again() {
    let guest = guest("later");
    let span = info_span!("request", id = 17u64, path = tracing::field::Empty, status = tracing::field::Empty);
    span.in_scope(|| {
        span.record("path", "/index");
        span.record("status", 200u64);
    });
    // Nobody is in it, so there is no instant.
    span.record("status", 404u64);
    span.in_scope(|| ());
    span.record(
        "path",
        "/a path that is so long that it takes more than the room that there is for the fields of a span",
    );
    span.in_scope(|| ());
    let trace = guest.copy().trace();
    assert_eq!(
        trace[..7],
        [
            "request id=17",
            "request path=/index",
            "request status=200",
            "request end",
            "request id=17 path=/index status=404",
            "request end",
            "request id=17 path=/a path that is so long that it takes more than the room that there is for t… status=404",
        ],
        "{trace:#?}"
    );
}

#[test]
fn an_instrumented_function_is_a_span_with_its_arguments() {
    let guest = guest("instrument");
    assert!(instrumented(3).is_err());
    assert_eq!(guest.lines(), ["warn log <instrumented{attempt=3}> message=about to fail"]);
    assert_eq!(guest.copy().trace(), ["instrumented attempt=3", "instrumented end"]);
}

#[test]
fn rules_hold_for_targets_that_come_later_and_are_in_force_at_once() {
    let guest = guest("rules");
    let say = || {
        trace!(target: "rules::later", "trace");
        debug!(target: "rules::later::below", "debug");
        info!(target: "rules", "info");
    };
    let applied = rules::set("warn,rules::later:trace").unwrap();
    assert_eq!(applied.unknown().collect::<Vec<_>>(), ["rules::later"]);
    say();
    rules::set("rules::later:off rules:info").unwrap();
    say();
    fata_probe::log!(Debug, target: "rules::own", "own", n = 1u64);
    assert_eq!(rules::set("rules::own:debug").unwrap().unknown().count(), 0);
    fata_probe::log!(Debug, target: "rules::own", "own", n = 2u64);
    assert_eq!(
        guest.lines(),
        [
            "trace rules::later message=trace",
            "debug rules::later::below message=debug",
            "info rules message=info",
            "debug rules::own n=2"
        ]
    );
}

#[test]
fn errors_and_warnings_are_counted_before_any_rule() {
    let guest = guest("counts");
    rules::set("off").unwrap();
    for _ in 0..5 {
        error!("filtered");
        warn!("filtered");
        warn!("filtered too");
        info!("gone");
        fata_probe::log!(Warn, "filtered by our own macro");
    }
    assert_eq!(guest.lines(), Vec::<String>::new());
    let account = guest.copy().account(1);
    assert_eq!((account.filtered, account.offered), ([0, 5, 15], [0, 0, 0]));
    assert_eq!((account.made(1), account.made(2)), (5, 15));
}

#[test]
fn a_message_of_a_megabyte_is_cut_marked_and_counted_and_its_fields_stay() {
    let guest = guest("cut");
    let long = "é".repeat(1 << 19);
    info!(before = 1u64, after = 2u64, peer = "x", "{long}");
    info!(text = long.as_str(), n = 3u64);
    fata_probe::log!(Info, "own", text = long.as_str(), n = 4u64);
    let copy = guest.copy();
    let records = copy.records();
    for (record, (field, number)) in records.iter().zip([("message", "after"), ("text", "n"), ("text", "n")]) {
        let text = record.field(field).unwrap();
        assert!(text.ends_with("é…") && text.len() > 1000 && text.len() < 4096, "{} bytes", text.len());
        assert!(record.field(number).is_some());
    }
    assert_eq!(records.len(), 3);
    assert_eq!(copy.account(0).cut, 3);
}

#[test]
fn more_fields_than_a_description_names_are_joined_into_text() {
    let guest = guest("many");
    info!(a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8, i = "nine", j = ?Some(10), "many");
    assert_eq!(
        guest.lines(),
        ["info log message=many a=1 b=2 c=3 d=4 e=5 f=6 g=7 fata.more=h=8 i=\"nine\" j=Some(10) "]
    );
}

#[test]
fn a_callsite_whose_fields_change_gets_a_description_for_each_shape() {
    let guest = guest("shapes");
    for (n, name) in [(None, Some("a")), (Some(1u64), None), (Some(2), Some("b")), (None, Some("c"))] {
        info!(n, name, "shape");
    }
    assert_eq!(
        guest.lines(),
        [
            "info log message=shape name=a",
            "info log message=shape n=1",
            "info log message=shape n=2 name=b",
            "info log message=shape name=c"
        ]
    );
}

#[test]
fn a_field_that_logs_while_it_is_formatted_nests_and_one_without_end_is_counted() {
    struct Chatty(u32);
    impl std::fmt::Debug for Chatty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            if self.0 > 0 {
                info!(inner = ?Chatty(self.0 - 1), "nested");
            }
            write!(f, "{}", self.0)
        }
    }
    let guest = guest("nested");
    info!(outer = ?Chatty(1), "outer");
    info!(outer = ?Chatty(10), "endless");
    assert_eq!(
        guest.lines(),
        [
            "info log message=nested inner=0",
            "info log message=outer outer=1",
            "info log message=nested inner=8",
            "info log message=nested inner=9",
            "info log message=endless outer=10"
        ]
    );
    let account = guest.copy().account(0);
    assert_eq!((account.offered[0], account.discarded[0]), (6, 1));
}

#[test]
fn a_panic_in_a_field_leaves_the_log_as_it_was() {
    struct Broken;
    impl std::fmt::Debug for Broken {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("broken field")
        }
    }
    let guest = guest("panic");
    for _ in 0..10 {
        assert!(std::panic::catch_unwind(|| info!(broken = ?Broken, "never")).is_err());
    }
    info!("after");
    assert_eq!(guest.lines(), ["info log message=after"]);
}

#[test]
fn the_same_record_again_is_counted_until_another_comes() {
    let guest = guest("fold");
    for i in 0..1000u32 {
        warn!(code = 5, "again");
        info!(i = i / 500, "half");
    }
    warn!(code = 6, "again");
    info!(i = 2, "half");
    let copy = guest.copy();
    let lines: Vec<_> = copy.records().iter().map(|record| format!("{} {}", record.name, record.line())).collect();
    let counts: Vec<_> = copy.records().iter().filter_map(|record| Some(record.field("count")?.to_owned())).collect();
    assert_eq!(lines.len(), 8, "{lines:#?}");
    assert_eq!(counts, ["499", "999", "499"]);
    assert_eq!((copy.account(0).folded, copy.account(1).folded), ([998, 0, 0], [0, 0, 999]));
    assert_eq!(copy.account(0).made(0), 1001 + 2);
}

#[test]
fn texts_of_our_own_macro_fold_too_and_equal_records_in_different_spans_do_not() {
    let guest = guest("fold own");
    for _ in 0..3 {
        fata_probe::log!(Info, "own", peer = "10.0.0.1", port = 80u16);
    }
    fata_probe::log!(Info, "own", peer = "10.0.0.2", port = 80u16);
    // A record of numbers is not compared, and ends a row all the same.
    for _ in 0..2 {
        warn!("again");
        fata_probe::log!(Warn, "numbers", n = 1u64);
    }
    for name in ["left", "left", "right"] {
        let span = if name == "left" { info_span!("left") } else { info_span!("right") };
        span.in_scope(|| {
            error!("in a span");
            fata_probe::log!(Warn, "text in a span", text = "same");
        });
    }
    for _ in 0..2 {
        error!("in no span");
    }
    let copy = guest.copy();
    let lines = copy.lines();
    let counted = |wanted: &str| lines.iter().filter(|line| line.contains(wanted)).count();
    assert_eq!((counted("peer=10.0.0.1"), counted("peer=10.0.0.2"), counted("message=again")), (1, 1, 2), "{lines:#?}");
    assert_eq!((counted("n=1"), counted("in a span"), counted("text=same"), counted("in no span")), (2, 3, 3, 1));
    assert_eq!((copy.account(0).folded, copy.account(1).folded), ([2, 0, 0], [0, 1, 0]));
    assert_eq!(
        copy.account(0).made(0),
        4 + copy.records().iter().filter(|r| r.name == fata_wire::log::REPEATED).count() as u64
    );
}

#[test]
fn a_callsite_that_makes_more_than_its_share_is_limited_and_says_by_how_many() {
    let guest = guest("limit");
    set_rate(100);
    for i in 0..50_000u64 {
        fata_probe::log!(Debug, target: "flood.off", "filtered", i = i);
        fata_probe::log!(Info, target: "flood", "much", i = i);
        fata_probe::log!(Error, target: "flood", "much text", text = &"of any length"[..(i % 14) as usize]);
        warn!(target: "flood", i, "much, too");
    }
    info!(target: "quiet", "heard");
    guest.region.finish(fata_wire::shared::State::Exited, "");
    let copy = guest.copy();
    let records = copy.records();
    let made = |name: &str| records.iter().filter(|r| r.field("message") == Some(name) || r.name == name).count();
    // More than the share only where the test took more than a second.
    assert!((100..1000).contains(&made("much")) && (100..1000).contains(&made("much, too")));
    assert_eq!(made("heard"), 1);
    let suppressed = |level| -> u64 {
        let summaries = records.iter().filter(|r| r.name == fata_wire::log::SUPPRESSED && r.level == level);
        summaries.map(|r| r.field("count").unwrap().parse::<u64>().unwrap()).sum()
    };
    use fata_wire::field::Level;
    assert_eq!(suppressed(Level::Info), 50_000 - made("much") as u64);
    assert_eq!(suppressed(Level::Warn), 100_000 - (made("much, too") + made("much text")) as u64);
    assert_eq!(copy.account(0).suppressed[0], suppressed(Level::Info));
    assert_eq!(copy.account(1).suppressed[1] + copy.account(1).suppressed[2], suppressed(Level::Warn));
    // How long they would have been: a header, a number and `i`; with the spans and the text, and the length before it, for what
    // `tracing` would have made, which is as long as what it has made.
    let sums = |callsite: &dyn Fn(&str) -> bool| {
        let summaries = records.iter().filter(|r| {
            let of = r.field("callsite").and_then(|of| of.parse().ok());
            r.name == fata_wire::log::SUPPRESSED && of.is_some_and(|of| callsite(&copy.name(of)))
        });
        let number = |r: &records::Record, name: &str| r.field(name).unwrap().parse::<u64>().unwrap();
        summaries.fold((0, 0, false), |(count, bytes, about), r| {
            (count + number(r, "count"), bytes + number(r, "bytes"), about || r.field("is_about") == Some("true"))
        })
    };
    let (count, bytes, is_about) = sums(&|name| name == "much");
    assert_eq!((bytes, is_about), (count * 24, false));
    let (count, bytes, is_about) = sums(&|name| name.contains("log.rs"));
    assert_eq!((bytes, is_about), (count * 56, true));
    // Header, length, number, spans, and one or two words of text.
    let shown = records.iter().filter(|r| r.name == "much text");
    let length = |text: usize| 8 * (4 + text as u64 / 8 + 1);
    let shown: u64 = shown.map(|r| length(r.field("text").unwrap().len())).sum();
    let (_, bytes, is_about) = sums(&|name| name == "much text");
    assert_eq!((bytes, is_about), ((0..50_000).map(|i| length(i % 14)).sum::<u64>() - shown, false));
    let account = |class| copy.account(class).bytes.unwrap().suppressed;
    assert_eq!(
        account(0) + account(1),
        [24, 56]
            .iter()
            .zip([Level::Info, Level::Warn])
            .map(|(each, level)| match level {
                Level::Info => each * suppressed(level),
                _ => each * sums(&|name| name.contains("log.rs")).0,
            })
            .sum::<u64>()
            + bytes
    );
    let of: u16 = records.iter().find_map(|r| r.field("callsite")).unwrap().parse().unwrap();
    assert!(copy.name(of).starts_with("much") || copy.name(of).contains("log.rs"), "{}", copy.name(of));
}

#[test]
fn a_flood_of_debug_takes_no_room_of_warnings_and_every_number_that_is_missing_is_accounted_for() {
    let guest = guest("flood");
    rules::set("debug").unwrap();
    for i in 0..200_000u64 {
        fata_probe::log!(Debug, "flood", i = i);
        if i % 2000 == 0 {
            warn!(i, "seldom");
        }
    }
    let copy = guest.copy();
    let records = copy.records();
    let warnings: Vec<_> = records.iter().filter(|record| record.stream == 2).map(|record| record.seq).collect();
    assert_eq!(warnings, (0..100).collect::<Vec<u64>>());
    let kept: Vec<_> = records.iter().filter(|record| record.stream == 1).map(|record| record.seq).collect();
    assert_eq!(kept, (200_000 - kept.len() as u64..200_000).collect::<Vec<_>>());
    assert_eq!(copy.account(0).offered, [0, 200_000, 0]);
    assert_eq!(copy.account(0).discarded, [0; 3]);
}
