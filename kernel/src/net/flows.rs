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
use core::cell::{Cell, RefCell};

use fata_probe::{FlowId, Kind, Packet, counter, event, flow_begin, flow_end, flow_step, instant};
use fata_wire::shared::WIRE_CATEGORY;

use super::header::{Connection, Direction, Header, Plain, Segment};
use super::identity::identity;
use super::traced::{Carried, Traced};
use super::unread::Unread;

/// Packet numbers are 1 to this.
const LAST_PACKET: u16 = 0x7fff;
/// Every segment is looked up, and a search in a tree would cost more than all the events of its packet.
const RECENT: usize = 1024;

/// What the tracer knows; shared by the device's wrapper and the sockets.
pub(super) struct Flows {
    last: Cell<u16>,
    connections: RefCell<BTreeMap<Connection, Rc<Traced>>>,
    /// Connections that were looked for lately, each where [`recent_index`] says, but for the moment in which it is looked at.
    recent: [Cell<Option<Rc<Traced>>>; RECENT],
    /// Datagrams that were received and not read, by port.
    datagrams: RefCell<BTreeMap<u16, Unread>>,
    /// Ports whose backlog is full.
    full_ports: RefCell<Vec<u16>>,
    retransmits: Cell<u64>,
    overflows: Cell<u64>,
}

impl Default for Flows {
    fn default() -> Self {
        Flows {
            last: Cell::new(0),
            connections: RefCell::default(),
            recent: [const { Cell::new(None) }; RECENT],
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
            self.connections.borrow_mut().insert(connection, Rc::new(Traced::new(connection)));
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
        let known = recent.take().filter(|known| known.connection == *connection);
        let known = known.or_else(|| self.find(connection))?;
        let result = use_it(&known);
        recent.set(Some(known));
        Some(result)
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
            return Arrival::Said;
        }
        let packet = self.next();
        flow_begin!("net.rx", id = packet, bytes = frame.len());
        flow_end!(category: WIRE_CATEGORY, "wire.rx", id = FlowId(identity(frame)));
        let Some(plain) = Plain::of(frame) else { return other_arrival(packet, frame) };
        let is_detailed = event!(
            Kind::FlowStep, level: Debug, "net.rx.ip", id = packet,
            local_port = plain.ports(Direction::In).0, remote_port = plain.ports(Direction::In).1
        );
        if !is_detailed && self.arrives_in_order(packet, &plain) {
            return Arrival::Said;
        }
        let is_known = self.unusual_arrival(packet, frame);
        if is_detailed && is_known && plain.payload_bytes > 0 { Arrival::Detailed(packet) } else { Arrival::Said }
    }

    /// Takes in a segment like most, of a connection that was looked for lately; `false` says nothing.
    #[inline(always)]
    fn arrives_in_order(&self, packet: Packet, plain: &Plain<'_>) -> bool {
        let key = plain.key(Direction::In);
        let recent = &self.recent[recent_index_of_key(key)];
        let Some(known) = recent.take() else { return false };
        let is_ordinary = known.key == key && plain.is_ordinary() && !known.peer_full.get();
        if is_ordinary {
            known.data_in(packet, plain.payload_bytes, Some(plain.ack()));
        }
        recent.set(Some(known));
        is_ordinary
    }

    /// The stack has had `frame`.
    #[inline(always)]
    pub(super) fn received(&self, arrival: Arrival<'_>) {
        match arrival {
            Arrival::Refused | Arrival::Said => {}
            Arrival::Detailed(packet) => say_delivered(packet),
            Arrival::Other(packet, header) => self.other_received(packet, &header),
        }
    }

    /// A segment arrives that is not as most are. Whether it is of a connection.
    #[cold]
    #[inline(never)]
    fn unusual_arrival(&self, packet: Packet, frame: &[u8]) -> bool {
        let Header::Tcp(segment) = Header::parse(frame, Direction::In) else { return false };
        self.with(&segment.connection, |traced| traced.segment_in(packet, &segment)).is_some()
    }

    /// A frame was delivered that is no plain segment.
    #[inline(never)]
    fn other_received(&self, packet: Packet, header: &Header<'_>) {
        match header {
            Header::Tcp(segment) => {
                self.with(&segment.connection, |traced| {
                    if segment.payload_bytes > 0 {
                        say_delivered(packet);
                    }
                    traced.segment_in(packet, segment);
                });
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
        let recent = &self.recent[recent_index_of_key(key)];
        let known = recent.take()?;
        let carried = if known.key == key { known.data_out(&plain) } else { None };
        recent.set(Some(known));
        Some((plain, carried?))
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
            // Both steps are on, or neither.
            if event!(Kind::FlowStep, level: Debug, "net.tx.tcp", id = packet, payload_bytes = payload_bytes) {
                step(packet);
            }
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

/// A frame on its way to the stack, and what is to be said of it afterwards.
pub(super) enum Arrival<'a> {
    /// It asks for a connection that nobody has room for.
    Refused,
    /// Nothing.
    Said,
    /// That the stack is done with a segment that brings data.
    Detailed(Packet),
    /// What becomes of a frame that is no segment like most.
    Other(Packet, Header<'a>),
}

/// The stack is done with a segment that brings data.
#[cold]
#[inline(never)]
fn say_delivered(packet: Packet) {
    flow_step!(level: Debug, "net.rx.tcp", id = packet);
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
