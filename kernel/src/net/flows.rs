//! Every packet has a number, and the tracer says where it passes: from the device up to the task that reads it, and from
//! the task that writes it down to the device.
//!
//! ```text
//!   in    net.rx ──────────────────► net.read             out   net.write ─────────────────► net.tx
//!         device                     a task has it              a task wrote                 device
//!   debug        net.rx.ip  net.rx.tcp                    debug            net.tx.tcp  net.tx.ip
//!                ports      stack is done                                  payload     ports
//! ```
//! That is what is on by default, and it is little, because a probe per packet is paid for by every packet: one that
//! carries no data (an acknowledgement) is `net.rx` or `net.tx` alone, and so is a segment that carries what was left of an
//! earlier write. The level debug adds a step per layer. The number has 15 bits and is reused. What segments say of their
//! connection beside that (retransmits, closed windows) is told here too.
//!
//! Where several guests are recorded together, `wire.tx` and `wire.rx` say by which [`identity`] the other end knows the packet.
//!
//! Bounded: a connection remembers [some packets](Unread) that its task has not read; the oldest is let go as
//! `net.rx.tcp` when there are more. A connection is remembered from [`Flows::open`] to [`Flows::close`], so there are no
//! more of them than sockets.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, Ref, RefCell};

use fata_probe::{FlowId, Packet, counter, flow_begin, flow_end, flow_step, instant};
use fata_wire::shared::WIRE_CATEGORY;
use smoltcp::wire::TcpSeqNumber;

use super::header::{Connection, Direction, Header, Plain, Segment};
use super::identity::identity;
use super::unread::Unread;

/// Packet numbers are 1 to this.
const LAST_PACKET: u16 = 0x7fff;
/// Every segment is looked up, and a search in a tree would cost more than all the events of its packet.
const RECENT: usize = 512;

/// What the tracer knows; shared by the device's wrapper and the sockets.
pub(super) struct Flows {
    last: Cell<u16>,
    connections: RefCell<BTreeMap<Connection, Rc<Traced>>>,
    /// Connections that were looked for lately, each where [`recent_index`] says.
    recent: [RefCell<Option<Known>>; RECENT],
    /// Datagrams that were received and not read, by port.
    datagrams: RefCell<BTreeMap<u16, Unread>>,
    /// Ports whose backlog is full.
    full_ports: RefCell<Vec<u16>>,
    retransmits: Cell<u64>,
    overflows: Cell<u64>,
}

/// A connection that was looked for lately.
struct Known {
    connection: Connection,
    /// [`Connection::key`]; 0, which no connection has, over IPv6.
    key: u64,
    traced: Rc<Traced>,
}

/// One connection; its socket's tasks and the device's wrapper share it.
#[derive(Default)]
pub(super) struct Traced {
    /// The end of everything sent so far.
    sent: Cell<Option<TcpSeqNumber>>,
    /// The end of what the peer has acknowledged.
    acked: Cell<Option<TcpSeqNumber>>,
    /// The peer can take nothing now.
    peer_full: Cell<bool>,
    /// We can take nothing now.
    self_full: Cell<bool>,
    /// The packet that a task's write began, until a segment carries it.
    written: Cell<Option<Packet>>,
    unread: Unread,
}

impl Default for Flows {
    fn default() -> Self {
        Flows {
            last: Cell::new(0),
            connections: RefCell::default(),
            recent: [const { RefCell::new(None) }; RECENT],
            datagrams: RefCell::default(),
            full_ports: RefCell::default(),
            retransmits: Cell::new(0),
            overflows: Cell::new(0),
        }
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
            self.connections.borrow_mut().insert(connection, Rc::default());
        }
    }

    /// No socket has it any more.
    pub(super) fn close(&self, connection: &Connection) {
        self.connections.borrow_mut().remove(connection);
        self.recent[recent_index(connection)].take();
    }

    /// What is known of an open connection.
    pub(super) fn find(&self, connection: &Connection) -> Option<Rc<Traced>> {
        self.connections.borrow().get(connection).cloned()
    }

    fn with<R>(&self, connection: &Connection, use_it: impl FnOnce(&Traced) -> R) -> Option<R> {
        let recent = &self.recent[recent_index(connection)];
        if !matches!(&*recent.borrow(), Some(known) if known.connection == *connection) {
            let (connection, key) = (*connection, connection.key().unwrap_or(0));
            recent.replace(Some(Known { connection, key, traced: self.find(&connection)? }));
        }
        recent.borrow().as_ref().map(|known| use_it(&known.traced))
    }

    /// Where the short way to what [`with`](Self::with) finds begins: see [`known_as`].
    #[inline(always)]
    fn recent(&self, key: u64) -> Ref<'_, Option<Known>> {
        self.recent[recent_index_of_key(key)].borrow()
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

    /// The device has handed over `frame`, which is to be passed to the stack next, unless it is refused.
    #[inline(always)]
    pub(super) fn receive<'a>(&self, frame: &'a [u8]) -> Arrival<'a> {
        if self.overflows(frame) {
            return Arrival::Refused;
        }
        if !fata_probe::ENABLED {
            return Arrival::Untraced;
        }
        let packet = self.next();
        flow_begin!("net.rx", id = packet, bytes = frame.len());
        flow_end!(category: WIRE_CATEGORY, "wire.rx", id = FlowId(identity(frame)));
        let Some(plain) = Plain::of(frame) else { return other_arrival(packet, frame) };
        let (local_port, remote_port) = plain.ports(Direction::In);
        flow_step!(level: Debug, "net.rx.ip", id = packet, local_port = local_port, remote_port = remote_port);
        Arrival::Plain(packet, plain)
    }

    /// The stack has had `frame`.
    #[inline(always)]
    pub(super) fn received(&self, frame: &[u8], arrival: Arrival<'_>) {
        match arrival {
            Arrival::Plain(packet, plain) => {
                let key = plain.key(Direction::In);
                let recent = self.recent(key);
                match known_as(&recent, key) {
                    Some(traced) if plain.is_ordinary() && !traced.peer_full.get() => {
                        traced.data_in(packet, plain.payload_bytes, Some(plain.ack()));
                    }
                    _ => {
                        drop(recent);
                        self.unusual_received(packet, frame);
                    }
                }
            }
            Arrival::Other(packet, header) => self.other_received(packet, &header),
            Arrival::Refused | Arrival::Untraced => {}
        }
    }

    /// A segment was delivered that is not as most are.
    #[cold]
    #[inline(never)]
    fn unusual_received(&self, packet: Packet, frame: &[u8]) {
        if let Header::Tcp(segment) = Header::parse(frame, Direction::In) {
            self.with(&segment.connection, |traced| traced.segment_in(packet, &segment));
        }
    }

    /// A frame was delivered that is no plain segment.
    #[inline(never)]
    fn other_received(&self, packet: Packet, header: &Header<'_>) {
        match header {
            Header::Tcp(segment) => {
                self.with(&segment.connection, |traced| traced.segment_in(packet, segment));
            }
            Header::Udp { local_port, .. } => self.datagram_received(packet, *local_port),
            Header::Icmp | Header::Arp | Header::Other => {}
        }
    }

    fn datagram_received(&self, packet: Packet, local_port: u16) {
        match self.datagrams.borrow().get(&local_port) {
            Some(unread) => {
                flow_step!(level: Debug, "net.rx.udp", id = packet);
                if let Some(oldest) = unread.push(packet) {
                    flow_end!("net.rx.udp", id = oldest);
                }
            }
            None => flow_end!("net.rx.udp", id = packet),
        }
    }

    /// A task has read a datagram.
    pub(super) fn read_datagram(&self, port: u16) {
        if let Some(unread) = self.datagrams.borrow().get(&port)
            && let Some(oldest) = unread.pop()
        {
            flow_end!("net.read", id = oldest);
        }
    }

    /// A task has written to the connection: the packet begins that will carry the first of it.
    pub(super) fn write(&self, traced: &Traced) {
        if fata_probe::ENABLED && traced.written.get().is_none() {
            let packet = self.next();
            traced.written.set(Some(packet));
            flow_begin!("net.write", id = packet);
        }
    }

    /// The stack has made `frame` and hands it to the device.
    #[inline(always)]
    pub(super) fn sent(&self, frame: &[u8]) {
        if !fata_probe::ENABLED {
            return;
        }
        match self.sent_in_order(frame) {
            Some((plain, Carried(packet))) => {
                self.say_sent(packet, || Some(plain.ports(Direction::Out)), plain.payload_bytes, frame.len());
            }
            None => self.unusual_sent(frame),
        }
        flow_begin!(category: WIRE_CATEGORY, "wire.tx", id = FlowId(identity(frame)));
    }

    /// `frame` as a segment like most, and the packet that it carries; `None` says nothing.
    #[inline(always)]
    fn sent_in_order<'a>(&self, frame: &'a [u8]) -> Option<(Plain<'a>, Carried)> {
        let plain = Plain::of(frame)?;
        let key = plain.key(Direction::Out);
        let carried = known_as(&self.recent(key), key)?.data_out(&plain)?;
        Some((plain, carried))
    }

    /// Whoever has a number first begins a flow, so that no arrow comes from the last packet of that number.
    #[inline(always)]
    fn say_sent(
        &self,
        carried: Option<Packet>,
        ports: impl Fn() -> Option<(u16, u16)>,
        payload_bytes: usize,
        bytes: usize,
    ) {
        let step = |packet| {
            if let Some((local_port, remote_port)) = ports() {
                flow_step!(level: Debug, "net.tx.ip", id = packet, local_port = local_port, remote_port = remote_port);
            }
        };
        if let Some(packet) = carried {
            flow_step!(level: Debug, "net.tx.tcp", id = packet, payload_bytes = payload_bytes);
            step(packet);
            flow_end!("net.tx", id = packet, bytes = bytes);
        } else {
            let packet = self.next();
            flow_begin!("net.tx", id = packet, bytes = bytes);
            step(packet);
        }
    }

    #[cold]
    #[inline(never)]
    fn unusual_sent(&self, frame: &[u8]) {
        let header = Header::parse(frame, Direction::Out);
        let (mut carried, mut payload_bytes) = (None, 0);
        if let Header::Tcp(segment) = &header {
            carried = self.with(&segment.connection, |traced| self.segment_out(traced, segment)).flatten();
            payload_bytes = segment.payload_bytes;
        }
        self.say_sent(carried, || header.ports(), payload_bytes, frame.len());
    }

    /// The packet that a task's write began, if this segment carries the first of it.
    fn segment_out(&self, traced: &Traced, segment: &Segment<'_>) -> Option<Packet> {
        self.say(traced, segment);
        if segment.payload_bytes == 0 { None } else { traced.written.take() }
    }

    /// What an outgoing segment says of its connection.
    fn say(&self, traced: &Traced, segment: &Segment<'_>) {
        let (local_port, remote_port) = (segment.connection.local_port, segment.connection.remote_port);
        let full = segment.closes_window();
        if full && !traced.self_full.get() {
            instant!("tcp.zero_window", remote = false, local_port = local_port, remote_port = remote_port);
        }
        traced.self_full.set(full);
        let len = segment.len();
        let end = segment.seq() + len;
        match traced.sent.get() {
            Some(sent) if len > 0 && segment.seq() < sent && end <= sent => {
                if traced.acked.get() == Some(sent) && segment.payload_bytes <= 1 {
                    instant!(level: Debug, "tcp.keep_alive", local_port = local_port, remote_port = remote_port);
                } else if traced.peer_full.get() && segment.payload_bytes == 1 {
                    instant!(level: Debug, "tcp.window_probe", local_port = local_port, remote_port = remote_port);
                } else {
                    self.retransmits.set(self.retransmits.get() + 1);
                    instant!(level: Warn, "tcp.retransmit", bytes = segment.payload_bytes, local_port = local_port, remote_port = remote_port);
                    counter!("tcp.retransmits", count = self.retransmits.get());
                }
            }
            Some(sent) => traced.sent.set(Some(sent.max(end))),
            None if len > 0 => traced.sent.set(Some(end)),
            None => {}
        }
    }
}

impl Traced {
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
    fn data_in(&self, packet: Packet, payload_bytes: usize, ack: Option<TcpSeqNumber>) {
        if payload_bytes > 0 {
            flow_step!(level: Debug, "net.rx.tcp", id = packet);
            if let Some(oldest) = self.unread.push(packet) {
                flow_end!("net.rx.tcp", id = oldest);
            }
        }
        if let Some(ack) = ack {
            self.acked.set(Some(self.acked.get().map_or(ack, |acked| acked.max(ack))));
        }
    }

    /// The packet that an outgoing segment carries, if the segment says nothing but that: it is the next in order.
    #[inline(always)]
    fn data_out(&self, plain: &Plain<'_>) -> Option<Carried> {
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
    fn segment_in(&self, packet: Packet, segment: &Segment<'_>) {
        self.data_in(packet, segment.payload_bytes, segment.ack());
        let full = segment.closes_window();
        if full && !self.peer_full.get() {
            let Connection { local_port, remote_port, .. } = segment.connection;
            instant!("tcp.zero_window", remote = true, local_port = local_port, remote_port = remote_port);
        }
        self.peer_full.set(full);
    }
}

/// What a frame is, on its way to the stack.
pub(super) enum Arrival<'a> {
    /// It asks for a connection that nobody has room for.
    Refused,
    /// There are no probes.
    Untraced,
    /// A segment like most.
    Plain(Packet, Plain<'a>),
    /// Anything else.
    Other(Packet, Header<'a>),
}

/// Says what `frame` is before the stack has it, which is no plain segment.
#[inline(never)]
fn other_arrival(packet: Packet, frame: &[u8]) -> Arrival<'_> {
    let header = Header::parse(frame, Direction::In);
    match header {
        Header::Icmp => flow_end!("net.rx.icmp", id = packet),
        Header::Arp => flow_end!("net.rx.arp", id = packet),
        Header::Other => flow_end!("net.rx.other", id = packet),
        Header::Tcp(_) | Header::Udp { .. } => {}
    }
    if let Some((local_port, remote_port)) = header.ports() {
        flow_step!(level: Debug, "net.rx.ip", id = packet, local_port = local_port, remote_port = remote_port);
    }
    Arrival::Other(packet, header)
}

/// The packet of which a segment carries the first, where it does.
struct Carried(Option<Packet>);

/// What is known of the connection with this key, if that is the one looked for lately; `None` says nothing.
#[inline(always)]
fn known_as(recent: &Option<Known>, key: u64) -> Option<&Traced> {
    recent.as_ref().filter(|known| known.key == key).map(|known| &*known.traced)
}

/// Clients count their ports up, so that neighbours in time are neighbours here.
#[inline(always)]
fn recent_index(connection: &Connection) -> usize {
    usize::from(connection.remote_port ^ connection.local_port) % RECENT
}

/// The same of a connection's key, in which the ports lie as in a segment: the more significant byte first.
#[inline(always)]
fn recent_index_of_key(key: u64) -> usize {
    let [a, b, c, d, ..] = key.to_le_bytes();
    usize::from(u16::from_be_bytes([a, b]) ^ u16::from_be_bytes([c, d])) % RECENT
}
