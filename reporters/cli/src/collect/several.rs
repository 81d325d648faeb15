//! Several guests at once, in one trace on one time axis.
//!
//! Each guest has a seat in the trace (`fata_collector::sink::together`), and its clock is put on the axis of this machine's
//! counter before it is recorded (`fata_collector::alignment`): what may be wrong with that is said, and stands in the trace.
//!
//! Each guest is collected by a thread of its own, within its own budget: one that floods, lies, hangs or dies costs another
//! nothing but room where `--keep` limits what all of them may take. One that is started anew goes on as another guest of the
//! trace, whose clock is measured like that of the others ([`lives`](super::lives)).

use std::path::Path;
use std::process::ExitCode;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::bail;
use fata_collector::alignment::{Alignment, Axis};
use fata_collector::sink::Sink;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::sink::stream::StreamSink;
use fata_collector::sink::together::{Together, new_identity};
use fata_collector::source::{self, Guest};
use fata_collector::{Collector, Options, Seat};
use fata_wire::metadata::MAX_GUESTS;

use super::lives::{Ended, Lives, NoSeat};
use super::name::Name;
use super::{Args, by_cause};
use crate::human;
use crate::output::say;
use crate::signals::Stop;

pub(super) fn run(wanted: &[String], args: &Args, options: &Options, stop: &Stop) -> anyhow::Result<ExitCode> {
    let lives = Lives::new(wanted.len(), args, stop);
    let mut guests = Vec::new();
    for name in wanted {
        let guest = source::find(name)?;
        match lives.seat(&guest) {
            Ok(number) => guests.push((number, guest)),
            Err(NoSeat::Seated) => bail!("{} is named twice", guest.label()),
            Err(NoSeat::Full) => {
                bail!("{} guests: a trace holds {MAX_GUESTS}; record the others into another directory", wanted.len())
            }
        }
    }
    let recording = Recording { lives, args, options, stop };
    if args.output == Path::new("-") {
        super::refuse_terminal(args)?;
        return Ok(recording.run(guests, StreamSink::new(std::io::stdout(), "standard output")).1);
    }
    let sink = DirectorySink::open(&args.output, directory::Options { keep_bytes: args.keep })?;
    if sink.earlier().is_some() {
        bail!(
            "{} holds a recording: one of several guests is not continued; choose another directory",
            args.output.display()
        );
    }
    let (sink, code) = recording.run(guests, sink);
    super::say_dropped(&sink, args);
    Ok(code)
}

/// How guests are recorded.
struct Recording<'a> {
    lives: Lives<'a>,
    args: &'a Args,
    options: &'a Options,
    stop: &'a Stop,
}

/// What all guests of a recording share.
struct Shared<'a, S> {
    uuid: [u8; 16],
    together: &'a Together<S>,
    axis: &'a Axis,
}

impl Recording<'_> {
    /// Collects all of them to their ends, each from its seat, and says how that was.
    fn run<S: Sink + Send>(&self, guests: Vec<(u16, Guest)>, sink: S) -> (S, ExitCode) {
        let (together, axis) = (Together::new(sink), Axis::measure());
        let shared = Shared { uuid: new_identity(), together: &together, axis: &axis };
        let all_ended_well = std::thread::scope(|scope| {
            let collecting: Vec<_> = guests
                .into_iter()
                .map(|(number, guest)| {
                    let (label, shared) = (guest.label(), &shared);
                    scope.spawn(move || {
                        let record = |guest: &Guest, number, left| self.collect(guest, number, left, shared);
                        let result = self.lives.follow(guest, number, record);
                        // At once: the others may go on for long.
                        if let Err(error) = &result {
                            say!("fata: {label}: {}", crate::sentence(error));
                        }
                        result.is_ok()
                    })
                })
                .collect();
            let ended_well = |thread: ScopedJoinHandle<'_, bool>| {
                thread.join().unwrap_or_else(|_| {
                    say!("fata: a collector failed; this is our mistake.");
                    false
                })
            };
            // All of them, whatever became of one.
            let ended_well: Vec<bool> = collecting.into_iter().map(ended_well).collect();
            !ended_well.contains(&false)
        });
        (together.into_inner(), if all_ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Collects one life of one of them to its end, or for so long, and says how that was.
    fn collect<S: Sink>(
        &self,
        guest: &Guest,
        number: u16,
        duration: Option<Duration>,
        shared: &Shared<'_, S>,
    ) -> anyhow::Result<Ended> {
        let clock = Alignment::of(guest, shared.axis);
        let about_clock = clock.to_string();
        let seat = Seat { number, uuid: Some(shared.uuid), clock: Some(clock), says_wires: true };
        let options = Options { duration, seat: Some(seat), ..self.options.clone() };
        let mut sink = shared.together.seat(number);
        let mut collector = Collector::attach(guest, &options, &[])?;
        let mut name = Name::of(guest);
        let end = collector.run(&mut sink, &mut |_status| {
            if let Some(sentence) = name.look()
                && !self.args.quiet
            {
                say!("{sentence}.");
            }
            !self.stop.is_asked()
        })?;
        if !self.args.quiet {
            let totals = collector.totals();
            let remark = collector.remark().map(str::to_owned);
            let warnings: String =
                remark.iter().chain(&collector.warnings()).map(|warning| format!("; {warning}")).collect();
            say!(
                "{}: {} events, {} in {}; discarded {}; {about_clock}; {end}{warnings}.",
                guest.label(),
                totals.events,
                human::bytes(totals.bytes),
                self.args.output.display(),
                by_cause(&totals.discarded)
            );
        }
        Ok(Ended { collector, end, renamed: name.renamed() })
    }
}
