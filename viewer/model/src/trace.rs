//! A trace as data: tracks of intervals and samples, tasks, wakes, flows, gaps, and what they are called.
//!
//! A track is a series in the model; a viewer shows it as a lane. Everything is addressed by small numbers that never
//! change while the trace grows ([`TrackId`], [`TaskRef`], an index in a row), so a viewer may keep them between frames.
//!
//! Tracks come into being when their first event does:
//!
//! | [`TrackKind`] | one interval or instant is | its key | its extra |
//! |---|---|---|---|
//! | `Cpu` | a poll: the task ran on the vCPU | the task's number | its [`TaskRef`] |
//! | `CpuSpans`, `TaskSpans`, `Phases` | a span | its callsite | its fields, for [`Trace::fields`] |
//! | `CpuInstants`, `TaskInstants` | an instant, flow point, log record, sync event | its callsite | its fields |
//! | `Task` | the task was in a [`State`] | the state | [`State`] says what |
//! | `Counter` | a sample | | |
//!
//! Spans belong to the task that was current in their stream when they began; what began outside of any poll, in an
//! interrupt, or while the current task was unknown (after a gap) belongs to the vCPU.

use fata_wire::packet::Discarded;

use crate::args::Args;
use crate::columns::Row;
use crate::description::{Callsite, Description};
use crate::flows::Flows;
use crate::lod::{View, Visible};
use crate::objects::Objects;
use crate::samples::Samples;
use crate::spans::Stack;
use crate::stats::CallsiteTimes;
use crate::streams::Stream;
use crate::tasks::{State, Task, Tasks};
use crate::time::{Nanos, TickScale};

/// Which track; stable while the trace grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u32);

/// Which task in [`Trace::tasks`]; stable, and never used again, unlike the task's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskRef(pub u32);

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A task, in its poll.
    Task(TaskRef),
    /// The scheduler itself: a timer that fired, the boot.
    Scheduler,
    /// An interrupt.
    Interrupt,
    /// Events were discarded, so that nobody knows.
    Unknown,
}

impl Actor {
    const SCHEDULER: u32 = u32::MAX;
    const INTERRUPT: u32 = u32::MAX - 1;
    const UNKNOWN: u32 = u32::MAX - 2;

    /// As an interval's extra.
    #[must_use]
    pub const fn pack(self) -> u32 {
        match self {
            Actor::Task(TaskRef(task)) => task,
            Actor::Scheduler => Self::SCHEDULER,
            Actor::Interrupt => Self::INTERRUPT,
            Actor::Unknown => Self::UNKNOWN,
        }
    }

    /// From an interval's extra.
    #[must_use]
    pub const fn unpack(extra: u32) -> Self {
        match extra {
            Self::SCHEDULER => Actor::Scheduler,
            Self::INTERRUPT => Actor::Interrupt,
            Self::UNKNOWN => Actor::Unknown,
            task => Actor::Task(TaskRef(task)),
        }
    }
}

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Which task a vCPU runs.
    Cpu {
        /// The vCPU.
        cpu: u32,
    },
    /// Spans of the scheduler and of interrupts, at one depth.
    CpuSpans {
        /// The vCPU.
        cpu: u32,
        /// How many spans enclose them.
        depth: u16,
    },
    /// Instants outside of tasks.
    CpuInstants {
        /// The vCPU.
        cpu: u32,
    },
    /// The heap's phases on a vCPU, whichever task was in them; the same spans are in the tasks' rows.
    Phases {
        /// The vCPU.
        cpu: u32,
        /// How many phases enclose them.
        depth: u16,
    },
    /// The states of a task.
    Task {
        /// The task.
        task: TaskRef,
    },
    /// Spans of a task at one depth.
    TaskSpans {
        /// The task.
        task: TaskRef,
        /// How many spans enclose them.
        depth: u16,
    },
    /// Instants in a task.
    TaskInstants {
        /// The task.
        task: TaskRef,
    },
    /// A counter as one vCPU saw it.
    Counter {
        /// The vCPU.
        cpu: u32,
        /// Its callsite.
        callsite: u16,
    },
}

/// A track's data.
#[derive(Clone, Debug)]
pub enum Series {
    /// Intervals or instants.
    Row(Row),
    /// A counter's values.
    Samples(Samples),
}

/// A series of the trace.
#[derive(Clone, Debug)]
pub struct Track {
    /// What it shows.
    pub kind: TrackKind,
    /// Its data.
    pub series: Series,
}

impl Track {
    /// The intervals, where it is not a counter.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        if let Series::Row(row) = &self.series { Some(row) } else { None }
    }

    /// The samples, where it is a counter.
    #[must_use]
    pub fn samples(&self) -> Option<&Samples> {
        if let Series::Samples(samples) = &self.series { Some(samples) } else { None }
    }
}

/// Task `to` was made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// When.
    pub time: Nanos,
    /// By whom.
    pub from: Actor,
    /// Whom.
    pub to: TaskRef,
    /// On which vCPU.
    pub cpu: u32,
}

/// A time for which a stream's events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The vCPU.
    pub cpu: u32,
    /// The last moment known before it.
    pub from: Nanos,
    /// The first moment known after it.
    pub to: Nanos,
    /// Discarded events, by cause.
    pub discarded: Discarded,
    /// Packets that the trace does not have, though they were published.
    pub missing_packets: u64,
}

impl Gap {
    /// Discarded events, all causes together.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.discarded.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Where time 0 lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The clock's value at time 0.
    pub ticks: u64,
    /// Nanoseconds since 1970 at time 0; `None` where the guest did not know the time of day.
    pub unix_nanos: Option<i64>,
}

/// All tracks, and how many intervals they may still take.
#[derive(Clone, Debug)]
pub(crate) struct Tracks {
    pub(crate) list: Vec<Track>,
    pub(crate) max_tracks: usize,
    /// Intervals and samples that still fit.
    pub(crate) room: u64,
    /// What did not.
    pub(crate) refused: u64,
}

impl Tracks {
    pub(crate) const NONE: TrackId = TrackId(u32::MAX);

    pub(crate) fn add(&mut self, kind: TrackKind) -> TrackId {
        if self.list.len() >= self.max_tracks {
            self.refused += 1;
            return Self::NONE;
        }
        let series = match kind {
            TrackKind::Counter { .. } => Series::Samples(Samples::default()),
            _ => Series::Row(Row::new()),
        };
        let id = TrackId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(Track { kind, series });
        id
    }

    /// The row of a track, if another interval fits.
    #[inline]
    pub(crate) fn row(&mut self, id: TrackId) -> Option<&mut Row> {
        if self.room == 0 {
            self.refused += 1;
            return None;
        }
        match self.list.get_mut(id.0 as usize) {
            Some(Track { series: Series::Row(row), .. }) => {
                self.room -= 1;
                Some(row)
            }
            _ => {
                self.refused += 1;
                None
            }
        }
    }

    /// Whether another wake fits.
    pub(crate) fn take_room(&mut self) -> bool {
        let fits = self.room > 0;
        self.room -= u64::from(fits);
        self.refused += u64::from(!fits);
        fits
    }

    /// The row of a track, to end or forget what is open in it.
    #[inline]
    pub(crate) fn row_with_open(&mut self, id: TrackId) -> Option<&mut Row> {
        match self.list.get_mut(id.0 as usize) {
            Some(Track { series: Series::Row(row), .. }) => Some(row),
            _ => None,
        }
    }

    pub(crate) fn samples(&mut self, id: TrackId) -> Option<&mut Samples> {
        match self.list.get_mut(id.0 as usize) {
            Some(Track { series: Series::Samples(samples), .. }) if self.room > 0 => {
                self.room -= 1;
                Some(samples)
            }
            _ => {
                self.refused += 1;
                None
            }
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(crate) description: Description,
    pub(crate) scale: TickScale,
    pub(crate) origin: Option<Origin>,
    pub(crate) end: Nanos,
    pub(crate) events: u64,
    pub(crate) unknown_events: u64,
    pub(crate) tracks: Tracks,
    pub(crate) tasks: Tasks,
    /// By task, in the order of [`Trace::tasks`].
    pub(crate) stacks: Vec<Stack>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) flows: Flows,
    pub(crate) objects: Objects,
    pub(crate) args: Args,
    /// By callsite.
    pub(crate) times: Vec<CallsiteTimes>,
    pub(crate) orphan_ends: u64,
    pub(crate) too_deep: u64,
    pub(crate) warnings: Vec<String>,
}

impl Trace {
    /// Callsites, names, facts about the guest, its clock.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Where time 0 lies; `None` before the first packet.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The last moment that the trace says something of. Grows while the trace is live.
    #[must_use]
    pub fn end(&self) -> Nanos {
        self.end
    }

    /// All events of all packets, unfinished ones included: what `babeltrace2` counts.
    #[must_use]
    pub fn events_total(&self) -> u64 {
        self.events
    }

    /// The tracks, in the order of their first event.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks.list
    }

    /// The track of this number.
    #[must_use]
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.list.get(id.0 as usize)
    }

    /// All tasks, in the order in which they were first seen.
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        &self.tasks.list
    }

    /// One of them.
    #[must_use]
    pub fn task(&self, task: TaskRef) -> Option<&Task> {
        self.tasks.list.get(task.0 as usize)
    }

    /// The streams, in the order of their first packet.
    #[must_use]
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// Times for which events are missing, in the order in which they were noticed.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The causal arrows between flow events.
    #[must_use]
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// Promises, conditions and the like.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What was wrong with the trace, in sentences.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let mut list = self.warnings.clone();
        let mut say = |count: u64, text: &str| {
            if count > 0 {
                list.push(format!("{count} {text}"));
            }
        };
        say(
            self.unknown_events,
            "events are of callsites that the metadata does not describe; they are counted, not shown",
        );
        say(self.orphan_ends, "spans end whose begin is not in the trace; their ends are counted, not shown");
        say(self.too_deep, "spans are nested deeper than this program follows; they are counted, not shown");
        say(self.tracks.refused, "intervals or tracks did not fit the memory limit; they are counted, not shown");
        say(self.args.refused, "events lost their fields to the memory limit");
        say(self.tasks.refused, "tasks did not fit the limit; their events are shown with the vCPU");
        say(self.description.refused, "descriptions in the metadata contradict earlier ones or exceed a limit");
        list.into_iter()
    }

    /// The tracks of a vCPU: its polls, spans, instants, phases and counters.
    pub fn tracks_of_cpu(&self, cpu: u32) -> impl Iterator<Item = TrackId> {
        let stream = self.streams.iter().find(|stream| stream.cpu == cpu);
        stream.into_iter().flat_map(Stream::tracks)
    }

    /// The tracks of a task: its states, spans by depth, instants.
    pub fn tracks_of_task(&self, task: TaskRef) -> impl Iterator<Item = TrackId> {
        let states = self.task(task).map(|task| task.states);
        let stack = self.stacks.get(task.0 as usize);
        let others = stack.into_iter().flat_map(Stack::tracks);
        states.into_iter().chain(others).filter(|&id| id != Tracks::NONE)
    }

    /// Puts into `out` what of a row track can be seen, open intervals included; nothing for a counter.
    pub fn visible(&self, id: TrackId, view: &View, out: &mut Visible) {
        match self.track(id) {
            Some(track) if track.row().is_some() => {
                if let Some(row) = track.row() {
                    row.visible(view, self.open_end(track), out);
                }
            }
            _ => *out = Visible::default(),
        }
    }

    /// Until when what is open in a track is known to last: the trace's end, or the first gap since.
    #[must_use]
    pub fn open_end(&self, track: &Track) -> Nanos {
        let Some(open) = track.row().and_then(Row::open) else { return self.end };
        let cpu = match track.kind {
            TrackKind::Cpu { cpu } | TrackKind::CpuSpans { cpu, .. } | TrackKind::CpuInstants { cpu } => Some(cpu),
            TrackKind::Phases { cpu, .. } | TrackKind::Counter { cpu, .. } => Some(cpu),
            TrackKind::Task { task } | TrackKind::TaskSpans { task, .. } | TrackKind::TaskInstants { task } => {
                self.task(task).map(|task| task.cpu)
            }
        };
        let Some(stream) = self.streams.iter().find(|stream| Some(stream.cpu) == cpu) else { return self.end };
        let next = stream.gaps.partition_point(|gap| gap.to < open.start);
        stream.gaps.get(next).map_or(self.end, |gap| gap.from.max(open.start))
    }

    /// What a key in a track of this kind is called.
    #[must_use]
    pub fn key_name(&self, kind: TrackKind, key: u16) -> String {
        match kind {
            TrackKind::Task { .. } => State::from_key(key).text().to_owned(),
            TrackKind::Cpu { .. } => match self.tasks.current(key).and_then(|task| self.task_name(task)) {
                Some(name) => format!("{name} #{key}"),
                None => format!("task #{key}"),
            },
            _ => self.description.callsite(key).map_or_else(|| format!("callsite {key}"), |c| c.name.to_string()),
        }
    }

    /// What a task is called, if it was named.
    #[must_use]
    pub fn task_name(&self, task: TaskRef) -> Option<&str> {
        self.description.name(self.task(task)?.name?)
    }

    /// A task as people call it: `http.connection #17`.
    #[must_use]
    pub fn task_label(&self, task: TaskRef) -> String {
        let number = self.task(task).map_or(0, |task| task.number);
        match self.task_name(task) {
            Some(name) => format!("{name} #{number}"),
            None => format!("task #{number}"),
        }
    }

    /// An actor as people call it.
    #[must_use]
    pub fn actor_label(&self, actor: Actor) -> String {
        match actor {
            Actor::Task(task) => self.task_label(task),
            Actor::Scheduler => "scheduler".to_owned(),
            Actor::Interrupt => "interrupt".to_owned(),
            Actor::Unknown => "unknown (events were discarded)".to_owned(),
        }
    }

    /// A track's own label, as for a lane's head.
    #[must_use]
    pub fn track_label(&self, kind: TrackKind) -> String {
        match kind {
            TrackKind::Cpu { cpu } => format!("vCPU {cpu}"),
            TrackKind::CpuSpans { cpu, depth } => format!("vCPU {cpu} spans {depth}"),
            TrackKind::CpuInstants { cpu } => format!("vCPU {cpu} instants"),
            TrackKind::Phases { cpu, .. } if self.streams.len() > 1 => format!("heap on vCPU {cpu}"),
            TrackKind::Phases { .. } => "heap".to_owned(),
            TrackKind::Task { task } | TrackKind::TaskSpans { task, .. } | TrackKind::TaskInstants { task } => {
                self.task_label(task)
            }
            TrackKind::Counter { callsite, .. } => self.key_name(kind, callsite),
        }
    }

    /// The name and values of an event's fields, from an interval's key and extra; empty where it has none.
    #[must_use]
    pub fn fields(&self, callsite: u16, extra: u32) -> Vec<FieldValue> {
        let (Some(callsite), Some((arg, payload))) = (self.description.callsite(callsite), self.args.get(extra)) else {
            return Vec::new();
        };
        self.decode_fields(callsite, arg, &payload)
    }

    pub(crate) fn decode_fields(&self, callsite: &Callsite, arg: u16, payload: &[u8]) -> Vec<FieldValue> {
        callsite.wire_fields().values(arg, payload).map(|(field, value)| FieldValue::new(self, &field, value)).collect()
    }

    /// The wakes of one vCPU within a time range, in time order.
    pub fn wakes(&self, cpu: u32, from: Nanos, to: Nanos) -> impl Iterator<Item = Wake> {
        let stream = self.streams.iter().find(|stream| stream.cpu == cpu);
        stream.into_iter().flat_map(move |stream| stream.wakes(from, to))
    }

    /// What the model takes in memory: columns, pyramids, fields, tables.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let tracks = self.tracks.list.iter().map(|track| match &track.series {
            Series::Row(row) => row.memory_bytes(),
            Series::Samples(samples) => samples.memory_bytes(),
        });
        tracks.sum::<usize>()
            + self.tracks.list.capacity() * size_of::<Track>()
            + self.tasks.memory_bytes()
            + self.stacks.iter().map(Stack::memory_bytes).sum::<usize>()
            + self.streams.iter().map(Stream::memory_bytes).sum::<usize>()
            + self.gaps.capacity() * size_of::<Gap>()
            + self.flows.memory_bytes()
            + self.args.memory_bytes()
    }
}

/// A field of an event as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue {
    /// The field's name.
    pub name: String,
    /// Its value with its unit, names resolved.
    pub text: String,
}

impl FieldValue {
    fn new(trace: &Trace, field: &fata_wire::field::Field<'_>, value: fata_wire::field::Value<'_>) -> Self {
        let text = crate::text::value(&value, field.unit, trace);
        FieldValue { name: field.name.to_owned(), text }
    }
}
