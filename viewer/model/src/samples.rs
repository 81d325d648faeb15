//! A counter's values over time as columns, about five bytes each, with a pyramid of minimum, maximum and last value.
//!
//! A counter keeps its value until the next sample. Invariant: samples lie in time order (a forged earlier one is moved
//! forward). Values are doubles: exact up to 2^53, nine petabytes.
//!
//! ```
//! use fata_model::{lod::View, samples::Samples};
//! let mut samples = Samples::default();
//! samples.push(10, 4.0);
//! samples.push(20, 7.0);
//! let mut columns = Vec::new();
//! samples.visible(&View { from: 0, to: 40, columns: 4 }, &mut columns);
//! assert_eq!((columns[0].column, columns[1].last), (1, 7.0));
//! ```

use crate::columns::FAN_OUT;
use crate::columns::packed::Packed;
use crate::lod::{View, column, nanos_ceil};
use crate::pyramid::{Descend, Pyramid, Summary, Visit};
use crate::time::Nanos;

/// What a pyramid says of 8, 64, … samples.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: Nanos,
    end: Nanos,
    min: f64,
    max: f64,
    last: f64,
}

impl Summary for Node {
    fn merge(children: &[Self]) -> Option<Self> {
        let mut node = *children.first()?;
        for child in &children[1..] {
            node.end = child.end;
            node.min = node.min.min(child.min);
            node.max = node.max.max(child.max);
            node.last = child.last;
        }
        Some(node)
    }

    fn start(&self) -> Nanos {
        self.start
    }
}

/// The samples of one pixel column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// Which column of the view. The value before the view, if there is one, is in column 0.
    pub column: u32,
    /// The least value sampled in the column.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The value that the counter had at the column's end, and keeps until the next one in the list.
    pub last: f64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Distances from the group's first time; and values, whole ones as the distance from the least where that has 32 bits,
    /// others as they are.
    groups: Packed<2>,
    pyramid: Pyramid<Node>,
    /// The samples of the group that is not complete.
    tail: Vec<(Nanos, f64)>,
    last: Option<(Nanos, f64)>,
    range: Option<(f64, f64)>,
}

impl Default for Samples {
    fn default() -> Self {
        Samples { groups: Packed::new(), pyramid: Pyramid::new(), tail: Vec::new(), last: None, range: None }
    }
}

impl Samples {
    /// How many samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.groups() * FAN_OUT + self.tail.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a sample. Beyond 2^32 - 16 of them it is dropped; a value that is no number counts as 0.
    pub fn push(&mut self, time: Nanos, value: f64) {
        if self.groups.groups() >= u32::MAX as usize / FAN_OUT - 1 {
            return;
        }
        let value = if value.is_finite() { value } else { 0.0 };
        let time = self.last.map_or(time, |(last, _)| time.max(last));
        self.last = Some((time, value));
        self.range = Some(self.range.map_or((value, value), |(min, max)| (min.min(value), max.max(value))));
        self.tail.push((time, value));
        if self.tail.len() == FAN_OUT {
            self.complete_group();
        }
    }

    /// Turns the tail into columns and a node.
    fn complete_group(&mut self) {
        let Some(&(start, first)) = self.tail.first() else { return };
        let mut node = Node { start, end: start, min: first, max: first, last: first };
        for &(time, value) in &self.tail {
            node = Node { start, end: time, min: node.min.min(value), max: node.max.max(value), last: value };
        }
        let whole = self.tail.iter().all(|&(_, value)| is_whole(value));
        let near = whole && node.min >= -EXACT && node.max <= EXACT && node.max - node.min <= f64::from(u32::MAX);
        let mut columns = [[0; FAN_OUT]; 2];
        for (i, &(time, value)) in self.tail.iter().enumerate() {
            columns[0][i] = time.abs_diff(start);
            columns[1][i] = if near { distance(node.min, value) } else { value.to_bits() };
        }
        self.tail.clear();
        self.groups.push(start, &columns);
        self.pyramid.push(node);
    }

    /// The youngest sample.
    #[must_use]
    pub fn last(&self) -> Option<(Nanos, f64)> {
        self.last
    }

    /// The least and the greatest value of all.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// The samples of a group, complete or not.
    fn group(&self, group: usize) -> Group {
        let mut samples = [(0, 0.0); FAN_OUT];
        let (Some((start, [times, values])), Some(node)) = (self.groups.get(group), self.pyramid.level(0).get(group))
        else {
            let tail = if group == self.groups.groups() { &self.tail[..] } else { &[] };
            samples.iter_mut().zip(tail).for_each(|(sample, kept)| *sample = *kept);
            return Group { samples, len: tail.len() };
        };
        let wide = self.groups.is_wide(group, 1);
        for (i, sample) in samples.iter_mut().enumerate() {
            let value = if wide { f64::from_bits(values[i]) } else { node.min + values[i] as f64 };
            *sample = (start + times[i].cast_signed(), value);
        }
        Group { samples, len: FAN_OUT }
    }

    /// The sample at `index`.
    #[must_use]
    pub fn sample(&self, index: usize) -> Option<(Nanos, f64)> {
        self.group(index / FAN_OUT).list().get(index % FAN_OUT).copied()
    }

    /// All samples, oldest first.
    pub fn samples(&self) -> impl Iterator<Item = (Nanos, f64)> {
        (0..self.len()).map_while(|index| self.sample(index))
    }

    /// The value at `time`, with the index of its sample; `None` before the first.
    #[must_use]
    pub fn at(&self, time: Nanos) -> Option<(usize, f64)> {
        let before = self.pyramid.level(0).partition_point(|node| node.start <= time);
        let in_tail = before == self.groups.groups() && self.tail.first().is_some_and(|(start, _)| *start <= time);
        let group = if in_tail { before } else { before.saturating_sub(1) };
        let samples = self.group(group);
        let within = samples.list().iter().take_while(|(at, _)| *at <= time).count().checked_sub(1)?;
        let (_, value) = *samples.list().get(within)?;
        Some((group * FAN_OUT + within, value))
    }

    /// Puts into `out` the columns of `view` in which the counter was sampled, in order; the value before the view comes
    /// first, in column 0.
    pub fn visible(&self, view: &View, out: &mut Vec<Column>) {
        out.clear();
        let scale = view.scale();
        if scale <= 0.0 {
            return;
        }
        let mut add = |time: Nanos, min: f64, max: f64, last: f64| {
            let at = column((time - view.from) as f64 * scale).min(view.columns.saturating_sub(1));
            match out.last_mut() {
                Some(column) if column.column >= at => {
                    column.min = column.min.min(min);
                    column.max = column.max.max(max);
                    column.last = last;
                }
                _ => out.push(Column { column: at, min, max, last }),
            }
        };
        if let Some((_, value)) = view.from.checked_sub(1).and_then(|before| self.at(before)) {
            add(view.from, value, value, value);
        }
        let pixel_nanos = nanos_ceil(1.0 / scale);
        self.pyramid.walk(&mut |visit| match visit {
            Visit::Node { node, .. } if node.end < view.from => Descend::Skip,
            Visit::Node { node, .. } if node.start >= view.to => Descend::Stop,
            // A node within one column; one that crosses an edge is looked into.
            Visit::Node { node, .. }
                if node.start >= view.from
                    && node.end - node.start < pixel_nanos
                    && column((node.start - view.from) as f64 * scale)
                        == column((node.end - view.from) as f64 * scale) =>
            {
                add(node.start, node.min, node.max, node.last);
                Descend::Skip
            }
            Visit::Node { .. } => Descend::Into,
            Visit::Group(group) => {
                for &(time, value) in self.group(group).list() {
                    if time >= view.to {
                        return Descend::Stop;
                    }
                    if time >= view.from {
                        add(time, value, value, value);
                    }
                }
                Descend::Skip
            }
        });
    }

    /// Gives back the room for what does not come any more.
    pub(crate) fn shrink(&mut self) {
        self.pyramid.shrink();
    }

    /// What the columns and the pyramid take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.groups.memory_bytes() + self.pyramid.memory_bytes() + self.tail.capacity() * size_of::<(Nanos, f64)>()
    }
}

/// Samples that were looked up together.
struct Group {
    samples: [(Nanos, f64); FAN_OUT],
    len: usize,
}

impl Group {
    fn list(&self) -> &[(Nanos, f64)] {
        self.samples.get(..self.len).unwrap_or(&[])
    }
}

/// Whole numbers up to this are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whether a number within what is exact has no fraction: `fract` is a call on processors that need not have the instruction.
#[expect(clippy::cast_possible_truncation, reason = "a float's cast saturates")]
fn is_whole(value: f64) -> bool {
    value as i64 as f64 == value
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of at most 32 bits")]
fn distance(least: f64, value: f64) -> u64 {
    (value - least) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by looking at every sample.
    fn brute_force(samples: &[(Nanos, f64)], view: &View) -> Vec<Column> {
        let mut out: Vec<Column> = Vec::new();
        let before = samples.iter().rev().find(|(time, _)| *time < view.from).map(|&(_, value)| (view.from, value));
        let within = samples.iter().copied().filter(|(time, _)| (view.from..view.to).contains(time));
        for (time, value) in before.into_iter().chain(within) {
            let at = column(view.x(time));
            match out.last_mut().filter(|column| column.column == at) {
                Some(column) => {
                    column.min = column.min.min(value);
                    column.max = column.max.max(value);
                    column.last = value;
                }
                None => out.push(Column { column: at, min: value, max: value, last: value }),
            }
        }
        out
    }

    #[test]
    fn every_column_is_what_looking_at_every_sample_gives() {
        let mut samples = Samples::default();
        let mut list = Vec::new();
        let mut random = crate::random::Random::new(3);
        let mut time = 0;
        for i in 0..20_000 {
            time += i64::try_from(random.below(if i % 1000 == 0 { 6_000_000_000 } else { 1000 })).unwrap();
            // In turns small, far apart, negative, and no whole numbers.
            let whole = random.below(1 << (20 + i / 5000 * 8)) as f64;
            let value = if i % 7000 < 2000 { -whole / 3.0 } else { whole };
            samples.push(time, value);
            list.push((time, value));
        }
        assert_eq!(samples.samples().collect::<Vec<_>>(), list);
        let mut out = Vec::new();
        for _ in 0..300 {
            let from = i64::try_from(random.below(time.unsigned_abs())).unwrap() - 1000;
            let len = 1 << random.below(38);
            let view = View { from, to: from + len, columns: 1 + u32::try_from(random.below(2000)).unwrap() };
            samples.visible(&view, &mut out);
            assert_eq!(out, brute_force(&list, &view), "{view:?}");
            let at = samples.at(from).map(|(_, value)| value);
            let scan = list.iter().rev().find(|(time, _)| *time <= from).map(|&(_, value)| value);
            assert_eq!(at, scan);
        }
    }
}
