//! `fata list`: every ring on this machine, what its guest is and how much it says.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fata_collector::peek::{Peek, Watched};
use fata_collector::source::{self, Guest};
use fata_collector::xen::device::Life;
use fata_collector::xen::{self, XenError};
use serde::Serialize;

use crate::output::say;
use crate::{human, output};

/// How long the rate is measured over.
const INTERVAL: Duration = Duration::from_millis(250);

/// Arguments of `fata list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As one JSON array
    #[arg(long)]
    json: bool,
}

/// One ring, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    label: String,
    platform: &'static str,
    pid: u32,
    state: String,
    events: u64,
    events_per_second: u64,
    discarded: u64,
    /// What the guest said of its end.
    reason: String,
    collector: u64,
    path: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let guests = source::list()?;
    // A machine without Xen has no domains, and nothing is missing.
    if let Err(error @ (XenError::NoPermission { .. } | XenError::Device { .. } | XenError::Store(_))) = xen::domains()
    {
        say!("Xen's domains are missing here: {error}.");
    }
    // Mapped once, since a domain's pages take dom0 their time.
    let look = |guest| Watched::open(guest).map(|watched| (Instant::now(), watched.peek(), watched));
    let watched: Vec<_> = guests.iter().map(look).collect();
    if watched.iter().flatten().any(|(_, peek, _)| peek.alive) {
        std::thread::sleep(INTERVAL);
    }
    let rows: Vec<Row> = guests
        .iter()
        .zip(&watched)
        .map(|(guest, watched)| {
            let now = watched.as_ref().map(|(then, before, watched)| {
                let now = watched.peek();
                let new = now.produced().saturating_sub(before.produced());
                let rate = if now.alive { human::rate(new, then.elapsed()) } else { 0 };
                (now, rate)
            });
            Row {
                name: guest.name.clone(),
                label: guest.label(),
                platform: guest.platform().map_or("image", |platform| platform.text()),
                pid: guest.pid,
                state: now
                    .as_ref()
                    .map_or_else(|error| format!("unreadable: {error}"), |(now, _)| state_of(guest, now).to_owned()),
                events: now.as_ref().map_or(0, |(now, _)| now.produced()),
                events_per_second: now.as_ref().map_or(0, |(_, rate)| *rate),
                discarded: now.as_ref().map_or(0, |(now, _)| now.discarded()),
                reason: now.as_ref().map_or_else(|_| String::new(), |(now, _)| now.last_words.clone()),
                collector: now.as_ref().map_or(0, |(now, _)| now.collector),
                path: guest.path.display().to_string(),
            }
        })
        .collect();
    output::print("the list", |out| if args.json { json(&rows, out) } else { table(&rows, out) })?;
    Ok(ExitCode::SUCCESS)
}

fn json(rows: &[Row], out: &mut dyn Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, rows)?;
    writeln!(out)
}

fn table(rows: &[Row], out: &mut dyn Write) -> std::io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "No guest has a ring in {}. `fata run SAMPLE` starts one.", source::ring_dir().display());
    }
    writeln!(
        out,
        "{:<24} {:<8} {:<10} {:>10} {:>10} {:>10}",
        "GUEST", "PLATFORM", "STATE", "EVENTS", "EVENTS/S", "DISCARDED"
    )?;
    for row in rows {
        let more = match row.collector {
            0 if row.reason.is_empty() => String::new(),
            0 => format!("  {}", row.reason),
            collector => format!("  collected by {collector}"),
        };
        writeln!(
            out,
            "{:<24} {:<8} {:<10} {:>10} {:>10} {:>10}{more}",
            row.label,
            row.platform,
            row.state,
            human::count(row.events),
            human::count(row.events_per_second),
            human::count(row.discarded)
        )?;
    }
    Ok(())
}

/// What the guest says of itself, unless it died before it could.
fn state_of(guest: &Guest, peek: &Peek) -> &'static str {
    use fata_wire::shared::State;
    match peek.state {
        State::Exited | State::Panicked => peek.state.text(),
        _ if guest.has_crashed() => "crashed",
        _ if !peek.alive => "killed",
        _ if guest.life() == Some(Life::Paused) => "paused",
        state => state.text(),
    }
}
