//! What starting takes on QEMU's machines: the clock, then the interrupt controllers, whose timer it measures.
//!
//! | parameter | meaning |
//! |---|---|
//! | `tsc_hz=` | what the TSC counts in a second, where the host knows better than a measurement of 40 ms |
//! | `virtio_mmio.device=` | where a device is; QEMU's own, on `-M microvm,acpi=off` |

use fata_probe::{instant, span_begin, span_end};

use super::apic::{NET_VECTOR, SPURIOUS_VECTOR, TIMER_VECTOR};
use super::machine::boot::{number, refuse};
use super::machine::{kicked, trace};
use super::{apic, clock, console, cpu, emulated, idle, net};

/// Makes the console work.
pub(in crate::platform) fn start_console(entry_ticks: u64) {
    clock::entered(entry_ticks);
    console::start();
}

/// Finds the time and makes interrupts come.
pub(in crate::platform) fn start_devices(args: &str) {
    let span = span_begin!("boot.clock");
    let (hz, source) = clock::start(number(args, "tsc_hz")).unwrap_or_else(|| {
        refuse(&"no clock: the machine has no PIT, and no boot parameter `tsc_hz=` (between 1 MHz and 100 GHz) tells")
    });
    trace::clock_known(hz, fata_probe::ticks(), clock::unix_nanos());
    instant!("boot.clock_known", hz = hz, source = source.text());
    span_end!(span);

    let span = span_begin!("boot.interrupts");
    let timer_hz = apic::start(hz);
    span_end!(span);
    if timer_hz == 0 {
        refuse(&"the local timer does not count: give the machine an APIC");
    }
    instant!("boot.timer", hz = timer_hz);
    trace::describe("clock", source.text());
    emulated::start();
    cpu::enable_interrupts();
}

/// A device's interrupt. Interrupts are off.
pub(in crate::platform) fn interrupted(vector: u8) {
    match vector {
        NET_VECTOR => {
            net::interrupted();
            kicked::kick();
        }
        SPURIOUS_VECTOR => (),
        TIMER_VECTOR => {
            idle::shot();
            apic::end_of_interrupt();
        }
        // No device was told any other vector. Answering keeps the next interrupts coming.
        _ => apic::end_of_interrupt(),
    }
}
