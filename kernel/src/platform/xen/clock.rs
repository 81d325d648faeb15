//! Xen's system time, which is the same for every domain of the machine, and what a tick of the TSC is worth.
//!
//! Xen writes into the shared page what its clock read at some value of the TSC, and the scale from there on; a version that
//! is odd, or has changed, says that it was writing meanwhile.
//!
//! Invariant: [`now`] is 0 at the image's entry and never goes back. Until boot has found the shared page, time stands at 0.
//!
//! The counter itself may be changed under the guest, and Xen then says so in the page ([`changed`]): the time goes on, and the ring
//! is told what a tick is worth from then on.
//!
//! Since the wall clock is the same for all domains too, what each ring says of its anchor puts all of them, and dom0, on one
//! axis.

#![expect(unsafe_code, reason = "the counter is a special register")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::events::shared_page;
use super::machine::local::Local;
use super::{cpu, hypercall};
use crate::pvclock::{Followed, Sample};
use crate::ring::Page;

/// In the shared page: what Xen says of this vCPU's time, and of the time of day.
const VERSION: usize = 32;
const TSC: usize = 40;
const SYSTEM_NANOS: usize = 48;
const SCALE: usize = 56;
const SHIFT: usize = 60;
const WALL_VERSION: usize = 3072;
const WALL_SECONDS: usize = 3076;
const WALL_NANOS: usize = 3080;
const WALL_SECONDS_HIGH: usize = 3084;

/// The TSC at the image's entry, and afterwards the system time there.
static ENTRY_TICKS: AtomicU64 = AtomicU64::new(0);
static ENTRY_NANOS: AtomicU64 = AtomicU64::new(u64::MAX);
/// The latest time that was given out.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// The version of the word of Xen's that was looked at last, and what the ring is recorded by.
static SEEN: Local<Option<(u32, Followed)>> = Local::new(None);

impl Sample {
    fn read(page: Page) -> Self {
        Sample::read_with_version(page).1
    }

    fn read_with_version(page: Page) -> (u32, Self) {
        loop {
            // Acquire: pairs with Xen's release of the version after what it says of.
            let version = page.word(VERSION).load(Ordering::Acquire);
            let sample = Sample {
                tsc: page.long(TSC).load(Ordering::Relaxed),
                nanos: page.long(SYSTEM_NANOS).load(Ordering::Relaxed),
                scale: page.word(SCALE).load(Ordering::Relaxed),
                shift: page.byte(SHIFT).load(Ordering::Relaxed).cast_signed(),
            };
            // Acquire: the loads above come before the one below.
            fence(Ordering::Acquire);
            if version & 1 == 0 && page.word(VERSION).load(Ordering::Relaxed) == version {
                return (version, sample);
            }
        }
    }
}

/// Ticks per second by the clock that there is now, if that is another one than before. Costs a load where Xen has said nothing
/// new.
pub(super) fn changed() -> Option<u64> {
    let page = shared_page()?;
    let mut seen = SEEN.get();
    let (version, followed) = seen.as_mut()?;
    if page.word(VERSION).load(Ordering::Relaxed) == *version {
        return None;
    }
    let (now, sample) = Sample::read_with_version(page);
    *version = now;
    followed.is_changed_by(sample).then(|| sample.hz())
}

/// Sets the counter: for trying out. Xen says what the time is by it when the vCPU comes back from a pause, at the latest after a
/// second; until then time stands still, or has jumped.
pub(super) fn set_counter(ticks: u64) {
    const TIME_STAMP_COUNTER: u32 = 0x10;
    #[expect(clippy::cast_possible_truncation, reason = "the lower half and the upper")]
    let (low, high) = (ticks as u32, (ticks >> 32) as u32);
    // SAFETY: every x86-64 has the register, this is ring 0, and no memory depends on it.
    unsafe { asm!("wrmsr", in("ecx") TIME_STAMP_COUNTER, in("eax") low, in("edx") high, options(nomem, nostack)) }
}

/// Sets the counter ahead by this part of a second.
pub(super) fn advance_counter(millis: u64) {
    let hz = shared_page().map_or(0, |page| Sample::read(page).hz());
    set_counter(cpu::ticks().saturating_add(hz / 1000 * millis));
}

/// Remembers when the image was entered.
pub(super) fn entered(ticks: u64) {
    ENTRY_TICKS.store(ticks, Ordering::Relaxed);
}

/// Begins to tell the time. Returns how many ticks are a second.
///
/// What Xen says of a domain that has just begun may be from before it gave it a TSC of its own: of a tick that is yet to
/// come. It says so anew when the vCPU comes back from a pause.
pub(super) fn start(page: Page) -> u64 {
    let (version, sample) = loop {
        let (version, sample) = Sample::read_with_version(page);
        if sample.scale != 0 && sample.since(cpu::ticks()) >= 0 {
            break (version, sample);
        }
        hypercall::give_way();
    };
    *SEEN.get() = Some((version, Followed::new(sample)));
    ENTRY_NANOS.store(sample.nanos_at(ENTRY_TICKS.load(Ordering::Relaxed)), Ordering::Relaxed);
    sample.hz()
}

/// Xen's clock; 0 before [`start`].
pub(super) fn system_nanos() -> u64 {
    shared_page().map_or(0, |page| Sample::read(page).nanos_at(cpu::ticks()))
}

/// Xen's clock, which is that of all domains, at this value of the TSC; `None` before [`start`].
pub(in crate::platform) fn shared_nanos_at(ticks: u64) -> Option<u64> {
    shared_page().map(|page| Sample::read(page).nanos_at(ticks))
}

/// What Xen's clock reads when [`now`] is `nanos`.
pub(super) fn system_nanos_from_now(nanos: u64) -> u64 {
    ENTRY_NANOS.load(Ordering::Relaxed).saturating_add(nanos)
}

/// Nanoseconds since the image's entry; never backwards, also where Xen has corrected its scale.
#[must_use]
pub(crate) fn now() -> u64 {
    let nanos = system_nanos().saturating_sub(ENTRY_NANOS.load(Ordering::Relaxed));
    LATEST.fetch_max(nanos, Ordering::Relaxed).max(nanos)
}

/// A value of the TSC, Xen's clock then, and the time of day then: nanoseconds since 1970.
pub(super) fn anchor() -> Option<(u64, u64, u64)> {
    let page = shared_page()?;
    let ticks = cpu::ticks();
    let nanos = Sample::read(page).nanos_at(ticks);
    loop {
        // Acquire: pairs with Xen's release of the version.
        let version = page.word(WALL_VERSION).load(Ordering::Acquire);
        let seconds = u64::from(page.word(WALL_SECONDS).load(Ordering::Relaxed))
            | u64::from(page.word(WALL_SECONDS_HIGH).load(Ordering::Relaxed)) << 32;
        let wall_nanos = u64::from(page.word(WALL_NANOS).load(Ordering::Relaxed));
        // Acquire: the loads above come before the one below.
        fence(Ordering::Acquire);
        if version & 1 == 0 && page.word(WALL_VERSION).load(Ordering::Relaxed) == version {
            // The wall clock says when the system time was 0.
            let unix = seconds.saturating_mul(1_000_000_000).saturating_add(wall_nanos).saturating_add(nanos);
            return Some((ticks, nanos, unix));
        }
    }
}

/// Nanoseconds since 1970.
pub(in crate::platform) fn unix_nanos() -> Option<u64> {
    anchor().map(|(_, _, unix)| unix)
}
