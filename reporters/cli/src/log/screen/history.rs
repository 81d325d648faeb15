//! What tasks had said below the level that is shown, for the day that one of them meets an error.
//!
//! Of each task the last [`HISTORY`] records, of all together [`HISTORY_BYTES`]. When it is full the oldest record of all goes,
//! whosever it is: that is no loss, since nobody asked to see it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use crate::log::entry::{Entry, What};

/// All records take at most so much.
pub(in crate::log) const HISTORY_BYTES: usize = 16 << 20;
/// Of a task so many are kept.
pub(super) const HISTORY: usize = 32;
/// A record's places in the two maps.
const PLACES_BYTES: usize = 96;

/// Whose history it is.
pub(super) type Owner = (Rc<str>, u16);

#[derive(Default)]
pub(super) struct History {
    /// With the number of its arrival.
    of: HashMap<Owner, VecDeque<(u64, Entry)>>,
    /// By arrival, the owner: the first is the oldest of all.
    owners: BTreeMap<u64, Owner>,
    arrivals: u64,
    bytes: usize,
}

impl History {
    /// Keeps a record that is not shown.
    pub(super) fn keep(&mut self, entry: Entry) {
        let What::Record(said) = &entry.what else { return };
        let owner = (Rc::clone(&entry.guest), said.task);
        self.bytes += size_of(&entry);
        self.arrivals += 1;
        self.owners.insert(self.arrivals, owner.clone());
        let own = self.of.entry(owner.clone()).or_default();
        own.push_back((self.arrivals, entry));
        if own.len() > HISTORY {
            self.forget_oldest_of(&owner);
        }
        while self.bytes > HISTORY_BYTES
            && let Some((_, owner)) = self.owners.first_key_value()
        {
            self.forget_oldest_of(&owner.clone());
        }
    }

    /// Gives back what `owner` had said, the oldest first.
    pub(super) fn take(&mut self, owner: &Owner) -> Vec<Entry> {
        let mut taken = Vec::new();
        while let Some(entry) = self.forget_oldest_of(owner) {
            taken.push(entry);
        }
        taken
    }

    fn forget_oldest_of(&mut self, owner: &Owner) -> Option<Entry> {
        let own = self.of.get_mut(owner)?;
        let oldest = own.pop_front();
        if own.is_empty() {
            self.of.remove(owner);
        }
        let (arrival, entry) = oldest?;
        self.owners.remove(&arrival);
        self.bytes -= size_of(&entry);
        Some(entry)
    }
}

fn size_of(entry: &Entry) -> usize {
    entry.bytes() + PLACES_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::screen::tests::said;
    use fata_wire::field::Level;

    #[test]
    fn when_it_is_full_the_oldest_go_and_the_newest_of_every_task_stay() {
        let mut history = History::default();
        let long = "x".repeat(64 << 10);
        // Twice as much as there is room for, of many tasks in turn.
        let count = u16::try_from(2 * HISTORY_BYTES / long.len()).unwrap();
        for task in 0..count {
            history.keep(said(i64::from(task), Level::Debug, task, &long));
            assert!(history.bytes <= HISTORY_BYTES);
        }
        let owner = |task| (Rc::from("guest"), task);
        assert!(history.take(&owner(0)).is_empty(), "the oldest is gone");
        let kept = (0..count).filter(|task| history.of.contains_key(&owner(*task))).collect::<Vec<_>>();
        assert!(kept.len() > usize::from(count) / 3, "{} of {count}", kept.len());
        assert_eq!(kept, (count - u16::try_from(kept.len()).unwrap()..count).collect::<Vec<_>>());
        assert_eq!(history.take(&owner(count - 1)).len(), 1);
    }

    #[test]
    fn nothing_is_left_of_what_was_given_back() {
        let mut history = History::default();
        (0..100).for_each(|i| history.keep(said(i, Level::Debug, u16::from(i % 2 == 0), "x")));
        assert_eq!(
            (history.take(&(Rc::from("guest"), 0)).len(), history.take(&(Rc::from("guest"), 1)).len()),
            (32, 32)
        );
        assert!(history.of.is_empty() && history.owners.is_empty() && history.bytes == 0);
    }
}
