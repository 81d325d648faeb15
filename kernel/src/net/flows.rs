//! Every packet has a number, and the tracer says where it passes: from the device up to the task that reads it, and from
//! the task that writes it down to the device.
//!
//! ```text
//!   in    net.rx ────────► net.rx.tcp ────────► net.read        out   net.write ───────► net.tx
//!         device           stack is done        a task has it         a task wrote       device
//! ```
//! That is what is on by default, and it is little, because a probe per packet is paid for by every packet: one that
//! carries no data (an acknowledgement) is `net.rx` or `net.tx` alone, and so is a segment that carries what was left of an
//! earlier write. The level debug adds `net.rx.ip`, `net.tx.tcp` and `net.tx.ip` with the ports. The number has 15 bits and
//! is reused. What segments say of their connection beside that (retransmits, closed windows) is told here too.
//!
//! Bounded: a connection remembers [`REMEMBERED`] packets that its task has not read; the oldest is let go as
//! `net.rx.tcp` when there are more. A connection is remembered from [`Flows::open`] to [`Flows::close`], so there are no
//! more of them than sockets.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use fata_probe::{Packet, counter, flow_begin, flow_end, flow_step, instant};
use smoltcp::wire::TcpSeqNumber;

use super::header::{Connection, Direction, Header, Segment};

/// Packets per connection that were received and not read.
const REMEMBERED: usize = 8;
/// Packet numbers are 1 to this.
const LAST_PACKET: u16 = 0x7fff;

/// What the tracer knows; shared by the device's wrapper and the sockets.
#[derive(Default)]
pub(super) struct Flows {
    last: Cell<u16>,
    connections: RefCell<BTreeMap<Connection, Traced>>,
    /// Datagrams that were received and not read, by port.
    datagrams: RefCell<BTreeMap<u16, Unread>>,
    /// Ports whose backlog is full.
    full_ports: RefCell<Vec<u16>>,
    retransmits: Cell<u64>,
    overflows: Cell<u64>,
}

/// One connection.
#[derive(Default)]
struct Traced {
    /// The end of everything sent so far.
    sent: Option<TcpSeqNumber>,
    /// The end of what the peer has acknowledged.
    acked: Option<TcpSeqNumber>,
    /// The peer can take nothing now.
    peer_full: bool,
    /// We can take nothing now.
    self_full: bool,
    /// The packet that a task's write began, until a segment carries it.
    written: Option<Packet>,
    unread: Unread,
}

/// The packets that wait for a task to read them, oldest first.
#[derive(Default)]
struct Unread {
    packets: [Packet; REMEMBERED],
    len: usize,
}

impl Unread {
    /// Adds the newest; gives the oldest if there is no room for both.
    fn push(&mut self, packet: Packet) -> Option<Packet> {
        let oldest = (self.len == REMEMBERED).then_some(self.packets[0]);
        if oldest.is_some() {
            self.packets.rotate_left(1);
            self.len -= 1;
        }
        self.packets[self.len] = packet;
        self.len += 1;
        oldest
    }

    fn take(&mut self) -> impl Iterator<Item = Packet> {
        let len = core::mem::take(&mut self.len);
        self.packets.into_iter().take(len)
    }
}

impl Flows {
    fn next(&self) -> Packet {
        let number = if self.last.get() >= LAST_PACKET { 1 } else { self.last.get() + 1 };
        self.last.set(number);
        Packet(number)
    }

    /// A socket has this connection from now on.
    pub(super) fn open(&self, connection: Connection) {
        if fata_probe::ENABLED {
            self.connections.borrow_mut().insert(connection, Traced::default());
        }
    }

    /// No socket has it any more.
    pub(super) fn close(&self, connection: &Connection) {
        if fata_probe::ENABLED {
            self.connections.borrow_mut().remove(connection);
        }
    }

    /// A socket is bound to this UDP port from now on.
    pub(super) fn bind(&self, port: u16) {
        self.datagrams.borrow_mut().insert(port, Unread::default());
    }

    /// No socket is bound to it any more.
    pub(super) fn unbind(&self, port: u16) {
        self.datagrams.borrow_mut().remove(&port);
    }

    /// Says which ports take no new connection now.
    pub(super) fn set_full(&self, port: u16, full: bool) {
        let mut ports = self.full_ports.borrow_mut();
        match (ports.iter().position(|&p| p == port), full) {
            (None, true) => ports.push(port),
            (Some(index), false) => {
                ports.swap_remove(index);
            }
            _ => {}
        }
    }

    /// Whether `frame` asks for a connection that nobody has room for. The stack would answer with a reset; not answering
    /// makes the client ask again.
    pub(super) fn overflows(&self, frame: &[u8]) -> bool {
        let ports = self.full_ports.borrow();
        if ports.is_empty() {
            return false;
        }
        let Header::Tcp(segment) = Header::parse(frame, Direction::In) else { return false };
        let port = segment.connection.local_port;
        let overflows = segment.is_opening() && ports.contains(&port);
        if overflows {
            self.overflows.set(self.overflows.get() + 1);
            instant!(level: Warn, "tcp.listen_overflow", port = port);
            counter!("tcp.listen_overflows", count = self.overflows.get());
        }
        overflows
    }

    /// Connection requests that found the backlog full.
    pub(super) fn overflow_count(&self) -> u64 {
        self.overflows.get()
    }

    /// The device has handed over `frame`, which `deliver` passes to the stack.
    #[inline]
    pub(super) fn received<R>(&self, frame: &[u8], deliver: impl FnOnce(&[u8]) -> R) -> R {
        if !fata_probe::ENABLED {
            return deliver(frame);
        }
        let packet = self.next();
        flow_begin!("net.rx", id = packet, bytes = frame.len());
        let header = Header::parse(frame, Direction::In);
        trace_ip(packet, Direction::In, &header);
        let result = deliver(frame);
        match header {
            Header::Tcp(segment) => self.segment_in(packet, &segment),
            Header::Udp { local_port, .. } => match self.datagrams.borrow_mut().get_mut(&local_port) {
                Some(unread) => {
                    flow_step!("net.rx.udp", id = packet);
                    if let Some(oldest) = unread.push(packet) {
                        flow_end!("net.rx.udp", id = oldest);
                    }
                }
                None => flow_end!("net.rx.udp", id = packet),
            },
            Header::Icmp => flow_end!("net.rx.icmp", id = packet),
            Header::Arp => flow_end!("net.rx.arp", id = packet),
            Header::Other => flow_end!("net.rx.other", id = packet),
        }
        result
    }

    /// What an incoming segment brings, and what it says of what the peer has and can take.
    fn segment_in(&self, packet: Packet, segment: &Segment) {
        let mut connections = self.connections.borrow_mut();
        let Some(traced) = connections.get_mut(&segment.connection) else { return };
        if segment.payload_bytes > 0 {
            flow_step!("net.rx.tcp", id = packet);
            if let Some(oldest) = traced.unread.push(packet) {
                flow_end!("net.rx.tcp", id = oldest);
            }
        }
        if let Some(ack) = segment.ack {
            traced.acked = Some(traced.acked.map_or(ack, |acked| acked.max(ack)));
        }
        let full = segment.window == 0 && !segment.rst;
        if full && !traced.peer_full {
            let Connection { local_port, remote_port, .. } = segment.connection;
            instant!("tcp.zero_window", remote = true, local_port = local_port, remote_port = remote_port);
        }
        traced.peer_full = full;
    }

    /// A task has read what the connection had for it.
    pub(super) fn read(&self, connection: &Connection) {
        if fata_probe::ENABLED
            && let Some(traced) = self.connections.borrow_mut().get_mut(connection)
        {
            for packet in traced.unread.take() {
                flow_end!("net.read", id = packet);
            }
        }
    }

    /// A task has read a datagram.
    pub(super) fn read_datagram(&self, port: u16) {
        if let Some(unread) = self.datagrams.borrow_mut().get_mut(&port)
            && unread.len > 0
        {
            flow_end!("net.read", id = unread.packets[0]);
            unread.packets.rotate_left(1);
            unread.len -= 1;
        }
    }

    /// A task has written to the connection: the packet begins that will carry the first of it.
    pub(super) fn write(&self, connection: &Connection) {
        if fata_probe::ENABLED
            && let Some(traced) = self.connections.borrow_mut().get_mut(connection)
            && traced.written.is_none()
        {
            let packet = self.next();
            traced.written = Some(packet);
            flow_begin!("net.write", id = packet);
        }
    }

    /// The stack has made `frame` and hands it to the device.
    #[inline]
    pub(super) fn sent(&self, frame: &[u8]) {
        if !fata_probe::ENABLED {
            return;
        }
        let header = Header::parse(frame, Direction::Out);
        let written = match &header {
            Header::Tcp(segment) => self.segment_out(segment),
            _ => None,
        };
        // Whoever has a number first begins a flow, so that no arrow comes from the last packet of that number.
        match written {
            Some(packet) => flow_end!("net.tx", id = packet, bytes = frame.len()),
            None => {
                let packet = self.next();
                flow_begin!("net.tx", id = packet, bytes = frame.len());
                trace_ip(packet, Direction::Out, &header);
            }
        }
    }

    /// The packet that a task's write began, if this segment carries the first of it.
    fn segment_out(&self, segment: &Segment) -> Option<Packet> {
        let mut connections = self.connections.borrow_mut();
        let traced = connections.get_mut(&segment.connection)?;
        self.say(traced, segment);
        let packet = traced.written.take_if(|_| segment.payload_bytes > 0)?;
        flow_step!(level: Debug, "net.tx.tcp", id = packet, payload_bytes = segment.payload_bytes);
        trace_ip(packet, Direction::Out, &Header::Tcp(*segment));
        Some(packet)
    }

    /// What an outgoing segment says of its connection.
    fn say(&self, traced: &mut Traced, segment: &Segment) {
        let (local_port, remote_port) = (segment.connection.local_port, segment.connection.remote_port);
        let full = segment.window == 0 && !segment.rst;
        if full && !traced.self_full {
            instant!("tcp.zero_window", remote = false, local_port = local_port, remote_port = remote_port);
        }
        traced.self_full = full;
        let len = segment.len();
        let end = segment.seq + len;
        match traced.sent {
            Some(sent) if len > 0 && segment.seq < sent && end <= sent => {
                if traced.acked == Some(sent) && segment.payload_bytes <= 1 {
                    instant!(level: Debug, "tcp.keep_alive", local_port = local_port, remote_port = remote_port);
                } else if traced.peer_full && segment.payload_bytes == 1 {
                    instant!(level: Debug, "tcp.window_probe", local_port = local_port, remote_port = remote_port);
                } else {
                    self.retransmits.set(self.retransmits.get() + 1);
                    instant!(level: Warn, "tcp.retransmit", bytes = segment.payload_bytes, local_port = local_port, remote_port = remote_port);
                    counter!("tcp.retransmits", count = self.retransmits.get());
                }
            }
            Some(sent) => traced.sent = Some(sent.max(end)),
            None if len > 0 => traced.sent = Some(end),
            None => {}
        }
    }
}

/// The packet in the IP layer, for whoever asks for that much.
fn trace_ip(packet: Packet, direction: Direction, header: &Header) {
    let (local_port, remote_port) = match header {
        Header::Tcp(Segment { connection, .. }) => (connection.local_port, connection.remote_port),
        Header::Udp { local_port, remote_port } => (*local_port, *remote_port),
        Header::Icmp | Header::Arp | Header::Other => return,
    };
    match direction {
        Direction::In => {
            flow_step!(level: Debug, "net.rx.ip", id = packet, local_port = local_port, remote_port = remote_port);
        }
        Direction::Out => {
            flow_step!(level: Debug, "net.tx.ip", id = packet, local_port = local_port, remote_port = remote_port);
        }
    }
}
