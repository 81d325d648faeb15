//! The words that guest and host both touch, the fences between them, and the points where an interrupt may come: the one
//! place that knows of loom.
//!
//! Built with `--cfg loom`, the words that a model [watches](model::watch) are loom's, every fence and ordering can be left
//! out by its place in the source, and the model's interrupt comes at any point that it names. Otherwise all of this is what
//! `core` has, and an interrupt point is nothing.
#![expect(unsafe_code, reason = "a word of shared memory is named by its address")]

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
mod real {
    use core::sync::atomic::AtomicU64;
    pub(crate) use core::sync::atomic::fence;

    /// A word that guest and host both touch.
    pub(crate) type Word<'a> = &'a AtomicU64;

    /// The word at `pointer`.
    ///
    /// # Safety
    /// `pointer` is aligned, lies in a region's memory, and is only accessed atomically.
    #[inline(always)]
    pub(crate) unsafe fn word<'a>(pointer: *mut u64) -> Word<'a> {
        // SAFETY: the caller's contract is that of `from_ptr`.
        unsafe { AtomicU64::from_ptr(pointer) }
    }

    /// Here an interrupt may come.
    #[inline(always)]
    pub(crate) fn interrupt_point() {}
}

#[cfg(loom)]
pub(crate) use model::{Word, fence, interrupt_point, word};
#[cfg(not(loom))]
pub(crate) use real::{Word, fence, interrupt_point, word};
