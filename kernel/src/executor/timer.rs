//! Timers: a hierarchical wheel of intrusive nodes that is exact to the nanosecond.
//!
//! Invariant: a node whose deadline is `d` lies on level `l` in slot `s`, where `l` is the highest group of six bits in
//! which `d` and `elapsed` differ, and `s` is that group of `d`. So every node of a lower level is due before every node
//! of a higher one, and on one level slots are due in order.
//!
//! Eleven levels of 64 slots cover all 64 bits: there is no granularity to choose, no limit, and no rounding. A timer is
//! a node in the future that sleeps, so it takes no memory and the wheel is never full. Inserting and removing cost a few
//! stores; a timer moves down at most once per level, on the way to its deadline. Timers of the same deadline fire in the
//! order in which they were set.
//!
//! After: Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987.
#![expect(unsafe_code, reason = "nodes join and leave intrusive lists; `Sleep` keeps the contract")]

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use fata_probe::{name, wait};

use super::events;
use crate::list::{List, Node};
use crate::platform::clock;
use crate::sync::{Object, What};

const BITS: u32 = 6;
const LEVELS: u32 = 11;
const SLOTS: usize = 1 << BITS;

/// What the wheel keeps in a sleeping future.
pub(super) struct Timer {
    deadline: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Timer {
    pub(super) const fn new(deadline: u64) -> Self {
        Timer { deadline: Cell::new(deadline), waker: RefCell::new(None) }
    }
}

struct Level {
    /// Bit `s` is set while slot `s` has nodes.
    occupied: Cell<u64>,
    slots: [List<Timer>; SLOTS],
}

/// The wheel.
pub(super) struct Timers {
    levels: Box<[Level]>,
    /// All timers up to here have fired.
    elapsed: Cell<u64>,
    /// The earliest deadline, when known.
    next: Cell<Next>,
    object: Object,
}

#[derive(Clone, Copy)]
enum Next {
    Known(Option<u64>),
    Unknown,
}

/// Level and slot for `deadline` while the wheel is at `elapsed`.
fn place(elapsed: u64, deadline: u64) -> (u32, u32) {
    let level = ((elapsed ^ deadline) | 1).ilog2() / BITS;
    (level, u32::try_from(deadline >> (BITS * level) & 63).unwrap_or(0))
}

impl Level {
    fn slot(&self, slot: u32) -> &List<Timer> {
        &self.slots[slot as usize]
    }
}

impl Timers {
    pub(super) fn new(now: u64) -> Self {
        let level = || Level { occupied: Cell::new(0), slots: [const { List::new() }; SLOTS] };
        Timers {
            levels: (0..LEVELS).map(|_| level()).collect(),
            elapsed: Cell::new(now),
            next: Cell::new(Next::Known(None)),
            object: Object::new(What::Timer, name!("timer")),
        }
    }

    /// Puts `node` where its deadline belongs; a deadline in the past is due at once.
    ///
    /// # Safety
    /// As for [`List::push_back`]: `node` stays where it is until [`Self::remove`] or until it fired.
    pub(super) unsafe fn insert(&self, node: &Node<Timer>) {
        let deadline = node.data.deadline.get().max(self.elapsed.get());
        node.data.deadline.set(deadline);
        // SAFETY: the caller's promise.
        unsafe { self.link(node) };
        if let Next::Known(next) = self.next.get() {
            self.next.set(Next::Known(Some(next.map_or(deadline, |next| next.min(deadline)))));
        }
    }

    /// # Safety
    /// As for [`Self::insert`].
    unsafe fn link(&self, node: &Node<Timer>) {
        let (level, slot) = place(self.elapsed.get(), node.data.deadline.get());
        let level = &self.levels[level as usize];
        // SAFETY: the caller's promise.
        unsafe { level.slot(slot).push_back(node) };
        level.occupied.set(level.occupied.get() | 1 << slot);
    }

    /// Takes `node` out, if it has not fired.
    ///
    /// # Safety
    /// `node` was inserted into this wheel, or never.
    pub(super) unsafe fn remove(&self, node: &Node<Timer>) {
        if !node.is_linked() {
            return;
        }
        let deadline = node.data.deadline.get();
        // `elapsed` may have moved on since the node was put in, but by the invariant not so far that its place changed.
        let (level, slot) = place(self.elapsed.get(), deadline);
        let level = &self.levels[level as usize];
        // SAFETY: the node is in this wheel, and by the invariant in this slot.
        unsafe { level.slot(slot).remove(node) };
        if level.slot(slot).is_empty() {
            level.occupied.set(level.occupied.get() & !(1 << slot));
        }
        if let Next::Known(Some(next)) = self.next.get()
            && next == deadline
        {
            self.next.set(Next::Unknown);
        }
    }

    /// The first slot in time: its level, number, and the earliest time at which a node in it can be due.
    fn first_slot(&self) -> Option<(u32, u32, u64)> {
        let level = (0..LEVELS).find(|&level| self.levels[level as usize].occupied.get() != 0)?;
        let slot = self.levels[level as usize].occupied.get().trailing_zeros();
        // Above its level, a deadline equals `elapsed`; the topmost level has nothing above.
        let above = u64::MAX.checked_shl(BITS * (level + 1)).unwrap_or(0);
        Some((level, slot, self.elapsed.get() & above | u64::from(slot) << (BITS * level)))
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        if let Next::Known(next) = self.next.get() {
            return next;
        }
        let next = self.first_slot().and_then(|(level, slot, _)| {
            self.levels[level as usize].slot(slot).iter().map(|node| node.data.deadline.get()).min()
        });
        self.next.set(Next::Known(next));
        next
    }

    /// Wakes every task whose deadline is `now` or earlier, in the order of deadlines.
    pub(super) fn fire(&self, now: u64) {
        // Slots that merely begin before `now` are taken too, or the invariant would break when `elapsed` passes them.
        while let Some((level, slot, start)) = self.first_slot()
            && start <= now
        {
            self.elapsed.set(start.max(self.elapsed.get()));
            self.next.set(Next::Unknown);
            let occupied = &self.levels[level as usize].occupied;
            occupied.set(occupied.get() & !(1 << slot));
            let list = self.levels[level as usize].slot(slot);
            if level == 0 {
                // All nodes of a slot on the lowest level have the same deadline.
                events::signal(self.object.number(), list.iter().count());
            }
            while let Some(node) = list.pop_front() {
                if level > 0 {
                    // SAFETY: the node was in this wheel and is only moved within it. It goes to a lower level, since
                    // its group of this level now equals that of `elapsed`.
                    unsafe { self.link(node) };
                } else if let Some(waker) = node.data.waker.take() {
                    waker.wake();
                }
            }
        }
        self.elapsed.set(now.max(self.elapsed.get()));
    }
}

/// Ready once the clock has reached a deadline.
pub(crate) struct Sleep {
    timers: Rc<Timers>,
    node: Node<Timer>,
}

impl Sleep {
    pub(super) fn new(timers: Rc<Timers>, deadline: u64) -> Self {
        Sleep { timers, node: Node::new(Timer::new(deadline)) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.into_ref().get_ref();
        let timer = &this.node.data;
        if clock::now() >= timer.deadline.get() {
            return Poll::Ready(());
        }
        *timer.waker.borrow_mut() = Some(cx.waker().clone());
        events::wait_for(wait!("sleep"));
        if !this.node.is_linked() {
            // SAFETY: the node lies in a pinned future, whose destructor takes it out of this same wheel.
            unsafe { this.timers.insert(&this.node) };
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // SAFETY: the node was inserted by `poll` into this wheel, or never.
        unsafe { self.timers.remove(&self.node) };
    }
}

#[cfg(test)]
mod tests;
