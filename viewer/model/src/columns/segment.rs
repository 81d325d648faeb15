//! Up to 64 leaves and the bytes of their groups, which are forgotten together.
//!
//! Invariant: the leaves' times count from the first one's start, in 32 bits; where that is not enough, since the intervals are
//! rare, all starts are kept beside them as they are.

use super::group::{Leaf, Tail, Times};
use super::{FAN_OUT, Node};
use crate::time::Nanos;

/// Leaves whose bytes lie together.
pub(super) const SEGMENT: usize = 64;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    start: Nanos,
    leaves: Vec<Leaf>,
    /// Ends with padding; empty once it was forgotten.
    bytes: Vec<u8>,
    /// The starts of all, where 32 bits are not enough for one of them.
    far: Option<Box<[Nanos; SEGMENT]>>,
}

impl Segment {
    pub(super) const NONE: Segment = Segment { start: 0, leaves: Vec::new(), bytes: Vec::new(), far: None };

    /// A row's first.
    pub(super) const fn new() -> Self {
        Segment::NONE
    }

    /// An empty one that follows `last`, which is full. A long row takes whole segments at once; a short one stays short.
    pub(super) fn after(last: &mut Segment) -> Self {
        let mut segment = Segment::NONE;
        segment.leaves.reserve_exact(SEGMENT);
        segment.bytes.reserve_exact(last.bytes.len() + last.bytes.len() / 8);
        last.bytes.shrink_to_fit();
        segment
    }

    /// Packs a group. See [`Leaf::pack`].
    #[inline]
    pub(super) fn push(&mut self, tail: &Tail, quiet: u16) {
        let start = tail.starts[0];
        if self.leaves.is_empty() {
            self.start = start;
        }
        let mut leaf = Leaf::pack(tail, quiet, &mut self.bytes);
        let near = u32::try_from(start.abs_diff(self.start)).ok();
        if near.is_none() && self.far.is_none() {
            let mut far = Box::new([0; SEGMENT]);
            (0..).zip(&mut *far).take(self.leaves.len()).for_each(|(i, place)| *place = self.start_of(i));
            self.far = Some(far);
        }
        if let Some(place) = self.far.as_mut().and_then(|far| far.get_mut(self.leaves.len())) {
            *place = start;
        }
        leaf.start = near.unwrap_or(0);
        self.leaves.push(leaf);
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
        self.leaves.get(leaf)?.unpack(self.start_of(leaf), &self.bytes, out);
        Some(!self.bytes.is_empty())
    }

    pub(super) fn extras(&self, leaf: usize) -> Option<[u32; FAN_OUT]> {
        Some(self.leaves.get(leaf)?.extras(&self.bytes))
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
