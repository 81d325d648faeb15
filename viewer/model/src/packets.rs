//! Writing packets as a guest and its collector do: for the synthetic traces, and for tests that need a list of events.
//!
//! Invariant: what a [`StreamWriter`] hands on is a stream of well-formed packets; times that go backwards are moved
//! forward. It holds one packet; a full one goes to the caller's sink at once.
//!
//! ```
//! use fata_model::packets::StreamWriter;
//! use fata_wire::event::EventId;
//! let mut packets = Vec::new();
//! let mut writer = StreamWriter::new(0, 4096);
//! writer.event(100, EventId::begin(9), 0, &[], &mut |packet| packets.push(packet.to_vec()));
//! writer.seal(&mut |packet| packets.push(packet.to_vec()));
//! assert_eq!(packets.len(), 1);
//! ```

use fata_wire::event::{CLOCK, EXTENDED, EventId, Header, MAX_INLINE_WORDS};
use fata_wire::packet::{Cause, Discarded, HEADER_BYTES, MAX_PACKET_BYTES, MIN_PACKET_BYTES, PacketHeader};

/// The identity of every trace that is written here.
pub const UUID: [u8; 16] = *b"fata synthetic!!";

/// See the module.
#[derive(Clone, Debug)]
pub struct StreamWriter {
    cpu: u32,
    guest: u16,
    packet_bytes: usize,
    buffer: Vec<u8>,
    begin: u64,
    ticks: u64,
    events: u64,
    events_before: u64,
    seq: u64,
    discarded: Discarded,
}

impl StreamWriter {
    /// A stream of a vCPU with packets of this length, which is brought into the format's bounds.
    #[must_use]
    pub fn new(cpu: u32, packet_bytes: u32) -> Self {
        let packet_bytes = packet_bytes.clamp(MIN_PACKET_BYTES, MAX_PACKET_BYTES).next_power_of_two();
        StreamWriter {
            cpu,
            guest: 0,
            packet_bytes: packet_bytes as usize,
            buffer: Vec::new(),
            begin: 0,
            ticks: 0,
            events: 0,
            events_before: 0,
            seq: 0,
            discarded: Discarded::default(),
        }
    }

    /// The same, of the guest of this number in a trace of several.
    #[must_use]
    pub fn of_guest(self, guest: u16) -> Self {
        StreamWriter { guest, ..self }
    }

    /// Writes an event. A payload of more than six words gets its length in front, as the format wants it.
    pub fn event(&mut self, ticks: u64, id: EventId, arg: u16, payload: &[u64], sink: &mut impl FnMut(&[u8])) {
        let ticks = ticks.max(self.ticks);
        let long = payload.len() > MAX_INLINE_WORDS;
        let words = payload.len() + usize::from(long);
        if self.buffer.is_empty() {
            self.open(ticks);
        } else if self.buffer.len() + 16 + 8 + words * 8 > self.packet_bytes {
            self.seal(sink);
            self.open(ticks);
        }
        if ticks - self.ticks >= 1 << 31 {
            self.word(EventId::begin(CLOCK), 1, 0, ticks);
            self.buffer.extend(ticks.to_le_bytes());
            self.events += 1;
        }
        self.ticks = ticks;
        let inline = if long { EXTENDED } else { u8::try_from(words).unwrap_or(EXTENDED) };
        self.word(id, inline, arg, ticks);
        if long {
            self.buffer.extend((words as u64).to_le_bytes());
        }
        for word in payload {
            self.buffer.extend(word.to_le_bytes());
        }
        self.events += 1;
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half of the clock is meant")]
    fn word(&mut self, id: EventId, words: u8, arg: u16, ticks: u64) {
        let header = Header { ticks_low: ticks as u32, id, busy: false, words, arg };
        self.buffer.extend(header.pack().to_le_bytes());
    }

    /// Says that events were discarded since the last one.
    pub fn discard(&mut self, cause: Cause, events: u64, sink: &mut impl FnMut(&[u8])) {
        self.seal(sink);
        if let Some(count) = self.discarded.get_mut(cause as usize) {
            *count += events;
        }
    }

    /// Leaves out the next packet's number, as if that packet were missing.
    pub fn skip_packet(&mut self, sink: &mut impl FnMut(&[u8])) {
        self.seal(sink);
        self.seq += 1;
    }

    fn open(&mut self, ticks: u64) {
        self.buffer.resize(HEADER_BYTES, 0);
        self.begin = ticks;
        self.ticks = ticks;
    }

    /// Ends the packet, if one is open, and hands it on.
    pub fn seal(&mut self, sink: &mut impl FnMut(&[u8])) {
        if self.buffer.is_empty() {
            return;
        }
        let content_size = self.buffer.len() as u64 * 8;
        self.buffer.resize(self.packet_bytes.max(self.buffer.len()), 0);
        let header = PacketHeader {
            uuid: UUID,
            stream_id: self.guest.into(),
            content_size,
            packet_size: self.buffer.len() as u64 * 8,
            timestamp_begin: self.begin,
            timestamp_end: self.ticks,
            packet_seq_num: self.seq,
            events_discarded: self.discarded.iter().sum(),
            lock: 2 * self.seq + 2,
            events_before: self.events_before,
            events: self.events,
            cpu_id: self.cpu,
            flags: 0,
            discarded: self.discarded,
        };
        header.write(&mut self.buffer);
        sink(&self.buffer);
        self.buffer.clear();
        self.seq += 1;
        self.events_before += self.events;
        self.events = 0;
    }

    /// All events so far, clock events included.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events_before + self.events
    }
}
