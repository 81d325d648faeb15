//! A row of intervals as columns: about five bytes each, and a pyramid of summaries over them, about 3 bytes more.
//!
//! Invariants: intervals are appended in time order and do not overlap (a later one begins at or after the end of the one
//! before; [`Row::push`] moves a forged start forward). A complete block of 64 intervals is packed and has a leaf for each
//! [`FAN_OUT`] of them; of complete segments, 512 intervals, the pyramid has one [`Node`] per four leaves, and so on. What is
//! appended never changes, so a row can be read while it grows.
//!
//! The youngest intervals, fewer than a block, are kept as they are. A row is never full;
//! [`Limits`](crate::ingest::Limits) bound all rows together. Where they are reached what is packed of the oldest
//! intervals is forgotten and their leaves stay, so that a row keeps its overview: see [`Row::forget_before`].
//!
//! ```
//! use fata_model::columns::Row;
//! let mut row = Row::new();
//! row.push(100, 150, 7, 0);
//! row.begin(200, 8, 0);
//! assert_eq!(row.entry(0).unwrap().end, 150);
//! assert_eq!(row.open().unwrap().start, 200);
//! ```

use crate::pyramid::{Pyramid, Summary};
use crate::time::Nanos;

mod bits;
mod block;
mod extras;
pub(crate) mod packed;
mod pairs;
mod record;
mod segment;

use block::BLOCK;
pub(crate) use block::{Times, low_word};
pub(crate) use extras::{from_small, small};
pub(crate) use record::What;
use record::{Far, Record};
use segment::{SEGMENT, Segment};

/// Intervals per leaf. With 16 a walk costs up to twice as much where a pixel holds about as many.
pub const FAN_OUT: usize = 8;
/// Leaves per node of the lowest level.
pub(crate) const LEAVES: usize = 4;

/// One interval of a row. An instant has `start == end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it began.
    pub start: Nanos,
    /// When it ended.
    pub end: Nanos,
    /// What it is, below 2^15: a callsite, a task's number or a state, as the [`TrackKind`](crate::trace::TrackKind) says.
    pub key: u16,
    /// More about it, as the [`TrackKind`](crate::trace::TrackKind) says.
    pub extra: u32,
    /// Events were discarded while it was open, so it may have ended earlier.
    pub uncertain: bool,
}

/// An interval that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When it began.
    pub start: Nanos,
    /// As [`Entry::key`].
    pub key: u16,
    /// As [`Entry::extra`].
    pub extra: u32,
}

/// What a pyramid says of 8, 32, 128, … intervals.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// When the first began.
    pub start: Nanos,
    /// When the last ended, or at most 1 part in 2^25 of the extent later.
    pub end: Nanos,
    /// Sum of the durations in nanoseconds.
    pub busy: f32,
    /// The key of the longest.
    pub key: u16,
    /// The upper half of the longest's duration as an `f32`: exact to 1 part in 128.
    longest: u16,
}

impl Node {
    /// The longest interval's duration in nanoseconds, less at most 1 part in 128.
    #[must_use]
    #[inline]
    pub fn longest(&self) -> f32 {
        f32::from_bits(u32::from(self.longest) << 16)
    }

    /// Sums up what follows, too.
    #[inline]
    fn add(&mut self, next: &Node) {
        self.end = next.end;
        self.busy += next.busy;
        if next.longest > self.longest {
            (self.longest, self.key) = (next.longest, next.key);
        }
    }

    /// No interval is longer than this.
    #[inline]
    pub(crate) fn longest_at_most(&self) -> f32 {
        f32::from_bits((u32::from(self.longest) + 1) << 16)
    }
}

impl Summary for Node {
    fn merge(children: &[Self]) -> Option<Self> {
        let mut node = *children.first()?;
        children[1..].iter().for_each(|child| node.add(child));
        Some(node)
    }

    fn start(&self) -> Nanos {
        self.start
    }
}

/// See the module.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Row {
    /// The end of the last interval.
    last_end: Nanos,
    /// Room for the intervals that are not packed yet.
    tail: Box<[Record]>,
    /// How many intervals the tail holds.
    len: usize,
    /// The key whose intervals count as nothing in the sums.
    quiet: u16,
    /// When the open interval began; [`Nanos::MIN`], which is nobody's time, where none is open.
    open_since: Nanos,
    open: What,
    /// When the tail's first interval began.
    tail_from: Nanos,
    /// The intervals of the tail that 32 bits do not hold, with their places.
    far: Vec<(usize, Far)>,
    /// Complete groups.
    complete: u32,
    /// Segments that were forgotten, but for their leaves.
    forgotten: u32,
    /// Full ones.
    segments: Vec<Segment>,
    /// The one that is filled: where every interval comes to, so it lies here.
    filling: Segment,
    /// Over the leaves.
    pyramid: Pyramid<Node>,
}

impl Default for Row {
    fn default() -> Self {
        Row::new()
    }
}

impl Row {
    /// A row with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Row {
            last_end: Nanos::MIN,
            tail: Box::default(),
            len: 0,
            quiet: u16::MAX,
            open_since: Nanos::MIN,
            open: What::NONE,
            tail_from: 0,
            far: Vec::new(),
            complete: 0,
            forgotten: 0,
            segments: Vec::new(),
            filling: Segment::new(),
            pyramid: Pyramid::new(),
        }
    }

    /// A row in whose sums the intervals with the key `quiet` count as nothing, though they are kept as all others: that a
    /// task waits says nothing beside what it did in the same pixel.
    #[must_use]
    pub fn with_quiet(quiet: u16) -> Self {
        Row { quiet, ..Row::new() }
    }

    /// The key whose intervals count as nothing; `u16::MAX` for none.
    #[inline]
    pub(crate) fn quiet(&self) -> u16 {
        self.quiet
    }

    /// Gives up the columns of intervals that ended before `time`, in pieces of 512, and returns how many: they are
    /// entries no more, and a walk shows them as cells at every zoom.
    pub fn forget_before(&mut self, time: Nanos) -> usize {
        let before = self.forgotten;
        while let Some(segment) = self.segments.get_mut(self.forgotten as usize)
            && segment.end().is_some_and(|end| end < time)
        {
            segment.forget();
            self.forgotten += 1;
        }
        (self.forgotten - before) as usize * SEGMENT * FAN_OUT
    }

    /// How many of the oldest intervals are known only in sum.
    #[must_use]
    pub fn forgotten(&self) -> usize {
        self.forgotten as usize * SEGMENT * FAN_OUT
    }

    /// How many intervals have ended, the forgotten ones included; an open one is not among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.complete as usize * FAN_OUT + self.len
    }

    /// Whether nothing ever began here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && !self.is_open()
    }

    /// The interval that has not ended.
    #[must_use]
    pub fn open(&self) -> Option<Open> {
        let (start, what) = (self.open_since, self.open);
        self.is_open().then(|| Open { start, key: what.key(), extra: what.extra() })
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.open_since != Nanos::MIN
    }

    /// Begins an interval, in place of one that may be open.
    #[inline]
    pub fn begin(&mut self, start: Nanos, key: u16, extra: u32) {
        (self.open_since, self.open) = (start.max(self.last_end), What::new(key, extra));
    }

    /// Ends the open interval; does nothing where none is open.
    #[inline]
    pub fn end(&mut self, end: Nanos, uncertain: bool) {
        if self.is_open() {
            let start = std::mem::replace(&mut self.open_since, Nanos::MIN);
            self.append(start, end, self.open.uncertain(uncertain));
        }
    }

    /// Ends the open interval, if there is one, and begins another.
    #[inline]
    pub(crate) fn turn(&mut self, time: Nanos, key: u16, extra: u32) {
        if self.is_open() {
            self.append(self.open_since, time, self.open);
        }
        self.begin(time, key, extra);
    }

    /// Forgets the open interval.
    pub fn abandon(&mut self) {
        self.open_since = Nanos::MIN;
    }

    /// Appends a whole interval. Beyond 2^32 - 16 of them it is dropped.
    #[inline]
    pub fn push(&mut self, start: Nanos, end: Nanos, key: u16, extra: u32) {
        self.append(start, end, What::new(key, extra));
    }

    /// Appends a whole interval.
    #[inline(always)]
    pub(crate) fn append(&mut self, start: Nanos, end: Nanos, what: What) {
        let gap = start.wrapping_sub(self.last_end).cast_unsigned();
        let duration = end.wrapping_sub(start).cast_unsigned();
        match self.tail.get_mut(self.len) {
            // Also what begins before the one before has ended, or ends before it begins, has more than 32 bits of these.
            Some(place) if (gap | duration) >> 32 == 0 => {
                *place = Record::new(gap, duration, what);
                self.last_end = end;
                self.len += 1;
            }
            _ => self.append_any(start, end, what),
        }
    }

    /// The same, whatever the times, and where there is no room in the tail.
    #[inline(never)]
    fn append_any(&mut self, start: Nanos, end: Nanos, what: What) {
        let start = start.max(self.last_end);
        let end = end.max(start);
        if self.len == self.tail.len() {
            self.make_room(start);
        }
        let (gap, duration) = ((start - self.last_end).cast_unsigned(), (end - start).cast_unsigned());
        self.last_end = end;
        if let Some(place) = self.tail.get_mut(self.len) {
            if (gap | duration) >> 32 == 0 {
                *place = Record::new(gap, duration, what);
            } else {
                *place = Record::FAR;
                self.far.push((self.len, Far { gap, duration, what }));
            }
            self.len += 1;
        }
    }

    /// Makes room in the tail for an interval that begins at `start`: packs it where it is a block, else it grows.
    fn make_room(&mut self, start: Nanos) {
        if self.len == BLOCK {
            self.pack();
            self.far.clear();
            self.len = 0;
        } else {
            let mut records = std::mem::take(&mut self.tail).into_vec();
            records.resize((4 * self.len).clamp(4, BLOCK), Record::NONE);
            self.tail = records.into_boxed_slice();
        }
        if self.len == 0 {
            (self.tail_from, self.last_end) = (start, start);
        }
    }

    /// Packs the tail, which is a block. Beyond what a row can hold it is dropped.
    fn pack(&mut self) {
        let Some(records) = self.tail.first_chunk() else { return };
        if self.complete as usize >= u32::MAX as usize / FAN_OUT - BLOCK {
            return;
        }
        if self.far.is_empty() {
            self.filling.push(records, self.tail_from, self.quiet);
        } else {
            self.filling.push(&std::array::from_fn(|i| self.of_tail(i)), self.tail_from, self.quiet);
        }
        self.complete += u32::try_from(BLOCK / FAN_OUT).unwrap_or(0);
        if self.filling.is_full() {
            // The pyramid grows by a whole segment at once: its places are far from all else, and from those of the other rows.
            self.filling.nodes().for_each(|node| self.pyramid.push(node));
            let next = Segment::after(&mut self.filling);
            self.segments.push(std::mem::replace(&mut self.filling, next));
        }
    }

    /// An interval of the tail.
    fn of_tail(&self, at: usize) -> Far {
        let record = self.tail.get(at).copied().unwrap_or(Record::NONE);
        let far = self.far.iter().find(|(place, _)| record.is_far() && *place == at);
        far.map_or_else(|| Far::of(&record), |(_, far)| *far)
    }

    /// The segment of this number.
    #[inline]
    fn segment(&self, index: usize) -> Option<&Segment> {
        if index == self.segments.len() { Some(&self.filling) } else { self.segments.get(index) }
    }

    pub(crate) fn pyramid(&self) -> &Pyramid<Node> {
        &self.pyramid
    }

    /// Complete groups.
    #[inline]
    pub(crate) fn leaves(&self) -> usize {
        self.complete as usize
    }

    /// What the leaf of a complete group says of it.
    #[inline]
    pub(crate) fn leaf(&self, group: usize) -> Option<Node> {
        self.segment(group / SEGMENT)?.node(group % SEGMENT)
    }

    /// The leaves that a node of the lowest level stands for, with their groups; of the node after the last all that none stands
    /// for yet.
    #[inline]
    pub(crate) fn leaves_of(&self, node: usize) -> impl Iterator<Item = (usize, Node)> {
        let first = node * LEAVES;
        let segment = self.segment(first / SEGMENT);
        let count = if node == self.pyramid.level(0).len() { SEGMENT } else { LEAVES };
        let leaves = first % SEGMENT..first % SEGMENT + count;
        (first..).zip(leaves.map_while(move |leaf| segment?.node(leaf)))
    }

    /// Whether anything that is not packed yet lies between these.
    pub(crate) fn tail_reaches(&self, from: Nanos, to: Nanos) -> bool {
        self.len > 0 && self.tail_from < to && self.last_end >= from
    }

    /// Groups, those of the tail included, whose last is not complete.
    pub(crate) fn groups(&self) -> usize {
        self.complete as usize + self.len.div_ceil(FAN_OUT)
    }

    /// Puts into `out` the times and keys of a group; `false` for what was forgotten.
    #[inline]
    pub(crate) fn times(&self, group: usize, out: &mut Times) -> bool {
        if let Some(known) = self.segment(group / SEGMENT).and_then(|segment| segment.times(group % SEGMENT, out)) {
            return known;
        }
        self.times_of_tail(group.saturating_sub(self.complete as usize), out);
        true
    }

    /// The same of a group of the tail.
    #[inline(never)]
    fn times_of_tail(&self, group: usize, out: &mut Times) {
        let first = group * FAN_OUT;
        let passed = (0..first).map(|at| self.of_tail(at)).map(|before| before.gap + before.duration).sum::<u64>();
        let mut now = self.tail_from + passed.cast_signed();
        out.len = self.len.saturating_sub(first).min(FAN_OUT);
        for i in 0..out.len {
            let Far { gap, duration, what } = self.of_tail(first + i);
            out.starts[i] = now + gap.cast_signed();
            now = out.starts[i] + duration.cast_signed();
            (out.ends[i], out.keys[i]) = (now, what.key());
        }
        out.part_uncertain();
    }

    fn extras(&self, group: usize) -> [u32; FAN_OUT] {
        let packed = self.segment(group / SEGMENT).and_then(|segment| segment.extras(group % SEGMENT));
        let first = group.saturating_sub(self.complete as usize) * FAN_OUT;
        packed.unwrap_or_else(|| std::array::from_fn(|i| self.of_tail(first + i).what.extra()))
    }

    /// The interval at `index`, `None` at [`Row::len`] and beyond, and for what was forgotten.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<Entry> {
        let (group, i) = (index / FAN_OUT, index % FAN_OUT);
        let mut times = Times::EMPTY;
        (self.times(group, &mut times) && i < times.len).then(|| times.entry(i, &self.extras(group)))
    }

    /// All intervals that have ended and were not forgotten, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        (self.forgotten()..self.len()).map_while(|index| self.entry(index))
    }

    /// Calls `look` with every interval that has ended and its index, oldest first: a few nanoseconds each.
    pub fn scan(&self, mut look: impl FnMut(u32, &Entry)) {
        let mut times = Times::EMPTY;
        for group in self.forgotten as usize * SEGMENT..self.groups() {
            self.times(group, &mut times);
            let extras = self.extras(group);
            let first = u32::try_from(group * FAN_OUT).unwrap_or(u32::MAX);
            (0..times.len).zip(first..).for_each(|(i, index)| look(index, &times.entry(i, &extras)));
        }
    }

    /// The index of the first interval that begins at or after `time`, among those not forgotten; [`Row::len`] where there
    /// is none.
    #[must_use]
    pub fn first_from(&self, time: Nanos) -> usize {
        // In the last group that begins before `time`, or at the beginning of the one after it.
        let full = self.segments.partition_point(|segment| segment.start() < time);
        let in_last = full == self.segments.len() && self.filling.begun(time) > 0;
        let segment = if in_last { full } else { full.saturating_sub(1) };
        let before = segment * SEGMENT + self.segment(segment).map_or(0, |segment| segment.begun(time));
        let mut times = Times::EMPTY;
        let mut group = before.saturating_sub(1);
        if before == self.complete as usize {
            // Of the tail's groups, too.
            for of_tail in before..self.groups() {
                self.times(of_tail, &mut times);
                if times.starts[0] < time {
                    group = of_tail;
                }
            }
        }
        let first = group * FAN_OUT;
        if self.forgotten() > first {
            return self.forgotten();
        }
        self.times(group, &mut times);
        first + times.starts.iter().take(times.len).filter(|&&start| start < time).count()
    }

    /// The index of the interval that covers `time`, or of an instant at `time`.
    #[must_use]
    pub fn at(&self, time: Nanos) -> Option<usize> {
        let after = self.first_from(time.saturating_add(1));
        let index = after.checked_sub(1)?;
        let entry = self.entry(index)?;
        (entry.end > time || entry.start == time).then_some(index)
    }

    /// When the last interval ended.
    #[must_use]
    pub fn last_end(&self) -> Option<Nanos> {
        (self.last_end != Nanos::MIN).then_some(self.last_end)
    }

    /// Gives back the room for what does not come any more.
    pub(crate) fn shrink(&mut self) {
        self.segments.shrink_to_fit();
        self.filling.shrink();
        self.tail = self.tail.get(..self.len).unwrap_or(&[]).into();
        self.pyramid.shrink();
    }

    /// What the columns and the pyramid take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.segments.iter().chain([&self.filling]).map(Segment::memory_bytes).sum::<usize>()
            + self.segments.capacity() * size_of::<Segment>()
            + size_of_val(&*self.tail)
            + self.far.capacity() * size_of::<(usize, Far)>()
            + self.pyramid.memory_bytes()
    }
}

impl Times {
    pub(crate) const EMPTY: Times =
        Times { starts: [0; FAN_OUT], ends: [0; FAN_OUT], keys: [0; FAN_OUT], uncertain: 0, len: 0 };

    /// Whether the end of the `i`th is not known.
    #[inline]
    pub(crate) fn is_uncertain(&self, i: usize) -> bool {
        self.uncertain >> i & 1 == 1
    }

    fn entry(&self, i: usize, extras: &[u32; FAN_OUT]) -> Entry {
        Entry {
            start: self.starts[i],
            end: self.ends[i],
            key: self.keys[i],
            extra: extras[i],
            uncertain: self.is_uncertain(i),
        }
    }
}

#[cfg(test)]
mod tests;
