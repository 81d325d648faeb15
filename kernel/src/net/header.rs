//! What the tracer wants to know of an Ethernet frame, read from its headers and nothing else.
//!
//! Invariant: any bytes are some [`Header`]; what is cut short or unknown is [`Header::Other`]. Checksums are the stack's
//! business.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber, UdpPacket,
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
pub(super) enum Header {
    /// Address resolution.
    Arp,
    /// ICMP and ICMPv6, neighbour discovery among it.
    Icmp,
    /// A datagram.
    Udp { local_port: u16, remote_port: u16 },
    /// A segment.
    Tcp(Segment),
    /// Anything else, or a frame that is cut short.
    Other,
}

/// The part of a TCP header that tells what happens on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) connection: Connection,
    pub(super) seq: TcpSeqNumber,
    /// What it acknowledges, if anything.
    pub(super) ack: Option<TcpSeqNumber>,
    /// Bytes of payload.
    pub(super) payload_bytes: usize,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) window: u16,
}

impl Segment {
    /// The length in sequence numbers.
    pub(super) fn len(&self) -> usize {
        self.payload_bytes + usize::from(self.syn) + usize::from(self.fin)
    }

    /// Whether it asks for a new connection.
    pub(super) fn is_opening(&self) -> bool {
        self.syn && self.ack.is_none()
    }
}

impl Header {
    /// Reads the headers of `frame`.
    pub(super) fn parse(frame: &[u8], direction: Direction) -> Self {
        Self::parse_ethernet(frame, direction).unwrap_or(Header::Other)
    }

    fn parse_ethernet(frame: &[u8], direction: Direction) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        match frame.ethertype() {
            EthernetProtocol::Arp => Some(Header::Arp),
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
                let remote = if direction == Direction::In { packet.src_addr() } else { packet.dst_addr() };
                Self::parse_transport(packet.next_header(), remote.into(), packet.payload(), direction)
            }
            EthernetProtocol::Ipv6 => {
                let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
                let remote = if direction == Direction::In { packet.src_addr() } else { packet.dst_addr() };
                Self::parse_transport(packet.next_header(), remote.into(), packet.payload(), direction)
            }
            EthernetProtocol::Unknown(_) => None,
        }
    }

    fn parse_transport(protocol: IpProtocol, remote: IpAddress, bytes: &[u8], direction: Direction) -> Option<Self> {
        let ports = |src, dst| if direction == Direction::In { (dst, src) } else { (src, dst) };
        match protocol {
            IpProtocol::Icmp | IpProtocol::Icmpv6 => Some(Header::Icmp),
            IpProtocol::Udp => {
                let packet = UdpPacket::new_checked(bytes).ok()?;
                let (local_port, remote_port) = ports(packet.src_port(), packet.dst_port());
                Some(Header::Udp { local_port, remote_port })
            }
            IpProtocol::Tcp => {
                let packet = TcpPacket::new_checked(bytes).ok()?;
                let (local_port, remote_port) = ports(packet.src_port(), packet.dst_port());
                Some(Header::Tcp(Segment {
                    connection: Connection { local_port, remote_port, remote },
                    seq: packet.seq_number(),
                    ack: packet.ack().then(|| packet.ack_number()),
                    payload_bytes: packet.payload().len(),
                    syn: packet.syn(),
                    fin: packet.fin(),
                    rst: packet.rst(),
                    window: packet.window_len(),
                }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 TCP segment from 10.0.2.2:50000 to 10.0.2.15:80 with payload "hi".
    fn segment() -> [u8; 56] {
        let mut frame = [0; 56];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14..34].copy_from_slice(&[0x45, 0, 0, 42, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15]);
        frame[34..54].copy_from_slice(&[0xc3, 0x50, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0, 44, 0, 0, 0, 0]);
        frame[54..].copy_from_slice(b"hi");
        frame
    }

    #[test]
    fn a_segment_is_of_the_same_connection_from_both_ends() {
        let Header::Tcp(seen) = Header::parse(&segment(), Direction::In) else { panic!("not a segment") };
        assert_eq!((seen.connection.local_port, seen.connection.remote_port), (80, 50000));
        assert_eq!((seen.seq, seen.ack), (TcpSeqNumber(7), Some(TcpSeqNumber(9))));
        assert_eq!((seen.payload_bytes, seen.len(), seen.window), (2, 2, 44));
        let Header::Tcp(sent) = Header::parse(&segment(), Direction::Out) else { panic!("not a segment") };
        assert_eq!((sent.connection.local_port, sent.connection.remote_port), (50000, 80));
        assert_eq!(sent.connection.remote, IpAddress::v4(10, 0, 2, 15));
    }

    #[test]
    fn a_frame_cut_anywhere_is_not_a_segment() {
        let frame = segment();
        for len in 0..frame.len() {
            assert_eq!(Header::parse(&frame[..len], Direction::In), Header::Other, "cut at {len}");
        }
    }
}
