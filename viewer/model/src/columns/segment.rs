//! Up to eight blocks: their leaves and bytes, which are forgotten together.
//!
//! Invariant: the leaves' times count from the first one's start, in 32 bits; where that is not enough, since the intervals are
//! rare, all starts are kept beside them as they are.

use super::block::{BLOCK, Interval, LEAVES, Leaf, Shape, Times, leaves};
use super::{FAN_OUT, Node};
use crate::time::Nanos;

/// Blocks whose bytes lie together.
pub(super) const BLOCKS: usize = 8;
/// Their leaves.
pub(super) const SEGMENT: usize = BLOCKS * LEAVES;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    start: Nanos,
    leaves: Vec<Leaf>,
    shapes: [Shape; BLOCKS],
    /// Ends with padding; empty once it was forgotten.
    bytes: Vec<u8>,
    /// The starts of all, where 32 bits are not enough for one of them.
    far: Option<Box<[Nanos; SEGMENT]>>,
}

impl Segment {
    /// A row's first.
    pub(super) const fn new() -> Self {
        Segment { start: 0, leaves: Vec::new(), shapes: [Shape::NONE; BLOCKS], bytes: Vec::new(), far: None }
    }

    /// An empty one that follows `last`, which is full. A long row takes whole segments at once; a short one stays short.
    pub(super) fn after(last: &mut Segment) -> Self {
        let mut segment = Segment::new();
        segment.leaves.reserve_exact(SEGMENT);
        segment.bytes.reserve_exact(last.bytes.len() + last.bytes.len() / 8);
        last.bytes.shrink_to_fit();
        segment
    }

    /// Packs the block whose first interval begins at `from`, and returns its leaves' nodes. Intervals with the key `quiet`
    /// count as nothing in the sums.
    #[inline]
    pub(super) fn push(&mut self, intervals: &[impl Interval; BLOCK], from: Nanos, quiet: u16) -> [Node; LEAVES] {
        let before = self.leaves.len();
        let mut leaves = leaves(intervals, from, quiet);
        if before == 0 {
            self.start = leaves[0].1;
        }
        if let Some(shape) = self.shapes.get_mut(before / LEAVES) {
            *shape = Shape::pack(intervals, &mut self.bytes);
        }
        let first = self.start;
        let mut near = true;
        for (leaf, start) in &mut leaves {
            let distance = u32::try_from(start.abs_diff(first));
            near &= distance.is_ok();
            leaf.start = distance.unwrap_or(0);
        }
        if !near || self.far.is_some() {
            self.push_far(&leaves.map(|(_, start)| start));
        }
        self.leaves.extend(leaves.iter().map(|(leaf, _)| leaf));
        leaves.map(|(leaf, start)| leaf.node(start))
    }

    /// Keeps starts as they are.
    #[cold]
    fn push_far(&mut self, starts: &[Nanos; LEAVES]) {
        let before = self.leaves.len();
        if self.far.is_none() {
            let mut far = Box::new([0; SEGMENT]);
            (0..).zip(&mut *far).take(before).for_each(|(i, place)| *place = self.start_of(i));
            self.far = Some(far);
        }
        if let Some(places) = self.far.as_mut().and_then(|far| far.get_mut(before..before + LEAVES)) {
            places.copy_from_slice(starts);
        }
    }

    #[inline]
    fn start_of(&self, leaf: usize) -> Nanos {
        match (&self.far, self.leaves.get(leaf)) {
            (Some(far), _) => far.get(leaf).copied().unwrap_or(self.start),
            (None, leaf) => self.start + leaf.map_or(0, |leaf| Nanos::from(leaf.start)),
        }
    }

    /// When its first interval began.
    #[inline]
    pub(super) fn start(&self) -> Nanos {
        self.start
    }

    /// When its last interval ended, or a little later; `None` while leaves may follow.
    pub(super) fn end(&self) -> Option<Nanos> {
        let last = self.leaves.get(SEGMENT - 1)?;
        Some(self.start_of(SEGMENT - 1) + last.extent())
    }

    /// What the pyramid says of a leaf's intervals.
    #[inline]
    pub(super) fn node(&self, leaf: usize) -> Option<Node> {
        Some(self.leaves.get(leaf)?.node(self.start_of(leaf)))
    }

    /// How many leaves begin before `time`.
    pub(super) fn begun(&self, time: Nanos) -> usize {
        match &self.far {
            Some(far) => far.get(..self.leaves.len()).unwrap_or(&[]).partition_point(|&start| start < time),
            None => self.leaves.partition_point(|leaf| self.start + Nanos::from(leaf.start) < time),
        }
    }

    /// Puts a leaf's times and keys into `out`. `None` where there is no such leaf, `false` where it was forgotten.
    #[inline]
    pub(super) fn times(&self, leaf: usize, out: &mut Times) -> Option<bool> {
        let shape = self.shapes.get(leaf / LEAVES).filter(|_| leaf < self.leaves.len())?;
        shape.unpack(leaf % LEAVES, self.start_of(leaf), &self.bytes, out);
        Some(!self.bytes.is_empty())
    }

    pub(super) fn extras(&self, leaf: usize) -> Option<[u32; FAN_OUT]> {
        let shape = self.shapes.get(leaf / LEAVES).filter(|_| leaf < self.leaves.len())?;
        Some(shape.extras(leaf % LEAVES, &self.bytes))
    }

    /// Gives back the room for what does not come any more.
    pub(super) fn shrink(&mut self) {
        self.leaves.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    /// Gives up all but the leaves.
    pub(super) fn forget(&mut self) {
        self.bytes = Vec::new();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let far = if self.far.is_some() { size_of::<[Nanos; SEGMENT]>() } else { 0 };
        self.bytes.capacity() + self.leaves.capacity() * size_of::<Leaf>() + far
    }
}
