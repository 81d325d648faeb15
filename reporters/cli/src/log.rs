//! `fata log`: the log of guests, as `journalctl` shows that of services: of running guests, dead ones, and traces, several
//! merged by time.
//!
//! ```text
//! fata log                                  # what every guest's rings hold
//! fata log http -f --level warn             # follow one guest, warnings and worse
//! fata log http --level net=debug           # make http record so much, and follow it
//! fata log trace --since 12:30 --task conn --grep retransmit
//! ```
//!
//! Nothing is taken away from anybody: a guest that is being collected is read all the same, and a ring that is read here
//! is left as it is. What a guest lost is shown in its place.

mod decode;
mod entry;
mod filter;
mod input;
mod screen;
mod when;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap_complete::engine::ArgValueCandidates;
use fata_collector::request::{self, PATIENCE};
use fata_probe::log::rules::Rules;
use fata_reporters::lines::{self, Format, Lines};
use fata_reporters::reporter::{Item, ReportError, Reporter, finish, submit_within};
use fata_reporters::spec;
use fata_reporters::time::Time;

use crate::completions;
use crate::output::say;
use crate::signals::Stop;
use filter::{Filter, Grep};
use input::{Input, Reached};
use screen::Screen;

/// How often living guests are looked at.
const INTERVAL: Duration = Duration::from_millis(40);
/// How long a record may come after younger ones of other streams and guests and still be put in its place: longer than a
/// guest's open packet waits to be read.
const LIVE_WINDOW: Duration = Duration::from_millis(250);
/// The same for what lies ready: also how far back the history of an error is put in its place.
const STORED_WINDOW: Duration = Duration::from_secs(1);
/// How long a reporter may take to deliver what it has at the end.
const FINISH: Duration = Duration::from_secs(10);

/// Arguments of `fata log`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Levels are app, error, warn, info, debug, trace, off. `--level debug` shows more of what was recorded; \
    `--level net=debug` and `--level '*:debug'` are rules, which also change what running guests record.

\
    Guests record up to info unless told otherwise, so what a task said at debug before an error is there to be shown only if \
    it was recorded: start them with log=debug (FATA_LOG=debug), or ask for `--level '*:debug'`.

\
    How much memory all of it may take is said on standard error where that is a terminal, and with --to."
)]
pub(crate) struct Args {
    /// Guests (name, `name.pid`, process id, `xen:NAME`), traces, or memory files; by default every guest
    #[arg(value_name = "GUEST|TRACE", add = ArgValueCandidates::new(completions::living_guests))]
    inputs: Vec<String>,
    /// Go on with what the guests are about to say
    #[arg(short, long)]
    follow: bool,
    /// Show up to this level; or rules by target, in MirageOS's or RUST_LOG's form
    #[arg(short, long, value_name = "LEVEL|RULES")]
    level: Option<String>,
    /// Only from this time on: `12:30`, `2026-07-14T12:30:00`, or `5m` for five minutes ago
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<when::When>,
    /// Only up to this time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<when::When>,
    /// Only this target and those below it; may be given several times
    #[arg(short, long)]
    target: Vec<String>,
    /// Only the tasks of this name or number; may be given several times
    #[arg(long)]
    task: Vec<String>,
    /// Only records with this field; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse_field)]
    field: Vec<(String, String)>,
    /// Only records in which this text stands, in their words, fields, target or spans
    #[arg(short, long, value_name = "TEXT")]
    grep: Option<String>,
    /// Capitals and small letters are the same to --grep
    #[arg(short, long, requires = "grep")]
    ignore_case: bool,
    /// Do not show what a task had said below the level before it met an error
    #[arg(long)]
    no_history: bool,
    /// One JSON object per line
    #[arg(long, conflicts_with = "to")]
    json: bool,
    /// Report to somewhere else: `file:PATH`, `syslog:udp://HOST`, `journald`, `otlp:URL` …
    #[arg(long, value_name = "REPORTER")]
    to: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stop = Stop::listen()?;
    let shown = match &args.level {
        None => Rules::NONE,
        Some(text) => Rules::NONE.with(text).map_err(|error| anyhow::anyhow!("--level {text}: {error}"))?,
    };
    let asks = args.level.as_deref().filter(|text| text.contains([':', '=']));
    // Who changes what a guest says wants to hear it.
    let follow = args.follow || asks.is_some();
    let mut inputs = input::open(&args.inputs, follow)?;
    if let Some(rules) = asks {
        ask(&inputs, rules)?;
    }
    let filter = Filter {
        shown,
        since: args.since,
        until: args.until,
        targets: args.target.clone(),
        tasks: args.task.clone(),
        fields: args.field.clone(),
        grep: args.grep.as_deref().map(|text| Grep::new(text, args.ignore_case)),
    };
    let window = if follow { LIVE_WINDOW } else { STORED_WINDOW };
    let mut screen = Screen::new(filter, window, !args.no_history);
    let mut reporter = reporter(args)?;
    if args.to.is_some() || std::io::stderr().is_terminal() {
        let inputs: usize = inputs.iter().map(Input::worst_case_bytes).sum();
        let most = inputs + screen::WORST_CASE_BYTES + reporter.worst_case_bytes();
        let most = crate::human::bytes(u64::try_from(most).unwrap_or(u64::MAX));
        match &args.to {
            Some(to) => say!("The log goes to {to}; all of it takes at most {most} of memory here."),
            None => say!("All of this takes at most {most} of memory."),
        }
    }
    let shown = show(args, &stop, &mut inputs, &mut screen, reporter.as_mut(), follow);
    let finished = finish(reporter.as_mut(), FINISH);
    match shown.and(finished.map_err(Failed::from)) {
        Ok(()) | Err(Failed::Closed) => {}
        Err(Failed::Other(error)) => return Err(error),
    }
    for sum in inputs.iter().flat_map(|input| input.sums(follow)) {
        say!("{sum}.");
    }
    for warning in inputs.iter().flat_map(Input::warnings) {
        say!("Warning: {warning}.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Why nothing more is shown.
enum Failed {
    /// The reader of standard output has seen enough.
    Closed,
    Other(anyhow::Error),
}

impl From<ReportError> for Failed {
    fn from(error: ReportError) -> Self {
        if error.sentence().ends_with(lines::GONE) { Failed::Closed } else { Failed::Other(error.into()) }
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Failed::Other(error)
    }
}

fn show(
    args: &Args,
    stop: &Stop,
    inputs: &mut Vec<Input>,
    screen: &mut Screen,
    reporter: &mut dyn Reporter,
    follow: bool,
) -> Result<(), Failed> {
    let mut looked = Instant::now();
    // What is stored waits for a reporter that is slow; what is live does not, and the reporter's policy decides.
    let patience = if follow { Duration::ZERO } else { FINISH };
    let mut report = |item: &Item<'_>| submit_within(reporter, item, patience).map_err(Failed::from);
    while !stop.is_asked() {
        let begun = Time::now();
        let mut more = false;
        for input in inputs.iter_mut() {
            more |= input.read(screen)?;
            screen.release_excess(&mut report)?;
        }
        // What lies ready may be long: what nobody can say anything before goes on meanwhile.
        if let Some(reached) = reached(inputs, begun) {
            screen.release_before(reached, &mut report)?;
        }
        if follow && args.inputs.is_empty() && looked.elapsed() >= Duration::from_secs(1) {
            looked = Instant::now();
            input::add_new(inputs)?;
        }
        let over = inputs.iter().all(Input::is_over) && !(follow && args.inputs.is_empty());
        if over {
            break;
        }
        if follow && !more {
            std::thread::sleep(INTERVAL);
        }
    }
    screen.release_all(&mut report)
}

/// Up to when everything has been read that was made, as far as that is known; `begun` is when the last look began.
fn reached(inputs: &[Input], begun: Time) -> Option<Time> {
    inputs.iter().try_fold(begun, |least, input| match input.reached() {
        Reached::Unknown => None,
        Reached::Time(time) => Some(least.min(time)),
        Reached::Now => Some(least),
    })
}

/// Changes what the guests record, in force before this returns.
fn ask(inputs: &[Input], rules: &str) -> anyhow::Result<()> {
    let guests: Vec<_> = inputs.iter().filter_map(Input::guest).filter(|guest| guest.is_alive()).collect();
    if guests.is_empty() {
        bail!(
            "none of these runs, so nobody can be asked to record {rules}: leave the targets out to choose what is shown"
        );
    }
    for guest in guests {
        let answer = request::ask(guest, &format!("level {rules}"), PATIENCE)?;
        if let Some(remark) = &answer.remark {
            say!("{remark}.");
        }
        match answer.text.strip_prefix("error:") {
            Some(refused) => bail!("{}: {}", guest.label(), refused.trim_start()),
            None => say!("{}: {}", guest.label(), answer.text),
        }
    }
    Ok(())
}

fn reporter(args: &Args) -> anyhow::Result<spec::Boxed> {
    if let Some(to) = &args.to {
        return Ok(spec::open(to)?);
    }
    let out = std::io::stdout();
    let format = if args.json { Format::Json } else { Format::for_people_at(&out) };
    if out.is_terminal() {
        return Ok(Box::new(Lines::new(out, "standard output", format)));
    }
    Ok(Box::new(Lines::new(
        Flushing(std::io::BufWriter::with_capacity(64 << 10, out), Instant::now()),
        "standard output",
        format,
    )))
}

/// Many lines in one write where nobody watches, and none that waits for long.
struct Flushing<W: Write>(std::io::BufWriter<W>, Instant);

impl<W: Write> Write for Flushing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        if self.1.elapsed() >= INTERVAL {
            self.flush()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.1 = Instant::now();
        self.0.flush()
    }
}
