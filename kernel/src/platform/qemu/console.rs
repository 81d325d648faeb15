//! The console: the first serial port, written byte by byte without a lock and without memory of its own.
//!
//! When it is full: a byte waits up to 20 ms for room in the port. Where nobody reads at the other end, the rest of the text
//! is discarded, its bytes are counted ([`discarded_bytes`]), and the following text waits no longer than one look until
//! the port takes bytes again.
//!
//! There is one vCPU, so the only writer that can come between two bytes is the exception handler, whose text then begins
//! in the middle of a line: it starts a line of its own.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::cpu::{self, Port};

const DATA: Port = Port::new(0x3f8);
const INTERRUPT_ENABLE: Port = Port::new(0x3f9);
const FIFO_CONTROL: Port = Port::new(0x3fa);
const LINE_CONTROL: Port = Port::new(0x3fb);
const MODEM_CONTROL: Port = Port::new(0x3fc);
const LINE_STATUS: Port = Port::new(0x3fd);
const SCRATCH: Port = Port::new(0x3ff);

/// In [`LINE_STATUS`]: the FIFO is empty, and takes [`FIFO_BYTES`].
const TRANSMITTER_EMPTY: u8 = 0x20;
const FIFO_BYTES: usize = 16;
/// How long a byte may wait: 20 ms of a TSC of 3 GHz. The clock is not calibrated when the first lines are written.
const PATIENCE_TICKS: u64 = 60_000_000;

static PRESENT: AtomicBool = AtomicBool::new(false);
static STALLED: AtomicBool = AtomicBool::new(false);
static DISCARDED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Sets the port up. Without a port (`-M microvm,isa-serial=off`) every text is discarded.
pub(super) fn start() {
    // The scratch register keeps what is written to it, on every port that exists.
    SCRATCH.write(0x5a);
    if SCRATCH.read() != 0x5a {
        return;
    }
    INTERRUPT_ENABLE.write(0);
    LINE_CONTROL.write(0x80); // the next two writes set the divisor
    DATA.write(1); // 115200 baud; a virtual port does not care
    INTERRUPT_ENABLE.write(0);
    LINE_CONTROL.write(0x03); // 8 bits, no parity, one stop bit
    FIFO_CONTROL.write(0x07); // FIFOs on and empty
    MODEM_CONTROL.write(0x03); // ready
    PRESENT.store(true, Ordering::Relaxed);
}

/// Writes the text; line ends become what a terminal expects.
pub(crate) fn write(text: &str) {
    if !PRESENT.load(Ordering::Relaxed) {
        discard(text.len());
        return;
    }
    let mut room = 0;
    for (at, byte) in text.bytes().enumerate() {
        for byte in [b'\r', byte].into_iter().skip(usize::from(byte != b'\n')) {
            if room == 0 {
                if !wait_for_room() {
                    discard(text.len() - at);
                    return;
                }
                room = FIFO_BYTES;
            }
            DATA.write(byte);
            room -= 1;
        }
    }
}

/// Writes as many of the bytes as the port's FIFO takes now; how many that were. Without a port all are discarded.
pub(crate) fn try_write(bytes: &[u8]) -> usize {
    if !PRESENT.load(Ordering::Relaxed) {
        discard(bytes.len());
        return bytes.len();
    }
    if LINE_STATUS.read() & TRANSMITTER_EMPTY == 0 {
        return 0;
    }
    let mut room = FIFO_BYTES;
    for (at, &byte) in bytes.iter().enumerate() {
        let needed = 1 + usize::from(byte == b'\n');
        if room < needed {
            return at;
        }
        if byte == b'\n' {
            DATA.write(b'\r');
        }
        DATA.write(byte);
        room -= needed;
    }
    bytes.len()
}

/// Bytes that found no reader since boot.
#[must_use]
pub(crate) fn discarded_bytes() -> u64 {
    DISCARDED_BYTES.load(Ordering::Relaxed)
}

fn discard(bytes: usize) {
    DISCARDED_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

fn wait_for_room() -> bool {
    let patience = if STALLED.load(Ordering::Relaxed) { 0 } else { PATIENCE_TICKS };
    let start = cpu::ticks();
    loop {
        if LINE_STATUS.read() & TRANSMITTER_EMPTY != 0 {
            STALLED.store(false, Ordering::Relaxed);
            return true;
        }
        if cpu::ticks().wrapping_sub(start) >= patience {
            STALLED.store(true, Ordering::Relaxed);
            return false;
        }
        core::hint::spin_loop();
    }
}
