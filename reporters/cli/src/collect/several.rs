//! Several guests at once, in one trace on one time axis.
//!
//! Each guest has a seat in the trace (`fata_collector::sink::together`), and its clock is put on the axis of this machine's
//! counter before it is recorded (`fata_collector::alignment`): what may be wrong with that is said, and stands in the trace.
//!
//! Each guest is collected by a thread of its own, within its own budget: one that floods, lies, hangs or dies costs another
//! nothing but room where `--keep` limits what all of them may take.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use fata_collector::alignment::{Alignment, Axis};
use fata_collector::sink::Sink;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::sink::stream::StreamSink;
use fata_collector::sink::together::{Together, new_identity};
use fata_collector::source::{self, Guest};
use fata_collector::{Collector, Options, Seat};
use fata_wire::metadata::MAX_GUESTS;

use super::{Args, by_cause};
use crate::human;
use crate::output::say;
use crate::signals::Stop;

pub(super) fn run(wanted: &[String], args: &Args, options: &Options, stop: &Stop) -> anyhow::Result<ExitCode> {
    let mut guests: Vec<Guest> = Vec::new();
    for wanted in wanted {
        let guest = source::find(wanted)?;
        if guests.iter().any(|other| other.path == guest.path) {
            bail!("{} is named twice", guest.label());
        }
        guests.push(guest);
    }
    if guests.len() > usize::from(MAX_GUESTS) {
        bail!("{} guests: a trace holds {MAX_GUESTS}; record the others into another directory", guests.len());
    }
    if args.again {
        bail!("--again follows one guest: name one, or start the recording again when all of them are there again");
    }
    let recording = Recording { guests: &guests, args, options, stop };
    if args.output == Path::new("-") {
        super::refuse_terminal(args)?;
        return Ok(recording.run(StreamSink::new(std::io::stdout(), "standard output")).1);
    }
    let sink = DirectorySink::open(&args.output, directory::Options { keep_bytes: args.keep })?;
    if sink.earlier().is_some() {
        bail!(
            "{} holds a recording: one of several guests is not continued; choose another directory",
            args.output.display()
        );
    }
    let (sink, code) = recording.run(sink);
    super::say_dropped(&sink, args);
    Ok(code)
}

/// What is recorded, and how.
struct Recording<'a> {
    guests: &'a [Guest],
    args: &'a Args,
    options: &'a Options,
    stop: &'a Stop,
}

impl Recording<'_> {
    /// Collects all of them to their ends, and says how that was.
    fn run<S: Sink + Send>(&self, sink: S) -> (S, ExitCode) {
        let uuid = new_identity();
        let together = Together::new(sink);
        let axis = Axis::measure();
        let failed = std::thread::scope(|scope| {
            let collecting: Vec<_> = (0..)
                .zip(self.guests)
                .map(|(number, guest)| {
                    let (together, axis) = (&together, &axis);
                    (guest, scope.spawn(move || self.collect(guest, number, uuid, together, axis)))
                })
                .collect();
            let mut failed = 0;
            for (guest, thread) in collecting {
                let result =
                    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the collector failed; this is our mistake")));
                match result {
                    Ok(said) if self.args.quiet => drop(said),
                    Ok(said) => say!("{}: {said}.", guest.label()),
                    Err(error) => {
                        failed += 1;
                        say!("fata: {}: {}", guest.label(), crate::sentence(&error));
                    }
                }
            }
            failed
        });
        (together.into_inner(), if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Collects one of them to its end, and says how that was.
    fn collect<S: Sink>(
        &self,
        guest: &Guest,
        number: u16,
        uuid: [u8; 16],
        together: &Together<S>,
        axis: &Axis,
    ) -> anyhow::Result<String> {
        let clock = Alignment::of(guest, axis);
        let about_clock = clock.to_string();
        let options = Options {
            seat: Some(Seat { number, uuid: Some(uuid), clock: Some(clock), says_wires: true }),
            ..self.options.clone()
        };
        let mut sink = together.seat(number);
        let mut collector = Collector::attach(guest, &options, &[])?;
        let end = collector.run(&mut sink, &mut |_status| !self.stop.is_asked())?;
        let totals = collector.totals();
        let remark = collector.remark().map(str::to_owned);
        let warnings: String =
            remark.iter().chain(&collector.warnings()).map(|warning| format!("; {warning}")).collect();
        Ok(format!(
            "{} events, {} in {}; discarded {}; {about_clock}; {end}{warnings}",
            totals.events,
            human::bytes(totals.bytes),
            self.args.output.display(),
            by_cause(&totals.discarded)
        ))
    }
}
