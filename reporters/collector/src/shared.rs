//! A guest's shared memory, mapped: the one place of this crate where memory that someone else writes is read.
//!
//! Invariant: no reference into the mapping ever exists. Every read is a single atomic load of an aligned word through a
//! raw pointer, so a word is read once, whole, and whatever the guest does meanwhile is a value, never undefined behaviour.
//! Callers validate the *copy*. The mapping is read-only but for the control page, which is mapped a second time, writable.
//!
//! ```no_run
//! # use fata_collector::shared::SharedMemory;
//! # use fata_wire::packet;
//! # fn f(memory: &SharedMemory) {
//! let mut header = Vec::new();
//! memory.copy(8192, packet::HEADER_BYTES, &mut header); // from here on nothing can change under us
//! # }
//! ```
#![expect(unsafe_code, reason = "words of a mapping that another process or a virtual machine writes are read here")]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::truncated::Guarded;
use crate::xen::device::EventChannel;
use fata_wire::shared::{Geometry, PAGE_BYTES};
use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};

/// Above this length the pages of a packet that was read are given back, so that a large ring does not count as memory of
/// this process.
const KEEP_MAPPED_BYTES: usize = 16 << 20;

/// A mapping of memory that someone else writes, in which pages that are gone read as zeros.
#[derive(Debug)]
pub(crate) struct Mapping {
    // Before the mapping: it is guarded for as long as it lives.
    _guarded: Guarded,
    map: MmapRaw,
}

impl Mapping {
    /// Maps `len_bytes` of `file` from `offset` on.
    pub(crate) fn new(file: &File, offset: u64, len_bytes: usize, writable: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(len_bytes);
        let map = if writable { options.map_raw(file) } else { options.map_raw_read_only(file) }?;
        Ok(Mapping { _guarded: Guarded::new(map.as_ptr(), len_bytes), map })
    }

    /// Where it begins, for the system to fill it.
    pub(crate) fn address(&self) -> usize {
        self.map.as_ptr().expose_provenance()
    }

    /// The word at `offset`.
    ///
    /// # Panics
    /// Where there is no such word.
    pub(crate) fn load(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.map.len(), "a word of the mapping");
        let word = self.map.as_ptr().wrapping_add(offset).cast::<AtomicU64>();
        // SAFETY: the assertion puts the word inside the mapping, aligned; atomic, so a concurrent writer is no data race.
        // Acquire: pairs with the Release of whoever publishes what lies behind the word.
        unsafe { (*word).load(Ordering::Acquire) }
    }

    /// A copy of the page at `offset`, which must be a multiple of [`PAGE_BYTES`].
    ///
    /// # Panics
    /// Where there is no such page.
    pub(crate) fn copy_page(&self, offset: usize) -> Box<[u8; PAGE_BYTES]> {
        assert!(offset.is_multiple_of(PAGE_BYTES) && offset + PAGE_BYTES <= self.map.len(), "a page of the mapping");
        let first = self.map.as_ptr().wrapping_add(offset).cast::<AtomicU64>();
        let mut page = Box::new([0; PAGE_BYTES]);
        for (i, chunk) in page.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: the assertion puts the page inside the mapping, which is page-aligned; the load is atomic, so a
            // concurrent writer is no data race.
            *chunk = unsafe { (*first.wrapping_add(i)).load(Ordering::Acquire) }.to_le_bytes();
        }
        page
    }
}

/// One page that someone else writes, and we too. Every access is atomic, so a concurrent writer is no data race.
#[derive(Debug)]
pub struct WritablePage(Mapping);

impl WritablePage {
    /// Maps the page of `file` at `offset`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(file: &File, offset: u64) -> io::Result<Self> {
        Mapping::new(file, offset, PAGE_BYTES, true).map(WritablePage)
    }

    /// Where a value of this type lies.
    fn place<T>(&self, offset: usize) -> *const T {
        let size = size_of::<T>();
        assert!(offset.is_multiple_of(size) && offset + size <= PAGE_BYTES, "offsets are constants or checked");
        self.0.map.as_ptr().wrapping_add(offset).cast()
    }

    /// Half a word.
    pub(crate) fn load_u32(&self, offset: usize) -> u32 {
        // SAFETY: `place` asserts alignment and bounds inside the mapping, which lives as long as `self`; the load is atomic,
        // so a concurrent writer is no data race.
        // Acquire: pairs with the other side's Release of what the value says is there.
        unsafe { (*self.place::<AtomicU32>(offset)).load(Ordering::Acquire) }
    }

    /// Stores half a word.
    pub(crate) fn store_u32(&self, offset: usize, value: u32) {
        // SAFETY: as in `load_u32`, and the mapping is writable.
        // Release: pairs with the other side's Acquire: what the value says is there is there before.
        unsafe { (*self.place::<AtomicU32>(offset)).store(value, Ordering::Release) }
    }

    /// The byte, for changes that the other side must see in their order.
    pub(crate) fn load_u8(&self, offset: usize) -> u8 {
        // SAFETY: as in `load_u32`.
        // Acquire: pairs with the other side's Release, as there.
        unsafe { (*self.place::<AtomicU8>(offset)).load(Ordering::Acquire) }
    }

    /// Stores a byte.
    pub(crate) fn store_u8(&self, offset: usize, value: u8) {
        // SAFETY: as in `store_u32`.
        // Release: pairs with the other side's Acquire, as there.
        unsafe { (*self.place::<AtomicU8>(offset)).store(value, Ordering::Release) }
    }

    /// Sets bits of a byte; every later look at the page comes after that.
    pub(crate) fn set_bits(&self, offset: usize, bits: u8) {
        // SAFETY: as in `store_u32`.
        // SeqCst: pairs with the other side's `take_bits`: either it sees the bits, or we see what it did before.
        unsafe { (*self.place::<AtomicU8>(offset)).fetch_or(bits, Ordering::SeqCst) };
        fence(Ordering::SeqCst);
    }

    /// Clears bits of a byte, after everything that was stored before, and says which of them were set.
    pub(crate) fn take_bits(&self, offset: usize, bits: u8) -> u8 {
        fence(Ordering::SeqCst);
        // SAFETY: as in `store_u32`.
        // SeqCst: pairs with the other side's `set_bits`.
        unsafe { (*self.place::<AtomicU8>(offset)).fetch_and(!bits, Ordering::SeqCst) & bits }
    }

    /// Copies bytes out of the page, each read once.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        for (place, byte) in (offset..).zip(bytes) {
            // SAFETY: as in `load_u32`.
            *byte = unsafe { (*self.place::<AtomicU8>(place)).load(Ordering::Relaxed) };
        }
    }

    /// Copies bytes into the page.
    ///
    /// # Panics
    /// Where they do not fit into it.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        for (place, byte) in (offset..).zip(bytes) {
            // SAFETY: as in `store_u32`.
            unsafe { (*self.place::<AtomicU8>(place)).store(*byte, Ordering::Relaxed) };
        }
    }
}

/// The region of one guest. Holding one proves that `geometry`'s regions lie inside the mapping.
#[derive(Debug)]
pub struct SharedMemory {
    geometry: Geometry,
    len_bytes: usize,
    ring: Mapping,
    control: Option<Mapping>,
    is_granted: bool,
    bell: Option<EventChannel>,
    remark: Option<String>,
}

impl SharedMemory {
    /// Maps the region of `geometry`, which begins at `offset` of `file`; with `writable` also its control page.
    ///
    /// # Errors
    /// Those of the operating system, such as a file that may only be read.
    pub fn map(file: &File, offset: u64, geometry: Geometry, writable: bool) -> io::Result<Self> {
        let len_bytes = usize::try_from(geometry.total_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let ring = Mapping::new(file, offset, len_bytes, false)?;
        let control =
            if writable { Some(Mapping::new(file, offset + geometry.control_offset, PAGE_BYTES, true)?) } else { None };
        Ok(SharedMemory { geometry, len_bytes, ring, control, is_granted: false, bell: None, remark: None })
    }

    /// The region of `geometry` in memory that is mapped already, with a bell by which either side can call the other.
    ///
    /// # Errors
    /// Where the mapping is shorter than the geometry says.
    pub(crate) fn granted(
        ring: Mapping,
        control: Option<Mapping>,
        geometry: Geometry,
        bell: Option<EventChannel>,
    ) -> io::Result<Self> {
        let len_bytes = usize::try_from(geometry.total_bytes).unwrap_or(usize::MAX);
        if len_bytes > ring.map.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(SharedMemory { geometry, len_bytes, ring, control, is_granted: true, bell, remark: None })
    }

    /// The same, with a sentence on how it was to be had where that is not as usual.
    pub(crate) fn with_remark(self, remark: String) -> Self {
        SharedMemory { remark: Some(remark), ..self }
    }

    /// How the memory was to be had, where that was not as usual: a sentence.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// Asks the guest to look at what was written, where there is a way to do so.
    pub fn ring_bell(&self) {
        if let Some(bell) = &self.bell {
            bell.notify();
        }
    }

    /// Sleeps for `pause`, or until the guest says that there is something to read, where it can. Whether it said so: which it may do
    /// without a reason, as often as it likes.
    pub fn wait(&self, pause: Duration) -> bool {
        match &self.bell {
            Some(bell) => bell.wait(pause),
            None => {
                std::thread::sleep(pause);
                false
            }
        }
    }

    /// Whether the guest can end a [`wait`](Self::wait).
    #[must_use]
    pub fn has_bell(&self) -> bool {
        self.bell.is_some()
    }

    /// What lies where.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether the control page can be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.control.is_some()
    }

    fn word(&self, offset: usize) -> *const AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len_bytes, "offsets come from the checked geometry");
        self.ring.map.as_ptr().wrapping_add(offset).cast()
    }

    /// The word at `offset`.
    ///
    /// # Panics
    /// As [`copy`](SharedMemory::copy).
    #[must_use]
    pub fn load(&self, offset: usize) -> u64 {
        // SAFETY: `word` asserts that the eight bytes lie in the mapping, which lives as long as `self` and is page-aligned,
        // so the pointer is valid and aligned; the load is atomic, so a concurrent writer is no data race.
        // Acquire: pairs with the guest's Release of a lock or of a header word, so that what it published is seen.
        unsafe { (*self.word(offset)).load(Ordering::Acquire) }
    }

    /// Replaces what `out` holds by `len_bytes` bytes from `offset`, each word read once.
    ///
    /// # Panics
    /// Where the range is not inside the region or not of whole words, which no checked geometry leads to.
    pub fn copy(&self, offset: usize, len_bytes: usize, out: &mut Vec<u8>) {
        assert!(len_bytes.is_multiple_of(8) && offset + len_bytes <= self.len_bytes, "inside the checked geometry");
        // No more than is asked for: what a guest makes us hold is bounded by the length of its packets.
        out.reserve_exact(len_bytes.saturating_sub(out.len()));
        out.resize(len_bytes, 0);
        let first = self.word(offset.min(self.len_bytes - 8));
        for (i, chunk) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: the assertion above puts every word of the loop inside the mapping; aligned and atomic as in `load`.
            // Acquire: pairs with the Release of each event's header word, whose payload is read after it.
            let word = unsafe { (*first.wrapping_add(i)).load(Ordering::Acquire) };
            *chunk = word.to_le_bytes();
        }
    }

    /// A copy of the header page.
    #[must_use]
    pub fn header_page(&self) -> Box<[u8; PAGE_BYTES]> {
        self.ring.copy_page(0)
    }

    /// Whether the lock at `offset` still is `lock`, after everything that was copied before this call.
    #[must_use]
    pub fn lock_is_still(&self, offset: usize, lock: u64) -> bool {
        // Acquire fence: pairs with the writer's Release fence between clearing the lock and zeroing the packet, so a copy
        // that saw any newer word sees the newer lock here.
        fence(Ordering::Acquire);
        self.load(offset) == lock
    }

    /// Gives the pages of a packet back to the system if the region is large; they are mapped again when read again.
    pub fn forget(&self, offset: usize, len_bytes: usize) {
        // Granted pages are not the system's to take.
        if !self.is_granted && self.len_bytes > KEEP_MAPPED_BYTES && offset + len_bytes <= self.len_bytes {
            // SAFETY: the mapping is a shared one of a file, so dropping its pages loses no data, and no reference into
            // it exists that could see them go. A failure leaves the pages where they are.
            let _ = unsafe { self.ring.map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len_bytes) };
        }
    }

    fn control<T>(&self, offset: usize) -> Option<*const T> {
        let size = size_of::<T>();
        assert!(offset.is_multiple_of(size) && offset + size <= PAGE_BYTES, "offsets are constants of the format");
        Some(self.control.as_ref()?.map.as_ptr().wrapping_add(offset).cast::<T>())
    }

    /// A word of the control page, 0 where the page is not mapped.
    #[must_use]
    pub fn control_u64(&self, offset: usize) -> u64 {
        // SAFETY: `control` asserts alignment and bounds inside the writable mapping; atomic as in `load`.
        self.control::<AtomicU64>(offset).map_or(0, |word| unsafe { (*word).load(Ordering::Acquire) })
    }

    /// Half a word of the control page, 0 where the page is not mapped.
    #[must_use]
    pub fn control_u32(&self, offset: usize) -> u32 {
        // SAFETY: as in `control_u64`.
        self.control::<AtomicU32>(offset).map_or(0, |word| unsafe { (*word).load(Ordering::Acquire) })
    }

    /// Stores a word of the control page.
    pub fn set_control_u64(&self, offset: usize, value: u64) {
        if let Some(word) = self.control::<AtomicU64>(offset) {
            // SAFETY: as in `control_u64`, and the mapping is writable.
            // Release: pairs with the guest's Acquire when it looks for consumed packets; our reads of them come before.
            unsafe { (*word).store(value, Ordering::Release) }
        }
    }

    /// Stores half a word of the control page.
    pub fn set_control_u32(&self, offset: usize, value: u32) {
        if let Some(word) = self.control::<AtomicU32>(offset) {
            // SAFETY: as in `set_control_u64`.
            // Release: pairs with the guest's Acquire of the generation, so that what it announces is there.
            unsafe { (*word).store(value, Ordering::Release) }
        }
    }

    /// Puts `new` where the control page held `old`, and says what it held if that was not `old`.
    ///
    /// # Errors
    /// The value that was there instead.
    pub fn exchange_control_u64(&self, offset: usize, old: u64, new: u64) -> Result<(), u64> {
        let Some(word) = self.control::<AtomicU64>(offset) else { return Ok(()) };
        // SAFETY: as in `set_control_u64`.
        // AcqRel: pairs with itself in another collector that claims the same ring.
        unsafe { (*word).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) }.map(drop)
    }
}
