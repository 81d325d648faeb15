//! The host guest's cable: Ethernet frames over a Unix stream socket, in QEMU's format, so that the other end may be the
//! built-in [forwarder](super::forward), another guest, QEMU (`-netdev stream`) or `passt`.
//!
//! A thread reads the socket into a bounded queue and wakes the guest, as a device's interrupt would; the guest writes
//! to the socket itself.
//!
//! Full: no frame is ever discarded. When the guest does not take what arrives, the queue fills, the thread stops reading
//! and the socket holds the sender back. When the other end does not read, [`Link::has_room`] turns false, the guest's
//! stack keeps its segments, and the thread wakes it when the socket takes bytes again. When the other end is gone, the
//! cable is unplugged: nothing arrives, and what is sent is dropped.
//!
//! Invariant: whoever finds the queue full (the thread) or empty of room (the guest) sets its flag *before* it looks
//! again, and the other side makes its change *before* it looks at the flag; so one of them always sees the other.

use core::sync::atomic::{AtomicBool, Ordering, fence};
use core::task::Waker;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::vec;

use ringbuf::HeapRb;
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::frames::{FrameReader, FrameWriter};
use crate::executor::WakeCell;

/// What may wait for the guest, in bytes.
const QUEUE_BYTES: usize = 512 * 1024;

type Queue = Arc<HeapRb<u8>>;

/// The guest's end of the cable.
pub(super) struct Link {
    stream: Arc<UnixStream>,
    queue: ringbuf::CachingCons<Queue>,
    reader: FrameReader,
    writer: FrameWriter,
    shared: Arc<Shared>,
}

struct Shared {
    /// The thread waits for room in the queue.
    starved: AtomicBool,
    /// The guest waits for room in the socket.
    blocked: AtomicBool,
    /// The other end is gone, or talks nonsense.
    down: AtomicBool,
    /// Makes the thread look at the flags.
    doorbell: OwnedFd,
    /// Whoever serves the guest's end: the thread's interrupt.
    guest: WakeCell,
}

impl Link {
    /// Plugs the cable `stream` in.
    ///
    /// # Errors
    /// What the operating system says when it has no more descriptors or threads.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = Arc::new(stream);
        let (producer, queue) = HeapRb::new(QUEUE_BYTES).split();
        let shared = Arc::new(Shared {
            starved: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            down: AtomicBool::new(false),
            doorbell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            guest: WakeCell::new(),
        });
        let thread = (Arc::clone(&stream), Arc::clone(&shared));
        thread::Builder::new().name("fata-link".into()).spawn(move || {
            let (stream, shared) = thread;
            // An error here is the cable's end, whichever it is; the guest sees an unplugged cable.
            let _ = receive(&stream, producer, &shared);
            // Release: pairs with the Acquire in `is_down`.
            shared.down.store(true, Ordering::Release);
            shared.guest.wake();
        })?;
        Ok(Link { stream, queue, reader: FrameReader::new(), writer: FrameWriter::default(), shared })
    }

    /// Who is to be woken, from another thread, when a frame arrives or when there is room to send again.
    pub(super) fn set_waker(&mut self, waker: &Waker) {
        self.shared.guest.register(waker);
    }

    /// The next frame that has arrived, and where to put an answer.
    pub(super) fn next_frame(&mut self) -> Option<(&[u8], &mut FrameWriter)> {
        if !self.reader.has_frame() {
            self.refill();
        }
        match self.reader.next_frame() {
            Ok(frame) => Some((frame?, &mut self.writer)),
            Err(_) => {
                // Release: pairs with the Acquire in `is_down`.
                self.shared.down.store(true, Ordering::Release);
                None
            }
        }
    }

    fn refill(&mut self) {
        let queue = &mut self.queue;
        let taken = self.reader.fill(|space| Ok(queue.pop_slice(space))).unwrap_or(0);
        if taken > 0 {
            // SeqCst: pairs with the fence in `receive`: either this sees `starved`, or the thread sees the room.
            fence(Ordering::SeqCst);
            if self.shared.starved.swap(false, Ordering::Relaxed) {
                self.ring();
            }
        }
    }

    /// Whether a frame may be sent now; once this is false, the waker says when to ask again.
    pub(super) fn has_room(&mut self) -> bool {
        if !self.writer.has_room() {
            self.flush();
        }
        self.writer.has_room()
    }

    /// Where to put frames for the next [`flush`](Self::flush), while there [is room](Self::has_room).
    pub(super) fn writer(&mut self) -> &mut FrameWriter {
        &mut self.writer
    }

    /// Hands the queued frames to the socket, as far as it takes them.
    pub(super) fn flush(&mut self) {
        if self.is_down() {
            self.writer = FrameWriter::default();
            return;
        }
        let stream = &*self.stream;
        match self.writer.flush(|bytes| (&*stream).write(bytes)) {
            Ok(true) => {}
            Ok(false) => {
                // The thread polls for room from now on. It needs no second look: a level, not an edge, wakes it.
                self.shared.blocked.store(true, Ordering::Relaxed);
                self.ring();
            }
            Err(_) => self.writer = FrameWriter::default(),
        }
    }

    /// Whether the cable is unplugged.
    #[must_use]
    pub(super) fn is_down(&self) -> bool {
        // Acquire: pairs with the Releases that set it.
        self.shared.down.load(Ordering::Acquire)
    }

    fn ring(&self) {
        // The write orders what came before it; it fails only when the counter is at its limit, and then it is rung.
        let _ = rustix::io::write(&self.shared.doorbell, &1u64.to_ne_bytes());
    }
}

/// The thread: socket to queue, until the other end is gone.
fn receive(mut stream: &UnixStream, mut queue: ringbuf::CachingProd<Queue>, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let full = queue.is_full() && {
            shared.starved.store(true, Ordering::Relaxed);
            // SeqCst: pairs with the fence in `refill`.
            fence(Ordering::SeqCst);
            queue.is_full()
        };
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, !full);
        wanted.set(PollFlags::OUT, shared.blocked.load(Ordering::Relaxed));
        let mut fds = [PollFd::new(stream, wanted), PollFd::new(&shared.doorbell, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let (socket, doorbell) = (fds[0].revents(), fds[1].revents());
        if !doorbell.is_empty() {
            let _ = rustix::io::read(&shared.doorbell, &mut [0; 8]);
        }
        if socket.contains(PollFlags::OUT) {
            shared.blocked.store(false, Ordering::Relaxed);
            shared.guest.wake();
        }
        if socket.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && !full {
            let room = queue.vacant_len().min(buffer.len());
            match stream.read(&mut buffer[..room]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    queue.push_slice(&buffer[..len]);
                    shared.guest.wake();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        } else if socket.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(ErrorKind::BrokenPipe.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};
    use std::vec::Vec;

    const FRAME_BYTES: usize = 1000;

    fn frame(number: u32) -> Vec<u8> {
        let mut frame = vec![0x55; FRAME_BYTES];
        frame[..4].copy_from_slice(&number.to_be_bytes());
        frame
    }

    fn eventually(mut what: impl FnMut() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(10));
            thread::yield_now();
        }
    }

    #[test]
    fn a_guest_that_takes_nothing_holds_the_sender_back_and_misses_no_frame() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut link = Link::new(here).unwrap();
        there.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut writer = FrameWriter::default();
        let mut sent = 0;
        // Until the sender is stuck; what it could not send it keeps.
        loop {
            writer.push(FRAME_BYTES, |space| space.copy_from_slice(&frame(sent)));
            sent += 1;
            if !writer.flush(|bytes| there.write(bytes)).unwrap() {
                break;
            }
            assert!(sent < 100_000, "nothing held the sender back");
        }
        assert!(sent as usize * FRAME_BYTES > QUEUE_BYTES);
        let sending = thread::spawn(move || {
            while !writer.flush(|bytes| there.write(bytes)).unwrap() {}
            there
        });
        for number in 0..sent {
            eventually(|| {
                link.next_frame().is_some_and(|(got, _)| {
                    assert!(got == frame(number), "frame {number}");
                    true
                })
            });
        }
        sending.join().unwrap();
    }

    #[test]
    fn a_peer_that_does_not_read_leaves_no_room_until_it_does() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut link = Link::new(here).unwrap();
        let mut sent = 0;
        while link.has_room() {
            link.writer().push(FRAME_BYTES, |space| space.copy_from_slice(&frame(sent)));
            sent += 1;
            assert!(sent < 100_000, "nothing held the guest back");
        }
        let mut reader = FrameReader::new();
        for number in 0..sent {
            while !reader.has_frame() {
                reader.fill(|space| there.read(space)).unwrap();
                link.flush();
            }
            assert!(reader.next_frame().unwrap().unwrap() == frame(number), "frame {number}");
        }
        assert!(link.has_room());
    }

    #[test]
    fn a_cable_whose_other_end_is_gone_or_talks_nonsense_is_down_and_swallows_frames() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut link = Link::new(here).unwrap();
        assert!(!link.is_down());
        drop(there);
        eventually(|| link.is_down());
        for number in 0..2000 {
            assert!(link.has_room());
            link.writer().push(FRAME_BYTES, |space| space.copy_from_slice(&frame(number)));
        }
        assert!(link.next_frame().is_none());

        let (here, mut there) = UnixStream::pair().unwrap();
        let mut link = Link::new(here).unwrap();
        there.write_all(b"GET / HTTP/1.1").unwrap();
        eventually(|| link.next_frame().is_none() && link.is_down());
    }
}
