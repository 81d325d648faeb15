//! What tasks were called that have ended: their log records are shown later, when nobody else knows any more.
//!
//! When it is full: each name takes the place of that of a task which ended long before. Numbers are given out one after
//! another, so these are about the last [`KEPT`] that ended.

use alloc::boxed::Box;
use core::cell::Cell;

use fata_probe::Name;

/// How many names are kept.
const KEPT: usize = 256;

/// A task's number and what it was called.
type Place = Cell<Option<(u16, Name)>>;

/// Names by the numbers that their tasks had.
pub(super) struct Ended(Box<[Place]>);

impl Ended {
    pub(super) fn new() -> Self {
        Ended((0..KEPT).map(|_| Cell::new(None)).collect())
    }

    /// Task `number` has ended.
    pub(super) fn keep(&self, number: u16, name: Name) {
        self.place(number).set(Some((number, name)));
    }

    /// What the last task of this number was called that ended.
    pub(super) fn name_of(&self, number: u16) -> Option<Name> {
        self.place(number).get().filter(|(known, _)| *known == number).map(|(_, name)| name)
    }

    fn place(&self, number: u16) -> &Place {
        &self.0[usize::from(number) % KEPT]
    }
}
