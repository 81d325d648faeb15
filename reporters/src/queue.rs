//! Items on their way to one reporter: two rings of bytes, and what did not fit, counted in its place.
//!
//! Invariant: for each item that was pushed, exactly one holds: it was popped, it waits, or a [`Loss`] that was popped or
//! waits counts it. Losses that were pushed are never discarded, only added up.
//!
//! When it is full: the share of the urgent (warnings, errors, the program's own words) and the ordinary share are apart, so
//! no flood of one takes the room of the other. Keeping the oldest refuses the new item, and the loss stands behind what was
//! kept; keeping the newest takes the oldest of the share away, and the loss stands before what is left.

use std::string::String;
use std::vec::Vec;

use ringbuf::HeapRb;
use ringbuf::traits::Observer as _;

use crate::codec::{self, HEAD_BYTES, Head, LOSS_BYTES, Limits};
use crate::loss::{Cause, Counts, Length, Loss};
use crate::record::is_urgent;
use crate::reporter::Item;

/// Losses of so many different causes, places and guests are kept apart; further ones are added up as [`Cause::Various`].
const MAX_LOSSES: usize = 8;
/// A place or guest in a ledger is cut at this.
const MAX_NAME_BYTES: usize = 64;
const LOSS_LIMITS: Limits = Limits { item: LOSS_BYTES + 2 * MAX_NAME_BYTES, text: MAX_NAME_BYTES };
/// Room for the bookkeeping of two shares, each with two ledgers of owned names.
const LEDGERS_BYTES: usize = 4 * (MAX_LOSSES + 1) * (size_of::<Owned>() + 2 * MAX_NAME_BYTES);

/// The longest item by default.
pub const ITEM_BYTES: usize = 1 << 14;

/// What goes when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The new item goes: what is kept is the beginning of the story.
    KeepOldest,
    /// The oldest go: what is kept is its end.
    KeepNewest,
    /// The caller waits, within limits; after that as [`Policy::KeepOldest`]. For programs that would rather be slow.
    Block,
}

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Length of both shares together.
    pub bytes: usize,
    /// Of these, the share of warnings, errors and the program's own words.
    pub reserved_bytes: usize,
    /// The longest item; texts in it are cut at a quarter of this.
    pub item_bytes: usize,
    /// What goes when there is no room.
    pub policy: Policy,
}

impl Default for Bounds {
    /// 1 MiB, a quarter of it reserved; keeps the oldest.
    fn default() -> Self {
        Bounds { bytes: 1 << 20, reserved_bytes: 1 << 18, item_bytes: ITEM_BYTES, policy: Policy::KeepOldest }
    }
}

/// Where a pushed item went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits.
    Kept,
    /// It was counted.
    Discarded,
}

/// The queue; see the module.
pub(crate) struct Queue {
    place: String,
    bounds: Bounds,
    shares: [Share; 2],
    next_order: u64,
    scratch: Vec<u8>,
    /// Records that were discarded here, and are or will be told by a loss.
    pub(crate) discarded: Counts,
    /// Of these, the records that no loss will tell, because the end came.
    pub(crate) discarded_at_the_end: u64,
}

struct Share {
    ring: HeapRb<u8>,
    /// Stands before what is in the ring.
    before: Ledger,
    /// Stands behind it.
    behind: Ledger,
}

impl Queue {
    /// An empty queue, which calls itself `place` in losses. All memory it will ever need is there from now on.
    pub(crate) fn new(place: &str, bounds: Bounds) -> Self {
        let item_bytes = bounds.item_bytes.max(HEAD_BYTES * 8);
        let reserved = bounds.reserved_bytes.max(item_bytes);
        let ordinary = bounds.bytes.saturating_sub(reserved).max(item_bytes);
        let share = |bytes| Share { ring: HeapRb::new(bytes), before: Ledger::default(), behind: Ledger::default() };
        Queue {
            place: cut(place).into(),
            bounds: Bounds { bytes: ordinary + reserved, reserved_bytes: reserved, item_bytes, ..bounds },
            shares: [share(ordinary), share(reserved)],
            next_order: 0,
            scratch: Vec::with_capacity(item_bytes),
            discarded: Counts::default(),
            discarded_at_the_end: 0,
        }
    }

    /// The most memory it ever takes.
    pub(crate) fn worst_case_bytes(&self) -> usize {
        self.bounds.bytes + 2 * self.bounds.item_bytes + LEDGERS_BYTES
    }

    pub(crate) const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn share(item: &Item<'_>) -> usize {
        usize::from(matches!(item, Item::Record(record) if is_urgent(record.level)))
    }

    /// Whether `item` has room without anything being discarded.
    pub(crate) fn has_room(&mut self, item: &Item<'_>) -> bool {
        // What is too big never has room, and waiting would not help it.
        !self.encode(item) || self.shares[Self::share(item)].has_room(self.scratch.len())
    }

    /// Whether an item of the longest length has room.
    pub(crate) fn has_room_for_any(&self) -> bool {
        self.shares.iter().all(|share| share.has_room(self.bounds.item_bytes))
    }

    /// Encodes `item` into the scratch buffer; `false` where it is too big.
    fn encode(&mut self, item: &Item<'_>) -> bool {
        codec::encode_within(&mut self.scratch, item, self.next_order, self.bounds.item_bytes)
    }

    /// Puts `item` behind everything else, or counts it, by the policy.
    pub(crate) fn push(&mut self, item: &Item<'_>) -> Pushed {
        if !self.encode(item) {
            let bytes = match item {
                Item::Record(record) => record.least_bytes(),
                Item::Loss(_) => 0,
            };
            self.discard_of(item, Cause::TooBig, bytes);
            return Pushed::Discarded;
        }
        let len = self.scratch.len();
        let share = &mut self.shares[Self::share(item)];
        if self.bounds.policy == Policy::KeepNewest {
            while !share.has_room(len) && !share.ring.is_empty() {
                share.remove(&self.place, Cause::Overwritten, &mut self.discarded);
            }
        }
        if !share.has_room(len) {
            self.discard_of(item, Cause::Full, len as u64);
            return Pushed::Discarded;
        }
        let mut bytes = Vec::new();
        for (order, owned) in share.behind.losses.drain(..) {
            codec::encode(&mut bytes, &Item::Loss(owned.lend()), order, LOSS_LIMITS);
            share.ring.push_slice(&bytes);
        }
        share.ring.push_slice(&self.scratch);
        self.next_order += 1;
        Pushed::Kept
    }

    /// Counts `item`, which was never to wait here, as discarded for `cause`, behind everything that does.
    pub(crate) fn discard(&mut self, item: &Item<'_>, cause: Cause) {
        let bytes = match item {
            Item::Record(record) if !self.encode(item) => record.least_bytes(),
            _ => self.scratch.len() as u64,
        };
        self.discard_of(item, cause, bytes);
    }

    fn discard_of(&mut self, item: &Item<'_>, cause: Cause, bytes: u64) {
        let index = Self::share(item);
        let order = self.next_order;
        self.next_order += 1;
        let behind = &mut self.shares[index].behind;
        match item {
            Item::Loss(loss) => behind.add(order, loss),
            Item::Record(record) => {
                let mut loss = Loss { guest: record.guest, ..Loss::new(cause, &self.place, record.time) };
                loss.add(record.level, bytes, record.time);
                self.discarded.add(record.level);
                behind.add(order, &loss);
            }
        }
    }

    /// Takes the oldest item's bytes into `out`; `false` where nothing waits.
    ///
    /// With `quiet_too`, also losses that are not worth a reporter's attention by themselves: those of records that a
    /// reporter made while it reported would otherwise make it report for ever.
    pub(crate) fn pop(&mut self, out: &mut Vec<u8>, quiet_too: bool) -> bool {
        let first =
            (0..self.shares.len()).filter_map(|index| Some((self.shares[index].first_order(quiet_too)?, index))).min();
        let Some((_, index)) = first else { return false };
        self.shares[index].pop(out);
        true
    }

    /// Puts a loss that could not be reported back before everything else; it goes out with the next record.
    pub(crate) fn put_back(&mut self, loss: &Loss<'_>) {
        let before = &mut self.shares[0].before;
        let quiet = before.quiet || before.losses.is_empty();
        before.add(0, loss);
        before.quiet = quiet;
    }

    /// Counts a record that was popped and could not be reported, before everything that waits.
    pub(crate) fn discard_popped(&mut self, item: &Item<'_>, cause: Cause, bytes: usize) {
        match item {
            Item::Loss(loss) => self.put_back(loss),
            Item::Record(record) => {
                let mut loss = Loss { guest: record.guest, ..Loss::new(cause, &self.place, record.time) };
                loss.add(record.level, bytes as u64, record.time);
                self.discarded.add(record.level);
                self.shares[0].before.add(0, &loss);
            }
        }
    }

    /// Counts everything that waits as discarded for `cause`.
    pub(crate) fn discard_all(&mut self, cause: Cause) {
        let before = self.discarded.total();
        for share in &mut self.shares {
            while !share.ring.is_empty() {
                share.remove(&self.place, cause, &mut self.discarded);
            }
        }
        self.discarded_at_the_end += self.discarded.total() - before;
    }
}

impl Share {
    /// Whether an entry of `len` bytes fits, together with the losses that must go before it.
    fn has_room(&self, len: usize) -> bool {
        self.ring.vacant_len() >= len + self.behind.encoded_bytes()
    }

    fn head(&mut self) -> Option<Head> {
        let mut bytes = [0; HEAD_BYTES];
        if self.ring.peek_slice(&mut bytes) < HEAD_BYTES {
            return None;
        }
        Head::parse(&bytes)
    }

    fn first_order(&mut self, quiet_too: bool) -> Option<u64> {
        let head = self.head().map(|head| head.order);
        let shown = |ledger: &Ledger| ledger.first().filter(|_| quiet_too || !ledger.quiet || head.is_some());
        shown(&self.before).or(head).or_else(|| shown(&self.behind))
    }

    fn pop(&mut self, out: &mut Vec<u8>) {
        let ledger = if !self.before.losses.is_empty() {
            &mut self.before
        } else if self.ring.is_empty() {
            &mut self.behind
        } else {
            self.pop_entry(out);
            return;
        };
        if !ledger.losses.is_empty() {
            let (order, owned) = ledger.losses.remove(0);
            codec::encode(out, &Item::Loss(owned.lend()), order, LOSS_LIMITS);
        }
    }

    fn pop_entry(&mut self, out: &mut Vec<u8>) -> Option<Head> {
        let head = self.head()?;
        out.resize(head.len, 0);
        self.ring.pop_slice(out);
        Some(head)
    }

    /// Takes the oldest entry out and counts it before what is left.
    fn remove(&mut self, place: &str, cause: Cause, discarded: &mut Counts) {
        let mut bytes = Vec::new();
        let Some(head) = self.pop_entry(&mut bytes) else {
            // Only a mistake of ours makes a ring whose head does not parse; an endless loop would be a worse one.
            self.ring.clear();
            return;
        };
        codec::decode(&bytes, |item| match item {
            Item::Loss(loss) => self.before.add(head.order, loss),
            Item::Record(record) => {
                let mut loss = Loss { guest: record.guest, ..Loss::new(cause, place, record.time) };
                loss.add(record.level, bytes.len() as u64, record.time);
                discarded.add(record.level);
                self.before.add(head.order, &loss);
            }
        });
    }
}

/// Losses between two items, added up by cause, place and guest.
#[derive(Default)]
struct Ledger {
    losses: Vec<(u64, Owned)>,
    /// Nothing in it is worth a reporter's attention by itself.
    quiet: bool,
}

impl Ledger {
    fn first(&self) -> Option<u64> {
        self.losses.iter().map(|(order, _)| *order).min()
    }

    fn add(&mut self, order: u64, loss: &Loss<'_>) {
        if self.losses.is_empty() {
            self.quiet = loss.cause == Cause::Nested;
        }
        self.quiet &= loss.cause == Cause::Nested;
        let (place, guest) = (cut(loss.place), cut(loss.guest));
        let full = self.losses.len() >= MAX_LOSSES;
        let same = self.losses.iter_mut().find(|(_, owned)| {
            (owned.cause == loss.cause && owned.place == place && owned.guest == guest)
                || (full && owned.cause == Cause::Various)
        });
        match same {
            Some((_, owned)) => owned.merge(loss),
            None if full => {
                let owned = Owned::of(&Loss { cause: Cause::Various, guest: "", ..*loss });
                self.losses.push((order, owned));
            }
            None => self.losses.push((order, Owned::of(loss))),
        }
    }

    fn encoded_bytes(&self) -> usize {
        self.losses.iter().map(|(_, owned)| LOSS_BYTES + owned.place.len() + owned.guest.len()).sum()
    }
}

/// A loss that owns its names.
struct Owned {
    cause: Cause,
    place: String,
    guest: String,
    counts: Counts,
    length: Length,
    first: crate::time::Time,
    last: crate::time::Time,
}

impl Owned {
    fn of(loss: &Loss<'_>) -> Self {
        let Loss { cause, place, guest, counts, bytes, is_about, first, last } = *loss;
        let length = Length { bytes, is_about };
        Owned { cause, place: cut(place).into(), guest: cut(guest).into(), counts, length, first, last }
    }

    fn lend(&self) -> Loss<'_> {
        let Owned { cause, place, guest, counts, length, first, last } = self;
        Loss { guest, ..Loss::of_length(*cause, place, *counts, *length, (*first, *last)) }
    }

    fn merge(&mut self, other: &Loss<'_>) {
        let mut loss = self.lend();
        loss.merge(other);
        let Loss { counts, bytes, is_about, first, last, .. } = loss;
        (self.counts, self.length, self.first, self.last) = (counts, Length { bytes, is_about }, first, last);
    }
}

fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or(name)
}

#[cfg(test)]
mod tests;
