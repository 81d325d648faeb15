//! Looking ahead in a trace that can be read only once: whether an event comes, before anybody shows it.
//!
//! What was read for that is kept and handed out first. Full: after [`MAX_BYTES`] without an event nobody looks further, and the
//! trace is taken for one that has some.

use std::collections::VecDeque;

use super::{Chunk, OpenError, TraceReader};
use crate::description::Description;
use fata_wire::packet::PacketHeader;

/// So much is read and kept at most: as long as metadata may be.
const MAX_BYTES: u64 = super::MAX_METADATA_BYTES;

/// What lies ahead in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// An event.
    Event,
    /// The end, and no event before it.
    Nothing {
        /// So many were recorded and are not in the trace.
        discarded: u64,
    },
}

/// Chunks that were read and not handed out yet.
#[derive(Debug, Default)]
pub(super) struct Kept {
    chunks: VecDeque<KeptChunk>,
    len_bytes: u64,
    /// The one that was handed out last.
    lent: Option<KeptChunk>,
}

#[derive(Debug)]
enum KeptChunk {
    Metadata(String),
    Packet(Vec<u8>),
}

impl Kept {
    fn keep(&mut self, chunk: Chunk<'_>) {
        let (kept, len_bytes) = match chunk {
            Chunk::Metadata(text) => (KeptChunk::Metadata(text.to_owned()), text.len()),
            Chunk::Packet(packet) => (KeptChunk::Packet(packet.to_vec()), packet.len()),
        };
        self.chunks.push_back(kept);
        self.len_bytes += len_bytes as u64;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The oldest chunk, which is kept no longer.
    pub(super) fn take(&mut self) -> Option<Chunk<'_>> {
        self.lent = self.chunks.pop_front();
        Some(match self.lent.as_ref()? {
            KeptChunk::Metadata(text) => Chunk::Metadata(text),
            KeptChunk::Packet(packet) => Chunk::Packet(packet),
        })
    }
}

impl TraceReader {
    /// Reads on until an event comes, and hands out nothing: [`next_chunk`](TraceReader::next_chunk) begins where it would have
    /// begun without this. To be asked before the first chunk is taken.
    ///
    /// # Errors
    /// See [`OpenError`]: what would be wrong when it is read.
    pub fn look_ahead(&mut self) -> Result<Ahead, OpenError> {
        let mut kept = std::mem::take(&mut *self.kept);
        let mut description = Description::new();
        let mut discarded = 0;
        let ahead = loop {
            let Some(chunk) = self.read_chunk()? else { break Ahead::Nothing { discarded } };
            kept.keep(chunk);
            match chunk {
                Chunk::Metadata(text) => description.metadata(text)?,
                Chunk::Packet(packet) => match PacketHeader::parse(packet) {
                    Ok(header) if header.events > 0 => break Ahead::Event,
                    Ok(header) => discarded = header.events_discarded,
                    Err(_) => {}
                },
            }
            if kept.len_bytes > MAX_BYTES {
                break Ahead::Event;
            }
        };
        *self.kept = kept;
        Ok(ahead)
    }
}
