//! A CTF packet, which is also a sub-buffer of the ring: a header of 144 bytes, then events.
//!
//! CTF's packet header (magic, uuid, stream id) and packet context (sizes, times, counts) follow one another; the metadata
//! declares every field, so that any CTF reader sees them all. A guest writes the header twice: when it opens the packet and
//! when it seals it. A collector that publishes a packet writes `packet_seq_num`, `events_discarded` and the sizes anew,
//! since it may publish a guest's packet in several pieces; `lock` still says which packet of the guest it was.
//!
//! Invariants of a published packet: `HEADER_BYTES * 8 <= content_size <= packet_size`, both multiples of 64;
//! `timestamp_begin <= ` every event `<= timestamp_end`; `packet_seq_num` grows by one within a stream.

use crate::{put_u32, put_u64, u32_at, u64_at};

/// CTF's magic number for event packets.
pub const MAGIC: u32 = 0xC1FC_1FC1;
/// CTF's magic number for metadata packets, in trace streams.
pub const METADATA_MAGIC: u32 = 0x75D1_1D57;
/// The length of the header: events begin here.
pub const HEADER_BYTES: usize = 144;
/// The same in words.
pub const HEADER_WORDS: usize = HEADER_BYTES / 8;
/// The smallest and largest packet, in bytes; a packet's length is a power of two.
pub const MIN_PACKET_BYTES: u32 = 4096;
/// See [`MIN_PACKET_BYTES`]: word offsets must fit 16 bits.
pub const MAX_PACKET_BYTES: u32 = 1 << 18;

/// Offsets of the header's fields in bytes.
pub mod at {
    #![expect(missing_docs, reason = "the field of this name; see `PacketHeader`")]
    pub const MAGIC: usize = 0;
    pub const UUID: usize = 4;
    pub const STREAM_ID: usize = 20;
    pub const CONTENT_SIZE: usize = 24;
    pub const PACKET_SIZE: usize = 32;
    pub const TIMESTAMP_BEGIN: usize = 40;
    pub const TIMESTAMP_END: usize = 48;
    pub const PACKET_SEQ_NUM: usize = 56;
    pub const EVENTS_DISCARDED: usize = 64;
    pub const LOCK: usize = 72;
    pub const EVENTS_BEFORE: usize = 80;
    pub const EVENTS: usize = 88;
    pub const CPU_ID: usize = 96;
    pub const FLAGS: usize = 100;
    pub const DISCARDED: usize = 104;
}

/// Why an event was not recorded, or is not in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Discard mode: every packet of the ring was waiting for the collector.
    Full = 0,
    /// An interrupt fired while the ring was changing packets.
    Nested = 1,
    /// The event is longer than a packet can hold.
    TooBig = 2,
    /// Overwrite mode: newer events took the place before the collector came.
    Overwritten = 3,
    /// The receiver found bytes that are not events and left out the rest of their packet.
    Refused = 4,
}

impl Cause {
    /// Every cause, in the order of the header's counters.
    pub const ALL: [Cause; 5] = [Cause::Full, Cause::Nested, Cause::TooBig, Cause::Overwritten, Cause::Refused];

    /// The word that stands for the cause in text, as in `fata stats`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Cause::Full => "full",
            Cause::Nested => "nested",
            Cause::TooBig => "too_big",
            Cause::Overwritten => "overwritten",
            Cause::Refused => "refused",
        }
    }
}

/// Discarded events by [`Cause`], cumulative since the stream began.
pub type Discarded = [u64; Cause::ALL.len()];

/// A packet's header, taken apart. Holding one proves nothing about its values: see [`PacketHeader::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// The trace's identity: the same in all packets of one guest's life.
    pub uuid: [u8; 16],
    /// In the low half the stream class, which is the guest's number in a trace of several; in the high half of a published
    /// packet the stream's number, by which a reader knows that several files are one stream.
    pub stream_id: u32,
    /// Bits from the packet's start to the end of its last event.
    pub content_size: u64,
    /// Bits from the packet's start to the next packet's.
    pub packet_size: u64,
    /// The clock when the packet was opened, in ticks.
    pub timestamp_begin: u64,
    /// The clock when the packet was sealed, in ticks.
    pub timestamp_end: u64,
    /// Counts the published packets of a stream; a step of more than one is a gap.
    pub packet_seq_num: u64,
    /// Events of this stream that were discarded before the packet's end, all causes together.
    pub events_discarded: u64,
    /// The sequence lock: `2n + 1` while packet number `n` is being written, `2n + 2` once sealed, 0 in between.
    pub lock: u64,
    /// Events that the stream's writer had recorded before the first of this packet.
    pub events_before: u64,
    /// Events in this packet.
    pub events: u64,
    /// The vCPU (or thread) that the stream belongs to.
    pub cpu_id: u32,
    /// [`FLAG_PIECE`] and other bits; unknown bits are ignored.
    pub flags: u32,
    /// `events_discarded` by cause.
    pub discarded: Discarded,
}

/// The packet is not the whole of the guest's packet: it was published while the guest was still writing it.
pub const FLAG_PIECE: u32 = 1;
/// The collector before was killed, perhaps between handing over a packet and noting that it had: a recording of its that goes
/// to the same reader may end with these very events. `events_before` tells.
pub const FLAG_MAY_REPEAT: u32 = 4;

/// The packet is of a [log stream](crate::log): no task runs in it, its records name theirs.
pub const FLAG_LOG: u32 = 2;

/// Why bytes are not a packet that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Fewer bytes than the packet needs: wait for more, or say that the file was cut.
    Incomplete {
        /// How many bytes the packet needs, as far as it is known.
        needed_bytes: usize,
    },
    /// The magic number is not there: not a packet of any version.
    NotAPacket,
    /// The sizes contradict one another.
    BadSizes {
        /// The header's `content_size` in bits.
        content_bits: u64,
        /// The header's `packet_size` in bits.
        packet_bits: u64,
    },
}

impl core::error::Error for PacketError {}

impl core::fmt::Display for PacketError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            PacketError::Incomplete { needed_bytes } => write!(f, "the packet is cut: it needs {needed_bytes} bytes"),
            PacketError::NotAPacket => f.write_str("no packet begins here: the CTF magic number is missing"),
            PacketError::BadSizes { content_bits, packet_bits } => {
                write!(f, "the packet's sizes are wrong: {content_bits} bits of content in {packet_bits} bits")
            }
        }
    }
}

impl PacketHeader {
    /// Which guest of the trace it is of: 0 where there is one.
    #[must_use]
    pub const fn guest(&self) -> u16 {
        let [low, high, ..] = self.stream_id.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Takes the header at the start of `bytes` apart.
    ///
    /// # Errors
    /// [`PacketError::Incomplete`] below [`HEADER_BYTES`], [`PacketError::NotAPacket`] without the magic number.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        if bytes.len() >= 4 && u32_at(bytes, at::MAGIC) != MAGIC {
            return Err(PacketError::NotAPacket);
        }
        if bytes.len() < HEADER_BYTES {
            return Err(PacketError::Incomplete { needed_bytes: HEADER_BYTES });
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[at::UUID..at::UUID + 16]);
        let mut discarded = Discarded::default();
        for (i, count) in discarded.iter_mut().enumerate() {
            *count = u64_at(bytes, at::DISCARDED + 8 * i);
        }
        Ok(PacketHeader {
            uuid,
            stream_id: u32_at(bytes, at::STREAM_ID),
            content_size: u64_at(bytes, at::CONTENT_SIZE),
            packet_size: u64_at(bytes, at::PACKET_SIZE),
            timestamp_begin: u64_at(bytes, at::TIMESTAMP_BEGIN),
            timestamp_end: u64_at(bytes, at::TIMESTAMP_END),
            packet_seq_num: u64_at(bytes, at::PACKET_SEQ_NUM),
            events_discarded: u64_at(bytes, at::EVENTS_DISCARDED),
            lock: u64_at(bytes, at::LOCK),
            events_before: u64_at(bytes, at::EVENTS_BEFORE),
            events: u64_at(bytes, at::EVENTS),
            cpu_id: u32_at(bytes, at::CPU_ID),
            flags: u32_at(bytes, at::FLAGS),
            discarded,
        })
    }

    /// Stores the header at the start of `bytes`, which must hold [`HEADER_BYTES`]; stores nothing where it does not.
    pub fn write(&self, bytes: &mut [u8]) {
        let Some(bytes) = bytes.first_chunk_mut::<HEADER_BYTES>() else { return };
        put_u32(bytes, at::MAGIC, MAGIC);
        bytes[at::UUID..at::UUID + 16].copy_from_slice(&self.uuid);
        put_u32(bytes, at::STREAM_ID, self.stream_id);
        put_u64(bytes, at::CONTENT_SIZE, self.content_size);
        put_u64(bytes, at::PACKET_SIZE, self.packet_size);
        put_u64(bytes, at::TIMESTAMP_BEGIN, self.timestamp_begin);
        put_u64(bytes, at::TIMESTAMP_END, self.timestamp_end);
        put_u64(bytes, at::PACKET_SEQ_NUM, self.packet_seq_num);
        put_u64(bytes, at::EVENTS_DISCARDED, self.events_discarded);
        put_u64(bytes, at::LOCK, self.lock);
        put_u64(bytes, at::EVENTS_BEFORE, self.events_before);
        put_u64(bytes, at::EVENTS, self.events);
        put_u32(bytes, at::CPU_ID, self.cpu_id);
        put_u32(bytes, at::FLAGS, self.flags);
        for (i, count) in self.discarded.iter().enumerate() {
            put_u64(bytes, at::DISCARDED + 8 * i, *count);
        }
    }

    /// The whole packet's length in bytes, if its sizes are possible.
    ///
    /// # Errors
    /// [`PacketError::BadSizes`] where `content_size` does not lie between the header's end and `packet_size`, or is no
    /// multiple of a word.
    pub fn check(&self) -> Result<usize, PacketError> {
        let header_bits = HEADER_BYTES as u64 * 8;
        let possible = self.content_size >= header_bits
            && self.content_size <= self.packet_size
            && self.content_size.is_multiple_of(64)
            && self.packet_size.is_multiple_of(64)
            && self.packet_size <= u64::from(MAX_PACKET_BYTES) * 8;
        match usize::try_from(self.packet_size / 8) {
            Ok(bytes) if possible => Ok(bytes),
            _ => Err(PacketError::BadSizes { content_bits: self.content_size, packet_bits: self.packet_size }),
        }
    }
}

/// A whole published packet: its header's sizes were checked against its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The header, checked.
    pub header: PacketHeader,
    /// All of the packet, header and padding included.
    pub bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet at the start of `bytes`.
    ///
    /// # Errors
    /// See [`PacketError`]; `Incomplete` names the packet's full length once its header is there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let header = PacketHeader::parse(bytes)?;
        let needed_bytes = header.check()?;
        let bytes = bytes.get(..needed_bytes).ok_or(PacketError::Incomplete { needed_bytes })?;
        Ok(Packet { header, bytes })
    }

    /// The packet's events.
    #[must_use]
    pub fn events(&self) -> crate::event::Events<'a> {
        let content_bytes = usize::try_from(self.header.content_size / 8).unwrap_or(0);
        let content = self.bytes.get(HEADER_BYTES..content_bytes).unwrap_or(&[]);
        crate::event::Events::new(content, self.header.timestamp_begin)
    }
}

/// The header of a CTF metadata packet (CTF 1.8.3, section 7.1), which carries TSDL text in a trace stream.
pub mod metadata_packet {
    use super::{METADATA_MAGIC, PacketError};
    use crate::{put_u32, u32_at};

    /// Its length: the text begins here.
    pub const HEADER_BYTES: usize = 37;
    /// The longest text that one metadata packet may carry.
    pub const MAX_TEXT_BYTES: usize = 4 << 20;

    /// The header of a packet that carries `text_bytes` of TSDL.
    #[must_use]
    pub fn header(uuid: [u8; 16], text_bytes: usize) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let bits = u32::try_from((HEADER_BYTES + text_bytes.min(MAX_TEXT_BYTES)) * 8).unwrap_or(0);
        put_u32(&mut header, 0, METADATA_MAGIC);
        header[4..20].copy_from_slice(&uuid);
        put_u32(&mut header, 24, bits); // content_size; the checksum before it stays 0: none
        put_u32(&mut header, 28, bits); // packet_size
        header[35] = 1; // major
        header[36] = 8; // minor
        header
    }

    /// The text of the metadata packet at the start of `bytes`, and the packet's length.
    ///
    /// # Errors
    /// As [`Packet::parse`](super::Packet::parse).
    pub fn parse(bytes: &[u8]) -> Result<(&[u8], usize), PacketError> {
        if bytes.len() >= 4 && u32_at(bytes, 0) != METADATA_MAGIC {
            return Err(PacketError::NotAPacket);
        }
        if bytes.len() < HEADER_BYTES {
            return Err(PacketError::Incomplete { needed_bytes: HEADER_BYTES });
        }
        let (content_bits, packet_bits) = (u32_at(bytes, 24), u32_at(bytes, 28));
        let (content, packet) = ((content_bits / 8) as usize, (packet_bits / 8) as usize);
        if content < HEADER_BYTES || content > packet || packet > HEADER_BYTES + MAX_TEXT_BYTES {
            return Err(PacketError::BadSizes { content_bits: content_bits.into(), packet_bits: packet_bits.into() });
        }
        match (bytes.get(HEADER_BYTES..content), bytes.len() >= packet) {
            (Some(text), true) => Ok((text, packet)),
            _ => Err(PacketError::Incomplete { needed_bytes: packet }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> PacketHeader {
        PacketHeader {
            uuid: *b"0123456789abcdef",
            stream_id: 0,
            content_size: HEADER_BYTES as u64 * 8,
            packet_size: 4096 * 8,
            timestamp_begin: 1,
            timestamp_end: 2,
            packet_seq_num: 3,
            events_discarded: 4,
            lock: 5,
            events_before: 6,
            events: 7,
            cpu_id: 8,
            flags: 9,
            discarded: [10, 11, 12, 13, 14],
        }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let mut bytes = [0; 4096];
        header().write(&mut bytes);
        assert_eq!(PacketHeader::parse(&bytes), Ok(header()));
    }

    #[test]
    fn every_truncation_asks_for_more_bytes() {
        let mut bytes = [0; 4096];
        header().write(&mut bytes);
        for len in 0..4096 {
            assert!(
                matches!(Packet::parse(&bytes[..len]), Err(PacketError::Incomplete { needed_bytes }) if needed_bytes > len)
            );
        }
        assert!(Packet::parse(&bytes).is_ok());
    }

    #[test]
    fn content_beyond_the_packet_is_refused() {
        let mut bytes = [0; 4096];
        PacketHeader { content_size: 4097 * 8, ..header() }.write(&mut bytes);
        assert!(matches!(Packet::parse(&bytes), Err(PacketError::BadSizes { .. })));
    }

    #[test]
    fn a_metadata_packet_carries_its_text() {
        let mut bytes = std::vec::Vec::from(metadata_packet::header([7; 16], 5));
        bytes.extend(b"trace");
        assert_eq!(metadata_packet::parse(&bytes), Ok((&b"trace"[..], bytes.len())));
        assert!(matches!(metadata_packet::parse(&bytes[..40]), Err(PacketError::Incomplete { .. })));
    }
}
