//! The one place that turns the network's crank: frames in, sockets cared for, frames out.
//!
//! Invariant: whoever changes a socket calls [`Stack::touch`], and the network's task turns before it sleeps; so what a
//! socket has to send is never left lying.
//!
//! ```text
//!   task ──read/write──► socket ──touch──► net task: turn ──► device
//!     ▲                    │                   ▲
//!     └───── waker ────────┘                   └── interrupt, timer
//! ```
//! Bounded: at most [`Limits::tcp_sockets`] TCP sockets of [`RECEIVE_BYTES`] + [`SEND_BYTES`] each. At the limit a new
//! connection is not answered (the client asks again), and `tcp_connect` fails.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::task::Waker;

use fata_probe::{counter, span};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, State};
use smoltcp::socket::{Socket, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress};

use super::config::Config;
use super::device::{Driver, Nic, Traced};
use super::error::NetError;
use super::flows::Flows;
use super::header::Connection;
use super::listener::Backlog;

/// What a TCP connection may have received and not read.
pub const RECEIVE_BYTES: usize = 16 * 1024;
/// What it may have written and not been acknowledged.
pub const SEND_BYTES: usize = 32 * 1024;
/// Frames taken in before other tasks get their turn.
const FRAMES_PER_TURN: usize = 256;
/// Connections that only wait for a stray segment, oldest first; beyond this many the oldest is forgotten.
const MAX_TIME_WAIT: usize = 32;
/// How long a closed connection may take to say its last.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that is silent so long is asked whether it lives, and after the second is taken for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const DEAD_AFTER: Duration = Duration::from_secs(150);
/// The queues' lengths are recorded at most so often, when there is a turn anyway,
const GAUGE_NANOS: u64 = 1_000_000;
/// and at least so long after the last change that was passed over: a wakeup of its own is dear.
const LAST_GAUGE_NANOS: u64 = 10_000_000;
const FIRST_LOCAL_PORT: u16 = 0xc000;

/// How much the network may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// TCP sockets, those that nobody has accepted yet included.
    pub tcp_sockets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { tcp_sockets: 256 }
    }
}

pub(super) struct Stack {
    interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    driver: Box<dyn Driver>,
    pub(super) flows: Rc<Flows>,
    pub(super) backlogs: Vec<Backlog>,
    acks: Vec<AwaitedAck>,
    closing: Vec<(SocketHandle, Connection)>,
    tcp_sockets: usize,
    limits: Limits,
    next_local_port: u16,
    next_ack: u64,
    /// A socket was changed since the last turn.
    touched: bool,
    task: Option<Waker>,
    gauges: Gauges,
}

/// A task that waits until the peer has so much.
struct AwaitedAck {
    id: u64,
    handle: SocketHandle,
    written: Rc<Cell<u64>>,
    up_to: u64,
    waker: Waker,
}

#[derive(Default)]
struct Gauges {
    receive_bytes: usize,
    send_bytes: usize,
    next_nanos: u64,
}

impl Stack {
    pub(super) fn new<D: Nic + 'static>(device: D, config: &Config, limits: Limits, now: u64) -> Self {
        let mac = device.mac();
        let flows = Rc::new(Flows::default());
        let mut driver = Traced { device, flows: Rc::clone(&flows) };
        let mut hardware = smoltcp::iface::Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        // Sequence numbers need to differ from boot to boot, no more: this network has no secrets.
        hardware.random_seed = now ^ fata_probe::ticks();
        let mut interface = Interface::new(hardware, &mut driver, instant(now));
        interface.update_ip_addrs(|addresses| {
            // There is room for four.
            addresses.extend(config.addresses(mac));
        });
        let routes = interface.routes_mut();
        // The table is empty, and a default route is one entry.
        let _ = routes.add_default_ipv4_route(config.gateway);
        let _ = routes.add_default_ipv6_route(config.gateway6);
        Stack {
            interface,
            sockets: SocketSet::new(Vec::new()),
            driver: Box::new(driver),
            flows,
            backlogs: Vec::new(),
            acks: Vec::new(),
            closing: Vec::new(),
            tcp_sockets: 0,
            limits,
            next_local_port: FIRST_LOCAL_PORT,
            next_ack: 0,
            touched: false,
            task: None,
            gauges: Gauges::default(),
        }
    }

    /// Everything that can be done now; then the time (nanoseconds) at which there is something to do without any cause.
    pub(super) fn turn(&mut self, now_nanos: u64) -> Option<u64> {
        let _span = span!(level: Debug, "net.turn");
        let now = instant(now_nanos);
        self.touched = false;
        self.interface.poll_maintenance(now);
        let mut frames = 0;
        while frames < FRAMES_PER_TURN && self.driver.ingress(now, &mut self.interface, &mut self.sockets) {
            frames += 1;
            self.tend_backlogs();
        }
        if frames == FRAMES_PER_TURN {
            self.touch();
        }
        self.driver.egress(now, &mut self.interface, &mut self.sockets);
        self.wake_acknowledged();
        self.reap();
        // Timers may have ended connections, and sockets may have become free.
        self.tend_backlogs();
        let gauge = self.gauge(now_nanos);
        let timer = self.interface.poll_at(now, &self.sockets).map(|at| {
            // "Now" means that the device is full: it wakes us.
            nanos(at).max(now_nanos + 1_000_000)
        });
        timer.into_iter().chain(gauge).min()
    }

    /// Says who turns, and has the device wake it.
    pub(super) fn set_task(&mut self, waker: &Waker) {
        self.driver.set_waker(waker);
        if !self.task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            self.task = Some(waker.clone());
        }
    }

    /// A socket was changed and may have something to send.
    pub(super) fn touch(&mut self) {
        self.touched = true;
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    pub(super) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(super) fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// A TCP socket that is good for nothing yet.
    pub(super) fn add_tcp(&mut self) -> Result<SocketHandle, NetError> {
        if self.tcp_sockets >= self.limits.tcp_sockets {
            return Err(NetError::TooManySockets);
        }
        self.tcp_sockets += 1;
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = tcp::Socket::new(buffer(RECEIVE_BYTES), buffer(SEND_BYTES));
        // A task writes whole answers; waiting for more would only cost time.
        socket.set_nagle_enabled(false);
        Ok(self.sockets.add(socket))
    }

    pub(super) fn remove_tcp(&mut self, handle: SocketHandle, connection: Option<&Connection>) {
        if let Some(connection) = connection {
            self.flows.close(connection);
        }
        self.sockets.remove(handle);
        self.tcp_sockets -= 1;
    }

    /// Prepares a socket that a task is to have.
    pub(super) fn hand_over(&mut self, handle: SocketHandle) {
        let socket = self.tcp(handle);
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(DEAD_AFTER));
    }

    /// Connects a new socket.
    pub(super) fn connect(
        &mut self,
        remote: smoltcp::wire::IpEndpoint,
        timeout: Duration,
    ) -> Result<(SocketHandle, Connection), NetError> {
        let handle = self.add_tcp()?;
        let local_port = self.free_local_port();
        let connection = Connection { local_port, remote_port: remote.port, remote: remote.addr };
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.set_timeout(Some(timeout));
        if socket.connect(self.interface.context(), remote, local_port).is_err() {
            self.remove_tcp(handle, None);
            return Err(NetError::Unreachable);
        }
        self.flows.open(connection);
        self.touch();
        Ok((handle, connection))
    }

    /// A port that no socket has. There are more of them than sockets.
    pub(super) fn free_local_port(&mut self) -> u16 {
        loop {
            let port = self.next_local_port;
            self.next_local_port = port.checked_add(1).unwrap_or(FIRST_LOCAL_PORT);
            let taken = self.sockets.iter().any(|(_, socket)| match socket {
                Socket::Tcp(socket) => socket.local_endpoint().is_some_and(|local| local.port == port),
                Socket::Udp(socket) => socket.endpoint().port == port,
            });
            if !taken {
                return port;
            }
        }
    }

    pub(super) fn has_udp_port(&self, port: u16) -> bool {
        self.sockets.iter().any(|(_, socket)| matches!(socket, Socket::Udp(socket) if socket.endpoint().port == port))
    }

    /// Lets a connection end by itself once its task has let go of it.
    pub(super) fn let_go(&mut self, handle: SocketHandle, connection: Connection) {
        let socket = self.tcp(handle);
        socket.close();
        socket.set_keep_alive(None);
        socket.set_timeout(Some(CLOSE_TIMEOUT));
        self.closing.push((handle, connection));
        self.touch();
    }

    /// How much of `written` the peer has.
    pub(super) fn acknowledged(&self, handle: SocketHandle, written: u64) -> u64 {
        let queued = self.sockets.get::<tcp::Socket<'_>>(handle).send_queue();
        written - u64::try_from(queued).unwrap_or(0)
    }

    /// Wakes `waker` once the peer has `up_to` of the connection's bytes, or the connection is broken.
    pub(super) fn await_ack(&mut self, handle: SocketHandle, written: Rc<Cell<u64>>, up_to: u64, waker: Waker) -> u64 {
        self.next_ack += 1;
        self.acks.push(AwaitedAck { id: self.next_ack, handle, written, up_to, waker });
        self.next_ack
    }

    /// Takes [`await_ack`](Self::await_ack) back.
    pub(super) fn forget_ack(&mut self, id: u64) {
        self.acks.retain(|ack| ack.id != id);
    }

    fn wake_acknowledged(&mut self) {
        let sockets = &self.sockets;
        self.acks.retain(|ack| {
            let socket = sockets.get::<tcp::Socket<'_>>(ack.handle);
            let missing = ack.written.get() - ack.up_to;
            let waits = socket.is_open() && u64::try_from(socket.send_queue()).unwrap_or(0) > missing;
            if !waits {
                ack.waker.wake_by_ref();
            }
            waits
        });
    }

    fn tend_backlogs(&mut self) {
        for index in 0..self.backlogs.len() {
            // Out and in again, so that it may use the rest of the stack.
            let mut backlog = core::mem::take(&mut self.backlogs[index]);
            backlog.tend(self);
            self.backlogs[index] = backlog;
        }
    }

    /// Frees connections that have ended.
    fn reap(&mut self) {
        let mut waiting = self.closing.len();
        let mut index = 0;
        while index < self.closing.len() {
            let (handle, connection) = self.closing[index];
            let over = match self.tcp(handle).state() {
                State::Closed => true,
                State::TimeWait => waiting > MAX_TIME_WAIT,
                _ => false,
            };
            if over {
                self.closing.remove(index);
                self.remove_tcp(handle, Some(&connection));
                waiting -= 1;
            } else {
                index += 1;
            }
        }
    }

    /// Records how much the sockets and the device hold, if that has changed; the time to look again, if it is too early now.
    fn gauge(&mut self, now_nanos: u64) -> Option<u64> {
        if !fata_probe::ENABLED {
            return None;
        }
        if now_nanos < self.gauges.next_nanos {
            return Some(self.gauges.next_nanos + LAST_GAUGE_NANOS);
        }
        let (receive_bytes, send_bytes) = self.queued();
        if receive_bytes != self.gauges.receive_bytes {
            counter!("tcp.rx_queue", bytes = receive_bytes);
        }
        if send_bytes != self.gauges.send_bytes {
            counter!("tcp.tx_queue", bytes = send_bytes);
        }
        let device_changed = self.driver.gauge();
        if device_changed || (receive_bytes, send_bytes) != (self.gauges.receive_bytes, self.gauges.send_bytes) {
            self.gauges = Gauges { receive_bytes, send_bytes, next_nanos: now_nanos + GAUGE_NANOS };
        }
        None
    }

    fn queued(&self) -> (usize, usize) {
        self.sockets.iter().fold((0, 0), |(receive, send), (_, socket)| match socket {
            Socket::Tcp(socket) => (receive + socket.recv_queue(), send + socket.send_queue()),
            Socket::Udp(socket) => (receive + socket.recv_queue(), send + socket.send_queue()),
        })
    }
}

fn instant(nanos: u64) -> Instant {
    Instant::from_micros(i64::try_from(nanos / 1000).unwrap_or(i64::MAX))
}

/// A little late rather than a little early.
fn nanos(instant: Instant) -> u64 {
    u64::try_from(instant.total_micros()).unwrap_or(0).saturating_mul(1000)
}
