//! What each guest's clock and its probes cost: how much tracing disturbed what was traced.

use fata_wire::packet::Cause;

use crate::guests::GuestId;
use crate::time::Nanos;
use crate::trace::Trace;

/// A guest's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClockStats {
    /// Ticks per second.
    pub hz: u64,
    /// The clock's value at time 0 of the trace.
    pub origin_ticks: u64,
    /// Nanoseconds since 1970 at time 0 of the trace.
    pub origin_unix_ns: Option<i64>,
    /// What reading the clock costs.
    pub read_cost_ps: u64,
    /// What an event without payload costs.
    pub probe_cost_ps: u64,
    /// Millionths of the time from the guest's first packet to its last moment that its events took, the discarded ones
    /// included; an estimate, since what an event costs was measured once, at the guest's start. `None` where it was not.
    pub perturbation_ppm: Option<u64>,
}

/// A clock whose reading costs more than this, in picoseconds, is emulated: a trap into the hypervisor.
const EMULATED_READ_PS: u64 = 200_000;

impl ClockStats {
    /// What a reader of durations must know, in a sentence.
    pub(super) fn warning(&self) -> Option<String> {
        (self.read_cost_ps > EMULATED_READ_PS).then(|| {
            format!(
                "reading the guest's clock costs {} ns: it is emulated, and every event delays the guest by that; short \
                 durations say more of the clock than of the guest",
                self.read_cost_ps / 1000
            )
        })
    }
}

/// The clock of a guest that has described it.
pub(super) fn of(trace: &Trace, guest: GuestId) -> Option<ClockStats> {
    let clock = trace.description.clock(guest)?;
    let streams = || trace.streams.iter().filter(|stream| stream.guest == guest);
    let discarded = Cause::ALL.into_iter().flat_map(|cause| streams().map(move |stream| stream.discarded_by(cause)));
    let events = streams().map(|stream| stream.events).chain(discarded).fold(0, u64::saturating_add);
    let (first, last) = (streams().map(|stream| stream.first).min(), streams().map(|stream| stream.last).max());
    Some(ClockStats {
        hz: clock.hz,
        origin_ticks: trace.scale(guest).origin_ticks(),
        origin_unix_ns: trace.origin.and_then(|origin| origin.unix_nanos),
        read_cost_ps: clock.clock_cost_picos,
        probe_cost_ps: clock.probe_cost_picos,
        perturbation_ppm: perturbation_ppm(events, clock.probe_cost_picos, last.unwrap_or(0) - first.unwrap_or(0)),
    })
}

/// Events times what one costs, as millionths of the duration: picoseconds per nanosecond are thousandths.
fn perturbation_ppm(events: u64, event_picos: u64, duration: Nanos) -> Option<u64> {
    let duration = u128::try_from(duration).ok().filter(|&nanos| nanos > 0)?;
    let picos = (event_picos > 0).then(|| u128::from(events) * u128::from(event_picos))?;
    Some(u64::try_from(picos.saturating_mul(1000) / duration).unwrap_or(u64::MAX))
}
