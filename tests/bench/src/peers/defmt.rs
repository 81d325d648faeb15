//! `defmt`, the encoding: an interned number for the words, raw arguments, a time stamp, framed as rzCOBS. Its transports are
//! for debug probes, so the frames go into a ring of bytes of ours, which nobody reads, as its RTT without a host does.
//!
//! The level is ERROR because `defmt` leaves out all others unless the environment of the compiler says otherwise.
#![expect(unsafe_code, reason = "a global logger of defmt is unsafe to implement")]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Server;
use crate::case::timed;

const RING_BYTES: usize = 64 << 10;

struct Ring {
    bytes: UnsafeCell<[u8; RING_BYTES]>,
    encoder: UnsafeCell<defmt::Encoder>,
    written: AtomicUsize,
}

// SAFETY: the program that serves these cases has one thread, which logs from no interrupt.
unsafe impl Sync for Ring {}

static RING: Ring = Ring {
    bytes: UnsafeCell::new([0; RING_BYTES]),
    encoder: UnsafeCell::new(defmt::Encoder::new()),
    written: AtomicUsize::new(0),
};

fn put(frame: &[u8]) {
    let at = RING.written.load(Ordering::Relaxed);
    // SAFETY: see `Sync`.
    let bytes = unsafe { &mut *RING.bytes.get() };
    for (i, &byte) in frame.iter().enumerate() {
        bytes[(at + i) % RING_BYTES] = byte;
    }
    RING.written.store(at + frame.len(), Ordering::Relaxed);
}

#[defmt::global_logger]
struct Logger;

// SAFETY: one thread, and no record within another.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        // SAFETY: see `Sync`.
        unsafe { (*RING.encoder.get()).start_frame(put) }
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: see `Sync`.
        unsafe { (*RING.encoder.get()).end_frame(put) }
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: see `Sync`.
        unsafe { (*RING.encoder.get()).write(bytes, put) }
    }
}

defmt::timestamp!("{=u64}", fata_probe::ticks());

/// Rounds with so many fields.
pub(super) fn server(fields: &str) -> Option<Server> {
    let round: fn(u64) -> f64 = match fields {
        "0" => |n| timed!(n, 1, |i| defmt::error!("request served");),
        "1" => |n| timed!(n, 1, |i| defmt::error!("request served id={=u64}", i);),
        "3" => |n| timed!(n, 1, |i| defmt::error!("served id={=u64} status={=u64} bytes={=u64}", i, !i, i + 1);),
        _ => return None,
    };
    Some(Box::new(move |records| {
        let before = RING.written.load(Ordering::Relaxed);
        let nanos = round(records);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let bytes = (RING.written.load(Ordering::Relaxed) - before) as f64 / records as f64;
        Ok((nanos, Some(bytes)))
    }))
}
