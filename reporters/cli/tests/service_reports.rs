//! An ordinary program that installs its own reporters: what arrives at real receivers is all that it said, from the first
//! record on, in order; whatever a reporter does, the program goes on.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;
#[path = "../../tests/common/mod.rs"]
mod receivers;
#[path = "../../../probe/service/examples/reports.rs"]
mod reports;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::{Place, text_of};
use fata_reporters::{Item, ReportError, Reporter};
use receivers::rsyslog::Rsyslog;
use receivers::wait_until;

const BAKERS: u64 = 4;
const LOAVES: u64 = 200;

/// This program once more, as the one of `test`, to its end.
fn process(place: &Place, test: &str, args: &[&str]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args).args([test, "--exact", "--ignored", "--nocapture"]).current_dir(&place.0);
    command.env("FATA_DIR", place.0.join("rings")).env("FATA_LOG", "debug").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}{}", text_of(&output.stdout), text_of(&output.stderr));
    output
}

#[test]
#[ignore = "becomes the program; the other tests start it"]
fn bakery_process() {
    reports::main().unwrap();
}

/// The records and losses in a file of JSON lines.
fn items(path: PathBuf) -> Vec<serde_json::Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each baker's loaves in the order in which they were told.
fn loaves(items: &[serde_json::Value], message: &str) -> BTreeMap<String, Vec<u64>> {
    let mut loaves: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for item in items.iter().filter(|item| item["message"] == message) {
        loaves
            .entry(item["task"].as_str().unwrap().to_owned())
            .or_default()
            .push(item["fields"]["loaf"].as_u64().unwrap());
    }
    loaves
}

#[test]
fn every_reporter_gets_what_all_threads_said_in_order_from_the_first_record_to_the_last() {
    let place = Place::new("service-reports");
    let Some(server) = Rsyslog::start() else { return };
    let syslog = server.path("log").display().to_string();
    let spec = format!("file:{},json and syslog:{syslog},level=info", place.0.join("log.json").display());
    process(&place, "bakery_process", &[&spec, &LOAVES.to_string()]);

    let items = items(place.0.join("log.json"));
    assert!(items.iter().all(|item| item["discarded"].is_null() && item["late"].is_null()), "{items:#?}");
    let times: Vec<_> = items.iter().map(|item| item["nanos"].as_i64().unwrap()).collect();
    assert!(times.is_sorted());
    assert!(items[0]["message"].is_null() && items[0]["name"] == "all of it takes at most", "{}", items[0]);
    assert_eq!(items.last().unwrap()["message"], "the bakery closes");
    let expected: BTreeMap<_, _> =
        (0..BAKERS).map(|baker| (format!("baker-{baker}"), (0..LOAVES).collect::<Vec<_>>())).collect();
    assert_eq!(loaves(&items, "kneading"), expected);
    assert_eq!(loaves(&items, "a loaf is ready"), expected);

    wait_until("the last message arrives", || server.lines().iter().any(|line| line.contains("the bakery closes")));
    let lines = server.lines();
    let ready: Vec<_> = lines.iter().filter(|line| line.contains("a loaf is ready")).collect();
    assert_eq!(ready.len() as u64, BAKERS * LOAVES);
    for baker in 0..BAKERS {
        let task = format!("|baker-{baker}|");
        let own = ready.iter().filter(|line| line.contains(&task));
        let own: Vec<u64> =
            own.map(|line| line.rsplit_once("loaf=").unwrap().1.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(own, (0..LOAVES).collect::<Vec<_>>());
    }
    assert!(!lines.iter().any(|line| line.contains("kneading")), "syslog was to get no DEBUG");
    // Whoever reads the rings from outside sees the same.
    let outside = place.run(&["log", "bakery", "--level", "debug", "--json", "--no-history"]);
    assert_eq!(text_of(&outside.stdout).lines().count(), items.len(), "{}", text_of(&outside.stderr));
}

/// Logs for each record, and panics now and then.
struct Unruly(std::fs::File, u64);

impl Reporter for Unruly {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        let (kind, count) = match item {
            Item::Record(_) => ("record", 1),
            Item::Loss(loss) => (loss.cause.text(), loss.counts.total()),
        };
        self.1 += 1;
        tracing::warn!(times = self.1, "I was told something");
        if let Item::Record(record) = item
            && record.fields.iter().any(|field| field.value == fata_reporters::Value::U64(13))
        {
            panic!("an unlucky number");
        }
        writeln!(self.0, "{kind} {count}").map_err(ReportError::later)
    }
}

#[test]
#[ignore = "becomes the program; another test starts it"]
fn unruly_process() {
    let told = Unruly(std::fs::File::create("told").unwrap(), 0);
    let _fata = fata_service::builder("unruly").reporter("the unruly one", told).unwrap().start().unwrap();
    for number in 0..100u64 {
        tracing::info!(number, "said");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_reporter_that_logs_and_panics_ends_neither_the_program_nor_itself_and_every_record_is_told_or_counted() {
    let place = Place::new("service-unruly");
    process(&place, "unruly_process", &[]);
    let text = std::fs::read_to_string(place.0.join("told")).unwrap();
    let count = |kind: &str| -> u64 {
        let counts = text.lines().filter_map(|line| line.strip_prefix(kind)?.trim().parse::<u64>().ok());
        counts.sum()
    };
    // A hundred, and the word of how much memory it takes; one of them was a panic, which the queue counts.
    assert_eq!((count("record "), count("failed ")), (100, 1), "{text}");
    // What it said while it reported is told with the next records, and never to be reported.
    assert!((10..=400).contains(&count("nested ")), "{text}");
    assert!(text.lines().count() < 400, "{text}");
}

#[test]
#[ignore = "becomes the program; another test starts it"]
fn late_process() {
    let mut fata = fata_service::start("late").unwrap();
    let before = fata.memory_bytes();
    (0..50u64).for_each(|number| tracing::info!(number, "said"));
    fata.report("file:late.json,json").unwrap();
    assert!(fata.memory_bytes() > before + (1 << 20), "a reporter's memory counts");
    (50..100u64).for_each(|number| tracing::info!(number, "said"));
    assert!(fata.report("flie:x").unwrap_err().to_string().contains("a destination is one of"));
}

#[test]
fn a_reporter_that_comes_late_gets_what_was_said_before_it_first() {
    let place = Place::new("service-late");
    process(&place, "late_process", &[]);
    let items = items(place.0.join("late.json"));
    let said = items.iter().filter(|item| item["message"] == "said");
    assert_eq!(
        said.map(|item| item["fields"]["number"].as_u64().unwrap()).collect::<Vec<_>>(),
        (0..100).collect::<Vec<_>>()
    );
}
