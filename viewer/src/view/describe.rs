//! What is known of one thing, as a title and rows of text: for the tooltip and for the details panel.

use fata_model::columns::Entry;
use fata_model::objects::{Unresolved, Verdict};
use fata_model::tasks::{NO_NAME, State};
use fata_model::trace::{Actor, TaskRef, Trace, TrackId, TrackKind};
use fata_wire::field::{Kind, Unit};

use super::format;
use super::pick::Pick;

/// Children that a span's self time is computed from, at most; with more it is left out.
const MAX_CHILDREN: usize = 200_000;

/// What is known of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its name.
    pub title: String,
    /// What sort of thing it is.
    pub kind: String,
    /// Name and value, most important first.
    pub rows: Vec<(String, String)>,
    /// Its fields, names and values with units.
    pub fields: Vec<(String, String)>,
    /// Where the probe is in the source.
    pub source: Option<(String, u32)>,
}

impl Facts {
    fn row(&mut self, name: &str, value: impl Into<String>) {
        self.rows.push((name.to_owned(), value.into()));
    }

    /// The value of a row, for tests and the tooltip.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.rows.iter().chain(&self.fields).find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A moment as people note it down: with all its digits.
#[must_use]
pub fn exact(nanos: i64) -> String {
    if nanos == 0 { "0 s".into() } else { format::moment(nanos, 1) }
}

/// What is known of `pick`.
#[must_use]
pub fn describe(trace: &Trace, pick: Pick) -> Option<Facts> {
    match pick {
        Pick::Task(task) => Some(of_task(trace, task)),
        Pick::Flow { point } => of_flow(trace, point),
        Pick::Sample { track, time } => of_sample(trace, track, time),
        Pick::Interval { track, index } => of_interval(trace, track, index),
    }
}

fn of_interval(trace: &Trace, track: TrackId, index: u32) -> Option<Facts> {
    let kind = trace.track(track)?.kind;
    let found = trace.entry(track, index)?;
    let open = index == fata_model::lod::Span::OPEN;
    match kind {
        TrackKind::Task { task } => Some(of_state(trace, task, &found, open)),
        TrackKind::Cpu { cpu } => {
            let mut facts = of_task(trace, TaskRef(found.extra));
            facts.kind = format!("poll on {}", trace.cpu_label(cpu));
            let mut rows = timing(&found, open);
            rows.append(&mut facts.rows);
            facts.rows = rows;
            Some(facts)
        }
        _ => Some(of_event(trace, kind, track, &found, open)),
    }
}

fn timing(entry: &Entry, open: bool) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    if entry.end > entry.start || open {
        let length = format::duration(entry.end - entry.start);
        let said = match (open, entry.uncertain) {
            (true, _) => format!("{length} so far, not ended"),
            (false, true) => format!("{length} or less: events are missing"),
            (false, false) => length,
        };
        row("duration", said);
        row("from", exact(entry.start));
        row("to", exact(entry.end));
    } else {
        row("at", exact(entry.start));
    }
    rows
}

fn of_state(trace: &Trace, task: TaskRef, entry: &Entry, open: bool) -> Facts {
    let state = State::from_key(entry.key);
    let mut facts = Facts { title: trace.task_label(task), kind: state.text().to_owned(), ..Facts::default() };
    match state {
        State::Idle => {
            let name = Some(entry.extra).filter(|&extra| extra != NO_NAME);
            let name = name.and_then(|id| trace.description().name(id));
            facts.row("waits for", name.unwrap_or("nothing that has a name"));
        }
        State::Ready => facts.row("woken by", trace.actor_label(Actor::unpack(entry.extra))),
        State::Running => facts.row("on", trace.cpu_label(entry.extra)),
        State::Unknown | State::Done => {}
    }
    facts.rows.extend(timing(entry, open));
    facts.rows.extend(of_task(trace, task).rows);
    facts
}

fn of_task(trace: &Trace, task: TaskRef) -> Facts {
    let mut facts = Facts { title: trace.task_label(task), kind: "task".into(), ..Facts::default() };
    let Some(known) = trace.task(task) else { return facts };
    let state = trace.state_of(task).map_or(State::Unknown, |(state, _)| state);
    facts.row("state", state.text());
    let waits = |lost: &&Unresolved| lost.task == Some(task) && lost.verdict != Verdict::StillWaiting;
    for lost in trace.unresolved().iter().filter(waits) {
        facts.row("never resolved", never_resolved(lost));
    }
    if let Some(parent) = known.parent {
        facts.row("spawned by", trace.task_label(parent));
    }
    if let Some(spawned) = known.spawned {
        facts.row("spawned at", exact(spawned));
    }
    if let (Some(spawned), Some(done)) = (known.spawned, known.done) {
        facts.row("lived", format::duration(done - spawned));
    }
    let end = trace.end();
    facts.row("running", format::duration(known.nanos_in(State::Running, end)));
    facts.row("ready", format::duration(known.nanos_in(State::Ready, end)));
    facts.row("idle", format::duration(known.nanos_in(State::Idle, end)));
    facts.row("longest delay", format::duration(known.max_ready_nanos));
    facts.row("polls", format::count(known.polls));
    facts.row("wakes", format::count(known.wakes));
    facts
}

/// Why something was never resolved, as far as the trace shows it.
#[must_use]
pub fn never_resolved(lost: &Unresolved) -> String {
    let (name, since) = (&lost.name, exact(lost.since));
    match (lost.verdict, lost.signalled) {
        (Verdict::SignalLost, Some(signalled)) => {
            let before = format::duration(lost.since - signalled);
            format!("{name}: signalled {before} before the wait began, so the signal was lost")
        }
        (Verdict::StillWaiting, _) => format!("{name}: in use, awaited since {since} when the trace ended"),
        _ => format!("{name}: awaited since {since}, and nothing ever came of it"),
    }
}

fn of_event(trace: &Trace, track_kind: TrackKind, track: TrackId, entry: &Entry, open: bool) -> Facts {
    let mut facts = Facts { title: trace.key_name(track_kind, entry.key), ..Facts::default() };
    facts.rows = timing(entry, open);
    if let Some(own) = self_time(trace, track_kind, track, entry) {
        facts.rows.insert(1.min(facts.rows.len()), ("self time".into(), format::duration(own)));
    }
    if let TrackKind::TaskSpans { task, .. } | TrackKind::TaskInstants { task } = track_kind {
        facts.row("task", trace.task_label(task));
    }
    if let Some(callsite) = trace.description().callsite(entry.key) {
        facts.kind = format!("{}, {}", kind_text(callsite.kind), callsite.level.text());
        if !callsite.file.is_empty() {
            facts.source = Some((callsite.file.to_string(), callsite.line));
        }
    }
    let fields = trace.fields(entry.key, entry.extra, entry.start).into_iter();
    facts.fields = fields.map(|field| (field.name, field.text)).collect();
    facts
}

/// The part of a span in which none of its children ran.
fn self_time(trace: &Trace, kind: TrackKind, track: TrackId, entry: &Entry) -> Option<i64> {
    let (depth, siblings): (u16, Vec<TrackId>) = match kind {
        TrackKind::TaskSpans { task, depth } => (depth, trace.tracks_of_task(task).collect()),
        TrackKind::CpuSpans { cpu, depth } => (depth, trace.tracks_of_cpu(cpu).collect()),
        _ => return None,
    };
    let below = siblings.into_iter().filter(|&id| id != track).find(|&id| {
        matches!(trace.track(id).map(|track| track.kind),
            Some(TrackKind::TaskSpans { depth: other, .. } | TrackKind::CpuSpans { depth: other, .. }) if other == depth + 1)
    });
    let length = entry.end - entry.start;
    let Some(row) = below.and_then(|id| trace.track(id)?.row()) else { return Some(length) };
    let first = row.first_from(entry.start);
    let mut covered = 0;
    for (count, index) in (first..row.len()).enumerate() {
        let Some(child) = row.entry(index).filter(|child| child.start < entry.end) else { break };
        if count >= MAX_CHILDREN {
            return None;
        }
        covered += child.end.min(entry.end) - child.start;
    }
    Some(length - covered)
}

/// The stations of a packet and the time between them.
fn of_flow(trace: &Trace, point: u32) -> Option<Facts> {
    let points = trace.flows().flow_of(point, super::flows::MAX_POINTS);
    let (first, last) = (points.first()?, points.last()?);
    let name = |callsite: u16| {
        trace
            .description()
            .callsite(callsite)
            .map_or_else(|| format!("callsite {callsite}"), |known| known.name.to_string())
    };
    let mut facts = Facts { title: name(first.callsite), kind: format!("packet {}", first.id), ..Facts::default() };
    facts.row("duration", format::duration(last.time - first.time));
    facts.row("from", exact(first.time));
    facts.row("by", trace.actor_label(first.actor));
    for pair in points.windows(2) {
        if let [a, b] = pair {
            facts.row(
                &name(b.callsite),
                format!("+{}, {}", format::duration(b.time - a.time), trace.actor_label(b.actor)),
            );
        }
    }
    Some(facts)
}

fn of_sample(trace: &Trace, track: TrackId, time: i64) -> Option<Facts> {
    let known = trace.track(track)?;
    let TrackKind::Counter { callsite, .. } = known.kind else { return None };
    let samples = known.samples()?;
    let (index, value) = samples.at(time)?;
    let described = trace.description().callsite(callsite);
    let unit = described.and_then(|callsite| callsite.fields.first()).map_or(Unit::None, |field| field.unit);
    let mut facts = Facts { title: trace.key_name(known.kind, callsite), kind: "counter".into(), ..Facts::default() };
    facts.row("value", format::quantity(value, unit));
    if let Some((_, before)) = index.checked_sub(1).and_then(|before| samples.sample(before)) {
        let sign = if value >= before { "+" } else { "−" };
        facts.row("change", format!("{sign}{}", format::quantity((value - before).abs(), unit)));
    }
    facts.row("at", exact(time));
    if let Some((least, most)) = samples.range() {
        facts.row("least", format::quantity(least, unit));
        facts.row("greatest", format::quantity(most, unit));
    }
    facts.row("samples", format::count(samples.len() as u64));
    if let Some(callsite) = described.filter(|callsite| !callsite.file.is_empty()) {
        facts.source = Some((callsite.file.to_string(), callsite.line));
    }
    Some(facts)
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Span => "span",
        Kind::Instant => "instant",
        Kind::Counter => "counter",
        Kind::FlowBegin => "begin of a flow",
        Kind::FlowStep => "step of a flow",
        Kind::FlowEnd => "end of a flow",
        Kind::Log => "log record",
        Kind::Create => "creation",
        Kind::Exists => "name of an object, said again",
        Kind::Context => "fields of a span around log records",
        Kind::Try => "found not ready",
        Kind::Read => "value taken",
        Kind::Resolve => "resolution",
        Kind::Fail => "failure",
        Kind::Signal => "signal",
        Kind::Drop => "end of an object",
        other => other.text(),
    }
}
