//! Packets between guests: where one guest sent what another received.
//!
//! Both ends computed the same identity from the packet (`fata_wire::shared::WIRE_CATEGORY`). An arrival is joined to the last
//! sending of that identity before it, with the clocks' errors allowed for: a packet may seem to arrive before it was sent,
//! by as much as the two clocks may be off. What arrives at several guests is joined to each of them; nothing to its sender.
//!
//! Invariant: the ends come in any order, since the packets of two streams overlap, and the joins are the same. Bounded:
//! [`MAX_PENDING`] identities are remembered, the oldest is given up for the newest, and [`MAX_JOINED`] joins are kept; beyond
//! that packets are counted and not joined.

use std::collections::{HashMap, VecDeque};

use crate::flows::FlowPoint;
use crate::guests::GuestId;
use crate::time::Nanos;
use crate::trace::Trace;

/// Identities that are remembered at a time.
pub const MAX_PENDING: usize = 1 << 17;
/// Joins that are kept.
pub const MAX_JOINED: usize = 1 << 22;
/// Ends of one identity that are remembered: a segment may be sent again, and a broadcast arrives at many.
const MAX_ENDS: usize = 2 * fata_wire::metadata::MAX_GUESTS as usize;
/// Clocks of which nobody knows how far they are off are taken to be off by this much.
const UNKNOWN_ERROR: Nanos = 1_000_000_000;

/// A packet's way from one guest to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Where it was sent.
    pub from: FlowPoint,
    /// Where it arrived.
    pub to: FlowPoint,
}

impl Wire {
    /// How long it took, as far as the two clocks agree: less than nothing where they do not.
    #[must_use]
    pub const fn latency(&self) -> Nanos {
        self.to.time - self.from.time
    }

    /// Whose the ends are.
    #[must_use]
    pub const fn guests(&self) -> (GuestId, GuestId) {
        (GuestId::of_callsite(self.from.callsite), GuestId::of_callsite(self.to.callsite))
    }
}

/// One end of a packet's way.
#[derive(Clone, Copy, Debug)]
struct End {
    point: FlowPoint,
    arrives: bool,
    /// The guests that it has been joined to, by number; for an arrival all of them once it is joined.
    joined: u16,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Wires {
    pending: HashMap<u64, Vec<End>>,
    /// Their identities, oldest first.
    order: VecDeque<u64>,
    /// By the time of arrival.
    joined: Vec<Wire>,
    sent: u64,
    received: u64,
    refused: u64,
}

impl Wires {
    /// The packets that were joined, by the time of their arrival.
    #[must_use]
    pub fn joined(&self) -> &[Wire] {
        &self.joined
    }

    /// How many packets were sent, and how many were received, by all guests.
    #[must_use]
    pub const fn ends(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    /// Joins that did not fit.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The packets that were under way at some time between `from` and `to`, of those that took no longer than `longest`.
    pub fn between(&self, from: Nanos, to: Nanos, longest: Nanos) -> impl Iterator<Item = &Wire> {
        let first = self.joined.partition_point(|wire| wire.to.time < from);
        let wires = self.joined.get(first..).unwrap_or(&[]).iter();
        wires.take_while(move |wire| wire.to.time < to.saturating_add(longest)).filter(move |wire| wire.from.time < to)
    }

    /// Takes one end; `slack` is by how much an arrival may seem to be early.
    pub(crate) fn pass(&mut self, arrives: bool, point: FlowPoint, slack: impl Fn(GuestId, GuestId) -> Nanos) {
        if arrives {
            self.received += 1;
        } else {
            self.sent += 1;
        }
        let id = point.id;
        if !self.pending.contains_key(&id) {
            if self.order.len() >= MAX_PENDING
                && let Some(oldest) = self.order.pop_front()
            {
                self.pending.remove(&oldest);
            }
            self.order.push_back(id);
        }
        let ends = self.pending.entry(id).or_default();
        let mut end = End { point, arrives, joined: 0 };
        let found = if arrives { sending_of(ends, &mut end, slack) } else { arrivals_of(ends, &mut end, slack) };
        if ends.len() < MAX_ENDS {
            ends.push(end);
        }
        for wire in found {
            self.join(wire);
        }
    }

    fn join(&mut self, wire: Wire) {
        if self.joined.len() >= MAX_JOINED {
            self.refused += 1;
            return;
        }
        // Nearly always the last: packets of two streams overlap by little.
        let at = self.joined.partition_point(|known| known.to.time <= wire.to.time);
        self.joined.insert(at, wire);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.joined.capacity() * size_of::<Wire>()
            + self.order.capacity() * 8
            + self.pending.capacity() * size_of::<(u64, Vec<End>)>()
            + self.pending.len() * size_of::<End>()
    }
}

fn guest(end: &End) -> GuestId {
    GuestId::of_callsite(end.point.callsite)
}

/// The last sending before an arrival, of another guest, that has not arrived at this one.
fn sending_of(ends: &mut [End], arrival: &mut End, slack: impl Fn(GuestId, GuestId) -> Nanos) -> Vec<Wire> {
    let at = guest(arrival);
    let could_be = |sent: &&mut End| {
        !sent.arrives
            && guest(sent) != at
            && sent.joined & 1 << at.index() == 0
            && sent.point.time <= arrival.point.time.saturating_add(slack(guest(sent), at))
    };
    let Some(sent) = ends.iter_mut().filter(could_be).max_by_key(|sent| sent.point.time) else { return Vec::new() };
    sent.joined |= 1 << at.index();
    arrival.joined = u16::MAX;
    vec![Wire { from: sent.point, to: arrival.point }]
}

/// The first arrival at each other guest after a sending, of those that came before it was known.
fn arrivals_of(ends: &mut [End], sent: &mut End, slack: impl Fn(GuestId, GuestId) -> Nanos) -> Vec<Wire> {
    let from = guest(sent);
    let mut wires = Vec::new();
    ends.sort_by_key(|end| end.point.time);
    for arrival in ends.iter_mut().filter(|end| end.arrives && end.joined == 0) {
        let at = guest(arrival);
        let in_time = sent.point.time <= arrival.point.time.saturating_add(slack(from, at));
        if at != from && in_time && sent.joined & 1 << at.index() == 0 {
            sent.joined |= 1 << at.index();
            arrival.joined = u16::MAX;
            wires.push(Wire { from: sent.point, to: arrival.point });
        }
    }
    wires
}

impl Trace {
    /// The packets between guests.
    #[must_use]
    pub fn wires(&self) -> &Wires {
        &self.wires
    }

    /// How far the latency of a packet from one guest to another may be off, either way; `None` where nobody has measured
    /// how the two clocks lie to one another.
    #[must_use]
    pub fn error_between(&self, from: GuestId, to: GuestId) -> Option<Nanos> {
        Some(self.clock_error(from)?.saturating_add(self.clock_error(to)?))
    }

    pub(crate) fn wire(&mut self, arrives: bool, point: FlowPoint) {
        let errors = &self.errors;
        let error = |guest: GuestId| errors.get(guest.index()).copied().flatten().unwrap_or(UNKNOWN_ERROR);
        self.wires.pass(arrives, point, |from, to| error(from).saturating_add(error(to)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Actor;

    fn point(guest: u16, id: u64, time: Nanos) -> FlowPoint {
        let callsite = GuestId::new(guest).callsite(9);
        FlowPoint { time, actor: Actor::Scheduler, callsite, cpu: 0, previous: None, id }
    }

    /// What is joined of these ends (arrives, guest, identity, time), in this order, with clocks that are off by 5 in all.
    fn joined(ends: &[(bool, u16, u64, Nanos)]) -> Vec<(Nanos, Nanos)> {
        let mut wires = Wires::default();
        for &(arrives, guest, id, time) in ends {
            wires.pass(arrives, point(guest, id, time), |_, _| 5);
        }
        wires.joined().iter().map(|wire| (wire.from.time, wire.to.time)).collect()
    }

    #[test]
    fn an_arrival_is_joined_to_its_sending_in_whatever_order_they_come() {
        let mut ends = [(false, 0, 7, 100), (true, 1, 7, 110), (false, 1, 8, 120), (true, 0, 8, 127)];
        for _ in 0..4 {
            ends.rotate_left(1);
            assert_eq!(joined(&ends), [(100, 110), (120, 127)]);
        }
        ends.reverse();
        assert_eq!(joined(&ends), [(100, 110), (120, 127)]);
    }

    #[test]
    fn what_was_sent_again_is_joined_to_the_last_sending_before_it_arrived() {
        assert_eq!(joined(&[(false, 0, 7, 100), (false, 0, 7, 300), (true, 1, 7, 310)]), [(300, 310)]);
        assert_eq!(joined(&[(false, 0, 7, 100), (false, 0, 7, 300), (true, 1, 7, 110)]), [(100, 110)]);
        let both = [(false, 0, 7, 100), (true, 1, 7, 110), (false, 0, 7, 300), (true, 1, 7, 310)];
        assert_eq!(joined(&both), [(100, 110), (300, 310)]);
    }

    #[test]
    fn a_packet_may_seem_to_arrive_early_by_the_clocks_errors_and_no_more() {
        assert_eq!(joined(&[(false, 0, 7, 100), (true, 1, 7, 95)]), [(100, 95)]);
        assert_eq!(joined(&[(true, 1, 7, 95), (false, 0, 7, 100)]), [(100, 95)]);
        assert_eq!(joined(&[(false, 0, 7, 100), (true, 1, 7, 94)]), []);
        assert_eq!(joined(&[(true, 1, 7, 94), (false, 0, 7, 100)]), []);
    }

    #[test]
    fn a_broadcast_is_joined_to_each_guest_that_received_it_once_and_never_to_its_sender() {
        let ends = [(false, 0, 7, 100), (true, 1, 7, 110), (true, 2, 7, 120), (true, 1, 7, 130), (true, 0, 7, 140)];
        assert_eq!(joined(&ends), [(100, 110), (100, 120)]);
    }

    #[test]
    fn more_identities_than_are_remembered_cost_no_more_memory() {
        let mut wires = Wires::default();
        for id in 0..3 * MAX_PENDING as u64 {
            wires.pass(false, point(0, id, 0), |_, _| 0);
        }
        assert!(wires.pending.len() <= MAX_PENDING && wires.order.len() <= MAX_PENDING);
        wires.pass(true, point(1, 5, 10), |_, _| 0);
        wires.pass(true, point(1, 3 * MAX_PENDING as u64 - 1, 10), |_, _| 0);
        assert_eq!(wires.joined().len(), 1, "the oldest was given up, the newest was not");
        assert_eq!(wires.ends(), (3 * MAX_PENDING as u64, 2));
    }
}
