//! Which events of a packet the trace has already: a collector that was killed may have handed over its last packet and not
//! noted that, so that its successor, whose recording goes to the same reader, begins with the same events.
//!
//! ```text
//! killed:     0 (empty)  1  2 … 57: packet 12 of the guest, events 900 to 960
//! successor:  0 (empty)  1, marked: packet 12 of the guest, events 900 to 990: it repeats 60
//! ```
//! A recording numbers its packets from 0 on, and its first one is empty. Invariant: of the events of one guest, which
//! [`PacketHeader::events_before`] numbers, none is taken twice where a successor begins; a packet that may repeat and does
//! not is taken whole.

use fata_wire::packet::{FLAG_MAY_REPEAT, PacketHeader};

/// The last packet of a stream that had events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which packet of the guest it was, or was a piece of.
    number: u64,
    /// The number of its first event among the stream's.
    from: u64,
    /// The number after its last.
    until: u64,
}

impl Held {
    /// A packet; `None` for an empty one.
    #[must_use]
    pub fn of(header: &PacketHeader) -> Option<Self> {
        (header.events > 0).then(|| Held {
            number: number_of(header),
            from: header.events_before,
            until: header.events_before.saturating_add(header.events),
        })
    }

    /// Whether a packet begins the recording of a successor, which goes on where this one was, or behind it.
    #[must_use]
    pub fn is_continued_by(&self, header: &PacketHeader) -> bool {
        header.packet_seq_num == 0 && header.events == 0 && header.events_before >= self.from
    }

    /// How many of the first events of a packet are those of this one, where it may repeat it.
    #[must_use]
    pub fn repeated_by(&self, header: &PacketHeader) -> u64 {
        if header.flags & FLAG_MAY_REPEAT == 0 || number_of(header) != self.number {
            return 0;
        }
        self.until.saturating_sub(header.events_before).min(header.events)
    }

    /// Whether a packet has events of this one, and no successor's mark: someone has put a recording behind itself.
    #[must_use]
    pub fn overlaps(&self, header: &PacketHeader) -> bool {
        header.flags & FLAG_MAY_REPEAT == 0 && header.events > 0 && header.events_before < self.until
    }
}

/// The guest's own number of a packet, which is sealed or being written.
fn number_of(header: &PacketHeader) -> u64 {
    header.lock.saturating_sub(1) / 2
}
