//! A column that grows without ever copying what it holds: segments of 4096 values.
//!
//! Invariant: all segments but the last are full, so value `i` lies in segment `i / 4096`; a group of [`FAN_OUT`] values
//! that begins at a multiple of it lies in one segment. It is never full; whoever fills it keeps the budget.

use crate::columns::FAN_OUT;

const SEGMENT: usize = 4096;

#[derive(Clone, Debug, Default)]
pub(crate) struct Segmented<T> {
    segments: Vec<Vec<T>>,
}

impl<T: Copy> Segmented<T> {
    pub(crate) const fn new() -> Self {
        Segmented { segments: Vec::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        match self.segments.last_mut() {
            Some(segment) if segment.len() < SEGMENT => segment.push(value),
            last => {
                // A long column takes whole segments at once; a short one stays short.
                let capacity = if last.is_some() { SEGMENT } else { 4 };
                if self.segments.is_empty() {
                    self.segments.reserve_exact(1);
                }
                let mut segment = Vec::with_capacity(capacity);
                segment.push(value);
                self.segments.push(segment);
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<T> {
        self.segments.get(index / SEGMENT)?.get(index % SEGMENT).copied()
    }

    /// The values of group `group`, fewer than [`FAN_OUT`] only at the end.
    #[inline]
    pub(crate) fn group(&self, group: usize) -> &[T] {
        let first = group * FAN_OUT;
        let Some(segment) = self.segments.get(first / SEGMENT) else { return &[] };
        let rest = segment.get(first % SEGMENT..).unwrap_or(&[]);
        rest.get(..FAN_OUT).unwrap_or(rest)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let values: usize = self.segments.iter().map(Vec::capacity).sum();
        values * size_of::<T>() + self.segments.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pushed_value_is_found_where_it_was_pushed() {
        let mut column = Segmented::new();
        for i in 0..10_000u32 {
            column.push(i);
        }
        assert!((0..10_000u32).all(|i| column.get(i as usize) == Some(i)));
        assert_eq!(column.get(10_000), None);
        assert_eq!(column.group(256), &(4096..4112).collect::<Vec<_>>()[..]);
        assert_eq!(column.group(625), &[] as &[u32]);
    }
}
