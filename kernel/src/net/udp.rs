//! UDP: `let socket = guest.net().udp_bind(53)?; let (len, from) = socket.recv_from(&mut buffer).await;`.
//!
//! Full: at most [`DATAGRAMS`] datagrams and [`BUFFER_BYTES`] bytes wait each way. One that arrives beyond that is dropped,
//! as the network may; one that is sent beyond that waits.

use alloc::rc::Rc;
use alloc::vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::Poll;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::{self, PacketBuffer, PacketMetadata, RecvError, SendError};
use smoltcp::wire::IpEndpoint;

use super::error::NetError;
use super::stack::Stack;
use super::wait;

/// Datagrams that wait in one direction.
const DATAGRAMS: usize = 32;
/// Their bytes.
const BUFFER_BYTES: usize = 32 * 1024;

/// A UDP port of this guest.
pub struct UdpSocket {
    stack: Rc<RefCell<Stack>>,
    handle: SocketHandle,
    port: u16,
}

impl UdpSocket {
    pub(super) fn bind(stack: &Rc<RefCell<Stack>>, port: u16) -> Result<Self, NetError> {
        let mut inner = stack.borrow_mut();
        let port = if port == 0 { inner.free_local_port() } else { port };
        if inner.has_udp_port(port) {
            return Err(NetError::PortInUse(port));
        }
        let buffer = || PacketBuffer::new(vec![PacketMetadata::EMPTY; DATAGRAMS], vec![0; BUFFER_BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        // The socket is new and the port is not 0, which is all that may be wrong.
        let _ = socket.bind(port);
        let handle = inner.sockets.add(socket);
        inner.flows.bind(port);
        drop(inner);
        Ok(UdpSocket { stack: Rc::clone(stack), handle, port })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next datagram and where it came from; what `buffer` has no room for is cut off.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> (usize, IpEndpoint) {
        poll_fn(|cx| {
            let mut stack = self.stack.borrow_mut();
            let socket = stack.udp(self.handle);
            match socket.recv() {
                Ok((bytes, from)) => {
                    let len = bytes.len().min(buffer.len());
                    buffer[..len].copy_from_slice(&bytes[..len]);
                    stack.flows.read_datagram(self.port);
                    Poll::Ready((len, from.endpoint))
                }
                Err(RecvError::Exhausted | RecvError::Truncated) => {
                    wait::datagram();
                    socket.register_recv_waker(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Sends a datagram, when the ones before it have left room.
    ///
    /// # Errors
    /// [`NetError::Unreachable`] for an address that is none, [`NetError::TooLong`] for more than the buffer holds.
    pub async fn send_to(&self, bytes: &[u8], to: impl Into<IpEndpoint>) -> Result<(), NetError> {
        let to = to.into();
        if bytes.len() > BUFFER_BYTES {
            return Err(NetError::TooLong);
        }
        poll_fn(|cx| {
            let mut stack = self.stack.borrow_mut();
            let socket = stack.udp(self.handle);
            match socket.send_slice(bytes, to) {
                Ok(()) => {
                    stack.touch();
                    Poll::Ready(Ok(()))
                }
                Err(SendError::BufferFull) => {
                    wait::send_datagram();
                    socket.register_send_waker(cx.waker());
                    Poll::Pending
                }
                Err(SendError::Unaddressable) => Poll::Ready(Err(NetError::Unreachable)),
            }
        })
        .await
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let mut stack = self.stack.borrow_mut();
        stack.flows.unbind(self.port);
        stack.sockets.remove(self.handle);
    }
}
