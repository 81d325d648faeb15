//! What the tracer knows of one connection, by what its segments and its socket's tasks say.

use core::cell::Cell;

use fata_probe::{Packet, flow_end, instant};
use smoltcp::wire::TcpSeqNumber;

use super::header::{Connection, Plain, Segment};
use super::unread::Unread;

/// One connection; its socket's tasks and the device's wrapper share it.
pub(super) struct Traced {
    pub(super) connection: Connection,
    /// [`Connection::key`]; 0, which no connection has, over IPv6.
    pub(super) key: u64,
    /// The end of everything sent so far.
    pub(super) sent: Cell<Option<TcpSeqNumber>>,
    /// The end of what the peer has acknowledged.
    pub(super) acked: Cell<Option<TcpSeqNumber>>,
    /// The peer can take nothing now.
    pub(super) peer_full: Cell<bool>,
    /// We can take nothing now.
    pub(super) self_full: Cell<bool>,
    /// The packet that a task's write began, until a segment carries it.
    pub(super) written: Cell<Option<Packet>>,
    unread: Unread,
}

/// The packet of which a segment carries the first, where it does.
pub(super) struct Carried(pub(super) Option<Packet>);

impl Traced {
    /// Nothing is known of it yet.
    pub(super) fn new(connection: Connection) -> Self {
        Traced {
            connection,
            key: connection.key().unwrap_or(0),
            sent: Cell::new(None),
            acked: Cell::new(None),
            peer_full: Cell::new(false),
            self_full: Cell::new(false),
            written: Cell::new(None),
            unread: Unread::default(),
        }
    }

    /// A task has read what the connection had for it.
    pub(super) fn read(&self) {
        if fata_probe::ENABLED {
            for packet in self.unread.take() {
                flow_end!("net.read", id = packet);
            }
        }
    }

    /// What a segment brings, which acknowledges up to `ack`.
    #[inline(always)]
    pub(super) fn data_in(&self, packet: Packet, payload_bytes: usize, ack: Option<TcpSeqNumber>) {
        if payload_bytes > 0
            && let Some(oldest) = self.unread.push(packet)
        {
            flow_end!("net.rx.tcp", id = oldest);
        }
        if let Some(ack) = ack {
            self.acked.set(Some(self.acked.get().map_or(ack, |acked| acked.max(ack))));
        }
    }

    /// The packet that an outgoing segment carries, if the segment says nothing but that: it is the next in order.
    #[inline(always)]
    pub(super) fn data_out(&self, plain: &Plain<'_>) -> Option<Carried> {
        if !plain.is_ordinary() || self.self_full.get() {
            return None;
        }
        if plain.payload_bytes == 0 {
            return Some(Carried(None));
        }
        (self.sent.get() == Some(plain.seq())).then(|| {
            self.sent.set(Some(plain.seq() + plain.payload_bytes));
            Carried(self.written.take())
        })
    }

    /// What any incoming segment brings, and what it says of what the peer has and can take.
    pub(super) fn segment_in(&self, packet: Packet, segment: &Segment<'_>) {
        self.data_in(packet, segment.payload_bytes, segment.ack());
        let full = segment.closes_window();
        if full && !self.peer_full.get() {
            let Connection { local_port, remote_port, .. } = segment.connection;
            instant!("tcp.zero_window", remote = true, local_port = local_port, remote_port = remote_port);
        }
        self.peer_full.set(full);
    }
}
