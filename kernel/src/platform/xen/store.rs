//! XenStore: the tree of short texts through which a domain, the toolstack and backends find one another.
//!
//! A request is answered before the function returns; the vCPU pauses meanwhile, which takes as long as dom0 takes to get its
//! turn. That is for boot and for what is rare. Afterwards a task waits for *watches*: who asked for one is woken when the
//! place, or one below it, has changed.
//!
//! When it is full: a request that does not fit the ring waits for room, and one that dom0 does not answer within 60 s fails
//! with [`StoreError::Silent`]. Watches are flags, and so never too many.
//!
//! ```text
//! store::write("data/fata/name", "http")?;          // below the domain's own place
//! let mut asked = store::watch("control/shutdown")?;
//! loop { asked.changed().await; … }
//! ```

#![expect(unsafe_code, reason = "Xen says at which address the ring is")]

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::mem;
use core::task::{Poll, Waker};

use super::clock;
use super::events::Port;
use super::hypercall::{self, Parameter, Refused};
use super::machine::local::Local;
use crate::executor::WakeCell;
use crate::ring::{ByteRing, Page};

/// Kinds of messages (`io/xs_wire.h`).
const READ: u32 = 2;
const WATCH: u32 = 4;
const WRITE: u32 = 11;
const SET_PERMISSIONS: u32 = 14;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;

const HEADER_BYTES: usize = 16;
/// No message is longer (XENSTORE_PAYLOAD_MAX).
const MAX_PAYLOAD_BYTES: usize = 4096;
const PATIENCE_NANOS: u64 = 60_000_000_000;

static STORE: Local<Option<Store>> = Local::new(None);
/// The task that serves watches.
static SERVER: WakeCell = WakeCell::new();

/// Why XenStore did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoreError {
    /// The domain has no XenStore.
    Absent(Refused),
    /// dom0 did not answer.
    Silent,
    /// The answer is an error, with its name: `ENOENT` where there is no such place.
    Answer(String),
    /// The answer is not one to what was asked.
    Garbled,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Absent(refused) => write!(f, "there is no XenStore: {refused}"),
            StoreError::Silent => f.write_str("XenStore does not answer: does xenstored run in dom0?"),
            StoreError::Answer(name) => write!(f, "XenStore answers {name}"),
            StoreError::Garbled => f.write_str("XenStore's answer makes no sense"),
        }
    }
}

impl core::error::Error for StoreError {}

struct Store {
    requests: ByteRing,
    answers: ByteRing,
    port: Port,
    next_request: u32,
    /// What was taken off the ring and is no whole message yet.
    partial: Vec<u8>,
    watches: Vec<Watched>,
}

/// One watch; its token is its place in the list.
#[derive(Default)]
struct Watched {
    fired: bool,
    waker: Option<Waker>,
}

struct Message {
    kind: u32,
    request: u32,
    payload: Vec<u8>,
}

/// Finds the ring.
pub(super) fn start() -> Result<(), StoreError> {
    let frame = hypercall::parameter(Parameter::StorePage).map_err(StoreError::Absent)?;
    let port = hypercall::parameter(Parameter::StorePort).map_err(StoreError::Absent)?;
    // SAFETY: the page that Xen's toolstack has made for this ring, below 4 GiB and thus mapped.
    let page = unsafe { Page::at(frame << 12) }.ok_or(StoreError::Absent(Refused(0)))?;
    let port = Port::of_number(u32::try_from(port).unwrap_or(0));
    *STORE.get() = Some(Store {
        // `io/xs_wire.h`: two rings of 1024 bytes, then their indices.
        requests: ByteRing { page, at: 0, len: 1024, consumed: 2048, produced: 2052 },
        answers: ByteRing { page, at: 1024, len: 1024, consumed: 2056, produced: 2060 },
        port,
        next_request: 1,
        partial: Vec::new(),
        watches: Vec::new(),
    });
    port.connect(|| SERVER.wake());
    Ok(())
}

/// The text at `path`; relative paths begin at the domain's own place.
pub(super) fn read(path: &str) -> Result<String, StoreError> {
    let bytes = ask(READ, &[path.as_bytes(), b"\0"])?;
    String::from_utf8(bytes).map_err(|_| StoreError::Garbled)
}

/// The number at `path`.
pub(super) fn read_number<T: core::str::FromStr>(path: &str) -> Result<T, StoreError> {
    read(path)?.trim().parse().map_err(|_| StoreError::Garbled)
}

/// Makes `path` say `value`.
pub(super) fn write(path: &str, value: &str) -> Result<(), StoreError> {
    ask(WRITE, &[path.as_bytes(), b"\0", value.as_bytes()]).map(drop)
}

/// Makes `path`, and what will be below it, ours to write and domain `reader`'s to read, and nobody else's.
pub(super) fn restrict(path: &str, reader: u16) -> Result<(), StoreError> {
    let own: u16 = read_number("domid")?;
    let permissions = alloc::format!("n{own}\0r{reader}\0");
    ask(SET_PERMISSIONS, &[path.as_bytes(), b"\0", permissions.as_bytes()]).map(drop)
}

/// A place that is watched, for ever.
pub(super) struct Watch {
    token: usize,
}

/// Watches `path`. The first change comes at once: so it is XenStore's way.
pub(super) fn watch(path: &str) -> Result<Watch, StoreError> {
    let token = {
        let mut store = STORE.get();
        let store = store.as_mut().ok_or(StoreError::Silent)?;
        store.watches.push(Watched::default());
        store.watches.len() - 1
    };
    ask(WATCH, &[path.as_bytes(), b"\0", alloc::format!("{token}\0").as_bytes()])?;
    Ok(Watch { token })
}

impl Watch {
    /// Waits for a change since the last one that was waited for.
    pub(super) async fn changed(&mut self) {
        poll_fn(|cx| {
            let mut store = STORE.get();
            let Some(watched) = store.as_mut().and_then(|store| store.watches.get_mut(self.token)) else {
                return Poll::Pending;
            };
            if mem::take(&mut watched.fired) {
                return Poll::Ready(());
            }
            watched.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The task that takes what XenStore says unasked.
pub(super) async fn serve() {
    poll_fn(|cx| {
        // First register, then look: an event that comes in between wakes us.
        SERVER.register(cx.waker());
        if let Some(store) = STORE.get().as_mut() {
            while let Some(message) = store.take_message() {
                store.note_watch(&message);
            }
        }
        Poll::<()>::Pending
    })
    .await;
}

/// Sends a request, and returns the answer's payload.
fn ask(kind: u32, parts: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
    let mut store = STORE.get();
    let store = store.as_mut().ok_or(StoreError::Silent)?;
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let request = store.next_request;
    store.next_request = request.wrapping_add(1);
    let deadline = clock::system_nanos() + PATIENCE_NANOS;
    // No payload is longer than a path and a value.
    let header = [kind, request, 0, u32::try_from(len).map_err(|_| StoreError::Garbled)?].map(u32::to_le_bytes);
    let answer = store.ask(header.as_flattened(), parts, request, deadline);
    // Events of watches may have come along, and what announced them has been taken.
    SERVER.wake();
    let answer = answer?;
    match answer.kind {
        ERROR => {
            let name = answer.payload.split(|&byte| byte == 0).next().unwrap_or(&[]);
            Err(StoreError::Answer(String::from_utf8_lossy(name).into_owned()))
        }
        answered if answered == kind => Ok(answer.payload),
        _ => Err(StoreError::Garbled),
    }
}

impl Store {
    fn ask(&mut self, header: &[u8], parts: &[&[u8]], request: u32, deadline: u64) -> Result<Message, StoreError> {
        self.send(header, deadline)?;
        for part in parts {
            self.send(part, deadline)?;
        }
        self.port.notify();
        self.answer_to(request, deadline)
    }

    fn send(&mut self, mut bytes: &[u8], deadline: u64) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let len = self.requests.put(bytes);
            bytes = &bytes[len..];
            if len == 0 {
                self.port.notify();
                let requests = self.requests;
                if !self.port.wait_until(deadline, || requests.free() > 0) {
                    return Err(StoreError::Silent);
                }
            }
        }
        Ok(())
    }

    fn answer_to(&mut self, request: u32, deadline: u64) -> Result<Message, StoreError> {
        loop {
            while let Some(message) = self.take_message() {
                if message.kind == WATCH_EVENT {
                    self.note_watch(&message);
                } else if message.request == request {
                    return Ok(message);
                }
            }
            let answers = self.answers;
            if !self.port.wait_until(deadline, || answers.filled() > 0) {
                return Err(StoreError::Silent);
            }
        }
    }

    /// The next message, if it is there as a whole.
    fn take_message(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.split_message() {
                return Some(message);
            }
            let mut bytes = [0; 256];
            let len = self.answers.take(&mut bytes);
            if len == 0 {
                return None;
            }
            self.partial.extend_from_slice(&bytes[..len]);
            self.port.notify();
        }
    }

    fn split_message(&mut self) -> Option<Message> {
        let word = |at: usize| {
            let bytes = self.partial.get(at..at + 4)?;
            Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let (kind, request, len) = (word(0)?, word(4)?, word(12)? as usize);
        if len > MAX_PAYLOAD_BYTES {
            // dom0 is not to be misunderstood for ever: what is there is thrown away.
            self.partial.clear();
            return None;
        }
        let rest = self.partial.get(HEADER_BYTES + len..)?.to_vec();
        let message = mem::replace(&mut self.partial, rest);
        Some(Message { kind, request, payload: message[HEADER_BYTES..HEADER_BYTES + len].to_vec() })
    }

    /// The payload of a watch's event is the path, then the token.
    fn note_watch(&mut self, message: &Message) {
        let token = message.payload.split(|&byte| byte == 0).nth(1);
        let token = token.and_then(|token| core::str::from_utf8(token).ok()?.parse::<usize>().ok());
        if let Some(watched) = token.and_then(|token| self.watches.get_mut(token)) {
            watched.fired = true;
            if let Some(waker) = watched.waker.take() {
                waker.wake();
            }
        }
    }
}
