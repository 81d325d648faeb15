//! How a piece of a guest's packet leaves: as a packet of its own, numbered by us, behind the description that it needs.
//!
//! Invariant: packets of a stream are numbered without a gap, and each says what was discarded up to its end; what is new of that
//! leaves also where there is no event.

use fata_wire::packet::{Discarded, FLAG_MAY_REPEAT, HEADER_BYTES, PacketHeader};
use fata_wire::repair::{End, Walk};

use super::StreamDrain;
use crate::shared::SharedMemory;
use crate::sink::{Outlet, SinkError};

/// What was published of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events, unfinished ones included.
    pub events: u64,
    /// Records that their writer had not finished.
    pub unfinished: u64,
    /// Published packets.
    pub packets: u64,
    /// Their length in all.
    pub bytes: u64,
    /// Discarded events by cause, since this recording began.
    pub discarded: Discarded,
}

/// What is to be published: events of one packet of the guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) ticks_begin: u64,
    pub(super) walk: Walk,
    pub(super) lock: u64,
    pub(super) events_before: u64,
    pub(super) flags: u32,
}

impl Default for Piece {
    fn default() -> Self {
        let walk = Walk { events: 0, unfinished: 0, bytes: 0, ticks: 0, end: End::Whole };
        Piece { ticks_begin: 0, walk, lock: 0, events_before: 0, flags: 0 }
    }
}

impl StreamDrain {
    pub(super) fn publish_if_new(
        &mut self,
        memory: &SharedMemory,
        outlet: &mut Outlet<'_>,
        piece: &Piece,
    ) -> Result<(), SinkError> {
        if piece.walk.bytes > 0 || self.position.discarded != self.published {
            self.publish(memory, outlet, piece)?;
        }
        self.share(memory);
        Ok(())
    }

    /// Hands over what `buffer` holds behind its first [`HEADER_BYTES`], up to the walk's end.
    ///
    /// The first packet of a recording is an empty one: a CTF reader counts discarded events from packet to packet, so it
    /// needs one that says what the count was before.
    pub(super) fn publish(
        &mut self,
        memory: &SharedMemory,
        outlet: &mut Outlet<'_>,
        piece: &Piece,
    ) -> Result<(), SinkError> {
        outlet.describe(memory)?;
        if self.position.next_seq == 0 {
            let mut bytes = [0; HEADER_BYTES];
            let first = Piece { ticks_begin: piece.ticks_begin, events_before: self.first_ordinal, ..Piece::default() };
            self.write_header(&mut bytes, outlet, &first, &self.baseline);
            self.hand_over(outlet, &bytes)?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.truncate(HEADER_BYTES + piece.walk.bytes);
        let repeats = if std::mem::take(&mut self.may_repeat) { FLAG_MAY_REPEAT } else { 0 };
        let piece = &Piece { flags: piece.flags | repeats, ..*piece };
        self.write_header(&mut buffer, outlet, piece, &self.position.discarded);
        let result = self.hand_over(outlet, &buffer);
        self.buffer = buffer;
        result?;
        self.position.ticks = piece.walk.ticks.max(self.position.ticks);
        self.published = self.position.discarded;
        self.totals.events += piece.walk.events + piece.walk.unfinished;
        self.totals.unfinished += piece.walk.unfinished;
        Ok(())
    }

    fn hand_over(&mut self, outlet: &mut Outlet<'_>, packet: &[u8]) -> Result<(), SinkError> {
        outlet.sink.packet(self.stream, packet)?;
        self.position.next_seq += 1;
        self.totals.packets += 1;
        self.totals.bytes += packet.len() as u64;
        Ok(())
    }

    fn write_header(&self, bytes: &mut [u8], outlet: &Outlet<'_>, piece: &Piece, discarded: &Discarded) {
        let bits = (HEADER_BYTES + piece.walk.bytes) as u64 * 8;
        PacketHeader {
            uuid: outlet.uuid,
            stream_id: self.stream << 16 | u32::from(outlet.guest),
            content_size: bits,
            packet_size: bits,
            timestamp_begin: piece.ticks_begin,
            timestamp_end: piece.walk.ticks.max(piece.ticks_begin),
            packet_seq_num: self.position.next_seq,
            events_discarded: discarded.iter().fold(0, |sum, &count| sum.saturating_add(count)),
            lock: piece.lock,
            events_before: piece.events_before,
            events: piece.walk.events + piece.walk.unfinished,
            cpu_id: self.stream,
            flags: piece.flags | self.flags,
            discarded: *discarded,
        }
        .write(bytes);
    }
}
