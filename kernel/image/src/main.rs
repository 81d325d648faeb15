//! The sample unikernels as one bootable ELF; the boot parameter `sample=` says which one runs.
//!
//! ```text
//! qemu-system-x86_64 -M microvm -kernel fata-image -append "sample=hello" -serial stdio -display none …
//! ```
//!
//! What Rust needs and an operating system would give lies here: the entry, the memory functions, the allocator, and what
//! happens at a panic. All else is `fata_kernel` on its platform `qemu`.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the entry from assembly, and what the compiler expects by name")]

use core::arch::global_asm;
use core::panic::PanicInfo;

use fata_kernel::platform::{boot, power};
use fata_samples::SAMPLES;

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
    let chosen = boot::value(args, "sample").unwrap_or("");
    match SAMPLES.iter().find(|sample| sample.name == chosen) {
        Some(sample) => boot::start(boot::guest_name(args), args, sample.main),
        None => boot::refuse(&NoSuchSample(chosen)),
    }
}

/// The sentence for a boot parameter `sample=` that names none.
struct NoSuchSample<'a>(&'a str);

impl core::fmt::Display for NoSuchSample<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            "" => f.write_str("no sample was chosen")?,
            name => write!(f, "there is no sample `{name}`")?,
        }
        f.write_str(": boot with sample=NAME, where NAME is one of")?;
        SAMPLES.iter().try_for_each(|sample| write!(f, " {}", sample.name))
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
