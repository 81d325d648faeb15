//! The wheel against a naive oracle: an ordered map of deadlines.
#![expect(unsafe_code, reason = "puts nodes into the wheel as `Sleep` does")]

use super::*;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec;
use alloc::vec::Vec;
use std::sync::Mutex;

/// A waker that notes its number in a common list.
struct Note {
    number: usize,
    woken: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push(self.number);
    }
}

/// The wheel and the oracle, driven alike.
struct Pair {
    wheel: Timers,
    oracle: BTreeMap<(u64, u64), usize>,
    nodes: Vec<Option<Pin<Box<Node<Timer>>>>>,
    keys: Vec<(u64, u64)>,
    woken: Arc<Mutex<Vec<usize>>>,
    now: u64,
    random: u64,
}

impl Pair {
    fn new(now: u64, seed: u64) -> Self {
        Pair {
            wheel: Timers::new(now),
            oracle: BTreeMap::new(),
            nodes: vec![],
            keys: vec![],
            woken: Arc::default(),
            now,
            random: seed | 1,
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// A number of any length in bits, up to `bits`.
    fn any(&mut self, bits: u64) -> u64 {
        let shift = 64 - 1 - self.random() % bits;
        self.random() >> shift
    }

    fn insert(&mut self, deadline: u64) {
        let number = self.nodes.len();
        let node = Box::pin(Node::new(Timer::new(deadline)));
        let note = Arc::new(Note { number, woken: self.woken.clone() });
        *node.data.waker.borrow_mut() = Some(note.into());
        // SAFETY: the node is boxed, and every test ends by firing or removing all.
        unsafe { self.wheel.insert(&node) };
        let key = (deadline.max(self.now), number as u64);
        self.oracle.insert(key, number);
        self.nodes.push(Some(node));
        self.keys.push(key);
    }

    fn remove(&mut self, number: usize) {
        if let Some(node) = self.nodes[number].take() {
            // SAFETY: the node was inserted into this wheel.
            unsafe { self.wheel.remove(&node) };
            self.oracle.remove(&self.keys[number]);
        }
    }

    fn fire(&mut self, now: u64) {
        self.now = now;
        self.wheel.fire(now);
        let later = now.checked_add(1).map(|next| self.oracle.split_off(&(next, 0))).unwrap_or_default();
        let due: Vec<_> = core::mem::replace(&mut self.oracle, later).into_values().collect();
        assert_eq!(core::mem::take(&mut *self.woken.lock().unwrap()), due, "at {now}");
        for number in due {
            self.nodes[number] = None;
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.wheel.next_deadline(), self.oracle.keys().next().map(|(deadline, _)| *deadline));
    }
}

#[test]
fn timers_fire_in_the_order_of_deadlines_and_then_of_setting_whatever_happens_in_between() {
    for seed in 1..200_u64 {
        let mut pair = Pair::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (seed % 64), seed);
        for _ in 0..300 {
            match pair.random() % 8 {
                0..4 => {
                    let ahead = pair.any(50);
                    pair.insert(pair.now.saturating_add(ahead));
                }
                4 => {
                    // One more for a deadline that exists, so that ties happen.
                    if let Some((deadline, _)) = pair.oracle.keys().nth(2).copied() {
                        pair.insert(deadline);
                    }
                }
                5 if !pair.nodes.is_empty() => {
                    let number = usize::try_from(pair.random()).unwrap() % pair.nodes.len();
                    pair.remove(number);
                }
                6 => {
                    let next = pair.wheel.next_deadline().unwrap_or(pair.now);
                    pair.fire(next);
                }
                _ => {
                    let ahead = pair.any(45);
                    pair.fire(pair.now.saturating_add(ahead));
                }
            }
            pair.check();
        }
        pair.fire(u64::MAX);
        assert!(pair.oracle.is_empty());
    }
}

#[test]
fn a_deadline_in_the_past_is_due_now_and_the_last_one_of_all_is_reached() {
    let mut pair = Pair::new(1000, 1);
    pair.insert(1);
    pair.insert(u64::MAX);
    pair.fire(1000);
    assert_eq!(pair.wheel.next_deadline(), Some(u64::MAX));
    pair.fire(u64::MAX - 1);
    pair.fire(u64::MAX);
}

#[test]
fn time_that_enters_a_timers_slot_does_not_lose_it() {
    // 100 lies on level 1 in slot 1, which begins at 64: at 70 it must have moved down.
    let mut pair = Pair::new(0, 1);
    pair.insert(100);
    pair.insert(101);
    pair.fire(70);
    pair.remove(0);
    pair.fire(99);
    pair.fire(101);
}
