//! The network device: virtio-net, driven by interrupts, as a device of smoltcp.
//!
//! When it is full, no frame is discarded here. Received frames wait in the device's own queue until the stack takes them,
//! and while that is full the device leaves further ones with QEMU. A frame that is to be sent gets no token while all
//! buffers are the device's; that is the instant `virtio.tx_full`, and the device interrupts when it has sent one.
//! `virtio.rx_queue` and `virtio.tx_queue` count the frames that wait, and those that the device has not given back: at most
//! once a millisecond, where they have changed, and then the most there were since the last time.
//!
//! An interrupt is handled in two steps, so that the stack empties the queues without being interrupted:
//!
//! ```text
//!            1 interrupted: wake
//!    ARMED ──────────────────────► PENDING
//!      ▲                              │
//!      └──────────────────────────────┘ 2 set_waker: ask the device why, then end the interrupt
//! ```
//! A frame that comes after the device was asked raises its line again, so none is overlooked.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;

use fata_probe::{counter, instant, span};
use smoltcp::phy::{self, DeviceCapabilities};
use smoltcp::time::Instant;
use virtio_drivers::transport::{SomeTransport, Transport};

use super::machine::{Console, boot};
use super::queue::{BUFFER_BYTES, BUFFERS, Buffer, Direction, Queue};
use super::{apic, virtio};
use crate::executor::WakeCell;
use crate::net::{self, Nic};

/// Set from the interrupt until the device was asked: PENDING above.
static PENDING: AtomicBool = AtomicBool::new(false);
static WAKER: WakeCell = WakeCell::new();

/// The device's line is up. Called with interrupts off; ending the interrupt is left to `set_waker`.
pub(super) fn interrupted() {
    instant!(level: Debug, "virtio.interrupt");
    // Release: pairs with the Acquire in `set_waker`.
    PENDING.store(true, Ordering::Release);
    WAKER.wake();
}

/// The machine's network device, the first time that someone asks; `None` if there is none, with a sentence on the console
/// if there is one that cannot be used.
#[must_use]
pub(crate) fn device() -> Option<Device> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    let _span = span!("boot.net");
    match Device::new(virtio::find_network(boot::args())?) {
        Ok(device) => Some(device),
        Err(error) => {
            // The console takes everything, so there is no error to look at.
            let _ = writeln!(Console, "fata: the network device cannot be used: {error}");
            None
        }
    }
}

/// A received frame, behind the device's header.
struct Arrived {
    buffer: Buffer,
    end: usize,
}

/// The network device of the guest.
pub(crate) struct Device {
    transport: SomeTransport<'static>,
    mac: [u8; 6],
    /// The device's header before each frame: 12 bytes, or 10 on a legacy device. All zero: no offloading was asked for.
    header_bytes: usize,
    receive: Queue,
    /// Frames that the stack has not taken, in order.
    arrived: VecDeque<Arrived>,
    /// Buffers whose frames the stack has taken.
    taken: Vec<Buffer>,
    send: Queue,
    /// Buffers for frames to be sent.
    free: Vec<Buffer>,
    /// Somebody was refused leave to send since there was a free buffer.
    full: bool,
    /// The most frames that waited at once, and that were to be sent at once, since that was recorded.
    most: (usize, usize),
    /// The counters as they were emitted last: frames that wait, frames to be sent.
    counted: (usize, usize),
}

impl Device {
    fn new(found: virtio::Found) -> Result<Self, virtio_drivers::Error> {
        let virtio::Found { mut transport, line } = found;
        let header_bytes = if virtio::negotiate(&mut transport) { 12 } else { 10 };
        let mac = transport.read_consistent(|| transport.read_config_space(0))?;
        let (receive, taken) = Queue::new(&mut transport, Direction::Receive)?;
        let (mut send, free) = Queue::new(&mut transport, Direction::Send)?;
        // What was sent is taken back when there is something to send: no reason to be interrupted.
        send.interrupt(false);
        transport.finish_init();
        let arrived = VecDeque::with_capacity(BUFFERS);
        let mut device = Device {
            transport,
            mac,
            header_bytes,
            receive,
            arrived,
            taken,
            send,
            free,
            full: false,
            most: (0, 0),
            counted: (0, 0),
        };
        device.give_back_taken();
        line.connect();
        Ok(device)
    }

    /// Makes buffers whose frames have been taken the device's again.
    fn give_back_taken(&mut self) {
        for buffer in self.taken.drain(..) {
            self.receive.give(buffer, BUFFER_BYTES);
        }
        self.receive.tell(&mut self.transport);
    }

    /// Takes what the device has received.
    fn take_arrived(&mut self) {
        while let Some((buffer, len)) = self.receive.take() {
            if (self.header_bytes..=BUFFER_BYTES).contains(&len) {
                self.arrived.push_back(Arrived { buffer, end: len });
            } else {
                instant!(level: Warn, "virtio.bad_frame", bytes = len);
                self.taken.push(buffer);
            }
        }
        self.most.0 = self.most.0.max(self.arrived.len());
    }

    /// Takes back what the device has sent.
    fn take_sent(&mut self) {
        while let Some((buffer, _)) = self.send.take() {
            self.free.push(buffer);
        }
    }

    /// Frames that the device has not sent yet, as far as we know.
    fn sending(&self) -> usize {
        BUFFERS - self.free.len()
    }

    /// Whether a frame may be sent. Once it may not, the device interrupts when that changes.
    fn has_room(&mut self) -> bool {
        if self.free.is_empty() {
            self.send.tell(&mut self.transport);
            self.take_sent();
        }
        if self.free.is_empty() && !self.full {
            instant!("virtio.tx_full", frames = BUFFERS);
            self.full = true;
            self.send.interrupt(true);
            self.take_sent();
        }
        if !self.free.is_empty() && mem::take(&mut self.full) {
            self.send.interrupt(false);
        }
        !self.full
    }
}

impl Nic for Device {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn set_waker(&mut self, waker: &Waker) {
        WAKER.register(waker);
        // Acquire: pairs with the Release in `interrupted`.
        if PENDING.swap(false, Ordering::Acquire) {
            self.transport.ack_interrupt();
            apic::end_of_interrupt();
        }
    }

    fn flush(&mut self) {
        self.send.tell(&mut self.transport);
        let sending = self.sending();
        self.most.1 = self.most.1.max(sending);
        self.take_sent();
    }

    fn gauge(&mut self) -> bool {
        let now = (self.arrived.len(), self.sending());
        let (arrived, sending) = mem::replace(&mut self.most, now);
        if arrived != self.counted.0 {
            counter!("virtio.rx_queue", frames = arrived);
        }
        if sending != self.counted.1 {
            counter!("virtio.tx_queue", frames = sending);
        }
        mem::replace(&mut self.counted, (arrived, sending)) != (arrived, sending)
    }
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        if self.arrived.is_empty() {
            self.give_back_taken();
            self.take_arrived();
        }
        if self.arrived.is_empty() || !self.has_room() {
            return None;
        }
        let frame = self.arrived.pop_front()?;
        let header_bytes = self.header_bytes;
        Some((
            RxToken { frame, header_bytes, queue: &self.receive, taken: &mut self.taken },
            TxToken { header_bytes, queue: &mut self.send, free: &mut self.free },
        ))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        self.has_room().then_some(TxToken {
            header_bytes: self.header_bytes,
            queue: &mut self.send,
            free: &mut self.free,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        net::ethernet()
    }
}

/// A frame that the stack may take.
pub(crate) struct RxToken<'a> {
    frame: Arrived,
    header_bytes: usize,
    queue: &'a Queue,
    taken: &'a mut Vec<Buffer>,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let Arrived { mut buffer, end } = self.frame;
        let result = f(&self.queue.bytes(&mut buffer)[self.header_bytes..end]);
        self.taken.push(buffer);
        result
    }
}

/// Leave to send one frame.
pub(crate) struct TxToken<'a> {
    header_bytes: usize,
    queue: &'a mut Queue,
    free: &'a mut Vec<Buffer>,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut buffer = self.free.pop().expect("a transmit token is given only while there is a free buffer");
        let bytes = self.queue.bytes(&mut buffer);
        let end = self.header_bytes + len;
        bytes[..self.header_bytes].fill(0);
        let result = f(&mut bytes[self.header_bytes..end]);
        self.queue.give(buffer, end);
        result
    }
}
