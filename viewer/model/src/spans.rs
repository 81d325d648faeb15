//! Spans that nest: a stack per task and one per vCPU.
//!
//! Invariants: at most one span is open per (stack, depth), so a row's intervals never overlap, and a span enters its row
//! when it ends. *Self time* of a span is the time in which it is the innermost open one of its stack, less the interrupts
//! that ran over it. Guards may end in another order than they began: a span that ends below others leaves a hole, and what
//! lies above keeps its depth.
//!
//! A span that was open across a gap is *uncertain*: its end may have been lost. If its end comes it is drawn to there and
//! marked; if a span that encloses it ends first, it is cut off at the gap. Uncertain spans count, but not in times.

use crate::columns::What;
use crate::streams::{Current, Stream};
use crate::time::Nanos;
use crate::trace::{TaskRef, Trace, TrackId, TrackKind, Tracks};

/// Spans nested deeper are counted and not shown.
pub const MAX_DEPTH: usize = 128;

/// The root's tag has this for a callsite, which no event has.
const ROOT: u16 = u16::MAX;

/// An open span; a hole where one ended below others.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Level {
    pub(crate) tag: Tag,
    pub(crate) start: Nanos,
    /// Time in which something ran above.
    pub(crate) covered: Nanos,
    /// Since when the span's time is its own to give to the span below.
    pub(crate) counted_from: Nanos,
    /// Its callsite and its fields.
    pub(crate) what: What,
    pub(crate) row: TrackId,
}

/// What the end of a span must have in common with its begin: the callsite, its category, and how many gaps its stream has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    /// The first bit of the category, above the callsite, and of the gaps.
    const CATEGORY: u32 = 16;
    const GAPS: u32 = 32;
    const ROOT: Tag = Tag(ROOT as u64);

    #[inline]
    pub(crate) const fn new(part: TagPart, gaps: u32) -> Self {
        Tag(part.0 as u64 | (gaps as u64) << Self::GAPS)
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
        (self.0 >> Self::GAPS) as u32
    }

    /// What is left of a span that has ended below others. A phase of the heap still counts among the phases below those above.
    #[inline]
    const fn hole(self) -> Self {
        Tag(self.0 & 0xffff << Self::CATEGORY)
    }

    #[inline]
    pub(crate) const fn is(self, category: Category) -> bool {
        self.0 >> Self::CATEGORY & 0xffff == category as u64
    }
}

/// What the description of a callsite says of a [`Tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagPart(u32);

impl TagPart {
    pub(crate) const NONE: TagPart = TagPart(0);

    #[inline]
    pub(crate) const fn new(callsite: u16, category: Category) -> Self {
        TagPart(callsite as u32 | (category as u32) << Tag::CATEGORY)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub(crate) const fn callsite(self) -> u16 {
        self.0 as u16
    }
}

impl Level {
    const fn new(tag: Tag, row: TrackId) -> Self {
        Level { tag, start: 0, covered: 0, counted_from: 0, what: What::NONE, row }
    }

    /// A span begins here.
    #[inline(always)]
    pub(crate) fn begin(&mut self, tag: Tag, time: Nanos, extra: u32) {
        let what = What::new(tag.callsite(), extra);
        (self.tag, self.start, self.covered, self.counted_from, self.what) = (tag, time, 0, time, what);
    }
}

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
            self.levels.push(Level::new(Tag::ROOT, Tracks::NONE));
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
        self.levels.push(Level::new(Tag::new(TagPart::NONE, 0), row));
    }

    fn find(&self, callsite: u16) -> Option<usize> {
        Some(1 + self.open().iter().rposition(|level| level.tag.callsite() == callsite)?)
    }

    /// An interrupt took so long over the innermost span.
    pub(crate) fn cover(&mut self, nanos: Nanos) {
        if let Some(top) = self.levels.get_mut(self.depth) {
            top.covered += nanos.max(0);
        }
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
            level.tag = level.tag.hole();
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
    fn stack<'a>(stacks: &'a mut [Stack], of_cpu: &'a mut Stack, owner: Owner) -> Option<&'a mut Stack> {
        match owner {
            Owner::Cpu => Some(of_cpu),
            Owner::Task(task) => stacks.get_mut(task.0 as usize),
        }
    }

    /// The stack of `owner`, which is going to change.
    #[inline]
    pub(crate) fn touch<'a>(
        (stacks, touched): (&'a mut [Stack], &mut Vec<TaskRef>),
        of_cpu: &'a mut Stack,
        owner: Owner,
    ) -> Option<&'a mut Stack> {
        let stack = Self::stack(stacks, of_cpu, owner)?;
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
        let Trace { stacks, touched, tracks, .. } = self;
        let of_tasks = touched.drain(..).map(Owner::Task);
        for owner in of_tasks.chain([Owner::Cpu]) {
            let Some(stack) = Self::stack(stacks, &mut stream.stack, owner).filter(|stack| stack.touched) else {
                continue;
            };
            stack.touched = false;
            let mut open = stack.open().iter().map(|level| (!level.tag.is_hole()).then_some(level));
            for &row in &stack.rows {
                let level = open.next().flatten();
                match (tracks.row_with_open(row), level) {
                    (Some(row), Some(level)) => row.begin(level.start, level.what.key(), level.what.extra()),
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
        let Some(stack) = Self::touch((stacks, touched), &mut stream.stack, owner) else { return };
        if stack.depth >= MAX_DEPTH {
            stream.irq_depth -= u32::from(irq);
            self.too_deep += 1;
            self.count(callsite);
            return;
        }
        while stack.levels.len() < stack.depth + 2 {
            stack.deeper(tracks, owner, cpu);
        }
        let Some(level) = stack.levels.get_mut(stack.depth + 1) else { return };
        level.begin(Tag::new(TagPart::new(callsite, category), gaps), time, extra);
        stack.depth += 1;
    }

    #[inline(never)]
    pub(crate) fn span_end(&mut self, stream: &mut Stream, time: Nanos, callsite: u16, category: Category) {
        let first = if category == Category::Interrupt { Owner::Cpu } else { Self::owner(stream) };
        // A future that is done gives up its guards after its last poll.
        let closing = stream.closing.map(Owner::Task);
        for owner in [Some(first), closing].into_iter().flatten() {
            if let Some(index) =
                Self::stack(&mut self.stacks, &mut stream.stack, owner).and_then(|stack| stack.find(callsite))
            {
                self.close(stream, owner, index, time);
                return;
            }
        }
        self.orphan_ends += 1;
    }

    /// Ends the span at `index`, and before it what a gap left open above it.
    fn close(&mut self, stream: &mut Stream, owner: Owner, index: usize, time: Nanos) {
        let gaps = stream.gap_count();
        while let Some(stack) = Self::stack(&mut self.stacks, &mut stream.stack, owner) {
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
        let stack = Self::stack(&mut self.stacks, &mut stream.stack, owner);
        let uncertain = stack.and_then(|stack| stack.levels.get(index)).is_some_and(|level| level.tag.gaps() < gaps);
        self.end_level(stream, owner, index, time, uncertain);
    }

    fn end_level(&mut self, stream: &mut Stream, owner: Owner, index: usize, time: Nanos, uncertain: bool) {
        let Trace { stacks, touched, tracks, times, .. } = self;
        let Some(stack) = Self::touch((stacks, touched), &mut stream.stack, owner) else { return };
        let Some(Level { tag, start, covered, what, row, .. }) = stack.take(index, time) else { return };
        // One stack's spans come in the order of their ends.
        if let Some(row) = tracks.row(row) {
            row.append(start, time, what.uncertain(uncertain));
        }
        if let Some(times) = times.get_mut(usize::from(tag.callsite())) {
            times.ended(time - start, covered, uncertain);
        }
        if tag.is(Category::Heap) {
            let lanes = (&mut stream.phases, stream.cpu);
            Self::show_phase(tracks, lanes, (&stack.levels, index), time);
        }
        if tag.is(Category::Interrupt) {
            stream.irq_depth = stream.irq_depth.saturating_sub(1);
            // What it interrupted was not running meanwhile.
            if let (0, Current::Task(task)) = (stream.irq_depth, stream.current)
                && let Some(stack) = self.stacks.get_mut(task.0 as usize)
            {
                stack.cover(time - start);
            }
        }
    }

    /// Shows the phase of the heap that is or was the level at `index` in its vCPU's lane for phases within so many.
    #[inline(never)]
    pub(crate) fn show_phase(
        tracks: &mut Tracks,
        (lanes, cpu): (&mut Vec<TrackId>, u32),
        (levels, index): (&[Level], usize),
        end: Nanos,
    ) {
        let Some([around @ .., span]) = levels.get(1..=index) else { return };
        let phases = around.iter().filter(|level| level.tag.is(Category::Heap)).count();
        while lanes.len() <= phases {
            let depth = u16::try_from(lanes.len()).unwrap_or(u16::MAX);
            lanes.push(tracks.add(TrackKind::Phases { cpu, depth }));
        }
        if let Some(row) = lanes.get(phases).and_then(|&id| tracks.row(id)) {
            row.append(span.start, end, span.what);
        }
    }

    /// After a gap no interrupt runs any more: what was open on the vCPU's stack from the first one on is cut off.
    pub(crate) fn abandon_interrupts(&mut self, stream: &mut Stream, time: Nanos) {
        while stream.stack.open().iter().any(|level| level.tag.is(Category::Interrupt) && !level.tag.is_hole()) {
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
    #[inline(always)]
    pub(crate) fn instant(&mut self, stream: &mut Stream, time: Nanos, callsite: u16, extra: u32) {
        let Trace { stacks, tracks, .. } = self;
        let (owner, cpu) = (Self::owner(stream), stream.cpu);
        let Some(stack) = Self::stack(stacks, &mut stream.stack, owner) else { return };
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
