//! The network device: netfront, against the netback of the domain that has the bridge; a device of smoltcp.
//!
//! When it is full, no frame is discarded here. Received frames wait in the pages that we have lent to the back, and while all
//! are filled the back keeps further ones, then discards. A frame that is to be sent gets no token while there are too few
//! free slots for the longest one; that is the instant `netfront.tx_full`, and the back tells us when it has sent one.
//!
//! A frame is sent in fragments of at most a page (or of the boot parameter `tx_fragment=`, for trying out), each a slot of
//! the ring. All of a frame's slots are reserved at once: see [`crate::ring`].
//!
//! ```text
//!   smoltcp ─ frame ─► pages ─ requests ─► │ ring, granted │ ─► netback ─► bridge
//! ```
//! Pages stay granted from one frame to the next. The back may write into those that it is to fill for as long as it likes:
//! a frame is copied out once, and only the copy is looked at.
//!
//! Source: Xen, `xen/include/public/io/netif.h`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write as _;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;

use fata_probe::{counter, instant, name, span};
use smoltcp::phy::{self, DeviceCapabilities};
use smoltcp::time::Instant;

use super::clock;
use super::events::Port;
use super::grants::{self, Access, GrantError, GrantRef};
use super::hypercall::Refused;
use super::machine::{Console, boot};
use super::store::{self, StoreError};
use crate::executor::WakeCell;
use crate::net::device::FRAME_BYTES;
use crate::net::{self, Nic};
use crate::ring::{Front, Layout, PAGE_BYTES, Page, Slots};

/// Slots of 12 and of 8 bytes: 256 of each.
const SEND: Layout = Layout::of_slots(12);
const RECEIVE: Layout = Layout::of_slots(8);
/// Pages lent to the back to be filled, and pages for what is to be sent.
const RECEIVE_PAGES: usize = 128;
const SEND_PAGES: usize = 256;
/// netback takes no frame of more fragments (XEN_NETIF_NR_SLOTS_MIN).
const MAX_FRAGMENTS: usize = 18;
/// Flags of a request and of an answer.
const MORE_DATA: u16 = 4;
const EXTRA_INFO: u16 = 8;
/// States of a device (`io/xenbus.h`).
const INIT_WAIT: u32 = 2;
const CONNECTED: u32 = 4;
/// How long dom0 may take to offer the device, and to connect it.
const PATIENCE_NANOS: u64 = 60_000_000_000;
const LOOK_NANOS: u64 = 5_000_000;

static WAKER: WakeCell = WakeCell::new();

/// The domain's first network device, the first time that someone asks; `None` if there is none, with a sentence on the
/// console if there is one that cannot be used.
#[must_use]
pub(crate) fn device() -> Option<Device> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    let _span = span!("boot.net");
    match Device::connect("device/vif/0") {
        Ok(device) => device,
        Err(error) => {
            // The console takes everything, so there is no error to look at.
            let _ = writeln!(Console, "fata: the network device cannot be used: {error}");
            None
        }
    }
}

/// Why there is no network.
#[derive(Debug)]
enum NetError {
    Store(StoreError),
    Grant(GrantError),
    Port(Refused),
    NoMemory,
    Address(String),
    Silent(u32),
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetError::Store(error) => error.fmt(f),
            NetError::Grant(error) => error.fmt(f),
            NetError::Port(error) => write!(f, "no event channel: {error}"),
            NetError::NoMemory => f.write_str("there is no memory for its pages: raise memory= in the xl.cfg"),
            NetError::Address(text) => write!(f, "its Ethernet address `{text}` is none"),
            NetError::Silent(state) => write!(
                f,
                "dom0's end stays in state {state}: is the module xen-netback loaded, and does the script of the vif run?"
            ),
        }
    }
}

impl From<StoreError> for NetError {
    fn from(error: StoreError) -> Self {
        NetError::Store(error)
    }
}

impl From<GrantError> for NetError {
    fn from(error: GrantError) -> Self {
        NetError::Grant(error)
    }
}

/// A page that the back may use, by its place in the pool: the request's `id`.
struct Lent {
    page: Page,
    grant: GrantRef,
}

/// The network device of the guest.
pub(crate) struct Device {
    mac: [u8; 6],
    port: Port,
    sending: Sending,
    receiving: Receiving,
    /// Fragments to be sent, as the counter said last.
    counted: usize,
}

/// The half that sends.
struct Sending {
    ring: Front,
    pages: Vec<Lent>,
    /// Pages that hold nothing that is still to be sent.
    free: Vec<u16>,
    fragment_bytes: usize,
    frame: [u8; FRAME_BYTES],
    /// Somebody was refused leave to send since there was room.
    full: bool,
}

/// The half that receives.
struct Receiving {
    ring: Front,
    pages: Vec<Lent>,
    frame: Vec<u8>,
}

impl Device {
    /// Connects to the back; `None` where the domain has no such device.
    fn connect(place: &str) -> Result<Option<Self>, NetError> {
        let at = |key: &str| format!("{place}/{key}");
        let back = match store::read(&at("backend")) {
            Ok(back) => back,
            Err(StoreError::Answer(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let domain: u16 = store::read_number(&at("backend-id"))?;
        let text = store::read(&at("mac"))?;
        let mac = parse_mac(&text).ok_or(NetError::Address(text))?;
        let port = Port::allocate(domain).map_err(NetError::Port)?;
        wait_for(&back, INIT_WAIT, port)?;

        let (sending, send_ref) = Sending::new(domain)?;
        let (receiving, receive_ref) = Receiving::new(domain)?;
        let entries = [
            ("tx-ring-ref", send_ref.0.to_string()),
            ("rx-ring-ref", receive_ref.0.to_string()),
            ("event-channel", port.number().to_string()),
            ("request-rx-copy", "1".to_string()),
            ("feature-rx-notify", "1".to_string()),
            ("feature-sg", "1".to_string()),
            // What comes is to have its checksums: smoltcp looks at them.
            ("feature-no-csum-offload", "1".to_string()),
            ("state", CONNECTED.to_string()),
        ];
        for (key, value) in &entries {
            store::write(&at(key), value)?;
        }
        wait_for(&back, CONNECTED, port)?;
        port.connect(|| WAKER.wake());
        port.notify();
        instant!("netfront.connected", backend = back.as_str(), fragment_bytes = sending.fragment_bytes);
        Ok(Some(Device { mac, port, sending, receiving, counted: 0 }))
    }

    /// Shows the back what there is for it.
    fn publish(&self) {
        // Both, before the one call.
        let (sent, lent) = (self.sending.ring.publish(), self.receiving.ring.publish());
        if sent || lent {
            self.port.notify();
        }
    }
}

impl Sending {
    fn new(domain: u16) -> Result<(Self, GrantRef), NetError> {
        let (page, grant) = ring_page(domain)?;
        let slots = Slots::new(name!("netfront.turn"), name!("netfront.slots"), SEND.slots as usize);
        let asked = boot::number(boot::args(), "tx_fragment").and_then(|bytes| usize::try_from(bytes).ok());
        let sending = Sending {
            ring: Front::new(page, SEND, slots),
            pages: lend(domain, SEND_PAGES, Access::ReadOnly)?,
            free: (0..).take(SEND_PAGES).collect(),
            fragment_bytes: asked.unwrap_or(PAGE_BYTES).clamp(FRAME_BYTES.div_ceil(MAX_FRAGMENTS), PAGE_BYTES),
            frame: [0; FRAME_BYTES],
            full: false,
        };
        Ok((sending, grant))
    }

    /// Takes back what the back has sent.
    fn take_sent(&mut self) {
        let mut answer = [0; 12];
        while self.ring.take(&mut answer) {
            let (id, status) = (u16::from_le_bytes([answer[0], answer[1]]), i16::from_le_bytes([answer[2], answer[3]]));
            if status < 0 {
                instant!(level: Warn, "netfront.not_sent", status = i64::from(status));
            }
            // An id twice would be the back's fault, and makes it send the wrong frame.
            if usize::from(id) < self.pages.len() && self.free.len() < SEND_PAGES {
                self.free.push(id);
            }
        }
    }

    /// Whether the longest frame may be sent.
    fn is_room(&self) -> bool {
        let most = FRAME_BYTES.div_ceil(self.fragment_bytes);
        self.free.len() >= most && self.ring.free_now() >= most
    }

    /// Whether a frame may be sent. Once it may not, the back tells us when that changes.
    fn has_room(&mut self) -> bool {
        if !self.is_room() {
            self.take_sent();
        }
        if !self.is_room() {
            if !mem::replace(&mut self.full, true) {
                instant!("netfront.tx_full", free = self.ring.free_now());
            }
            while self.ring.tell_us() {
                self.take_sent();
            }
        }
        if self.is_room() {
            self.full = false;
        }
        !self.full
    }

    /// Puts a frame on the ring, in fragments that lie in one piece there.
    fn send(&mut self, len: usize) {
        let fragments = len.div_ceil(self.fragment_bytes);
        // A token is given only while there is room for the longest frame.
        let Ok(Some(reservation)) = self.ring.try_reserve(fragments) else { return };
        let mut requests = [[0; 12]; MAX_FRAGMENTS];
        let parts = self.frame[..len].chunks(self.fragment_bytes);
        for (at, (request, part)) in requests.iter_mut().zip(parts).enumerate() {
            let Some(id) = self.free.pop() else { return };
            let Lent { page, grant } = &self.pages[usize::from(id)];
            page.write(0, part);
            // The first request's length is the frame's, which is shorter than 64 KiB.
            let size = u16::try_from(if at == 0 { len } else { part.len() }).unwrap_or(0);
            let flags = if at + 1 < fragments { MORE_DATA } else { 0 };
            request[..4].copy_from_slice(&grant.0.to_le_bytes());
            request[6..8].copy_from_slice(&flags.to_le_bytes());
            request[8..10].copy_from_slice(&id.to_le_bytes());
            request[10..].copy_from_slice(&size.to_le_bytes());
        }
        self.ring.fill(reservation, requests.iter().map(|request| &request[..]));
    }
}

impl Receiving {
    fn new(domain: u16) -> Result<(Self, GrantRef), NetError> {
        let (page, grant) = ring_page(domain)?;
        let slots = Slots::new(name!("netfront.rx_turn"), name!("netfront.rx_slots"), RECEIVE.slots as usize);
        let ring = Front::new(page, RECEIVE, slots);
        let pages = lend(domain, RECEIVE_PAGES, Access::ReadWrite)?;
        let receiving = Receiving { ring, pages, frame: Vec::with_capacity(FRAME_BYTES) };
        for id in (0..).take(RECEIVE_PAGES) {
            receiving.ask(id);
        }
        // Whether the back wants to be told matters only once it is connected.
        let _ = receiving.ring.publish();
        Ok((receiving, grant))
    }

    /// Lends page `id` to the back for the next frame.
    fn ask(&self, id: u16) {
        // There are fewer pages than slots.
        let (Some(lent), Ok(Some(reservation))) = (self.pages.get(usize::from(id)), self.ring.try_reserve(1)) else {
            return;
        };
        let mut request = [0; 8];
        request[..2].copy_from_slice(&id.to_le_bytes());
        request[4..].copy_from_slice(&lent.grant.0.to_le_bytes());
        self.ring.fill(reservation, [&request[..]]);
    }

    /// Takes a whole frame off the ring; whether there was one: if not, the back tells us of the next. It answers for a whole
    /// frame at a time; what is none is thrown away.
    fn take_frame(&mut self) -> bool {
        self.frame.clear();
        let mut whole = true;
        let mut answer = [0; 8];
        while self.ring.take(&mut answer) || (self.ring.tell_us() && self.ring.take(&mut answer)) {
            let half = |at: usize| u16::from_le_bytes([answer[at], answer[at + 1]]);
            let (id, offset, flags, status) = (half(0), usize::from(half(2)), half(4), half(6).cast_signed());
            let len = usize::try_from(status).unwrap_or(0);
            let start = self.frame.len();
            match self.pages.get(usize::from(id)) {
                Some(lent) if len > 0 && offset + len <= PAGE_BYTES && start + len <= FRAME_BYTES => {
                    self.frame.resize(start + len, 0);
                    lent.page.read(offset, &mut self.frame[start..]);
                }
                _ => whole = false,
            }
            self.ask(id);
            whole &= flags & EXTRA_INFO == 0;
            if flags & MORE_DATA != 0 {
                continue;
            }
            if whole {
                return true;
            }
            instant!(level: Warn, "netfront.bad_frame", bytes = self.frame.len());
            self.frame.clear();
            whole = true;
        }
        false
    }
}

impl Nic for Device {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn set_waker(&mut self, waker: &Waker) {
        WAKER.register(waker);
        self.publish();
        if self.receiving.ring.tell_us() {
            WAKER.wake();
        }
    }

    fn flush(&mut self) {
        self.publish();
        self.sending.take_sent();
        let pages = SEND_PAGES - self.sending.free.len();
        if mem::replace(&mut self.counted, pages) != pages {
            counter!("netfront.tx_queue", fragments = pages);
        }
    }
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        if !self.sending.has_room() {
            self.publish();
            return None;
        }
        if !self.receiving.take_frame() {
            return None;
        }
        Some((RxToken { frame: &self.receiving.frame }, TxToken { sending: &mut self.sending }))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        if !self.sending.has_room() {
            self.publish();
            return None;
        }
        Some(TxToken { sending: &mut self.sending })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        net::ethernet()
    }
}

/// A frame that the stack may take.
pub(crate) struct RxToken<'a> {
    frame: &'a [u8],
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

/// Leave to send one frame.
pub(crate) struct TxToken<'a> {
    sending: &'a mut Sending,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // The stack keeps to the device's maximum.
        let result = f(&mut self.sending.frame[..len]);
        self.sending.send(len);
        result
    }
}

/// A page for a ring, granted to domain `domain`.
fn ring_page(domain: u16) -> Result<(Page, GrantRef), NetError> {
    let page = Page::new().ok_or(NetError::NoMemory)?;
    Ok((page, grants::grant(domain, page.frame(), Access::ReadWrite)?))
}

/// Pages that domain `domain` may use from now on.
fn lend(domain: u16, count: usize, access: Access) -> Result<Vec<Lent>, NetError> {
    let lend = |_| {
        let page = Page::new().ok_or(NetError::NoMemory)?;
        Ok(Lent { page, grant: grants::grant(domain, page.frame(), access)? })
    };
    (0..count).map(lend).collect()
}

/// Pauses the vCPU until the back is in `state`.
fn wait_for(back: &str, state: u32, port: Port) -> Result<(), NetError> {
    let place = format!("{back}/state");
    let deadline = clock::system_nanos() + PATIENCE_NANOS;
    loop {
        let now: u32 = store::read_number(&place)?;
        if now == state {
            return Ok(());
        }
        let time = clock::system_nanos();
        if time >= deadline {
            return Err(NetError::Silent(now));
        }
        port.wait_until(time + LOOK_NANOS, || false);
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}
