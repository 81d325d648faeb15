//! The loop behind the [forwarder](super::forward): one turn reads frames, lets its stack digest them, carries bytes
//! between clients and the stack, writes frames, and sleeps until something can move.
//!
//! Invariant: descriptors are watched edge-triggered, so a `readable` or `writable` that is true stays true until the
//! operating system said "would block"; a turn that could not use it (a full buffer) finds it again next turn.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities};
use smoltcp::socket::Socket;
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, IpEndpoint};

use super::forward::Network;
use super::frames::{FrameReader, FrameWriter};
use crate::net;

/// Clients served at a time.
pub(super) const MAX_CLIENTS: usize = 1024;
const SOCKET_BUFFER_BYTES: usize = 64 * 1024;
/// How long the guest may take to accept a connection, and to acknowledge its end. In between a silent guest is no
/// broken one, and a dead one takes its cable with it.
const GUEST_TIMEOUT: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(30);
const FIRST_LOCAL_PORT: u16 = 0xc000;
const CABLE: u64 = u64::MAX;
/// Event keys below are listeners, from here on clients.
const FIRST_CLIENT: u64 = 1 << 16;

/// See the [module](self).
pub(super) struct Gateway {
    epoll: OwnedFd,
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    listeners: Vec<Published>,
    clients: BTreeMap<u64, Client>,
    /// Sockets without a client that have a last segment to send.
    ending: Vec<SocketHandle>,
    next_key: u64,
    next_port: u16,
    network: Network,
    started: std::time::Instant,
}

struct Published {
    listener: TcpListener,
    guest_port: u16,
    readable: bool,
}

struct Client {
    stream: TcpStream,
    socket: SocketHandle,
    readable: bool,
    writable: bool,
    /// The client's end is among what can be read: there will be no further edge.
    hung_up: bool,
    /// The guest has accepted the connection.
    connected: bool,
    /// The client has sent its last byte.
    client_done: bool,
    /// The guest has, and the client was told.
    guest_done: bool,
}

/// Whether a client is still to be served.
#[derive(PartialEq, Eq)]
enum Fate {
    Open,
    /// Both sides have said everything.
    Finished,
    /// One side broke off.
    Reset,
}

impl Gateway {
    /// A gateway that will publish each listener's connections on the guest's port beside it.
    pub(super) fn new(cable: UnixStream, network: Network, listeners: Vec<(TcpListener, u16)>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        cable.set_nonblocking(true)?;
        watch(&epoll, &cable, CABLE)?;
        let mut published = Vec::new();
        for (key, (listener, guest_port)) in (0u64..).zip(listeners) {
            listener.set_nonblocking(true)?;
            watch(&epoll, &listener, key)?;
            published.push(Published { listener, guest_port, readable: true });
        }
        let mut cable = Cable {
            stream: cable,
            reader: FrameReader::new(),
            writer: FrameWriter::default(),
            readable: true,
            writable: true,
            failed: None,
        };
        // The address that QEMU's gateway has, for the same reasons: locally administered, and the IP address in it.
        let [a, b, c, d] = network.gateway.octets();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress([0x52, 0x55, a, b, c, d])));
        config.random_seed =
            std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_secs() ^ u64::from(t.subsec_nanos()));
        let mut interface = Interface::new(config, &mut cable, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // There is room for more than one address.
            let _ = addresses.push(IpCidr::new(network.gateway.into(), network.prefix_len));
        });
        Ok(Gateway {
            epoll,
            cable,
            interface,
            sockets: SocketSet::new(vec![]),
            listeners: published,
            clients: BTreeMap::new(),
            ending: Vec::new(),
            next_key: FIRST_CLIENT,
            next_port: FIRST_LOCAL_PORT,
            network,
            started: std::time::Instant::now(),
        })
    }

    /// Serves until the cable is unplugged, and says how that showed.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            let now = Instant::from_micros(i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX));
            self.interface.poll_maintenance(now);
            while self.interface.poll_ingress_single(now, &mut self.cable, &mut self.sockets)
                != PollIngressSingleResult::None
            {}
            self.carry();
            self.accept();
            while self.interface.poll_egress(now, &mut self.cable, &mut self.sockets) != PollResult::None {}
            self.reap();
            self.cable.flush();
            if let Some(error) = self.cable.failed.take() {
                return Err(error);
            }
            // With a full cable only its reader can help; the stack's own wish to send is no reason to wake up.
            let timeout =
                if self.cable.writer.has_room() { self.interface.poll_delay(now, &self.sockets) } else { None };
            self.sleep(&mut events, timeout.map(Duration::from))?;
        }
    }

    fn sleep(&mut self, events: &mut Vec<epoll::Event>, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in &*events {
            let (key, flags) = (event.data.u64(), event.flags);
            let readable = flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            let writable = flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
            if key == CABLE {
                self.cable.readable |= readable;
                self.cable.writable |= writable;
            } else if let Some(client) = self.clients.get_mut(&key) {
                client.readable |= readable;
                client.writable |= writable;
                client.hung_up |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            } else if let Some(published) = usize::try_from(key).ok().and_then(|key| self.listeners.get_mut(key)) {
                published.readable |= readable;
            }
        }
        Ok(())
    }

    /// Takes new clients in, and opens a connection to the guest for each.
    fn accept(&mut self) {
        for index in 0..self.listeners.len() {
            while self.listeners[index].readable && self.clients.len() < MAX_CLIENTS {
                // A client that there is no way to serve sees its connection closed.
                match self.listeners[index].listener.accept() {
                    Ok((stream, _)) => drop(self.open(stream, self.listeners[index].guest_port)),
                    // Nobody waits; or one gave up waiting, or no descriptor is left: the next client is the next try.
                    Err(_) => self.listeners[index].readable = false,
                }
            }
        }
    }

    fn open(&mut self, stream: TcpStream, guest_port: u16) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let key = self.next_key;
        self.next_key += 1;
        watch(&self.epoll, &stream, key)?;
        let buffer = || tcp::SocketBuffer::new(vec![0; SOCKET_BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        // The guest's measure of a request ends with this acknowledgement.
        socket.set_ack_delay(None);
        socket.set_timeout(Some(GUEST_TIMEOUT));
        let guest = IpEndpoint::new(self.network.guest.into(), guest_port);
        let local_port = self.free_local_port();
        socket.connect(self.interface.context(), guest, local_port).map_err(|_| ErrorKind::AddrNotAvailable)?;
        let client = Client {
            stream,
            socket: self.sockets.add(socket),
            readable: true,
            writable: true,
            hung_up: false,
            connected: false,
            client_done: false,
            guest_done: false,
        };
        self.clients.insert(key, client);
        Ok(())
    }

    /// A port that no connection has; there are more of them than clients.
    fn free_local_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_LOCAL_PORT);
            let taken = self.sockets.iter().any(|(_, socket)| match socket {
                Socket::Tcp(socket) => socket.local_endpoint().is_some_and(|local| local.port == port),
                Socket::Udp(_) => false,
            });
            if !taken {
                return port;
            }
        }
    }

    /// Moves what can be moved between each client and its socket.
    fn carry(&mut self) {
        let (sockets, ending) = (&mut self.sockets, &mut self.ending);
        self.clients.retain(|_, client| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(client.socket);
            match client.carry(socket) {
                Fate::Open => return true,
                Fate::Finished => {}
                Fate::Reset => {
                    // A reset instead of an orderly end: the client must not take half an answer for a whole one.
                    let _ = rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO));
                    socket.abort();
                }
            }
            socket.set_timeout(Some(GUEST_TIMEOUT));
            ending.push(client.socket);
            false
        });
    }

    /// Frees the sockets whose last segment is out. The cable loses nothing, so there is no time to wait.
    fn reap(&mut self) {
        let sockets = &mut self.sockets;
        self.ending.retain(|&handle| {
            let over = matches!(sockets.get::<tcp::Socket<'_>>(handle).state(), State::Closed | State::TimeWait);
            if over {
                sockets.remove(handle);
            }
            !over
        });
    }
}

impl Client {
    fn carry(&mut self, socket: &mut tcp::Socket<'_>) -> Fate {
        if !self.connected {
            match socket.state() {
                State::SynSent => return Fate::Open,
                // Refused, or nobody there.
                State::Closed => return Fate::Reset,
                _ => {
                    self.connected = true;
                    socket.set_timeout(None);
                }
            }
        }
        if self.carry_out(socket).is_err() || self.carry_in(socket).is_err() {
            return Fate::Reset;
        }
        match (self.client_done && self.guest_done, socket.state()) {
            (true, _) => Fate::Finished,
            (false, State::Closed) => Fate::Reset,
            (false, _) => Fate::Open,
        }
    }

    fn carry_out(&mut self, socket: &mut tcp::Socket<'_>) -> io::Result<()> {
        while self.writable && socket.can_recv() {
            let written = socket.recv(|bytes| match (&self.stream).write(bytes) {
                Ok(len) => (len, Ok(())),
                Err(error) => (0, Err(error)),
            });
            if let Ok(Err(error)) = written {
                unless_blocked(error, &mut self.writable)?;
            }
        }
        if !self.guest_done && !socket.may_recv() && !socket.can_recv() && socket.state() != State::Closed {
            self.guest_done = true;
            // A client that is gone already needs no telling.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    fn carry_in(&mut self, socket: &mut tcp::Socket<'_>) -> io::Result<()> {
        while self.readable && !self.client_done && socket.can_send() {
            let read = socket.send(|space| match (&self.stream).read(space) {
                // Less than there was room for: the next read would block, and a later byte or end is a new edge.
                Ok(len) => (len, Ok((len, len == space.len() || self.hung_up))),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok((0, _))) => {
                    self.client_done = true;
                    socket.close();
                }
                Ok(Ok((_, more))) => self.readable = more,
                Ok(Err(error)) => unless_blocked(error, &mut self.readable)?,
                // The guest's side closed in the meantime; its state says so to the caller.
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Notes that the descriptor is not `ready` any more, where `error` says only that.
fn unless_blocked(error: io::Error, ready: &mut bool) -> io::Result<()> {
    match error.kind() {
        ErrorKind::WouldBlock => *ready = false,
        ErrorKind::Interrupted => {}
        _ => return Err(error),
    }
    Ok(())
}

fn watch(epoll: &OwnedFd, source: impl AsFd, key: u64) -> io::Result<()> {
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    Ok(epoll::add(epoll, source, EventData::new_u64(key), flags)?)
}

/// The gateway's end of the cable, as a device of its stack.
struct Cable {
    stream: UnixStream,
    reader: FrameReader,
    writer: FrameWriter,
    readable: bool,
    writable: bool,
    /// How the cable came to be unplugged.
    failed: Option<io::Error>,
}

impl Cable {
    fn refill(&mut self) {
        while self.readable && !self.reader.has_frame() {
            let stream = &self.stream;
            match self.reader.fill(|space| (&*stream).read(space)) {
                Ok(0) => {
                    self.readable = false;
                    self.failed = Some(ErrorKind::UnexpectedEof.into());
                }
                Ok(_) => {}
                Err(error) => self.failed = unless_blocked(error, &mut self.readable).err().or(self.failed.take()),
            }
            if self.failed.is_some() {
                return;
            }
        }
    }

    fn flush(&mut self) {
        if self.writable {
            let stream = &self.stream;
            match self.writer.flush(|bytes| (&*stream).write(bytes)) {
                Ok(all) => self.writable = all,
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

impl phy::Device for Cable {
    type RxToken<'a> = Frame<'a>;
    type TxToken<'a> = Space<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Frame<'_>, Space<'_>)> {
        // No room for an answer, no question: the guest is held back until it reads.
        if !self.writer.has_room() {
            return None;
        }
        self.refill();
        match self.reader.next_frame() {
            Ok(frame) => Some((Frame(frame?), Space(&mut self.writer))),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }

    fn transmit(&mut self, _: Instant) -> Option<Space<'_>> {
        self.writer.has_room().then_some(Space(&mut self.writer))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        net::ethernet()
    }
}

struct Frame<'a>(&'a [u8]);

impl phy::RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Space<'a>(&'a mut FrameWriter);

impl phy::TxToken for Space<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.push(len, f)
    }
}
