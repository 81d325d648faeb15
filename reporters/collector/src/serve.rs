//! Live viewers on a socket: each has a bounded queue, and a slow one loses packets of its own and nobody else's.
//!
//! **When a viewer's queue is full** ([`QUEUE_BYTES`]) whole packets are left out for that viewer, and it is told how much
//! in a [`Frame::Lost`] before the next packet that it does get. Metadata is never left out: what it has not been told is
//! sent first. More than [`MAX_VIEWERS`] are turned away with a sentence.
//!
//! A viewer that comes late begins with the newest packets before it, as many as [`HISTORY_BYTES`] hold; and the guest is
//! asked to say again what its tasks and objects are called.
//!
//! ```text
//! drain thread ── packet ──► encode once ──► viewer 1: byte queue ──► thread ──► socket
//!                                       └──► viewer 2: byte queue ──► thread ──► socket
//! ```

mod kept;
mod viewer;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fata_wire::packet::PacketHeader;
use ringbuf::HeapRb;
use ringbuf::traits::{Observer, Producer, Split};

use self::kept::{History, Text};
use self::viewer::{Socket, Viewer, forward};
use crate::collector::Status;
use crate::frames::{Frame, PROTOCOL, encode};
use crate::sink::{Sink, SinkError};

/// How much may wait for one viewer.
pub const QUEUE_BYTES: usize = 4 << 20;
/// So many viewers at a time: their queues are most of a collector's memory.
pub const MAX_VIEWERS: usize = 8;
/// So much of what was published last is kept for viewers that come late. Less than a queue holds: nobody begins with a loss.
pub const HISTORY_BYTES: usize = 2 << 20;
/// How long a viewer may take, at the end, for what waits for it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("{0} is in use: another `fata serve` runs there; choose another --socket or --tcp")]
    InUse(String),
    /// An address that others can reach.
    #[error("{0} is not on loopback: a trace is offered on this machine alone; forward the port with ssh instead")]
    NotLoopback(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {at}: {source}")]
    Io {
        /// Where.
        at: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Offers one guest's live trace to viewers.
#[derive(Debug)]
pub struct Server {
    hello: Vec<u8>,
    unix: Option<(UnixListener, PathBuf)>,
    tcp: Option<TcpListener>,
    viewers: Vec<Viewer>,
    text: Text,
    last_status: Option<(Instant, u64, u64)>,
    buffer: Vec<u8>,
    history: History,
    /// Somebody has come since this was last asked.
    joined: bool,
    lost: u64,
}

impl Server {
    /// A server that nobody can reach yet, for the guest of these facts.
    #[must_use]
    pub fn new(guest: &str, platform: &str, uuid: [u8; 16]) -> Self {
        let mut hello = Vec::new();
        let format = fata_wire::VERSION;
        encode(
            &Frame::Hello { protocol: PROTOCOL, format, guest: guest.into(), platform: platform.into(), uuid },
            &mut hello,
        );
        Server {
            hello,
            unix: None,
            tcp: None,
            viewers: Vec::new(),
            text: Text::default(),
            last_status: None,
            buffer: Vec::new(),
            history: History::default(),
            joined: false,
            lost: 0,
        }
    }

    /// Listens on a Unix socket at `path`, for this user alone. The socket of a server that has died is replaced.
    ///
    /// # Errors
    /// [`ServeError::InUse`] where a living server listens.
    pub fn listen_unix(&mut self, path: &Path) -> Result<(), ServeError> {
        let at = path.display().to_string();
        if UnixStream::connect(path).is_ok() {
            return Err(ServeError::InUse(at));
        }
        let io = |source| ServeError::Io { at: at.clone(), source };
        match fs::symlink_metadata(path) {
            // Only a socket is ours to remove.
            Ok(metadata) if !std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
                return Err(io(io::ErrorKind::AlreadyExists.into()));
            }
            Ok(_) => fs::remove_file(path).map_err(io)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(io)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        self.unix = Some((listener, path.to_owned()));
        Ok(())
    }

    /// Listens on a TCP port of the loopback, and says which; port 0 is any free one.
    ///
    /// # Errors
    /// [`ServeError::InUse`], and [`ServeError::NotLoopback`] for an address that other machines can reach.
    pub fn listen_tcp(&mut self, address: SocketAddr) -> Result<SocketAddr, ServeError> {
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::InUse(address.to_string()),
            _ => ServeError::Io { at: address.to_string(), source },
        };
        let listener = TcpListener::bind(address).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let bound = listener.local_addr().map_err(io)?;
        self.tcp = Some(listener);
        Ok(bound)
    }

    /// Takes `socket` for a viewer, as if it had connected.
    ///
    /// # Errors
    /// Where the socket cannot be used from a second thread.
    pub fn add(&mut self, socket: UnixStream) -> io::Result<()> {
        self.welcome(Socket::Unix(socket))
    }

    /// How many viewers look on.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Packets that were left out for some viewer.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Says to all viewers why it ends, waits a little for what they have not read, and hangs up.
    pub fn end(&mut self, reason: &str) {
        let mut frame = Vec::new();
        encode(&Frame::End { reason: reason.into() }, &mut frame);
        let deadline = Instant::now() + LAST_WORDS;
        for mut viewer in std::mem::take(&mut self.viewers) {
            while !viewer.catch_up(&self.text, frame.len()) && Instant::now() < deadline && !viewer.is_gone() {
                viewer.thread.unpark();
                std::thread::sleep(Duration::from_millis(5));
            }
            viewer.push(&frame);
            // Release: pairs with the thread's Acquire; all that was pushed is there.
            viewer.over.store(true, Ordering::Release);
            viewer.thread.unpark();
            while !viewer.is_gone() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            viewer.socket.close();
            viewer.thread.unpark();
            if let Some(handle) = viewer.handle.take() {
                let _ = handle.join();
            }
        }
    }

    fn accept(&mut self) {
        loop {
            let socket = if let Some(Ok((socket, _))) = self.unix.as_ref().map(|(listener, _)| listener.accept()) {
                Socket::Unix(socket)
            } else if let Some(Ok((socket, _))) = self.tcp.as_ref().map(TcpListener::accept) {
                Socket::Tcp(socket)
            } else {
                return;
            };
            // A viewer that is gone again is none.
            let _ = self.welcome(socket);
        }
    }

    fn welcome(&mut self, mut socket: Socket) -> io::Result<()> {
        match &socket {
            Socket::Unix(socket) => socket.set_nonblocking(false)?,
            Socket::Tcp(socket) => socket.set_nonblocking(false)?,
        }
        if self.viewers.len() >= MAX_VIEWERS {
            let mut frames = self.hello.clone();
            let reason = format!("{MAX_VIEWERS} viewers look on already: close one first");
            encode(&Frame::End { reason: reason.into() }, &mut frames);
            socket.write(&frames)?;
            socket.close();
            return Ok(());
        }
        let (mut queue, from) = HeapRb::new(QUEUE_BYTES).split();
        queue.push_slice(&self.hello);
        let (gone, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let own = socket.try_clone()?;
        let handle = std::thread::Builder::new().name("viewer".to_owned()).stack_size(128 << 10).spawn({
            let (gone, over) = (Arc::clone(&gone), Arc::clone(&over));
            move || {
                forward(from, socket, &over);
                // Release: pairs with the drain thread's Acquire.
                gone.store(true, Ordering::Release);
            }
        })?;
        let thread = handle.thread().clone();
        let mut viewer =
            Viewer { queue, thread, handle: Some(handle), gone, over, socket: own, told_bytes: 0, lost: (0, 0, 0) };
        if viewer.catch_up(&self.text, 0) {
            for frame in self.history.newest(viewer.queue.vacant_len()) {
                viewer.push(frame);
            }
        }
        viewer.thread.unpark();
        self.viewers.push(viewer);
        self.joined = true;
        Ok(())
    }

    /// Hands a frame to every viewer that has room; `packet` says what is lost where it has none.
    fn broadcast(&mut self, frame: &[u8], packet: Option<(u64, u64)>) {
        self.viewers.retain(|viewer| !viewer.is_gone());
        for viewer in &mut self.viewers {
            if viewer.catch_up(&self.text, frame.len()) {
                viewer.push(frame);
            } else if let Some((events, bytes)) = packet {
                viewer.lost = (viewer.lost.0 + 1, viewer.lost.1 + events, viewer.lost.2 + bytes);
                self.lost += 1;
            }
            viewer.thread.unpark();
        }
    }
}

impl Sink for Server {
    fn metadata(&mut self, _uuid: [u8; 16], text: &str) -> Result<(), SinkError> {
        self.text.push(text.as_bytes());
        self.accept();
        self.broadcast(&[], None);
        Ok(())
    }

    fn packet(&mut self, _stream: u32, packet: &[u8]) -> Result<(), SinkError> {
        let events = PacketHeader::parse(packet).map_or(0, |header| header.events);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        encode(&Frame::Packet(packet.into()), &mut buffer);
        self.history.keep(&buffer);
        self.broadcast(&buffer, Some((events, packet.len() as u64)));
        self.buffer = buffer;
        Ok(())
    }

    fn tick(&mut self, status: &Status) -> Result<(), SinkError> {
        self.accept();
        let now = Instant::now();
        let totals = &status.totals;
        let (then, events, bytes) =
            self.last_status.replace((now, totals.events, totals.bytes)).unwrap_or((now, totals.events, totals.bytes));
        let millis = u64::try_from(now.duration_since(then).as_millis()).unwrap_or(u64::MAX).max(1);
        let per_second = |n: u64| n.saturating_mul(1000) / millis;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let frame = Frame::Status {
            state: status.state.text().into(),
            events_per_second: per_second(totals.events - events),
            bytes_per_second: per_second(totals.bytes - bytes),
            events: totals.events,
            discarded: totals.discarded,
        };
        encode(&frame, &mut buffer);
        self.broadcast(&buffer, None);
        self.buffer = buffer;
        Ok(())
    }

    fn has_joined(&mut self) -> bool {
        std::mem::take(&mut self.joined)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end("the collector ended");
        if let Some((_, path)) = &self.unix {
            let _ = fs::remove_file(path);
        }
    }
}
