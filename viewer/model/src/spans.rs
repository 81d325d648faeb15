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

/// The root's tag has this for a callsite, which no event has.
const ROOT: u16 = u16::MAX;

/// An open span; a hole where one ended below others. The fields lie so that none is read together with another that was
/// written by itself: a processor waits long for such a pair.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Level {
    pub(crate) tag: Tag,
    start: Nanos,
    /// Time in which something ran above.
    pub(crate) covered: Nanos,
    /// Since when the span's time is its own to give to the span below.
    pub(crate) counted_from: Nanos,
    extra: u32,
    /// How many phases of the heap there are up to here, this one included, in eight bits; then that number for a phase, and
    /// nothing for what is none; and whether it is an interrupt.
    special: u32,
    row: TrackId,
}

/// The first bit of a phase's number.
const PHASE: u32 = 8;
const IRQ: u32 = 1 << 16;

/// What a span's category makes of the number of phases below it: it is made greater by what is above [`PHASE`], and then
/// multiplied by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Special(u16);

impl Special {
    pub(crate) const fn of(category: Category) -> Self {
        Special(match category {
            Category::Ordinary | Category::Interrupt => 1,
            // The number, and above it the same for the phase itself. No stack is deeper than eight bits can count.
            Category::Heap => 1 | 1 << PHASE,
        })
    }

    #[inline]
    const fn above(self, below: &Level) -> u32 {
        let factor = self.0 as u32;
        ((below.special & 0xff) + (factor >> PHASE)) * factor
    }
}

/// What the end of a span must have in common with its begin: the callsite, and how many gaps its stream has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    #[inline]
    pub(crate) const fn new(callsite: u16, gaps: u32) -> Self {
        Tag(callsite as u64 | (gaps as u64) << 32)
    }

    /// 0 for a hole.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub(crate) const fn callsite(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    pub(crate) const fn is_hole(self) -> bool {
        self.callsite() == 0
    }

    #[inline]
    const fn gaps(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// This one of callsite 0 with another of the same guest's.
    #[inline]
    pub(crate) const fn of(self, callsite: u16) -> Self {
        Tag(self.0 | callsite as u64)
    }
}

impl Level {
    const fn new(tag: Tag, row: TrackId) -> Self {
        let extra = u32::MAX;
        Level { tag, start: 0, covered: 0, counted_from: 0, extra, row, special: 0 }
    }

    /// How many phases of the heap there are up to here.
    #[inline]
    pub(crate) fn phases(&self) -> usize {
        (self.special & 0xff) as usize
    }

    /// A span begins here, above `below`.
    #[inline(always)]
    pub(crate) fn begin(&mut self, below: &Level, tag: Tag, time: Nanos, special: Special, extra: u32) {
        let special = special.above(below);
        (self.tag, self.start, self.covered, self.counted_from, self.extra) = (tag, time, 0, time, extra);
        self.special = special;
    }

    #[inline]
    const fn is_interrupt(&self) -> bool {
        self.special & IRQ != 0
    }
}

const _: () = assert!(MAX_DEPTH < 1 << PHASE && size_of::<Level>() == 48);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stack {
    /// The root, which stands for no span, and above it the levels that there have been.
    pub(crate) levels: Vec<Level>,
    /// How many levels above the root are in use; the uppermost is no hole.
    pub(crate) depth: usize,
    rows: Vec<TrackId>,
    pub(crate) instants: Option<TrackId>,
    /// Its rows do not know yet what is open in them.
    touched: bool,
}

impl Stack {
    /// The rows of spans by depth, then the row of instants.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = TrackId> {
        self.rows.iter().copied().chain(self.instants).filter(|&id| id != Tracks::NONE)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.levels.capacity() * size_of::<Level>() + self.rows.capacity() * size_of::<TrackId>()
    }

    /// The spans that are open, and holes, the outermost first.
    fn open(&self) -> &[Level] {
        self.levels.get(1..=self.depth).unwrap_or(&[])
    }

    /// Makes room for a level above those in use.
    #[cold]
    fn deeper(&mut self, tracks: &mut Tracks, owner: Owner, cpu: u32) {
        if self.levels.is_empty() {
            self.levels.push(Level::new(Tag::new(ROOT, 0), Tracks::NONE));
        }
        let depth = self.levels.len() - 1;
        if depth == self.rows.len() {
            let depth = u16::try_from(depth).unwrap_or(u16::MAX);
            self.rows.push(tracks.add(match owner {
                Owner::Cpu => TrackKind::CpuSpans { cpu, depth },
                Owner::Task(task) => TrackKind::TaskSpans { task, depth },
            }));
        }
        let row = self.rows.get(depth).copied().unwrap_or(Tracks::NONE);
        self.levels.push(Level::new(Tag::new(0, 0), row));
    }

    fn find(&self, callsite: u16) -> Option<usize> {
        Some(1 + self.open().iter().rposition(|level| level.tag.callsite() == callsite)?)
    }

    /// Takes the span at `index` away and settles whose time it was; returns it with what covered it added up.
    fn take(&mut self, index: usize, end: Nanos) -> Option<Level> {
        let mut taken = *self.levels.get(index)?;
        if let Some(above) = self.levels.get_mut(index + 1..=self.depth)?.iter_mut().find(|level| !level.tag.is_hole())
        {
            taken.covered += end - above.counted_from;
            above.counted_from = end;
        }
        // The root is nobody's, and never a hole.
        if let Some(below) = self.levels.get_mut(..index)?.iter_mut().rev().find(|level| !level.tag.is_hole()) {
            below.covered += end - taken.counted_from;
        }
        if let Some(level) = self.levels.get_mut(index) {
            level.tag = Tag::new(0, 0);
        }
        while self.levels.get(self.depth).is_some_and(|level| level.tag.is_hole()) {
            self.depth -= 1;
        }
        Some(taken)
    }
}

/// Whose stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Cpu,
    Task(TaskRef),
}

/// A span that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    start: Nanos,
    end: Nanos,
    /// The part of it in which something ran above.
    covered: Nanos,
    extra: u32,
    row: TrackId,
    callsite: u16,
    /// The number of a phase of the heap, 0 for what is none.
    phase: u8,
}

/// Spans that have ended and are not in their rows yet. Whoever puts another one into a row settles these before it.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// As long as it may become.
    pub(crate) list: Vec<Ended>,
    /// How many there are.
    pub(crate) len: usize,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Pending { list: vec![Ended::NONE; 256], len: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.list.len()
    }
}

impl Ended {
    const NONE: Ended = Ended { start: 0, end: 0, covered: 0, extra: 0, row: Tracks::NONE, callsite: 0, phase: 0 };

    /// The span of `level`, whose tag is known, which ended at `end`.
    #[inline(always)]
    pub(crate) fn of(level: &Level, tag: Tag, end: Nanos) -> Self {
        let &Level { start, covered, extra, row, special, .. } = level;
        let [_, phase, ..] = special.to_le_bytes();
        Ended { start, end, covered, extra, row, callsite: tag.callsite(), phase }
    }
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
    #[inline]
    pub(crate) fn owner(stream: &Stream) -> Owner {
        match stream.current {
            Current::Task(task) if stream.irq_depth == 0 => Owner::Task(task),
            _ => Owner::Cpu,
        }
    }

    #[inline]
    fn stack<'a>(stacks: &'a mut [Stack], stream: &'a mut Stream, owner: Owner) -> Option<&'a mut Stack> {
        match owner {
            Owner::Cpu => Some(&mut stream.stack),
            Owner::Task(task) => stacks.get_mut(task.0 as usize),
        }
    }

    /// The stack of `owner`, which is going to change.
    #[inline]
    pub(crate) fn touch<'a>(
        (stacks, touched): (&'a mut [Stack], &mut Vec<TaskRef>),
        stream: &'a mut Stream,
        owner: Owner,
    ) -> Option<&'a mut Stack> {
        let stack = Self::stack(stacks, stream, owner)?;
        if let Owner::Task(task) = owner
            && !stack.touched
        {
            touched.push(task);
        }
        stack.touched = true;
        Some(stack)
    }

    /// Tells the rows of the stacks that have changed what is open in them.
    pub(crate) fn show_open(&mut self, stream: &mut Stream) {
        self.settle_pending(stream);
        let Trace { stacks, touched, tracks, .. } = self;
        let of_tasks = touched.drain(..).map(Owner::Task);
        for owner in of_tasks.chain([Owner::Cpu]) {
            let Some(stack) = Self::stack(stacks, stream, owner).filter(|stack| stack.touched) else { continue };
            stack.touched = false;
            let mut open = stack.open().iter().map(|level| (!level.tag.is_hole()).then_some(level));
            for &row in &stack.rows {
                let level = open.next().flatten();
                match (tracks.row_with_open(row), level) {
                    (Some(row), Some(level)) => row.begin(level.start, level.tag.callsite(), level.extra),
                    (Some(row), None) => row.abandon(),
                    (None, _) => {}
                }
            }
        }
    }

    /// Counts an event of a callsite.
    #[inline]
    pub(crate) fn count(&mut self, callsite: u16) {
        if let Some(times) = self.times.get_mut(usize::from(callsite)) {
            times.count += 1;
        }
    }

    #[inline(never)]
    pub(crate) fn span_begin(
        &mut self,
        stream: &mut Stream,
        time: Nanos,
        callsite: u16,
        category: Category,
        extra: u32,
    ) {
        let irq = category == Category::Interrupt;
        let owner = if irq { Owner::Cpu } else { Self::owner(stream) };
        let (gaps, cpu) = (stream.gap_count(), stream.cpu);
        stream.irq_depth += u32::from(irq);
        let Trace { stacks, touched, tracks, .. } = self;
        let Some(stack) = Self::touch((stacks, touched), stream, owner) else { return };
        if stack.depth >= MAX_DEPTH {
            stream.irq_depth -= u32::from(irq);
            self.too_deep += 1;
            self.count(callsite);
            return;
        }
        while stack.levels.len() < stack.depth + 2 {
            stack.deeper(tracks, owner, cpu);
        }
        let Some([below, level]) = stack.levels.get_mut(stack.depth..).and_then(|levels| levels.first_chunk_mut())
        else {
            return;
        };
        level.begin(below, Tag::new(callsite, gaps), time, Special::of(category), extra);
        level.special |= if irq { IRQ } else { 0 };
        stack.depth += 1;
    }

    #[inline(never)]
    pub(crate) fn span_end(&mut self, stream: &mut Stream, time: Nanos, callsite: u16, category: Category) {
        let first = if category == Category::Interrupt { Owner::Cpu } else { Self::owner(stream) };
        // A future that is done gives up its guards after its last poll.
        let closing = stream.closing.map(Owner::Task);
        for owner in [Some(first), closing].into_iter().flatten() {
            if let Some(index) = Self::stack(&mut self.stacks, stream, owner).and_then(|stack| stack.find(callsite)) {
                self.close(stream, owner, index, time);
                return;
            }
        }
        self.orphan_ends += 1;
    }

    /// Ends the span at `index`, and before it what a gap left open above it.
    fn close(&mut self, stream: &mut Stream, owner: Owner, index: usize, time: Nanos) {
        let gaps = stream.gap_count();
        while let Some(stack) = Self::stack(&mut self.stacks, stream, owner) {
            let stale = |(i, level): (usize, &Level)| {
                (i > index && !level.tag.is_hole() && level.tag.gaps() < gaps).then_some((i, level.tag.gaps()))
            };
            let Some((above, seen)) =
                stack.open().iter().enumerate().rev().find_map(|(i, level)| stale((i + 1, level)))
            else {
                break;
            };
            let cut = stream.gap_after(seen).unwrap_or(time);
            self.end_level(stream, owner, above, cut, true);
        }
        let stack = Self::stack(&mut self.stacks, stream, owner);
        let uncertain = stack.and_then(|stack| stack.levels.get(index)).is_some_and(|level| level.tag.gaps() < gaps);
        self.end_level(stream, owner, index, time, uncertain);
    }

    fn end_level(&mut self, stream: &mut Stream, owner: Owner, index: usize, time: Nanos, uncertain: bool) {
        self.settle_pending(stream);
        let Trace { stacks, touched, .. } = self;
        let Some(stack) = Self::touch((stacks, touched), stream, owner) else { return };
        let Some(level) = stack.take(index, time) else { return };
        self.ended(stream, &Ended::of(&level, level.tag, time), uncertain);
        if level.is_interrupt() {
            stream.irq_depth = stream.irq_depth.saturating_sub(1);
            // What it interrupted was not running meanwhile.
            if let (0, Current::Task(task)) = (stream.irq_depth, stream.current)
                && let Some(stack) = self.stacks.get_mut(task.0 as usize)
                && let Some(top) = stack.levels.get_mut(stack.depth)
            {
                top.covered += (time - level.start).max(0);
            }
        }
    }

    /// Keeps the spans that have ended and are not kept yet.
    pub(crate) fn settle_pending(&mut self, stream: &mut Stream) {
        let Pending { list, len } = &mut self.pending;
        if *len == 0 {
            return;
        }
        let (list, len) = (std::mem::take(list), std::mem::take(len));
        for span in list.get(..len).unwrap_or(&[]) {
            self.ended(stream, span, false);
        }
        self.pending.list = list;
    }

    /// Keeps a span that has ended. One stack's spans come in the order of their ends.
    #[inline(always)]
    fn ended(&mut self, stream: &mut Stream, span: &Ended, uncertain: bool) {
        let Ended { start, end, covered, extra, row, callsite, phase } = *span;
        if let Some(row) = self.tracks.row(row) {
            row.append(start, end, callsite, extra, uncertain);
        }
        if let Some(times) = self.times.get_mut(usize::from(callsite)) {
            let duration = (end - start).max(0);
            times.ended(duration, (duration - covered).max(0), uncertain);
        }
        if phase > 0 {
            self.phase(stream, span);
        }
    }

    /// Shows a phase of the heap in its vCPU's lane.
    #[inline(never)]
    fn phase(&mut self, stream: &mut Stream, span: &Ended) {
        let depth = usize::from(span.phase) - 1;
        while stream.phases.len() <= depth {
            let depth = u16::try_from(stream.phases.len()).unwrap_or(u16::MAX);
            stream.phases.push(self.tracks.add(TrackKind::Phases { cpu: stream.cpu, depth }));
        }
        if let Some(row) = stream.phases.get(depth).and_then(|&id| self.tracks.row(id)) {
            row.push(span.start, span.end, span.callsite, span.extra);
        }
    }

    /// After a gap no interrupt runs any more: what was open on the vCPU's stack from the first one on is cut off.
    pub(crate) fn abandon_interrupts(&mut self, stream: &mut Stream, time: Nanos) {
        while stream.stack.open().iter().any(|level| level.is_interrupt() && !level.tag.is_hole()) {
            self.end_level(stream, Owner::Cpu, stream.stack.depth, time, true);
        }
    }

    /// Ends what a task left open that is done: at `time`, or at the first gap since it began.
    pub(crate) fn close_all(&mut self, stream: &mut Stream, task: TaskRef, time: Nanos) {
        while let Some(stack) = self.stacks.get(task.0 as usize)
            && let Some(top) = stack.open().last()
        {
            let gap = stream.gap_after(top.tag.gaps());
            self.end_level(stream, Owner::Task(task), stack.depth, gap.unwrap_or(time), gap.is_some());
        }
        // Nothing will begin here again.
        if let Some(stack) = self.stacks.get_mut(task.0 as usize) {
            (stack.levels, stack.depth) = (Vec::new(), 0);
        }
    }

    /// An instant of whatever runs.
    #[inline]
    pub(crate) fn instant(&mut self, stream: &mut Stream, time: Nanos, callsite: u16, extra: u32) {
        let Trace { stacks, tracks, .. } = self;
        let (owner, cpu) = (Self::owner(stream), stream.cpu);
        let Some(stack) = Self::stack(stacks, stream, owner) else { return };
        let id = *stack.instants.get_or_insert_with(|| {
            tracks.add(match owner {
                Owner::Cpu => TrackKind::CpuInstants { cpu },
                Owner::Task(task) => TrackKind::TaskInstants { task },
            })
        });
        if let Some(row) = tracks.row(id) {
            row.push(time, time, callsite, extra);
        }
    }

    /// Spans that have begun and not ended, by callsite.
    pub(crate) fn open_spans(&self) -> impl Iterator<Item = u16> {
        let stacks = self.stacks.iter().chain(self.streams.iter().map(|stream| &stream.stack));
        let levels = stacks.flat_map(|stack| stack.open()).filter(|level| !level.tag.is_hole());
        levels.map(|level| level.tag.callsite())
    }
}
