//! The sample unikernels as one bootable ELF; the boot parameter `sample=` says which one runs.
//!
//! ```text
//! qemu-system-x86_64 -M microvm -kernel fata-image -append "sample=hello" -serial stdio -display none …
//! ```
//!
//! What Rust needs and an operating system would give lies here: the entry, the memory functions, the allocator, and what
//! happens at a panic. All else is `fata_kernel`, which asks `cpuid` whether this is QEMU or a domain of Xen.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the entry from assembly, and what the compiler expects by name")]

extern crate alloc;

mod crash;

use alloc::boxed::Box;
use core::arch::global_asm;
use core::fmt;
use core::panic::PanicInfo;

use fata_kernel::platform::{boot, power};
use fata_kernel::{Guest, LocalBoxFuture};
use fata_samples::SAMPLES;

use crash::CRASHES;

global_asm!(include_str!("entry.s"));
global_asm!(include_str!("mem.s"));

#[global_allocator]
static ALLOCATOR: fata_kernel::heap::Allocator = fata_kernel::heap::Allocator;

/// Where `entry.s` goes in 64-bit mode.
// SAFETY: no other function of the image has this name.
#[unsafe(no_mangle)]
extern "C" fn image_entry(start_info: u64, entry_ticks: u64) -> ! {
    // SAFETY: `entry.s` calls this once, with interrupts off and the first 4 GiB mapped, and passes on the loader's ebx.
    let args = unsafe { boot::take_over(start_info, entry_ticks) };
    let names = SAMPLES.iter().map(|sample| sample.name);
    let Some(sample) = SAMPLES.iter().find(|sample| boot::value(args, "sample") == Some(sample.name)) else {
        boot::refuse(&NoSuch { key: "sample", value: boot::value(args, "sample"), names })
    };
    let names = CRASHES.iter().map(|crash| crash.name);
    match boot::value(args, "crash") {
        None => boot::start(boot::guest_name(args), args, sample.main),
        Some(name) if names.clone().any(|crash| crash == name) => {
            boot::start(boot::guest_name(args), args, run_and_crash)
        }
        value => boot::refuse(&NoSuch { key: "crash", value, names }),
    }
}

/// The sample that the boot parameters name, and after it the crash that they name.
fn run_and_crash(guest: Guest) -> LocalBoxFuture {
    Box::pin(async move {
        if let Some(sample) = SAMPLES.iter().find(|sample| guest.arg("sample") == Some(sample.name)) {
            (sample.main)(guest.clone()).await;
        }
        if let Some(crash) = CRASHES.iter().find(|crash| guest.arg("crash") == Some(crash.name)) {
            (crash.happen)();
        }
    })
}

/// The sentence for a boot parameter that names nothing of the image.
struct NoSuch<'a, I> {
    key: &'a str,
    value: Option<&'a str>,
    names: I,
}

impl<'a, I: Iterator<Item = &'a str> + Clone> fmt::Display for NoSuch<'a, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, names } = self;
        match value {
            None => write!(f, "no {key} was chosen")?,
            Some(value) => write!(f, "there is no {key} `{value}`")?,
        }
        write!(f, ": boot with {key}=NAME, where NAME is one of")?;
        names.clone().try_for_each(|name| write!(f, " {name}"))
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    power::panicked(info)
}

/// The unwinder's entry points, which the precompiled core names. With `panic = "abort"` nothing calls them.
// SAFETY: no other function of the image has this name.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// See [`rust_eh_personality`].
// SAFETY: no other function of the image has this name.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() {}
