//! What spans around a record carry: their fields, in the log stream itself, so that they are read wherever the record is.
//!
//! Before a record whose spans have fields stands an event of kind [`Context`](crate::field::Kind::Context) for each of the
//! spans that it names, the outermost first: a *group*. A context's first field is [`SPAN`](super::SPAN), an [`Of`]; the span's own
//! come behind it. The group counts for all records behind it whose word of [`SPANS`](super::SPANS) has [`TOLD_SPANS`], until the next
//! one; each packet has a group of its own before its first such record, or the group is the last that the packet before it holds.
//! Where there was no room for a group, the records name their spans and no more.
//!
//! An interrupt may tell a group of its own at any moment: between two contexts of a group, whose rest then is none, and between a
//! group and the record that it was told for. Its group begins with the spans of what it interrupted, so that one of as many
//! spans as the record names is about the same ones.
//!
//! ```
//! use fata_wire::log::{TOLD_SPANS, context::{Group, Of}};
//! let mut group = Group::default();
//! group.context(Of { callsite: 7, place: 0, is_cut: false }.arg(), "id=1");
//! assert!(group.of_record(TOLD_SPANS | 7).eq([&"id=1"]));
//! assert!(group.of_record(TOLD_SPANS | 8).eq([""; 0].iter()), "another span is around this one");
//! ```

use super::{MAX_SPANS, MORE_SPANS, TOLD_SPANS, span_ids};

/// Which span a context is about. (Deeper than [`MAX_SPANS`] an interrupt's group does not begin with what it interrupted: where five
/// spans of one callsite lie in each other, what is within the fifth may be taken for what interrupted it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of {
    /// The number of its callsite.
    pub callsite: u16,
    /// How many of its group come before it.
    pub place: u16,
    /// There are spans further out that the group does not name: [`MORE_SPANS`].
    pub is_cut: bool,
}

impl Of {
    const CALLSITE: u16 = 0xfff;
    const PLACE: u32 = 12;
    /// [`MAX_SPANS`].
    const PLACES: u16 = 4;
    const CUT: u16 = 1 << 14;

    /// As the field has it.
    #[must_use]
    pub const fn arg(self) -> u16 {
        let place = self.place % Self::PLACES;
        self.callsite & Self::CALLSITE | place << Self::PLACE | if self.is_cut { Self::CUT } else { 0 }
    }

    /// From the field; every number is one.
    #[must_use]
    pub const fn from_arg(arg: u16) -> Self {
        let place = (arg >> Self::PLACE) % Self::PLACES;
        Of { callsite: arg & Self::CALLSITE, place, is_cut: arg & Self::CUT != 0 }
    }
}

const _: () = assert!(Of::PLACES as usize == MAX_SPANS);

/// The youngest group that a reader of a log stream has seen, of which it keeps a `T` for each span.
#[derive(Clone, Debug)]
pub struct Group<T> {
    spans: [Option<(u16, T)>; MAX_SPANS],
    /// How many contexts there were; `None` where one is missing.
    len: Option<u16>,
    is_cut: bool,
    /// A record came behind it: the next context begins another one.
    is_complete: bool,
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Group { spans: [const { None }; MAX_SPANS], len: None, is_cut: false, is_complete: false }
    }
}

impl<T> Group<T> {
    /// A context with this first field was read.
    pub fn context(&mut self, arg: u16, fields: T) {
        let Of { callsite, place, is_cut } = Of::from_arg(arg);
        let goes_on = !self.is_complete && self.len == Some(place) && self.is_cut == is_cut;
        if !goes_on {
            *self = Group::default();
            if place > 0 {
                return;
            }
        }
        if let Some(to) = self.spans.get_mut(usize::from(place)) {
            *to = Some((callsite, fields));
        }
        (self.len, self.is_cut) = (Some(place + 1), is_cut);
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
        let is_its = word & TOLD_SPANS != 0
            && self.is_cut == (word & MORE_SPANS != 0)
            && known().map(|(span, _)| *span).eq(span_ids(word));
        known().filter(move |_| is_its).map(|(_, fields)| fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(callsite: u16, place: u16) -> u16 {
        Of { callsite, place, is_cut: false }.arg()
    }

    #[test]
    fn a_group_counts_until_the_next_for_records_of_its_spans_alone() {
        let mut group = Group::default();
        group.context(of(1, 0), 'a');
        group.context(of(2, 1), 'b');
        let both = 1 << 16 | 2;
        for _ in 0..2 {
            assert!(group.of_record(both | TOLD_SPANS).eq(&['a', 'b']));
        }
        assert_eq!(group.of_record(both).count(), 0, "of other spans of the same callsites, without fields");
        assert_eq!(group.of_record(2 | TOLD_SPANS).count(), 0);
        assert_eq!(group.of_record(2 << 16 | 1 | TOLD_SPANS).count(), 0);
        assert_eq!(group.of_record(both | TOLD_SPANS | MORE_SPANS).count(), 0, "of spans further within");
        group.context(of(1, 0), 'c');
        group.context(of(2, 1), 'd');
        assert!(group.of_record(both | TOLD_SPANS).eq(&['c', 'd']));
        group.lose();
        assert_eq!(group.of_record(both | TOLD_SPANS).count(), 0);
    }

    #[test]
    fn what_is_left_of_a_group_that_another_came_into_is_none() {
        let (one, two) = (5 | TOLD_SPANS, 5 << 16 | 5 | TOLD_SPANS);
        let mut group = Group::default();
        // Between two contexts of one group another one is told, with a record of its own.
        group.context(of(5, 0), "interrupted");
        group.context(of(5, 0), "interrupted");
        group.context(of(5, 1), "interrupt");
        assert!(group.of_record(two).eq(&["interrupted", "interrupt"]));
        group.context(of(5, 1), "the rest");
        assert_eq!(group.of_record(one).count(), 0, "it is not the record's first");
        assert_eq!(group.of_record(two).count(), 0);
        // What a packet that is missing began.
        group.lose();
        group.context(of(5, 1), "the rest");
        assert_eq!(group.of_record(one).count(), 0);
    }

    #[test]
    fn spans_beyond_the_last_that_is_named_are_others() {
        let four = 1 << 48 | 2 << 32 | 3 << 16 | 4 | TOLD_SPANS;
        for is_cut in [false, true] {
            let mut group = Group::default();
            for place in 0..Of::PLACES {
                let of = Of { callsite: place + 1, place, is_cut };
                assert_eq!(Of::from_arg(of.arg()), of);
                group.context(of.arg(), place);
            }
            assert_eq!(group.of_record(four).count(), if is_cut { 0 } else { 4 });
            assert_eq!(group.of_record(four | MORE_SPANS).count(), if is_cut { 4 } else { 0 });
        }
    }
}
