//! One direction of the network device: a virtio queue, and the buffers that go through it.
//!
//! Invariant: each buffer is either the device's or a [`Buffer`] value of ours, of which there is exactly one. So whoever
//! holds the value may touch the bytes, and nobody else can.
//!
//! ```text
//!           1 give
//!   OURS ───────────► THE DEVICE'S
//!     ▲                    │
//!     └────────────────────┘ 2 take, once the device has used it
//! ```
//! When it is full, that is, all buffers are the device's, there is no `Buffer` to give. The device is told of new buffers
//! once per [`tell`](Queue::tell), and only if it wants to be: each telling is an exit to QEMU.

#![expect(unsafe_code, reason = "the device reads and writes buffers behind the compiler's back")]

use alloc::alloc::{alloc_zeroed, handle_alloc_error};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};

use fata_probe::instant;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{SomeTransport, Transport};

use super::virtio::Sharing;

/// Buffers in each direction; QEMU's queues hold 256.
pub(super) const BUFFERS: usize = 128;
/// An Ethernet frame without its checksum, and the device's header of 12 bytes at most, rounded up.
pub(super) const BUFFER_BYTES: usize = 1536;

/// Leave to touch a buffer. See the module.
#[derive(Debug)]
pub(super) struct Buffer(u8);

/// Who writes to the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The device does.
    Receive,
    /// We do.
    Send,
}

/// A queue and its buffers.
pub(super) struct Queue {
    queue: VirtQueue<Sharing, BUFFERS>,
    direction: Direction,
    start: NonNull<[u8; BUFFER_BYTES]>,
    /// Which buffer is behind which of the queue's tokens, as long as it is the device's.
    of_token: [Option<u8>; BUFFERS],
    /// Something was given that the device was not told of.
    untold: bool,
    /// The device has named a token that it does not have. It is not believed any more.
    broken: bool,
}

impl Queue {
    /// Sets the device's queue for this direction up. All buffers are ours.
    pub(super) fn new(
        transport: &mut SomeTransport<'static>,
        direction: Direction,
    ) -> Result<(Self, Vec<Buffer>), virtio_drivers::Error> {
        // Neither indirect descriptors, since a frame is in one piece, nor event indices: the flags that they replace are
        // exactly what `tell` and `interrupt` need.
        let queue = VirtQueue::new(transport, direction as u16, false, false)?;
        // Never freed: the device may write to them at any time.
        let layout = Layout::new::<[[u8; BUFFER_BYTES]; BUFFERS]>();
        // SAFETY: the layout is not of length zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory.cast()) else { handle_alloc_error(layout) };
        let queue = Queue { queue, direction, start, of_token: [None; BUFFERS], untold: false, broken: false };
        Ok((queue, (0..=u8::MAX).take(BUFFERS).map(Buffer).collect()))
    }

    /// The buffer's bytes.
    pub(super) fn bytes<'a>(&self, buffer: &'a mut Buffer) -> &'a mut [u8; BUFFER_BYTES] {
        // SAFETY: the number is below BUFFERS, since `new` makes all values, and `start` is followed by so many buffers, which
        // are never freed. The value is borrowed mutably and the only one, so nobody else touches the bytes meanwhile.
        unsafe { self.start.add(usize::from(buffer.0)).as_mut() }
    }

    /// Makes the first `len_bytes` of the buffer the device's: to be filled, or to be sent.
    pub(super) fn give(&mut self, mut buffer: Buffer, len_bytes: usize) {
        let bytes = &mut self.bytes(&mut buffer)[..len_bytes.min(BUFFER_BYTES)];
        // SAFETY: the bytes are never freed, and with `buffer`, which ends here, ends all access to them until `take`.
        let token = unsafe {
            match self.direction {
                Direction::Receive => self.queue.add(&[], &mut [bytes]),
                Direction::Send => self.queue.add(&[bytes], &mut []),
            }
        };
        // The queue has as many places as there are buffers, and no buffer is empty: there is no other outcome.
        if let Ok(token) = token {
            self.of_token[usize::from(token)] = Some(buffer.0);
            self.untold = true;
        }
    }

    /// The next buffer that the device has used, and how many bytes of it the device has written.
    pub(super) fn take(&mut self) -> Option<(Buffer, usize)> {
        if self.broken {
            return None;
        }
        let token = self.queue.peek_used()?;
        let Some(number) = self.of_token.get_mut(usize::from(token)).and_then(Option::take) else {
            self.broken = true;
            instant!(level: Error, "virtio.broken", token = token);
            return None;
        };
        let mut buffer = Buffer(number);
        let bytes = &mut self.bytes(&mut buffer)[..];
        // SAFETY: the buffer was given with this token. (Lengths do not matter here: `Sharing` copies nothing.)
        let used = unsafe {
            match self.direction {
                Direction::Receive => self.queue.pop_used(token, &[], &mut [bytes]),
                Direction::Send => self.queue.pop_used(token, &[bytes], &mut []),
            }
        };
        Some((buffer, used.map_or(0, |len| len as usize)))
    }

    /// Tells the device of what was given since the last time, if it does not look by itself.
    pub(super) fn tell(&mut self, transport: &mut SomeTransport<'static>) {
        if core::mem::take(&mut self.untold) {
            // SeqCst: our giving must be visible before we ask whether the device is looking. The device does the reverse:
            // it says that it stops looking, and looks once more.
            fence(Ordering::SeqCst);
            if self.queue.should_notify() {
                transport.notify(self.direction as u16);
            }
        }
    }

    /// Says whether the device is to interrupt when it has used a buffer. Look again afterwards: it may have done so before
    /// it saw this.
    pub(super) fn interrupt(&mut self, on: bool) {
        self.queue.set_dev_notify(on);
        // SeqCst: the wish must be visible before the caller looks again.
        fence(Ordering::SeqCst);
    }
}
