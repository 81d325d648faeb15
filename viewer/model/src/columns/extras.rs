//! The extras of a block: small numbers, or which intervals have one and how far it is from the least.
//!
//! Invariant: an interval without one has `u32::MAX`, which with its neighbours counts as small. All without take no room.
//! Whichever takes fewer bytes is kept:
//!
//! ```text
//! plain    64 numbers, moved up by 3
//! sparse   which have one: 64 bits │ the least: 32 bits │ the distances of those that there are
//! ```

use super::FAN_OUT;
use super::bits::{Width, eight, put_groups, put_word, word};
use super::block::BLOCK;
use super::record::Interval;

const NONE: u32 = u32::MAX;
/// Bytes before the distances.
const HEAD: usize = 12;

/// How a block's extras are packed.
#[derive(Clone, Copy)]
pub(super) enum Extras {
    Nothing,
    Plain(Width),
    Sparse {
        /// A bit for each that there is.
        which: u64,
        least: u32,
        width: Width,
    },
}

/// Those that there are in a block, one after another; what follows them is anything.
pub(super) type There = [u32; BLOCK];

impl Extras {
    pub(super) const NOTHING: Extras = Extras::Nothing;

    /// How those of a block take the fewest bytes, which has some: these are put into `there`.
    #[inline(never)]
    pub(super) fn of(intervals: &[impl Interval; BLOCK], there: &mut There) -> Self {
        let (mut which, mut count) = (0u64, 0);
        for interval in intervals {
            let extra = interval.extra();
            // Overwritten by the next one where there is none.
            there[count % BLOCK] = extra;
            which = which << 1 | u64::from(extra != NONE);
            count += usize::from(extra != NONE);
        }
        let which = which.reverse_bits();
        let (mut all, mut least, mut most) = (if count < BLOCK { small(NONE) } else { 0 }, NONE, 0);
        for &extra in there.iter().take(count) {
            (all, least, most) = (all | small(extra), least.min(extra), most.max(extra));
        }
        let plain = Width::of(all.into());
        let width = Width::of(most.wrapping_sub(least).into());
        let sparse = Extras::Sparse { which, least, width };
        // A width of nothing says that there are none.
        if plain.bytes(BLOCK) <= sparse.len() && plain.bits() > 0 { Extras::Plain(plain) } else { sparse }
    }

    /// Bytes of it all.
    pub(super) fn len(&self) -> usize {
        match *self {
            Extras::Nothing => 0,
            Extras::Plain(width) => width.bytes(BLOCK),
            Extras::Sparse { which, width, .. } => {
                HEAD + (which.count_ones() as usize).div_ceil(FAN_OUT) * width.bytes(FAN_OUT)
            }
        }
    }

    pub(super) fn is_sparse(&self) -> bool {
        matches!(self, Extras::Sparse { .. })
    }

    pub(super) fn width(&self) -> Width {
        match *self {
            Extras::Nothing => Width::NOTHING,
            Extras::Plain(width) | Extras::Sparse { width, .. } => width,
        }
    }

    /// Packs those of the block, and of them those that are `there`, to the begin of `out`.
    #[inline(never)]
    pub(super) fn put(&self, intervals: &[impl Interval; BLOCK], there: &mut There, out: &mut [u8]) {
        match *self {
            Extras::Nothing => {}
            Extras::Plain(width) => {
                put_groups(out, 0, width, intervals.as_chunks().0, 0, |interval| small(interval.extra()).into());
            }
            Extras::Sparse { which, least, width } => {
                put_word(out, 0, which);
                // What comes behind the least is written after it.
                put_word(out, 8, least.into());
                let count = which.count_ones() as usize;
                there.iter_mut().skip(count).take(FAN_OUT).for_each(|none| *none = least);
                let groups = there.as_chunks().0.get(..count.div_ceil(FAN_OUT)).unwrap_or(&[]);
                put_groups(out, HEAD, width, groups, least, |&extra| extra.into());
            }
        }
    }

    /// The extras of eight intervals, of which the bytes at the begin of `bytes` say those of the block.
    pub(super) fn get(sparse: bool, width: Width, bytes: &[u8], leaf: usize) -> [u32; FAN_OUT] {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(NONE);
        if !sparse {
            if width == Width::NOTHING {
                return [NONE; FAN_OUT];
            }
            return eight(bytes, leaf * width.bytes(FAN_OUT), width).map(|number| from_small(narrow(number)));
        }
        let which = word(bytes, 0);
        let least = narrow(word(bytes, 8) & u64::from(u32::MAX));
        let first = leaf * FAN_OUT;
        let mut rank = (which & ((1 << first) - 1)).count_ones() as usize;
        let group = |rank: usize| eight(bytes, HEAD + rank / FAN_OUT * width.bytes(FAN_OUT), width);
        let (mut extras, mut distances) = ([NONE; FAN_OUT], group(rank));
        for (i, extra) in extras.iter_mut().enumerate() {
            if which >> (first + i) & 1 == 1 {
                *extra = least.wrapping_add(narrow(distances[rank % FAN_OUT]));
                rank += 1;
                if rank.is_multiple_of(FAN_OUT) {
                    distances = group(rank);
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
