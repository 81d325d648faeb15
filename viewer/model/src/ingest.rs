//! From packets to a trace, one packet at a time: after each the trace can be looked at.
//!
//! Invariants: bytes never make this panic or take more memory than [`Limits`] allow; events that do not fit, or that make
//! no sense, are counted and the trace's warnings say so. Whether packets come all at once or one by one, the trace is the
//! same.
//!
//! ```
//! use fata_model::{ingest::{Ingest, Limits}, synthetic::Synthetic};
//! let synthetic = Synthetic { spans: 1000, ..Synthetic::default() };
//! let mut ingest = Ingest::new(Limits::default());
//! ingest.metadata(&synthetic.metadata())?;
//! synthetic.packets(|packet| ingest.packet(packet).is_ok());
//! assert_eq!(ingest.trace().stats().callsites.iter().map(|c| c.count).sum::<u64>() >= 1000, true);
//! # Ok::<(), fata_model::description::MetadataError>(())
//! ```

use fata_wire::event::EventError;
use fata_wire::packet::{Cause, Discarded, Packet, PacketError, PacketHeader};

use crate::args::Args;
use crate::description::{Description, MetadataError};
use crate::flows::Flows;
use crate::guests::GuestId;
use crate::log_losses::Why;
use crate::logs::Logs;
use crate::objects::Objects;
use crate::repeats::Place;
use crate::stats::CallsiteTimes;
use crate::streams::{Current, Stream, StreamGap};
use crate::tasks::Tasks;
use crate::time::{Nanos, TickScale};
use crate::trace::{Gap, Origin, Series, Trace, TrackKind, Tracks};
use crate::wires::Wires;

mod cursor;
mod dispatch;
mod forget;
mod plan;
mod run;

use plan::Plans;

/// How much a trace may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Intervals, instants and samples in all; each takes about 10 bytes. When there are so many, the oldest are given up
    /// for the newest; their overview stays, and counts as a fifth.
    pub intervals: u64,
    /// Bytes for what of events' fields does not stand in their intervals; the oldest are given up for the newest.
    pub field_bytes: usize,
    /// Tracks; each takes about 400 bytes, and up to 1 KiB for its youngest intervals.
    pub tracks: usize,
    /// Tasks over the whole trace.
    pub tasks: usize,
    /// vCPUs.
    pub streams: usize,
    /// Points of flows that arrows join.
    pub flow_points: usize,
    /// Gaps that are told apart; later ones are joined with the last.
    pub gaps: usize,
}

impl Default for Limits {
    /// What 8 GiB hold.
    fn default() -> Self {
        Limits {
            intervals: 400_000_000,
            field_bytes: 1 << 30,
            tracks: 1 << 20,
            tasks: 1 << 18,
            streams: 64,
            flow_points: 1 << 24,
            gaps: 1 << 20,
        }
    }
}

/// Why a packet was left out. The trace stays usable, and the next packet may be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The bytes are no packet.
    #[error("{0}")]
    Packet(PacketError),
    /// A packet that was there already, or an older one.
    #[error("packet {found} of vCPU {cpu} comes after packet {last}: it was left out")]
    OutOfOrder {
        /// The vCPU.
        cpu: u32,
        /// The youngest packet so far.
        last: u64,
        /// This one.
        found: u64,
    },
    /// A packet of another guest, or of another life of the same one.
    #[error("the packet belongs to another recording: it was left out")]
    ForeignPacket,
    /// More vCPUs than the limit.
    #[error("the trace has more vCPUs than this program follows ({0}): packets of further ones were left out")]
    TooManyStreams(usize),
}

/// See the module.
#[derive(Debug)]
pub struct Ingest {
    trace: Trace,
    /// By guest.
    plans: Vec<Plans>,
    /// Each event by itself, which is the slow way to the same trace.
    one_by_one: bool,
    limits: Limits,
    uuid: Option<[u8; 16]>,
    /// Packets that came before the guest knew its clock.
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
}

/// Packets are held back until the clock is known, up to this; then ticks count as nanoseconds.
const MAX_WAITING_BYTES: usize = 16 << 20;
const MAX_WARNINGS: usize = 100;

impl Ingest {
    /// A trace of nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let trace = Trace {
            description: Description::new(),
            scales: Vec::new(),
            origin: None,
            end: 0,
            detail_from: None,
            events: 0,
            unknown_events: 0,
            tracks: Tracks { list: Vec::new(), max_tracks: limits.tracks, room: limits.intervals, refused: 0 },
            tasks: Tasks::new(limits.tasks),
            stacks: Vec::new(),
            touched: Vec::new(),
            streams: Vec::new(),
            gaps: Vec::new(),
            flows: Flows::new(limits.flow_points),
            wires: Wires::default(),
            errors: Vec::new(),
            objects: Objects::default(),
            logs: Logs::new(),
            args: Args::new(limits.field_bytes),
            times: Vec::new(),
            orphan_ends: 0,
            too_deep: 0,
            warnings: Vec::new(),
        };
        let mut ingest = Ingest {
            trace,
            plans: Vec::new(),
            one_by_one: false,
            limits,
            uuid: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
        };
        ingest.learn();
        ingest
    }

    /// Takes in what was described since.
    fn learn(&mut self) {
        let Ingest { trace, plans, .. } = self;
        CallsiteTimes::extend(&mut trace.times, trace.description.guests());
        trace.errors = trace.guests().map(|guest| trace.clock_error(guest)).collect();
        plans.resize_with(usize::from(trace.description.guests()), Plans::new);
        for (guest, plans) in trace.guests().zip(plans) {
            plans.learn(&trace.description, guest);
        }
    }

    /// The trace so far.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The trace, nothing more to come.
    #[must_use]
    pub fn finish(mut self) -> Trace {
        self.release();
        self.settle();
        self.trace
    }

    /// Nothing comes any more: the log is in its last order, and nothing grows.
    pub(crate) fn settle(&mut self) {
        self.trace.logs.settle(Nanos::MAX);
        for track in &mut self.trace.tracks.list {
            match &mut track.series {
                Series::Row(row) => row.shrink(),
                Series::Samples(samples) => samples.shrink(),
            }
        }
        self.trace.flows.shrink();
    }

    /// Notes something that was wrong, for [`Trace::warnings`]; the first hundred are kept.
    pub fn warn(&mut self, sentence: String) {
        let warnings = &mut self.trace.warnings;
        if warnings.len() < MAX_WARNINGS && !warnings.contains(&sentence) {
            warnings.push(sentence);
        }
    }

    /// Takes metadata text, all or the next piece of it.
    ///
    /// # Errors
    /// [`MetadataError`]: nothing after it can be read.
    pub fn metadata(&mut self, text: &str) -> Result<(), MetadataError> {
        self.trace.description.metadata(text)?;
        self.learn();
        if self.knows_clock() {
            self.release();
        }
        Ok(())
    }

    fn knows_clock(&self) -> bool {
        let description = &self.trace.description;
        self.trace.guests().all(|guest| description.clock(guest).is_some_and(|clock| clock.hz != 0))
    }

    /// Takes the next packet of its stream: whole bytes of a CTF packet. Of one that may repeat the last packet of a collector
    /// that was killed, what the trace has already is left out.
    ///
    /// # Errors
    /// [`IngestError`]: this packet was left out.
    pub fn packet(&mut self, bytes: &[u8]) -> Result<(), IngestError> {
        if self.trace.origin.is_none() && !self.knows_clock() && self.waiting_bytes < MAX_WAITING_BYTES {
            Packet::parse(bytes).map_err(IngestError::Packet)?;
            self.waiting_bytes += bytes.len();
            self.waiting.push(bytes.to_vec());
            return Ok(());
        }
        self.release();
        self.take(bytes)
    }

    /// How many of a packet's first events the trace has already, if it is the next packet of its stream.
    pub(crate) fn repeated(&self, header: &PacketHeader) -> u64 {
        let cpu = GuestId::new(header.guest()).cpu(header.cpu_id);
        let stream = self.trace.streams.iter().find(|stream| stream.cpu == cpu);
        stream.map_or(0, |stream| stream.progress.repeated_by(header))
    }

    /// Takes the packets that waited for the clock.
    pub(crate) fn release(&mut self) {
        if !self.waiting.is_empty() && !self.knows_clock() {
            self.warn("the guest's clock is not known: its ticks are shown as nanoseconds".to_owned());
        }
        for packet in std::mem::take(&mut self.waiting) {
            if let Err(error) = self.take(&packet) {
                self.warn(error.to_string());
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), IngestError> {
        let packet = Packet::parse(bytes).map_err(IngestError::Packet)?;
        let header = &packet.header;
        if *self.uuid.get_or_insert(header.uuid) != header.uuid {
            return Err(IngestError::ForeignPacket);
        }
        let guest = GuestId::new(header.guest());
        let scale = match self.trace.scales.get(guest.index()) {
            Some(Some(scale)) => *scale,
            _ => self.begin(guest, header),
        };
        let begin = scale.nanos_from_ticks(header.timestamp_begin);
        let cpu = guest.cpu(header.cpu_id);
        let at = self.stream(cpu, scale, begin)?;
        // What follows events has their stream in its hands: it is looked up once for all of them.
        let Some(place) = self.trace.streams.get_mut(at) else { return Ok(()) };
        let mut stream = std::mem::replace(place, Stream::new(cpu, scale, Tracks::NONE, 0));
        let result = self.follow(&mut stream, &packet, begin);
        self.trace.show_open(&mut stream);
        if let Some(place) = self.trace.streams.get_mut(at) {
            *place = stream;
        }
        if self.trace.tracks.room < self.limits.intervals / 16 {
            self.trace.forget_oldest(self.limits.intervals / 8);
        }
        result
    }

    fn follow(&mut self, stream: &mut Stream, packet: &Packet<'_>, begin: Nanos) -> Result<(), IngestError> {
        self.continuity(stream, &packet.header, begin)?;
        let repeated = stream.progress.take(&packet.header);
        if repeated > 0 && repeated == packet.header.events {
            return Ok(());
        }
        self.trace.logs.settle(begin);
        let (events, refused) = self.events(stream, packet, repeated);
        if let Some(log) = stream.log.as_mut().filter(|_| events > 0) {
            let why = stream.why.take().unwrap_or_else(|| Why::of(&Discarded::default(), 0));
            log.end(&mut self.trace.logs, stream.cpu, why, stream.last);
        }
        stream.packets += 1;
        stream.events += events;
        let last = stream.last;
        stream.last = stream.last.max(stream.scale.nanos_from_ticks(packet.header.timestamp_end));
        self.trace.end = self.trace.end.max(stream.last);
        if let Some(error) = refused {
            self.malformed(stream, error, last);
        }
        self.trace.events += events;
        Ok(())
    }

    /// A guest's first packet: from here its time counts, and with the first of all the trace's.
    fn begin(&mut self, guest: GuestId, header: &PacketHeader) -> TickScale {
        let clock = self.trace.description.clock(guest).unwrap_or_default();
        let scale = match self.trace.origin {
            None => {
                let scale = TickScale::new(clock.hz, header.timestamp_begin);
                let unix_nanos = (clock.anchor_unix_nanos != 0).then(|| {
                    let anchor = scale.nanos_from_ticks(clock.anchor_ticks);
                    i64::try_from(clock.anchor_unix_nanos).unwrap_or(i64::MAX).saturating_sub(anchor)
                });
                self.trace.origin = Some(Origin { ticks: header.timestamp_begin, unix_nanos });
                scale
            }
            Some(Origin { unix_nanos: Some(origin), .. }) if clock.anchor_unix_nanos != 0 => {
                TickScale::with_anchor(clock.hz, clock.anchor_ticks, clock.anchor_unix_nanos, origin)
            }
            Some(_) => {
                let name = self.trace.guest_name(guest);
                self.warn(format!("nothing says what time of day it was for {name}: it is shown as if it began now"));
                let ticks = TickScale::ticks_from_nanos(clock.hz, self.trace.end);
                TickScale::new(clock.hz, header.timestamp_begin.wrapping_sub(ticks))
            }
        };
        let scales = &mut self.trace.scales;
        if scales.len() <= guest.index() {
            scales.resize(guest.index() + 1, None);
        }
        if let Some(known) = scales.get_mut(guest.index()) {
            *known = Some(scale);
        }
        scale
    }

    fn stream(&mut self, cpu: u32, scale: TickScale, first: Nanos) -> Result<usize, IngestError> {
        let Trace { streams, tracks, .. } = &mut self.trace;
        if let Some(at) = streams.iter().position(|stream| stream.cpu == cpu) {
            return Ok(at);
        }
        if streams.len() >= self.limits.streams {
            return Err(IngestError::TooManyStreams(self.limits.streams));
        }
        let lane = tracks.add(TrackKind::Cpu { cpu });
        streams.push(Stream::new(cpu, scale, lane, first));
        Ok(streams.len() - 1)
    }

    /// Compares a packet's header with the one before it: what is missing is a gap.
    fn continuity(&mut self, stream: &mut Stream, header: &PacketHeader, begin: Nanos) -> Result<(), IngestError> {
        let missing = match stream.progress.place(header) {
            Place::First => {
                stream.from_start = header.events_before == 0;
                // Whoever comes at the beginning knows that no task runs yet.
                if header.events_before == 0 && header.events_discarded == 0 {
                    stream.current = Current::Scheduler;
                }
                // A first packet without events, or one that is not the recording's first, says what was before.
                if header.events == 0 || header.packet_seq_num > 0 {
                    stream.discarded = header.discarded;
                    stream.discarded_before = header.discarded;
                }
                0
            }
            Place::Continued => 0,
            Place::Behind { last } => {
                return Err(IngestError::OutOfOrder { cpu: stream.cpu, last, found: header.packet_seq_num });
            }
            Place::Next { missing } => missing,
        };
        let mut discarded = Discarded::default();
        for ((new, now), before) in discarded.iter_mut().zip(header.discarded).zip(&mut stream.discarded) {
            *new = now.saturating_sub(*before);
            *before = now.max(*before);
        }
        if missing == 0 && discarded == Discarded::default() {
            return Ok(());
        }
        let why = Why::of(&discarded, missing);
        stream.why = Some(if stream.why.is_none_or(|known| known == why) { why } else { Why::Various });
        let from = stream.last;
        let gap = Gap { cpu: stream.cpu, from, to: begin.max(from), discarded, missing_packets: missing };
        let too_big = discarded.get(Cause::TooBig as usize).copied().unwrap_or(0);
        self.gap(stream, gap, missing == 0 && gap.events() == too_big);
        Ok(())
    }

    /// Notes a gap; `harmless` if no event of the scheduler and no end of a span can be among what is missing.
    fn gap(&mut self, stream: &mut Stream, gap: Gap, harmless: bool) {
        let trace = &mut self.trace;
        let full = trace.gaps.len() >= self.limits.gaps;
        match trace.gaps.last_mut() {
            Some(last) if full => {
                last.to = last.to.max(gap.to);
                last.missing_packets = last.missing_packets.saturating_add(gap.missing_packets);
                for (sum, count) in last.discarded.iter_mut().zip(gap.discarded) {
                    *sum = sum.saturating_add(count);
                }
            }
            _ => trace.gaps.push(gap),
        }
        if harmless {
            return;
        }
        stream.add_gap(StreamGap { from: gap.from, to: gap.to }, self.limits.gaps);
        trace.abandon_interrupts(stream, gap.from);
        trace.forget_current(stream, gap.from);
        // So many events may have named every task number anew.
        if gap.missing_packets > 0 || gap.events() >= u64::from(fata_wire::event::ARG_LIMIT) {
            trace.tasks.forget_numbers(stream.guest);
        }
    }

    /// The rest of a packet is no events.
    fn malformed(&mut self, stream: &mut Stream, error: EventError, from: Nanos) {
        let cpu = stream.cpu;
        self.warn(format!("a packet of {} was read only in part: {error}", self.trace.cpu_label(cpu)));
        let to = stream.last.max(from);
        self.gap(stream, Gap { cpu, from, to, discarded: Discarded::default(), missing_packets: 0 }, false);
    }
}

#[cfg(test)]
mod run_tests;
