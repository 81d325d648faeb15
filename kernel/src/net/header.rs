//! What the tracer wants to know of an Ethernet frame, read from its headers and nothing else.
//!
//! Invariant: any bytes are some [`Header`]; what is cut short or unknown is [`Header::Other`]. Checksums are the stack's
//! business.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpSeqNumber, UdpPacket,
};

/// Which way a frame goes, seen from this guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the device.
    In,
    /// To the device.
    Out,
}

/// A TCP connection, as this guest tells its connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Connection {
    // First, since it differs most: connections are looked up for every segment.
    pub(super) remote_port: u16,
    pub(super) local_port: u16,
    pub(super) remote: IpAddress,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header<'a> {
    /// Address resolution.
    Arp,
    /// ICMP and ICMPv6, neighbour discovery among it.
    Icmp,
    /// A datagram.
    Udp { local_port: u16, remote_port: u16 },
    /// A segment.
    Tcp(Segment<'a>),
    /// Anything else, or a frame that is cut short.
    Other,
}

/// A TCP segment: what tells what happens on its connection is read where it lies (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) connection: Connection,
    /// Bytes of payload.
    pub(super) payload_bytes: usize,
    header: &'a [u8; 20],
}

impl<'a> Segment<'a> {
    #[inline(always)]
    fn new(header: &'a [u8; 20], transport_bytes: usize, remote: IpAddress, direction: Direction) -> Option<Self> {
        let (local_port, remote_port) = ports(u16_at(header, 0), u16_at(header, 2), direction);
        let header_bytes = usize::from(header[12] >> 4) * 4;
        let payload_bytes = transport_bytes.checked_sub(header_bytes)?;
        let connection = Connection { remote_port, local_port, remote };
        (header_bytes >= header.len()).then_some(Segment { connection, payload_bytes, header })
    }

    pub(super) fn seq(&self) -> TcpSeqNumber {
        sequence_at(self.header, 4)
    }

    /// What it acknowledges, if anything.
    pub(super) fn ack(&self) -> Option<TcpSeqNumber> {
        self.has(ACK).then(|| sequence_at(self.header, 8))
    }

    pub(super) fn window(&self) -> u16 {
        u16_at(self.header, 14)
    }

    /// Whether its sender says that it can take nothing now.
    pub(super) fn closes_window(&self) -> bool {
        self.window() == 0 && !self.has(RST)
    }

    /// The length in sequence numbers.
    pub(super) fn len(&self) -> usize {
        self.payload_bytes + usize::from(self.has(SYN)) + usize::from(self.has(FIN))
    }

    /// Whether it asks for a new connection.
    pub(super) fn is_opening(&self) -> bool {
        self.has(SYN) && !self.has(ACK)
    }

    fn has(&self, flag: u8) -> bool {
        self.header[13] & flag != 0
    }
}

/// The most frequent kind of frame: a TCP segment in IPv4 with a header of 20 bytes. Every packet is asked whether it is one,
/// so that is a handful of instructions, and what else is asked of it reads words as they lie.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a> {
    headers: &'a [u8; 54],
    /// Bytes of payload.
    pub(super) payload_bytes: usize,
}

impl<'a> Plain<'a> {
    /// `frame`, if it is of this kind. `None` says nothing; [`Header::parse`] does.
    #[inline(always)]
    pub(super) fn of(frame: &'a [u8]) -> Option<Self> {
        let headers = frame.first_chunk::<54>()?;
        // Ethertype, version and length of the header; no offset of a fragment, and the protocol.
        if word_at(headers, 12) & 0x00ff_ffff != PLAIN_IPV4 || word_at(headers, 20) & 0xff00_ff1f != PLAIN_TCP {
            return None;
        }
        let packet_bytes = usize::from(u16_at(headers, 16));
        let tcp_header_bytes = usize::from(headers[46] >> 4) * 4;
        let payload_bytes = packet_bytes.wrapping_sub(20 + tcp_header_bytes);
        // A payload of less than nothing is more than any.
        (packet_bytes <= frame.len() - 14 && tcp_header_bytes >= 20 && payload_bytes <= packet_bytes)
            .then_some(Plain { headers, payload_bytes })
    }

    /// Which connection it is of: see [`Connection::key`].
    #[inline(always)]
    pub(super) fn key(&self, direction: Direction) -> u64 {
        let (ports, remote) = match direction {
            Direction::In => (word_at(self.headers, 34), word_at(self.headers, 26)),
            Direction::Out => (word_at(self.headers, 34).rotate_right(16), word_at(self.headers, 30)),
        };
        u64::from(remote) << 32 | u64::from(ports)
    }

    /// Whether it does nothing but carry data and acknowledge, and its sender can take more.
    #[inline(always)]
    pub(super) fn is_ordinary(&self) -> bool {
        self.headers[47] & (FIN | SYN | RST | ACK) == ACK && u16_at(self.headers, 48) != 0
    }

    pub(super) fn seq(&self) -> TcpSeqNumber {
        sequence_at(self.headers, 38)
    }

    /// What an ordinary one acknowledges.
    pub(super) fn ack(&self) -> TcpSeqNumber {
        sequence_at(self.headers, 42)
    }

    /// The local and the remote port. (Not inlined: who is seldom asked for them would have them at hand always.)
    #[cold]
    #[inline(never)]
    pub(super) fn ports(self, direction: Direction) -> (u16, u16) {
        ports(u16_at(self.headers, 34), u16_at(self.headers, 36), direction)
    }
}

impl Connection {
    /// A number that no other connection over IPv4 has: the address and the ports as they lie in a segment that comes from
    /// the other side. `None` over IPv6.
    pub(super) fn key(&self) -> Option<u64> {
        let IpAddress::Ipv4(remote) = self.remote else { return None };
        let ([a, b], [c, d]) = (self.remote_port.to_be_bytes(), self.local_port.to_be_bytes());
        Some(u64::from(u32::from_le_bytes(remote.octets())) << 32 | u64::from(u32::from_le_bytes([a, b, c, d])))
    }
}

impl<'a> Header<'a> {
    /// Reads the headers of `frame`.
    #[inline(never)]
    pub(super) fn parse(frame: &'a [u8], direction: Direction) -> Self {
        Self::parse_ethernet(frame, direction).unwrap_or(Header::Other)
    }

    /// The local and the remote port, where there are ports.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Header::Tcp(segment) => Some((segment.connection.local_port, segment.connection.remote_port)),
            Header::Udp { local_port, remote_port } => Some((*local_port, *remote_port)),
            Header::Icmp | Header::Arp | Header::Other => None,
        }
    }

    fn parse_ethernet(frame: &'a [u8], direction: Direction) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        match frame.ethertype() {
            EthernetProtocol::Arp => Some(Header::Arp),
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
                let remote = if direction == Direction::In { packet.src_addr() } else { packet.dst_addr() };
                let first = packet.frag_offset() == 0;
                first
                    .then(|| Self::parse_transport(packet.next_header(), remote.into(), packet.payload(), direction))?
            }
            EthernetProtocol::Ipv6 => {
                let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
                let remote = if direction == Direction::In { packet.src_addr() } else { packet.dst_addr() };
                Self::parse_transport(packet.next_header(), remote.into(), packet.payload(), direction)
            }
            EthernetProtocol::Unknown(_) => None,
        }
    }

    fn parse_transport(protocol: IpProtocol, remote: IpAddress, bytes: &'a [u8], direction: Direction) -> Option<Self> {
        match protocol {
            IpProtocol::Icmp | IpProtocol::Icmpv6 => Some(Header::Icmp),
            IpProtocol::Udp => {
                let packet = UdpPacket::new_checked(bytes).ok()?;
                let (local_port, remote_port) = ports(packet.src_port(), packet.dst_port(), direction);
                Some(Header::Udp { local_port, remote_port })
            }
            IpProtocol::Tcp => {
                let segment = Segment::new(bytes.first_chunk()?, bytes.len(), remote, direction)?;
                Some(Header::Tcp(segment))
            }
            _ => None,
        }
    }
}

pub(super) const IPV4: u16 = 0x0800;
pub(super) const TCP: u8 = 6;
/// Bytes 12 to 14 of a [`Plain`] frame, the first lowest.
const PLAIN_IPV4: u32 = 0x45_0008;
/// Bytes 20 to 23, those that matter.
const PLAIN_TCP: u32 = (TCP as u32) << 24;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[inline(always)]
fn ports(source: u16, destination: u16, direction: Direction) -> (u16, u16) {
    match direction {
        Direction::In => (destination, source),
        Direction::Out => (source, destination),
    }
}

#[inline(always)]
fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn sequence_at<const N: usize>(bytes: &[u8; N], at: usize) -> TcpSeqNumber {
    TcpSeqNumber(i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

/// Four bytes as they lie, the first lowest. (By one load: the compiler puts four bytes together only where all are wanted.)
#[inline(always)]
fn word_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An IPv4 TCP segment from 10.0.2.2:50000 to 10.0.2.15:80 with payload "hi".
    pub(in super::super) fn segment() -> [u8; 56] {
        let mut frame = [0; 56];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14..34].copy_from_slice(&[0x45, 0, 0, 42, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15]);
        frame[34..54].copy_from_slice(&[0xc3, 0x50, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0, 44, 0, 0, 0, 0]);
        frame[54..].copy_from_slice(b"hi");
        frame
    }

    #[test]
    fn a_segment_is_of_the_same_connection_from_both_ends() {
        let frame = segment();
        let Header::Tcp(seen) = Header::parse(&frame, Direction::In) else { panic!("not a segment") };
        assert_eq!((seen.connection.local_port, seen.connection.remote_port), (80, 50000));
        assert_eq!((seen.seq(), seen.ack()), (TcpSeqNumber(7), Some(TcpSeqNumber(9))));
        assert_eq!((seen.payload_bytes, seen.len(), seen.window()), (2, 2, 44));
        let Header::Tcp(sent) = Header::parse(&frame, Direction::Out) else { panic!("not a segment") };
        assert_eq!((sent.connection.local_port, sent.connection.remote_port), (50000, 80));
        assert_eq!(sent.connection.remote, IpAddress::v4(10, 0, 2, 15));
    }

    #[test]
    fn a_frame_cut_anywhere_is_not_a_segment() {
        let frame = segment();
        for len in 0..frame.len() {
            assert_eq!(Header::parse(&frame[..len], Direction::In), Header::Other, "cut at {len}");
            assert!(Plain::of(&frame[..len]).is_none(), "cut at {len}");
        }
    }

    /// What the short way tells of a frame, checked against the long way; whether it knows the frame.
    fn short_way_agrees(frame: &[u8], direction: Direction) -> bool {
        let Some(plain) = Plain::of(frame) else { return false };
        let Header::Tcp(segment) = Header::parse(frame, direction) else { panic!("{frame:?} is no segment") };
        let Connection { local_port, remote_port, .. } = segment.connection;
        assert_eq!(Some(plain.key(direction)), segment.connection.key());
        assert_eq!(plain.ports(direction), (local_port, remote_port));
        assert_eq!((plain.payload_bytes, plain.seq()), (segment.payload_bytes, segment.seq()));
        if plain.is_ordinary() {
            assert_eq!(segment.ack(), Some(plain.ack()));
            assert_eq!(segment.len(), plain.payload_bytes);
            assert!(!segment.closes_window());
        }
        true
    }

    #[test]
    fn the_short_way_to_a_segment_tells_what_the_long_way_tells() {
        let plain = segment();
        assert!(Plain::of(&plain).is_some_and(|plain| plain.is_ordinary()));
        for direction in [Direction::In, Direction::Out] {
            assert!(short_way_agrees(&plain, direction));
        }
        // Any byte of the headers may be wrong: the short way then knows nothing, or the same.
        let mut known = 0;
        for (at, bit) in (12..54).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut frame = plain;
            frame[at] ^= 1 << bit;
            known += usize::from(short_way_agrees(&frame, Direction::In));
        }
        assert!(known > 100, "only {known} frames were of the short way");
    }
}
