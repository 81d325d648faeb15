//! The life of tasks, rebuilt from the scheduler's events.
//!
//! ```text
//!            Spawn            Ready             Poll, Switch to it
//!   (unseen) ─────► Idle ───────────────► Ready ───────────────► Running ──Done──► Done
//!                    ▲                      ▲                        │
//!                    │                      └─ Pending, woken meanwhile
//!                    └──────────────────────── Pending, Switch away ─┘
//! ```
//! Invariants: a task's states follow one another without overlap. A task number has 15 bits and is used again after
//! 32,767 spawns, so a [`TaskRef`] and not a number names a task here; a `Spawn`, or any event of a number whose task is
//! done, begins a new one. After a gap nobody knows in which state a task is until an event names it: its state is
//! [`State::Unknown`] from the gap on, and no account is kept of that time.

use crate::guests::GuestId;
use crate::lives::Lives;
use crate::streams::{Current, Stream};
use crate::time::Nanos;
use crate::trace::{TaskRef, Trace, TrackId, TrackKind, Tracks};

/// What a task is doing. The `extra` of an interval in a task's track says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not seen since events were discarded.
    Unknown,
    /// Waits; extra: the id of the name of what it waits for, or [`NO_NAME`].
    Idle,
    /// Could run; extra: who woke it, an [`Actor`](crate::trace::Actor).
    Ready,
    /// Is polled; extra: the vCPU.
    Running,
    /// Is no more.
    Done,
}

/// The extra of an idle interval of which nothing says what the task waited for.
pub const NO_NAME: u32 = u32::MAX;

/// How many there are.
const STATES: usize = 5;

impl State {
    /// As an interval's key.
    #[must_use]
    pub const fn key(self) -> u16 {
        self as u16
    }

    /// From an interval's key.
    #[must_use]
    pub const fn from_key(key: u16) -> Self {
        match key {
            1 => State::Idle,
            2 => State::Ready,
            3 => State::Running,
            4 => State::Done,
            _ => State::Unknown,
        }
    }

    /// Whether it has an interval.
    #[inline]
    const fn has_intervals(self) -> bool {
        matches!(self, State::Idle | State::Ready | State::Running)
    }

    /// As text, as in `fata stats`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Idle => "idle",
            State::Ready => "ready",
            State::Running => "running",
            State::Done => "done",
        }
    }
}

/// One task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its number in the guest, used again by later tasks.
    pub number: u16,
    /// The id of its name, if its spawn was seen, or the guest has said so again.
    pub name: Option<u32>,
    /// Who spawned it, if that was seen.
    pub parent: Option<TaskRef>,
    /// When it was spawned, if that was seen.
    pub spawned: Option<Nanos>,
    /// When it was first seen.
    pub first: Nanos,
    /// When it was done.
    pub done: Option<Nanos>,
    /// Its state now.
    pub state: State,
    /// Since when.
    pub since: Nanos,
    /// How often it was polled.
    pub polls: u64,
    /// How often it was woken.
    pub wakes: u64,
    /// The longest time from a wake to the poll: the scheduling delay.
    pub max_ready_nanos: Nanos,
    /// Time in each state up to `since`, by [`State::key`].
    nanos: [Nanos; STATES],
    seen: Seen,
    /// The track of its states.
    pub states: TrackId,
    /// The id of the name of what it is about to wait for, and whether that is an object's.
    waits_for: Option<(u32, bool)>,
    /// Who woke it during its poll, [packed](crate::trace::Actor::pack).
    woken: Option<u32>,
}

/// The vCPU that knew a task last, and the gaps of its stream until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) cpu: u32,
    pub(crate) gaps: u32,
}

impl Task {
    /// The vCPU that knew it last.
    #[must_use]
    pub const fn cpu(&self) -> u32 {
        self.seen.cpu
    }

    /// Whose it is.
    #[must_use]
    pub const fn guest(&self) -> GuestId {
        GuestId::of_cpu(self.seen.cpu)
    }

    /// It is in `state` from `time` on. `false` where that is not all: nothing was done then.
    #[inline(always)]
    fn enter(&mut self, tracks: &mut Tracks, seen: Seen, time: Nanos, (state, extra): (State, u32)) -> bool {
        let nanos = time - self.since;
        if self.seen != seen || nanos <= 0 || !self.state.has_intervals() || !state.has_intervals() {
            return false;
        }
        self.spend(nanos);
        (self.state, self.since) = (state, time);
        if let Some(row) = tracks.row(self.states) {
            row.turn(time, state.key(), extra);
        } else if let Some(row) = tracks.row_with_open(self.states) {
            row.begin(time, state.key(), extra);
        }
        true
    }

    /// It was so long in its state.
    #[inline]
    fn spend(&mut self, nanos: Nanos) {
        // Which state that is nobody can guess, so nothing is made to depend on it.
        self.nanos[usize::from(self.state.key())] += nanos;
        let delay = if self.state == State::Ready { nanos } else { 0 };
        self.max_ready_nanos = self.max_ready_nanos.max(delay);
    }

    /// The time that it has spent in `state` up to `now`, the current interval included.
    #[must_use]
    pub fn nanos_in(&self, state: State, now: Nanos) -> Nanos {
        if matches!(state, State::Unknown | State::Done) {
            return 0;
        }
        let account = self.nanos[usize::from(state.key())];
        account + if self.state == state { (now - self.since).max(0) } else { 0 }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) list: Vec<Task>,
    /// By [`GuestId::place`].
    by_number: Vec<Option<TaskRef>>,
    pub(crate) lives: Lives,
    pub(crate) max_tasks: usize,
    pub(crate) refused: u64,
}

impl Tasks {
    pub(crate) fn new(max_tasks: usize) -> Self {
        Tasks { list: Vec::new(), by_number: Vec::new(), lives: Lives::default(), max_tasks, refused: 0 }
    }

    /// The youngest task of this number in a guest.
    pub(crate) fn current(&self, guest: GuestId, number: u16) -> Option<TaskRef> {
        *self.by_number.get(guest.place(number))?
    }

    /// A guest's numbers may stand for other tasks now.
    pub(crate) fn forget_numbers(&mut self, guest: GuestId) {
        for slot in self.by_number.iter_mut().take(guest.places().end).skip(guest.places().start) {
            *slot = None;
        }
    }

    fn get_mut(&mut self, task: TaskRef) -> Option<&mut Task> {
        self.list.get_mut(task.0 as usize)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Task>()
            + self.by_number.capacity() * size_of::<Option<TaskRef>>()
            + self.lives.memory_bytes()
    }
}

impl Trace {
    /// The living task of this number, a new one if there is none.
    pub(crate) fn task_of(&mut self, stream: &Stream, number: u16, time: Nanos) -> Option<TaskRef> {
        match self.tasks.current(stream.guest, number) {
            Some(task) if self.task(task).is_some_and(|task| task.done.is_none()) => Some(task),
            _ => self.new_task(stream, number, time),
        }
    }

    fn new_task(&mut self, stream: &Stream, number: u16, time: Nanos) -> Option<TaskRef> {
        if number == 0 {
            return None;
        }
        if self.tasks.list.len() >= self.tasks.max_tasks {
            self.tasks.refused += 1;
            return None;
        }
        let task = TaskRef(u32::try_from(self.tasks.list.len()).ok()?);
        self.tasks.list.push(Task {
            number,
            name: None,
            parent: None,
            spawned: None,
            first: time,
            done: None,
            state: State::Unknown,
            since: time,
            polls: 0,
            wakes: 0,
            max_ready_nanos: 0,
            nanos: [0; STATES],
            seen: stream.seen,
            states: self.tracks.add(TrackKind::Task { task }),
            waits_for: None,
            woken: None,
        });
        self.stacks.push(crate::spans::Stack::default());
        let place = stream.guest.place(number);
        self.tasks.lives.begin(place, time, task);
        if self.tasks.by_number.len() <= place {
            self.tasks.by_number.resize(place + 1, None);
        }
        if let Some(slot) = self.tasks.by_number.get_mut(place) {
            *slot = Some(task);
        }
        Some(task)
    }

    /// `task` is in `state` from `time` on.
    fn enter(&mut self, stream: &Stream, task: TaskRef, time: Nanos, state: State, extra: u32) {
        let Trace { tasks, tracks, .. } = self;
        let known = tasks.get_mut(task);
        if known.is_some_and(|known| known.enter(tracks, stream.seen, time, (state, extra))) {
            return;
        }
        self.enter_any(stream, task, time, state, extra);
    }

    /// The same, whatever the states and whatever was since.
    #[inline(never)]
    fn enter_any(&mut self, stream: &Stream, task: TaskRef, time: Nanos, state: State, extra: u32) {
        let Some(known) = self.tasks.get_mut(task) else { return };
        // Of a task that a gap has passed over, only the time before the gap is known.
        let gap = if known.cpu() == stream.cpu { stream.gap_after(known.seen.gaps) } else { None };
        let until = gap.unwrap_or(time).max(known.since);
        let nanos = until - known.since;
        known.spend(nanos);
        let before = known.state;
        known.state = state;
        known.since = time.max(until);
        known.seen = stream.seen;
        let (states, time) = (known.states, known.since);
        if before != State::Unknown {
            let empty = nanos == 0 && (before == State::Idle || state == State::Done);
            match if empty { None } else { self.tracks.row(states) } {
                Some(row) => row.end(until, false),
                None => {
                    if let Some(row) = self.tracks.row_with_open(states) {
                        row.abandon();
                    }
                }
            }
        }
        if !matches!(state, State::Unknown | State::Done)
            && let Some(row) = self.tracks.row_with_open(states)
        {
            row.begin(time, state.key(), extra);
        }
    }

    pub(crate) fn on_spawn(
        &mut self,
        stream: &mut Stream,
        time: Nanos,
        number: u16,
        name: Option<u32>,
        parent: Option<u16>,
    ) {
        if let Some(old) = self.tasks.current(stream.guest, number)
            && self.task(old).is_some_and(|task| task.done.is_none())
        {
            // Its end was lost, or the number forged.
            self.finish(stream, old, time);
            self.close_all(stream, old, time);
        }
        let parent = parent.and_then(|number| self.tasks.current(stream.guest, number));
        let Some(task) = self.new_task(stream, number, time) else { return };
        if let Some(known) = self.tasks.get_mut(task) {
            known.name = name;
            known.parent = parent;
            known.spawned = Some(time);
        }
        self.enter(stream, task, time, State::Idle, NO_NAME);
    }

    /// What the spawn said, for a task whose spawn was not seen.
    pub(crate) fn on_alive(
        &mut self,
        stream: &mut Stream,
        time: Nanos,
        number: u16,
        name: Option<u32>,
        parent: Option<u16>,
    ) {
        let parent = parent.and_then(|number| self.tasks.current(stream.guest, number));
        let Some(task) = self.task_of(stream, number, time) else { return };
        if let Some(known) = self.tasks.get_mut(task) {
            known.name = known.name.or(name);
            known.parent = known.parent.or(parent);
        }
    }

    pub(crate) fn on_ready(&mut self, stream: &mut Stream, time: Nanos, number: u16) {
        let Some(task) = self.task_of(stream, number, time) else { return };
        let from = stream.actor().pack();
        if self.tracks.take_room() {
            stream.wake(time, from, task);
        }
        let Some(known) = self.tasks.get_mut(task) else { return };
        known.wakes += 1;
        match known.state {
            // It will be ready when this poll ends.
            State::Running => known.woken = Some(from),
            State::Ready if known.seen.gaps == stream.gap_count() => {}
            _ => self.enter(stream, task, time, State::Ready, from),
        }
    }

    pub(crate) fn on_poll(&mut self, stream: &mut Stream, time: Nanos, number: u16) {
        let left = match std::mem::replace(&mut stream.current, Current::Scheduler) {
            Current::Task(task) => Some(task),
            _ => None,
        };
        if let Some(left) = left {
            self.waits(stream, left, time);
        }
        let task = self.task_of(stream, number, time);
        if let Some(closing) = stream.closing.take() {
            self.close_all(stream, closing, time);
        }
        let Some(task) = task else {
            if left.is_some() {
                self.tracks.end_open(stream.lane, time, false);
            }
            stream.current = Current::Unknown;
            return;
        };
        stream.current = Current::Task(task);
        if left.is_some()
            && let Some(row) = self.tracks.row(stream.lane)
        {
            row.turn(time, number, task.0);
        } else if let Some(row) = self.tracks.row_with_open(stream.lane) {
            row.begin(time, number, task.0);
        }
        let Some(known) = self.tasks.get_mut(task) else { return };
        known.polls += 1;
        known.waits_for = None;
        known.woken = None;
        if !known.enter(&mut self.tracks, stream.seen, time, (State::Running, stream.cpu)) {
            self.enter_any(stream, task, time, State::Running, stream.cpu);
        }
    }

    /// The current poll ends, of task `number`.
    fn leave(&mut self, stream: &mut Stream, time: Nanos, number: u16) -> Option<TaskRef> {
        let task = match std::mem::replace(&mut stream.current, Current::Scheduler) {
            Current::Task(task) => task,
            // The poll began within a gap: from here on the task is known again.
            _ => self.task_of(stream, number, time)?,
        };
        self.tracks.end_open(stream.lane, time, false);
        self.waits(stream, task, time);
        Some(task)
    }

    /// A task whose poll has ended waits, or is ready if it was woken meanwhile.
    #[inline]
    fn waits(&mut self, stream: &Stream, task: TaskRef, time: Nanos) {
        let Some(known) = self.tasks.get_mut(task) else { return };
        let waits_for = known.waits_for.map_or(NO_NAME, |(name, _)| name);
        let (state, extra) = known.woken.take().map_or((State::Idle, waits_for), |from| (State::Ready, from));
        if !known.enter(&mut self.tracks, stream.seen, time, (state, extra)) {
            self.enter_any(stream, task, time, state, extra);
        }
    }

    pub(crate) fn on_pending(&mut self, stream: &mut Stream, time: Nanos, number: u16) {
        self.leave(stream, time, number);
    }

    pub(crate) fn on_done(&mut self, stream: &mut Stream, time: Nanos, number: u16) {
        let Some(task) = self.leave(stream, time, number) else { return };
        self.finish(stream, task, time);
        stream.closing = Some(task);
    }

    fn finish(&mut self, stream: &Stream, task: TaskRef, time: Nanos) {
        self.enter(stream, task, time, State::Done, 0);
        if let Some(known) = self.tasks.get_mut(task) {
            known.done = Some(time);
        }
    }

    /// The current task is about to wait for what `name` says: the name of an object it tried says more than another.
    pub(crate) fn on_wait_for(&mut self, stream: &mut Stream, name: u32, is_object: bool) {
        if let Current::Task(task) = stream.current
            && let Some(task) = self.tasks.get_mut(task)
            && (is_object || !matches!(task.waits_for, Some((_, true))))
        {
            task.waits_for = Some((name, is_object));
        }
    }

    /// Who runs on a stream is not known from `from` on.
    pub(crate) fn forget_current(&mut self, stream: &mut Stream, from: Nanos) {
        let was = std::mem::replace(&mut stream.current, Current::Unknown);
        let lane = stream.lane;
        if matches!(was, Current::Task(_))
            && let Some(row) = self.tracks.row(lane)
        {
            row.end(from, true);
        }
        if let Some(closing) = stream.closing.take() {
            self.close_all(stream, closing, from);
        }
    }

    /// The state of a task now, and since when: [`State::Unknown`] where a gap has passed over it.
    #[must_use]
    pub fn state_of(&self, task: TaskRef) -> Option<(State, Nanos)> {
        let task = self.task(task)?;
        let stream = self.streams.iter().find(|stream| stream.cpu == task.cpu());
        match stream.and_then(|stream: &Stream| stream.gap_after(task.seen.gaps)) {
            Some(gap) if task.state != State::Done => Some((State::Unknown, gap.max(task.since))),
            _ => Some((task.state, task.since)),
        }
    }
}
