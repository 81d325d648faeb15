//! A TCP port that takes connections: `tcp_listen(80)?.accept().await`.
//!
//! Invariant: while the backlog has room, exactly one spare socket listens on the port, so that every request finds one;
//! it is replaced before the next frame is looked at.
//!
//! Full: with as many connections begun and not accepted as the backlog may hold (or no socket left in the guest), further
//! requests are not answered, so their clients try again; each is an instant `tcp.listen_overflow` and is counted.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

use super::error::NetError;
use super::header::Connection;
use super::stack::Stack;
use super::tcp::TcpStream;
use super::wait;

/// Connections begun and not accepted, unless the caller chooses: as many as one turn of the stack may bring. A request that is
/// not answered costs its client seconds; QEMU's user network asks again after six.
pub(super) const DEFAULT_BACKLOG: usize = 256;

/// The port's half inside the stack.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) port: u16,
    capacity: usize,
    spare: Option<SocketHandle>,
    begun: VecDeque<(SocketHandle, Connection)>,
    waiter: Option<Waker>,
}

impl Backlog {
    /// Keeps the invariant, and wakes the task that waits to accept.
    pub(super) fn tend(&mut self, stack: &mut Stack) {
        if let Some(handle) = self.spare
            && stack.tcp(handle).state() != State::Listen
        {
            self.spare = None;
            let socket = stack.tcp(handle);
            if let (Some(local), Some(remote)) = (socket.local_endpoint(), socket.remote_endpoint()) {
                let connection = Connection { local_port: local.port, remote_port: remote.port, remote: remote.addr };
                stack.flows.open(connection);
                self.begun.push_back((handle, connection));
            } else {
                stack.remove_tcp(handle, None);
            }
        }
        // A client that gave up leaves a socket that is closed, or that listens again.
        self.begun.retain(|(handle, connection)| {
            let dead = matches!(stack.tcp(*handle).state(), State::Closed | State::Listen);
            if dead {
                stack.remove_tcp(*handle, Some(connection));
            }
            !dead
        });
        if self.spare.is_none() && self.begun.len() < self.capacity {
            self.spare = stack.add_tcp().ok();
            if let Some(handle) = self.spare {
                // The socket is new and the port is not 0, which is all that may be wrong.
                let _ = stack.tcp(handle).listen(self.port);
            }
        }
        stack.flows.set_full(self.port, self.spare.is_none());
        if self.waiter.is_some()
            && self.ready(stack).is_some()
            && let Some(waiter) = self.waiter.take()
        {
            waiter.wake();
        }
    }

    /// The position of the oldest connection that is established.
    fn ready(&self, stack: &mut Stack) -> Option<usize> {
        self.begun.iter().position(|(handle, _)| stack.tcp(*handle).state() != State::SynReceived)
    }
}

/// A port that takes connections. Dropping it closes the port; accepted connections live on.
pub struct Listener {
    stack: Rc<RefCell<Stack>>,
    port: u16,
}

impl Listener {
    pub(super) fn new(stack: &Rc<RefCell<Stack>>, port: u16, capacity: usize) -> Result<Self, NetError> {
        let mut inner = stack.borrow_mut();
        if port == 0 || inner.backlogs.iter().any(|backlog| backlog.port == port) {
            return Err(NetError::PortInUse(port));
        }
        let mut backlog = Backlog { port, capacity: capacity.max(1), ..Backlog::default() };
        backlog.tend(&mut inner);
        if backlog.spare.is_none() {
            inner.flows.set_full(port, false);
            return Err(NetError::TooManySockets);
        }
        inner.backlogs.push(backlog);
        drop(inner);
        Ok(Listener { stack: Rc::clone(stack), port })
    }

    /// The next connection. One task may wait at a time.
    pub async fn accept(&self) -> TcpStream {
        poll_fn(|cx| {
            let mut stack = self.stack.borrow_mut();
            let Some(index) = stack.backlogs.iter().position(|backlog| backlog.port == self.port) else {
                // Only dropping the listener takes the backlog out, and it is borrowed here.
                return Poll::Pending;
            };
            let mut backlog = core::mem::take(&mut stack.backlogs[index]);
            let accepted = match backlog.ready(&mut stack) {
                Some(position) => backlog.begun.remove(position),
                None => {
                    wait::accept();
                    backlog.waiter = Some(cx.waker().clone());
                    None
                }
            };
            if accepted.is_some() {
                // There may be room for a spare socket again.
                backlog.tend(&mut stack);
            }
            stack.backlogs[index] = backlog;
            match accepted {
                Some((handle, connection)) => {
                    stack.hand_over(handle);
                    Poll::Ready(TcpStream::new(&self.stack, &stack.flows, handle, connection))
                }
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut stack = self.stack.borrow_mut();
        let Some(index) = stack.backlogs.iter().position(|backlog| backlog.port == self.port) else { return };
        let backlog = stack.backlogs.swap_remove(index);
        stack.flows.set_full(self.port, false);
        if let Some(handle) = backlog.spare {
            stack.remove_tcp(handle, None);
        }
        for (handle, connection) in backlog.begun {
            stack.tcp(handle).abort();
            stack.let_go(handle, connection);
        }
    }
}
