//! The guest's log on its own console, in a process of its own: what is shown, in which order, and what it costs when nobody
//! reads.
//!
//! Each test starts this program again with the one test `guest_process`, which becomes the guest.
#![cfg(feature = "profiling")]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::env;
use std::io::Read;
use std::process::{Command, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fata_kernel::net::NetError;
use fata_kernel::reporters::{Item, ReportError, Reporter};
use fata_kernel::{Guest, LocalBoxFuture, Main, platform};
use fata_probe::log::ResultExt;
use fata_probe::{log, name};

#[global_allocator]
static ALLOCATOR: fata_kernel::heap::Allocator = fata_kernel::heap::Allocator;

const PROGRAMS: [(&str, Main); 4] = [
    ("talks", |guest| boxed(talk(guest))),
    ("floods", |guest| boxed(flood(guest))),
    ("reports", |guest| boxed(report(guest))),
    ("forgets", |guest| boxed(forget(guest))),
];

fn boxed(future: impl Future<Output = ()> + 'static) -> LocalBoxFuture {
    Box::pin(future)
}

async fn talk(guest: Guest) {
    for round in 0..20u64 {
        log!(Info, target: "net", "segment", round = round);
        log!(Debug, target: "net", "window", round = round);
        log!(Warn, target: "net", "retransmit", round = round, text = "\x1b[2J");
        if round == 10 {
            guest.log("a line of the program");
        }
        guest.sleep(Duration::from_millis(2)).await;
    }
    // Over before the console's task comes round again.
    for round in 0..3u64 {
        guest.spawn(name!("fleeting"), async move { log!(Info, target: "net", "gone", nth = round) });
    }
    guest.sleep(Duration::from_millis(2)).await;
    log!(App, "good bye");
}

/// Many more records than the rings hold, while another task works and says how long that took.
async fn flood(guest: Guest) {
    let start = guest.now();
    for round in 0..200u64 {
        for number in 0..1000u64 {
            log!(Debug, "flood", number = round * 1000 + number);
        }
        log!(Error, "urgent", round = round);
        guest.yield_now().await;
    }
    log!(App, "took", micros = (guest.now() - start) / 1000);
}

/// Takes one item in two looks, records something itself each time, and writes what it was told.
#[derive(Default)]
struct Told {
    looks: u64,
}

impl Reporter for Told {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        log!(Info, "I was told something");
        match item {
            Item::Record(record) => {
                let number = record.fields.iter().find(|field| field.name == "number");
                eprintln!("told {} {} {number:?}", record.task, record.name);
            }
            Item::Loss(loss) => eprintln!("lost {} {}", loss.cause.text(), loss.counts.total()),
        }
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        self.looks += 1;
        if self.looks.is_multiple_of(2) {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn report(guest: Guest) {
    (0..10u64).for_each(|number| log!(Info, "said", number = number));
    guest.report_to(Told::default()).unwrap();
    for number in 10..100u64 {
        log!(Info, "said", number = number);
        if number % 10 == 0 {
            guest.sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A task fails, and nobody asks how it went.
async fn forget(guest: Guest) {
    guest.spawn(name!("careless"), async { Err::<(), _>(NetError::Refused).watched() });
    guest.sleep(Duration::from_millis(2)).await;
}

#[test]
#[ignore = "becomes a guest; the other tests start it"]
fn guest_process() {
    let (Ok(name), Ok(args)) = (env::var("TEST_GUEST"), env::var("TEST_ARGS")) else { return };
    let (name, main) = PROGRAMS.into_iter().find(|(program, _)| *program == name).unwrap();
    platform::boot::start(name, &args, main);
}

/// What the guest wrote on its console, of which nothing is read for `pause`, and how long it ran.
fn console(program: &str, args: &str, pause: Duration) -> (String, Duration) {
    let directory =
        env::temp_dir().join(format!("fata-console-{}-{program}-{}", std::process::id(), pause.as_millis()));
    let start = Instant::now();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["guest_process", "--exact", "--ignored", "--nocapture"])
        .envs([("TEST_GUEST", program), ("TEST_ARGS", args), ("RUST_BACKTRACE", "0")])
        .env("FATA_DIR", &directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ended = None;
    while start.elapsed() < pause {
        if ended.is_none() && child.try_wait().unwrap().is_some() {
            ended = Some(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    let _ = std::fs::remove_dir_all(directory);
    (text, ended.unwrap_or_else(|| start.elapsed()))
}

/// The number behind `word` in a line.
fn number(line: &str, word: &str) -> Option<u64> {
    line.split_once(word)?.1.split([' ', ')']).next()?.replace(',', "").parse().ok()
}

#[test]
fn records_are_shown_in_their_order_from_the_level_on_that_was_asked_for_and_lines_stay_whole() {
    let (text, _) = console("talks", "log=debug console=info", Duration::ZERO);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("the log from info up is shown here; all of the log takes at most "), "{text}");
    let rounds: Vec<_> = lines.iter().filter_map(|line| number(line, "round=")).collect();
    assert_eq!(rounds, (0..20).flat_map(|round| [round, round]).collect::<Vec<_>>(), "{text}");
    assert_eq!(text.matches("INFO  main net: segment round=").count(), 20, "{text}");
    assert_eq!(text.matches("WARN  main net: retransmit round=").count(), 20, "{text}");
    assert_eq!(text.matches(r#"text="\x1b[2J""#).count(), 20, "{text}");
    assert_eq!(text.matches("INFO  fleeting net: gone nth=").count(), 3, "{text}");
    assert!(!text.contains("window") && !text.contains('\x1b'), "{text}");
    assert!(lines.contains(&"a line of the program"), "{text}");
    assert!(lines.last().unwrap().contains("APP") && text.ends_with("good bye\n"), "{text}");
}

#[test]
fn a_reporter_of_the_application_gets_every_record_from_the_first_on_and_nothing_that_it_made_itself() {
    let (text, _) = console("reports", "", Duration::ZERO);
    let numbers: Vec<_> = text
        .lines()
        .filter_map(|line| number(line, "told main said Some(Field { name: \"number\", value: U64("))
        .collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "{text}");
    assert!(!text.contains("I was told"), "{text}");
    let told = text.lines().filter(|line| line.starts_with("told") || line.starts_with("lost")).count() as u64;
    let nested: u64 = text.lines().filter_map(|line| number(line, "lost nested ")).sum();
    // Each call made one record, but those that the last words were about had nobody left to tell them to.
    assert!(nested > told / 2 && nested < told, "{nested} of {told}: {text}");
    assert!(!text.contains("lost full") && !text.contains("lost overwritten"), "{text}");
}

#[test]
fn an_error_that_a_task_returned_and_nobody_read_is_shown_with_its_task() {
    let (text, _) = console("forgets", "console=error", Duration::ZERO);
    let said =
        "ERROR careless error: an error was dropped that nobody had read error=\"nobody listens at that address\"";
    assert!(text.lines().any(|line| line.contains(said)), "{text}");
}

#[test]
fn of_a_flood_everything_is_shown_or_told_as_lost_and_nothing_urgent_is_lost() {
    let (text, _) = console("floods", "log=debug console=debug log_rate=0", Duration::ZERO);
    let shown = text.lines().filter(|line| line.contains("flood number=")).count() as u64;
    let lost: u64 = text.lines().filter_map(|line| number(line, "discarded ")).sum();
    assert_eq!(shown + lost, 200_000, "{shown} shown, {lost} told as lost");
    assert!(lost > 0 && !text.contains(" ERROR;"), "{text}");
    // Nobody collects: the newest were kept. What they wrote over was as long as all of them, a header, a number and a field; about
    // that, where a record of another level is missing too, which has not been told yet.
    for line in text.lines().filter(|line| line.contains("discarded ")) {
        let records = number(line, "discarded ").unwrap();
        let bytes = number(line, " DEBUG; about ").or(number(line, " DEBUG; ")).unwrap();
        assert!(bytes.abs_diff(24 * records) <= records / 100, "{line}");
        assert!(line.ends_with("was full, and kept the newest"), "{line}");
    }
    assert_eq!(text.matches("urgent round=").count(), 200);
    let numbers: Vec<_> = text.lines().filter_map(|line| number(line, "flood number=")).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_console_that_nobody_reads_does_not_slow_the_guest() {
    let args = |console| format!("log=debug log_rate=0 {console}");
    let pause = Duration::from_secs(3);
    let (_, without) = console("floods", &args(""), pause);
    let (text, with) = console("floods", &args("console=debug"), pause);
    assert!(text.contains("flood number="), "{text}");
    println!("measured: the guest ran {without:?} without a log on its console, {with:?} with one that nobody reads");
    // The console's patience at the end is 20 ms; the rest is room for a machine that does much else.
    assert!(with < without * 2 + Duration::from_millis(500), "{with:?} and {without:?}");
}
