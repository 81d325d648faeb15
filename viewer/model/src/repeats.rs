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

/// How far the packets of one stream have come, for whoever reads them one after another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of the last packet.
    last: Option<u64>,
    /// The last one that had events.
    held: Option<Held>,
}

/// What a packet is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first of its stream.
    First,
    /// The first of another collector, which goes on.
    Continued,
    /// Behind the last one, and so many others that are missing.
    Next {
        /// How many.
        missing: u64,
    },
    /// It was there before: a recording was put behind itself.
    Behind {
        /// The last packet's number.
        last: u64,
    },
}

impl Progress {
    /// What a packet with this header is.
    #[must_use]
    pub fn place(&self, header: &PacketHeader) -> Place {
        let Some(last) = self.last else { return Place::First };
        let held = |is: fn(&Held, &PacketHeader) -> bool| self.held.is_some_and(|held| is(&held, header));
        if held(Held::is_continued_by) {
            Place::Continued
        } else if header.packet_seq_num <= last || last == 0 && held(Held::overlaps) {
            Place::Behind { last }
        } else {
            Place::Next { missing: header.packet_seq_num - last - 1 }
        }
    }

    /// How many of the packet's first events were in the last one, if it is the next packet.
    #[must_use]
    pub fn repeated_by(&self, header: &PacketHeader) -> u64 {
        self.held.map_or(0, |held| held.repeated_by(header))
    }

    /// Takes the packet, which is not [behind](Place::Behind); as [`repeated_by`](Self::repeated_by).
    pub fn take(&mut self, header: &PacketHeader) -> u64 {
        let repeated = self.repeated_by(header);
        *self = Progress { last: Some(header.packet_seq_num), held: Held::of(header).or(self.held) };
        repeated
    }
}

/// The last packet of a stream that had events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// Which packet of the guest it was, or was a piece of.
    number: u64,
    /// The number of its first event among the stream's.
    from: u64,
    /// The number after its last.
    until: u64,
}

impl Held {
    /// A packet; `None` for an empty one.
    fn of(header: &PacketHeader) -> Option<Self> {
        (header.events > 0).then(|| Held {
            number: number_of(header),
            from: header.events_before,
            until: header.events_before.saturating_add(header.events),
        })
    }

    /// Whether a packet begins the recording of a successor, which goes on where this one was, or behind it.
    fn is_continued_by(&self, header: &PacketHeader) -> bool {
        header.packet_seq_num == 0 && header.events == 0 && header.events_before >= self.from
    }

    /// How many of the first events of a packet are those of this one, where it may repeat it.
    fn repeated_by(&self, header: &PacketHeader) -> u64 {
        if header.flags & FLAG_MAY_REPEAT == 0 || number_of(header) != self.number {
            return 0;
        }
        self.until.saturating_sub(header.events_before).min(header.events)
    }

    /// Whether a packet has events of this one, and no successor's mark: someone has put a recording behind itself.
    fn overlaps(&self, header: &PacketHeader) -> bool {
        header.flags & FLAG_MAY_REPEAT == 0 && header.events > 0 && header.events_before < self.until
    }
}

/// The guest's own number of a packet, which is sealed or being written.
fn number_of(header: &PacketHeader) -> u64 {
    header.lock.saturating_sub(1) / 2
}
