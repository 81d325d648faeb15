//! Between the inputs and the reporter: records in the order of time, those that are shown, and before an error what its task
//! had said below the level that is shown.
//!
//! Invariant: what goes on is sorted by time, but for records that came after younger ones had gone on, by more than the
//! window: those are marked late, or as the history of an error.
//!
//! When it is full: what waits to be sorted takes up to [`HELD_BYTES`], then the oldest goes on early. The history of a task
//! is its last [`HISTORY`] records, of all tasks up to [`HISTORY_BYTES`]; older ones are forgotten, which is no loss: nobody
//! asked to see them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use fata_reporters::reporter::Item;
use fata_reporters::time::Time;
use fata_wire::field::Level;

use super::Failed;
use super::entry::{Entry, What};
use super::filter::Filter;

const HELD_BYTES: usize = 64 << 20;
const HISTORY_BYTES: usize = 16 << 20;
const HISTORY: usize = 32;

/// Whose history it is.
type Owner = (Rc<str>, u16);

pub(super) struct Screen {
    filter: Filter,
    window_nanos: i64,
    with_history: bool,
    /// By time; by arrival where that is equal, so that one stream's order stays.
    held: BTreeMap<(Time, u64), Held>,
    held_bytes: usize,
    arrivals: u64,
    newest: Option<Time>,
    /// Up to where the reporter has everything.
    reached: Option<Time>,
    history: HashMap<Owner, VecDeque<Entry>>,
    history_bytes: usize,
}

struct Held {
    entry: Entry,
    /// Its level is not shown.
    hidden: bool,
}

impl Screen {
    pub(super) fn new(filter: Filter, window: Duration, with_history: bool) -> Self {
        Screen {
            filter,
            window_nanos: i64::try_from(window.as_nanos()).unwrap_or(i64::MAX),
            with_history,
            held: BTreeMap::new(),
            held_bytes: 0,
            arrivals: 0,
            newest: None,
            reached: None,
            history: HashMap::new(),
            history_bytes: 0,
        }
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
        self.newest = self.newest.max(Some(entry.time));
        self.hold(Held { entry, hidden });
    }

    fn hold(&mut self, mut held: Held) {
        let is_late = self.reached.is_some_and(|reached| held.entry.time < reached);
        if let What::Record(said) = &mut held.entry.what {
            said.late |= is_late && !said.history;
        }
        self.held_bytes += held.entry.bytes();
        self.arrivals += 1;
        self.held.insert((held.entry.time, self.arrivals), held);
    }

    /// An error of `owner` came: what it had said before is to be shown.
    fn recall(&mut self, owner: &Owner, time: Time) {
        for (_, held) in self.held.range_mut(..(time, u64::MAX)) {
            if let What::Record(said) = &mut held.entry.what
                && held.hidden
                && (&held.entry.guest, said.task) == (&owner.0, owner.1)
            {
                held.hidden = false;
                said.history = true;
            }
        }
        for mut entry in self.history.remove(owner).unwrap_or_default() {
            self.history_bytes -= entry.bytes();
            if let What::Record(said) = &mut entry.what {
                said.history = true;
            }
            self.hold(Held { entry, hidden: false });
        }
    }

    /// Hands on what is older than the youngest by the window.
    pub(super) fn release_old(
        &mut self,
        report: &mut impl FnMut(&Item<'_>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let Some(newest) = self.newest else { return Ok(()) };
        self.release_before(newest, report)?;
        while self.held_bytes > HELD_BYTES {
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
        let due = time.nanos.saturating_sub(self.window_nanos);
        while self.held.first_key_value().is_some_and(|((time, _), _)| time.nanos <= due) {
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
        let Some((_, Held { entry, hidden })) = self.held.pop_first() else { return Ok(()) };
        self.held_bytes -= entry.bytes();
        self.reached = self.reached.max(Some(entry.time));
        if hidden {
            self.remember(entry);
            return Ok(());
        }
        entry.with(report)
    }

    fn remember(&mut self, entry: Entry) {
        let What::Record(said) = &entry.what else { return };
        let bytes = entry.bytes();
        let history = self.history.entry((Rc::clone(&entry.guest), said.task)).or_default();
        self.history_bytes += bytes;
        history.push_back(entry);
        if history.len() > HISTORY
            && let Some(oldest) = history.pop_front()
        {
            self.history_bytes -= oldest.bytes();
        }
        if self.history_bytes > HISTORY_BYTES {
            self.history.clear();
            self.history_bytes = 0;
        }
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
