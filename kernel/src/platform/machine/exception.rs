//! A CPU exception, in words: what happened, where, and, as far as the machine knows, why.
//!
//! ```text
//! exception 14, page fault, at rip 0x101a2f: writing to 0x124ff8, which is the guard page below the stack: the stack is full
//!   error 0x2  cr2 0x124ff8  rsp 0x125000  flags 0x10046
//!   rax …
//! ```
//!
//! The exception ends the guest; its first line is kept in the sealed ring.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicBool, Ordering};

use super::interrupts::Frame;
use super::{Console, cpu, pages, power};
use crate::platform::chosen::console;

/// Set while an exception is being reported: a second one means that the report itself faults.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// Prints what happened and ends the guest.
pub(in crate::platform) fn report(vector: u8, frame: &Frame) -> ! {
    let what = What { vector, error: frame.error, rip: frame.rip, address: cpu::fault_address() };
    if REPORTING.swap(true, Ordering::Relaxed) {
        console::write("\nand another exception while reporting it\n");
        power::stop(power::EXIT_EXCEPTION);
    }
    let Frame { rbp, rdi, rsi, rdx, rcx, rbx, rax, .. } = frame;
    let [r15, r14, r13, r12, r11, r10, r9, r8] = frame.r15_to_r8;
    // The console takes everything, so there is no error to look at.
    let _ = write!(
        Console,
        "\n{what}\n  error {:#x}  cr2 {:#x}  rsp {:#x}  flags {:#x}\n  \
         rax {rax:#x}  rbx {rbx:#x}  rcx {rcx:#x}  rdx {rdx:#x}  rsi {rsi:#x}  rdi {rdi:#x}  rbp {rbp:#x}\n  \
         r8 {r8:#x}  r9 {r9:#x}  r10 {r10:#x}  r11 {r11:#x}  r12 {r12:#x}  r13 {r13:#x}  r14 {r14:#x}  r15 {r15:#x}\n",
        frame.error, what.address, frame.rsp, frame.flags,
    );
    power::died(format_args!("{what}"), power::EXIT_EXCEPTION)
}

/// The exception as a sentence.
struct What {
    vector: u8,
    error: u64,
    rip: u64,
    address: u64,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exception {}, {}, at rip {:#x}", self.vector, name(self.vector), self.rip)?;
        match self.vector {
            14 => self.page_fault(f),
            8 => f.write_str(": an exception could not be delivered, most likely because a stack is full"),
            10..=13 if self.error != 0 => write!(f, ": segment selector {:#x}", self.error),
            13 => f.write_str(": a non-canonical address, a privileged register, or a misaligned SSE access"),
            _ => Ok(()),
        }
    }
}

impl What {
    fn page_fault(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.error {
            error if error & 16 != 0 => "running code at",
            error if error & 2 != 0 => "writing to",
            _ => "reading from",
        };
        write!(f, ": {access} {:#x}, which is ", self.address)?;
        f.write_str(match self.address {
            0..4096 => "the page at 0: a null pointer",
            address if pages::is_stack_guard(address) => "the guard page below the stack: the stack is full",
            _ if self.error & 1 != 0 => "mapped without that right",
            _ => "not mapped",
        })
    }
}

fn name(vector: u8) -> &'static str {
    match vector {
        0 => "division by zero or too large a quotient",
        1 => "debug trap",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow trap",
        5 => "bound exceeded",
        6 => "instruction that does not exist (or that the compiler placed where none may come)",
        7 => "no floating point unit",
        8 => "double fault",
        10 => "invalid task state",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "floating point error",
        17 => "misaligned access",
        18 => "machine check",
        19 => "SSE floating point error",
        21 => "control protection fault",
        _ => "reserved",
    }
}
