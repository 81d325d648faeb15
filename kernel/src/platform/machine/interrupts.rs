//! What the CPU does when something happens: the table of gates, and who answers at each.
//!
//! Invariant: every gate runs on a stack of its own, exceptions on another than devices, so that a fault in a handler is
//! still reported, and so is a stack that has run over. Handlers of devices note what happened and wake the executor; they
//! never allocate and never take a lock.
//!
//! | vector | what | who answers |
//! |---|---|---|
//! | 0 to 31 | exceptions | [`exception`]: prints where and why, seals the ring, ends the guest |
//! | 32 | QEMU's network device | the driver, and it is the driver that ends the interrupt |
//! | 48 | QEMU's one-shot timer | it ends the pause, no more |
//! | 63 | spurious | nobody, as the manual asks |
//!
//! The upper four bits of a vector are its priority: the timer interrupts while the network device is not answered yet. Xen
//! interrupts by none: see its `events`.

#![expect(unsafe_code, reason = "descriptor tables are read by the CPU, and handlers are entered from assembly")]

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

use super::exception;
use crate::platform::chosen;

global_asm!(include_str!("interrupts.s"));

/// Vectors that have a stub.
const VECTORS: usize = 64;
const STACK_BYTES: usize = 32 * 1024;
/// The stack of each kind of gate, as the CPU counts them.
const EXCEPTION_STACK: u64 = 1;
const DEVICE_STACK: u64 = 2;
const DOUBLE_FAULT_STACK: u64 = 3;

/// The interrupted registers, as `interrupts.s` and the CPU push them.
#[repr(C)]
pub(in crate::platform) struct Frame {
    /// r15 down to r8.
    pub(in crate::platform) r15_to_r8: [u64; 8],
    pub(in crate::platform) rbp: u64,
    pub(in crate::platform) rdi: u64,
    pub(in crate::platform) rsi: u64,
    pub(in crate::platform) rdx: u64,
    pub(in crate::platform) rcx: u64,
    pub(in crate::platform) rbx: u64,
    pub(in crate::platform) rax: u64,
    pub(in crate::platform) vector: u64,
    pub(in crate::platform) error: u64,
    pub(in crate::platform) rip: u64,
    pub(in crate::platform) cs: u64,
    pub(in crate::platform) flags: u64,
    pub(in crate::platform) rsp: u64,
    pub(in crate::platform) ss: u64,
}

/// Memory that the CPU reads; written once, at boot.
#[repr(align(16))]
struct Table<T>(UnsafeCell<T>);

// SAFETY: there is one vCPU; `start` writes with interrupts off, and after it no Rust code touches the cell.
unsafe impl<T> Sync for Table<T> {}

static GATES: Table<[[u64; 2]; VECTORS]> = Table(UnsafeCell::new([[0; 2]; VECTORS]));
/// The task state segment, of which 64-bit mode uses the stacks for gates: number n in words 9 + 2 (n - 1) and the next.
static TASK_STATE: Table<[u32; 26]> = Table(UnsafeCell::new([0; 26]));
static STACKS: Table<[[u8; STACK_BYTES]; 3]> = Table(UnsafeCell::new([[0; STACK_BYTES]; 3]));

unsafe extern "C" {
    /// The stubs in `interrupts.s`, one per vector.
    static fata_interrupt_stubs: [[u8; 16]; VECTORS];
    /// The segments that the image's entry has loaded, with room for a descriptor of two words at index 3.
    static mut boot_gdt: [u64; 5];
}

/// What `lidt` reads.
#[repr(C, packed)]
struct TablePointer {
    last_byte: u16,
    address: u64,
}

/// Loads the gates. From here on an exception is reported; interrupts of devices stay off.
#[expect(clippy::cast_possible_truncation, reason = "addresses are cut into the pieces that descriptors want")]
pub(in crate::platform) fn start() {
    let stacks = STACKS.0.get() as u64;
    let stubs = &raw const fata_interrupt_stubs as u64;
    let task_state = TASK_STATE.0.get() as u64;
    // SAFETY: boot calls this once, with interrupts off on the only vCPU, so nothing else touches the tables. They are
    // statics, so the addresses that the CPU is given hold for ever, and the lengths are their own. 0x18 is the selector
    // of the descriptor that is written just before.
    unsafe {
        for stack in [EXCEPTION_STACK, DEVICE_STACK, DOUBLE_FAULT_STACK] {
            let top = stacks + stack * STACK_BYTES as u64;
            let word = 9 + 2 * (stack as usize - 1);
            (*TASK_STATE.0.get())[word] = top as u32;
            (*TASK_STATE.0.get())[word + 1] = (top >> 32) as u32;
        }
        // Available 64-bit task state segment, present (0x89).
        boot_gdt[3] = 103 | (task_state & 0xff_ffff) << 16 | 0x89 << 40 | (task_state >> 24 & 0xff) << 56;
        boot_gdt[4] = task_state >> 32;
        asm!("ltr {0:x}", in(reg) 0x18u16, options(nostack, preserves_flags));

        for (vector, gate) in (0u64..).zip((*GATES.0.get()).iter_mut()) {
            let stack = match vector {
                8 => DOUBLE_FAULT_STACK,
                0..32 => EXCEPTION_STACK,
                _ => DEVICE_STACK,
            };
            let stub = stubs + vector * 16;
            // Interrupt gate, present (0x8e), in code segment 8.
            *gate = [stub & 0xffff | 8 << 16 | stack << 32 | 0x8e << 40 | (stub & 0xffff_0000) << 32, stub >> 32];
        }
        let pointer = TablePointer { last_byte: (VECTORS * 16 - 1) as u16, address: GATES.0.get() as u64 };
        asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags));
    }
}

/// Entered from `interrupts.s`, with interrupts off.
// SAFETY: no other function of the image has this name.
#[unsafe(no_mangle)]
extern "C" fn fata_interrupt(frame: &mut Frame) {
    match u8::try_from(frame.vector) {
        Ok(vector @ 0..32) => exception::report(vector, frame),
        Ok(vector) => chosen::interrupted(vector),
        Err(_) => (),
    }
}
