//! The network device: virtio-net, driven by interrupts, as a device of smoltcp.
//!
//! When it is full, no frame is discarded here. Received frames wait in the device's own queue until the stack takes them,
//! and while that is full the device leaves further ones with QEMU. A frame that is to be sent gets no token while all
//! buffers are with the device; that is the instant `virtio.tx_full`, and the device interrupts when it has sent one.
//! `virtio.rx_queue` and `virtio.tx_queue` count the frames that wait, and those that the device has not given back: the
//! first when frames have arrived, both at the end of each turn of the stack, where they have changed.
//!
//! The interrupt's line stays up until the device is asked why:
//!
//! ```text
//!            1 interrupted: mask, wake
//!    ARMED ─────────────────────────────► PENDING
//!      ▲                                     │
//!      └─────────────────────────────────────┘ 2 set_waker: ask the device, unmask
//! ```
//! While PENDING, the stack empties the queues without being interrupted. A frame that comes after the device was asked
//! raises the line again, so none is overlooked.

#![expect(unsafe_code, reason = "a buffer is the device's between two calls of the driver")]

use alloc::alloc::{alloc_zeroed, handle_alloc_error};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;

use fata_probe::{counter, instant, span};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::SomeTransport;

use super::virtio::{self, Sharing};
use super::{apic, boot, console};
use crate::executor::WakeCell;
use crate::net::Nic;

/// Buffers in each direction; QEMU's queues hold 256.
const QUEUE: usize = 128;
/// An Ethernet frame without its checksum, and the device's header of 12 bytes at most, rounded up.
const BUFFER_BYTES: usize = 1536;
const FRAME_BYTES: usize = 1514;

type Driver = VirtIONetRaw<Sharing, SomeTransport<'static>, QUEUE>;

/// Set from the interrupt until the device was asked: PENDING above.
static PENDING: AtomicBool = AtomicBool::new(false);
static WAKER: WakeCell = WakeCell::new();

/// The line is up. Called with interrupts off.
pub(super) fn interrupted() {
    apic::mask_line();
    instant!(level: Debug, "virtio.interrupt");
    // Release: pairs with the Acquire in `set_waker`.
    PENDING.store(true, Ordering::Release);
    WAKER.wake();
}

/// The machine's network device, the first time that someone asks; `None` if there is none, with a sentence on the console
/// if there is one that cannot be used.
#[must_use]
pub fn device() -> Option<Device> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    let _span = span!("boot.net");
    let found = virtio::find_network(boot::args())?;
    match Device::new(found) {
        Ok(device) => Some(device),
        Err(error) => {
            use core::fmt::Write as _;
            // The console takes everything, so there is no error to look at.
            let _ = writeln!(console::Console, "fata: the network device cannot be used: {error}");
            None
        }
    }
}

/// The buffers of one direction. Those with the device are not touched; `owner` says which those are.
struct Buffers {
    start: NonNull<[u8; BUFFER_BYTES]>,
    /// Which buffer is behind which of the driver's tokens.
    of_token: [u8; QUEUE],
}

impl Buffers {
    /// QUEUE buffers, which live as long as the guest: the device may write to them at any time.
    fn new() -> Self {
        let layout = Layout::new::<[[u8; BUFFER_BYTES]; QUEUE]>();
        // SAFETY: the layout is not of length zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory.cast()) else { handle_alloc_error(layout) };
        Buffers { start, of_token: [0; QUEUE] }
    }

    /// All numbers of buffers.
    fn numbers() -> impl Iterator<Item = u8> {
        (0..=u8::MAX).take(QUEUE)
    }

    /// The buffer of this number.
    ///
    /// # Safety
    /// The buffer is not with the device, and no other reference to it lives.
    unsafe fn get<'a>(&self, number: u8) -> &'a mut [u8; BUFFER_BYTES] {
        let number = usize::from(number) % QUEUE;
        // SAFETY: one of the QUEUE buffers behind `start`, allocated for ever; the caller promises that nobody else uses it.
        unsafe { self.start.add(number).as_mut() }
    }

    /// Remembers which buffer the driver's token stands for.
    fn given(&mut self, token: u16, number: u8) {
        if let Some(place) = self.of_token.get_mut(usize::from(token)) {
            *place = number;
        }
    }

    /// The buffer that a token stands for; `None` where the device names a token that there is none.
    fn number_of(&self, token: u16) -> Option<u8> {
        self.of_token.get(usize::from(token)).copied()
    }
}

/// A received frame: where it lies in which buffer.
struct Arrived {
    buffer: u8,
    start: usize,
    len: usize,
}

/// The network device of the guest.
pub struct Device {
    sender: Sender,
    rx: Buffers,
    /// Frames the stack has not taken, in order.
    arrived: VecDeque<Arrived>,
    /// Buffers whose frames the stack has taken, and that are the device's again at the next look.
    taken: Vec<u8>,
    mac: [u8; 6],
    full: bool,
    /// The counters as they were emitted last: frames that wait, frames with the device.
    counted: (usize, usize),
}

/// The half that sends; it holds the driver of both queues.
struct Sender {
    driver: Driver,
    tx: Buffers,
    free: Vec<u8>,
}

impl Device {
    fn new(found: virtio::Found) -> Result<Self, virtio_drivers::Error> {
        let driver = Driver::new(found.transport)?;
        let mac = driver.mac_address();
        let sender = Sender { driver, tx: Buffers::new(), free: Buffers::numbers().collect() };
        let mut device = Device {
            sender,
            rx: Buffers::new(),
            arrived: VecDeque::with_capacity(QUEUE),
            taken: Buffers::numbers().collect(),
            mac,
            full: false,
            counted: (0, 0),
        };
        device.give_back_taken();
        found.line.connect();
        Ok(device)
    }

    /// Makes buffers whose frames have been taken the device's again.
    fn give_back_taken(&mut self) {
        while let Some(number) = self.taken.pop() {
            // SAFETY: the buffer is in no other list, so neither the device nor a token has it. From here on it is the
            // device's, until `receive_complete`.
            let token = unsafe { self.sender.driver.receive_begin(self.rx.get(number)) };
            match token {
                Ok(token) => self.rx.given(token, number),
                // The queue has as many places as there are buffers.
                Err(_) => return self.taken.push(number),
            }
        }
    }

    /// Takes what the device has received.
    fn take_arrived(&mut self) {
        let before = self.arrived.len();
        while let Some(token) = self.sender.driver.poll_receive() {
            let Some(buffer) = self.rx.number_of(token) else { return };
            // SAFETY: the buffer was given with this token, and the device has done with it. If the driver doubts that, it
            // says so, and the buffer stays the device's.
            let completed = unsafe { self.sender.driver.receive_complete(token, self.rx.get(buffer)) };
            match completed {
                Ok((start, len)) if start + len <= BUFFER_BYTES => {
                    self.arrived.push_back(Arrived { buffer, start, len })
                }
                // Longer than its buffer, or shorter than its header: no frame.
                Ok(_) => self.taken.push(buffer),
                Err(_) => return,
            }
        }
        if self.arrived.len() > before {
            self.count_arrived();
        }
    }

    fn count_arrived(&mut self) {
        let frames = self.arrived.len();
        if core::mem::replace(&mut self.counted.0, frames) != frames {
            counter!("virtio.rx_queue", frames = frames);
        }
    }

    /// Whether a frame may be sent. Emits the change from yes to no.
    fn has_room(&mut self) -> bool {
        self.sender.take_sent();
        let full = self.sender.free.is_empty();
        if full && !self.full {
            instant!("virtio.tx_full", frames = QUEUE);
        }
        self.full = full;
        !full
    }
}

impl Sender {
    /// Takes back the buffers that the device has sent.
    fn take_sent(&mut self) {
        while let Some(token) = self.driver.poll_transmit() {
            let Some(number) = self.tx.number_of(token) else { return };
            // SAFETY: as in `take_arrived`.
            if unsafe { self.driver.transmit_complete(token, self.tx.get(number)) }.is_err() {
                return;
            }
            self.free.push(number);
        }
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
            self.sender.driver.ack_interrupt();
            apic::unmask_line();
        }
    }

    fn flush(&mut self) {
        // Frames are with the device as soon as they are written: there is nothing to send, but a turn has ended.
        self.count_arrived();
        let frames = QUEUE - self.sender.free.len();
        if core::mem::replace(&mut self.counted.1, frames) != frames {
            counter!("virtio.tx_queue", frames = frames);
        }
    }
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        self.give_back_taken();
        self.take_arrived();
        if self.arrived.is_empty() || !self.has_room() {
            return None;
        }
        let frame = self.arrived.pop_front()?;
        Some((RxToken { frame, buffers: &self.rx, taken: &mut self.taken }, TxToken { sender: &mut self.sender }))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        self.has_room().then_some(TxToken { sender: &mut self.sender })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities
    }
}

/// A frame that the stack may take.
pub struct RxToken<'a> {
    frame: Arrived,
    buffers: &'a Buffers,
    taken: &'a mut Vec<u8>,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let Arrived { buffer, start, len } = self.frame;
        // SAFETY: the driver has given the buffer back, and this token alone knows its number until it is `taken`.
        let bytes = unsafe { self.buffers.get(buffer) };
        let result = f(bytes.get(start..start + len).unwrap_or(&[]));
        self.taken.push(buffer);
        result
    }
}

/// Leave to send one frame.
pub struct TxToken<'a> {
    sender: &'a mut Sender,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Sender { driver, tx, free } = self.sender;
        // A token is given only while there is a free buffer, and the sender is borrowed since.
        let number = free.pop().expect("a transmit token stands for a free buffer");
        // SAFETY: free buffers are not the device's, and this one is in no list now.
        let buffer = unsafe { tx.get(number) };
        let header = driver.fill_buffer_header(buffer).unwrap_or(0);
        let end = (header + len).min(BUFFER_BYTES);
        let result = f(&mut buffer[header..end]);
        // SAFETY: from here on the buffer is the device's, until `transmit_complete`; it is not in `free`.
        match unsafe { driver.transmit_begin(&buffer[..end]) } {
            Ok(token) => tx.given(token, number),
            // The queue has as many places as there are buffers.
            Err(_) => free.push(number),
        }
        result
    }
}
