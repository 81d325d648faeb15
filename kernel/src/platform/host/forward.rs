//! The built-in gateway: publishes ports of a guest on this machine's loopback, so that `curl` reaches a guest with no root
//! and no package. It is a router with a TCP/IP stack of its own at the far end of the guest's cable: for each client it
//! opens a connection to the guest and carries bytes both ways.
//!
//! Full: nothing is discarded. A side that does not read fills its stack's buffer, its window closes, and the other side
//! is no longer read from. Beyond [`gateway::MAX_CLIENTS`](super::gateway::MAX_CLIENTS) clients, the operating system's accept queue holds the next ones.
//! A half-closed connection stays open the other way; a reset is passed on as a reset.
//!
//! It runs on a thread of its own, sleeps when there is nothing to do, and records nothing.
//!
//! ```text
//! let (cable, gateway_end) = UnixStream::pair()?;
//! let addresses = forward::start(gateway_end, Network::default(), &["8080:80".parse()?])?;
//! ```

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::thread;
use std::vec::Vec;

use super::gateway::Gateway;

/// One port to publish, written `HOST:GUEST`; host port 0 is any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    /// The port on 127.0.0.1.
    pub(crate) host_port: u16,
    /// The guest's TCP port.
    pub(crate) guest_port: u16,
}

/// The addresses of the guest's network, which has two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// The guest.
    pub(super) guest: Ipv4Addr,
    /// The gateway, which is this forwarder.
    pub(super) gateway: Ipv4Addr,
    /// How many leading bits the two have in common.
    pub(super) prefix_len: u8,
}

impl Default for Network {
    /// What QEMU's user networking has.
    fn default() -> Self {
        Network { guest: Ipv4Addr::new(10, 0, 2, 15), gateway: Ipv4Addr::new(10, 0, 2, 2), prefix_len: 24 }
    }
}

/// Why nothing was published.
#[derive(Debug)]
pub(super) enum ForwardError {
    /// Someone else has the port: choose another, or 0.
    PortInUse(u16),
    /// The port is below 1024 and this user may not have it.
    NotAllowed(u16),
    /// Anything else the operating system objects to.
    Io(io::Error),
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardError::PortInUse(port) => {
                write!(
                    f,
                    "port {port} of 127.0.0.1 is in use by another program; publish another, or 0 for any free one"
                )
            }
            ForwardError::NotAllowed(port) => {
                write!(f, "this user may not publish port {port} of 127.0.0.1; publish one above 1023")
            }
            ForwardError::Io(error) => write!(f, "the guest's ports cannot be published: {error}"),
        }
    }
}

impl std::error::Error for ForwardError {}

impl From<io::Error> for ForwardError {
    fn from(error: io::Error) -> Self {
        ForwardError::Io(error)
    }
}

/// A port to publish was not written `HOST:GUEST`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAPublish;

impl fmt::Display for NotAPublish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a published port is written HOST:GUEST, for example 8080:80, or 0:80 for any free port of the host",
        )
    }
}

impl std::error::Error for NotAPublish {}

impl FromStr for Publish {
    type Err = NotAPublish;

    fn from_str(text: &str) -> Result<Self, NotAPublish> {
        let (host, guest) = text.split_once(':').ok_or(NotAPublish)?;
        let host_port = host.parse().map_err(|_| NotAPublish)?;
        match guest.parse() {
            Ok(0) | Err(_) => Err(NotAPublish),
            Ok(guest_port) => Ok(Publish { host_port, guest_port }),
        }
    }
}

/// Publishes ports of the guest at the other end of `cable`; the addresses, in the order of `publish`.
///
/// # Errors
/// [`ForwardError`]; nothing is published then.
pub(super) fn start(cable: UnixStream, network: Network, publish: &[Publish]) -> Result<Vec<SocketAddr>, ForwardError> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for &Publish { host_port, guest_port } in publish {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, host_port)).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ForwardError::PortInUse(host_port),
            io::ErrorKind::PermissionDenied => ForwardError::NotAllowed(host_port),
            _ => ForwardError::Io(error),
        })?;
        addresses.push(listener.local_addr()?);
        listeners.push((listener, guest_port));
    }
    let gateway = Gateway::new(cable, network, listeners)?;
    thread::Builder::new().name("fata-gateway".into()).spawn(move || {
        // Its end is the cable's end: the guest is gone, and so are its clients.
        let _ = gateway.run();
    })?;
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_port_that_is_taken_is_named_in_the_error() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host_port = taken.local_addr().unwrap().port();
        let (cable, _guest) = UnixStream::pair().unwrap();
        let error = start(cable, Network::default(), &[Publish { host_port, guest_port: 80 }]).unwrap_err();
        assert!(matches!(error, ForwardError::PortInUse(port) if port == host_port));
        assert!(error.to_string().contains(&host_port.to_string()), "{error}");
    }

    #[test]
    fn what_is_not_two_ports_is_refused() {
        assert_eq!("8080:80".parse(), Ok(Publish { host_port: 8080, guest_port: 80 }));
        assert_eq!("0:80".parse(), Ok(Publish { host_port: 0, guest_port: 80 }));
        for text in ["80", "8080:", "8080:0", ":80", "8080:http", "65536:80", "-1:80", "127.0.0.1:8080:80"] {
            assert_eq!(text.parse::<Publish>(), Err(NotAPublish), "{text}");
        }
    }
}
