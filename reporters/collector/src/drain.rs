//! One stream's way out of the ring: which packet is next, whether a copy of it is whole, and what it is published as.
//!
//! Invariant: `produced = read + discarded`, exactly and by cause. The guest numbers its events: a packet says how many came
//! before it (`events_before`), so a step over packets that were overwritten is counted to the event, and bytes that are no
//! events are counted as refused. The cursor is private to this process; the shared copy of it is only ever written.
//!
//! A packet's way, with the lock that is seen in its slot:
//!
//! ```text
//!            2n+1 (open)                    2n+2 (sealed)
//!   next ──► 1 take_open ──┐ committed    ──► 2 take_sealed ──► next + 1
//!      ▲                   │ prefix, as        │ hole and guest alive: wait up to GRACE
//!      └───────────────────┘ a piece           ▼ lock changed during the copy
//!                                          3 skip: overwritten, counted by the next packet's events_before
//! ```
//!
//! Work is bounded whatever the guest writes: at most two rings of packets per call, one copy per packet.

mod position;
mod publish;

use std::time::{Duration, Instant};

use fata_wire::event::Header;
use fata_wire::packet::{self, Cause, Discarded, FLAG_LOG, FLAG_PIECE, HEADER_BYTES, PacketHeader};
use fata_wire::repair::{End, Walk, committed_prefix, repair, repair_open};
use fata_wire::shared::{self, Geometry};

pub use self::position::Position;
use self::publish::Piece;
pub use self::publish::Totals;
use crate::pace;
use crate::shared::SharedMemory;
use crate::sink::{Outlet, SinkError};

/// How long a record that was interrupted may take to be finished before it is shown as unfinished.
pub const GRACE: Duration = Duration::from_millis(100);
/// How often the committed prefix of an open packet is published.
pub const PIECE_INTERVAL: Duration = Duration::from_millis(50);
/// How often a packet is copied in the hope that nobody writes to it.
const MAX_COPIES: usize = 8;
/// Clocks above this are a lie: no counter of 64 bits has come so far, and CTF readers take them as signed.
const MAX_TICKS: u64 = i64::MAX as u64;

/// What is known of the guest while draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It runs, and we come again.
    Live,
    /// It may run, but we do not come again: publish what is committed now.
    Leaving,
    /// It will never write again: what is unfinished stays so.
    Dead,
}

/// Drains one stream.
#[derive(Debug)]
pub(crate) struct StreamDrain {
    stream: u32,
    /// What every published packet says.
    flags: u32,
    /// Whether the shared cursor is moved along.
    consume: bool,
    position: Position,
    taken_events: u64,
    /// The position comes from elsewhere, and `taken_events` must be found out.
    unverified: bool,
    /// The next packet may have been handed over before.
    may_repeat: bool,
    /// What was discarded when this recording began.
    baseline: Discarded,
    /// How many events were accounted for when it began.
    first_ordinal: u64,
    /// What the last published packet said was discarded.
    published: Discarded,
    totals: Totals,
    /// How full the ring was when it was last looked at, in thousandths.
    fill: u64,
    hole_since: Option<Instant>,
    /// The number of the first packet by the clock that this recording is by.
    clock_since: u64,
    /// All packets by it are read, and there are others.
    is_past_clock: bool,
    last_piece: Option<Instant>,
    header: Vec<u8>,
    buffer: Vec<u8>,
    /// A second copy, for packets with unfinished records.
    again: Vec<u8>,
}

/// What became of one attempt to take a packet.
enum Taken {
    /// It is published, or there was nothing to publish; go on with the next.
    Whole,
    /// Another packet took its place.
    Overwritten,
    /// Come again later.
    NotYet,
}

impl StreamDrain {
    /// Goes on from `position`; with `consume` the guest is told what it may overwrite. `log` says that it is a log stream.
    pub(crate) fn new(stream: u32, position: Position, consume: bool, log: bool) -> Self {
        StreamDrain {
            stream,
            flags: if log { FLAG_LOG } else { 0 },
            consume,
            position,
            taken_events: 0,
            unverified: position.taken_bytes > 0,
            may_repeat: false,
            baseline: position.discarded,
            first_ordinal: position.ordinal,
            published: position.discarded,
            totals: Totals::default(),
            fill: 0,
            hole_since: None,
            clock_since: 0,
            is_past_clock: false,
            last_piece: None,
            header: Vec::new(),
            buffer: Vec::new(),
            again: Vec::new(),
        }
    }

    /// The same, where the last collector was killed and nobody knows whether it noted the last packet that it handed over.
    pub(crate) fn after_a_kill(self) -> Self {
        StreamDrain { may_repeat: true, ..self }
    }

    /// The number of the first packet of `stream` by the clock that the guest describes.
    pub(crate) fn clock_since(memory: &SharedMemory, stream: u32) -> u64 {
        memory.load(Geometry::stream_entry(stream) + shared::at::STREAM_CLOCK_SINCE)
    }

    /// Reads only what is by the clock that the guest describes since packet `number`. Older packets are as good as overwritten.
    pub(crate) fn read_by_clock_since(&mut self, memory: &SharedMemory, number: u64) {
        self.clock_since = number;
        let lock = memory.load(Geometry::stream_entry(self.stream) + shared::at::STREAM_LOCK);
        // A number that cannot be is a lie, and the guest's own loss.
        if self.position.number < number && number <= lock.div_ceil(2) {
            self.skip_to(number);
        }
    }

    /// Whether there is more, by another clock.
    pub(crate) fn is_past_clock(&self) -> bool {
        self.is_past_clock
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.totals;
        for (i, count) in totals.discarded.iter_mut().enumerate() {
            *count = self.position.discarded[i].saturating_sub(self.baseline[i]);
        }
        totals
    }

    /// How full the ring was when it was last looked at, in thousandths.
    pub(crate) fn fill(&self) -> u64 {
        self.fill
    }

    /// Publishes what there is. `true` where more packets were found than one call takes.
    pub(crate) fn poll(
        &mut self,
        memory: &SharedMemory,
        outlet: &mut Outlet<'_>,
        phase: Phase,
        now: Instant,
    ) -> Result<bool, SinkError> {
        let geometry = *memory.geometry();
        let ring = u64::from(geometry.packets_of(self.stream));
        let entry = Geometry::stream_entry(self.stream);
        let written = memory.load(entry + shared::at::STREAM_LOCK) / 2;
        self.fill = written.saturating_sub(self.position.number).min(ring) * pace::FULL / ring.max(1);
        for _ in 0..2 * ring {
            let Some(youngest) = memory.load(entry + shared::at::STREAM_LOCK).checked_sub(1).map(|lock| lock / 2)
            else {
                return Ok(false);
            };
            if self.position.number > youngest {
                return Ok(false);
            }
            // After the load of the lock, which acquires: with a packet by another clock there is its number.
            let since = Self::clock_since(memory, self.stream);
            if since != self.clock_since && self.position.number >= since {
                self.is_past_clock = true;
                return Ok(false);
            }
            let oldest = (youngest + 1).saturating_sub(ring);
            if self.position.number < oldest {
                self.skip_to(oldest);
            }
            let number = self.position.number;
            let Ok(offset) = usize::try_from(geometry.packet_offset(self.stream, number)) else { return Ok(false) };
            let (open, sealed) = (number.wrapping_mul(2).wrapping_add(1), number.wrapping_mul(2).wrapping_add(2));
            let lock = memory.load(offset + packet::at::LOCK);
            let taken = if lock == sealed {
                let pressed = youngest - number >= ring / 2;
                let patient = phase == Phase::Live && !pressed;
                self.take_sealed(memory, outlet, offset, lock, patient.then_some(now))?
            } else if lock == open {
                self.take_open(memory, outlet, offset, phase, now)?
            } else if number < youngest {
                Taken::Overwritten
            } else {
                Taken::NotYet
            };
            match taken {
                Taken::Whole => {}
                Taken::Overwritten => self.skip_to(number + 1),
                Taken::NotYet => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Says what was discarded since the last packet, in an empty packet, if anything was.
    pub(crate) fn finish(&mut self, memory: &SharedMemory, outlet: &mut Outlet<'_>) -> Result<(), SinkError> {
        let page = memory.header_page();
        self.note_discarded(&shared::StreamStatus::parse(&page, self.stream).discarded);
        if self.position.discarded != self.published {
            self.buffer.clear();
            self.buffer.resize(HEADER_BYTES, 0);
            self.publish(memory, outlet, &Piece { ticks_begin: self.position.ticks, ..Piece::default() })?;
        }
        self.share(memory);
        Ok(())
    }

    fn take_sealed(
        &mut self,
        memory: &SharedMemory,
        outlet: &mut Outlet<'_>,
        offset: usize,
        lock: u64,
        patient: Option<Instant>,
    ) -> Result<Taken, SinkError> {
        if !self.verify(memory, offset, lock, lock, outlet)? {
            return Ok(Taken::Overwritten);
        }
        let packet_bytes = memory.geometry().packet_bytes_of(self.stream) as usize;
        memory.copy(offset, HEADER_BYTES, &mut self.header);
        let Ok(header) = PacketHeader::parse(&self.header) else { return self.refuse(memory, offset, lock, 0, 0) };
        let taken = usize::try_from(self.position.taken_bytes).unwrap_or(usize::MAX);
        let content = match header.check() {
            Ok(_) => usize::try_from(header.content_size / 8).unwrap_or(usize::MAX),
            Err(_) => usize::MAX,
        };
        // No event is shorter than a word.
        let claimed = header.events.min((packet_bytes - HEADER_BYTES) as u64 / 8);
        if content > packet_bytes || content < HEADER_BYTES.saturating_add(taken) {
            return self.refuse(memory, offset, lock, header.events_before, claimed);
        }
        // The first bytes of the copy are the guest's header, or events that are published already: ours goes there.
        memory.copy(offset + taken, content - taken, &mut self.buffer);
        if !memory.lock_is_still(offset + packet::at::LOCK, lock) {
            return Ok(Taken::Overwritten);
        }
        memory.forget(offset, packet_bytes);
        outlet.describe(memory)?;
        let ticks_begin = self.ticks_begin(&header);
        let events = self.buffer.get_mut(HEADER_BYTES..).unwrap_or(&mut []);
        let limit = outlet.description.callsite_limit();
        let mut walk = committed_prefix(events, ticks_begin, limit);
        if walk.end == End::Unfinished {
            if let Some(now) = patient
                && now.duration_since(*self.hole_since.get_or_insert(now)) < GRACE
            {
                return Ok(Taken::NotYet);
            }
            self.settle(memory, offset + taken);
            if !memory.lock_is_still(offset + packet::at::LOCK, lock) {
                return Ok(Taken::Overwritten);
            }
            let events = self.buffer.get_mut(HEADER_BYTES..).unwrap_or(&mut []);
            walk = repair(events, ticks_begin, limit);
        }
        self.hole_since = None;
        let walk = plausible(walk, ticks_begin);
        self.note_gap(header.events_before);
        self.note_discarded(&header.discarded);
        let left = claimed.saturating_sub(self.taken_events);
        self.add(Cause::Refused, left.saturating_sub(walk.events + walk.unfinished));
        let flags = if taken > 0 { FLAG_PIECE } else { 0 };
        let events_before = header.events_before.saturating_add(self.taken_events);
        self.position.ordinal = header.events_before.saturating_add(claimed).max(self.position.ordinal);
        let piece = Piece { ticks_begin, walk, lock, events_before, flags };
        self.advance();
        self.publish_if_new(memory, outlet, &piece)?;
        Ok(Taken::Whole)
    }

    /// Copies from `offset` anew until two copies are the same.
    ///
    /// The writer of an unfinished record may be at it this moment, and a payload that was copied without its header would
    /// be taken for events. It writes the header first: two copies that are the same were not written to in between, so
    /// they hold the header of whatever payload they hold. A guest that never stops writing gets what its last copy holds.
    fn settle(&mut self, memory: &SharedMemory, offset: usize) {
        for _ in 0..MAX_COPIES {
            memory.copy(offset, self.buffer.len(), &mut self.again);
            if self.again == self.buffer {
                return;
            }
            std::mem::swap(&mut self.again, &mut self.buffer);
        }
    }

    fn take_open(
        &mut self,
        memory: &SharedMemory,
        outlet: &mut Outlet<'_>,
        offset: usize,
        phase: Phase,
        now: Instant,
    ) -> Result<Taken, SinkError> {
        let lock = self.position.number.wrapping_mul(2).wrapping_add(1);
        if !self.verify(memory, offset, lock, lock.wrapping_add(1), outlet)? {
            return Ok(Taken::NotYet);
        }
        let packet_bytes = memory.geometry().packet_bytes_of(self.stream) as usize;
        let taken = usize::try_from(self.position.taken_bytes).unwrap_or(usize::MAX);
        let start = HEADER_BYTES.saturating_add(taken);
        if start >= packet_bytes {
            return Ok(Taken::NotYet);
        }
        if phase == Phase::Live {
            let first = Header::unpack(memory.load(offset + start));
            let something = first.id.callsite() != 0 && !first.busy;
            let due = self.last_piece.is_none_or(|last| now.duration_since(last) >= PIECE_INTERVAL);
            if !(something && due) {
                return Ok(Taken::NotYet);
            }
        }
        memory.copy(offset, HEADER_BYTES, &mut self.header);
        memory.copy(offset + taken, packet_bytes - taken, &mut self.buffer);
        // Sealed meanwhile is as good: the slot is not used again before its lock is cleared.
        let same = memory.lock_is_still(offset + packet::at::LOCK, lock)
            || memory.lock_is_still(offset + packet::at::LOCK, lock.wrapping_add(1));
        let (true, Ok(header)) = (same, PacketHeader::parse(&self.header)) else { return Ok(Taken::NotYet) };
        outlet.describe(memory)?;
        let ticks_begin = self.ticks_begin(&header);
        let events = self.buffer.get_mut(HEADER_BYTES..).unwrap_or(&mut []);
        let limit = outlet.description.callsite_limit();
        let walk = match phase {
            Phase::Dead => repair_open(events, ticks_begin, limit),
            Phase::Live | Phase::Leaving => committed_prefix(events, ticks_begin, limit),
        };
        let malformed = walk.end == End::Malformed;
        let walk = plausible(walk, ticks_begin);
        self.note_gap(header.events_before);
        self.note_discarded(&header.discarded);
        if phase == Phase::Dead && malformed {
            // How many events the rest was, nobody knows any more.
            self.add(Cause::Refused, 1);
        }
        let events_before = header.events_before.saturating_add(self.taken_events);
        self.position.taken_bytes += walk.bytes as u64;
        self.taken_events += walk.events + walk.unfinished;
        self.position.ordinal = header.events_before.saturating_add(self.taken_events).max(self.position.ordinal);
        self.last_piece = Some(now);
        let piece = Piece { ticks_begin, walk, lock, events_before, flags: FLAG_PIECE };
        self.publish_if_new(memory, outlet, &piece)?;
        Ok(Taken::NotYet)
    }

    /// A packet whose header cannot be: none of it is published, what it claims is counted.
    fn refuse(
        &mut self,
        memory: &SharedMemory,
        offset: usize,
        lock: u64,
        events_before: u64,
        claimed: u64,
    ) -> Result<Taken, SinkError> {
        if !memory.lock_is_still(offset + packet::at::LOCK, lock) {
            return Ok(Taken::Overwritten);
        }
        self.note_gap(events_before);
        self.add(Cause::Refused, claimed.saturating_sub(self.taken_events).max(1));
        self.position.ordinal = events_before.saturating_add(claimed).max(self.position.ordinal);
        self.advance();
        self.share(memory);
        Ok(Taken::Whole)
    }

    /// Finds out how many events a position of elsewhere has taken of the packet. `false` if the packet is gone.
    fn verify(
        &mut self,
        memory: &SharedMemory,
        offset: usize,
        lock: u64,
        or_lock: u64,
        outlet: &mut Outlet<'_>,
    ) -> Result<bool, SinkError> {
        if !std::mem::take(&mut self.unverified) {
            return Ok(true);
        }
        let room = memory.geometry().packet_bytes_of(self.stream) as usize - HEADER_BYTES;
        let taken = usize::try_from(self.position.taken_bytes).unwrap_or(room).min(room) & !7;
        memory.copy(offset, HEADER_BYTES, &mut self.header);
        memory.copy(offset + HEADER_BYTES, taken, &mut self.buffer);
        let at = offset + packet::at::LOCK;
        if !memory.lock_is_still(at, lock) && !memory.lock_is_still(at, or_lock) {
            return Ok(false);
        }
        outlet.describe(memory)?;
        let Ok(header) = PacketHeader::parse(&self.header) else { return Ok(false) };
        // What was taken may hold records that were given up as unfinished.
        let walk = repair(&mut self.buffer, header.timestamp_begin, outlet.description.callsite_limit());
        self.position.taken_bytes = walk.bytes as u64;
        self.position.ticks = self.position.ticks.max(walk.ticks.min(MAX_TICKS));
        self.taken_events = walk.events + walk.unfinished;
        self.position.ordinal = header.events_before.saturating_add(self.taken_events);
        Ok(true)
    }

    fn ticks_begin(&self, header: &PacketHeader) -> u64 {
        if self.position.taken_bytes > 0 {
            self.position.ticks
        } else {
            // A packet that begins after the end of time begins at the end of time.
            header.timestamp_begin.max(self.position.ticks).min(MAX_TICKS)
        }
    }

    fn skip_to(&mut self, number: u64) {
        self.position.number = number;
        self.position.taken_bytes = 0;
        self.taken_events = 0;
        self.unverified = false;
        self.hole_since = None;
    }

    fn advance(&mut self) {
        self.skip_to(self.position.number + 1);
    }

    fn add(&mut self, cause: Cause, events: u64) {
        let count = &mut self.position.discarded[cause as usize];
        *count = count.saturating_add(events);
    }

    /// Events between what was accounted for and the packet's first were overwritten.
    fn note_gap(&mut self, events_before: u64) {
        let expected = self.position.ordinal.saturating_sub(self.taken_events);
        self.add(Cause::Overwritten, events_before.saturating_sub(expected));
        self.position.ordinal = self.position.ordinal.max(events_before.saturating_add(self.taken_events));
    }

    /// Takes over what the guest counts itself; its counters only grow.
    fn note_discarded(&mut self, guest: &Discarded) {
        for cause in [Cause::Full, Cause::Nested, Cause::TooBig] {
            let count = &mut self.position.discarded[cause as usize];
            *count = (*count).max(guest[cause as usize]);
        }
    }
}

/// A walk whose clock no guest can have reached found nothing.
fn plausible(walk: Walk, ticks_begin: u64) -> Walk {
    if walk.ticks < ticks_begin || walk.ticks > MAX_TICKS {
        Walk { events: 0, unfinished: 0, bytes: 0, ticks: ticks_begin.min(MAX_TICKS), end: End::Malformed }
    } else {
        walk
    }
}
