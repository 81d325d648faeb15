//! What of a row can be seen: intervals of a pixel or more one by one, everything narrower as one cell per pixel column.
//!
//! The cost follows the pixels, not the intervals: a node of the pyramid that is narrower than a pixel is added to its
//! column without a look at what it sums up. Invariants: spans and cells come in time order, at most one cell per column,
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

use crate::columns::{FAN_OUT, Node, Row};
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
    /// The part of the column that they cover, 0 to 1.
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
}

/// A walk in progress. The column that is being filled covers the times `column_from..column_to`.
struct Walker<'a> {
    from: Nanos,
    to: Nanos,
    scale: f64,
    column_nanos: f64,
    last_column: u32,
    /// Narrower ones go into cells.
    pixel_nanos: Nanos,
    column_to: Nanos,
    cell: Filling,
    out: &'a mut Visible,
}

/// A cell that is being filled.
#[derive(Clone, Copy)]
struct Filling {
    column: u32,
    count: u32,
    busy: f64,
    longest: f32,
    key: u16,
    first: u32,
}

const NOTHING: Filling = Filling { column: 0, count: 0, busy: 0.0, longest: -1.0, key: 0, first: 0 };

/// Something narrower than a pixel: one interval, or a node.
#[derive(Clone, Copy)]
struct Narrow {
    start: Nanos,
    end: Nanos,
    /// Covered nanoseconds.
    busy: f64,
    longest: f32,
    key: u16,
    first: u32,
    count: u32,
}

impl Row {
    /// Puts into `out` what of this row can be seen in `view`; `now` is where an open interval ends.
    pub fn visible(&self, view: &View, now: Nanos, out: &mut Visible) {
        out.spans.clear();
        out.cells.clear();
        let scale = view.scale();
        if scale <= 0.0 {
            return;
        }
        let mut walker = Walker {
            from: view.from,
            to: view.to,
            scale,
            column_nanos: 1.0 / scale,
            last_column: view.columns.saturating_sub(1),
            pixel_nanos: nanos_ceil(1.0 / scale),
            column_to: Nanos::MIN,
            cell: NOTHING,
            out,
        };
        self.pyramid().walk(self.len(), &mut |visit| match visit {
            Visit::Node { node, first, count } => walker.node(node, first, count),
            Visit::Group(group) => walker.group(self, group),
        });
        if let Some(open) = self.open() {
            walker.interval(open.start, now.max(open.start), open.key, false, Span::OPEN);
        }
        walker.flush();
    }
}

impl Walker<'_> {
    #[inline]
    fn node(&mut self, node: &Node, first: usize, count: usize) -> Descend {
        if node.end < self.from {
            return Descend::Skip;
        }
        if node.start >= self.to {
            return Descend::Stop;
        }
        if node.end - node.start >= self.pixel_nanos {
            return Descend::Into;
        }
        self.narrow(&Narrow {
            start: node.start,
            end: node.end,
            busy: f64::from(node.busy),
            longest: node.longest(),
            key: node.key,
            first: u32::try_from(first).unwrap_or(u32::MAX),
            count: u32::try_from(count).unwrap_or(u32::MAX),
        });
        Descend::Skip
    }

    #[inline]
    fn group(&mut self, row: &Row, group: usize) -> Descend {
        if (group + 1) * FAN_OUT <= row.forgotten()
            && let Some(node) = row.pyramid().level(0).get(group)
        {
            return self.smear(node, group * FAN_OUT);
        }
        let whole = row.for_each_in(group, |index, start, end, key, uncertain| {
            self.interval(start, end, key, uncertain, index);
            start < self.to
        });
        if whole { Descend::Skip } else { Descend::Stop }
    }

    /// Spreads a node of which nothing more is known evenly over its columns.
    fn smear(&mut self, node: &Node, first: usize) -> Descend {
        let density = f64::from(node.busy) / (node.end - node.start).max(1) as f64;
        let mut from = node.start.max(self.from);
        let mut count = u32::try_from(FAN_OUT).unwrap_or(0);
        while from < node.end.min(self.to) {
            if from >= self.column_to {
                self.flush();
                self.open_column(from);
            }
            let to = node.end.min(self.column_to);
            let narrow = Narrow {
                start: from,
                end: to,
                busy: density * (to - from) as f64,
                longest: node.longest(),
                key: node.key,
                first: u32::try_from(first).unwrap_or(u32::MAX),
                count,
            };
            self.cell.add(&narrow, narrow.busy, count);
            count = 0;
            from = to;
        }
        Descend::Skip
    }

    #[inline]
    fn interval(&mut self, start: Nanos, end: Nanos, key: u16, uncertain: bool, index: u32) {
        let nanos = end - start;
        // What merely touches the left edge is not in the view; an instant on it is.
        if start >= self.to || end < self.from || (end == self.from && nanos > 0) {
            return;
        }
        if nanos >= self.pixel_nanos {
            self.out.spans.push(Span { start, end, index, key, uncertain });
        } else {
            self.narrow(&Narrow { start, end, busy: nanos as f64, longest: nanos as f32, key, first: index, count: 1 });
        }
    }

    /// Adds something narrower than a pixel to the one or two columns it lies in.
    #[inline]
    fn narrow(&mut self, narrow: &Narrow) {
        // Times only grow, so nothing lies before the column that is being filled.
        if narrow.end <= self.column_to && narrow.start < self.column_to {
            self.cell.add(narrow, narrow.busy, narrow.count);
        } else {
            self.narrow_elsewhere(narrow);
        }
    }

    fn narrow_elsewhere(&mut self, narrow: &Narrow) {
        let start = narrow.start.max(self.from);
        if start >= self.column_to {
            self.flush();
            self.open_column(start);
        }
        let edge = self.column_to;
        if narrow.end <= edge && start == narrow.start {
            self.cell.add(narrow, narrow.busy, narrow.count);
            return;
        }
        // Cut by a column's edge, or by the view's left one: in proportion.
        let density = narrow.busy / (narrow.end - narrow.start).max(1) as f64;
        self.cell.add(narrow, density * (narrow.end.min(edge) - start) as f64, narrow.count);
        if narrow.end > edge && edge < self.to && self.cell.column < self.last_column {
            let next = self.cell.column + 1;
            self.flush();
            self.open(next, self.edge(next + 1).max(edge + 1));
            self.cell.add(narrow, density * (narrow.end.min(self.column_to) - edge) as f64, 0);
        }
    }

    /// When column `column` begins.
    #[inline]
    fn edge(&self, column: u32) -> Nanos {
        self.from + nanos_ceil_or_zero(f64::from(column) * self.column_nanos)
    }

    /// Begins to fill the column in which `time` lies.
    #[inline]
    fn open_column(&mut self, time: Nanos) {
        let mut at = column((time - self.from) as f64 * self.scale).min(self.last_column);
        let mut to = self.edge(at + 1);
        // The two roundings may disagree by one.
        if to <= time && at < self.last_column {
            at += 1;
            to = self.edge(at + 1);
        }
        self.open(at, to.max(time + 1));
    }

    /// Begins to fill column `at`, which ends at `to`.
    #[inline]
    fn open(&mut self, at: u32, to: Nanos) {
        self.column_to = if at == self.last_column { self.to } else { to };
        self.cell = Filling { column: at, ..NOTHING };
    }

    #[inline]
    fn flush(&mut self) {
        let Filling { column, count, busy, longest, key, first } = self.cell;
        if longest < 0.0 {
            return;
        }
        let share = single((busy * self.scale).clamp(0.0, 1.0));
        self.cell = NOTHING;
        match self.out.cells.last_mut() {
            // Columns narrower than a nanosecond.
            Some(last) if last.column >= column => {
                last.count = last.count.saturating_add(count);
                last.share = (last.share + share).min(1.0);
            }
            _ => self.out.cells.push(Cell { column, count, share, key, first }),
        }
    }
}

impl Filling {
    #[inline]
    fn add(&mut self, narrow: &Narrow, busy: f64, count: u32) {
        if self.longest < 0.0 {
            self.first = narrow.first;
        }
        self.busy += busy;
        self.count = self.count.saturating_add(count);
        if narrow.longest > self.longest {
            self.longest = narrow.longest;
            self.key = narrow.key;
        }
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
