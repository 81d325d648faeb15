//! From the image's entry to a running guest.
//!
//! The order is that of need: the console and the gates first, so that whatever goes wrong is told; then memory, in which
//! the trace ring lies, so that the rest is recorded; then what is another matter on each platform: the clock, interrupts.
//!
//! What the machine cannot be started with ends in a sentence on the console and the exit code 100.
//!
//! Boot parameters are the words `key=value` of the command line. Every machine looks at these:
//!
//! | parameter | meaning |
//! |---|---|
//! | `name=` | what the guest is called in its ring; by default as its sample |
//! | `ring_mib=` | length of the trace ring, rounded up to a power of two; 4 by default |
//! | `log=`, `log_kib=`, `log_rate=` | the log's rules, rings and limit: see `kernel/src/logs.rs` |

#![expect(unsafe_code, reason = "the loader's structure is an address, which the entry vouches for")]

use core::cell::UnsafeCell;
use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicUsize, Ordering};

use fata_probe::{Bytes, Nanos, instant};

use super::start_info::{MAX_COMMAND_LINE_BYTES, StartInfo};
use super::{Console, cpu, interrupts, memory, pages, power, trace};
use crate::platform::chosen::{self, clock};
use crate::{Boot, Main, logs};

/// The command line, copied out of the loader's memory, which becomes the heap's.
struct CommandLine(UnsafeCell<[u8; MAX_COMMAND_LINE_BYTES]>);

// SAFETY: there is one vCPU; `take_over`, which is called once, writes, and afterwards all only read.
unsafe impl Sync for CommandLine {}

static COMMAND_LINE_BYTES: AtomicUsize = AtomicUsize::new(0);
static COMMAND_LINE: CommandLine = CommandLine(UnsafeCell::new([0; MAX_COMMAND_LINE_BYTES]));

/// Takes over the machine from the image's entry, and returns the boot parameters: `key=value` words.
///
/// # Safety
/// The image's entry calls this once, with what the loader passed in ebx and the TSC at the first instruction, with
/// interrupts off and the first 4 GiB mapped as they are.
pub unsafe fn take_over(start_info: u64, entry_ticks: u64) -> &'static str {
    chosen::look();
    chosen::start_console(entry_ticks);
    interrupts::start();
    // SAFETY: the caller passes on what the loader passed, and has mapped the first 4 GiB.
    let info = unsafe { StartInfo::read(start_info) }.unwrap_or_else(|error| refuse(&error));
    // SAFETY: this is called once, so nobody else writes, and nobody has asked for the parameters yet.
    let len = keep_command_line(&info, unsafe { &mut *COMMAND_LINE.0.get() });
    COMMAND_LINE_BYTES.store(len, Ordering::Relaxed);
    let args = args();
    let memory_bytes = memory::start(&info);
    if memory_bytes == 0 {
        refuse(&"the memory map does not hold the memory that the image lies in");
    }
    // From here on the loader's structures are not read again: free memory may hold them.
    pages::protect();
    trace::start(guest_name(args), number(args, "ring_mib"), number(args, "log_kib"))
        .unwrap_or_else(|error| refuse(&error));
    let entered = cpu::ticks();
    instant!("boot.entry", ticks_since_entry = entered - entry_ticks, args = args);
    logs::start(args, None).unwrap_or_else(|error| refuse(&error));
    instant!("boot.memory", free = Bytes(memory_bytes), unused = Bytes(memory::free_bytes()));

    chosen::start_devices(args);
    describe_hypervisor();
    args
}

/// Runs `main` as the guest `name` with the parameters `args` (`key=value` words), then ends the guest.
pub fn start(name: &str, args: &str, main: Main) -> ! {
    instant!("boot.main", since_entry = Nanos(clock::now()));
    crate::run(Boot { name, args }, main);
    power::exit(0)
}

/// Ends a guest that cannot start, with a sentence that says why.
pub fn refuse(why: &dyn fmt::Display) -> ! {
    // The console takes everything, so there is no error to look at.
    let _ = writeln!(Console, "fata: {why}");
    power::died(format_args!("{why}"), power::EXIT_BOOT)
}

/// What the guest is called: the parameter `name=`, else that of the sample.
#[must_use]
pub fn guest_name(args: &str) -> &str {
    value(args, "name").or_else(|| value(args, "sample")).unwrap_or("guest")
}

/// The value of the boot parameter `key`; the last one where it is given twice.
#[must_use]
pub fn value<'a>(args: &'a str, key: &str) -> Option<&'a str> {
    args.split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(k, _)| *k == key)
        .map(|(_, v)| v)
        .next_back()
}

/// Copies the command line and returns its length; what is not ASCII in it becomes `?`.
fn keep_command_line(info: &StartInfo, kept: &mut [u8; MAX_COMMAND_LINE_BYTES]) -> usize {
    let ascii = |byte: u8| if byte.is_ascii() { byte } else { b'?' };
    kept.iter_mut().zip(info.command_line()).map(|(to, byte)| *to = ascii(byte)).count()
}

/// The boot parameters; none before [`take_over`].
pub(in crate::platform) fn args() -> &'static str {
    // SAFETY: `take_over` writes before it sets the length, and nobody writes afterwards.
    let bytes = unsafe { &(&*COMMAND_LINE.0.get())[..COMMAND_LINE_BYTES.load(Ordering::Relaxed)] };
    core::str::from_utf8(bytes).unwrap_or("")
}

/// Notes under which hypervisor the guest runs: twelve letters, as `KVMKVMKVM` or `TCGTCGTCGTCG`.
fn describe_hypervisor() {
    let Some(leaf) = cpu::cpuid(0x4000_0000) else { return };
    let mut letters = [0; 12];
    for (to, register) in letters.chunks_exact_mut(4).zip([leaf.ebx, leaf.ecx, leaf.edx]) {
        to.copy_from_slice(&register.to_le_bytes());
    }
    trace::describe("hypervisor", core::str::from_utf8(&letters).unwrap_or("?").trim_end_matches('\0'));
}

pub(in crate::platform) fn number(args: &str, key: &str) -> Option<u64> {
    let text = value(args, key)?;
    Some(text.parse().unwrap_or_else(|_| refuse(&format_args!("the boot parameter `{key}={text}` is not a number"))))
}
