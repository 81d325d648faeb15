//! A mapped file that somebody shortens: what is gone reads as zeros, and the collector lives.
//!
//! A guest that is a process may cut its own file at any time; the system answers the next read of the mapping with SIGBUS,
//! which ends the reader. Within a [`Guarded`] range a page of zeros takes the place of the one that is gone, and zeros are no
//! packet: the collector finds nothing there and goes on. SIGBUS anywhere else ends the process as ever.
//!
//! When [`MAX_RANGES`] are guarded at a time, further ones are not, and a guest that cuts one of those files ends us.
#![expect(unsafe_code, reason = "a signal handler, and a page that is mapped in it")]

use std::ffi::{c_int, c_void};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use fata_wire::shared::PAGE_BYTES;

const MAX_RANGES: usize = 256;

/// Address and length of each guarded range; length 0 where there is none, 1 while one is being entered.
static RANGES: [(AtomicUsize, AtomicUsize); MAX_RANGES] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; MAX_RANGES];

/// A range of addresses in which a page that is gone reads as zeros, until this is dropped.
#[derive(Debug)]
pub(crate) struct Guarded(Option<usize>);

impl Guarded {
    /// Guards a mapping of a file, which must stay mapped for as long as the result lives.
    pub(crate) fn new(start: *const u8, len_bytes: usize) -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(install);
        // Acquire: pairs with the Release in `drop`; a range is entered only after the last one has left.
        let free =
            RANGES.iter().position(|(_, len)| len.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok());
        if let Some((address, len)) = free.and_then(|slot| RANGES.get(slot)) {
            address.store(start.addr(), Ordering::Relaxed);
            // Release: pairs with the Acquire in the handler, which reads the address after it.
            len.store(len_bytes, Ordering::Release);
        }
        Guarded(free)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some((_, len)) = self.0.and_then(|slot| RANGES.get(slot)) {
            // Release: pairs with the Acquire in `new`.
            len.store(0, Ordering::Release);
        }
    }
}

fn install() {
    // SAFETY: the handler calls nothing but `mmap` and `signal`, which are system calls, and reads atomics. All of `action` is
    // initialised. A failure leaves things as they were without us.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

/// Puts a page of zeros where a guarded one is gone, and lets the read be tried again.
extern "C" fn on_bus_error(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the system passes a valid `info`, in which SIGBUS has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    let guarded = RANGES.iter().any(|(start, len)| {
        // Acquire: pairs with the Release in `new`.
        let len = len.load(Ordering::Acquire);
        len > 1 && address.wrapping_sub(start.load(Ordering::Relaxed)) < len
    });
    let page = address & !(PAGE_BYTES - 1);
    // SAFETY: the page lies in a mapping that this crate made and nobody refers into; whoever reads it does so again, and
    // then finds zeros. Writes go to the page and no further.
    let mapped = guarded
        && unsafe {
            let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let at = std::ptr::without_provenance_mut::<c_void>(page);
            libc::mmap(at, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) != libc::MAP_FAILED
        };
    if !mapped {
        // SAFETY: the default action takes our place; when we return, the same access faults again and ends the process.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    }
}
