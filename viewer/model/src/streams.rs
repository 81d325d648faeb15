//! One vCPU's packets as the model follows them: which task runs, whether an interrupt does, what is missing.
//!
//! Invariant: within a stream time never runs backwards; a forged stamp counts as the moment before it.

use fata_wire::packet::{Cause, Discarded};

use crate::guests::GuestId;
use crate::log_losses::{Follow, Why};
use crate::repeats::Progress;
use crate::spans::Stack;
use crate::tasks::Seen;
use crate::time::{Nanos, TickScale};
use crate::trace::{Actor, TaskRef, TrackId, Tracks, Wake};
use crate::wakes::Wakes;

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Current {
    /// Discarded events, or the trace begins in the middle.
    Unknown,
    /// Between polls.
    Scheduler,
    /// A poll of this task.
    Task(TaskRef),
}

/// A gap as the stream's spans and tasks look it up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamGap {
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The vCPU, or thread: [`GuestId::cpu`] of its number in the guest.
    pub cpu: u32,
    /// Whose it is.
    pub(crate) guest: GuestId,
    pub(crate) scale: TickScale,
    /// Events in its packets.
    pub events: u64,
    /// Its packets.
    pub packets: u64,
    /// Discarded events by cause, as the guest and the collector counted them.
    pub discarded: Discarded,
    /// What of `discarded` was so before the trace begins: a recording may go on from another, or have lost its oldest files.
    pub(crate) discarded_before: Discarded,
    /// When its first packet began.
    pub first: Nanos,
    /// Its last moment so far.
    pub last: Nanos,
    pub(crate) progress: Progress,
    pub(crate) current: Current,
    /// Spans of interrupts that are open, on top of the vCPU's stack.
    pub(crate) irq_depth: u32,
    pub(crate) stack: Stack,
    pub(crate) lane: TrackId,
    pub(crate) phases: Vec<TrackId>,
    /// By callsite.
    pub(crate) counters: Vec<TrackId>,
    gaps: Vec<StreamGap>,
    /// What is noted of a task that it knows.
    pub(crate) seen: Seen,
    /// The task whose last poll ended with `Done`: what it held may still be given up.
    pub(crate) closing: Option<TaskRef>,
    wakes: Wakes,
    /// Whether its first event is in the trace.
    pub(crate) from_start: bool,
    /// Why events are missing since the last packet with events; `None` where nobody has counted any.
    pub(crate) why: Option<Why>,
    /// Of a log stream.
    pub(crate) log: Option<Box<Follow>>,
}

impl Stream {
    pub(crate) fn new(cpu: u32, scale: TickScale, lane: TrackId, first: Nanos) -> Self {
        Stream {
            cpu,
            guest: GuestId::of_cpu(cpu),
            scale,
            events: 0,
            packets: 0,
            discarded: Discarded::default(),
            discarded_before: Discarded::default(),
            first,
            last: first,
            progress: Progress::default(),
            current: Current::Unknown,
            irq_depth: 0,
            stack: Stack::default(),
            lane,
            phases: Vec::new(),
            counters: Vec::new(),
            gaps: Vec::new(),
            seen: Seen { cpu, gaps: 0 },
            closing: None,
            wakes: Wakes::new(),
            from_start: false,
            why: None,
            log: None,
        }
    }

    /// Events of the time of the trace that were discarded for `cause`.
    #[must_use]
    pub fn discarded_by(&self, cause: Cause) -> u64 {
        let [now, before] =
            [&self.discarded, &self.discarded_before].map(|all| all.get(cause as usize).copied().unwrap_or(0));
        now.saturating_sub(before)
    }

    /// The track of the vCPU's polls.
    #[must_use]
    pub fn lane(&self) -> TrackId {
        self.lane
    }

    #[inline]
    pub(crate) fn gap_count(&self) -> u32 {
        self.seen.gaps
    }

    /// Notes a gap, up to `most` of them.
    pub(crate) fn add_gap(&mut self, gap: StreamGap, most: usize) {
        if self.gaps.len() < most
            && let Ok(count) = u32::try_from(self.gaps.len() + 1)
        {
            self.gaps.push(gap);
            self.seen.gaps = count;
        }
    }

    /// Its gaps, oldest first.
    pub(crate) fn gaps(&self) -> &[StreamGap] {
        &self.gaps
    }

    /// When the first gap after the first `seen` began.
    pub(crate) fn gap_after(&self, seen: u32) -> Option<Nanos> {
        self.gaps.get(seen as usize).map(|gap| gap.from)
    }

    /// Who is doing what happens now.
    pub(crate) fn actor(&self) -> Actor {
        match self.current {
            _ if self.irq_depth > 0 => Actor::Interrupt,
            Current::Unknown => Actor::Unknown,
            Current::Scheduler => Actor::Scheduler,
            Current::Task(task) => Actor::Task(task),
        }
    }

    /// `from`, [packed](Actor::pack), wakes a task.
    pub(crate) fn wake(&mut self, time: Nanos, from: u32, to: TaskRef) {
        self.wakes.push(time, from, to);
    }

    pub(crate) fn wakes(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = Wake> {
        self.wakes.between(from, to).map(|(time, from, to)| Wake { time, from, to, cpu: self.cpu })
    }

    /// Gives up wakes before `time`, and returns how many.
    pub(crate) fn forget_wakes(&mut self, time: Nanos) -> usize {
        self.wakes.forget_before(time)
    }

    pub(crate) fn tracks(&self) -> impl Iterator<Item = TrackId> {
        let counters = self.counters.iter().copied();
        std::iter::once(self.lane)
            .chain(self.stack.tracks())
            .chain(self.phases.iter().copied())
            .chain(counters)
            .filter(|&id| id != Tracks::NONE)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.stack.memory_bytes()
            + self.wakes.memory_bytes()
            + self.gaps.capacity() * size_of::<StreamGap>()
            + self.counters.capacity() * 4
    }
}
