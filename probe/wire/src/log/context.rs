//! What spans around a record carry: their fields, in the log stream itself, so that they are read wherever the record is.
//!
//! Before a record whose spans have fields stands an event of kind [`Context`](crate::field::Kind::Context) for each of the
//! spans that it names, the outermost first: a *group*. A context's first field is [`SPAN`](super::SPAN); the span's own come
//! behind it. The group counts for all records behind it whose word of [`SPANS`](super::SPANS) has [`TOLD_SPANS`], until the next one; each packet has a group of its own before its first such record, or the
//! group is the last that the packet before it holds. Where there was no room for a group, the records name their spans and no more.
//!
//! ```
//! use fata_wire::log::{TOLD_SPANS, context::Group};
//! let mut group = Group::default();
//! group.context(7, "id=1");
//! assert!(group.of_record(TOLD_SPANS | 7).eq([&"id=1"]));
//! assert!(group.of_record(TOLD_SPANS | 8).eq([""; 0].iter()), "another span is around this one");
//! ```

use super::{MAX_SPANS, TOLD_SPANS, span_ids};

/// The youngest group that a reader of a log stream has seen, of which it keeps a `T` for each span.
#[derive(Clone, Debug)]
pub struct Group<T> {
    spans: [Option<(u16, T)>; MAX_SPANS],
    /// How many contexts there were; more than it has places for, and it is no group.
    len: usize,
    /// A record came behind it: the next context begins another one.
    is_complete: bool,
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Group { spans: [const { None }; MAX_SPANS], len: 0, is_complete: false }
    }
}

impl<T> Group<T> {
    /// A context of a span of this callsite was read.
    pub fn context(&mut self, span: u16, fields: T) {
        if self.is_complete {
            *self = Group::default();
        }
        if let Some(place) = self.spans.get_mut(self.len) {
            *place = Some((span, fields));
        }
        self.len = self.len.saturating_add(1);
    }

    /// Events are missing here: what comes next may be about another group.
    pub fn lose(&mut self) {
        *self = Group::default();
    }

    /// A record with this word of [`SPANS`](super::SPANS) was read: what is kept for each of its spans, the outermost first;
    /// nothing where their fields are not known, or where none has any.
    pub fn of_record(&mut self, word: u64) -> impl Iterator<Item = &T> {
        self.is_complete = true;
        let known = || self.spans.iter().flatten();
        let is_its =
            word & TOLD_SPANS != 0 && self.len <= MAX_SPANS && known().map(|(span, _)| *span).eq(span_ids(word));
        known().filter(move |_| is_its).map(|(_, fields)| fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_counts_until_the_next_for_records_of_its_spans_alone() {
        let mut group = Group::default();
        group.context(1, 'a');
        group.context(2, 'b');
        let both = 1 << 16 | 2;
        for _ in 0..2 {
            assert!(group.of_record(both | TOLD_SPANS).eq(&['a', 'b']));
        }
        assert_eq!(group.of_record(both).count(), 0, "of other spans of the same callsites, without fields");
        assert_eq!(group.of_record(2 | TOLD_SPANS).count(), 0);
        assert_eq!(group.of_record(2 << 16 | 1 | TOLD_SPANS).count(), 0);
        group.context(1, 'c');
        group.context(2, 'd');
        assert!(group.of_record(both | TOLD_SPANS).eq(&['c', 'd']));
        group.lose();
        assert_eq!(group.of_record(both | TOLD_SPANS).count(), 0);
    }

    #[test]
    fn a_group_into_which_another_one_came_is_none() {
        let mut group = Group::default();
        (0..6).for_each(|n| group.context(n % 4 + 1, n));
        let four = 1 << 48 | 2 << 32 | 3 << 16 | 4;
        assert_eq!(group.of_record(four | TOLD_SPANS).count(), 0);
        (0..4).for_each(|n| group.context(n + 1, n));
        assert!(group.of_record(four | TOLD_SPANS).eq(&[0, 1, 2, 3]));
    }
}
