//! Promises, channels, conditions, semaphores: who made them, who waits for them, and which were never resolved.
//!
//! This is where a lost wake-up shows: a task tried an object, found it not ready, and to the end of the trace nothing
//! resolved it. Invariant: a waiter is listed from its first `Try` until it reads the object, or the object is resolved or
//! given up. At most 32,768 objects live at a time, by their number; of those that ended with someone waiting the first
//! 1024 are kept.

use crate::time::Nanos;
use crate::trace::{Actor, TaskRef, Trace};

const MAX_ABANDONED: usize = 1024;
const MAX_WAITERS: usize = 256;

/// One synchronisation object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its number in the guest, used again by later ones.
    pub number: u16,
    /// The id of its name, if its creation was seen.
    pub name: Option<u16>,
    /// Who made it.
    pub creator: Actor,
    /// When, if that was seen.
    pub created: Option<Nanos>,
    /// Who tried it, found it not ready, and has not been answered; since when.
    pub waiters: Vec<(Actor, Nanos)>,
    /// When it was last resolved or given up.
    pub resolved: Option<Nanos>,
    /// When it was last signalled: a signal before a waiter waits is lost.
    pub signalled: Option<Nanos>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    live: Vec<Option<Object>>,
    abandoned: Vec<Object>,
}

/// An object that someone waits for at the trace's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The object's number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// The task that waits; `None` for what is no task.
    pub task: Option<TaskRef>,
    /// Since when.
    pub since: Nanos,
    /// When the object was last signalled: before `since`, the signal was lost.
    pub signalled: Option<Nanos>,
}

impl Objects {
    /// The objects that exist now.
    pub fn live(&self) -> impl Iterator<Item = &Object> {
        self.live.iter().flatten()
    }

    pub(crate) fn name_of(&self, number: u16) -> Option<u16> {
        self.live.get(usize::from(number))?.as_ref()?.name
    }

    /// The object of this number; one that nothing is known of yet if it is new.
    fn object(&mut self, number: u16) -> Option<&mut Object> {
        let index = usize::from(number);
        if self.live.len() <= index {
            self.live.resize(index + 1, None);
        }
        Some(self.live.get_mut(index)?.get_or_insert_with(|| Object {
            number,
            name: None,
            creator: Actor::Unknown,
            created: None,
            waiters: Vec::new(),
            resolved: None,
            signalled: None,
        }))
    }

    fn end(&mut self, number: u16) {
        let ended = self.live.get_mut(usize::from(number)).and_then(Option::take);
        if let Some(object) = ended
            && !object.waiters.is_empty()
            && self.abandoned.len() < MAX_ABANDONED
        {
            self.abandoned.push(object);
        }
    }

    pub(crate) fn create(&mut self, number: u16, name: Option<u16>, creator: Actor, time: Nanos) {
        self.end(number);
        if let Some(object) = self.object(number) {
            object.name = name;
            object.creator = creator;
            object.created = Some(time);
        }
    }

    pub(crate) fn attempt(&mut self, number: u16, waiter: Actor, time: Nanos) {
        if let Some(object) = self.object(number)
            && object.waiters.len() < MAX_WAITERS
            && object.waiters.iter().all(|(known, _)| *known != waiter)
        {
            object.waiters.push((waiter, time));
        }
    }

    pub(crate) fn read(&mut self, number: u16, reader: Actor) {
        if let Some(object) = self.object(number) {
            object.waiters.retain(|(waiter, _)| *waiter != reader);
        }
    }

    pub(crate) fn resolve(&mut self, number: u16, time: Nanos) {
        if let Some(object) = self.object(number) {
            object.resolved = Some(time);
            object.waiters.clear();
        }
    }

    pub(crate) fn signal(&mut self, number: u16, time: Nanos) {
        if let Some(object) = self.object(number) {
            object.signalled = Some(time);
        }
    }

    pub(crate) fn drop_object(&mut self, number: u16) {
        self.end(number);
    }
}

impl Trace {
    /// Objects that someone still waits for, longest first: in a trace that ended of itself these are promises that will
    /// never be resolved.
    #[must_use]
    pub fn unresolved(&self) -> Vec<Unresolved> {
        let lives = |actor: Actor| match actor {
            Actor::Task(task) => self.task(task).is_some_and(|task| task.done.is_none()),
            _ => true,
        };
        let mut list = Vec::new();
        for object in self.objects.live().chain(&self.objects.abandoned) {
            let name = object.name.and_then(|id| self.description.name(id));
            for &(waiter, since) in object.waiters.iter().filter(|(waiter, _)| lives(*waiter)) {
                list.push(Unresolved {
                    number: object.number,
                    name: name.map_or_else(|| format!("object {}", object.number), str::to_owned),
                    task: if let Actor::Task(task) = waiter { Some(task) } else { None },
                    since,
                    signalled: object.signalled,
                });
            }
        }
        list.sort_by_key(|unresolved| unresolved.since);
        list
    }
}
