//! The control channel: the server's end of a libxenvchan stream, over which dom0 asks and the guest answers, in text.
//!
//! A request is one line. The answer is one line or more, and ends with an empty line. So any program that speaks
//! libxenvchan will do:
//!
//! ```text
//! dom0# (echo ping; sleep 1) | vchan-socket-proxy DOMID /local/domain/DOMID/data/fata/ctl -
//! ok: up 12.345 s, tick 29629630012, shared 51234567890
//! ```
//!
//! When it is full: an answer waits for room, and the next request is not read meanwhile, so that a client that does not read
//! only stops itself. A line that is longer than a request may be is thrown away, and answered with an error.
//!
//! The shared page (`io/libxenvchan.h`), which the client writes too and which is therefore believed in nothing but text:
//!
//! | byte | content |
//! |---|---|
//! | 0, 4 | what the client writes (*left*): taken out, put in |
//! | 8, 12 | what we write (*right*): taken out, put in |
//! | 16, 18 | their lengths as powers of two: 2^10 bytes at 1024, 2^11 bytes at 2048 |
//! | 20, 21 | whether the client and we are there: 0 gone, 1 connected, 2 waiting |
//! | 22, 23 | at what the client and we are to tell the other: 1 when something is put in, 2 when something is taken out |
//! | 24… | grants of further pages: none |
//!
//! One client at a time. When it goes, the channel waits for the next one. When the guest ends, its own end says so: a client
//! keeps the page for as long as it likes, and would wait in it for ever.

use alloc::format;
use alloc::string::ToString;
use core::future::poll_fn;
use core::sync::atomic::Ordering;
use core::task::Poll;

use fata_probe::control::Reply;
use fata_probe::instant;
use fata_wire::request::MAX_TEXT_BYTES;

use super::events::Port;
use super::grants::{self, Access};
use super::machine::local::Local;
use super::machine::trace;
use super::store;
use crate::control;
use crate::executor::WakeCell;
use crate::ring::{ByteRing, Page};

/// Whoever asks runs there.
const DOM0: u16 = 0;
const PLACE: &str = "data/fata/ctl";
const ORDERS: usize = 16;
const CLIENT_LIVE: usize = 20;
const SERVER_LIVE: usize = 21;
/// At what the client is to tell us, and we the client.
const CLIENT_TELLS: usize = 22;
const SERVER_TELLS: usize = 23;
const GONE: u8 = 0;
const CONNECTED: u8 = 1;
const WAITING: u8 = 2;
/// What one tells the other of.
const PUT_IN: u8 = 1;
const TAKEN_OUT: u8 = 2;

/// The task that serves the channel.
static SERVER: WakeCell = WakeCell::new();
/// The shared page and the port, once there is a channel.
static CHANNEL: Local<Option<(Page, Port)>> = Local::new(None);

/// Our end.
pub(super) struct Server {
    page: Page,
    left: ByteRing,
    right: ByteRing,
    port: Port,
}

impl Server {
    /// Makes the channel and says in XenStore where it is. `None` without a trace ring, or where there is no memory, port
    /// or place for it: then requests still come through the control page.
    pub(super) fn new() -> Option<Self> {
        trace::region()?;
        let page = Page::new()?;
        let server = Server {
            page,
            left: ByteRing { page, at: 1024, len: 1024, consumed: 0, produced: 4 },
            right: ByteRing { page, at: 2048, len: 2048, consumed: 8, produced: 12 },
            port: Port::allocate(DOM0).ok()?,
        };
        page.word(ORDERS).store(10 | 11 << 16, Ordering::Relaxed);
        page.byte(CLIENT_LIVE).store(WAITING, Ordering::Relaxed);
        page.byte(SERVER_LIVE).store(CONNECTED, Ordering::Relaxed);
        // Until a client says what it wants to be told of.
        page.byte(SERVER_TELLS).store(PUT_IN, Ordering::Relaxed);
        let grant = grants::grant(DOM0, page.frame(), Access::ReadWrite).ok()?;
        server.port.connect(|| SERVER.wake());
        *CHANNEL.get() = Some((page, server.port));
        store::write(&format!("{PLACE}/ring-ref"), &grant.0.to_string()).ok()?;
        store::write(&format!("{PLACE}/event-channel"), &server.port.number().to_string()).ok()?;
        Some(server)
    }

    /// Answers, for ever.
    pub(super) async fn serve(self) {
        let mut line = Line::default();
        loop {
            let mut bytes = [0; 256];
            let len = self.take(&mut bytes).await;
            for &byte in &bytes[..len] {
                let mut reply = Reply::new();
                match line.add(byte) {
                    Some(Ok(request)) => {
                        instant!("xen.request", text = request);
                        control::answer(request, &mut reply);
                    }
                    Some(Err(TooLong)) => {
                        use core::fmt::Write as _;
                        // A reply takes what fits.
                        let _ = write!(reply, "error: a request has at most {MAX_TEXT_BYTES} bytes");
                    }
                    None => continue,
                }
                // A client that goes does not hear the rest.
                let _ = self.put(reply.text().trim_end().as_bytes()).await && self.put(b"\n\n").await;
            }
            if len == 0 {
                line = Line::default();
            }
        }
    }

    /// What the client has written; nothing when it has gone.
    async fn take(&self, bytes: &mut [u8]) -> usize {
        poll_fn(|cx| {
            // First register and ask to be told, then look: what comes in between wakes us.
            SERVER.register(cx.waker());
            // SeqCst: pairs with the client's look at the byte after it has put something in.
            self.page.byte(CLIENT_TELLS).fetch_or(PUT_IN, Ordering::SeqCst);
            let len = self.left.take(bytes);
            if len > 0 {
                self.tell(TAKEN_OUT);
                return Poll::Ready(len);
            }
            if self.has_gone() { Poll::Ready(0) } else { Poll::Pending }
        })
        .await
    }

    /// Puts all of it in; whether the client stayed so long.
    async fn put(&self, mut bytes: &[u8]) -> bool {
        poll_fn(|cx| {
            SERVER.register(cx.waker());
            // SeqCst: pairs with the client's look at the byte after it has taken something out.
            self.page.byte(CLIENT_TELLS).fetch_or(TAKEN_OUT, Ordering::SeqCst);
            while !bytes.is_empty() {
                if self.page.byte(CLIENT_LIVE).load(Ordering::Acquire) != CONNECTED {
                    return Poll::Ready(false);
                }
                let len = self.right.put(bytes);
                if len == 0 {
                    return Poll::Pending;
                }
                bytes = &bytes[len..];
                self.tell(PUT_IN);
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Tells the client, if it wants to be told of this.
    fn tell(&self, what: u8) {
        // SeqCst: pairs with the client's asking to be told before it looks at the ring.
        if self.page.byte(SERVER_TELLS).fetch_and(!what, Ordering::SeqCst) & what != 0 {
            self.port.notify();
        }
    }

    /// Whether the client has just gone. The next one finds empty rings.
    fn has_gone(&self) -> bool {
        if self.page.byte(CLIENT_LIVE).load(Ordering::Acquire) != GONE {
            return false;
        }
        for ring in [self.left, self.right] {
            let put_in = self.page.word(ring.produced).load(Ordering::Relaxed);
            self.page.word(ring.consumed).store(put_in, Ordering::Relaxed);
        }
        self.page.byte(SERVER_TELLS).store(PUT_IN, Ordering::Relaxed);
        // Release: pairs with the next client's look: the rings are empty before.
        self.page.byte(CLIENT_LIVE).store(WAITING, Ordering::Release);
        true
    }
}

/// Tells a client that nobody will answer any more, whatever the guest is doing.
pub(super) fn close() {
    let Some((page, port)) = *CHANNEL.get() else { return };
    // Release: pairs with the client's look: what was answered is there before.
    page.byte(SERVER_LIVE).store(GONE, Ordering::Release);
    port.notify();
}

/// A request that comes byte by byte.
struct Line {
    bytes: [u8; MAX_TEXT_BYTES],
    /// How many there have been, also of those that did not fit.
    len: usize,
}

/// The line is no request: too long.
struct TooLong;

impl Default for Line {
    fn default() -> Self {
        Line { bytes: [0; MAX_TEXT_BYTES], len: 0 }
    }
}

impl Line {
    /// Adds a byte; the line, if that was its end. Empty lines are none, and what is not UTF-8 says nothing.
    fn add(&mut self, byte: u8) -> Option<Result<&str, TooLong>> {
        if byte != b'\n' {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
            }
            self.len = self.len.saturating_add(1);
            return None;
        }
        let line = self.bytes.get(..core::mem::take(&mut self.len));
        match line.map(|bytes| core::str::from_utf8(bytes).unwrap_or("?").trim()) {
            Some("") => None,
            Some(line) => Some(Ok(line)),
            None => Some(Err(TooLong)),
        }
    }
}
