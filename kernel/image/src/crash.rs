//! Ways to die, for trying out what remains: the boot parameter `crash=KIND` ends the guest so once its sample has ended.
//!
//! Each must leave a sentence on the console, a sealed ring with the same sentence, and a non-zero exit code. The last one leaves
//! the ring as it is, in the middle of a record: so looks what a guest leaves that had no time for last words.
#![expect(unsafe_code, reason = "the point is to do what sound code cannot")]

use core::arch::asm;
use core::hint::black_box;

use fata_kernel::platform::power;
use fata_probe::instant;

/// A way to die, and its name.
#[derive(Clone, Copy)]
pub(crate) struct Crash {
    pub(crate) name: &'static str,
    pub(crate) happen: fn(),
}

/// All of them.
pub(crate) const CRASHES: &[Crash] = &[
    Crash { name: "panic", happen: || panic!("crash=panic was asked for") },
    Crash { name: "null", happen: null },
    Crash { name: "page-fault", happen: page_fault },
    Crash { name: "write-text", happen: write_text },
    Crash { name: "run-data", happen: run_data },
    Crash { name: "stack-overflow", happen: stack_overflow },
    Crash { name: "invalid-instruction", happen: invalid_instruction },
    Crash { name: "unfinished", happen: unfinished },
];

/// An address that is not mapped.
const BEYOND_MEMORY: u64 = 0x20_0000_0000;

fn null() {
    write_to(0x10);
}

/// Writes beyond the mapped first 4 GiB.
fn page_fault() {
    write_to(BEYOND_MEMORY);
}

fn write_text() {
    write_to(write_text as *const () as u64);
}

fn write_to(address: u64) {
    // SAFETY: none; the page is not writable, so that the instruction faults and changes nothing. In assembly, since the
    // compiler may do as it likes with such a write in Rust.
    unsafe { asm!("mov byte ptr [{}], 1", in(reg) address) }
}

fn run_data() {
    static DATA: [u8; 16] = [0xc3; 16]; // `ret`, sixteen times
    // SAFETY: none; the page is not executable, so that the call faults.
    unsafe { asm!("call {}", in(reg) DATA.as_ptr(), clobber_abi("C")) }
}

fn stack_overflow() {
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + frame[0] }
    }
    black_box(deeper(0));
}

fn invalid_instruction() {
    // SAFETY: raises an exception and does nothing else.
    unsafe { asm!("ud2") }
}

/// Dies when a record's place is reserved and its content is not there.
fn unfinished() {
    power::seal_no_more();
    let address = black_box(BEYOND_MEMORY as *const u8);
    // SAFETY: none; there is no such text, so that copying it into the record faults.
    let text = unsafe { core::str::from_utf8_unchecked(core::slice::from_raw_parts(address, 24)) };
    instant!("crash.unfinished", text = text);
}
