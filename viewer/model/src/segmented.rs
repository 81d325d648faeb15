//! A list that grows without ever copying what it holds: segments of 32 values.
//!
//! Invariant: all segments but the last were full once, so value `i` lies in segment `i / 32`; a segment that was forgotten
//! holds nothing any more. It is never full; whoever fills it keeps the budget.

/// Values per segment.
pub(crate) const SEGMENT: usize = 32;

#[derive(Clone, Debug)]
pub(crate) struct Segmented<T> {
    segments: Vec<Vec<T>>,
}

impl<T> Default for Segmented<T> {
    fn default() -> Self {
        Segmented { segments: Vec::new() }
    }
}

impl<T> Segmented<T> {
    pub(crate) const fn new() -> Self {
        Segmented { segments: Vec::new() }
    }

    pub(crate) fn push(&mut self, value: T) {
        match self.segments.last_mut() {
            Some(segment) if segment.len() < SEGMENT => segment.push(value),
            last => {
                // A long list takes whole segments at once; a short one stays short.
                let capacity = if last.is_some() { SEGMENT } else { 1 };
                let mut segment = Vec::with_capacity(capacity);
                segment.push(value);
                if self.segments.is_empty() {
                    self.segments.reserve_exact(1);
                }
                self.segments.push(segment);
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.segments.get(index / SEGMENT)?.get(index % SEGMENT)
    }

    /// Gives up the values of a segment; they are never found again.
    pub(crate) fn forget(&mut self, segment: usize) {
        if let Some(segment) = self.segments.get_mut(segment) {
            *segment = Vec::new();
        }
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
        let mut list = Segmented::new();
        for i in 0..10_000u32 {
            list.push(i);
        }
        assert!((0..10_000u32).all(|i| list.get(i as usize) == Some(&i)));
        assert_eq!(list.get(10_000), None);
        list.forget(1);
        let found: Vec<_> = (0..100).filter(|&i| list.get(i).is_some()).collect();
        assert_eq!(found, (0..32).chain(64..100).collect::<Vec<_>>());
    }
}
