//! A list of records of a few numbers each, in groups of eight, packed column by column: for what is read group by group.
//!
//! Invariant: what is pushed never changes; a group's bytes lie in its segment, 64 groups together, and are forgotten with it.
//! Never full; whoever fills it keeps the budget.

use super::FAN_OUT;
use super::bits::{Eight, PAD, Width, eight, put};
use super::segment::SEGMENT;
use crate::time::Nanos;

/// Numbers above 32 bits take 64, and come back as they are.
pub(crate) type Column = Eight;

/// A group's base, and how its bytes are to be read.
#[derive(Clone, Copy, Debug)]
struct Head<const COLUMNS: usize> {
    base: Nanos,
    at: u16,
    widths: [u8; COLUMNS],
}

#[derive(Clone, Debug)]
struct Segment<const COLUMNS: usize> {
    heads: Vec<Head<COLUMNS>>,
    /// Ends with padding; empty once it was forgotten.
    bytes: Vec<u8>,
}

impl<const COLUMNS: usize> Segment<COLUMNS> {
    /// An empty one, that follows `last`, which is full. A long list takes whole segments at once; a short one stays short.
    fn after(last: Option<&mut Self>) -> Self {
        let mut segment = Segment { heads: Vec::new(), bytes: Vec::new() };
        if let Some(last) = last {
            segment.heads.reserve_exact(SEGMENT);
            segment.bytes.reserve_exact(last.bytes.len() + last.bytes.len() / 8);
            last.bytes.shrink_to_fit();
            last.heads.shrink_to_fit();
        }
        segment
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Packed<const COLUMNS: usize> {
    segments: Vec<Segment<COLUMNS>>,
    groups: usize,
}

impl<const COLUMNS: usize> Packed<COLUMNS> {
    pub(crate) const fn new() -> Self {
        // 64 groups of numbers that take all their bits must not need more than a `u16` can count.
        const { assert!(COLUMNS * 64 * SEGMENT + PAD < 1 << 16) };
        Packed { segments: Vec::new(), groups: 0 }
    }

    /// How many groups, the forgotten ones included.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    pub(crate) fn push(&mut self, base: Nanos, columns: &[Column; COLUMNS]) {
        if self.groups.is_multiple_of(SEGMENT) {
            let next = Segment::after(self.segments.last_mut());
            self.segments.push(next);
        }
        let Some(segment) = self.segments.last_mut() else { return };
        let before = segment.bytes.len().saturating_sub(PAD);
        let mut head = Head { base, at: u16::try_from(before).unwrap_or(0), widths: [0; COLUMNS] };
        let widths = columns.each_ref().map(|column| Width::of(column.iter().fold(0, |all, number| all | number)));
        let mut end = before;
        let len = widths.iter().map(|width| width.bytes(FAN_OUT)).sum::<usize>();
        segment.bytes.resize(before + len + PAD, 0);
        for ((column, width), code) in columns.iter().zip(widths).zip(&mut head.widths) {
            *code = width.bits().to_le_bytes()[0];
            end = put(&mut segment.bytes, end, width, column, FAN_OUT);
        }
        segment.heads.push(head);
        self.groups += 1;
    }

    /// A group's base.
    pub(crate) fn base(&self, group: usize) -> Option<Nanos> {
        Some(self.segments.get(group / SEGMENT)?.heads.get(group % SEGMENT)?.base)
    }

    /// A group's base and columns; `None` beyond the last, and for what was forgotten.
    pub(crate) fn get(&self, group: usize) -> Option<(Nanos, [Column; COLUMNS])> {
        let segment = self.segments.get(group / SEGMENT).filter(|segment| !segment.bytes.is_empty())?;
        let head = segment.heads.get(group % SEGMENT)?;
        let (mut at, mut columns) = (usize::from(head.at), [[0; FAN_OUT]; COLUMNS]);
        for (column, &code) in columns.iter_mut().zip(&head.widths) {
            let width = Width::from_bits(code.into());
            *column = eight(&segment.bytes, at, width);
            at += width.bytes(FAN_OUT);
        }
        Some((head.base, columns))
    }

    /// Whether the numbers of a group's column take all their bits.
    pub(crate) fn is_wide(&self, group: usize, column: usize) -> bool {
        let head = self.segments.get(group / SEGMENT).and_then(|segment| segment.heads.get(group % SEGMENT));
        head.and_then(|head| head.widths.get(column)).is_some_and(|&code| Width::from_bits(code.into()).is_wide())
    }

    /// The first group that begins at or after `time`, where bases only grow.
    pub(crate) fn first_from(&self, time: Nanos) -> usize {
        let begins = |segment: &Segment<COLUMNS>| segment.heads.first().is_some_and(|head| head.base < time);
        let Some(segment) = self.segments.partition_point(begins).checked_sub(1) else { return 0 };
        let heads = self.segments.get(segment).map_or(&[][..], |segment| &segment.heads);
        segment * SEGMENT + heads.partition_point(|head| head.base < time)
    }

    /// Gives up the groups of whole segments before `group`, and returns how many groups that are.
    pub(crate) fn forget_before(&mut self, group: usize) -> usize {
        let mut forgotten = 0;
        for segment in self.segments.iter_mut().take(group / SEGMENT).filter(|segment| !segment.bytes.is_empty()) {
            segment.bytes = Vec::new();
            forgotten += segment.heads.len();
        }
        forgotten
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let segment = |segment: &Segment<COLUMNS>| {
            segment.bytes.capacity() + segment.heads.capacity() * size_of::<Head<COLUMNS>>()
        };
        self.segments.iter().map(segment).sum::<usize>() + self.segments.capacity() * size_of::<Segment<COLUMNS>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn groups_come_back_and_are_found_by_their_base_until_they_are_forgotten() {
        let mut random = Random::new(5);
        let (mut packed, mut kept, mut base) = (Packed::<3>::new(), Vec::new(), 0);
        for _ in 0..1000 {
            base += random.below(1000).cast_signed();
            let bits = [0; 3].map(|_: u64| random.below(65));
            let columns =
                bits.map(|bits| [0; 8].map(|_: u64| if bits == 0 { 0 } else { random.next_u64() >> (64 - bits) }));
            packed.push(base, &columns);
            kept.push((base, columns));
        }
        for (group, &expected) in kept.iter().enumerate() {
            assert_eq!(packed.get(group), Some(expected));
            let first = kept.iter().position(|(base, _)| *base >= expected.0).unwrap();
            assert_eq!(packed.first_from(expected.0), first);
        }
        assert_eq!(packed.forget_before(130), 128);
        assert_eq!((packed.forget_before(130), packed.get(127), packed.get(128)), (0, None, Some(kept[128])));
        assert_eq!((packed.base(5), packed.groups()), (Some(kept[5].0), 1000));
    }
}
