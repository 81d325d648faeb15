//! Summaries of summaries: level 0 sums up groups of values, each level above `FAN_OUT` nodes of the one below.
//!
//! Invariant: a level holds only nodes of complete groups. What is not yet covered by a level is read from the one below,
//! at most `FAN_OUT - 1` nodes of each, so a pyramid is whole at every moment while it grows.

use crate::time::Nanos;

/// Nodes per node of the level above. A walk looks at nodes of about a pixel: with 8 it would be at more than twice as many of
/// half the width, with 2 the pyramid would take three times the memory.
pub(crate) const FAN_OUT: usize = 4;

/// What can be summed up.
pub trait Summary: Copy {
    /// The sum of `children`, oldest first; `None` for no children.
    fn merge(children: &[Self]) -> Option<Self>;
    /// When it begins.
    fn start(&self) -> Nanos;
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Pyramid<N> {
    levels: Vec<Vec<N>>,
}

impl<N> Default for Pyramid<N> {
    fn default() -> Self {
        Pyramid { levels: Vec::new() }
    }
}

/// Whether a walk goes into a node's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descend {
    /// The node was all that was needed.
    Skip,
    /// Look at what it sums up.
    Into,
    /// It and everything after it lies behind the end of the view.
    Stop,
}

/// What a walk looks at.
#[derive(Clone, Copy, Debug)]
pub enum Visit<'a, N> {
    /// A node that sums up `count` groups from `first`.
    Node {
        /// The node.
        node: &'a N,
        /// The index of the first group.
        first: usize,
        /// How many groups.
        count: usize,
    },
    /// The values of this group, to be looked at one by one.
    Group(usize),
}

impl<N: Summary> Pyramid<N> {
    pub(crate) const fn new() -> Self {
        Pyramid { levels: Vec::new() }
    }

    /// Adds the node of the next complete group of values.
    pub(crate) fn push(&mut self, node: N) {
        let mut node = node;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(nodes) = self.levels.get_mut(level) else { return };
            nodes.push(node);
            if !nodes.len().is_multiple_of(FAN_OUT) {
                return;
            }
            match N::merge(nodes.get(nodes.len() - FAN_OUT..).unwrap_or(&[])) {
                Some(merged) => node = merged,
                None => return,
            }
        }
    }

    #[inline]
    pub(crate) fn level(&self, level: usize) -> &[N] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    /// Visits nodes from the top and in time order; goes into those for which `visit` says so, down to groups of values. The
    /// group that is not complete comes last.
    #[inline]
    pub(crate) fn walk(&self, visit: &mut impl FnMut(Visit<'_, N>) -> Descend) {
        for level in (0..self.levels.len()).rev() {
            // What the level above already covers has been visited.
            let covered = self.level(level + 1).len() * FAN_OUT;
            for index in covered..self.level(level).len() {
                if !self.visit(level, index, visit) {
                    return;
                }
            }
        }
        visit(Visit::Group(self.level(0).len()));
    }

    /// `false` to stop.
    fn visit(&self, level: usize, index: usize, visit: &mut impl FnMut(Visit<'_, N>) -> Descend) -> bool {
        let Some(node) = self.level(level).get(index) else { return false };
        let count = FAN_OUT.pow(u32::try_from(level).unwrap_or(0));
        match visit(Visit::Node { node, first: index * count, count }) {
            Descend::Skip => true,
            Descend::Stop => false,
            Descend::Into if level == 0 => visit(Visit::Group(index)) != Descend::Stop,
            Descend::Into => (index * FAN_OUT..(index + 1) * FAN_OUT).all(|child| self.visit(level - 1, child, visit)),
        }
    }

    /// Gives back the room for what does not come any more.
    pub(crate) fn shrink(&mut self) {
        self.levels.iter_mut().for_each(Vec::shrink_to_fit);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.levels.iter().map(|nodes| nodes.capacity() * size_of::<N>()).sum::<usize>()
            + self.levels.capacity() * size_of::<Vec<N>>()
    }
}
