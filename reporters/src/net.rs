//! Connections to receivers that may be down, slow, half-open or hostile.
//!
//! Invariant: no call takes longer than [`CALL_TIME`], nothing that a peer sends is kept, and between two attempts to connect
//! there is a pause, which doubles up to [`LONGEST_PAUSE`].

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::string::String;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

pub(crate) mod http;
pub(crate) mod tls;

/// The longest that one call may wait for a peer.
pub(crate) const CALL_TIME: Duration = Duration::from_secs(3);
/// A peer that acknowledges nothing for so long is gone, though no packet ever said so.
const SILENCE_MILLIS: u32 = 20_000;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What a peer says before a call is read so far and thrown away.
const READ_STEPS: usize = 16;

/// When the next attempt may be made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    pause: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// How long there is still to wait.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    pub(crate) fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = Some(Instant::now() + self.pause);
    }

    pub(crate) fn worked(&mut self) {
        *self = Backoff::default();
    }
}

/// A stream to a receiver.
pub(crate) enum Link {
    /// In the clear.
    Tcp(TcpStream),
    /// Encrypted.
    Tls(std::boxed::Box<tls::Stream>),
}

/// Where a stream goes.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// `HOST:PORT`.
    pub(crate) host_and_port: String,
    /// Encrypted, trusting whom this says.
    pub(crate) tls: Option<tls::Trust>,
}

impl Link {
    /// Connects within [`CALL_TIME`].
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        let stream = connect(&address.host_and_port)?;
        if let Some(trust) = &address.tls {
            return Ok(Link::Tls(tls::wrap(stream, &address.host_and_port, trust)?));
        }
        Ok(Link::Tcp(stream))
    }

    /// Throws away what the peer has sent, and fails where it has closed: a write would still succeed, and be lost.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self {
            Link::Tcp(stream) => drain(stream),
            Link::Tls(stream) => tls::drain(stream),
        }
    }
}

impl Read for Link {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Tcp(stream) => stream.read(bytes),
            Link::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Link::Tcp(stream) => stream.write(bytes),
            Link::Tls(stream) => stream.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Link::Tcp(stream) => stream.flush(),
            Link::Tls(stream) => stream.flush(),
        }
    }
}

fn connect(host_and_port: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in host_and_port.to_socket_addrs()?.take(4) {
        match TcpStream::connect_timeout(&address, CALL_TIME) {
            Ok(stream) => {
                stream.set_read_timeout(Some(CALL_TIME))?;
                stream.set_write_timeout(Some(CALL_TIME))?;
                stream.set_nodelay(true)?;
                rustix::net::sockopt::set_tcp_user_timeout(&stream, SILENCE_MILLIS)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn drain(stream: &TcpStream) -> io::Result<()> {
    let mut bytes = [0; 512];
    for _ in 0..READ_STEPS {
        match rustix::net::recv(stream, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(closed()),
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    // One that talks without end is let talk: its window fills, and then it waits.
    Ok(())
}

pub(crate) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the receiver closed the connection")
}

/// Whether an error says that a call took too long, rather than that the connection is gone.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_ends_with_success() {
        let mut backoff = Backoff::default();
        assert!(backoff.left().is_none());
        for _ in 0..20 {
            backoff.failed();
            assert!(backoff.left().is_some_and(|left| left <= LONGEST_PAUSE));
        }
        assert_eq!(backoff.pause, LONGEST_PAUSE);
        backoff.worked();
        assert!(backoff.left().is_none());
    }
}
