//! Between the inputs and the reporter: records in the order of time, those that are shown, and before an error what its task
//! had said below the level that is shown.
//!
//! Invariant: what goes on is sorted by time, but for records that came after younger ones had gone on, by more than the
//! window: those are marked late, or as the history of an error.
//!
//! When it is full: what waits to be sorted takes up to [`HELD_BYTES`], then the oldest goes on early. What is remembered for an
//! error has bounds of its own (`history.rs`).

mod history;

use std::rc::Rc;
use std::time::Duration;

use fata_reporters::order::Sorter;
use fata_reporters::reporter::Item;
use fata_reporters::time::Time;
use fata_wire::field::Level;

use super::Failed;
use super::entry::{Entry, What};
use super::filter::Filter;
use history::{History, Owner};

const HELD_BYTES: usize = 64 << 20;

/// The most memory that a screen takes.
pub(super) const WORST_CASE_BYTES: usize = HELD_BYTES + history::HISTORY_BYTES;

pub(super) struct Screen {
    filter: Filter,
    with_history: bool,
    held: Sorter<Held>,
    history: History,
}

struct Held {
    entry: Entry,
    /// Its level is not shown.
    hidden: bool,
}

impl Screen {
    pub(super) fn new(filter: Filter, window: Duration, with_history: bool) -> Self {
        Screen { filter, with_history, held: Sorter::new(window, HELD_BYTES), history: History::default() }
    }

    /// Takes an entry.
    pub(super) fn push(&mut self, entry: Entry) {
        if !self.filter.passes(&entry) {
            return;
        }
        let hidden = !self.filter.shows(&entry);
        if hidden && !self.with_history {
            return;
        }
        if !hidden
            && self.with_history
            && let Some(owner) = error_of(&entry)
        {
            self.recall(&owner, entry.time);
        }
        self.hold(Held { entry, hidden });
    }

    fn hold(&mut self, mut held: Held) {
        let (time, bytes) = (held.entry.time, held.entry.bytes());
        if let What::Record(said) = &mut held.entry.what {
            said.late |= self.held.is_late(time) && !said.history;
        }
        self.held.hold(time, held, bytes);
    }

    /// An error of `owner` came: what it had said before is to be shown.
    fn recall(&mut self, owner: &Owner, time: Time) {
        for held in self.held.up_to(time) {
            if let What::Record(said) = &mut held.entry.what
                && held.hidden
                && (&held.entry.guest, said.task) == (&owner.0, owner.1)
            {
                held.hidden = false;
                said.history = true;
            }
        }
        for mut entry in self.history.take(owner) {
            if let What::Record(said) = &mut entry.what {
                said.history = true;
            }
            self.hold(Held { entry, hidden: false });
        }
    }

    /// Hands on the oldest of what there is no room for.
    pub(super) fn release_excess(
        &mut self,
        report: &mut impl FnMut(&Item<'_>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        while self.held.is_over_full(0) {
            self.release_one(report)?;
        }
        Ok(())
    }

    /// Hands on what is older than `time` by the window.
    pub(super) fn release_before(
        &mut self,
        time: Time,
        report: &mut impl FnMut(&Item<'_>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        while self.held.is_due(time) {
            self.release_one(report)?;
        }
        Ok(())
    }

    /// Hands on everything.
    pub(super) fn release_all(
        &mut self,
        report: &mut impl FnMut(&Item<'_>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        while !self.held.is_empty() {
            self.release_one(report)?;
        }
        Ok(())
    }

    fn release_one(&mut self, report: &mut impl FnMut(&Item<'_>) -> Result<(), Failed>) -> Result<(), Failed> {
        let Some(Held { entry, hidden }) = self.held.pop() else { return Ok(()) };
        if hidden {
            self.history.keep(entry);
            return Ok(());
        }
        if let Some(shown) = &entry.counted {
            shown.set(shown.get() + 1);
        }
        entry.with(report)
    }
}

/// Whose error it is, if it is one.
fn error_of(entry: &Entry) -> Option<Owner> {
    match &entry.what {
        What::Record(said) if said.level == Level::Error => Some((Rc::clone(&entry.guest), said.task)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
