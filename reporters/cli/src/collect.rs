//! `fata collect`: record a guest into a CTF directory, or as a trace stream onto a pipe, with a progress line.

mod lives;
mod name;
mod one;
mod several;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap_complete::engine::ArgValueCandidates;
use fata_collector::collector::discarded_in_all;
use fata_collector::sink::Sink;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::sink::stream::StreamSink;
use fata_collector::source::{self, Guest};
use fata_collector::{Collector, End, Options, Status};
use fata_wire::field::Level;
use fata_wire::packet::{Cause, Discarded};

use self::name::Name;
use crate::output::say;
use crate::signals::Stop;
use crate::{human, nothing};

/// Where nobody rewrites the line, it is printed this seldom.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Arguments of `fata collect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The guest: its name, `name.pid`, process or domain id, or the path of a memory file. Several are recorded into one
    /// trace, on one time axis
    #[arg(
        required_unless_present = "from_memory",
        value_name = "GUEST",
        add = ArgValueCandidates::new(crate::completions::guests)
    )]
    guests: Vec<String>,
    /// Read the ring of a dead guest from an image of its memory: raw, or an ELF core
    #[arg(long, value_name = "FILE", conflicts_with = "guests")]
    from_memory: Option<PathBuf>,
    /// The directory to write; `-` writes the stream to standard output
    #[arg(short, long, value_name = "DIR|-", env = "FATA_OUTPUT")]
    output: PathBuf,
    /// Copy what the ring holds once, and leave the guest as it is
    #[arg(long)]
    snapshot: bool,
    /// Keep at most this much, the newest, such as 2G
    #[arg(long, value_name = "SIZE", value_parser = human::parse_keep, env = "FATA_KEEP")]
    keep: Option<u64>,
    /// When a guest ends, wait for the next one of its name and go on with it. A domain of Xen that reboots is followed anyway
    #[arg(long, conflicts_with_all = ["snapshot", "from_memory"])]
    again: bool,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = human::parse_seconds)]
    duration: Option<Duration>,
    /// Record events up to this level: error, warn, info, debug, trace
    #[arg(long, value_parser = parse_level)]
    level: Option<Level>,
    /// Say nothing while it goes well
    #[arg(short, long)]
    quiet: bool,
}

/// A level by its name.
pub(crate) fn parse_level(text: &str) -> Result<Level, String> {
    Level::from_text(text).ok_or_else(|| {
        let names: Vec<_> = Level::ALL.iter().map(|level| level.text()).collect();
        format!("{text:?} is no level: choose one of {}", names.join(", "))
    })
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stop = Stop::listen().context("cannot listen to signals")?;
    let snapshot = args.snapshot || args.from_memory.is_some();
    let options = Options { snapshot, duration: args.duration, level: args.level, ..Options::default() };
    let guest = match (&args.from_memory, args.guests.as_slice()) {
        (Some(image), _) => Guest::in_image(image)?,
        (None, [guest]) => source::find(guest)?,
        (None, several) => return self::several::run(several, args, &options, &stop),
    };
    if args.output == Path::new("-") {
        refuse_terminal(args)?;
        let sink = StreamSink::new(std::io::stdout().lock(), "standard output");
        one::run(guest, args, &options, None, sink, "standard output", &stop)?;
        return Ok(ExitCode::SUCCESS);
    }
    let sink = DirectorySink::open(&args.output, directory::Options { keep_bytes: args.keep })?;
    let earlier = sink.earlier().cloned();
    let sink = one::run(guest, args, &options, earlier.as_ref(), sink, &args.output.display().to_string(), &stop)?;
    say_dropped(&sink, args);
    Ok(ExitCode::SUCCESS)
}

/// A pipe is for programs, and takes nothing back.
fn refuse_terminal(args: &Args) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() {
        bail!("a trace is not for a terminal: send it to a program (`… | fata view -`), or name a directory with -o");
    }
    if args.keep.is_some() {
        bail!("--keep needs a directory: what went down a pipe cannot be taken back");
    }
    Ok(())
}

fn say_dropped(sink: &DirectorySink, args: &Args) {
    let dropped = sink.dropped();
    if dropped.files > 0 && !args.quiet {
        say!("Dropped the oldest {} to stay below --keep.", human::bytes(dropped.bytes));
    }
}

/// Runs the recording and says how it ended.
fn finish(
    collector: &mut Collector,
    sink: &mut dyn Sink,
    stop: &Stop,
    progress: &mut Progress,
    target: &str,
    continued: bool,
) -> anyhow::Result<End> {
    let result = collector.run(sink, &mut |status| {
        progress.show(status);
        !stop.is_asked()
    });
    progress.end();
    for warning in collector.warnings() {
        say!("Warning: {warning}.");
    }
    if let Some(remark) = collector.remark() {
        say!("{}: {remark}.", collector.guest().label());
    }
    let totals = collector.totals();
    let written = format!(
        "{} events, {} in {target}; discarded {}",
        totals.events,
        human::bytes(totals.bytes),
        by_cause(&totals.discarded)
    );
    // An error says what is wrong, and what was written before is said all the same.
    let end = match result {
        Ok(end) => end,
        Err(error) => {
            say!("{written}.");
            return Err(error.into());
        }
    };
    if totals.events == 0
        && !continued
        && let Some(nothing) = nothing::recorded(&collector.guest().label(), &end)
    {
        return Err(nothing);
    }
    if !progress.quiet {
        say!("{written}; {end}.");
    }
    Ok(end)
}

/// `0`, or the sum and what it is made of.
pub(crate) fn by_cause(discarded: &Discarded) -> String {
    let causes: Vec<_> = Cause::ALL
        .iter()
        .zip(discarded)
        .filter(|(_, count)| **count > 0)
        .map(|(cause, count)| format!("{} {count}", cause.text()))
        .collect();
    match causes.len() {
        0 => "0".to_owned(),
        _ => format!("{} ({})", discarded_in_all(discarded), causes.join(", ")),
    }
}

/// The progress line on standard error.
pub(crate) struct Progress {
    quiet: bool,
    rewrite: bool,
    shown: bool,
    last: Option<(Instant, u64, u64)>,
    line: Option<Instant>,
    name: Option<Name>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Progress { quiet, rewrite: std::io::stderr().is_terminal(), shown: false, last: None, line: None, name: None }
    }

    /// From now on looks whether this guest is renamed, and says so.
    fn follow_name(&mut self, guest: &Guest) {
        self.name = Some(Name::of(guest));
    }

    /// What the guest is called by now, if it was renamed.
    fn name(&mut self) -> Option<String> {
        self.look_at_name();
        self.name.take()?.renamed()
    }

    fn look_at_name(&mut self) {
        if let Some(sentence) = self.name.as_mut().and_then(Name::look)
            && !self.quiet
        {
            self.end();
            say!("{sentence}.");
        }
    }

    /// Shows the line: rewritten in place on a terminal, a new line every so often elsewhere.
    pub(crate) fn show(&mut self, status: &Status) {
        self.look_at_name();
        let now = Instant::now();
        let (then, events, bytes) = self.last.replace((now, status.totals.events, status.totals.bytes)).unwrap_or((
            now.checked_sub(status.elapsed).unwrap_or(now),
            0,
            0,
        ));
        if self.quiet || (!self.rewrite && self.line.is_some_and(|line| now.duration_since(line) < LINE_INTERVAL)) {
            return;
        }
        self.line = Some(now);
        let elapsed = now.duration_since(then);
        let text = format!(
            "{:>7.1} s  {}  {} events/s  {}/s  {} events  {}  discarded {}",
            status.elapsed.as_secs_f64(),
            status.state.text(),
            human::count(human::rate(status.totals.events - events, elapsed)),
            human::bytes(human::rate(status.totals.bytes - bytes, elapsed)),
            human::count(status.totals.events),
            human::bytes(status.totals.bytes),
            human::count(discarded_in_all(&status.totals.discarded)),
        );
        let mut err = std::io::stderr().lock();
        // A terminal that has gone away is no reason to end the recording.
        let _ = if self.rewrite { write!(err, "\r{text}\x1b[K") } else { writeln!(err, "{text}") };
        let _ = err.flush();
        self.shown = true;
    }

    /// Leaves the line as it is and goes on below it, with what counts anew.
    pub(crate) fn end(&mut self) {
        self.last = None;
        if self.shown && self.rewrite {
            say!("");
        }
        self.shown = false;
    }
}

#[cfg(test)]
mod tests {
    use fata_collector::drain::Totals;
    use fata_wire::shared::State;

    use super::*;

    #[test]
    fn the_progress_of_a_guest_that_was_started_anew_begins_at_nothing() {
        let mut progress = Progress::new(false);
        for events in [1000, 10] {
            let totals = Totals { events, bytes: 12 * events, ..Totals::default() };
            progress.line = None;
            progress.show(&Status { state: State::Running, totals, elapsed: Duration::from_secs(1) });
            progress.end();
        }
        assert!(progress.last.is_none());
    }
}
