//! Interrupt controllers: the local APIC, which has the one-shot timer, and the I/O APICs, to which devices' lines go. The
//! old pair of PICs is silenced.
//!
//! Devices' lines are *level-triggered*: a line stays up until its device is asked why, and an interrupt that was ended before
//! would come again at once. So the driver first asks the device, and then ends the interrupt; until then it does not come
//! again, which is as good as a mask and costs nothing. Each access to a controller is an exit to QEMU.
//!
//! Lines are numbered over all I/O APICs (GSI): the first has 0 to 23, and where there is a second, as in `-M microvm` with
//! ACPI, it has 24 to 47. QEMU also gives the first one the lines of the PICs, by the same numbers.
//!
//! Sources: Intel SDM volume 3, chapter 11; 82093AA I/O APIC data sheet.

#![expect(unsafe_code, reason = "the controllers' addresses are fixed by the machine")]

use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu::{self, Port};
use super::mmio::Register;

/// The network device's vector.
pub(super) const NET_VECTOR: u8 = 32;
/// The timer's vector.
pub(super) const TIMER_VECTOR: u8 = 48;
/// The vector for an interrupt that was gone when the CPU asked which it is.
pub(super) const SPURIOUS_VECTOR: u8 = 63;

/// A register of the local APIC.
const fn local(offset: usize) -> Register {
    // SAFETY: the local APIC lies here on every PC unless someone moves it, which nobody does; its registers make it raise
    // interrupts, for which gates exist, and nothing else.
    unsafe { Register::new(0xfee0_0000 + offset) }
}
const END_OF_INTERRUPT: Register = local(0xb0);
const SPURIOUS: Register = local(0xf0);
const TIMER: Register = local(0x320);
const LINE_0: Register = local(0x350);
const LINE_1: Register = local(0x360);
const INITIAL_COUNT: Register = local(0x380);
const CURRENT_COUNT: Register = local(0x390);
const DIVIDER: Register = local(0x3e0);

/// In a local vector entry or a redirection entry: no interrupts from here.
const MASKED: u32 = 1 << 16;
const LEVEL_TRIGGERED: u32 = 1 << 15;
/// How many lines an I/O APIC of QEMU has.
const LINES: u32 = 24;
/// Where the I/O APICs lie, if they are there.
const IO_APICS: [usize; 2] = [0xfec0_0000, 0xfec1_0000];

/// How many counts of the timer are a second; 0 until [`start`].
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

/// Silences the PICs, turns the local APIC on and measures its timer against the TSC of `tsc_hz`. Returns what the timer
/// counts in a second.
pub(super) fn start(tsc_hz: u64) -> u64 {
    for (command, data, vector) in [(0x20, 0x21, 0x20), (0xa0, 0xa1, 0x28)] {
        // Should one speak up all the same (a spurious interrupt cannot be masked), it must not look like an exception.
        Port::new(command).write(0x11);
        Port::new(data).write(vector);
        Port::new(data).write(if command == 0x20 { 4 } else { 2 });
        Port::new(data).write(1);
        Port::new(data).write(0xff);
    }
    SPURIOUS.write(0x100 | u32::from(SPURIOUS_VECTOR));
    LINE_0.write(MASKED);
    LINE_1.write(MASKED);
    DIVIDER.write(0b0011); // by 16: a shot may be a minute away
    TIMER.write(MASKED | u32::from(TIMER_VECTOR));
    let hz = measure_timer(tsc_hz);
    TIMER_HZ.store(hz, Ordering::Relaxed);
    TIMER.write(u32::from(TIMER_VECTOR)); // one-shot
    hz
}

/// Counts for 2 ms.
fn measure_timer(tsc_hz: u64) -> u64 {
    INITIAL_COUNT.write(u32::MAX);
    let start = (CURRENT_COUNT.read(), cpu::ticks());
    while cpu::ticks() - start.1 < tsc_hz / 500 {
        core::hint::spin_loop();
    }
    let end = (CURRENT_COUNT.read(), cpu::ticks());
    INITIAL_COUNT.write(0);
    let hz = u128::from(start.0.wrapping_sub(end.0)) * u128::from(tsc_hz) / u128::from(end.1 - start.1);
    u64::try_from(hz).unwrap_or(u64::MAX)
}

/// Makes the timer interrupt once, in `nanos` nanoseconds or, where that is farther than it can count, earlier.
pub(super) fn interrupt_in(nanos: u64) {
    let counts = u128::from(nanos) * u128::from(TIMER_HZ.load(Ordering::Relaxed)) / 1_000_000_000;
    // A count of 0 would stop the timer.
    INITIAL_COUNT.write(u32::try_from(counts).unwrap_or(u32::MAX).max(1));
}

/// Ends the interrupt of the highest priority that is being handled: it may come again.
pub(super) fn end_of_interrupt() {
    END_OF_INTERRUPT.write(0);
}

/// A device's line. Holding one proves that an I/O APIC has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line(u32);

impl Line {
    /// The line of this number, if the machine has it.
    pub(super) fn of_gsi(gsi: u32) -> Option<Self> {
        let apic = *IO_APICS.get((gsi / LINES) as usize)?;
        is_there(apic).then_some(Line(gsi))
    }

    /// Whether there is a second I/O APIC.
    pub(super) fn beyond_24() -> bool {
        is_there(IO_APICS[1])
    }

    /// Makes the line interrupt at [`NET_VECTOR`] from now on.
    pub(super) fn connect(self) {
        let Some(&apic) = IO_APICS.get((self.0 / LINES) as usize) else { return };
        // An interrupt between the two writes may itself select a register.
        cpu::without_interrupts(|| {
            let (select, window) = io_registers(apic);
            // The upper half of the entry names the CPU: 0, as it is after a reset.
            select.write(0x10 + 2 * (self.0 % LINES));
            window.write(LEVEL_TRIGGERED | u32::from(NET_VECTOR));
        });
    }
}

/// The registers of an I/O APIC: one says which, through the other it is reached. Only this pair is at fixed addresses.
fn io_registers(apic: usize) -> (Register, Register) {
    // SAFETY: `apic` is one of IO_APICS, at which a PC has an I/O APIC or nothing. It raises interrupts and does no more.
    unsafe { (Register::new(apic), Register::new(apic + 0x10)) }
}

fn is_there(apic: usize) -> bool {
    let (select, window) = io_registers(apic);
    cpu::without_interrupts(|| {
        select.write(1); // the version: in bits 16 to 23 the number of the last line
        let version = window.read();
        version != 0 && version != u32::MAX && version >> 16 & 0xff == LINES - 1
    })
}
