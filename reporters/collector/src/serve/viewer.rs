//! One viewer: a bounded queue of bytes between the drain thread and a thread that writes to the viewer's socket.
//!
//! Invariant: only whole frames are queued, and what a viewer has not been told of the description or of its losses is queued before
//! anything that comes after it. Full: [`Viewer::push`] queues nothing and says so; the server counts what was left out.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use ringbuf::traits::{Consumer, Observer, Producer};

use super::kept::Text;
use crate::frames::{Frame, encode};

/// One viewer, seen from the drain thread.
pub(super) struct Viewer {
    pub(super) queue: ringbuf::HeapProd<u8>,
    pub(super) thread: Thread,
    pub(super) handle: Option<JoinHandle<()>>,
    /// Set by the viewer's thread when its socket is gone, and by us when nothing more comes.
    pub(super) gone: Arc<AtomicBool>,
    pub(super) over: Arc<AtomicBool>,
    pub(super) socket: Socket,
    pub(super) told_bytes: usize,
    pub(super) lost: (u64, u64, u64),
}

impl std::fmt::Debug for Viewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Viewer").field("told_bytes", &self.told_bytes).field("lost", &self.lost).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Socket::Unix(socket) => Socket::Unix(socket.try_clone()?),
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone()?),
        })
    }

    pub(super) fn close(&self) {
        // Closed by the other end already is as good.
        let _ = match self {
            Socket::Unix(socket) => socket.shutdown(Shutdown::Both),
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Both),
        };
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(socket) => socket.write(bytes),
            Socket::Tcp(socket) => socket.write(bytes),
        }
    }
}

impl Viewer {
    pub(super) fn is_gone(&self) -> bool {
        // Acquire: pairs with the thread's Release when its socket is gone.
        self.gone.load(Ordering::Acquire)
    }

    pub(super) fn push(&mut self, frame: &[u8]) -> bool {
        if self.queue.vacant_len() < frame.len() {
            return false;
        }
        self.queue.push_slice(frame);
        true
    }

    /// Sends the metadata and the account of losses that this viewer still lacks. `true` if there is room for
    /// `more_bytes` after that.
    pub(super) fn catch_up(&mut self, text: &Text, more_bytes: usize) -> bool {
        let mut frame = Vec::new();
        while let Some(part) = text.after(self.told_bytes) {
            frame.clear();
            encode(&Frame::Metadata(part.into()), &mut frame);
            if !self.push(&frame) {
                return false;
            }
            self.told_bytes += part.len();
        }
        if self.lost.0 > 0 {
            let (packets, events, bytes) = self.lost;
            frame.clear();
            encode(&Frame::Lost { packets, events, bytes }, &mut frame);
            if self.queue.vacant_len() < frame.len() + more_bytes {
                return false;
            }
            self.push(&frame);
            self.lost = (0, 0, 0);
        }
        self.queue.vacant_len() >= more_bytes
    }
}

/// A viewer's thread: from its queue to its socket, until one of them ends.
pub(super) fn forward(mut queue: ringbuf::HeapCons<u8>, mut socket: Socket, over: &AtomicBool) {
    loop {
        // Acquire: pairs with the Release in `end`. Asked before the queue: what was pushed before is seen after.
        let last = over.load(Ordering::Acquire);
        let waiting = queue.as_slices().0;
        if waiting.is_empty() {
            if last {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(200));
            continue;
        }
        match socket.write(waiting) {
            Ok(0) => return,
            Ok(written) => {
                queue.skip(written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
