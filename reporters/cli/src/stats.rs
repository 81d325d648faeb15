//! `fata stats`: what a trace says in numbers, as tables for people or one JSON object for scripts.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use fata_model::ingest::{Ingest, Limits};
use fata_model::source;
use fata_model::stats::{ClockStats, LogBytes, LogStats, Stats, WireEnds};
use fata_model::text::{duration, number};
use fata_wire::field::Unit;
use serde::Serialize;

use crate::{nothing, output};

/// So many rows of a table are shown unless all are asked for.
const ROWS: usize = 40;

/// Arguments of `fata stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace directory, a recorded stream, or - for standard input
    trace: PathBuf,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Every row of every table
    #[arg(long)]
    all: bool,
}

/// What `--json` prints: the statistics, and the sums that are no causes.
#[derive(Debug, Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    stats: &'a Stats,
    discarded_total: u64,
    missing_packets: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut ingest = Ingest::new(Limits::default());
    // What was read before an error is shown all the same.
    let result = source::read_into(&mut source::open(&args.trace)?, &mut ingest);
    let trace = ingest.finish();
    let stats = Stats::of(&trace);
    if stats.events_total > 0 {
        output::print(
            "the statistics",
            |out| if args.json { json(&stats, out) } else { tables(&stats, args.all, out) },
        )?;
    }
    result?;
    if stats.events_total == 0 {
        return Err(nothing::in_trace(&args.trace, stats.discarded.total));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a guest's clock and its events cost, in lines that begin with `indent`.
fn clock(clock: &ClockStats, indent: &str, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{indent}clock {} Hz; a read costs {:.1} ns, an event {:.1} ns",
        clock.hz,
        picos_as_nanos(clock.read_cost_ps),
        picos_as_nanos(clock.probe_cost_ps)
    )?;
    match clock.perturbation_ppm {
        Some(ppm) => {
            writeln!(out, "{indent}tracing took about {} % of the time of what was traced", ppm_as_percent(ppm))
        }
        None => Ok(()),
    }
}

fn json(stats: &Stats, out: &mut dyn Write) -> std::io::Result<()> {
    let json = Json { stats, discarded_total: stats.discarded.total, missing_packets: stats.discarded.missing_packets };
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)
}

/// The tables, those that say most first.
pub(crate) fn tables(stats: &Stats, all: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let limit = if all { usize::MAX } else { ROWS };
    writeln!(out, "{} events in {}, {} packets", stats.events_total, duration(stats.duration_ns), stats.packets)?;
    writeln!(out, "discarded {}", discarded(stats))?;
    for warning in &stats.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for log in &stats.logs {
        writeln!(out, "{}", logged(log))?;
    }
    for lost in &stats.log_bytes {
        let guest = if lost.guest.is_empty() { String::new() } else { format!(" of {}", cut(&lost.guest, 32)) };
        let LogBytes { discarded, suppressed, .. } = lost;
        writeln!(
            out,
            "log bytes{guest}: {discarded} found no room; {suppressed} by the rate limit, as far as it was said"
        )?;
    }
    for guest in &stats.guests {
        let error = match guest.clock_error_ns {
            Some(nanos) => format!("its times are right to {}", duration(nanos)),
            None => "nobody knows how far its times are off".to_owned(),
        };
        let (name, known) = (cut(&guest.name, 32), cut(&guest.clock_known_from, 32));
        writeln!(out, "guest {name}: {} events, {} discarded; {error} ({known})", guest.events, guest.discarded)?;
        if let Some(its) = &guest.clock {
            clock(its, "  ", out)?;
        }
    }
    for wire in &stats.wires {
        let error =
            wire.error_ns.map_or_else(|| "an unknown error".to_owned(), |nanos| format!("± {}", duration(nanos)));
        let impossible = match wire.impossible {
            0 => String::new(),
            count => format!("; {count} of them arrived before they were sent by more than that"),
        };
        writeln!(
            out,
            "packets {} → {}: {} joined, {} median ({} to {}), each {error}{impossible}",
            cut(&wire.from, 32),
            cut(&wire.to, 32),
            wire.joined,
            duration(wire.p50_ns),
            duration(wire.min_ns),
            duration(wire.max_ns)
        )?;
    }
    if !stats.guests.is_empty() && stats.wire_ends.sent + stats.wire_ends.received > 0 {
        let WireEnds { sent, received } = stats.wire_ends;
        writeln!(out, "in all {sent} packets were sent and {received} received by guests of this trace")?;
    }
    if let Some(only) = stats.clock.filter(|_| stats.guests.is_empty()) {
        clock(&only, "", out)?;
    }
    let (spans, other): (Vec<_>, Vec<_>) = stats.callsites.iter().partition(|callsite| callsite.kind == "span");
    if !spans.is_empty() {
        writeln!(
            out,
            "\n{:<32} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "SPAN", "COUNT", "TOTAL", "SELF", "MEAN", "P50", "P99", "MAX"
        )?;
        for span in spans.iter().take(limit) {
            writeln!(
                out,
                "{:<32} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}{}",
                cut(&of_guest(&span.guest, &span.name), 32),
                span.count,
                duration(span.total_ns),
                duration(span.self_ns),
                duration(rounded(span.mean_ns)),
                duration(span.p50_ns),
                duration(span.p99_ns),
                duration(span.max_ns),
                if span.open > 0 { format!("  {} open", span.open) } else { String::new() }
            )?;
        }
        rest(spans.len(), limit, out)?;
    }
    if !other.is_empty() {
        writeln!(out, "\n{:<32} {:>10} {:>10}", "EVENT", "KIND", "COUNT")?;
        for callsite in other.iter().take(limit) {
            writeln!(
                out,
                "{:<32} {:>10} {:>10}",
                cut(&of_guest(&callsite.guest, &callsite.name), 32),
                callsite.kind,
                callsite.count
            )?;
        }
        rest(other.len(), limit, out)?;
    }
    tasks(stats, limit, out)?;
    if !stats.counters.is_empty() {
        writeln!(out, "\n{:<32} {:>14} {:>14} {:>14}", "COUNTER", "LAST", "MIN", "MAX")?;
        for counter in stats.counters.iter().take(limit) {
            let unit = Unit::from_text(counter.unit).unwrap_or(Unit::None);
            let [last, min, max] = [counter.last, counter.min, counter.max].map(|value| number(value, unit));
            writeln!(out, "{:<32} {last:>14} {min:>14} {max:>14}", cut(&of_guest(&counter.guest, &counter.name), 32))?;
        }
        rest(stats.counters.len(), limit, out)?;
    }
    if !stats.unresolved.is_empty() {
        writeln!(out, "\nNEVER RESOLVED")?;
        for object in stats.unresolved.iter().take(limit) {
            let signalled = match object.signalled_ns {
                Some(then) if then <= object.since_ns => {
                    format!("; it was signalled {} before that, when nobody waited", duration(object.since_ns - then))
                }
                _ => String::new(),
            };
            writeln!(
                out,
                "{}: {} waits since {}, for {}{signalled}",
                object.name,
                object.task,
                duration(object.since_ns),
                duration(object.waited_ns)
            )?;
        }
        rest(stats.unresolved.len(), limit, out)?;
    }
    Ok(())
}

fn tasks(stats: &Stats, limit: usize, out: &mut dyn Write) -> std::io::Result<()> {
    if stats.tasks.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<6} {:<25} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "TASK", "NAME", "POLLS", "RUNNING", "READY", "IDLE", "STATE"
    )?;
    let mut busiest: Vec<_> = stats.tasks.iter().collect();
    busiest.sort_by_key(|task| std::cmp::Reverse(task.running_ns));
    for task in busiest.iter().take(limit) {
        writeln!(
            out,
            "{:<6} {:<25} {:>10} {:>10} {:>10} {:>10} {:>10}",
            task.id,
            cut(&of_guest(&task.guest, &task.name), 25),
            task.polls,
            duration(task.running_ns),
            duration(task.ready_ns),
            duration(task.idle_ns),
            task.state
        )?;
    }
    rest(busiest.len(), limit, out)
}

/// `log error: 7 made; 4 kept out by rules, …`: what did not become of them is left out.
fn logged(log: &LogStats) -> String {
    let guest = if log.guest.is_empty() { String::new() } else { format!(" of {}", cut(&log.guest, 32)) };
    let fates = [
        (log.filtered, "kept out by rules"),
        (log.suppressed, "by the rate limit"),
        (log.folded, "the same as the one before"),
        (log.discarded, "found no room"),
    ];
    let fates: Vec<_> =
        fates.iter().filter(|(count, _)| *count > 0).map(|(count, fate)| format!("{count} {fate}")).collect();
    let fates = if fates.is_empty() { String::new() } else { format!("; {}", fates.join(", ")) };
    format!("log {}{guest}: {} made{fates}", log.level, log.made)
}

fn discarded(stats: &Stats) -> String {
    let all = &stats.discarded;
    let causes = [
        ("full", all.full),
        ("nested", all.nested),
        ("too_big", all.too_big),
        ("overwritten", all.overwritten),
        ("refused", all.refused),
    ];
    let named: Vec<_> =
        causes.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    let mut text = all.total.to_string();
    if !named.is_empty() {
        text += &format!(" ({})", named.join(", "));
    }
    if all.missing_packets > 0 {
        text += &format!("; {} packets are missing from the trace", all.missing_packets);
    }
    text
}

fn rest(rows: usize, limit: usize, out: &mut dyn Write) -> std::io::Result<()> {
    if rows > limit { writeln!(out, "… and {} more: --all shows them", rows - limit) } else { Ok(()) }
}

/// A name, with the guest's before it where there are several.
fn of_guest(guest: &str, name: &str) -> String {
    if guest.is_empty() { name.to_owned() } else { format!("{guest}/{name}") }
}

/// The end of a long name says more than its begin.
fn cut(name: &str, width: usize) -> String {
    let length = name.chars().count();
    let shown: String = name.chars().skip(length.saturating_sub(width)).collect();
    shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn picos_as_nanos(picos: u64) -> f64 {
    picos as f64 / 1000.0
}

/// Three digits after the point: tracing is cheap.
fn ppm_as_percent(ppm: u64) -> String {
    let thousandths = ppm.saturating_add(5) / 10;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

#[expect(clippy::cast_possible_truncation, reason = "a mean lies between the least and the greatest")]
fn rounded(nanos: f64) -> i64 {
    nanos.round() as i64
}
