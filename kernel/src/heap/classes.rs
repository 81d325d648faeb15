//! The sizes that are kept in caches, each under its class, and those that are not.
//!
//! Invariant: a block of class `c` is [`BLOCK_BYTES`]`[c]` long and aligned to [`MAX_ALIGN`], and [`class_of`] never gives a
//! class whose blocks are too short.
//!
//! Four classes per doubling waste at most a fifth. The lengths are what the allocator below can give without rounding: a
//! multiple of its unit of 32 bytes, less the word in which it keeps its own account of a block.

use core::alloc::Layout;

/// The allocator's unit, and its word per block.
const UNIT: usize = 32;
const TAIL: usize = size_of::<usize>();

/// Every block begins at a multiple of this.
pub(super) const MAX_ALIGN: usize = UNIT;
pub(super) const CLASSES: usize = BLOCK_BYTES.len();

/// The length of a class's blocks.
pub(super) const BLOCK_BYTES: [usize; 20] = {
    let units = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64];
    let mut bytes = [0; 20];
    let mut class = 0;
    while class < units.len() {
        bytes[class] = units[class] * UNIT - TAIL;
        class += 1;
    }
    bytes
};

/// By length in units, rounded up.
const CLASS_OF_UNITS: [u8; 65] = {
    let mut table = [0; 65];
    let mut units = 1;
    let mut class = 0;
    while units <= 64 {
        if units * UNIT - TAIL > BLOCK_BYTES[class as usize] {
            class += 1;
        }
        table[units] = class;
        units += 1;
    }
    table
};

/// The class whose blocks serve `layout`; `None` for what is too long or too strictly aligned to be cached.
pub(super) fn class_of(layout: Layout) -> Option<usize> {
    let units = (layout.size() + TAIL).div_ceil(UNIT);
    if units > 64 || layout.align() > MAX_ALIGN {
        return None;
    }
    CLASS_OF_UNITS.get(units).map(|&class| usize::from(class))
}

/// How many blocks of a class are taken from, or given back to, the allocator at a time: about 2 KiB, 2 to 32 blocks.
pub(super) fn batch(class: usize) -> usize {
    (2048 / BLOCK_BYTES[class]).clamp(2, 32)
}

/// What a block of the class is to the allocator.
pub(super) fn layout_of(class: usize) -> Layout {
    // The constant is a power of two, and no length comes near the limit.
    Layout::from_size_align(BLOCK_BYTES[class], align_of::<usize>()).unwrap_or(Layout::new::<[u8; 2040]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for size in 0..4000 {
            let class = class_of(Layout::from_size_align(size, 8).unwrap());
            assert_eq!(class, BLOCK_BYTES.iter().position(|&bytes| bytes >= size), "{size}");
        }
        assert!((0..CLASSES).map(|class| layout_of(class).size()).eq(BLOCK_BYTES));
    }

    #[test]
    fn no_class_serves_a_stricter_alignment_than_its_blocks_have() {
        assert_eq!(class_of(Layout::from_size_align(64, 64).unwrap()), None);
        assert!(class_of(Layout::from_size_align(64, 32).unwrap()).is_some());
    }
}
