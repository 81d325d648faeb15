//! A trace stream: packets one after another to a pipe, standard output or a single file.
//!
//! Metadata comes as CTF metadata packets, before the first event packet that needs it and again whenever records were
//! added, each carrying what is new. Nothing is kept here: a slow reader makes the collector wait, and then the guest's
//! ring discards and counts.

use std::io::Write;
use std::path::PathBuf;

use fata_wire::packet::metadata_packet;

use super::{Sink, SinkError};

/// Longer text goes into several metadata packets.
const STEP_BYTES: usize = 256 << 10;

/// Writes a trace stream.
#[derive(Debug)]
pub struct StreamSink<W> {
    out: W,
    path: PathBuf,
}

impl<W: Write> StreamSink<W> {
    /// A stream to `out`, which messages call `name`.
    pub fn new(out: W, name: impl Into<PathBuf>) -> Self {
        StreamSink { out, path: name.into() }
    }

    /// Gives back what was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.out.write_all(bytes).map_err(|source| SinkError::io(&self.path, source))
    }
}

impl<W: Write> Sink for StreamSink<W> {
    fn metadata(&mut self, uuid: [u8; 16], text: &str) -> Result<(), SinkError> {
        for part in text.as_bytes().chunks(STEP_BYTES) {
            self.write(&metadata_packet::header(uuid, part.len()))?;
            self.write(part)?;
        }
        self.out.flush().map_err(|source| SinkError::io(&self.path, source))
    }

    fn packet(&mut self, _stream: u32, packet: &[u8]) -> Result<(), SinkError> {
        self.write(packet)?;
        self.out.flush().map_err(|source| SinkError::io(&self.path, source))
    }
}
