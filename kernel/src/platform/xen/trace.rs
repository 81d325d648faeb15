//! How dom0 finds and reads a guest's trace ring: by grants that the guest advertises in XenStore. What stands where, and in which
//! version, says [`fata_wire::grants`].
//!
//! The grants are the memory from its header page on, as a host guest has it in a file. Nothing is ever taken back, also not at a
//! clean end: a domain's grants end with it, and what dom0 has mapped by then stays as it was, which makes the last packets of a
//! guest readable, of one that crashed and of one whose ring is sealed.
//!
//! Over the event channel the guest says that [packets are ready](tend), once for many; dom0 says "please look", which
//! makes a sleeping guest look at the control page.
//!
//! When it is full: see `fata_probe::ring`. dom0 is not waited for.

#![expect(unsafe_code, reason = "the ring's pages are addresses")]

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fata_probe::{instant, span};
use fata_wire::grants::{FOLDER, MAX_REFS, VERSION, index_page};
use fata_wire::shared::{PAGE_BYTES, at, control};

use super::events::Port;
use super::grants::{self, Access, GrantError, GrantRef};
use super::hypercall::Refused;
use super::machine::{boot, kicked, trace};
use super::store::{self, StoreError};
use super::{clock, lies};
use crate::ring::Page;

/// Whoever collects runs there.
pub(super) const DOM0: u16 = 0;
/// dom0 is told when so much of a ring is ready to be read: an eighth.
const HIGH_WATER: u64 = 8;

/// The port over which dom0 is told; 0 before there is one.
static PORT: AtomicU32 = AtomicU32::new(0);
/// The packet at which dom0 is told next.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Why dom0 cannot read the ring.
#[derive(Debug)]
pub(super) enum AdvertiseError {
    Grant(GrantError),
    Store(StoreError),
    Port(Refused),
    NoMemory,
}

impl fmt::Display for AdvertiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdvertiseError::Grant(error) => error.fmt(f),
            AdvertiseError::Store(error) => error.fmt(f),
            AdvertiseError::Port(error) => write!(f, "no event channel: {error}"),
            AdvertiseError::NoMemory => {
                f.write_str("there is no memory for the list of its pages: raise memory= in the xl.cfg")
            }
        }
    }
}

/// Grants the ring's pages to dom0 and says so in XenStore. Nothing to do in an image without probes.
pub(super) fn advertise() -> Result<(), AdvertiseError> {
    let Some(region) = trace::region() else { return Ok(()) };
    let (first, geometry) = (region.memory() as u64 / PAGE_BYTES as u64, region.geometry());
    let _span = span!("boot.grants");
    let control = geometry.control_offset / PAGE_BYTES as u64;
    let pages = geometry.total_bytes / PAGE_BYTES as u64;
    let access = |page| if page == control { Access::ReadWrite } else { Access::ReadOnly };
    let granted: Result<Vec<u32>, _> =
        (0..pages).map(|page| grants::grant(DOM0, first + page, access(page)).map(|grant| grant.0)).collect();
    let granted = granted.map_err(AdvertiseError::Grant)?;
    let index = index_pages(&granted)?;
    let port = Port::allocate(DOM0).map_err(AdvertiseError::Port)?;
    // "Please look": the scheduler does when it wakes.
    port.connect(kicked::kick);
    PORT.store(port.number(), Ordering::Relaxed);

    let entries = [
        ("version", VERSION.to_string()),
        ("name", boot::guest_name(boot::args()).to_string()),
        ("pages", pages.to_string()),
        ("ring-ref", index.0.to_string()),
        ("event-channel", port.number().to_string()),
        ("state", "running".to_string()),
    ];
    let place = |key: &str| format!("{FOLDER}/{key}");
    // The folder first, so that all below it is born with its access list.
    store::write(FOLDER, "").map_err(AdvertiseError::Store)?;
    store::restrict(FOLDER, DOM0).map_err(AdvertiseError::Store)?;
    for (key, value) in &entries {
        store::write(&place(key), value).map_err(AdvertiseError::Store)?;
    }
    if boot::value(boot::args(), "lies").is_some() {
        lies::advertise(&granted)?;
    }
    instant!("boot.granted", pages = pages, port = port.number());
    Ok(())
}

/// Writes the list of grants, from its last page to its first, whose grant is returned.
pub(super) fn index_pages(granted: &[u32]) -> Result<GrantRef, AdvertiseError> {
    let mut next = GrantRef(0);
    for part in granted.chunks(MAX_REFS).rev() {
        let page = Page::new().ok_or(AdvertiseError::NoMemory)?;
        // No grant has the number 0, which ends the list.
        for (at, word) in index_page(part, Some(next.0)).enumerate() {
            page.word(4 * at).store(word, Ordering::Relaxed);
        }
        next = grants::grant(DOM0, page.frame(), Access::ReadOnly).map_err(AdvertiseError::Grant)?;
    }
    Ok(next)
}

/// Tells dom0 that packets are ready, whether there are or not.
pub(super) fn ring_bell() {
    match PORT.load(Ordering::Relaxed) {
        0 => {}
        port => Port::of_number(port).notify(),
    }
}

/// Sees to the ring: cheap, for the scheduler, whenever it looks around.
pub(in crate::platform) fn tend() {
    follow_clock();
    tell_of_packets();
}

/// Has the ring go on by the clock that there is now, where Xen says that it is another one. What was recorded between the change
/// and this look, at most a tick of the scheduler's, has stamps that stand still or have jumped.
fn follow_clock() {
    let Some(hz) = clock::changed() else { return };
    // By the old clock, so that the recording says where it ended.
    instant!(level: Warn, "clock.changed", hz = hz);
    if let (Some(region), Some((ticks, _, unix_nanos))) = (trace::region(), clock::anchor()) {
        region.change_clock(&trace::clock_of(hz, ticks, Some(unix_nanos)));
        instant!("clock.known", hz = hz, source = "Xen's system time");
    }
}

/// Tells dom0 when a collector is attached and enough packets are ready that waiting longer might cost some.
fn tell_of_packets() {
    let port = PORT.load(Ordering::Relaxed);
    let Some(region) = trace::region().filter(|_| port != 0) else { return };
    let geometry = region.geometry();
    // SAFETY: header and control page lie in the region, which is never given back, and are read as words only.
    let page = |offset: u64| unsafe { Page::at(region.memory() as u64 + offset) };
    let (Some(header), Some(asked)) = (page(0), page(geometry.control_offset)) else { return };
    // The lock of packet n is 2n + 1, then 2n + 2.
    let youngest = header.long(at::STREAMS + at::STREAM_LOCK).load(Ordering::Relaxed) / 2;
    if youngest < NEXT.load(Ordering::Relaxed) {
        return;
    }
    let step = (u64::from(geometry.packets_per_stream) / HIGH_WATER).max(1);
    NEXT.store(youngest + step, Ordering::Relaxed);
    if asked.long(control::COLLECTOR).load(Ordering::Relaxed) != 0 {
        Port::of_number(port).notify();
        // As seldom as it rings: it costs nothing, and says when dom0 was called, for how much.
        instant!("trace.packets_ready", packet = youngest, step = step);
    }
}
