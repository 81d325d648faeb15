//! The network: smoltcp's TCP/IP behind an async interface, with a probe at every layer.
//!
//! 1. **One task turns the stack** (`net`): when a frame arrives, a timer is due, or a socket was written to. Nothing else
//!    touches the device.
//! 2. **Every queue is bounded**, and its module says first what happens when it is full.
//! 3. **Every packet has a number** that links device, stack and task in the trace: see `flows.rs`.
//!
//! ```no_run
//! # use fata_kernel::{Guest, net::NetError};
//! # async fn serve(guest: Guest) -> Result<(), NetError> {
//! let listener = guest.net().tcp_listen(7)?;
//! loop {
//!     let stream = listener.accept().await;
//!     let mut buffer = [0; 1024];
//!     while let len @ 1.. = stream.read(&mut buffer).await? {
//!         stream.write_all(&buffer[..len]).await?;
//!     }
//! }
//! # }
//! ```

mod config;
pub(crate) mod device;
mod error;
mod flows;
mod header;
mod identity;
mod listener;
mod stack;
mod tcp;
#[cfg(test)]
mod tests;
mod traced;
mod udp;
mod unread;
mod wait;

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

use fata_probe::{instant, wait};

pub use config::{BadAddress, Config};
pub use device::Nic;
pub(crate) use device::ethernet;
pub use error::NetError;
pub use identity::identity;
pub use listener::Listener;
/// The stack's addresses, which are the standard library's with a port.
pub use smoltcp::wire::{IpAddress, IpEndpoint};
pub use stack::{Limits, RECEIVE_BYTES, SEND_BYTES};
pub use tcp::TcpStream;
pub use udp::UdpSocket;

use crate::executor::events;
use crate::{Guest, LocalBoxFuture, name};
use stack::Stack;

/// How long `tcp_connect` waits for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The guest's network. Clones are the same network.
#[derive(Clone)]
pub struct Net {
    stack: Result<Rc<RefCell<Stack>>, NetError>,
}

impl Net {
    /// Brings `device` up with the addresses that the boot parameters give, and starts the task that serves it.
    pub(crate) fn start<D: Nic + 'static>(guest: &Guest, device: Option<D>) -> Self {
        let stack = device.ok_or(NetError::NoDevice).and_then(|device| {
            let config = Config::from_args(guest.args()).map_err(NetError::BadAddress)?;
            let mut limits = Limits::default();
            if let Some(sockets) = guest.arg("sockets").and_then(|text| text.parse().ok()) {
                limits.tcp_sockets = sockets;
            }
            Ok(Rc::new(RefCell::new(Stack::new(device, &config, limits, guest.now()))))
        });
        if let Ok(stack) = &stack {
            guest.spawn(name!("net"), serve(guest.clone(), Rc::clone(stack)));
            instant!("boot.net_up");
        }
        Net { stack }
    }

    /// Takes connections on `port`, with a backlog of 256.
    ///
    /// # Errors
    /// [`NetError::PortInUse`], [`NetError::TooManySockets`], or why there is no network.
    pub fn tcp_listen(&self, port: u16) -> Result<Listener, NetError> {
        self.tcp_listen_with(port, listener::DEFAULT_BACKLOG)
    }

    /// Takes connections on `port`; at most `backlog` of them wait to be accepted.
    ///
    /// # Errors
    /// As [`tcp_listen`](Self::tcp_listen).
    pub fn tcp_listen_with(&self, port: u16, backlog: usize) -> Result<Listener, NetError> {
        Listener::new(self.stack()?, port, backlog)
    }

    /// Connects to `remote`.
    ///
    /// # Errors
    /// [`NetError::Refused`], [`NetError::TimedOut`] after ten seconds, [`NetError::Unreachable`],
    /// [`NetError::TooManySockets`], or why there is no network.
    pub async fn tcp_connect(&self, remote: impl Into<IpEndpoint>) -> Result<TcpStream, NetError> {
        TcpStream::connect(self.stack()?, remote.into(), CONNECT_TIMEOUT).await
    }

    /// Sends and receives datagrams on `port`; on any free one for 0.
    ///
    /// # Errors
    /// [`NetError::PortInUse`], or why there is no network.
    pub fn udp_bind(&self, port: u16) -> Result<UdpSocket, NetError> {
        UdpSocket::bind(self.stack()?, port)
    }

    /// Connection requests that were not answered because a backlog was full.
    #[must_use]
    pub fn listen_overflows(&self) -> u64 {
        self.stack.as_ref().map_or(0, |stack| stack.borrow().flows.overflow_count())
    }

    fn stack(&self) -> Result<&Rc<RefCell<Stack>>, NetError> {
        self.stack.as_ref().map_err(|error| *error)
    }
}

/// The network's task: a turn, then a sleep until the device, a socket or a timer asks for the next.
async fn serve(guest: Guest, stack: Rc<RefCell<Stack>>) {
    let mut timer = Timer { guest, armed: None };
    loop {
        // Before the turn: what happens during or after it wakes us again.
        poll_fn(|cx| {
            stack.borrow_mut().set_task(cx.waker());
            Poll::Ready(())
        })
        .await;
        let deadline = stack.borrow_mut().turn(timer.guest.now());
        let mut first = true;
        poll_fn(|cx| {
            // Whatever polls us a second time is a reason to turn.
            if !core::mem::take(&mut first) || stack.borrow().is_touched() || timer.is_due(deadline, cx) {
                return Poll::Ready(());
            }
            events::wait_for(wait!("net.work"));
            Poll::Pending
        })
        .await;
    }
}

/// A timer that is set only when it must ring earlier than it would: deadlines that move away, as those of retransmits do
/// with every segment, cost nothing but a turn too many.
struct Timer {
    guest: Guest,
    armed: Option<(u64, LocalBoxFuture)>,
}

impl Timer {
    /// Whether `deadline` has come; wakes the task then otherwise.
    fn is_due(&mut self, deadline: Option<u64>, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = deadline else { return false };
        let now = self.guest.now();
        if self.armed.as_ref().is_some_and(|(armed, _)| *armed <= deadline && *armed > now) {
            return false;
        }
        let guest = self.guest.clone();
        let mut sleep: LocalBoxFuture = Box::pin(async move { guest.sleep_until(deadline).await });
        let due = sleep.as_mut().poll(cx).is_ready();
        self.armed = (!due).then_some((deadline, sleep));
        due
    }
}
