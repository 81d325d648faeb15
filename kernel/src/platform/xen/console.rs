//! The console: a ring that `xenconsoled` in dom0 reads and keeps in its log, and shows to `xl console`.
//!
//! When it is full: a byte waits up to 20 ms for room. Where nobody reads at the other end, the rest of the text is discarded,
//! its bytes are counted ([`discarded_bytes`]), and the following text waits no longer than one look until there is room.

#![expect(unsafe_code, reason = "Xen says at which address the ring is")]

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::cpu;
use super::hypercall::{self, Parameter};
use crate::ring::{ByteRing, Page};

/// How long a byte may wait: 20 ms of a TSC of 3 GHz. The clock is not known when the first lines are written.
const PATIENCE_TICKS: u64 = 60_000_000;

static RING: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static PORT: AtomicU32 = AtomicU32::new(0);
static STALLED: AtomicBool = AtomicBool::new(false);
static DISCARDED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Asks where the ring is. Without one every text is discarded.
pub(super) fn start() {
    let (Ok(frame), Ok(port)) =
        (hypercall::parameter(Parameter::ConsolePage), hypercall::parameter(Parameter::ConsolePort))
    else {
        return;
    };
    PORT.store(u32::try_from(port).unwrap_or(0), Ordering::Relaxed);
    RING.store((frame << 12) as *mut (), Ordering::Relaxed);
}

/// What we put in lies at byte 1024 (`io/console.h`).
fn ring() -> Option<ByteRing> {
    // SAFETY: null, or the page that Xen's toolstack has made for this ring, below 4 GiB and thus mapped.
    let page = unsafe { Page::at(RING.load(Ordering::Relaxed) as u64) }?;
    Some(ByteRing { page, at: 1024, len: 2048, consumed: 3080, produced: 3084 })
}

/// Writes the text; line ends become what a terminal expects.
pub(crate) fn write(text: &str) {
    let Some(ring) = ring() else {
        discard(text.len());
        return;
    };
    let mut lines = text.split('\n').peekable();
    let mut left = text.len();
    while let Some(line) = lines.next() {
        let end = if lines.peek().is_some() { "\r\n" } else { "" };
        if !put(ring, line.as_bytes()) || !put(ring, end.as_bytes()) {
            discard(left);
            break;
        }
        left = left.saturating_sub(line.len() + 1);
    }
    hypercall::send(PORT.load(Ordering::Relaxed));
}

/// Writes as many of the bytes as the ring has room for; how many that were. Without a ring all are discarded.
pub(crate) fn try_write(bytes: &[u8]) -> usize {
    let Some(ring) = ring() else {
        discard(bytes.len());
        return bytes.len();
    };
    let mut taken = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        // A line end goes whole or not at all.
        let len = ring.put(text.get(..ring.free().saturating_sub(2)).unwrap_or(text));
        taken += len;
        if len < text.len() {
            break;
        }
        if line.len() > text.len() {
            if ring.free() < 2 {
                break;
            }
            // There is room for it.
            let _ = ring.put(b"\r\n");
            taken += 1;
        }
    }
    if taken > 0 {
        hypercall::send(PORT.load(Ordering::Relaxed));
    }
    taken
}

/// Bytes that found no reader since boot.
#[must_use]
pub(crate) fn discarded_bytes() -> u64 {
    DISCARDED_BYTES.load(Ordering::Relaxed)
}

fn discard(bytes: usize) {
    DISCARDED_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Puts all of it in, waiting for room; whether there was any in time.
fn put(ring: ByteRing, mut bytes: &[u8]) -> bool {
    let mut start = cpu::ticks();
    while !bytes.is_empty() {
        let len = ring.put(bytes);
        bytes = &bytes[len..];
        if len > 0 {
            STALLED.store(false, Ordering::Relaxed);
            start = cpu::ticks();
            continue;
        }
        let patience = if STALLED.load(Ordering::Relaxed) { 0 } else { PATIENCE_TICKS };
        if cpu::ticks().wrapping_sub(start) >= patience {
            STALLED.store(true, Ordering::Relaxed);
            return false;
        }
        hypercall::send(PORT.load(Ordering::Relaxed));
        core::hint::spin_loop();
    }
    true
}
