//! The statistics of a trace: per callsite, task and counter, with what was discarded. The names are those of
//! `fata stats --json`, on which scripts depend.
//!
//! Percentiles come from histograms and are right to 1 part in 128; everything else is exact. Spans that a gap made
//! uncertain, and spans that have not ended, are counted and have no time.

use fata_wire::event::MAX_CALLSITES;
use fata_wire::field::{Kind, Unit};
use fata_wire::packet::Cause;

use crate::guests::GuestId;
use crate::histogram::Histogram;
use crate::samples::Samples;
use crate::tasks::State;
use crate::time::Nanos;
use crate::trace::{TaskRef, Trace, TrackKind};

mod clock;
mod guests;
mod logs;

pub use clock::ClockStats;
pub use guests::{GuestStats, WireEnds, WireStats};
pub use logs::{LogBytes, LogStats};

/// The callsites that a guest may have.
pub(crate) const CALLSITES: usize = MAX_CALLSITES as usize;

/// The account of one callsite, kept while events come in. Of a length by which a table is quickly looked into.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
pub struct CallsiteTimes {
    /// Its events; of spans those that have ended.
    pub count: u64,
    /// Spans among them that were open across a gap.
    pub uncertain: u64,
    /// Time in spans: more than 64 bits, so that no sum of forged times is wrong.
    pub total_nanos: u128,
    /// Time in which it was the innermost span.
    pub self_nanos: u128,
    /// How long the spans were.
    pub durations: Histogram,
}

impl CallsiteTimes {
    /// A span has ended.
    pub(crate) fn ended(&mut self, nanos: Nanos, covered: Nanos, uncertain: bool) {
        if uncertain {
            self.count += 1;
            self.uncertain += 1;
        } else {
            self.timed(nanos.max(0).unsigned_abs(), covered);
        }
    }

    /// A span has ended that took so long, of which something ran above it for `covered`.
    #[inline(always)]
    pub(crate) fn timed(&mut self, nanos: u64, covered: Nanos) {
        let own = (nanos.cast_signed() - covered).max(0);
        self.count += 1;
        self.total_nanos += u128::from(nanos);
        self.self_nanos += u128::from(own.unsigned_abs());
        self.durations.count_in(nanos);
    }

    /// The accounts of one guest's callsites.
    pub(crate) fn of_guest(table: &mut [CallsiteTimes], guest: GuestId) -> Option<&mut [CallsiteTimes; CALLSITES]> {
        table.as_chunks_mut().0.get_mut(guest.index())
    }

    /// The accounts of so many guests' callsites.
    pub(crate) fn extend(table: &mut Vec<CallsiteTimes>, guests: u16) {
        table.resize(CALLSITES * usize::from(guests), CallsiteTimes::default());
    }
}

/// All statistics.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Stats {
    /// All events, unfinished ones included: what `babeltrace2` counts.
    pub events_total: u64,
    /// Packets read.
    pub packets: u64,
    /// From the first packet's begin to the last moment, in nanoseconds.
    pub duration_ns: Nanos,
    /// Discarded events by cause.
    pub discarded: DiscardedStats,
    /// By callsite, those that cost most first.
    pub callsites: Vec<CallsiteStats>,
    /// By task, in the order in which they were first seen.
    pub tasks: Vec<TaskStats>,
    /// By counter.
    pub counters: Vec<CounterStats>,
    /// Objects that were tried and never answered, lost signals first.
    pub unresolved: Vec<UnresolvedStats>,
    /// The clock. Where there are several guests each has its own in `guests`, and this is that of the first.
    pub clock: Option<ClockStats>,
    /// The guests, where there are several.
    pub guests: Vec<GuestStats>,
    /// Packets between guests, by who sent and who received them.
    pub wires: Vec<WireStats>,
    /// Packets that guests sent and received, whether their other end is in the trace or not; 0 where no guest was asked.
    pub wire_ends: WireEnds,
    /// Log records by guest and level, those included that nobody read.
    pub logs: Vec<LogStats>,
    /// How long the log records were that nobody read, by guest.
    pub log_bytes: Vec<LogBytes>,
    /// Intervals for which a stream's events are missing.
    pub gaps: Vec<GapStats>,
    /// What was wrong with the trace, in sentences.
    pub warnings: Vec<String>,
}

/// Discarded events by cause, over all streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DiscardedStats {
    /// The ring was full.
    pub full: u64,
    /// An interrupt fired while the ring was changing packets.
    pub nested: u64,
    /// Longer than a packet.
    pub too_big: u64,
    /// Newer events took the place.
    pub overwritten: u64,
    /// The receiver found no events there.
    pub refused: u64,
    /// All causes together. Not among the causes of `--json`, whose values can be summed.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub total: u64,
    /// Packets that were published and are not in the trace.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub missing_packets: u64,
}

/// One callsite.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CallsiteStats {
    /// Its name.
    pub name: String,
    /// Whose it is, where there are several guests.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "String::is_empty"))]
    pub guest: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its events; of spans only the begins.
    pub count: u64,
    /// Spans that have not ended.
    pub open: u64,
    /// Spans that were open across a gap.
    pub uncertain: u64,
    /// Time in its spans.
    pub total_ns: Nanos,
    /// Time in which it was the innermost span.
    pub self_ns: Nanos,
    /// Mean duration.
    pub mean_ns: f64,
    /// Half of them were not longer.
    pub p50_ns: Nanos,
    /// 99 % of them were not longer.
    pub p99_ns: Nanos,
    /// The longest.
    pub max_ns: Nanos,
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TaskStats {
    /// Its number in the guest, which later tasks use again.
    pub id: u16,
    /// Its name; empty where its spawn is not in the trace.
    pub name: String,
    /// Whose it is, where there are several guests.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "String::is_empty"))]
    pub guest: String,
    /// Its parent's number, 0 for none or the scheduler.
    pub parent: u16,
    /// How often it was polled.
    pub polls: u64,
    /// Time in polls.
    pub running_ns: Nanos,
    /// Time from wakes to polls.
    pub ready_ns: Nanos,
    /// The longest such time.
    pub max_ready_ns: Nanos,
    /// Time in which it waited.
    pub idle_ns: Nanos,
    /// Its state at the trace's end.
    pub state: &'static str,
}

/// One counter.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CounterStats {
    /// Its name.
    pub name: String,
    /// Whose it is, where there are several guests.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "String::is_empty"))]
    pub guest: String,
    /// What it counts.
    pub unit: &'static str,
    /// Samples.
    pub count: u64,
    /// Its last value.
    pub last: f64,
    /// Its least.
    pub min: f64,
    /// Its greatest.
    pub max: f64,
}

/// An object that was tried and has not answered.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnresolvedStats {
    /// The object's name.
    pub name: String,
    /// The object's number in the guest.
    pub id: u16,
    /// What it is: the name of the callsite that created it, such as `sync.promise`.
    pub kind: String,
    /// `signal_lost` or `never_resolved`.
    pub verdict: &'static str,
    /// The task that tried it, as people call it.
    pub task: String,
    /// Since when, in nanoseconds of the trace.
    pub since_ns: Nanos,
    /// For how long.
    pub waited_ns: Nanos,
    /// When it was last signalled; before `since_ns` the signal was lost.
    pub signalled_ns: Option<Nanos>,
}

/// A time for which events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct GapStats {
    /// The vCPU.
    pub cpu: u32,
    /// The last moment known before it.
    pub from_ns: Nanos,
    /// The first moment known after it.
    pub to_ns: Nanos,
    /// Discarded events.
    pub discarded: u64,
    /// Packets that were published and are not in the trace.
    pub missing_packets: u64,
}

/// No more gaps than this are listed; the sums count all.
const MAX_GAPS_LISTED: usize = 1000;

impl Stats {
    /// The statistics of a trace as it stands.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        let clock = |guest| clock::of(trace, guest);
        let slow = |guest| {
            let warning = clock(guest)?.warning()?;
            Some(if trace.has_several_guests() { format!("{}: {warning}", trace.guest_name(guest)) } else { warning })
        };
        Stats {
            events_total: trace.events,
            packets: trace.streams.iter().map(|stream| stream.packets).sum(),
            duration_ns: trace.end,
            discarded: discarded(trace),
            callsites: callsites(trace),
            tasks: (0..).zip(&trace.tasks.list).map(|(index, _)| task(trace, TaskRef(index))).collect(),
            counters: counters(trace),
            unresolved: unresolved(trace),
            clock: clock(GuestId::default()),
            guests: guests::of(trace),
            wires: guests::wires(trace),
            wire_ends: WireEnds { sent: trace.wires.ends().0, received: trace.wires.ends().1 },
            logs: logs::logs(trace),
            log_bytes: logs::bytes(trace),
            gaps: gaps(trace),
            warnings: trace.warnings().chain(trace.guests().filter_map(slow)).collect(),
        }
    }
}

impl Trace {
    /// The statistics of the trace as it stands.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(self)
    }
}

fn discarded(trace: &Trace) -> DiscardedStats {
    let sum = |cause| trace.streams.iter().map(|stream| stream.discarded_by(cause)).fold(0, u64::saturating_add);
    DiscardedStats {
        full: sum(Cause::Full),
        nested: sum(Cause::Nested),
        too_big: sum(Cause::TooBig),
        overwritten: sum(Cause::Overwritten),
        refused: sum(Cause::Refused),
        total: Cause::ALL.into_iter().map(sum).fold(0, u64::saturating_add),
        missing_packets: trace.gaps.iter().map(|gap| gap.missing_packets).fold(0, u64::saturating_add),
    }
}

fn callsites(trace: &Trace) -> Vec<CallsiteStats> {
    let open = open_by_callsite(trace);
    let mut list: Vec<_> = trace
        .description
        .callsites()
        .filter(|callsite| callsite.kind != Kind::Name)
        .filter_map(|callsite| {
            let times = trace.times.get(usize::from(callsite.id))?;
            let timed = times.durations.count();
            let open = open.get(usize::from(callsite.id)).copied().unwrap_or(0);
            (times.count + open > 0).then(|| CallsiteStats {
                name: callsite.name.to_string(),
                guest: guest_name(trace, GuestId::of_callsite(callsite.id)),
                kind: callsite.kind.text(),
                count: times.count + open,
                open,
                uncertain: times.uncertain,
                total_ns: Nanos::try_from(times.total_nanos).unwrap_or(Nanos::MAX),
                self_ns: Nanos::try_from(times.self_nanos).unwrap_or(Nanos::MAX),
                mean_ns: if timed == 0 { 0.0 } else { times.total_nanos as f64 / timed as f64 },
                p50_ns: times.durations.quantile(0.5),
                p99_ns: times.durations.quantile(0.99),
                max_ns: times.durations.max(),
            })
        })
        .collect();
    list.sort_by(|a, b| b.total_ns.cmp(&a.total_ns).then(b.count.cmp(&a.count)).then(a.name.cmp(&b.name)));
    list
}

/// How many spans of each callsite have not ended.
pub(crate) fn open_by_callsite(trace: &Trace) -> Vec<u64> {
    let mut open = vec![0; trace.times.len()];
    for callsite in trace.open_spans() {
        if let Some(count) = open.get_mut(usize::from(callsite)) {
            *count += 1;
        }
    }
    open
}

fn task(trace: &Trace, index: TaskRef) -> TaskStats {
    let Some(task) = trace.task(index) else { return TaskStats::nobody() };
    let (state, _) = trace.state_of(index).unwrap_or((State::Unknown, 0));
    // What a gap has passed over counts up to the gap.
    let until = if state == task.state { trace.end } else { trace.state_of(index).map_or(trace.end, |(_, gap)| gap) };
    TaskStats {
        id: task.number,
        name: trace.task_name(index).unwrap_or("").to_owned(),
        guest: guest_name(trace, task.guest()),
        parent: task.parent.and_then(|parent| trace.task(parent)).map_or(0, |parent| parent.number),
        polls: task.polls,
        running_ns: task.nanos_in(State::Running, until),
        ready_ns: task.nanos_in(State::Ready, until),
        max_ready_ns: task.max_ready_nanos,
        idle_ns: task.nanos_in(State::Idle, until),
        state: state.text(),
    }
}

impl TaskStats {
    fn nobody() -> Self {
        TaskStats {
            id: 0,
            name: String::new(),
            guest: String::new(),
            parent: 0,
            polls: 0,
            running_ns: 0,
            ready_ns: 0,
            max_ready_ns: 0,
            idle_ns: 0,
            state: State::Unknown.text(),
        }
    }
}

fn counters(trace: &Trace) -> Vec<CounterStats> {
    let series = trace.tracks.list.iter().filter_map(|track| match track.kind {
        TrackKind::Counter { callsite, .. } => Some((callsite, track.samples()?)),
        _ => None,
    });
    let mut by_callsite: Vec<(u16, Vec<&Samples>)> = Vec::new();
    for (callsite, samples) in series {
        match by_callsite.iter_mut().find(|(known, _)| *known == callsite) {
            Some((_, list)) => list.push(samples),
            None => by_callsite.push((callsite, vec![samples])),
        }
    }
    let one = |(callsite, list): (u16, Vec<&Samples>)| {
        let described = trace.description.callsite(callsite)?;
        let ranges = || list.iter().filter_map(|samples| samples.range());
        let last = list.iter().filter_map(|samples| samples.last()).max_by_key(|(time, _)| *time)?;
        Some(CounterStats {
            name: described.name.to_string(),
            guest: guest_name(trace, GuestId::of_callsite(callsite)),
            unit: described.fields.first().map_or(Unit::None, |field| field.unit).text(),
            count: list.iter().map(|samples| samples.len() as u64).sum(),
            last: last.1,
            min: ranges().map(|(min, _)| min).fold(f64::INFINITY, f64::min),
            max: ranges().map(|(_, max)| max).fold(f64::NEG_INFINITY, f64::max),
        })
    };
    by_callsite.into_iter().filter_map(one).collect()
}

fn unresolved(trace: &Trace) -> Vec<UnresolvedStats> {
    let list = trace.unresolved().into_iter();
    list.map(|unresolved| UnresolvedStats {
        name: unresolved.name,
        id: unresolved.number,
        kind: unresolved.kind,
        verdict: unresolved.verdict.text(),
        task: unresolved.task.map_or_else(|| "no task".to_owned(), |task| trace.task_label(task)),
        since_ns: unresolved.since,
        waited_ns: trace.end - unresolved.since,
        signalled_ns: unresolved.signalled,
    })
    .collect()
}

/// What a guest is called, where there are several.
fn guest_name(trace: &Trace, guest: GuestId) -> String {
    if trace.has_several_guests() { trace.guest_name(guest) } else { String::new() }
}

fn gaps(trace: &Trace) -> Vec<GapStats> {
    let one = |gap: &crate::trace::Gap| GapStats {
        cpu: gap.cpu,
        from_ns: gap.from,
        to_ns: gap.to,
        discarded: gap.events(),
        missing_packets: gap.missing_packets,
    };
    trace.gaps.iter().take(MAX_GAPS_LISTED).map(one).collect()
}
