//! What an event costs that is discarded because the ring is full, in discard mode with a collector that does not come.
//!
//! In a process of its own, since the mode is the whole region's. An event for which there is room costs the same in both
//! modes: the mode is looked at when a packet opens.
#![expect(unsafe_code, reason = "plays the host, which writes the control page")]

use std::sync::atomic::{AtomicU64, Ordering};

use fata_wire::packet::Cause;
use fata_wire::shared::{Mode, PAGE_BYTES, StreamStatus, control};

use crate::case::{Case, Unit};
use crate::peers::Server;
use crate::served::Child;
use crate::{case_of, fata};

/// Rounds of events that are all discarded.
pub(crate) fn server() -> Result<Server, String> {
    let region = fata::ring()?;
    let word = |offset: usize| {
        // SAFETY: the offset is a word's in the region, which lives for ever and is only accessed as atomic words.
        unsafe { AtomicU64::from_ptr(region.memory().add(offset).cast()) }
    };
    let page = usize::try_from(region.geometry().control_offset).map_err(|error| error.to_string())?;
    word(page + control::CATEGORIES).store(u64::MAX, Ordering::Relaxed);
    word(page + control::LEVEL).store(u64::from(fata_wire::field::Level::Info as u8), Ordering::Relaxed);
    // Release: as a collector does, what it asks for is there before the generation says so.
    word(page + control::GENERATION).store(1 | u64::from(Mode::Discard as u32) << 32, Ordering::Release);
    fata_probe::control::poll();
    let discarded = move || {
        let mut header = [0; PAGE_BYTES];
        for (i, bytes) in header.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&word(8 * i).load(Ordering::Relaxed).to_le_bytes());
        }
        StreamStatus::parse(&header, 0).discarded[Cause::Full as usize]
    };
    while discarded() == 0 {
        fata::instants(1 << 10);
    }
    Ok(Box::new(move |events| {
        let before = discarded();
        let nanos = fata::instants(events);
        if discarded() - before < events {
            return Err("an event found room in a full ring".into());
        }
        Ok((nanos, Some(0.0)))
    }))
}

/// The case.
pub(crate) const NAME: &str = "fata.full";

/// Adds the case.
pub(crate) fn cases(cases: &mut Vec<Case>) -> Result<(), String> {
    let mut child = Child::own("full")?;
    cases.push(case_of(NAME, Unit::Event, 8 << 10, move |events| child.round(events), || Ok(Some(0.0))));
    Ok(())
}
