//! What a probe costs, beside the physical floor and beside its peers: `cargo run --release -p fata-bench`.
//!
//! One run, one table: nanoseconds and bytes per event, one thread, clock included, warm. Every case does short rounds, and
//! the rounds of all cases take turns, so that whatever disturbs the machine hits all of them alike; what is printed is the
//! median over the rounds, and how far they spread. The floor is what no tracer with a time stamp per event can go below:
//! reading the clock and storing eight bytes.
//!
//! Events that follow one another show what tracing costs at its best. The cases called `….burst` are of a program that does
//! something between its events: before each round it goes through 64 MiB of memory for 4 ms, and a round is a thousand events,
//! whose code, ring or queue the caches hold no more. The same for the floor, for us and for peers, in the same run.
//!
//! `--json` prints one object per line; `--seconds N` says how long to measure (8); `--list` prints the names of all cases, and
//! measures nothing.

mod burst;
mod case;
mod fata;
mod full;
mod hot;
mod logs;
mod peers;
mod report;
mod served;
mod switch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use case::{Case, Row, Unit};

/// What was asked for on the command line.
struct Request {
    json: bool,
    seconds: u64,
}

/// Measures, or serves a measuring program's requests (`--serve NAME`, for this program's own use).
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", name] => served::serve(name),
        ["--list"] => {
            names().for_each(|name| println!("{name}"));
            Ok(())
        }
        ["--where"] => {
            hot::print_addresses();
            Ok(())
        }
        ["--call", name, times] => {
            times.parse().map_err(|_| "--call NAME TIMES".into()).and_then(|times| hot_calls(name, times))
        }
        _ => request(&args).and_then(|request| measure(&request)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fata-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn request(args: &[String]) -> Result<Request, String> {
    let mut request = Request { json: false, seconds: 8 };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => request.json = true,
            "--seconds" => {
                let text = args.next().ok_or("--seconds needs a number")?;
                request.seconds = text.parse().map_err(|_| format!("--seconds: `{text}` is not a number"))?;
            }
            other => return Err(format!("`{other}` is not known: there are --json, --list and --seconds N")),
        }
    }
    Ok(request)
}

/// Calls a function of [`hot`], for tools that look on.
fn hot_calls(name: &str, times: u64) -> Result<(), String> {
    let _ring = fata::ring_with_logs()?;
    hot::call(name, times)
}

/// The names of all cases, in the order of the table: those of the program as it was built, also where the machine lacks a peer.
fn names() -> impl Iterator<Item = &'static str> {
    let own = fata::names().chain([full::NAME, switch::NAME]).chain(burst::names()).chain(logs::names());
    own.chain(peers::names())
}

fn measure(request: &Request) -> Result<(), String> {
    if cfg!(debug_assertions) {
        return Err("an unoptimised build measures nothing: cargo run --release -p fata-bench".into());
    }
    let mut cases = Vec::new();
    fata::cases(&mut cases)?;
    full::cases(&mut cases)?;
    switch::cases(&mut cases)?;
    burst::cases(&mut cases);
    logs::cases(&mut cases)?;
    let skipped = peers::cases(&mut cases);
    for reason in &skipped {
        eprintln!("SKIPPED {reason}");
    }
    if let Some(case) = cases.iter().find(|case| !names().any(|name| name == case.name)) {
        return Err(format!("{} is a case that `--list` does not know", case.name));
    }

    for case in &mut cases {
        // Warm: code, caches, callsites that describe themselves when first reached.
        let events = case.events_per_round;
        case.round(events)?;
    }
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    let end = Instant::now() + Duration::from_secs(request.seconds.max(1));
    while Instant::now() < end {
        for (case, rounds) in cases.iter_mut().zip(&mut rounds) {
            let events = case.events_per_round;
            rounds.push(case.round(events)?);
        }
    }
    let rows: Vec<Row> = cases
        .iter_mut()
        .zip(rounds)
        .map(|(case, rounds)| {
            Ok({
                let bytes = case.bytes()?;
                Row::new(case, rounds, bytes)
            })
        })
        .collect::<Result<_, String>>()?;
    if request.json {
        report::json(&rows)
    } else {
        report::table(&rows, request.seconds)
    }
    Ok(())
}

/// A case of log records that a child makes.
fn log_case(name: &'static str, records: u64, child: served::Child) -> Case {
    let child = std::rc::Rc::new(std::cell::RefCell::new(child));
    let same = child.clone();
    let round = move |records| child.borrow_mut().round(records);
    case_of(name, Unit::Record, records, round, move || Ok(same.borrow().bytes()))
}

/// A case of these parts.
fn case_of(
    name: &'static str,
    unit: Unit,
    events_per_round: u64,
    round: impl FnMut(u64) -> Result<f64, String> + 'static,
    bytes: impl FnMut() -> Result<Option<f64>, String> + 'static,
) -> Case {
    Case { name, unit, events_per_round, round: Box::new(round), bytes: Box::new(bytes) }
}
