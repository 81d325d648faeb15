//! One line per event, as `fata dump` prints it: when, where, what, with which fields.
//!
//! ```text
//! 0.000123456 s  cpu 0  net.rx_begin  bytes=1460 B (1.43 KiB)
//! ```
//! Events come in the order of the packets; with one vCPU that is the order of time. A dump keeps the description alone,
//! so the length of a recording does not matter.

use std::io::{self, Write};

use fata_wire::event::Event;
use fata_wire::field::Kind;
use fata_wire::packet::Packet;

use crate::description::MetadataError;
use crate::ingest::{Ingest, Limits};
use crate::source::{Chunk, OpenError, TraceReader};
use crate::text;
use crate::trace::Trace;

/// Why a dump ended before the trace did.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The trace could not be read on.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The lines could not be written; a closed pipe is the reader's way to say that it has enough.
    #[error("the events cannot be written: {0}")]
    Write(#[from] io::Error),
}

impl From<MetadataError> for DumpError {
    fn from(error: MetadataError) -> Self {
        DumpError::Open(error.into())
    }
}

/// Writes a line for every event, and returns how many there were.
///
/// # Errors
/// See [`DumpError`].
pub fn dump(reader: &mut TraceReader, out: &mut impl Write) -> Result<u64, DumpError> {
    // Names and the clock are followed as for a model that keeps no intervals.
    let limits = Limits { intervals: 0, tracks: 0, field_bytes: 0, flow_points: 0, ..Limits::default() };
    let mut ingest = Ingest::new(limits);
    let mut events = 0;
    while let Some(chunk) = reader.next_chunk()? {
        match chunk {
            Chunk::Metadata(text) => ingest.metadata(text)?,
            Chunk::Packet(bytes) => {
                let Ok(packet) = Packet::parse(bytes) else { continue };
                if let Err(error) = ingest.packet(bytes) {
                    writeln!(out, "# {error}")?;
                    continue;
                }
                for event in packet.events() {
                    match event {
                        Ok(event) => {
                            line(ingest.trace(), packet.header.cpu_id, &event, out)?;
                            events += 1;
                        }
                        Err(error) => writeln!(out, "# {error}: the rest of this packet was left out")?,
                    }
                }
            }
        }
    }
    for warning in reader.warnings() {
        writeln!(out, "# {warning}")?;
    }
    Ok(events)
}

fn line(trace: &Trace, cpu: u32, event: &Event<'_>, out: &mut impl Write) -> io::Result<()> {
    let time = trace.scale.nanos_from_ticks(event.ticks);
    let callsite = trace.description.callsite(event.id.callsite());
    write!(out, "{}  cpu {cpu}  ", text::moment(time))?;
    let Some(callsite) = callsite else {
        return writeln!(out, "callsite {} arg={} words={}", event.id.callsite(), event.arg, event.payload.len() / 8);
    };
    let phase = match (callsite.kind, event.id.is_end()) {
        (Kind::Span, true) => "_end",
        (Kind::Span, false) => "_begin",
        _ => "",
    };
    write!(out, "{}{phase}", callsite.name)?;
    if !event.id.is_end() {
        for field in trace.decode_fields(callsite, event.arg, event.payload) {
            write!(out, "  {}={}", field.name, field.text)?;
        }
    }
    writeln!(out)
}
