//! Measures the model on a synthetic trace, or any other: opening, memory per span, the walk at every zoom.
//!
//! Times are of the processor, as Linux accounts for the thread, so that other work on the machine does not count.
//! `cargo run --release -p fata-model --example measure -- [--open] [SPANS] [DIRECTORY]`; the directory is written if it is not
//! there. With `--open` it is opened ten times, or as often as the environment variable `OPENS` says, and nothing else is measured.
//! With `--beside-babeltrace2` it is opened in turns with `babeltrace2` (Debian's package of that name), which counts the events of
//! the same directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use fata_model::ingest::{Ingest, Limits};
use fata_model::lod::{View, Visible};
use fata_model::source::{self, OpenError};
use fata_model::synthetic::Synthetic;
use fata_model::trace::{Trace, TrackId, TrackKind};

fn main() -> Result<(), OpenError> {
    let (flags, args): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let mut args = args.into_iter();
    let is_set = |name: &str| flags.iter().any(|flag| flag == name);
    let (open_only, beside) = (is_set("--open"), is_set("--beside-babeltrace2"));
    let opens = std::env::var("OPENS").map_or(10, |n| n.parse().unwrap_or(10));
    let spans = args.next().and_then(|spans| spans.parse().ok()).unwrap_or(10_000_000);
    let path = args.next().map_or_else(|| std::env::temp_dir().join(format!("fata-synthetic-{spans}")), PathBuf::from);
    if !path.join("metadata").exists() {
        let synthetic = Synthetic { spans, ..Synthetic::default() };
        synthetic.write_directory(&path).map_err(|error| OpenError::Io { name: path.display().to_string(), error })?;
    }
    let mut trace = None;
    let mut ratios = Vec::new();
    for _ in 0..if open_only || beside { opens } else { 3 } {
        drop(trace.take());
        let (opened, seconds) = open(&path)?;
        if beside {
            let theirs = babeltrace2_seconds(&path)
                .map_err(|error| OpenError::Io { name: "babeltrace2 (Debian's package: babeltrace2)".into(), error })?;
            let events = opened.events_total() as f64;
            println!("babeltrace2: {theirs:.2} s of CPU = {:.2} M events/s", events / theirs / 1e6);
            ratios.push(theirs / seconds);
        }
        trace = Some(opened);
    }
    ratios.sort_by(f64::total_cmp);
    if let (Some(least), Some(median), Some(most)) = (ratios.first(), ratios.get(ratios.len() / 2), ratios.last()) {
        println!("{median:.2} times as fast as babeltrace2 ({least:.2} to {most:.2})");
    }
    if let Some(trace) = trace {
        memory(&trace);
        if open_only || beside {
            return Ok(());
        }
        walks(&trace);
        let started = Instant::now();
        let stats = trace.stats();
        println!("stats: {} callsites, {:.1} ms", stats.callsites.len(), started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        let hits = trace.search("tls", 10_000);
        println!("search: {} hits, {:.1} ms", hits.len(), started.elapsed().as_secs_f64() * 1e3);
        trace.warnings().for_each(|warning| println!("warning: {warning}"));
    }
    Ok(())
}

/// Opens a directory, and says what that took; returns it with the seconds of the processor.
fn open(path: &Path) -> Result<(Trace, f64), OpenError> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let bytes = entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum::<u64>();
    let before = resident_bytes();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let mut ingest = Ingest::new(Limits::default());
    source::read_into(&mut source::open(path)?, &mut ingest)?;
    let trace = ingest.finish();
    let seconds = cpu_seconds() - cpu;
    let events = trace.events_total();
    println!(
        "open {:.0} MB, {events} events: {seconds:.3} s of CPU ({:.3} s passed) = {:.1} M events/s; {:.1} MB resident more",
        bytes as f64 / 1e6,
        started.elapsed().as_secs_f64(),
        events as f64 / seconds / 1e6,
        resident_bytes().saturating_sub(before) as f64 / 1e6
    );
    Ok((trace, seconds))
}

/// What it takes of the processor to count the events of a directory with it.
fn babeltrace2_seconds(path: &Path) -> std::io::Result<f64> {
    let before = children_seconds();
    let mut command = Command::new("babeltrace2");
    command.arg(path).args(["--component", "sink.utils.counter", "--params", "step=+0"]);
    let status = command.stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(std::io::Error::other(format!("it ended with {status}")));
    }
    Ok(children_seconds() - before)
}

/// What the processes that this one has waited for have used of the processor, in Linux's hundredths of a second: `cutime` and
/// `cstime` of proc(5).
fn children_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, which comes before, may have spaces.
    let fields = text.rsplit(')').next().unwrap_or("").split_whitespace();
    fields.skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn memory(trace: &Trace) {
    let (mut spans, mut span_bytes, mut others, mut other_bytes) = (0, 0, 0, 0);
    for track in trace.tracks() {
        let Some(row) = track.row() else { continue };
        if matches!(track.kind, TrackKind::TaskSpans { .. } | TrackKind::CpuSpans { .. }) {
            spans += row.len();
            span_bytes += row.memory_bytes();
        } else {
            others += row.len();
            other_bytes += row.memory_bytes();
        }
    }
    println!(
        "{spans} spans: {:.2} B each in columns and pyramids; {others} other intervals: {:.2} B each",
        span_bytes as f64 / spans as f64,
        other_bytes as f64 / others as f64
    );
    let all = trace.memory_bytes();
    println!(
        "all: {:.1} MB = {:.2} B per span, fields, states, wakes and all",
        all as f64 / 1e6,
        all as f64 / spans as f64
    );
}

fn walks(trace: &Trace) {
    let ids: Vec<_> = (0..).map(TrackId).zip(trace.tracks()).filter(|(_, track)| track.row().is_some()).collect();
    for (name, tracks) in [("54 rows", 54), ("all rows", ids.len())] {
        let shown: Vec<_> = ids.iter().take(tracks).map(|(id, _)| *id).collect();
        let mut visible = Visible::default();
        for zoom in [1, 3, 10, 30, 100, 1000, 10_000, 100_000] {
            let len = (trace.end() / zoom).max(1);
            let (mut items, mut frames) = (0, 0u32);
            // Linux counts in ticks of some milliseconds: long enough to matter little.
            let cpu = cpu_seconds();
            let started = Instant::now();
            while started.elapsed().as_millis() < 500 {
                for step in 0..20 {
                    let from = (trace.end() - len) / 20 * step;
                    let view = View { from, to: from + len, columns: 1920 };
                    for &id in &shown {
                        trace.visible(id, &view, &mut visible);
                        items += visible.spans.len() + visible.cells.len();
                    }
                }
                frames += 20;
            }
            let millis = (cpu_seconds() - cpu) * 1e3 / f64::from(frames);
            println!(
                "walk {name}, zoom {zoom}: {millis:.2} ms, {} items",
                items / usize::try_from(frames).unwrap_or(1)
            );
        }
    }
}

/// What this thread has used of the processor.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    text.and_then(|text| text.split(' ').next()?.parse::<f64>().ok()).map_or(0.0, |nanos| nanos / 1e9)
}

/// What the process has in memory, as Linux says it.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}
