//! Spans that nest: a stack per task and one per vCPU.
//!
//! Invariants: at most one span is open per (stack, depth), so a row's intervals never overlap, and a span enters its row
//! when it ends. *Self time* of a span is the time in which it is the innermost open one of its stack, less the interrupts
//! that ran over it. Guards may end in another order than they began: a span that ends below others leaves a hole, and what
//! lies above keeps its depth.
//!
//! A span that was open across a gap is *uncertain*: its end may have been lost. If its end comes it is drawn to there and
//! marked; if a span that encloses it ends first, it is cut off at the gap. Uncertain spans count, but not in times.

use crate::streams::{Current, Stream};
use crate::time::Nanos;
use crate::trace::{TaskRef, Trace, TrackId, TrackKind, Tracks};

/// Spans nested deeper are counted and not shown.
pub const MAX_DEPTH: usize = 128;

/// An open span; a hole where one ended below others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// 0 for a hole.
    callsite: u16,
    irq: bool,
    /// Depth among the heap's phases, and one more; 0 for what is no phase.
    phase: u8,
    /// Gaps of the stream when the span began.
    gaps: u32,
    start: Nanos,
    extra: u32,
    /// Since when the span's time is its own to give to the span below.
    counted_from: Nanos,
    /// Time in which something ran above.
    covered: Nanos,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stack {
    frames: Vec<Frame>,
    rows: Vec<TrackId>,
    pub(crate) instants: Option<TrackId>,
}

impl Stack {
    /// The rows of spans by depth, then the row of instants.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = TrackId> {
        self.rows.iter().copied().chain(self.instants).filter(|&id| id != Tracks::NONE)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>() + self.rows.capacity() * size_of::<TrackId>()
    }

    fn find(&self, callsite: u16) -> Option<usize> {
        self.frames.iter().rposition(|frame| frame.callsite == callsite)
    }

    /// The innermost open span below `index`.
    fn below(&mut self, index: usize) -> Option<&mut Frame> {
        self.frames.get_mut(..index)?.iter_mut().rev().find(|frame| frame.callsite != 0)
    }

    /// Takes the span at `index` away and settles whose time it was; returns it with what covered it added up.
    fn take(&mut self, index: usize, end: Nanos) -> Option<Frame> {
        let mut taken = *self.frames.get(index)?;
        if let Some(above) = self.frames.get_mut(index + 1..)?.iter_mut().find(|frame| frame.callsite != 0) {
            taken.covered += end - above.counted_from;
            above.counted_from = end;
        }
        if let Some(below) = self.below(index) {
            below.covered += end - taken.counted_from;
        }
        if let Some(frame) = self.frames.get_mut(index) {
            frame.callsite = 0;
        }
        while self.frames.last().is_some_and(|frame| frame.callsite == 0) {
            self.frames.pop();
        }
        Some(taken)
    }
}

/// Whose stack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Cpu,
    Task(TaskRef),
}

/// What is special about a span's category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Category {
    #[default]
    Ordinary,
    /// Runs over whatever runs.
    Interrupt,
    /// Is shown in a lane of its own besides.
    Heap,
}

impl Trace {
    fn owner(stream: &Stream) -> Owner {
        match stream.current {
            Current::Task(task) if stream.irq_depth == 0 => Owner::Task(task),
            _ => Owner::Cpu,
        }
    }

    fn stack(&mut self, stream: usize, owner: Owner) -> Option<&mut Stack> {
        match owner {
            Owner::Cpu => self.streams.get_mut(stream).map(|stream| &mut stream.stack),
            Owner::Task(task) => self.stacks.get_mut(task.0 as usize),
        }
    }

    #[inline]
    pub(crate) fn span_begin(&mut self, at: usize, time: Nanos, callsite: u16, category: Category, extra: u32) {
        let Trace { streams, stacks, tracks, .. } = self;
        let Some(stream) = streams.get_mut(at) else { return };
        let irq = category == Category::Interrupt;
        let owner = if irq { Owner::Cpu } else { Self::owner(stream) };
        let (gaps, cpu) = (stream.gap_count(), stream.cpu);
        stream.irq_depth += u32::from(irq);
        let stack = match owner {
            Owner::Cpu => &mut stream.stack,
            Owner::Task(task) => match stacks.get_mut(task.0 as usize) {
                Some(stack) => stack,
                None => return,
            },
        };
        let depth = stack.frames.len();
        if depth >= MAX_DEPTH {
            stream.irq_depth -= u32::from(irq);
            self.too_deep += 1;
            return;
        }
        let phase = if category == Category::Heap {
            1 + u8::try_from(stack.frames.iter().filter(|frame| frame.phase > 0).count()).unwrap_or(u8::MAX - 1)
        } else {
            0
        };
        if depth == stack.rows.len() {
            let depth = u16::try_from(depth).unwrap_or(u16::MAX);
            stack.rows.push(tracks.add(match owner {
                Owner::Cpu => TrackKind::CpuSpans { cpu, depth },
                Owner::Task(task) => TrackKind::TaskSpans { task, depth },
            }));
        }
        if let Some(row) = stack.rows.get(depth).and_then(|&id| tracks.row_with_open(id)) {
            row.begin(time, callsite, extra);
        }
        stack.frames.push(Frame { callsite, irq, phase, gaps, start: time, extra, counted_from: time, covered: 0 });
    }

    #[inline]
    pub(crate) fn span_end(&mut self, at: usize, time: Nanos, callsite: u16, category: Category) {
        if category == Category::Ordinary && self.end_innermost(at, time, callsite) {
            return;
        }
        let Some(stream) = self.streams.get(at) else { return };
        let first = if category == Category::Interrupt { Owner::Cpu } else { Self::owner(stream) };
        // A future that is done gives up its guards after its last poll.
        let closing = stream.closing.map(Owner::Task);
        for owner in [Some(first), closing].into_iter().flatten() {
            if let Some(index) = self.stack(at, owner).and_then(|stack| stack.find(callsite)) {
                self.close(at, owner, index, time);
                return;
            }
        }
        self.orphan_ends += 1;
    }

    /// What nearly every end is: of the innermost span of a task, with no gap since it began. `false` if it is not.
    #[inline]
    fn end_innermost(&mut self, at: usize, time: Nanos, callsite: u16) -> bool {
        let Trace { streams, stacks, tracks, times, .. } = self;
        let Some(stream) = streams.get(at) else { return false };
        let Owner::Task(task) = Self::owner(stream) else { return false };
        let Some(stack) = stacks.get_mut(task.0 as usize) else { return false };
        let Some(&Frame { callsite: top, gaps, start, counted_from, covered, .. }) = stack.frames.last() else {
            return false;
        };
        if top != callsite || gaps != stream.gap_count() {
            return false;
        }
        stack.frames.pop();
        let row = stack.rows.get(stack.frames.len()).copied().unwrap_or(Tracks::NONE);
        while let Some(below) = stack.frames.last_mut() {
            if below.callsite != 0 {
                below.covered += time - counted_from;
                break;
            }
            stack.frames.pop();
        }
        if let Some(row) = tracks.row(row) {
            row.end(time, false);
        } else if let Some(row) = tracks.row_with_open(row) {
            row.abandon();
        }
        let duration = (time - start).max(0);
        if let Some(times) = times.get_mut(usize::from(callsite)) {
            times.ended(duration, (duration - covered).max(0), false);
        }
        true
    }

    /// Ends the span at `index`, and before it what a gap left open above it.
    fn close(&mut self, at: usize, owner: Owner, index: usize, time: Nanos) {
        let gaps = self.streams.get(at).map_or(0, Stream::gap_count);
        while let Some(stack) = self.stack(at, owner) {
            let stale = |(i, frame): (usize, &Frame)| {
                (i > index && frame.callsite != 0 && frame.gaps < gaps).then_some((i, frame.gaps))
            };
            let Some((above, seen)) = stack.frames.iter().enumerate().rev().find_map(stale) else { break };
            let cut = self.streams.get(at).and_then(|stream| stream.gap_after(seen)).unwrap_or(time);
            self.end_frame(at, owner, above, cut, true);
        }
        let uncertain =
            self.stack(at, owner).and_then(|stack| stack.frames.get(index)).is_some_and(|frame| frame.gaps < gaps);
        self.end_frame(at, owner, index, time, uncertain);
    }

    fn end_frame(&mut self, at: usize, owner: Owner, index: usize, time: Nanos, uncertain: bool) {
        let Trace { streams, stacks, tracks, times, .. } = self;
        let Some(stream) = streams.get_mut(at) else { return };
        let stack = match owner {
            Owner::Cpu => Some(&mut stream.stack),
            Owner::Task(task) => stacks.get_mut(task.0 as usize),
        };
        let Some(stack) = stack else { return };
        let row = stack.rows.get(index).copied().unwrap_or(Tracks::NONE);
        let Some(frame) = stack.take(index, time) else { return };
        if let Some(row) = tracks.row(row) {
            row.end(time, uncertain);
        } else if let Some(row) = tracks.row_with_open(row) {
            row.abandon();
        }
        let duration = (time - frame.start).max(0);
        if let Some(times) = times.get_mut(usize::from(frame.callsite)) {
            times.ended(duration, (duration - frame.covered).max(0), uncertain);
        }
        if frame.phase > 0 {
            let depth = usize::from(frame.phase) - 1;
            while stream.phases.len() <= depth {
                let depth = u16::try_from(stream.phases.len()).unwrap_or(u16::MAX);
                stream.phases.push(tracks.add(TrackKind::Phases { cpu: stream.cpu, depth }));
            }
            if let Some(row) = stream.phases.get(depth).and_then(|&id| tracks.row(id)) {
                row.push(frame.start, time, frame.callsite, frame.extra);
            }
        }
        if frame.irq {
            stream.irq_depth = stream.irq_depth.saturating_sub(1);
            // What it interrupted was not running meanwhile.
            if let (0, Current::Task(task)) = (stream.irq_depth, stream.current)
                && let Some(stack) = stacks.get_mut(task.0 as usize)
                && let Some(top) = stack.frames.last_mut()
            {
                top.covered += duration;
            }
        }
    }

    /// After a gap no interrupt runs any more: what was open on the vCPU's stack from the first one on is cut off.
    pub(crate) fn abandon_interrupts(&mut self, at: usize, time: Nanos) {
        while let Some(stream) = self.streams.get(at)
            && stream.stack.frames.iter().any(|frame| frame.irq && frame.callsite != 0)
        {
            let top = stream.stack.frames.len() - 1;
            self.end_frame(at, Owner::Cpu, top, time, true);
        }
    }

    /// Ends what a task left open that is done: at `time`, or at the first gap since it began.
    pub(crate) fn close_all(&mut self, at: usize, task: TaskRef, time: Nanos) {
        while let Some(stack) = self.stacks.get(task.0 as usize)
            && let Some(top) = stack.frames.len().checked_sub(1)
        {
            let seen = stack.frames.get(top).map_or(0, |frame| frame.gaps);
            let gap = self.streams.get(at).and_then(|stream| stream.gap_after(seen));
            self.end_frame(at, Owner::Task(task), top, gap.unwrap_or(time), gap.is_some());
        }
        // Nothing will begin here again.
        if let Some(stack) = self.stacks.get_mut(task.0 as usize) {
            stack.frames = Vec::new();
        }
    }

    /// An instant of whatever runs.
    #[inline]
    pub(crate) fn instant(&mut self, at: usize, time: Nanos, callsite: u16, extra: u32) {
        let Trace { streams, stacks, tracks, .. } = self;
        let Some(stream) = streams.get_mut(at) else { return };
        let owner = Self::owner(stream);
        let (stack, kind) = match owner {
            Owner::Cpu => (Some(&mut stream.stack), TrackKind::CpuInstants { cpu: stream.cpu }),
            Owner::Task(task) => (stacks.get_mut(task.0 as usize), TrackKind::TaskInstants { task }),
        };
        let Some(stack) = stack else { return };
        let id = *stack.instants.get_or_insert_with(|| tracks.add(kind));
        if let Some(row) = tracks.row(id) {
            row.push(time, time, callsite, extra);
        }
    }

    /// Spans that have begun and not ended, by callsite.
    pub(crate) fn open_spans(&self) -> impl Iterator<Item = u16> {
        let stacks = self.stacks.iter().chain(self.streams.iter().map(|stream| &stream.stack));
        stacks.flat_map(|stack| stack.frames.iter().map(|frame| frame.callsite)).filter(|&callsite| callsite != 0)
    }
}
