//! Promises, channels, conditions, semaphores: who made them, who waits for them, and which were never resolved.
//!
//! This is where a lost wake-up shows: a task tried an object, found it not ready, and to the end of the trace nothing
//! resolved it. Invariant: a waiter is listed from its first `Try` until it reads the object or puts something into it, or
//! until the object is given up or is no more. At most 32,768 objects live at a time, by their number, and each lists at
//! most 256 waiters.

use crate::guests::GuestId;
use crate::time::Nanos;
use crate::trace::{Actor, TaskRef, Trace};

const MAX_WAITERS: usize = 256;

/// One synchronisation object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its number in the guest, used again by later ones.
    pub number: u16,
    /// The id of its name, if its creation was seen.
    pub name: Option<u32>,
    /// The callsite that created it, which says what it is: `sync.promise`, `sync.condition`; 0 if that was not seen.
    pub callsite: u16,
    /// Who made it.
    pub creator: Actor,
    /// When, if that was seen.
    pub created: Option<Nanos>,
    /// Who tried it, found it not ready, and has not been answered; since when.
    pub waiters: Vec<(Actor, Nanos)>,
    /// When it was last resolved, given a value, or given up.
    pub resolved: Option<Nanos>,
    /// When its value was last obtained.
    pub read: Option<Nanos>,
    /// When it was last signalled: a signal before a waiter waits is lost.
    pub signalled: Option<Nanos>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By [`GuestId::place`].
    live: Vec<Option<Object>>,
}

/// Why an object counts as unresolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It was signalled before its waiter waited, and never since: the signal was lost.
    SignalLost,
    /// It was tried, and nothing ever came of it: whoever waits may have given up meanwhile.
    NeverResolved,
    /// It was in use, and someone waits for it now: ordinary in a trace of what still runs.
    StillWaiting,
}

impl Verdict {
    /// As text, as in `fata stats`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Verdict::SignalLost => "signal_lost",
            Verdict::NeverResolved => "never_resolved",
            Verdict::StillWaiting => "still_waiting",
        }
    }
}

/// An object that was tried and has not answered by the trace's end, and who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The object's number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// What created it, such as `sync.promise`; empty if that was not seen.
    pub kind: String,
    /// Why it is listed.
    pub verdict: Verdict,
    /// Who tried it; `None` for what is no task.
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

    pub(crate) fn name_of(&self, guest: GuestId, number: u16) -> Option<u32> {
        self.live.get(guest.place(number))?.as_ref()?.name
    }

    /// The object of this number; one that nothing is known of yet if it is new.
    fn object(&mut self, guest: GuestId, number: u16) -> Option<&mut Object> {
        let index = guest.place(number);
        if self.live.len() <= index {
            self.live.resize(index + 1, None);
        }
        Some(self.live.get_mut(index)?.get_or_insert_with(|| Object {
            number,
            name: None,
            callsite: 0,
            creator: Actor::Unknown,
            created: None,
            waiters: Vec::new(),
            resolved: None,
            read: None,
            signalled: None,
        }))
    }

    pub(crate) fn create(
        &mut self,
        guest: GuestId,
        number: u16,
        callsite: u16,
        name: Option<u32>,
        creator: Actor,
        time: Nanos,
    ) {
        self.drop_object(guest, number);
        if let Some(object) = self.object(guest, number) {
            object.name = name;
            object.callsite = callsite;
            object.creator = creator;
            object.created = Some(time);
        }
    }

    /// What `create` said, again: it changes nothing of what is known already.
    pub(crate) fn exists(&mut self, guest: GuestId, number: u16, callsite: u16, name: Option<u32>) {
        if let Some(object) = self.object(guest, number)
            && object.created.is_none()
        {
            object.name = name;
            object.callsite = callsite;
        }
    }

    pub(crate) fn attempt(&mut self, guest: GuestId, number: u16, waiter: Actor, time: Nanos) {
        if let Some(object) = self.object(guest, number)
            && object.waiters.len() < MAX_WAITERS
            && object.waiters.iter().all(|(known, _)| *known != waiter)
        {
            object.waiters.push((waiter, time));
        }
    }

    pub(crate) fn read(&mut self, guest: GuestId, number: u16, reader: Actor, time: Nanos) {
        if let Some(object) = self.object(guest, number) {
            object.read = Some(time);
            object.waiters.retain(|(waiter, _)| *waiter != reader);
        }
    }

    /// Something was put into it; whoever waited for room and put it there waits no more.
    pub(crate) fn resolve(&mut self, guest: GuestId, number: u16, resolver: Actor, time: Nanos) {
        if let Some(object) = self.object(guest, number) {
            object.resolved = Some(time);
            object.waiters.retain(|(waiter, _)| *waiter != resolver);
        }
    }

    pub(crate) fn fail(&mut self, guest: GuestId, number: u16, time: Nanos) {
        if let Some(object) = self.object(guest, number) {
            object.resolved = Some(time);
            object.waiters.clear();
        }
    }

    pub(crate) fn signal(&mut self, guest: GuestId, number: u16, time: Nanos) {
        if let Some(object) = self.object(guest, number) {
            object.signalled = Some(time);
        }
    }

    pub(crate) fn drop_object(&mut self, guest: GuestId, number: u16) {
        if let Some(object) = self.live.get_mut(guest.place(number)) {
            *object = None;
        }
    }
}

impl Object {
    /// What its silence towards a waiter means; `None` where it has answered.
    fn verdict(&self, since: Nanos, waiter_lives: bool) -> Option<Verdict> {
        if self.resolved.is_some_and(|resolved| resolved >= since) {
            return None;
        }
        match self.signalled {
            Some(signalled) if signalled < since && waiter_lives && self.read.is_none_or(|read| read < signalled) => {
                Some(Verdict::SignalLost)
            }
            None if self.resolved.is_none() && self.read.is_none() => Some(Verdict::NeverResolved),
            _ => waiter_lives.then_some(Verdict::StillWaiting),
        }
    }
}

impl Trace {
    /// Objects that were tried and never answered: lost signals first, then the longest.
    #[must_use]
    pub fn unresolved(&self) -> Vec<Unresolved> {
        let mut list = self.waited_for();
        list.retain(|unresolved| unresolved.verdict != Verdict::StillWaiting);
        list
    }

    /// Objects that were tried and have not answered by now, the most suspicious first, then the longest.
    #[must_use]
    pub fn waited_for(&self) -> Vec<Unresolved> {
        let lives = |actor: Actor| match actor {
            Actor::Task(task) => self.task(task).is_some_and(|task| task.done.is_none()),
            _ => true,
        };
        let mut list = Vec::new();
        for object in self.objects.live() {
            let name = object.name.and_then(|id| self.description.name(id));
            let kind = self.description.callsite(object.callsite).map_or("", |callsite| &callsite.name);
            for &(waiter, since) in &object.waiters {
                let Some(verdict) = object.verdict(since, lives(waiter)) else { continue };
                list.push(Unresolved {
                    number: object.number,
                    name: name.map_or_else(|| format!("object {}", object.number), str::to_owned),
                    kind: kind.to_owned(),
                    verdict,
                    task: if let Actor::Task(task) = waiter { Some(task) } else { None },
                    since,
                    signalled: object.signalled,
                });
            }
        }
        list.sort_by_key(|unresolved| (unresolved.verdict, unresolved.since));
        list
    }
}
