//! One log ring: copies what has been committed, packet by packet, and goes on where its writer has.
//!
//! Invariant: `events` holds events that were committed in a packet that was the same before and after they were copied.

use alloc::vec::Vec;

use fata_wire::event::{CLOCK, Event, Events, MAX_CALLSITES};
use fata_wire::log::context::Group;
use fata_wire::log::ledger::Balance;
use fata_wire::numbers::Numbers;
use fata_wire::packet::{self, Discarded, HEADER_BYTES, PacketHeader};
use fata_wire::repair::committed_prefix;
use fata_wire::shared::{self, Geometry};
use fata_wire::u64_at;

use super::Memory;
use crate::loss::Cause;

pub(super) struct Stream {
    number: u32,
    /// Number of the packet that is being read, and how much of its content has been.
    packet: u64,
    taken: usize,
    /// Committed events of that packet that have not been given out, from `at` on.
    pub(super) events: Vec<u8>,
    pub(super) at: usize,
    /// The packet is sealed, and nothing comes after `events`.
    last: bool,
    pub(super) ticks: u64,
    pub(super) numbers: Numbers,
    pub(super) balance: Balance,
    /// What was said of the spans around the records that come next: the context's callsite, its arg and its payload.
    pub(super) around: Group<Context>,
    /// What the ring had discarded when the last record was given out, and what it has by now.
    pub(super) discarded: Discarded,
    pub(super) discarded_since: Discarded,
}

/// An event that says what fields a span has.
pub(super) struct Context {
    /// Where its callsite is described.
    pub(super) described: u64,
    pub(super) arg: u16,
    /// At most [`CONTEXT_BYTES`].
    pub(super) payload: Vec<u8>,
}

/// More than the fields of a span take in a ring.
pub(super) const CONTEXT_BYTES: usize = 256;

impl Context {
    pub(super) fn of(event: &Event<'_>, described: u64) -> Self {
        let payload = event.payload.get(..CONTEXT_BYTES).unwrap_or(event.payload);
        Context { described, arg: event.arg, payload: payload.to_vec() }
    }
}

/// The event at `at`.
pub(super) fn peek(events: &[u8], at: usize, ticks: u64) -> Option<Event<'_>> {
    Events::new(events.get(at..)?, ticks).next()?.ok()
}

impl Stream {
    pub(super) fn new(number: u32, geometry: &Geometry) -> Self {
        Stream {
            number,
            packet: 0,
            taken: 0,
            events: Vec::with_capacity(geometry.log_packet_bytes as usize),
            at: 0,
            last: false,
            ticks: 0,
            numbers: Numbers::from_zero(),
            balance: Balance::from_zero(),
            around: Group::default(),
            discarded: Discarded::default(),
            discarded_since: Discarded::default(),
        }
    }

    /// When the next record was made, where there is one.
    pub(super) fn next_ticks(&self) -> Option<u64> {
        peek(&self.events, self.at, self.ticks).map(|event| event.ticks)
    }

    /// Why records are missing before the next: what the ring had discarded when their packet was opened or sealed, or what
    /// it has by now, where that packet is still open; and how many could not be described.
    pub(super) fn cause_of_loss(&self, memory: &Memory, missing: u64, undescribed: u64) -> Cause {
        let mut since = self.discarded_since;
        if since == self.discarded {
            let counters = Geometry::stream_entry(self.number) + shared::at::STREAM_DISCARDED;
            for (i, count) in since.iter_mut().enumerate() {
                *count = memory.word((counters + 8 * i) as u64);
            }
        }
        Cause::of_ring(&self.discarded, &since, missing, undescribed)
    }

    /// Goes behind the event that was looked at.
    pub(super) fn pass(&mut self) {
        let Some(event) = peek(&self.events, self.at, self.ticks) else { return };
        let (len, ticks) = (8 + event.payload.len(), event.ticks);
        self.ticks = if event.id.callsite() == CLOCK { u64_at(event.payload, 0).max(ticks) } else { ticks };
        self.at += len;
        self.taken += len;
        if self.at >= self.events.len() && self.last {
            self.go_to(self.packet + 1);
        }
    }

    fn go_to(&mut self, packet: u64) {
        (self.packet, self.taken, self.at, self.last) = (packet, 0, 0, false);
        self.events.clear();
    }

    /// Copies what has been committed since the last time, when everything before it has been given out.
    pub(super) fn refill(&mut self, memory: &Memory) {
        let ring = u64::from(memory.geometry.packets_of(self.number));
        for _ in 0..2 * ring {
            if self.at < self.events.len() {
                return;
            }
            let entry = (Geometry::stream_entry(self.number) + shared::at::STREAM_LOCK) as u64;
            let Some(youngest) = memory.word(entry).checked_sub(1).map(|lock| lock / 2) else { return };
            if self.packet > youngest {
                return;
            }
            let oldest = (youngest + 1).saturating_sub(ring);
            if self.packet < oldest {
                self.around.lose();
                self.go_to(oldest);
            }
            if !self.copy(memory) {
                return;
            }
        }
    }

    /// Copies the rest of the current packet, or goes on to the next where nothing is left of it; `false` where that has to
    /// wait.
    fn copy(&mut self, memory: &Memory) -> bool {
        let geometry = &memory.geometry;
        let offset = geometry.packet_offset(self.number, self.packet);
        let lock = memory.word(offset + packet::at::LOCK as u64);
        let sealed = lock == 2 * self.packet + 2;
        if !sealed && lock != 2 * self.packet + 1 {
            return false;
        }
        let mut header = [0; HEADER_BYTES];
        let parsed = (memory.copy_out)(offset, &mut header).then(|| PacketHeader::parse(&header).ok()).flatten();
        let Some(header) = parsed else { return false };
        let whole = geometry.packet_bytes_of(self.number) as usize;
        let content = if sealed { usize::try_from(header.content_size / 8).unwrap_or(0).min(whole) } else { whole };
        let begin = HEADER_BYTES + self.taken;
        self.events.resize(content.saturating_sub(begin), 0);
        self.at = 0;
        let copied = (memory.copy_out)(offset + begin as u64, &mut self.events);
        if !copied || memory.word(offset + packet::at::LOCK as u64) != lock {
            // Records made meanwhile have taken the packet's place, or sealed it: look again.
            self.events.clear();
            return true;
        }
        if self.taken == 0 {
            self.ticks = header.timestamp_begin;
        }
        self.discarded_since = header.discarded;
        let walk = committed_prefix(&self.events, self.ticks, MAX_CALLSITES);
        self.events.truncate(walk.bytes);
        self.last = sealed;
        if walk.bytes == 0 && sealed {
            // What is left of it was begun and never ended.
            self.go_to(self.packet + 1);
            return true;
        }
        walk.bytes > 0
    }
}
