//! A row of intervals as columns: 14 bytes each, and a pyramid of summaries over them, less than 4 bytes more.
//!
//! Invariants: intervals are appended in time order and do not overlap (a later one begins at or after the end of the one
//! before; [`Row::push`] moves a forged start forward). Level 0 of the pyramid has one [`Node`] per complete group of
//! [`FAN_OUT`] intervals, level `n + 1` one per complete group of nodes of level `n`. What is appended never changes, so a
//! row can be read while it grows.
//!
//! The youngest intervals, fewer than a group, are kept as they are; a complete group becomes columns: starts as `u32`
//! distances from the group's own start, durations as `u32`. The few that do not fit (4.29 s) lie in a table on the side.
//! A row is never full; [`Limits`](crate::ingest::Limits) bound all rows together. Where they are reached the columns of
//! the oldest intervals are forgotten and their nodes stay, so that a row keeps its overview: see
//! [`Row::forget_before`].
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
use crate::segmented::{SEGMENT, Segmented};
use crate::time::Nanos;

/// Intervals per node of the lowest level, and nodes per node of the level above. With 16 a walk costs up to twice as much
/// where a pixel holds about as many intervals, and an interval takes 1.8 bytes less.
pub const FAN_OUT: usize = 8;

/// The bit of a stored key that says: this interval's end, or what happened meanwhile, was lost with discarded events.
const UNCERTAIN: u16 = 1 << 15;
/// Says that the value is in the side table.
const WIDE: u32 = u32::MAX;

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

/// What a pyramid says of 8, 64, … intervals.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// When the first began.
    pub start: Nanos,
    /// When the last ended.
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
    pub fn longest(&self) -> f32 {
        f32::from_bits(u32::from(self.longest) << 16)
    }
}

impl Summary for Node {
    fn merge(children: &[Self]) -> Option<Self> {
        let mut node = *children.first()?;
        for child in &children[1..] {
            node.end = child.end;
            node.busy += child.busy;
            if child.longest > node.longest {
                node.longest = child.longest;
                node.key = child.key;
            }
        }
        Some(node)
    }

    fn start(&self) -> Nanos {
        self.start
    }
}

/// Values that do not fit 32 bits, by index.
#[derive(Clone, Debug, Default)]
struct Wide {
    starts: Vec<(u32, Nanos)>,
    durations: Vec<(u32, Nanos)>,
}

/// The columns of a complete group. What a walk looks at comes first.
#[derive(Clone, Debug)]
struct Group {
    starts: [u32; FAN_OUT],
    durations: [u32; FAN_OUT],
    keys: [u16; FAN_OUT],
    extras: [u32; FAN_OUT],
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Row {
    groups: Segmented<Group>,
    pyramid: Pyramid<Node>,
    /// The intervals of the group that is not complete.
    tail: Vec<Entry>,
    wide: Option<Box<Wide>>,
    /// Complete groups.
    complete: u32,
    /// Segments of groups whose columns were forgotten.
    forgotten: u32,
    /// The end of the last interval.
    last_end: Nanos,
    open: Option<Open>,
}

impl Default for Row {
    fn default() -> Self {
        Row::new()
    }
}

impl Row {
    /// A row with nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Row {
            groups: Segmented::new(),
            pyramid: Pyramid::new(),
            tail: Vec::new(),
            wide: None,
            complete: 0,
            forgotten: 0,
            last_end: Nanos::MIN,
            open: None,
        }
    }

    /// Gives up the columns of intervals that ended before `time`, in pieces of 256, and returns how many: they are
    /// entries no more, and a walk shows them as cells at every zoom.
    pub fn forget_before(&mut self, time: Nanos) -> usize {
        let before = self.forgotten;
        while let last = (self.forgotten as usize + 1) * SEGMENT - 1
            && self.pyramid.level(0).get(last).is_some_and(|node| node.end < time)
        {
            self.groups.forget(self.forgotten as usize);
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
        self.complete as usize * FAN_OUT + self.tail.len()
    }

    /// Whether nothing ever began here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.open.is_none()
    }

    /// The interval that has not ended.
    #[must_use]
    pub fn open(&self) -> Option<Open> {
        self.open
    }

    /// Begins an interval, in place of one that may be open.
    pub fn begin(&mut self, start: Nanos, key: u16, extra: u32) {
        self.open = Some(Open { start: start.max(self.last_end), key, extra });
    }

    /// Ends the open interval; does nothing where none is open.
    pub fn end(&mut self, end: Nanos, uncertain: bool) {
        if let Some(open) = self.open.take() {
            self.append(open.start, end, open.key, open.extra, uncertain);
        }
    }

    /// Forgets the open interval.
    pub fn abandon(&mut self) {
        self.open = None;
    }

    /// Appends a whole interval. Beyond 2^32 - 16 of them it is dropped.
    pub fn push(&mut self, start: Nanos, end: Nanos, key: u16, extra: u32) {
        self.append(start, end, key, extra, false);
    }

    #[inline]
    fn append(&mut self, start: Nanos, end: Nanos, key: u16, extra: u32, uncertain: bool) {
        if self.complete as usize >= u32::MAX as usize / FAN_OUT - 1 {
            return;
        }
        let start = start.max(self.last_end);
        let end = end.max(start);
        self.last_end = end;
        self.tail.push(Entry { start, end, key: key & !UNCERTAIN, extra, uncertain });
        if self.tail.len() == FAN_OUT {
            self.complete_group();
        }
    }

    /// Turns the tail into columns and a node.
    fn complete_group(&mut self) {
        let Some(first) = self.tail.first() else { return };
        let mut group =
            Group { starts: [0; FAN_OUT], durations: [0; FAN_OUT], keys: [0; FAN_OUT], extras: [0; FAN_OUT] };
        let mut node = Node { start: first.start, end: self.last_end, busy: 0.0, key: first.key, longest: 0 };
        let (mut busy, mut longest) = (0, -1);
        let narrow = |value: Nanos| u32::try_from(value).unwrap_or(WIDE);
        for (i, entry) in self.tail.iter().enumerate() {
            let duration = entry.end - entry.start;
            group.starts[i] = narrow(entry.start - node.start);
            group.durations[i] = narrow(duration);
            group.keys[i] = entry.key | if entry.uncertain { UNCERTAIN } else { 0 };
            group.extras[i] = entry.extra;
            if group.starts[i] == WIDE || group.durations[i] == WIDE {
                let index = self.index(i);
                let wide = self.wide.get_or_insert_default();
                wide.starts.push((index, entry.start));
                wide.durations.push((index, duration));
            }
            busy += duration;
            if duration > longest {
                longest = duration;
                node.key = entry.key;
            }
        }
        node.busy = busy as f32;
        node.longest = u16::try_from((longest as f32).to_bits() >> 16).unwrap_or(0);
        self.tail.clear();
        self.groups.push(group);
        self.pyramid.push(node);
        self.complete += 1;
    }

    /// The index of the `i`th interval of the tail.
    fn index(&self, i: usize) -> u32 {
        u32::try_from(self.complete as usize * FAN_OUT + i).unwrap_or(u32::MAX)
    }

    pub(crate) fn pyramid(&self) -> &Pyramid<Node> {
        &self.pyramid
    }

    /// Calls `look` with the intervals of a group and their indices, in order, until it says `false`; it gets start, end,
    /// key and whether uncertain.
    #[inline]
    pub(crate) fn for_each_in(&self, group: usize, mut look: impl FnMut(u32, Nanos, Nanos, u16, bool) -> bool) -> bool {
        let first = u32::try_from(group * FAN_OUT).unwrap_or(u32::MAX);
        let (Some(columns), Some(node)) = (self.groups.get(group), self.pyramid.level(0).get(group)) else {
            let mut tail = (first..).zip(&self.tail);
            return group != self.complete as usize
                || tail.all(|(index, entry)| look(index, entry.start, entry.end, entry.key, entry.uncertain));
        };
        for (i, index) in (0..FAN_OUT).zip(first..) {
            let (start, duration) = match (columns.starts[i], columns.durations[i]) {
                (WIDE, _) | (_, WIDE) => self.wide_times(index, node.start),
                (start, duration) => (node.start + Nanos::from(start), Nanos::from(duration)),
            };
            let key = columns.keys[i];
            if !look(index, start, start + duration, key & !UNCERTAIN, key & UNCERTAIN != 0) {
                return false;
            }
        }
        true
    }

    /// Start and duration from the side table.
    #[cold]
    fn wide_times(&self, index: u32, base: Nanos) -> (Nanos, Nanos) {
        let look = |table: &[(u32, Nanos)]| {
            table.binary_search_by_key(&index, |&(at, _)| at).ok().and_then(|at| table.get(at)).map(|&(_, value)| value)
        };
        let wide = self.wide.as_deref();
        (
            wide.and_then(|wide| look(&wide.starts)).unwrap_or(base),
            wide.and_then(|wide| look(&wide.durations)).unwrap_or(0),
        )
    }

    /// The interval at `index`, `None` at [`Row::len`] and beyond, and for what was forgotten.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<Entry> {
        let (group, i) = (index / FAN_OUT, index % FAN_OUT);
        let Some(columns) = self.groups.get(group) else {
            return self.tail.get(index.checked_sub(self.complete as usize * FAN_OUT)?).copied();
        };
        let mut found = None;
        self.for_each_in(group, |at, start, end, key, uncertain| {
            found = Some(Entry { start, end, key, extra: columns.extras[i], uncertain });
            (at as usize) < index
        });
        found
    }

    /// All intervals that have ended and were not forgotten, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        (self.forgotten()..self.len()).map_while(|index| self.entry(index))
    }

    /// Calls `look` with every interval that has ended and its index, oldest first: a few nanoseconds each.
    pub fn scan(&self, mut look: impl FnMut(u32, &Entry)) {
        for group in self.forgotten as usize * SEGMENT..=self.complete as usize {
            let columns = self.groups.get(group);
            let mut i = 0;
            self.for_each_in(group, |index, start, end, key, uncertain| {
                let extra = match columns {
                    Some(columns) => columns.extras.get(i).copied(),
                    None => self.tail.get(i).map(|entry| entry.extra),
                };
                look(index, &Entry { start, end, key, extra: extra.unwrap_or(0), uncertain });
                i += 1;
                true
            });
        }
    }

    /// The index of the first interval that begins at or after `time`, among those not forgotten; [`Row::len`] where there
    /// is none.
    #[must_use]
    pub fn first_from(&self, time: Nanos) -> usize {
        // In the last group that begins before `time`, or at the beginning of the one after it.
        let before = self.pyramid.level(0).partition_point(|node| node.start < time);
        let in_tail = before == self.complete as usize && self.tail.first().is_some_and(|entry| entry.start < time);
        let group = if in_tail { before } else { before.saturating_sub(1) };
        let mut first = (group * FAN_OUT).max(self.forgotten());
        if first > group * FAN_OUT {
            return first;
        }
        self.for_each_in(group, |_, start, _, _, _| {
            first += usize::from(start < time);
            start < time
        });
        first
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

    /// What the columns and the pyramid take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.groups.memory_bytes()
            + self.pyramid.memory_bytes()
            + self.tail.capacity() * size_of::<Entry>()
            + self.wide.as_ref().map_or(0, |wide| (wide.starts.capacity() + wide.durations.capacity()) * 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_durations_beyond_32_bits_are_kept_exactly() {
        let mut row = Row::new();
        let step = 3_000_000_000;
        for i in 0..100 {
            row.push(i * 3 * step, i * 3 * step + i % 3 * step, 5, 9);
        }
        for i in 0..100 {
            let entry = row.entry(usize::try_from(i).unwrap()).unwrap();
            assert_eq!((entry.start, entry.end), (i * 3 * step, i * 3 * step + i % 3 * step));
        }
    }

    #[test]
    fn a_start_before_the_previous_end_is_moved_to_it() {
        let mut row = Row::new();
        row.push(0, 100, 1, 0);
        row.push(50, 80, 1, 0);
        assert_eq!(row.entry(1).map(|e| (e.start, e.end)), Some((100, 100)));
    }

    #[test]
    fn the_first_interval_from_a_time_is_what_a_scan_finds() {
        let mut row = Row::new();
        let starts: Vec<Nanos> = (0..1000).map(|i| i * 10 + i % 7).collect();
        for (n, &start) in starts.iter().enumerate() {
            for probe in [start - 1, start, start + 1, -5] {
                assert_eq!(row.first_from(probe), starts[..n].iter().filter(|&&s| s < probe).count(), "{n} {probe}");
            }
            row.push(start, start + 3, 0, 0);
        }
        for time in -10..10_050 {
            let scan = starts.iter().position(|&s| s <= time && time < s + 3);
            assert_eq!(row.at(time), scan, "{time}");
        }
        let mut scanned = Vec::new();
        row.scan(|index, entry| scanned.push((index, *entry)));
        assert_eq!(scanned, (0..).zip(row.entries()).collect::<Vec<_>>());
        for time in -10..10_050 {
            assert_eq!(row.first_from(time), starts.iter().filter(|&&s| s < time).count(), "{time}");
        }
    }

    #[test]
    fn a_plain_interval_takes_less_than_nineteen_bytes_in_a_long_row() {
        let mut row = Row::new();
        for i in 0..1_000_000 {
            row.push(i * 100, i * 100 + 50, 1, 0);
        }
        assert!(row.memory_bytes() < 18_500_000, "{}", row.memory_bytes());
        assert_eq!(size_of::<Group>(), 14 * FAN_OUT);
        assert_eq!(size_of::<Node>(), 24);
    }
}
