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

use crate::columns::{Node, Row};
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
    longest: f32,
}

/// What can be seen of one row. Keep it from frame to frame: its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Visible {
    /// Intervals of a pixel or more.
    pub spans: Vec<Span>,
    /// Columns with narrower ones.
    pub cells: Vec<Cell>,
}

/// A walk in progress.
struct Walker<'a> {
    from: Nanos,
    to: Nanos,
    scale: f64,
    last_column: u32,
    pixel_nanos: Nanos,
    out: &'a mut Visible,
}

/// Something narrower than a pixel: one interval, or a node.
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
            last_column: view.columns.saturating_sub(1),
            pixel_nanos: nanos_ceil(1.0 / scale),
            out,
        };
        self.pyramid().walk(self.len(), &mut |visit| match visit {
            Visit::Node { node, first, count } => walker.node(node, first, count),
            Visit::Group(group) => walker.group(self, group),
        });
        if let Some(open) = self.open() {
            walker.interval(open.start, now.max(open.start), open.key, false, Span::OPEN);
        }
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
        let group = row.group(group);
        for (i, index) in (0..group.starts.len()).zip(group.first..) {
            let Some((start, end)) = group.times(i) else { break };
            if end < self.from {
                continue;
            }
            if start >= self.to {
                return Descend::Stop;
            }
            let (key, uncertain) = group.key(i);
            self.interval(start, end, key, uncertain, index);
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
        let x0 = (narrow.start - self.from) as f64 * self.scale;
        let x1 = (narrow.end - self.from) as f64 * self.scale;
        let (left, right) = (column(x0), column(x1).min(self.last_column));
        let covered = narrow.busy * self.scale;
        if left >= right && x0 >= 0.0 {
            self.add(right, covered, narrow, narrow.count);
            return;
        }
        // It crosses a column's edge, or the view's left one: in proportion.
        let width = (x1 - x0).max(f64::MIN_POSITIVE);
        if x0 < 0.0 {
            self.add(right, covered * (x1 / width).clamp(0.0, 1.0), narrow, narrow.count);
        } else {
            let before = ((f64::from(right) - x0) / width).clamp(0.0, 1.0);
            self.add(left, covered * before, narrow, narrow.count);
            let after = (1.0 - before).min((f64::from(self.last_column) + 1.0 - f64::from(right)) / width);
            if after > 0.0 {
                self.add(right, covered * after, narrow, 0);
            }
        }
    }

    #[inline]
    fn add(&mut self, column: u32, share: f64, narrow: &Narrow, count: u32) {
        let share = single(share);
        match self.out.cells.last_mut() {
            Some(cell) if cell.column >= column => {
                cell.share = (cell.share + share).min(1.0);
                cell.count = cell.count.saturating_add(count);
                if narrow.longest > cell.longest {
                    cell.longest = narrow.longest;
                    cell.key = narrow.key;
                }
            }
            _ => self.out.cells.push(Cell {
                column,
                count,
                share: share.min(1.0),
                key: narrow.key,
                first: narrow.first,
                longest: narrow.longest,
            }),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float's cast saturates; columns are few")]
#[expect(clippy::cast_sign_loss, reason = "left of the view is column 0")]
pub(crate) fn column(x: f64) -> u32 {
    x as u32
}

#[expect(clippy::cast_possible_truncation, reason = "a float's cast saturates")]
pub(crate) fn nanos_ceil(nanos: f64) -> Nanos {
    (nanos.ceil() as Nanos).max(1)
}

#[expect(clippy::cast_possible_truncation, reason = "shading needs no more digits")]
fn single(x: f64) -> f32 {
    x as f32
}
