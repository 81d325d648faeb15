//! Several guests, or lives of one, in one trace: each hands over through a seat of its own, and what they hand over goes to one sink.
//!
//! Invariant: a guest's packets and descriptions bear its seat's number, so that no guest's numbers are taken for another's;
//! the metadata text only grows, and each piece of it says whose it is. A guest that floods holds the lock for one packet at a
//! time; nothing is kept here. Full: the sink is full for all of them, and each hears it when it hands over next.
//!
//! ```no_run
//! # fn f() -> Result<(), fata_collector::CollectError> {
//! use fata_collector::sink::{directory::{DirectorySink, Options}, together::Together};
//! let together = Together::new(DirectorySink::open("trace".as_ref(), Options::default())?);
//! let (mut left, mut right) = (together.seat(0), together.seat(1));
//! # Ok(()) }
//! ```

use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use fata_wire::metadata;
use fata_wire::shared::MAX_STREAMS;

use super::{Sink, SinkError};

/// The sink of several guests.
#[derive(Debug)]
pub struct Together<S> {
    inner: Mutex<Inner<S>>,
}

#[derive(Debug)]
struct Inner<S> {
    sink: S,
    /// The sink was told what every trace begins with.
    begun: bool,
}

/// One guest's way into a trace of several.
#[derive(Debug)]
pub struct Part<'a, S> {
    together: &'a Together<S>,
    number: u16,
}

/// A number that no other trace has.
#[must_use]
pub fn new_identity() -> [u8; 16] {
    let mut uuid = [0; 16];
    if File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut uuid)).is_err() {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        uuid = (nanos << 32 | u128::from(std::process::id())).to_le_bytes();
    }
    fata_wire::uuid_of_random(uuid)
}

impl<S: Sink> Together<S> {
    /// A trace in `sink`, of the identity that its guests bring: all the same.
    pub fn new(sink: S) -> Self {
        Together { inner: Mutex::new(Inner { sink, begun: false }) }
    }

    /// The way in of the guest that sits on this number. Each number is for one guest, or one life of it.
    pub fn seat(&self, number: u16) -> Part<'_, S> {
        Part { together: self, number }
    }

    /// The sink, when all is handed over.
    pub fn into_inner(self) -> S {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).sink
    }

    fn with<R>(&self, use_it: impl FnOnce(&mut Inner<S>) -> R) -> R {
        // A guest's thread that panicked did so between two calls of the sink, or within one, which then fails again.
        use_it(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Sink> Sink for Part<'_, S> {
    fn metadata(&mut self, uuid: [u8; 16], text: &str) -> Result<(), SinkError> {
        self.together.with(|inner| {
            // Writing to a `String` does not fail.
            let mut turn = String::new();
            if !std::mem::replace(&mut inner.begun, true) {
                let _ = metadata::write_trace(&mut turn, uuid);
            }
            let _ = metadata::write_turn(&mut turn, self.number);
            inner.sink.metadata(uuid, &(turn + text))
        })
    }

    fn packet(&mut self, stream: u32, packet: &[u8]) -> Result<(), SinkError> {
        let stream = u32::from(self.number) * MAX_STREAMS + stream;
        self.together.with(|inner| inner.sink.packet(stream, packet))
    }
}
