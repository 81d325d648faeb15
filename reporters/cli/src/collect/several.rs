//! Several guests at once, each into a directory of its own below one: a set of CTF traces.
//!
//! A CTF reader merges the set by time: each trace says when its clock's zero was, in nanoseconds since 1970. On a Xen machine
//! all domains take that from Xen's own clock, and so agree on it; processes of one machine agree within what it takes to read
//! two clocks one after the other.
//!
//! Each guest is collected by a thread of its own, within its own budget: one that floods, lies, hangs or dies costs another
//! nothing. `--keep` holds for each.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::source::{self, Guest};
use fata_collector::{Collector, Options};

use super::{Args, by_cause};
use crate::human;
use crate::output::say;
use crate::signals::Stop;

pub(super) fn run(wanted: &[String], args: &Args, options: &Options, stop: &Stop) -> anyhow::Result<ExitCode> {
    if args.output == Path::new("-") {
        bail!("standard output takes the trace of one guest: name a directory with -o for {}", wanted.join(" and "));
    }
    let mut guests = Vec::new();
    for wanted in wanted {
        let guest = source::find(wanted)?;
        if guests.iter().any(|other: &Guest| other.path == guest.path) {
            bail!("{} is named twice", guest.label());
        }
        guests.push(guest);
    }
    let is_alone = |guest: &Guest| guests.iter().filter(|other| other.name == guest.name).count() == 1;
    let failed = std::thread::scope(|scope| {
        let collecting: Vec<_> = guests
            .iter()
            .map(|guest| {
                let folder = if is_alone(guest) { guest.name.clone() } else { guest.label() };
                // A name is text of somebody else's, and this is a path of ours.
                let folder = folder.replace(['/', '\\'], "_").trim_start_matches('.').to_owned();
                let target = args.output.join(if folder.is_empty() { "guest" } else { &folder });
                let thread = scope.spawn(move || collect(guest, &target, args, options, stop));
                (guest, thread)
            })
            .collect();
        let mut failed = 0;
        for (guest, thread) in collecting {
            let result =
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the collector failed; this is our mistake")));
            match result {
                Ok(said) if args.quiet => drop(said),
                Ok(said) => say!("{}: {said}.", guest.label()),
                Err(error) => {
                    failed += 1;
                    say!("fata: {}: {}", guest.label(), crate::sentence(&error));
                }
            }
        }
        failed
    });
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Collects one of them to its end, and says how that was.
fn collect(guest: &Guest, target: &Path, args: &Args, options: &Options, stop: &Stop) -> anyhow::Result<String> {
    let mut sink = DirectorySink::open(target, directory::Options { keep_bytes: args.keep })?;
    let mut collector = Collector::attach(guest, options, sink.earlier().map(std::slice::from_ref).unwrap_or(&[]))?;
    let end = collector.run(&mut sink, &mut |_status| !stop.is_asked())?;
    let totals = collector.totals();
    let warnings: String = collector.warnings().iter().map(|warning| format!("; {warning}")).collect();
    Ok(format!(
        "{} events, {} in {}; discarded {}; {end}{warnings}",
        totals.events,
        human::bytes(totals.bytes),
        target.display(),
        by_cause(&totals.discarded)
    ))
}
