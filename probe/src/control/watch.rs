//! A collector that died without leaving: its heart stands still, and the ring goes back to overwriting.
//!
//! An attached collector adds one to the control page's heartbeat several times a second. It asked for discard mode, in which
//! a full ring keeps its oldest events; were it killed, the guest would discard everything new until another one comes. So
//! when the heart has not beaten for [`PATIENCE_SECONDS`] of the guest's own clock, the guest takes itself for a flight
//! recorder, and when it beats again (the collector was only stopped) it discards again. What is overwritten in between is
//! counted as ever.
//!
//! A host that asks for discard mode and never beats is taken at its word. Nothing here is believed beyond what it can
//! mean: a beat that lies costs its host events of its own.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fata_wire::shared::{Mode, control};

use crate::region::Region;

/// Beats come several times a second; a collector that has to wait for a processor is given time.
const PATIENCE_SECONDS: u64 = 2;

/// What was seen of a region's heartbeat.
#[derive(Debug)]
pub(crate) struct Watch {
    beat: AtomicU64,
    /// The clock when it was last seen to change.
    ticks: AtomicU64,
    /// The ring overwrites although the collector has asked for discard.
    orphaned: AtomicBool,
}

impl Watch {
    pub(crate) const fn new() -> Self {
        Watch { beat: AtomicU64::new(0), ticks: AtomicU64::new(0), orphaned: AtomicBool::new(false) }
    }

    /// The host has asked for something, so it lives.
    pub(super) fn reset(&self, region: &Region) {
        self.beat.store(region.control_word(control::HEARTBEAT), Ordering::Relaxed);
        self.ticks.store(crate::clock::ticks(), Ordering::Relaxed);
        self.orphaned.store(false, Ordering::Relaxed);
    }

    /// Looks after the collector. Cheap in overwrite mode: two loads of the guest's own memory.
    pub(super) fn look(&self, region: &Region) {
        let orphaned = self.orphaned.load(Ordering::Relaxed);
        if !orphaned && region.mode() == Mode::Overwrite {
            return;
        }
        let beat = region.control_word(control::HEARTBEAT);
        let now = crate::clock::ticks();
        if self.beat.swap(beat, Ordering::Relaxed) != beat {
            self.ticks.store(now, Ordering::Relaxed);
            if orphaned {
                self.orphaned.store(false, Ordering::Relaxed);
                region.set_mode(Mode::Discard);
            }
            return;
        }
        let silent = now.saturating_sub(self.ticks.load(Ordering::Relaxed));
        let patience = region.clock_hz().saturating_mul(PATIENCE_SECONDS);
        // Before the clock's frequency is known, no silence is long.
        if !orphaned && beat != 0 && patience != 0 && silent > patience && asks_for_discard(region) {
            self.orphaned.store(true, Ordering::Relaxed);
            region.set_mode(Mode::Overwrite);
        }
    }
}

/// Whether it is the collector that has asked, and not a request.
fn asks_for_discard(region: &Region) -> bool {
    super::split(region.control_word(control::GENERATION)).1 == Mode::Discard as u32
}
