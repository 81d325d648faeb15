//! What the kernel stands on, behind one set of names; the only place that knows which platform it is.
//!
//! Each platform is a folder with the same file names:
//!
//! | file | what the kernel asks of it |
//! |---|---|
//! | `boot` | the entry: lays out the trace ring, then calls [`crate::run`] |
//! | `clock` | `now() -> u64`: nanoseconds since boot, never backwards; `shared_nanos_at(ticks)`: what the clock of all guests reads |
//! | `cpu` | `current() -> usize`: which execution context this is; 1 on bare metal, where there is one; `replace_wait(name)`: keeps a number for it |
//! | `idle` | `wait(deadline) -> bool`: until a kick (`true`) or the deadline, `kick()` from anywhere; no kick is lost; `look(now)`: sees to what no interrupt announces |
//! | `console` | `write(&str)`: text for the person in front of the machine; `try_write(&[u8]) -> usize`: what it takes at once |
//! | `memory` | `grow(len)`, `give_back(len)`: the heap's memory, in one piece; `contains(block)`, `…_outside`: all other |
//! | `net` | `start(guest) -> Net`: the network on the machine's device, if there is one |
//! | `power` | `exit(code) -> !` |
//! | `services` | `start(guest)`: tasks that the platform itself needs |
//!
//! `host` is a program's one platform. An image may hold `qemu` and `xen`: `machine` is what they have in common, and
//! `chosen` finds out at boot which of them it is.
//!
//! An interrupt handler (on the host: another thread) may call `idle::kick` and wake tasks. It must not allocate, and call
//! nothing else here.

#[cfg(feature = "host")]
mod host;
#[cfg(feature = "host")]
pub(crate) use host::services;
#[cfg(feature = "host")]
pub use host::{boot, clock, console, cpu, idle, memory, net, power};

#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
mod chosen {
    //! Which of the image's platforms the guest runs on, found out once, and everything that is to be had on each of them.
    //!
    //! One ELF boots in QEMU and as a Xen domain: the loader is the same, and the hypervisor says in `cpuid` which it is. Each
    //! function here asks that and passes on the call. In an image for one platform alone there is nothing to ask.

    use core::sync::atomic::{AtomicBool, Ordering};

    use super::machine::cpu;
    #[cfg(feature = "qemu")]
    use super::qemu;
    #[cfg(feature = "xen")]
    use super::xen;

    /// The platforms that are in this image.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Hypervisor {
        /// QEMU, or anything else that has a PC's devices.
        #[cfg(feature = "qemu")]
        Qemu,
        /// Xen.
        #[cfg(feature = "xen")]
        Xen,
    }

    /// Whether `cpuid` has named Xen.
    static ON_XEN: AtomicBool = AtomicBool::new(false);

    /// Looks which it is. Nothing else here may be called before.
    pub(super) fn look() {
        ON_XEN.store(cpu::xen_leaves().is_some(), Ordering::Relaxed);
    }

    pub(super) fn hypervisor() -> Hypervisor {
        match ON_XEN.load(Ordering::Relaxed) {
            #[cfg(feature = "xen")]
            true => Hypervisor::Xen,
            #[cfg(feature = "qemu")]
            false => Hypervisor::Qemu,
            // There is but the other one.
            #[cfg(not(feature = "xen"))]
            true => Hypervisor::Qemu,
            #[cfg(not(feature = "qemu"))]
            false => Hypervisor::Xen,
        }
    }

    /// Calls the function on the platform that the guest runs on.
    macro_rules! on_platform {
        ($($path:ident)::+ ( $($argument:expr),* )) => {
            match hypervisor() {
                #[cfg(feature = "qemu")]
                Hypervisor::Qemu => qemu::$($path)::+($($argument),*),
                #[cfg(feature = "xen")]
                Hypervisor::Xen => xen::$($path)::+($($argument),*),
            }
        };
    }

    /// The platform's number in the trace.
    pub(super) fn platform() -> fata_wire::shared::Platform {
        match hypervisor() {
            #[cfg(feature = "qemu")]
            Hypervisor::Qemu => fata_wire::shared::Platform::Qemu,
            #[cfg(feature = "xen")]
            Hypervisor::Xen => fata_wire::shared::Platform::Xen,
        }
    }

    /// Makes the console work, and whatever must be there before memory is. `entry_ticks` is the TSC at the image's entry.
    pub(super) fn start_console(entry_ticks: u64) {
        on_platform!(boot::start_console(entry_ticks));
    }

    /// Finds the time and makes interrupts come. Memory and the ring are there.
    pub(super) fn start_devices(args: &str) {
        on_platform!(boot::start_devices(args));
    }

    /// A device's interrupt. Interrupts are off.
    pub(super) fn interrupted(vector: u8) {
        on_platform!(boot::interrupted(vector));
    }

    /// Ends the machine with the exit code, as it is.
    pub(super) fn stop(code: i32) -> ! {
        on_platform!(power::stop(code))
    }

    /// Time since boot.
    pub mod clock {
        #[cfg(feature = "qemu")]
        use super::qemu;
        #[cfg(feature = "xen")]
        use super::xen;
        use super::{Hypervisor, hypervisor};

        /// Nanoseconds since the image's entry; never backwards.
        #[must_use]
        pub fn now() -> u64 {
            on_platform!(clock::now())
        }

        /// What the clock that all guests of the hypervisor share reads at this value of ours, where there is one.
        pub(crate) fn shared_nanos_at(ticks: u64) -> Option<u64> {
            on_platform!(clock::shared_nanos_at(ticks))
        }

        /// Nanoseconds since 1970, where the machine knows.
        pub(in crate::platform) fn unix_nanos() -> Option<u64> {
            on_platform!(clock::unix_nanos())
        }
    }

    /// Text for the person in front of the machine.
    pub mod console {
        #[cfg(feature = "qemu")]
        use super::qemu;
        #[cfg(feature = "xen")]
        use super::xen;
        use super::{Hypervisor, hypervisor};

        /// Writes the text. When the console is full it waits for 20 ms, then discards.
        pub fn write(text: &str) {
            on_platform!(console::write(text));
        }

        /// Writes as many of the bytes as the console takes without waiting; how many that were.
        pub(crate) fn try_write(bytes: &[u8]) -> usize {
            on_platform!(console::try_write(bytes))
        }

        /// Bytes that found no reader since boot.
        #[must_use]
        pub fn discarded_bytes() -> u64 {
            on_platform!(console::discarded_bytes())
        }
    }

    /// Sleeping until an interrupt or a deadline.
    pub mod idle {
        #[cfg(feature = "qemu")]
        use super::qemu;
        #[cfg(feature = "xen")]
        use super::xen;
        use super::{Hypervisor, hypervisor};

        /// Pauses until [`kick`] or until the clock reads `deadline` nanoseconds; whether there was a kick. May return early: the
        /// caller looks for work.
        pub fn wait(deadline: Option<u64>) -> bool {
            on_platform!(idle::wait(deadline))
        }

        /// Sees to what no interrupt announces. For the scheduler, once a round, with the time.
        pub(crate) fn look(now_nanos: u64) {
            match hypervisor() {
                #[cfg(feature = "qemu")]
                Hypervisor::Qemu => qemu::idle::look(now_nanos),
                #[cfg(feature = "xen")]
                Hypervisor::Xen => xen::idle::look(),
            }
        }

        /// Makes the running wait return, or the next one if none is running. From interrupt handlers too.
        pub fn kick() {
            super::super::machine::kicked::kick();
        }
    }

    /// The platform's own tasks.
    pub(crate) mod services {
        #[cfg(feature = "qemu")]
        use super::qemu;
        #[cfg(feature = "xen")]
        use super::xen;
        use super::{Hypervisor, hypervisor};
        use crate::Guest;

        /// Starts them.
        pub(crate) fn start(guest: &Guest) {
            on_platform!(services::start(guest));
        }
    }

    /// The network device.
    pub mod net {
        #[cfg(feature = "qemu")]
        use super::qemu;
        #[cfg(feature = "xen")]
        use super::xen;
        use super::{Hypervisor, hypervisor};
        use crate::Guest;
        use crate::net::Net;

        /// Brings the network up on the machine's device, if there is one.
        pub(crate) fn start(guest: &Guest) -> Net {
            match hypervisor() {
                #[cfg(feature = "qemu")]
                Hypervisor::Qemu => Net::start(guest, qemu::net::device()),
                #[cfg(feature = "xen")]
                Hypervisor::Xen => Net::start(guest, xen::net::device()),
            }
        }
    }
}
#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
#[cfg_attr(
    not(all(feature = "qemu", feature = "xen")),
    allow(dead_code, reason = "what only the other platform uses, where it is not in the image")
)]
mod machine;
#[cfg(all(feature = "qemu", not(feature = "host")))]
mod qemu;
#[cfg(all(feature = "xen", not(feature = "host")))]
mod xen;
#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
pub(crate) use chosen::services;
#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
pub use chosen::{clock, console, idle, net};
#[cfg(all(any(feature = "qemu", feature = "xen"), not(feature = "host")))]
pub use machine::{boot, cpu, memory, power};

#[cfg(not(any(feature = "host", feature = "qemu", feature = "xen")))]
compile_error!("choose what fata-kernel runs on: enable its feature `host`, or `qemu`, `xen` or both");
