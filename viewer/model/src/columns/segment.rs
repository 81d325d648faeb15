//! Up to eight blocks: their leaves, and what is packed of them, which is forgotten together.
//!
//! Invariant: the leaves' times count from the first one's start, in 32 bits; where that is not enough, since the intervals are
//! rare, all starts are kept beside them as they are.

use super::block::{BLOCK, LEAVES, Leaf, Leaves, Shape, Times, low_word};
use super::pairs::Pair;
use super::record::{Interval, NO_KEY};
use super::{FAN_OUT, LEAVES as LEAVES_OF_NODE, Node};
use crate::time::Nanos;

/// Blocks that lie together.
pub(super) const BLOCKS: usize = 8;
/// Their leaves.
pub(super) const SEGMENT: usize = BLOCKS * LEAVES;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    start: Nanos,
    leaves: Vec<Leaf>,
    shapes: [Shape; BLOCKS],
    /// Empty once it was forgotten.
    pairs: Vec<Pair>,
    is_forgotten: bool,
    /// The starts of all, where 32 bits are not enough for one of them.
    far: Option<Box<[Nanos; SEGMENT]>>,
}

impl Segment {
    /// A row's first.
    pub(super) const fn new() -> Self {
        Segment {
            start: 0,
            leaves: Vec::new(),
            shapes: [Shape::NONE; BLOCKS],
            pairs: Vec::new(),
            is_forgotten: false,
            far: None,
        }
    }

    /// An empty one that follows `last`, which is full. A long row takes whole segments at once; a short one stays short.
    pub(super) fn after(last: &mut Segment) -> Self {
        let mut segment = Segment::new();
        segment.leaves.reserve_exact(SEGMENT);
        segment.pairs.reserve_exact(last.pairs.len() + last.pairs.len() / 8);
        last.pairs.shrink_to_fit();
        segment
    }

    /// Packs the block whose first interval begins at `from`. Intervals with the key `quiet` count as nothing in the sums.
    #[inline]
    pub(super) fn push(&mut self, intervals: &[impl Interval; BLOCK], from: Nanos, quiet: u16) {
        let before = self.leaves.len();
        let (Leaves { mut leaves, starts }, all) = if u32::from(quiet) == NO_KEY {
            Leaves::of::<_, false>(intervals, from, NO_KEY)
        } else {
            Leaves::of::<_, true>(intervals, from, quiet.into())
        };
        if before == 0 {
            self.start = starts[0];
        }
        if let Some(shape) = self.shapes.get_mut(before / LEAVES) {
            *shape = Shape::pack(intervals, &all, &mut self.pairs);
        }
        // Whether all are near is known from the last.
        let distance = |start: Nanos| start.wrapping_sub(self.start).cast_unsigned();
        for (leaf, &start) in leaves.iter_mut().zip(&starts) {
            leaf.start = low_word(distance(start));
        }
        if distance(starts[LEAVES - 1]) >> 32 != 0 || self.far.is_some() {
            self.push_far(&starts);
        }
        self.leaves.extend_from_slice(&leaves);
    }

    /// Whether nothing more comes into it.
    pub(super) fn is_full(&self) -> bool {
        self.leaves.len() == SEGMENT
    }

    /// Its nodes of the pyramid's lowest level, of those that are complete.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> {
        (0..self.leaves.len() / LEAVES_OF_NODE).filter_map(|node| {
            let first = node * LEAVES_OF_NODE;
            let mut sum = self.node(first)?;
            for leaf in first + 1..first + LEAVES_OF_NODE {
                sum.add(&self.node(leaf)?);
            }
            Some(sum)
        })
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
        shape.unpack(leaf % LEAVES, self.start_of(leaf), &self.pairs, out);
        Some(!self.is_forgotten)
    }

    pub(super) fn extras(&self, leaf: usize) -> Option<[u32; FAN_OUT]> {
        let shape = self.shapes.get(leaf / LEAVES).filter(|_| leaf < self.leaves.len())?;
        Some(shape.extras(leaf % LEAVES, &self.pairs))
    }

    /// Gives back the room for what does not come any more.
    pub(super) fn shrink(&mut self) {
        self.leaves.shrink_to_fit();
        self.pairs.shrink_to_fit();
    }

    /// Gives up all but the leaves.
    pub(super) fn forget(&mut self) {
        (self.pairs, self.is_forgotten) = (Vec::new(), true);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let far = if self.far.is_some() { size_of::<[Nanos; SEGMENT]>() } else { 0 };
        self.pairs.capacity() * size_of::<Pair>() + self.leaves.capacity() * size_of::<Leaf>() + far
    }
}
