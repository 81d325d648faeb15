//! The extras of a block: small numbers, or which intervals have one, and of each its rest: what it has besides the bits that all have.
//!
//! Invariant: an interval without one has `u32::MAX`, which with its neighbours counts as small. All without take no room.
//! Whichever takes less is kept:
//!
//! ```text
//! plain    64 numbers, moved up by 3
//! sparse   which have one: 64 bits │ the bits that all have: 64 bits │ the rests of those that there are
//! ```

use super::FAN_OUT;
use super::block::{BLOCK, low_word};
use super::pairs::{Numbers, Pair, Width, eight, push};
use super::record::Interval;

const NONE: u32 = u32::MAX;
/// Pairs before the rests.
const HEAD: usize = 1;

/// How a block's extras are packed.
#[derive(Clone, Copy)]
pub(super) enum Extras {
    Plain(Width),
    Sparse {
        /// A bit for each that there is.
        which: u64,
        common: u32,
        width: Width,
    },
}

impl Extras {
    /// How those of a block take the least, which has some; `any` and `every` are the bits that any or all of them have. The rests of
    /// those that there are, one after another, are put into `rests`.
    #[inline(never)]
    pub(super) fn of(intervals: &[impl Interval; BLOCK], (any, every): (u32, u32), rests: &mut Numbers) -> Self {
        let mut which = u64::MAX;
        // Else some count as small, or the bits of all are so many by chance.
        let (all_small, all) = if any < from_small(0) {
            for (rest, interval) in rests.iter_mut().zip(intervals) {
                *rest = (interval.extra() ^ every).into();
            }
            (small(any), any ^ every)
        } else {
            let (mut all_small, mut all) = (0, 0);
            for interval in intervals {
                let extra = interval.extra();
                which = which >> 1 | u64::from(extra < NONE) << 63;
                all_small |= small(extra);
            }
            let mut left = which;
            for rest in rests.iter_mut() {
                let Some(interval) = intervals.get(left.trailing_zeros() as usize) else { break };
                let bits = interval.extra() ^ every;
                *rest = bits.into();
                all |= bits;
                left &= left - 1;
            }
            (all_small, all)
        };
        let plain = Width::of(all_small.into());
        let sparse = Extras::Sparse { which, common: every, width: Width::of(all.into()) };
        // A width of nothing says that there are none.
        if plain.pairs(BLOCK) <= sparse.pairs() && plain.bits() > 0 { Extras::Plain(plain) } else { sparse }
    }

    /// What it all takes.
    fn pairs(&self) -> usize {
        match *self {
            Extras::Plain(width) => width.pairs(BLOCK),
            Extras::Sparse { which, width, .. } => HEAD + width.pairs(which.count_ones() as usize),
        }
    }

    pub(super) fn is_sparse(&self) -> bool {
        matches!(self, Extras::Sparse { .. })
    }

    pub(super) fn width(&self) -> Width {
        match *self {
            Extras::Plain(width) | Extras::Sparse { width, .. } => width,
        }
    }

    /// Packs those of the block, whose `rests` these are.
    #[inline(never)]
    pub(super) fn push(&self, intervals: &[impl Interval; BLOCK], rests: &mut Numbers, pairs: &mut Vec<Pair>) {
        match *self {
            Extras::Plain(width) => {
                let places = rests.iter_mut().zip(intervals);
                places.for_each(|(place, interval)| *place = small(interval.extra()).into());
                push(pairs, width, rests, BLOCK);
            }
            Extras::Sparse { which, common, width } => {
                pairs.push([which, common.into()]);
                push(pairs, width, rests, which.count_ones() as usize);
            }
        }
    }

    /// The extras of eight intervals, of which the begin of `pairs` says those of the block.
    pub(super) fn get(sparse: bool, width: Width, pairs: &[Pair], leaf: usize) -> [u32; FAN_OUT] {
        if !sparse {
            if width == Width::NOTHING {
                return [NONE; FAN_OUT];
            }
            return eight(pairs, width, leaf).map(|number| from_small(low_word(number)));
        }
        let Some((&[which, common], pairs)) = pairs.split_first() else { return [NONE; FAN_OUT] };
        let before = leaf * FAN_OUT;
        let mut rank = (which & ((1 << before) - 1)).count_ones() as usize;
        let group = |rank: usize| eight(pairs, width, rank / FAN_OUT);
        let (mut extras, mut rests) = ([NONE; FAN_OUT], group(rank));
        for (i, extra) in extras.iter_mut().enumerate() {
            if which >> (before + i) & 1 == 1 {
                *extra = low_word(common | rests[rank % FAN_OUT]);
                rank += 1;
                if rank.is_multiple_of(FAN_OUT) {
                    rests = group(rank);
                }
            }
        }
        extras
    }
}

/// `u32::MAX` and the two below it, which stand for "none" and the like, as 2 to 0; all else moved up by 3.
#[inline]
pub(crate) const fn small(extra: u32) -> u32 {
    extra.wrapping_add(3)
}

#[inline]
pub(crate) const fn from_small(number: u32) -> u32 {
    number.wrapping_sub(3)
}
