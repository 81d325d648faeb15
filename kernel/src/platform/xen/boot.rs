//! What starting takes on Xen: the hypercall page and the console; then the shared page, in which time and events are; then
//! XenStore, and last the ring's advertisement, so that what dom0 finds is complete.
//!
//! What does not work without a domain's basics ends in a sentence on the console and a crash; a ring that cannot be granted
//! is a sentence, and the guest runs on.

use core::fmt::Write as _;

use fata_probe::{instant, span};

use super::events;
use super::machine::Console;
use super::machine::boot::refuse;
use super::{clock, console, cpu, hypercall, machine, store, trace};

/// Makes hypercalls and the console work.
pub(in crate::platform) fn start_console(entry_ticks: u64) {
    clock::entered(entry_ticks);
    if hypercall::start() {
        console::start();
    }
}

/// Finds the time, XenStore, and who reads the ring.
pub(in crate::platform) fn start_devices(_args: &str) {
    {
        let _span = span!("boot.clock");
        let page = events::start().unwrap_or_else(|error| refuse(&format_args!("no events: {error}")));
        let hz = clock::start(page);
        if let Some((ticks, system_nanos, unix_nanos)) = clock::anchor() {
            machine::trace::clock_known(hz, ticks, Some(unix_nanos));
            instant!("boot.clock_known", hz = hz, source = "Xen's system time", system_nanos = system_nanos);
        }
        machine::trace::describe("clock", "Xen's system time");
        machine::trace::describe("tsc", tsc());
    }
    let _span = span!("boot.store");
    if let Err(error) = store::start() {
        refuse(&error);
    }
    if let Err(error) = trace::advertise() {
        // The console takes everything, so there is no error to look at.
        let _ = writeln!(Console, "fata: dom0 cannot read the trace ring: {error}");
    }
}

/// No device interrupts: [`events`] says why.
pub(in crate::platform) fn interrupted(_vector: u8) {}

/// Whether reading the clock is an instruction, or a call into Xen of a thousand times the price.
fn tsc() -> &'static str {
    const EMULATED: u32 = 1;
    let leaf = cpu::xen_leaves().map(|base| core::arch::x86_64::__cpuid_count(base + 3, 0));
    match leaf {
        Some(leaf) if leaf.eax & EMULATED != 0 => {
            "emulated by Xen, so that each event costs microseconds: set tsc_mode=\"native\" in the xl.cfg"
        }
        Some(_) => "native",
        None => "unknown",
    }
}
