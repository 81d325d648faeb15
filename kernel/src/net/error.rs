//! What may go wrong on the network, as decisions for whoever called.

use core::fmt;

use super::config::BadAddress;

/// Why a network operation did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetError {
    /// The guest was started without a network device.
    NoDevice,
    /// The guest's addresses cannot be read.
    BadAddress(BadAddress),
    /// Another socket of this guest has the port.
    PortInUse(u16),
    /// There are as many sockets as this guest may have; try again when one is closed.
    TooManySockets,
    /// Nobody listens there.
    Refused,
    /// The other side does not answer, or stopped to.
    TimedOut,
    /// The other side broke the connection off, or this side did.
    Reset,
    /// There is no way to that address.
    Unreachable,
    /// The datagram is longer than the socket's buffer, or than the device can carry.
    TooLong,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetError::NoDevice => {
                f.write_str("this guest has no network: start it with a published port (publish=8080:80) or a link")
            }
            NetError::BadAddress(error) => error.fmt(f),
            NetError::PortInUse(port) => write!(f, "port {port} of this guest is in use by another of its sockets"),
            NetError::TooManySockets => {
                f.write_str("this guest has as many sockets as it may: close one, or raise `sockets=`")
            }
            NetError::Refused => f.write_str("nobody listens at that address"),
            NetError::TimedOut => f.write_str("the other side does not answer"),
            NetError::Reset => f.write_str("the connection was broken off"),
            NetError::Unreachable => f.write_str("there is no way to that address from this guest's network"),
            NetError::TooLong => f.write_str("the datagram is longer than this socket can send"),
        }
    }
}

impl core::error::Error for NetError {}
