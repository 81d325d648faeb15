//! The guests of a trace of several, and the packets between them.

use std::collections::BTreeMap;

use fata_wire::packet::Cause;

use super::clock::{self, ClockStats};
use crate::guests::GuestId;
use crate::time::Nanos;
use crate::trace::Trace;

/// One of several guests of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct GuestStats {
    /// What it is called.
    pub name: String,
    /// Its events.
    pub events: u64,
    /// Those of them that were discarded.
    pub discarded: u64,
    /// How far its times may be from those of the trace's axis, either way; `None` where nobody has measured that.
    pub clock_error_ns: Option<Nanos>,
    /// How that is known.
    pub clock_known_from: String,
    /// Its clock, and what tracing took of its time.
    pub clock: Option<ClockStats>,
}

/// What all guests sent and received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct WireEnds {
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that were received.
    pub received: u64,
}

/// The packets from one guest to another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct WireStats {
    /// Who sent them.
    pub from: String,
    /// Who received them.
    pub to: String,
    /// How many were joined.
    pub joined: u64,
    /// Half of them took no longer.
    pub p50_ns: Nanos,
    /// The shortest time.
    pub min_ns: Nanos,
    /// The longest.
    pub max_ns: Nanos,
    /// How far each of these times may be off, either way; `None` where nobody has measured that.
    pub error_ns: Option<Nanos>,
    /// How many arrived before they were sent by more than that: where there are any, a clock is further off than was
    /// measured.
    pub impossible: u64,
}

pub(super) fn of(trace: &Trace) -> Vec<GuestStats> {
    if !trace.has_several_guests() {
        return Vec::new();
    }
    let one = |guest| {
        let streams = || trace.streams.iter().filter(move |stream| stream.guest == guest);
        let discarded = |cause| streams().map(move |stream| stream.discarded_by(cause)).fold(0, u64::saturating_add);
        GuestStats {
            name: trace.guest_name(guest),
            events: streams().map(|stream| stream.events).sum(),
            discarded: Cause::ALL.into_iter().map(discarded).fold(0, u64::saturating_add),
            clock_error_ns: trace.clock_error(guest),
            clock_known_from: trace.clock_known_from(guest).unwrap_or("own word").to_owned(),
            clock: clock::of(trace, guest),
        }
    };
    trace.guests().map(one).collect()
}

pub(super) fn wires(trace: &Trace) -> Vec<WireStats> {
    let mut pairs: BTreeMap<(GuestId, GuestId), Vec<Nanos>> = BTreeMap::new();
    for wire in trace.wires.joined() {
        pairs.entry(wire.guests()).or_default().push(wire.latency());
    }
    let one = |((from, to), mut latencies): ((GuestId, GuestId), Vec<Nanos>)| {
        latencies.sort_unstable();
        let error_ns = trace.error_between(from, to);
        WireStats {
            from: trace.guest_name(from),
            to: trace.guest_name(to),
            joined: latencies.len() as u64,
            p50_ns: latencies.get(latencies.len() / 2).copied().unwrap_or(0),
            min_ns: latencies.first().copied().unwrap_or(0),
            max_ns: latencies.last().copied().unwrap_or(0),
            error_ns,
            impossible: error_ns.map_or(0, |error| latencies.partition_point(|&nanos| nanos < -error) as u64),
        }
    };
    pairs.into_iter().map(one).collect()
}
