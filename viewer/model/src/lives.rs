//! Which task a number meant when: a guest uses the number of a task that is done for later ones.
//!
//! Invariant: at every moment a number of a guest means one task at most, and the lives of the tasks that had it follow one
//! another without a hole: one ends where the next begins. What a task says while it is given up, after its last poll, is
//! its own, and so is what it said before the first event that the trace has of it.

use std::collections::BTreeMap;

use crate::guests::GuestId;
use crate::time::Nanos;
use crate::trace::{TaskRef, Trace};

/// The time for which a number of a guest means one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Whose it is.
    pub guest: GuestId,
    /// Its number in the guest.
    pub number: u16,
    /// From when on; the begin of all time for the first task of the number, unless its spawn was seen.
    pub from: Nanos,
    /// The first moment at which the number means another task; the end of all time while it is the youngest.
    pub until: Nanos,
}

impl Life {
    /// Whether this is who had the number `number` of `guest` at `time`.
    #[must_use]
    pub fn is(&self, guest: GuestId, number: u16, time: Nanos) -> bool {
        self.number == number && self.guest == guest && (self.from..self.until).contains(&time)
    }

    /// Whether all of it lies within `other`.
    pub(crate) fn is_within(&self, other: &Life) -> bool {
        (self.guest, self.number) == (other.guest, other.number) && other.from <= self.from && self.until <= other.until
    }
}

/// All tasks by their numbers' [places](GuestId::place), and when they were first seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lives(BTreeMap<(usize, Nanos, u32), ()>);

impl Lives {
    pub(crate) fn begin(&mut self, place: usize, first: Nanos, task: TaskRef) {
        self.0.insert((place, first, task.0), ());
    }

    /// The last task of a place that was first seen before the key, and the first one that was not.
    fn around(&self, place: usize, first: Nanos, task: u32) -> (Option<TaskRef>, Option<TaskRef>) {
        let key = (place, first, task);
        let of_place = |(&(at, _, task), ()): (&(usize, Nanos, u32), &())| (at == place).then_some(TaskRef(task));
        (self.0.range(..key).next_back().and_then(of_place), self.0.range(key..).next().and_then(of_place))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.len() * size_of::<(usize, Nanos, u32)>()
    }
}

impl Trace {
    /// For how long a task's number means this task.
    #[must_use]
    pub fn life_of(&self, task: TaskRef) -> Option<Life> {
        let known = self.task(task)?;
        let (guest, number) = (known.guest(), known.number);
        let around = |task: u32| self.tasks.lives.around(guest.place(number), known.first, task);
        let (before, after) = (around(task.0).0, task.0.checked_add(1).and_then(|next| around(next).1));
        let from = before.map_or(known.spawned.unwrap_or(Nanos::MIN), |before| self.succession(before, task));
        let until = after.map_or(Nanos::MAX, |after| self.succession(task, after));
        Some(Life { guest, number, from, until })
    }

    /// When a number that had meant one task began to mean the next: when that was spawned, else when the one before was
    /// done, else when the next was first seen.
    fn succession(&self, before: TaskRef, after: TaskRef) -> Nanos {
        let Some(next) = self.task(after) else { return Nanos::MAX };
        next.spawned.or_else(|| self.task(before)?.done).unwrap_or(next.first)
    }

    /// Which task a number of a guest meant at `time`; `None` where the trace knows of none.
    #[must_use]
    pub fn task_at(&self, guest: GuestId, number: u16, time: Nanos) -> Option<TaskRef> {
        let (before, after) = self.tasks.lives.around(guest.place(number), time.saturating_add(1), 0);
        let lives_then = |task: &TaskRef| self.life_of(*task).is_some_and(|life| life.is(guest, number, time));
        after.into_iter().chain(before).find(lives_then)
    }

    /// The task that a number of a guest meant at `time`, as people call it.
    #[must_use]
    pub fn task_by_number(&self, guest: GuestId, number: u16, time: Nanos) -> String {
        let task = self.task_at(guest, number, time);
        task.map_or_else(|| self.of_guest(guest, format!("task #{number}")), |task| self.task_label(task))
    }
}
