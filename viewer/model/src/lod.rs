//! What of a row can be seen: intervals of a pixel or more one by one, everything narrower as one cell per pixel column.
//!
//! The cost follows the pixels, not the intervals: a node of the pyramid that is narrower than three pixels, and sums up
//! nothing of a pixel, is spread over its columns without a look at what it sums up. Invariants: spans and cells come in time order, at most one cell per column,
//! and what they cover together is what the row's intervals cover in the view: to the rounding of `f32` in all, to less
//! than one pixel at any column.
//!
//! ```
//! use fata_model::columns::Row;
//! use fata_model::lod::{View, Visible};
//! let mut row = Row::new();
//! (0..1_000_000).for_each(|i| row.push(i * 10, i * 10 + 5, 3, 0));
//! let mut visible = Visible::default(); // kept from frame to frame
//! row.visible(&View { from: 0, to: 10_000_000, columns: 100 }, 10_000_000, &mut visible);
//! assert_eq!((visible.spans.len(), visible.cells.len()), (0, 100));
//! assert!((visible.cells[50].share - 0.5).abs() < 0.01);
//! ```

use crate::columns::{FAN_OUT, LEAVES, Node, Row, Times};
use crate::pyramid::{Descend, Visit};
use crate::time::Nanos;

/// A time range on so many physical pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The left edge.
    pub from: Nanos,
    /// The right edge.
    pub to: Nanos,
    /// Pixel columns between them.
    pub columns: u32,
}

impl View {
    /// Columns per nanosecond; 0 for a view that is empty.
    #[must_use]
    pub fn scale(&self) -> f64 {
        let nanos = self.to.saturating_sub(self.from);
        if nanos <= 0 { 0.0 } else { f64::from(self.columns) / nanos as f64 }
    }

    /// Where `time` lies, in columns from the left edge.
    #[must_use]
    pub fn x(&self, time: Nanos) -> f64 {
        time.saturating_sub(self.from) as f64 * self.scale()
    }
}

/// An interval of at least one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began; may lie before the view.
    pub start: Nanos,
    /// When it ended; the trace's end for one that is open.
    pub end: Nanos,
    /// Its index in the row; [`Span::OPEN`] for one that has not ended.
    pub index: u32,
    /// As [`Entry::key`](crate::columns::Entry::key).
    pub key: u16,
    /// Events were discarded while it was open.
    pub uncertain: bool,
}

impl Span {
    /// The index of an interval that has not ended.
    pub const OPEN: u32 = u32::MAX;
}

/// The narrow intervals of one pixel column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Which column of the view.
    pub column: u32,
    /// How many intervals begin here, or are cut off by the view's left edge; 0 where one only reaches into the column.
    pub count: u32,
    /// The part of the column that they cover, 0 to 1; nothing where all of them are [quiet](Row::with_quiet).
    pub share: f32,
    /// The key of the longest of them.
    pub key: u16,
    /// The index of the first of them.
    pub first: u32,
}

/// What can be seen of one row. Keep it from frame to frame: its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Visible {
    /// Intervals of a pixel or more.
    pub spans: Vec<Span>,
    /// Columns with narrower ones.
    pub cells: Vec<Cell>,
    /// One for each column while a walk adds to them; empty ones between walks.
    filling: Vec<Part>,
}

/// A walk in progress.
struct Walker<'a> {
    from: Nanos,
    to: Nanos,
    scale: f64,
    last_column: u32,
    /// Intervals with this key cover nothing.
    quiet: u16,
    /// A nanosecond, in columns: what reaches less far into the next column does not reach into it.
    nano: f64,
    /// Narrower ones go into cells.
    pixel_nanos: Nanos,
    /// Nodes this wide are looked into: three pixels, so that nothing is shown a pixel away from its place.
    wide_nanos: Nanos,
    filling: &'a mut [Part],
    /// The columns to which anything was added lie between these.
    low: u32,
    high: u32,
    /// The group that is looked at.
    times: Times,
    spans: &'a mut Vec<Span>,
}

/// A cell that is being filled, or what is added to it.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// The covered part of the column.
    pixels: f32,
    /// The longest's nanoseconds; below 0 where there is nothing.
    longest: f32,
    first: u32,
    count: u32,
    key: u16,
}

const NOTHING: Part = Part { pixels: 0.0, longest: -1.0, first: u32::MAX, count: 0, key: 0 };

/// Intervals per node of the lowest level.
const NODE: usize = LEAVES * FAN_OUT;

impl Row {
    /// Puts into `out` what of this row can be seen in `view`; `now` is where an open interval ends.
    pub fn visible(&self, view: &View, now: Nanos, out: &mut Visible) {
        let Visible { spans, cells, filling } = out;
        spans.clear();
        cells.clear();
        let scale = view.scale();
        if scale <= 0.0 || view.columns == 0 {
            return;
        }
        let columns = usize::try_from(view.columns).unwrap_or(usize::MAX);
        // What reaches beyond the last column ends in one that is never shown.
        if filling.len() <= columns {
            filling.resize(columns + 1, NOTHING);
        }
        let mut walker = Walker {
            from: view.from,
            to: view.to,
            scale,
            last_column: view.columns - 1,
            quiet: self.quiet(),
            nano: scale.max(1e-6),
            pixel_nanos: nanos_ceil(1.0 / scale),
            wide_nanos: nanos_ceil(3.0 / scale),
            filling,
            low: u32::MAX,
            high: 0,
            times: Times::EMPTY,
            spans,
        };
        self.pyramid().walk(&mut |visit| match visit {
            Visit::Node { node, first, count } => walker.node(node, first * NODE, count * NODE),
            Visit::Group(leaves) => walker.leaves(self, leaves),
        });
        if self.tail_reaches(view.from, view.to) {
            (self.leaves()..self.groups()).for_each(|group| walker.group(self, group));
        }
        if let Some(open) = self.open() {
            walker.interval(open.start, now.max(open.start), open.key, Span::OPEN, false);
        }
        let (low, high) = (walker.low, walker.high.min(walker.last_column));
        let touched = filling.get_mut(low as usize..=high as usize).unwrap_or(&mut []);
        cells.resize(touched.len(), Cell { column: 0, count: 0, share: 0.0, key: 0, first: 0 });
        let mut filled = 0;
        for (cell, column) in touched.iter_mut().zip(low..) {
            let Part { pixels, longest, first, count, key } = *cell;
            // Whether a column is empty is anybody's guess, so nothing is made to depend on it.
            if let Some(next) = cells.get_mut(filled) {
                *next = Cell { column, count, share: pixels.clamp(0.0, 1.0), key, first };
            }
            filled += usize::from(longest >= 0.0);
            *cell = NOTHING;
        }
        if let Some(beyond) = filling.get_mut(columns) {
            *beyond = NOTHING;
        }
        cells.truncate(filled);
    }
}

impl Walker<'_> {
    /// What a walk does about a node: `first` is the index of its first interval, `count` how many they are.
    #[inline]
    fn node(&mut self, node: &Node, first: usize, count: usize) -> Descend {
        if node.end < self.from {
            return Descend::Skip;
        }
        if node.start >= self.to {
            return Descend::Stop;
        }
        let nanos = node.end - node.start;
        if nanos >= self.wide_nanos || (nanos >= self.pixel_nanos && node.longest_at_most() >= self.pixel_nanos as f32)
        {
            return Descend::Into;
        }
        self.summary(node, u32::try_from(first).unwrap_or(u32::MAX), u32::try_from(count).unwrap_or(u32::MAX));
        Descend::Skip
    }

    /// The leaves that one node stands for, or that no node stands for yet.
    fn leaves(&mut self, row: &Row, node: usize) -> Descend {
        for (group, leaf) in row.leaves_of(node) {
            match self.node(&leaf, group * FAN_OUT, FAN_OUT) {
                Descend::Into => self.group(row, group),
                Descend::Stop => return Descend::Stop,
                Descend::Skip => {}
            }
        }
        Descend::Skip
    }

    /// The intervals of a group one by one.
    fn group(&mut self, row: &Row, group: usize) {
        let first = u32::try_from(group * FAN_OUT).unwrap_or(u32::MAX);
        if !row.times(group, &mut self.times) {
            // Forgotten: nothing more is known of it.
            if let Some(leaf) = row.leaf(group) {
                self.summary(&leaf, first, u32::try_from(FAN_OUT).unwrap_or(0));
            }
            return;
        }
        for (i, index) in (0..self.times.len.min(FAN_OUT)).zip(first..) {
            let Times { starts, ends, keys, .. } = &self.times;
            let (start, end, key) = (starts[i], ends[i], keys[i]);
            self.interval(start, end, key, index, self.times.is_uncertain(i));
        }
    }

    #[inline]
    fn interval(&mut self, start: Nanos, end: Nanos, key: u16, index: u32, uncertain: bool) {
        let nanos = end - start;
        // What merely touches the left edge is not in the view; an instant on it is.
        if start >= self.to || end < self.from || (end == self.from && nanos > 0) {
            return;
        }
        if nanos >= self.pixel_nanos {
            self.spans.push(Span { start, end, index, key, uncertain });
            return;
        }
        // Into the column it begins in and the next one, whether it reaches there or not: nobody can guess that.
        let (x0, x1) = (self.x(start).max(0.0), self.x(end));
        let at = column(x0).min(self.last_column);
        let edge = f64::from(at + 1);
        let over = if x1 - edge >= self.nano { x1 - edge } else { 0.0 };
        let weight = if key == self.quiet { 0.0 } else { 1.0 };
        let longest = nanos as f32 * weight;
        self.add(at, Part { pixels: single(x1 - x0 - over) * weight, longest, key, first: index, count: 1 });
        let longest = if over > 0.0 { longest } else { NOTHING.longest };
        self.add(at + 1, Part { pixels: single(over) * weight, longest, key, first: index, count: 0 });
    }

    /// Adds a node to its columns, evenly.
    #[inline]
    fn summary(&mut self, node: &Node, first: u32, count: u32) {
        let (x0, x1) = (self.x(node.start), self.x(node.end));
        let (mut from, end) = (x0.max(0.0), x1.min(f64::from(self.last_column + 1)));
        let (mut at, last) = (column(from).min(self.last_column), column(end - self.nano));
        let pixels = f64::from(node.busy) * self.scale;
        let mut part = Part { pixels: single(pixels), longest: node.longest(), key: node.key, first, count };
        if at >= last && from == x0 {
            self.add(at, part);
            return;
        }
        let density = pixels / (x1 - x0).max(self.nano);
        loop {
            let edge = f64::from(at + 1).min(end);
            part.pixels = single(density * (edge - from).max(0.0));
            self.add(at, part);
            if at >= last {
                return;
            }
            (from, part.count) = (edge, 0);
            at += 1;
        }
    }

    #[inline]
    fn add(&mut self, column: u32, part: Part) {
        let Some(cell) = self.filling.get_mut(column as usize) else { return };
        self.low = self.low.min(column);
        self.high = self.high.max(column);
        cell.pixels += part.pixels;
        cell.count = cell.count.saturating_add(part.count);
        let first = if part.longest < 0.0 { u32::MAX } else { part.first };
        cell.first = cell.first.min(first);
        cell.key = if part.longest > cell.longest { part.key } else { cell.key };
        cell.longest = cell.longest.max(part.longest);
    }

    /// Where `time` lies, in columns from the left edge.
    #[inline]
    fn x(&self, time: Nanos) -> f64 {
        (time - self.from) as f64 * self.scale
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float's cast saturates; columns are few")]
#[expect(clippy::cast_sign_loss, reason = "left of the view is column 0")]
pub(crate) fn column(x: f64) -> u32 {
    x as u32
}

pub(crate) fn nanos_ceil(nanos: f64) -> Nanos {
    nanos_ceil_or_zero(nanos).max(1)
}

#[expect(clippy::cast_possible_truncation, reason = "a float's cast saturates")]
fn nanos_ceil_or_zero(nanos: f64) -> Nanos {
    // `ceil` is a call on processors that need not have the instruction.
    let whole = nanos as Nanos;
    whole.saturating_add(Nanos::from((whole as f64) < nanos))
}

#[expect(clippy::cast_possible_truncation, reason = "shading needs no more digits")]
fn single(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests;
