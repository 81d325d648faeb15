//! A page that somebody else writes too: another domain, a hypervisor, a device.
//!
//! Rust's references promise that nobody does. So what is in such a page is read and written as atomics, word by word, or
//! copied; what was read is looked at only after that, and only once.

#![expect(unsafe_code, reason = "a shared page is an address")]

use alloc::alloc::{Layout, alloc_zeroed};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Its length.
pub const PAGE_BYTES: usize = 4096;

/// A shared page. Holding one proves that its 4096 bytes are mapped for ever, and that Rust knows no object in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page(NonNull<u8>);

// SAFETY: all access is by atomics or copies (see above).
unsafe impl Send for Page {}
// SAFETY: as for Send.
unsafe impl Sync for Page {}

impl Page {
    /// The page at `address`; `None` at 0.
    ///
    /// # Safety
    /// It must be what this type's invariant says, and aligned.
    #[must_use]
    pub unsafe fn at(address: u64) -> Option<Self> {
        NonNull::new(address as *mut u8).map(Page)
    }

    /// A page of the heap's, zeroed, for ever; `None` where there is no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        let layout = Layout::from_size_align(PAGE_BYTES, PAGE_BYTES).ok()?;
        // SAFETY: the layout has a length.
        NonNull::new(unsafe { alloc_zeroed(layout) }).map(Page)
    }

    /// Its number among the pages of all addresses. On a machine whose virtual addresses are physical ones, the hypervisor's too.
    #[must_use]
    pub fn frame(self) -> u64 {
        (self.0.addr().get() / PAGE_BYTES) as u64
    }

    /// The 32-bit word at byte `at`, a multiple of 4.
    ///
    /// # Panics
    /// Elsewhere.
    #[must_use]
    pub fn word(self, at: usize) -> &'static AtomicU32 {
        assert!(at + 4 <= PAGE_BYTES && at.is_multiple_of(4), "word {at} of a page");
        // SAFETY: inside the page and aligned, as was just checked; mapped for ever, and no Rust object, by the invariant.
        unsafe { AtomicU32::from_ptr(self.0.as_ptr().add(at).cast()) }
    }

    /// The 64-bit word at byte `at`, a multiple of 8.
    ///
    /// # Panics
    /// Elsewhere.
    #[must_use]
    pub fn long(self, at: usize) -> &'static AtomicU64 {
        assert!(at + 8 <= PAGE_BYTES && at.is_multiple_of(8), "long word {at} of a page");
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().add(at).cast()) }
    }

    /// The byte at `at`.
    ///
    /// # Panics
    /// Elsewhere.
    #[must_use]
    pub fn byte(self, at: usize) -> &'static AtomicU8 {
        assert!(at < PAGE_BYTES, "byte {at} of a page");
        // SAFETY: as in `word`.
        unsafe { AtomicU8::from_ptr(self.0.as_ptr().add(at)) }
    }

    /// Writes `bytes` from byte `at` on.
    ///
    /// # Panics
    /// Where they do not fit.
    pub fn write(self, at: usize, bytes: &[u8]) {
        assert!(bytes.len() <= PAGE_BYTES && at <= PAGE_BYTES - bytes.len(), "{} bytes at {at} of a page", bytes.len());
        // SAFETY: inside the page. Who reads meanwhile is another domain, which Rust's rules do not reach; the caller
        // publishes the bytes by a store that releases them.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_ptr().add(at), bytes.len()) }
    }

    /// Copies the bytes from byte `at` on. A domain that writes meanwhile makes them wrong, and nothing else.
    ///
    /// # Panics
    /// Where there are not so many.
    pub fn read(self, at: usize, bytes: &mut [u8]) {
        assert!(bytes.len() <= PAGE_BYTES && at <= PAGE_BYTES - bytes.len(), "{} bytes at {at} of a page", bytes.len());
        // SAFETY: inside the page, and any bytes are bytes.
        unsafe { core::ptr::copy_nonoverlapping(self.0.as_ptr().add(at), bytes.as_mut_ptr(), bytes.len()) }
    }
}
