//! What the stack asks of a network device, and the wrapper that traces every frame on its way through.
//!
//! A platform's device is a [`smoltcp::phy::Device`] that can say its address and wake the network's task:
//!
//! ```text
//! impl net::Nic for VirtioNet {
//!     fn mac(&self) -> [u8; 6] { self.mac }
//!     fn set_waker(&mut self, waker: &Waker) { INTERRUPT.register(waker) }
//! }
//! ```
//! Full: a device that can take no frame gives no transmit token; the segment stays in its socket and is tried again when
//! the device wakes the task.

use alloc::rc::Rc;
use core::task::Waker;

use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use super::flows::{Arrival, Flows};

/// An Ethernet frame without its checksum, at most.
pub(crate) const FRAME_BYTES: usize = 1514;

/// What every device here is to the stack: Ethernet, with checksums left to the stack.
pub(crate) fn ethernet() -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = FRAME_BYTES;
    capabilities
}

/// A network device of a platform.
pub trait Nic: phy::Device {
    /// Its Ethernet address.
    fn mac(&self) -> [u8; 6];

    /// Who is to be woken when a frame arrives, or when there is room for one again. The waker may be used from an interrupt
    /// handler or another thread. Whatever happened before the call must not wake; whatever happens after it must.
    fn set_waker(&mut self, waker: &Waker);

    /// Sends what was transmitted since the last call, where the device collects frames.
    fn flush(&mut self) {}

    /// Records how full the device's queues are, where that has changed since the last call; whether it has. The stack asks
    /// at most every millisecond.
    fn gauge(&mut self) -> bool {
        false
    }
}

/// A device of any type, wrapped and traced.
pub(super) trait Driver {
    /// Passes one frame to the stack, if there is one.
    fn ingress(&mut self, now: Instant, interface: &mut Interface, sockets: &mut SocketSet<'static>) -> bool;
    /// Sends until no socket has anything to send, or the device is full.
    fn egress(&mut self, now: Instant, interface: &mut Interface, sockets: &mut SocketSet<'static>);
    /// See [`Nic::set_waker`].
    fn set_waker(&mut self, waker: &Waker);
    /// See [`Nic::gauge`].
    fn gauge(&mut self) -> bool;
}

/// A device whose frames are traced.
pub(super) struct Traced<D> {
    pub(super) device: D,
    pub(super) flows: Rc<Flows>,
}

impl<D: Nic> Driver for Traced<D> {
    fn ingress(&mut self, now: Instant, interface: &mut Interface, sockets: &mut SocketSet<'static>) -> bool {
        interface.poll_ingress_single(now, self, sockets) != PollIngressSingleResult::None
    }

    fn egress(&mut self, now: Instant, interface: &mut Interface, sockets: &mut SocketSet<'static>) {
        while interface.poll_egress(now, self, sockets) != PollResult::None {}
        self.device.flush();
    }

    fn set_waker(&mut self, waker: &Waker) {
        self.device.set_waker(waker);
    }

    fn gauge(&mut self) -> bool {
        self.device.gauge()
    }
}

impl<D: phy::Device> phy::Device for Traced<D> {
    type RxToken<'a>
        = TracedRx<'a, D::RxToken<'a>>
    where
        D: 'a;
    type TxToken<'a>
        = TracedTx<'a, D::TxToken<'a>>
    where
        D: 'a;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let (rx, tx) = self.device.receive(now)?;
        Some((TracedRx { token: rx, flows: &self.flows }, TracedTx { token: tx, flows: &self.flows }))
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        Some(TracedTx { token: self.device.transmit(now)?, flows: &self.flows })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

pub(super) struct TracedRx<'a, T> {
    token: T,
    flows: &'a Flows,
}

impl<T: phy::RxToken> phy::RxToken for TracedRx<'_, T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        self.token.consume(|frame| {
            let arrival = self.flows.receive(frame);
            // The stack takes an empty frame for none. (One call, so that the stack is compiled into it.)
            let result = f(if matches!(arrival, Arrival::Refused) { &[] } else { frame });
            self.flows.received(arrival);
            result
        })
    }
}

pub(super) struct TracedTx<'a, T> {
    token: T,
    flows: &'a Flows,
}

impl<T: phy::TxToken> phy::TxToken for TracedTx<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.token.consume(len, |frame| {
            let result = f(frame);
            self.flows.sent(frame);
            result
        })
    }
}
