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
//! | `CpuInstants`, `TaskInstants` | an instant, flow point, log record among a vCPU's events, sync event | its callsite | its fields |
//! | `Task` | the task was in a [`State`](crate::tasks::State) | the state | it says what |
//! | `Counter` | a sample | | |
//!
//! Spans belong to the task that was current in their stream when they began; what began outside of any poll, in an
//! interrupt, or while the current task was unknown (after a gap) belongs to the vCPU.

use fata_wire::packet::Discarded;

use crate::args::Args;
use crate::columns::Row;
use crate::description::Description;
use crate::flows::Flows;
use crate::guests::GuestId;
use crate::lod::{View, Visible};
use crate::logs::Logs;
pub use crate::names::FieldValue;
use crate::objects::Objects;
use crate::spans::Stack;
use crate::stats::CallsiteTimes;
use crate::streams::Stream;
use crate::tasks::{Task, Tasks};
use crate::time::{Nanos, TickScale};
pub(crate) use crate::tracks::Tracks;
pub use crate::tracks::{Series, Track, TrackKind};
use crate::wires::Wires;

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
    #[inline]
    pub const fn pack(self) -> u32 {
        // Mostly it is a task: asked by itself this is no jump through a table.
        if let Actor::Task(TaskRef(task)) = self {
            return task;
        }
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

/// See the module.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(crate) description: Description,
    /// By guest; `None` before its first packet.
    pub(crate) scales: Vec<Option<TickScale>>,
    pub(crate) origin: Option<Origin>,
    pub(crate) end: Nanos,
    /// Before this, intervals were forgotten.
    pub(crate) detail_from: Option<Nanos>,
    pub(crate) events: u64,
    pub(crate) unknown_events: u64,
    pub(crate) tracks: Tracks,
    pub(crate) tasks: Tasks,
    /// By task, in the order of [`Trace::tasks`].
    pub(crate) stacks: Vec<Stack>,
    /// The tasks whose stacks have changed within the packet that is read.
    pub(crate) touched: Vec<TaskRef>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) flows: Flows,
    pub(crate) wires: Wires,
    /// How far each guest's clock may be off, as far as anybody knows.
    pub(crate) errors: Vec<Option<Nanos>>,
    pub(crate) objects: Objects,
    pub(crate) logs: Logs,
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

    /// How a guest's ticks become times; those of one that has no packets yet count as nanoseconds.
    pub(crate) fn scale(&self, guest: GuestId) -> TickScale {
        self.scales.get(guest.index()).copied().flatten().unwrap_or_else(|| TickScale::new(0, 0))
    }

    /// The last moment that the trace says something of. Grows while the trace is live.
    #[must_use]
    pub fn end(&self) -> Nanos {
        self.end
    }

    /// From when on intervals are known one by one; before it they were given up for newer ones, when the limit was
    /// reached, and only their overview stays. `None` where nothing was given up.
    #[must_use]
    pub fn detail_from(&self) -> Option<Nanos> {
        self.detail_from
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
        list.extend(self.detail_from.map(|time| {
            let time = crate::text::moment(time);
            format!("what happened before {time} is kept as an overview only: the memory limit was reached")
        }));
        if self.args.forgotten > 0 {
            list.push(
                "texts and large numbers among the oldest events' fields were given up: the memory limit was reached"
                    .to_owned(),
            );
        }
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
        say(self.args.refused, "events lost texts or large numbers among their fields to the memory limit");
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
                self.task(task).map(Task::cpu)
            }
        };
        let Some(stream) = self.streams.iter().find(|stream| Some(stream.cpu) == cpu) else { return self.end };
        let next = stream.gaps().partition_point(|gap| gap.to < open.start);
        stream.gaps().get(next).map_or(self.end, |gap| gap.from.max(open.start))
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
            + self.wires.memory_bytes()
            + self.logs.memory_bytes()
            + self.args.memory_bytes()
    }
}
