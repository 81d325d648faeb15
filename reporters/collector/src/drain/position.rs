//! Where a recording of a stream stands, and how the next collector hears of it: from the last packets of a directory, or from the
//! control page, in which the guest reads the same words to know what it may overwrite.

use fata_wire::packet::{Cause, Discarded, HEADER_BYTES, PacketHeader};
use fata_wire::shared::{self, Geometry, control};

use super::StreamDrain;
use crate::shared::SharedMemory;

/// Where a recording of a stream stands, so that another can go on from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the first packet that is not wholly published.
    pub number: u64,
    /// Bytes of its content that are.
    pub taken_bytes: u64,
    /// Events of the guest's writer that were accounted for, read or discarded.
    pub ordinal: u64,
    /// Discarded events so far.
    pub discarded: Discarded,
    /// The full clock at the last published event.
    pub ticks: u64,
    /// The number of the next published packet.
    pub next_seq: u64,
}

impl Position {
    /// Moves on over a published packet with this header.
    pub(crate) fn add(&mut self, header: &PacketHeader) {
        let content = (header.content_size / 8).saturating_sub(HEADER_BYTES as u64);
        if let Some(number) = header.lock.checked_sub(1).map(|lock| lock / 2) {
            let taken = if number == self.number { self.taken_bytes } else { 0 };
            // An even lock: the rest of a sealed packet, and nothing of it is left.
            (self.number, self.taken_bytes) =
                if header.lock.is_multiple_of(2) { (number + 1, 0) } else { (number, taken + content) };
            let refused =
                header.discarded[Cause::Refused as usize].saturating_sub(self.discarded[Cause::Refused as usize]);
            self.ordinal = header.events_before.saturating_add(header.events).saturating_add(refused);
        }
        self.discarded = header.discarded;
        self.ticks = header.timestamp_end;
        self.next_seq = header.packet_seq_num.saturating_add(1);
    }

    /// Whether the ring can have brought a recording to this position.
    fn is_possible(&self, memory: &SharedMemory, stream: u32) -> bool {
        let lock = memory.load(Geometry::stream_entry(stream) + shared::at::STREAM_LOCK);
        // One past the youngest is where a reader of all that is sealed stands.
        self.number <= lock.div_ceil(2) && self.taken_bytes <= u64::from(memory.geometry().packet_bytes_of(stream))
    }
}

impl StreamDrain {
    /// The position that the last collector left in the control page, or the beginning where it makes no sense.
    pub(crate) fn shared_position(memory: &SharedMemory, stream: u32) -> Position {
        let consumed = control::CONSUMED + stream as usize * control::CONSUMED_ENTRY_BYTES;
        let reported = control::REPORTED + stream as usize * control::REPORTED_ENTRY_BYTES;
        let mut discarded = Discarded::default();
        for (i, count) in discarded.iter_mut().enumerate() {
            *count = memory.control_u64(reported + 8 * (i + 1));
        }
        let position = Position {
            number: memory.control_u64(consumed),
            taken_bytes: memory.control_u64(consumed + 8),
            ordinal: memory.control_u64(reported),
            discarded,
            ticks: 0,
            next_seq: 0,
        };
        if position.is_possible(memory, stream) { position } else { Position::default() }
    }

    /// Tells the guest what it may overwrite, and the next collector where to go on.
    pub(crate) fn share(&self, memory: &SharedMemory) {
        if !self.consume {
            return;
        }
        let reported = control::REPORTED + self.stream as usize * control::REPORTED_ENTRY_BYTES;
        memory.set_control_u64(reported, self.position.ordinal);
        for (i, count) in self.position.discarded.iter().enumerate() {
            memory.set_control_u64(reported + 8 * (i + 1), *count);
        }
        let consumed = control::CONSUMED + self.stream as usize * control::CONSUMED_ENTRY_BYTES;
        // The bytes first: whoever is killed in between leaves a position that repeats, not one that loses.
        memory.set_control_u64(consumed + 8, self.position.taken_bytes);
        memory.set_control_u64(consumed, self.position.number);
    }
}
