//! What a task waits for on the network, by name: one event each time it begins to wait.

use crate::Name;
use crate::executor::events;
use crate::name;

pub(super) const READ: fn() -> Name = || name!("tcp.read");
pub(super) const WRITE: fn() -> Name = || name!("tcp.write");
pub(super) const ACCEPT: fn() -> Name = || name!("tcp.accept");
pub(super) const ACK: fn() -> Name = || name!("tcp.ack");
pub(super) const CONNECT: fn() -> Name = || name!("tcp.connect");
pub(super) const DATAGRAM: fn() -> Name = || name!("udp.read");
pub(super) const SEND_DATAGRAM: fn() -> Name = || name!("udp.write");

/// One wait, which is announced when it turns out that there is something to wait for.
pub(super) struct For {
    name: Option<fn() -> Name>,
}

impl For {
    pub(super) fn new(name: fn() -> Name) -> Self {
        For { name: Some(name) }
    }

    /// A wait that goes along with another.
    pub(super) fn silent() -> Self {
        For { name: None }
    }

    /// The task is about to wait. Only the first call of a wait says so.
    pub(super) fn begin(&mut self) {
        if let Some(name) = self.name.take() {
            events::wait_for(name());
        }
    }
}
