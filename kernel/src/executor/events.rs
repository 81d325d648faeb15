//! Every event that the scheduler and the synchronisation objects emit, in one place.
//!
//! What each kind means is told in [`fata_probe::Kind`]. An event that causes another comes directly before it: a signal,
//! then the wakes that it caused.

use fata_probe::{Kind, Name, ObjectId, TaskId, Wait, event, wait};

use crate::platform::cpu;
use crate::sync::What;

/// Whether events exist in this program at all.
pub(crate) const ON: bool = fata_probe::ENABLED;

pub(super) fn spawn(task: u16, name: Name, parent: u16) {
    event!(Kind::Spawn, "task.spawn", task = TaskId(task), name = name, parent = TaskId(parent));
}

/// What `spawn` said, again.
pub(super) fn alive(task: u16, name: Name, parent: u16) {
    event!(Kind::Alive, "task.alive", task = TaskId(task), name = name, parent = TaskId(parent));
}

pub(super) fn ready(task: u16) {
    event!(Kind::Ready, "task.ready", task = TaskId(task));
}

pub(super) fn poll(task: u16) {
    event!(Kind::Poll, "task.poll", task = TaskId(task));
}

/// The poll of `task` ended; it waits for what `waits` names, or for what an event before this says.
pub(super) fn pending(task: u16, waits: &Wait) {
    waits.pending(TaskId(task));
}

pub(super) fn done(task: u16) {
    event!(Kind::Done, "task.done", task = TaskId(task));
}

/// What `pending` says of the task that was polled, and that `task` is polled now.
pub(super) fn switch(task: u16, waits: &Wait) {
    waits.switch(TaskId(task));
}

/// The current task is about to wait for something that is no object of its own. It costs no event: the end of the poll
/// says it along.
#[inline]
pub(crate) fn wait_for(wait: &'static Wait) {
    if ON {
        cpu::replace_wait(Some(wait));
    }
}

/// What [`wait_for`] was last told since it was asked last.
#[inline]
pub(super) fn take_wait() -> &'static Wait {
    let told = if ON { cpu::replace_wait(None) } else { None };
    told.unwrap_or(wait!())
}

/// The current task waits for the end of `task`.
pub(super) fn wait_for_task(name: Name, task: u16) {
    event!(Kind::WaitFor, "task.join", name = name, task = TaskId(task));
}

/// An object begins to exist.
#[inline]
pub(crate) fn create(what: What, object: u16, name: Name) {
    // Whether there was room is counted elsewhere.
    let _: bool = match what {
        What::Timer => event!(Kind::Create, "sync.timer", object = ObjectId(object), name = name),
        What::Promise => event!(Kind::Create, "sync.promise", object = ObjectId(object), name = name),
        What::Channel => event!(Kind::Create, "sync.channel", object = ObjectId(object), name = name),
        What::Condition => event!(Kind::Create, "sync.condition", object = ObjectId(object), name = name),
        What::Semaphore => event!(Kind::Create, "sync.semaphore", object = ObjectId(object), name = name),
    };
}

/// What `create` said, again.
pub(crate) fn exists(what: What, object: u16, name: Name) {
    // Whether there was room is counted elsewhere.
    let _: bool = match what {
        What::Timer => event!(Kind::Exists, "sync.timer", object = ObjectId(object), name = name),
        What::Promise => event!(Kind::Exists, "sync.promise", object = ObjectId(object), name = name),
        What::Channel => event!(Kind::Exists, "sync.channel", object = ObjectId(object), name = name),
        What::Condition => event!(Kind::Exists, "sync.condition", object = ObjectId(object), name = name),
        What::Semaphore => event!(Kind::Exists, "sync.semaphore", object = ObjectId(object), name = name),
    };
}

/// The current task waits for the object.
pub(crate) fn try_object(object: u16) {
    event!(Kind::Try, "sync.try", object = ObjectId(object));
}

/// The current task waits for room in the channel.
pub(crate) fn try_send(object: u16) {
    event!(Kind::Try, "sync.full", object = ObjectId(object));
}

/// The current task goes on because of the object.
pub(crate) fn read(object: u16) {
    event!(Kind::Read, "sync.read", object = ObjectId(object));
}

pub(crate) fn resolve(object: u16) {
    event!(Kind::Resolve, "sync.resolve", object = ObjectId(object));
}

/// A value was put into the channel, which then held so many.
pub(crate) fn send(object: u16, queued: usize) {
    event!(Kind::Resolve, "sync.send", object = ObjectId(object), queued = queued);
}

pub(crate) fn fail(object: u16) {
    event!(Kind::Fail, "sync.fail", object = ObjectId(object));
}

pub(crate) fn signal(object: u16, woken: usize) {
    event!(Kind::Signal, "sync.signal", object = ObjectId(object), woken = woken);
}

pub(crate) fn drop_object(object: u16) {
    event!(Kind::Drop, "sync.drop", object = ObjectId(object));
}
