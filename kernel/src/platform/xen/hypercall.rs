//! Calls into Xen: a page of entries that Xen itself fills in, one per call.
//!
//! Each function is one call with exactly the structure that it reads and writes. An answer below 0 is an error number of
//! Xen's ([`Refused`]).

#![expect(unsafe_code, reason = "hypercalls are made in assembly, with addresses of structures")]

use core::arch::{asm, global_asm};
use core::fmt;
use core::sync::atomic::AtomicU32;

use super::cpu;

global_asm!(
    ".section .text.xen_hypercalls, \"ax\", @progbits",
    ".balign 4096",
    ".global xen_hypercall_page",
    "xen_hypercall_page:",
    ".skip 4096, 0xcc",
    ".text",
);

unsafe extern "C" {
    /// Entries of 32 bytes.
    static xen_hypercall_page: u8;
}

/// Numbers of hypercalls (`xen.h`).
const MEMORY_OP: u64 = 12;
const GRANT_TABLE_OP: u64 = 20;
const SCHED_OP: u64 = 29;
const EVENT_CHANNEL_OP: u64 = 32;
const HVM_OP: u64 = 34;

/// "Myself", where a domain is asked for.
pub(super) const DOMID_SELF: u16 = 0x7ff0;

/// Xen said no, with this error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) i64);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xen refuses with error {}", self.0)
    }
}

/// Has Xen fill in the page. Nothing else here may be called before.
pub(super) fn start() -> bool {
    let Some(base) = cpu::xen_leaves() else { return false };
    let msr = core::arch::x86_64::__cpuid(base + 2).ebx;
    let page = &raw const xen_hypercall_page as u64;
    // SAFETY: the register is the one by which Xen is told where its page is to be (`arch-x86/cpuid.h`), and the page is
    // ours, aligned, and nothing else. The upper half of an address below 4 GiB is 0.
    unsafe { asm!("wrmsr", in("ecx") msr, in("eax") page & 0xffff_ffff, in("edx") 0, options(nostack)) };
    true
}

/// Makes hypercall `number`.
///
/// # Safety
/// What the call reads and writes through its arguments must be valid for that, and Rust must allow the writes.
unsafe fn call(number: u64, first: u64, second: u64, third: u64) -> Result<i64, Refused> {
    let entry = &raw const xen_hypercall_page as u64 + number * 32;
    let result: i64;
    // SAFETY: `start` has had the page filled with code that calls Xen and returns. It may change what the caller lets it.
    unsafe {
        asm!(
            "call {entry}",
            entry = in(reg) entry,
            inout("rdi") first => _,
            inout("rsi") second => _,
            inout("rdx") third => _,
            lateout("rax") result,
            lateout("rcx") _,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    if result < 0 { Err(Refused(result)) } else { Ok(result) }
}

/// Calls with the address of a structure as the second argument.
///
/// # Safety
/// `T` must be the structure that the command reads and writes, with no address in it that is not valid.
unsafe fn call_with<T>(number: u64, command: u64, structure: &mut T) -> Result<i64, Refused> {
    // SAFETY: the structure is borrowed for as long as the call takes; its type is the caller's promise.
    unsafe { call(number, command, core::ptr::from_mut(structure) as u64, 0) }
}

/// Parameters of a domain (`hvm/params.h`).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Parameter {
    StorePage = 1,
    StorePort = 2,
    ConsolePage = 17,
    ConsolePort = 18,
}

#[repr(C)]
struct HvmParameter {
    domain: u16,
    pad: u16,
    index: u32,
    value: u64,
}

/// The value of a parameter of this domain.
pub(super) fn parameter(index: Parameter) -> Result<u64, Refused> {
    let mut structure = HvmParameter { domain: DOMID_SELF, pad: 0, index: index as u32, value: 0 };
    // SAFETY: HVMOP_get_param (1) reads and writes a `struct xen_hvm_param`, which this is.
    unsafe { call_with(HVM_OP, 1, &mut structure) }?;
    Ok(structure.value)
}

/// What Xen puts in the place of one of our pages.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Space {
    SharedInfo = 0,
    GrantTable = 1,
}

/// Puts page `index` of `space` where our page `frame` is. What was in that page is gone.
///
/// # Safety
/// The page must be the caller's, and it must not be given back.
pub(super) unsafe fn replace_page(space: Space, index: u64, frame: u64) -> Result<(), Refused> {
    #[repr(C)]
    struct AddToPhysmap {
        domain: u16,
        size: u16,
        space: u32,
        index: u64,
        frame: u64,
    }
    let mut structure = AddToPhysmap { domain: DOMID_SELF, size: 0, space: space as u32, index, frame };
    // SAFETY: XENMEM_add_to_physmap (7) reads a `struct xen_add_to_physmap`; the page is the caller's to lose.
    unsafe { call_with(MEMORY_OP, 7, &mut structure) }.map(|_| ())
}

/// A port to which domain `remote` may bind.
pub(super) fn allocate_port(remote: u16) -> Result<u32, Refused> {
    #[repr(C)]
    struct AllocUnbound {
        domain: u16,
        remote: u16,
        port: u32,
    }
    let mut structure = AllocUnbound { domain: DOMID_SELF, remote, port: 0 };
    // SAFETY: EVTCHNOP_alloc_unbound (6) reads and writes a `struct evtchn_alloc_unbound`.
    unsafe { call_with(EVENT_CHANNEL_OP, 6, &mut structure) }?;
    Ok(structure.port)
}

/// Tells whoever is bound to our port.
pub(super) fn send(port: u32) {
    let mut structure = port;
    // Where nobody is bound there is nobody to tell.
    // SAFETY: EVTCHNOP_send (4) reads a `struct evtchn_send`, which is a port.
    let _ = unsafe { call_with(EVENT_CHANNEL_OP, 4, &mut structure) };
}

/// Lets events of the port come, and one that has come already.
pub(super) fn unmask(port: u32) {
    let mut structure = port;
    // Only a port that does not exist is refused, and ours were just made.
    // SAFETY: EVTCHNOP_unmask (9) reads a `struct evtchn_unmask`, which is a port.
    let _ = unsafe { call_with(EVENT_CHANNEL_OP, 9, &mut structure) };
}

/// Pauses the vCPU until one of the ports is pending or Xen's clock reads `deadline` (0: never), whatever is masked. May return
/// early.
pub(super) fn wait_for_ports(ports: &[AtomicU32], deadline: u64) {
    #[repr(C)]
    struct Poll {
        ports: *const AtomicU32,
        count: u32,
        deadline: u64,
    }
    // Xen refuses more than 128.
    let count = u32::try_from(ports.len()).unwrap_or(u32::MAX);
    let mut structure = Poll { ports: ports.as_ptr(), count, deadline };
    // To return early is allowed, and so is that it fails.
    // SAFETY: SCHEDOP_poll (3) reads a `struct sched_poll` and the numbers of ports that it points at: u32 each, as those here
    // are in memory, and borrowed for as long as the call takes.
    let _ = unsafe { call_with(SCHED_OP, 3, &mut structure) };
}

/// Lets Xen run others for a moment: it writes what it has to say to this vCPU when it comes back to it.
pub(super) fn give_way() {
    // No ports, and a deadline long ago.
    wait_for_ports(&[], 1);
}

/// Why a domain ends (`sched.h`).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Shutdown {
    PowerOff = 0,
    Reboot = 1,
    Crash = 3,
}

/// Ends the domain.
pub(super) fn shutdown(reason: Shutdown) {
    let mut structure = reason as u32;
    // What it answers nobody is there to hear.
    // SAFETY: SCHEDOP_shutdown (2) reads a `struct sched_shutdown`, which is a reason.
    let _ = unsafe { call_with(SCHED_OP, 2, &mut structure) };
}

/// How many frames the grant table may have.
pub(super) fn most_grant_frames() -> Result<u32, Refused> {
    #[repr(C)]
    struct QuerySize {
        domain: u16,
        frames: u32,
        most_frames: u32,
        status: i16,
    }
    let mut structure = QuerySize { domain: DOMID_SELF, frames: 0, most_frames: 0, status: 0 };
    // SAFETY: GNTTABOP_query_size (6) reads and writes one `struct gnttab_query_size`: the third argument counts them.
    unsafe { call(GRANT_TABLE_OP, 6, core::ptr::from_mut(&mut structure) as u64, 1) }?;
    Ok(structure.most_frames)
}
