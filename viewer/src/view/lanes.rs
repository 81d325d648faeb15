//! Which lanes there are, from top to bottom: a pure function of the trace, the folds and the pins.
//!
//! Invariant: a lane's height depends on what it shows and not on the visible time, so that nothing jumps while one looks
//! around. Tasks of one name that come in numbers (a connection each) share a folded lane of their own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fata_model::columns::Row;
use fata_model::guests::GuestId;
use fata_model::objects::Verdict;
use fata_model::tasks::State;
use fata_model::trace::{TaskRef, Trace, TrackId, TrackKind};
use fata_wire::field::Unit;

use super::format;
use super::names::Names;

/// From this many tasks of one name on, they share a lane.
pub const FOLD_FROM: usize = 4;
/// A group of more tasks than this is folded until it is opened.
pub const OPEN_UP_TO: usize = 8;
/// Rows in which packets that are under way at the same time lie side by side.
pub const FLOW_ROWS: usize = 4;

/// The height of a group's heading.
pub const HEADING_HEIGHT: f32 = 22.0;
/// The height of one row of spans.
pub const ROW_HEIGHT: f32 = 16.0;
/// The height of a task's line of states.
pub const STATE_HEIGHT: f32 = 18.0;
/// The height of a counter's plot.
pub const PLOT_HEIGHT: f32 = 38.0;
/// Room at the end of a lane.
pub const LANE_PADDING: f32 = 4.0;

/// The groups, in the order of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// Who runs.
    Cpus,
    /// The tasks.
    Tasks,
    /// The allocator's slow phases.
    Heap,
    /// Packets on their way.
    Packets,
    /// Values over time.
    Counters,
}

/// What a lane is, across frames and growing traces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LaneKey {
    /// A heading.
    Heading(Section),
    /// Who runs on a vCPU, and what it does outside of tasks.
    Cpu(u32),
    /// Tasks of one name.
    Group(Arc<str>),
    /// One task.
    Task(TaskRef),
    /// The heap's phases on a vCPU.
    Heap(u32),
    /// All packets.
    Packets,
    /// A counter.
    Counter(TrackId),
}

/// What a lane shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Nothing but its title.
    Heading,
    /// Polls, then rows of spans, with instants on the first.
    Cpu {
        /// The polls.
        polls: TrackId,
        /// Spans by depth.
        spans: Vec<TrackId>,
        /// Instants.
        instants: Option<TrackId>,
    },
    /// How many of these tasks are alive.
    Group(Arc<[TaskRef]>),
    /// States, then rows of spans, with instants on the line of states.
    Task {
        /// Which.
        task: TaskRef,
        /// Its states.
        states: TrackId,
        /// Spans by depth.
        spans: Vec<TrackId>,
        /// Instants.
        instants: Option<TrackId>,
    },
    /// Rows of phases.
    Phases(Vec<TrackId>),
    /// The flows, each as a chain of its legs.
    Packets,
    /// A plot.
    Counter(TrackId),
}

/// One lane.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// What it is.
    pub key: LaneKey,
    /// What it shows.
    pub content: Content,
    /// Its name.
    pub title: Arc<str>,
    /// More, in small letters.
    pub note: Arc<str>,
    /// How far it is indented.
    pub indent: u8,
    /// Whether it is open, where it can be folded.
    pub open: Option<bool>,
    /// Points.
    pub height: f32,
    /// What it waits for and never got.
    pub alarm: Option<Verdict>,
}

impl Lane {
    /// Whether the lane shows this track, or stands for this task.
    #[must_use]
    pub fn shows(&self, track: Option<TrackId>, task: Option<TaskRef>) -> bool {
        let has = |id: &TrackId| track == Some(*id);
        match &self.content {
            Content::Heading | Content::Packets => false,
            Content::Cpu { polls, spans, instants } => {
                has(polls) || spans.iter().any(has) || instants.as_ref().is_some_and(has)
            }
            Content::Task { task: own, .. } => task == Some(*own),
            Content::Group(members) => self.open == Some(false) && task.is_some_and(|task| members.contains(&task)),
            Content::Phases(rows) => rows.iter().any(has),
            Content::Counter(id) => has(id),
        }
    }
}

/// All lanes with their places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lanes {
    /// From top to bottom.
    pub list: Vec<Lane>,
    /// The top of each lane, and the bottom of the last.
    pub tops: Vec<f32>,
}

impl Lanes {
    fn new(list: Vec<Lane>) -> Self {
        let mut tops = Vec::with_capacity(list.len() + 1);
        let mut top = 0.0;
        for lane in &list {
            tops.push(top);
            top += lane.height;
        }
        tops.push(top);
        Self { list, tops }
    }

    /// The height of all.
    #[must_use]
    pub fn height(&self) -> f32 {
        self.tops.last().copied().unwrap_or(0.0)
    }

    /// The lanes that reach into `from..to`, with their tops.
    pub fn between(&self, from: f32, to: f32) -> impl Iterator<Item = (f32, &Lane)> {
        let first = self.tops.partition_point(|&top| top <= from).saturating_sub(1);
        self.tops.iter().copied().zip(&self.list).skip(first).take_while(move |&(top, _)| top < to)
    }

    /// The lane at this height, with its top.
    #[must_use]
    pub fn at(&self, y: f32) -> Option<(f32, &Lane)> {
        self.between(y, y + f32::EPSILON.max(y * 1e-6)).find(|(top, lane)| (*top..top + lane.height).contains(&y))
    }

    /// The top of a lane.
    #[must_use]
    pub fn top_of(&self, key: &LaneKey) -> Option<f32> {
        let at = self.list.iter().position(|lane| lane.key == *key)?;
        self.tops.get(at).copied()
    }
}

/// What decides about the lanes beside the trace.
pub struct Choices<'a> {
    /// Lanes that are not as they are by default (open, for all but groups of tasks).
    pub toggled: &'a HashSet<LaneKey>,
    /// Lanes at the top.
    pub pinned: &'a [LaneKey],
    /// Tasks that wait for what never came: see [`verdicts`].
    pub alarmed: &'a HashMap<TaskRef, Verdict>,
}

/// The tasks that wait for what never came, and how sure that is.
#[must_use]
pub fn verdicts(trace: &Trace) -> HashMap<TaskRef, Verdict> {
    let mut verdicts: HashMap<TaskRef, Verdict> = HashMap::new();
    for lost in trace.unresolved() {
        if let (Some(task), true) = (lost.task, lost.verdict != Verdict::StillWaiting) {
            verdicts.entry(task).and_modify(|known| *known = lost.verdict.min(*known)).or_insert(lost.verdict);
        }
    }
    verdicts
}

/// The lanes that stay at the top, and all others.
#[must_use]
pub fn build(trace: &Trace, names: &Names, choices: &Choices<'_>) -> (Lanes, Lanes) {
    let mut builder = Builder { trace, names, choices, list: Vec::new() };
    builder.cpus();
    builder.tasks();
    builder.heap();
    builder.packets();
    builder.counters();
    let (mut pinned, rest): (Vec<Lane>, Vec<Lane>) =
        builder.list.into_iter().partition(|lane| choices.pinned.contains(&lane.key));
    pinned.sort_by_key(|lane| choices.pinned.iter().position(|key| *key == lane.key));
    (Lanes::new(pinned), Lanes::new(rest))
}

struct Builder<'a> {
    trace: &'a Trace,
    names: &'a Names,
    choices: &'a Choices<'a>,
    list: Vec<Lane>,
}

/// The tracks of a vCPU or of a task, sorted by what they show.
#[derive(Default)]
struct Sorted {
    spans: Vec<TrackId>,
    phases: Vec<TrackId>,
    instants: Option<TrackId>,
    counters: Vec<TrackId>,
}

impl Sorted {
    fn of(trace: &Trace, tracks: impl Iterator<Item = TrackId>) -> Self {
        let mut sorted = Self::default();
        for id in tracks {
            match trace.track(id).map(|track| track.kind) {
                Some(TrackKind::CpuSpans { .. } | TrackKind::TaskSpans { .. }) => sorted.spans.push(id),
                Some(TrackKind::CpuInstants { .. } | TrackKind::TaskInstants { .. }) => sorted.instants = Some(id),
                Some(TrackKind::Phases { .. }) => sorted.phases.push(id),
                Some(TrackKind::Counter { .. }) => sorted.counters.push(id),
                Some(TrackKind::Cpu { .. } | TrackKind::Task { .. }) | None => {}
            }
        }
        sorted
    }
}

impl Builder<'_> {
    /// Whether a lane is open that is so by default, or is not.
    fn is_open(&self, key: &LaneKey, default: bool) -> bool {
        default != self.choices.toggled.contains(key)
    }

    /// Adds a heading; whether what is below it is shown.
    fn heading(&mut self, section: Section, title: &str, note: String) -> bool {
        let key = LaneKey::Heading(section);
        let open = self.is_open(&key, true);
        self.list.push(Lane {
            key,
            content: Content::Heading,
            title: title.into(),
            note: note.into(),
            indent: 0,
            open: Some(open),
            height: HEADING_HEIGHT,
            alarm: None,
        });
        open
    }

    fn cpus(&mut self) {
        let streams = self.trace.streams();
        if streams.is_empty() || !self.heading(Section::Cpus, "vCPU", String::new()) {
            return;
        }
        for stream in streams {
            // A stream of log records alone is no vCPU.
            let mut tracks = self.trace.tracks_of_cpu(stream.cpu).filter_map(|id| self.trace.track(id)?.row());
            if streams.len() > 1 && tracks.all(Row::is_empty) {
                continue;
            }
            let sorted = Sorted::of(self.trace, self.trace.tracks_of_cpu(stream.cpu));
            self.list.push(Lane {
                key: LaneKey::Cpu(stream.cpu),
                title: self.trace.cpu_label(stream.cpu).into(),
                note: "who runs".into(),
                indent: 1,
                open: None,
                height: STATE_HEIGHT + rows(sorted.spans.len()) + LANE_PADDING,
                alarm: None,
                content: Content::Cpu { polls: stream.lane(), spans: sorted.spans, instants: sorted.instants },
            });
        }
    }

    fn tasks(&mut self) {
        let tasks = self.trace.tasks();
        if tasks.is_empty() {
            return;
        }
        let living = tasks.iter().filter(|task| task.done.is_none()).count();
        let note = format!("{} of {} alive", format::count(living as u64), format::count(tasks.len() as u64));
        if !self.heading(Section::Tasks, "Tasks", note) {
            return;
        }
        // By name, in the order of the first of each name.
        let mut groups: Vec<(Arc<str>, Vec<TaskRef>)> = Vec::new();
        let mut place: HashMap<(GuestId, Option<u32>), usize> = HashMap::new();
        for (at, task) in (0u32..).map(TaskRef).zip(tasks) {
            let group = *place.entry((task.guest(), task.name)).or_insert_with(|| {
                groups.push((self.trace.task_kind(at).into(), Vec::new()));
                groups.len() - 1
            });
            if let Some((_, members)) = groups.get_mut(group) {
                members.push(at);
            }
        }
        for (name, members) in groups {
            if members.len() < FOLD_FROM {
                members.iter().for_each(|&task| self.task(task, 1));
                continue;
            }
            let key = LaneKey::Group(name.clone());
            let open = self.is_open(&key, members.len() <= OPEN_UP_TO);
            let living = members.iter().filter(|&&member| self.trace.task(member).is_some_and(|t| t.done.is_none()));
            self.list.push(Lane {
                key,
                note: format!("{} tasks, {} alive", format::count(members.len() as u64), living.count()).into(),
                alarm: members.iter().filter_map(|member| self.choices.alarmed.get(member)).min().copied(),
                content: Content::Group(members.as_slice().into()),
                title: name,
                indent: 1,
                open: Some(open),
                height: STATE_HEIGHT + ROW_HEIGHT + LANE_PADDING,
            });
            if open {
                members.iter().for_each(|&task| self.task(task, 2));
            }
        }
    }

    fn task(&mut self, task: TaskRef, indent: u8) {
        let Some(known) = self.trace.task(task) else { return };
        let sorted = Sorted::of(self.trace, self.trace.tracks_of_task(task));
        let state = self.trace.state_of(task).map_or(State::Unknown, |(state, _)| state);
        self.list.push(Lane {
            key: LaneKey::Task(task),
            title: self.names.task(task).text,
            note: state.text().into(),
            indent,
            open: None,
            height: STATE_HEIGHT + rows(sorted.spans.len()) + LANE_PADDING,
            alarm: self.choices.alarmed.get(&task).copied(),
            content: Content::Task { task, states: known.states, spans: sorted.spans, instants: sorted.instants },
        });
    }

    fn heap(&mut self) {
        let cpus: Vec<(u32, Vec<TrackId>)> = self
            .trace
            .streams()
            .iter()
            .map(|stream| (stream.cpu, Sorted::of(self.trace, self.trace.tracks_of_cpu(stream.cpu)).phases))
            .filter(|(_, phases)| !phases.is_empty())
            .collect();
        if cpus.is_empty() || !self.heading(Section::Heap, "Heap", String::new()) {
            return;
        }
        for (cpu, phases) in cpus {
            self.list.push(Lane {
                key: LaneKey::Heap(cpu),
                title: "slow phases".into(),
                note: self.trace.cpu_label(cpu).into(),
                indent: 1,
                open: None,
                height: rows(phases.len()) + LANE_PADDING * 2.0,
                alarm: None,
                content: Content::Phases(phases),
            });
        }
    }

    fn packets(&mut self) {
        let flows = self.trace.flows();
        if flows.is_empty() || !self.heading(Section::Packets, "Packets", String::new()) {
            return;
        }
        self.list.push(Lane {
            key: LaneKey::Packets,
            title: "on their way".into(),
            note: format!("{} points", format::count(flows.len() as u64)).into(),
            indent: 1,
            open: None,
            height: rows(FLOW_ROWS) * super::flows::LEG_SHARE + LANE_PADDING * 2.0,
            alarm: None,
            content: Content::Packets,
        });
    }

    fn counters(&mut self) {
        let mut counters: Vec<TrackId> = self
            .trace
            .streams()
            .iter()
            .flat_map(|stream| Sorted::of(self.trace, self.trace.tracks_of_cpu(stream.cpu)).counters)
            .collect();
        counters.dedup();
        if counters.is_empty() || !self.heading(Section::Counters, "Counters", format::count(counters.len() as u64)) {
            return;
        }
        for id in counters {
            let Some(track) = self.trace.track(id) else { continue };
            let TrackKind::Counter { callsite, .. } = track.kind else { continue };
            let described = self.trace.description().callsite(callsite);
            let unit = described.and_then(|callsite| callsite.fields.first()).map_or(Unit::None, |field| field.unit);
            // The greatest is where the plot's scale ends.
            let samples = track.samples().and_then(|samples| Some((samples.last()?.1, samples.range()?.1)));
            let note = samples.map_or_else(String::new, |(last, greatest)| {
                format!("{}, ≤ {}", format::quantity(last, unit), format::quantity(greatest, unit))
            });
            let title = match self.trace.has_several_guests() {
                true => self.trace.track_label(track.kind).into(),
                false => self.names.callsite(callsite).text,
            };
            self.list.push(Lane {
                key: LaneKey::Counter(id),
                title,
                note: note.into(),
                indent: 1,
                open: None,
                height: PLOT_HEIGHT,
                alarm: None,
                content: Content::Counter(id),
            });
        }
    }
}

/// The height of so many rows of spans.
fn rows(count: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "at most 128 rows")]
    let count = count as f32;
    count * ROW_HEIGHT
}
