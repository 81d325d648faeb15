//! A page that somebody else writes too: dom0, Xen, or a backend.
//!
//! Rust's references promise that nobody does. So what is in such a page is read and written as atomics, word by word, or
//! copied; what was read is looked at only after that, and only once.

#![expect(unsafe_code, reason = "a shared page is an address")]

use alloc::alloc::{Layout, alloc_zeroed};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

pub(super) const PAGE_BYTES: usize = 4096;

/// A shared page. Holding one proves that its 4096 bytes are mapped for ever, and that Rust knows no object in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page(NonNull<u8>);

// SAFETY: all access is by atomics or copies (see above).
unsafe impl Send for Page {}
// SAFETY: as for Send.
unsafe impl Sync for Page {}

impl Page {
    /// The page at `address`.
    ///
    /// # Safety
    /// It must be what this type's invariant says, and aligned.
    pub(super) unsafe fn at(address: u64) -> Option<Self> {
        NonNull::new(address as *mut u8).map(Page)
    }

    /// A page of the heap's, zeroed, for ever; `None` where there is no memory.
    pub(super) fn new() -> Option<Self> {
        let layout = Layout::from_size_align(PAGE_BYTES, PAGE_BYTES).ok()?;
        // SAFETY: the layout has a length.
        NonNull::new(unsafe { alloc_zeroed(layout) }).map(Page)
    }

    /// Its number, by which Xen knows it. Virtual and physical addresses are the same.
    pub(super) fn frame(self) -> u64 {
        (self.0.addr().get() / PAGE_BYTES) as u64
    }

    /// The 32-bit word at byte `at`, a multiple of 4.
    pub(super) fn word(self, at: usize) -> &'static AtomicU32 {
        assert!(at + 4 <= PAGE_BYTES && at.is_multiple_of(4), "word {at} of a page");
        // SAFETY: inside the page and aligned, as was just checked; mapped for ever, and no Rust object, by the invariant.
        unsafe { AtomicU32::from_ptr(self.0.as_ptr().add(at).cast()) }
    }

    /// The 64-bit word at byte `at`, a multiple of 8.
    pub(super) fn long(self, at: usize) -> &'static AtomicU64 {
        assert!(at + 8 <= PAGE_BYTES && at.is_multiple_of(8), "long word {at} of a page");
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().add(at).cast()) }
    }

    /// The byte at `at`.
    pub(super) fn byte(self, at: usize) -> &'static AtomicU8 {
        assert!(at < PAGE_BYTES, "byte {at} of a page");
        // SAFETY: as in `word`.
        unsafe { AtomicU8::from_ptr(self.0.as_ptr().add(at)) }
    }

    /// Writes `bytes` from byte `at` on.
    pub(super) fn write(self, at: usize, bytes: &[u8]) {
        assert!(bytes.len() <= PAGE_BYTES && at <= PAGE_BYTES - bytes.len(), "{} bytes at {at} of a page", bytes.len());
        // SAFETY: inside the page. Who reads meanwhile is another domain, which Rust's rules do not reach; the caller
        // publishes the bytes by a store that releases them.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_ptr().add(at), bytes.len()) }
    }

    /// Copies the bytes from byte `at` on. A domain that writes meanwhile makes them wrong, and nothing else.
    pub(super) fn read(self, at: usize, bytes: &mut [u8]) {
        assert!(bytes.len() <= PAGE_BYTES && at <= PAGE_BYTES - bytes.len(), "{} bytes at {at} of a page", bytes.len());
        // SAFETY: inside the page, and any bytes are bytes.
        unsafe { core::ptr::copy_nonoverlapping(self.0.as_ptr().add(at), bytes.as_mut_ptr(), bytes.len()) }
    }
}

/// A ring of bytes in a shared page, with two free-running indices beside it: one end only puts in, the other only takes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteRing {
    pub(super) page: Page,
    /// Where its bytes begin.
    pub(super) at: usize,
    /// How many there are: a power of two.
    pub(super) len: usize,
    /// Where the index of the end that puts in lies.
    pub(super) produced: usize,
    /// Where the index of the end that takes out lies.
    pub(super) consumed: usize,
}

impl ByteRing {
    /// How many bytes can be taken out. Indices that cannot be right count as an empty ring.
    pub(super) fn filled(self) -> usize {
        let consumed = self.page.word(self.consumed).load(Ordering::Acquire);
        // Acquire: pairs with the other end's release of what it has put in (`put` in our own case).
        let filled = self.page.word(self.produced).load(Ordering::Acquire).wrapping_sub(consumed) as usize;
        if filled > self.len { 0 } else { filled }
    }

    /// How many bytes can be put in.
    pub(super) fn free(self) -> usize {
        let produced = self.page.word(self.produced).load(Ordering::Acquire);
        // Acquire: pairs with the other end's release of what it has taken out (`take`).
        let filled = produced.wrapping_sub(self.page.word(self.consumed).load(Ordering::Acquire)) as usize;
        self.len.saturating_sub(filled)
    }

    /// Puts in as much of `bytes` as there is room for, and says how much that was.
    pub(super) fn put(self, bytes: &[u8]) -> usize {
        let bytes = &bytes[..bytes.len().min(self.free())];
        let index = self.page.word(self.produced);
        let start = index.load(Ordering::Relaxed);
        let offset = start as usize & (self.len - 1);
        let (first, rest) = bytes.split_at(bytes.len().min(self.len - offset));
        self.page.write(self.at + offset, first);
        self.page.write(self.at, rest);
        #[expect(clippy::cast_possible_truncation, reason = "no longer than the ring, which lies in a page")]
        // Release: pairs with the other end's acquire: the bytes are there before the index says so.
        index.store(start.wrapping_add(bytes.len() as u32), Ordering::Release);
        bytes.len()
    }

    /// Takes out as much as there is, at most `bytes.len()`, and says how much that was.
    pub(super) fn take(self, bytes: &mut [u8]) -> usize {
        let len = bytes.len().min(self.filled());
        let index = self.page.word(self.consumed);
        let start = index.load(Ordering::Relaxed);
        let offset = start as usize & (self.len - 1);
        let (first, rest) = bytes[..len].split_at_mut(len.min(self.len - offset));
        self.page.read(self.at + offset, first);
        self.page.read(self.at, rest);
        #[expect(clippy::cast_possible_truncation, reason = "no longer than the ring, which lies in a page")]
        // Release: pairs with the other end's acquire: the bytes are copied before their room is given back.
        index.store(start.wrapping_add(len as u32), Ordering::Release);
        len
    }
}
