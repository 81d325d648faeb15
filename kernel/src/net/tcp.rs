//! A TCP connection: `stream.write_all(b"…").await?; stream.flush_acked().await?`.
//!
//! Every wait has a name in the trace: `tcp.read`, `tcp.write`, `tcp.ack`, `tcp.connect`.
//!
//! Full: `write` takes what the send buffer has room for and waits while it has none, so a peer that does not read
//! holds the writer back. What arrives beyond the receive buffer is not acknowledged, so a task that does not read holds
//! the peer back.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, State};
use smoltcp::wire::IpEndpoint;

use super::error::NetError;
use super::flows::Flows;
use super::header::Connection;
use super::stack::Stack;
use super::traced::Traced;
use super::wait;

/// A connection. All functions take `&self`, so that one task may read while another writes; at most one of each at a time.
/// Dropping it closes the connection in an orderly way.
pub struct TcpStream {
    stack: Rc<RefCell<Stack>>,
    handle: SocketHandle,
    connection: Connection,
    traced: Rc<Traced>,
    /// Bytes handed to the stack so far.
    written: Rc<Cell<u64>>,
}

impl TcpStream {
    pub(super) fn new(stack: &Rc<RefCell<Stack>>, flows: &Flows, handle: SocketHandle, connection: Connection) -> Self {
        let traced = flows.find(&connection).unwrap_or_else(|| Rc::new(Traced::new(connection)));
        TcpStream { stack: Rc::clone(stack), handle, connection, traced, written: Rc::new(Cell::new(0)) }
    }

    pub(super) async fn connect(
        stack: &Rc<RefCell<Stack>>,
        remote: IpEndpoint,
        timeout: Duration,
    ) -> Result<Self, NetError> {
        let limit = smoltcp::time::Duration::from_micros(u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX));
        let (handle, connection) = stack.borrow_mut().connect(remote, limit)?;
        let stream = TcpStream::new(stack, &stack.borrow().flows, handle, connection);
        let begun = crate::platform::clock::now();
        poll_fn(|cx| {
            let mut stack = stream.stack.borrow_mut();
            let socket = stack.tcp(handle);
            match socket.state() {
                State::SynSent | State::SynReceived => {
                    wait::connect();
                    socket.register_send_waker(cx.waker());
                    Poll::Pending
                }
                State::Closed => {
                    let elapsed = Duration::from_nanos(crate::platform::clock::now() - begun);
                    Poll::Ready(Err(if elapsed < timeout { NetError::Refused } else { NetError::TimedOut }))
                }
                _ => Poll::Ready(Ok(())),
            }
        })
        .await?;
        stack.borrow_mut().hand_over(handle);
        Ok(stream)
    }

    /// The other side's address and port.
    #[must_use]
    pub fn remote(&self) -> IpEndpoint {
        IpEndpoint::new(self.connection.remote, self.connection.remote_port)
    }

    /// Reads at least one byte into `buffer`; 0 when the other side has sent its last one (or `buffer` is empty).
    ///
    /// # Errors
    /// [`NetError::Reset`] when the connection is broken.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, NetError> {
        poll_fn(|cx| {
            let mut stack = self.stack.borrow_mut();
            let socket = stack.tcp(self.handle);
            match socket.recv_slice(buffer) {
                Ok(0) if !buffer.is_empty() => {
                    wait::read();
                    socket.register_recv_waker(cx.waker());
                    Poll::Pending
                }
                Ok(len) => {
                    // The window may be worth announcing.
                    self.traced.read();
                    stack.touch();
                    Poll::Ready(Ok(len))
                }
                Err(RecvError::Finished) => Poll::Ready(Ok(0)),
                Err(RecvError::InvalidState) => Poll::Ready(Err(NetError::Reset)),
            }
        })
        .await
    }

    /// Returns once a [`read`](Self::read) would not wait.
    pub async fn readable(&self) {
        poll_fn(|cx| {
            let readable = self.poll_readable(cx);
            if readable.is_pending() {
                wait::read();
            }
            readable
        })
        .await;
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stack = self.stack.borrow_mut();
        let socket = stack.tcp(self.handle);
        if socket.can_recv() || !socket.may_recv() {
            return Poll::Ready(());
        }
        socket.register_recv_waker(cx.waker());
        Poll::Pending
    }

    /// Hands at least one byte of `bytes` to the stack; how many. 0 only where `bytes` is empty.
    ///
    /// # Errors
    /// [`NetError::Reset`] when the connection is broken, or was closed by [`close`](Self::close).
    pub async fn write(&self, bytes: &[u8]) -> Result<usize, NetError> {
        poll_fn(|cx| {
            let mut stack = self.stack.borrow_mut();
            let socket = stack.tcp(self.handle);
            match socket.send_slice(bytes) {
                Ok(0) if !bytes.is_empty() => {
                    wait::write();
                    socket.register_send_waker(cx.waker());
                    Poll::Pending
                }
                Ok(len) => {
                    self.written.set(self.written.get() + u64::try_from(len).unwrap_or(0));
                    stack.flows.write(&self.traced);
                    stack.touch();
                    Poll::Ready(Ok(len))
                }
                Err(_) => Poll::Ready(Err(NetError::Reset)),
            }
        })
        .await
    }

    /// Hands all of `bytes` to the stack.
    ///
    /// # Errors
    /// As [`write`](Self::write); some of it may have been sent then.
    pub async fn write_all(&self, mut bytes: &[u8]) -> Result<(), NetError> {
        while !bytes.is_empty() {
            let len = self.write(bytes).await?;
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// How many bytes were written so far: a mark for [`acked`](Self::acked).
    #[must_use]
    pub fn position(&self) -> u64 {
        self.written.get()
    }

    /// How many of them the other side has acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.stack.borrow().acknowledged(self.handle, self.written.get())
    }

    /// Returns once the other side has acknowledged the first `position` bytes that were written. Any number of tasks may
    /// wait.
    ///
    /// # Errors
    /// [`NetError::Reset`] when the connection broke before.
    pub async fn acked(&self, position: u64) -> Result<(), NetError> {
        Acked { stream: self, position, awaited: None }.await
    }

    /// Returns once everything written has been acknowledged.
    ///
    /// # Errors
    /// As [`acked`](Self::acked).
    pub async fn flush_acked(&self) -> Result<(), NetError> {
        self.acked(self.position()).await
    }

    /// Returns once the other side has acknowledged the first `position` bytes, or there is something to read: `true` for
    /// the first, also where both are the case.
    ///
    /// # Errors
    /// As [`acked`](Self::acked).
    pub async fn acked_or_readable(&self, position: u64) -> Result<bool, NetError> {
        let mut acked = Acked { stream: self, position, awaited: None };
        poll_fn(|cx| match Pin::new(&mut acked).poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| true)),
            Poll::Pending => self.poll_readable(cx).map(|()| Ok(false)),
        })
        .await
    }

    /// Says that this side has written its last byte. What was written before is still sent, and reading goes on.
    pub fn close(&self) {
        let mut stack = self.stack.borrow_mut();
        stack.tcp(self.handle).close();
        stack.touch();
    }

    /// Breaks the connection off.
    pub fn abort(&self) {
        let mut stack = self.stack.borrow_mut();
        stack.tcp(self.handle).abort();
        stack.touch();
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.stack.borrow_mut().let_go(self.handle, self.connection);
    }
}

/// The future of [`TcpStream::acked`].
struct Acked<'a> {
    stream: &'a TcpStream,
    position: u64,
    awaited: Option<u64>,
}

impl Future for Acked<'_> {
    type Output = Result<(), NetError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let TcpStream { stack, handle, written, .. } = self.stream;
        let mut stack = stack.borrow_mut();
        if let Some(id) = self.awaited.take() {
            stack.forget_ack(id);
        }
        if stack.acknowledged(*handle, written.get()) >= self.position {
            return Poll::Ready(Ok(()));
        }
        if !stack.tcp(*handle).is_open() {
            return Poll::Ready(Err(NetError::Reset));
        }
        let id = stack.await_ack(*handle, Rc::clone(written), self.position, cx.waker().clone());
        drop(stack);
        wait::ack();
        self.awaited = Some(id);
        Poll::Pending
    }
}

impl Drop for Acked<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.awaited {
            self.stream.stack.borrow_mut().forget_ack(id);
        }
    }
}
