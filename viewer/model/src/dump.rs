//! One line per event, as `fata dump` prints it: when, where, what, with which fields.
//!
//! ```text
//! 0.000123456 s  cpu 0  net.rx_begin  bytes=1460 B (1.43 KiB)
//! ```
//! The events of a directory come in the order of time, whatever stream they are of; at the same tick, in the order of the
//! streams. Those of a trace stream come as they lie in it, so that what a living guest says is printed at once. A dump keeps
//! the description, and the lines of one packet per stream, so the length of a recording does not matter.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

use fata_wire::event::{Event, EventId};
use fata_wire::field::Kind;
use fata_wire::packet::Packet;

use crate::description::MetadataError;
use crate::guests::GuestId;
use crate::ingest::{Ingest, Limits};
use crate::source::{Chunk, OpenError, TraceReader};
use crate::text;
use crate::time::Nanos;
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
    let mut waiting = Waiting::default();
    // Packets come in the order of their begin: with one stream, events do too.
    let merged = reader.merged_streams() > 1;
    while let Some(chunk) = reader.next_chunk()? {
        match chunk {
            Chunk::Metadata(text) => ingest.metadata(text)?,
            Chunk::Packet(bytes) => {
                let Ok(packet) = Packet::parse(bytes) else { continue };
                let repeated = ingest.repeated(&packet.header);
                if let Err(error) = ingest.packet(bytes) {
                    writeln!(out, "# {error}")?;
                    continue;
                }
                let guest = GuestId::new(packet.header.guest());
                let scale = ingest.trace().scale(guest);
                if merged {
                    waiting.write_before(Some(scale.nanos_from_ticks(packet.header.timestamp_begin)), out)?;
                }
                let cpu = guest.cpu(packet.header.cpu_id);
                for event in packet.events().skip(usize::try_from(repeated).unwrap_or(usize::MAX)) {
                    match event {
                        Ok(event) if merged => {
                            let mut text = Vec::new();
                            line(ingest.trace(), cpu, &event, &mut text)?;
                            waiting.keep(cpu, scale.nanos_from_ticks(event.ticks), text);
                            events += 1;
                        }
                        Ok(event) => {
                            line(ingest.trace(), cpu, &event, out)?;
                            events += 1;
                        }
                        Err(error) => writeln!(out, "# {error}: the rest of this packet was left out")?,
                    }
                }
            }
        }
    }
    waiting.write_before(None, out)?;
    for warning in reader.warnings() {
        writeln!(out, "# {warning}")?;
    }
    Ok(events)
}

/// Lines of packets that overlap in time, by stream. No more than one packet of each: the next one of the same stream begins
/// when that one has ended.
#[derive(Default)]
struct Waiting {
    streams: BTreeMap<u32, VecDeque<(Nanos, Vec<u8>)>>,
}

impl Waiting {
    /// Keeps the line of an event, the youngest of its stream.
    fn keep(&mut self, cpu: u32, time: Nanos, line: Vec<u8>) {
        self.streams.entry(cpu).or_default().push_back((time, line));
    }

    /// Writes the lines of all events before `end`, and without one of all there are, in the order of time.
    fn write_before(&mut self, end: Option<Nanos>, out: &mut impl Write) -> io::Result<()> {
        let first = |lines: &VecDeque<(Nanos, Vec<u8>)>| lines.front().map(|(time, _)| *time);
        while let Some((time, lines)) =
            self.streams.values_mut().filter_map(|lines| Some((first(lines)?, lines))).min_by_key(|(time, _)| *time)
            && end.is_none_or(|end| time < end)
        {
            if let Some((_, line)) = lines.pop_front() {
                out.write_all(&line)?;
            }
        }
        Ok(())
    }
}

fn line(trace: &Trace, cpu: u32, event: &Event<'_>, out: &mut impl Write) -> io::Result<()> {
    let guest = GuestId::of_cpu(cpu);
    let time = trace.scale(guest).nanos_from_ticks(event.ticks);
    let callsite = trace.description.callsite(guest.callsite(event.id.callsite()));
    let place = trace.of_guest(guest, format!("cpu {}", GuestId::own_cpu(cpu)));
    write!(out, "{}  {place}  ", text::moment(time))?;
    let Some(callsite) = callsite else {
        return writeln!(out, "callsite {} arg={} words={}", event.id.callsite(), event.arg, event.payload.len() / 8);
    };
    let phase = match (callsite.kind, event.id.is_end()) {
        (Kind::Span, true) => "_end",
        (Kind::Span, false) => "_begin",
        _ => "",
    };
    write!(out, "{}{phase}", callsite.name)?;
    if callsite.kind == Kind::Unfinished {
        return unfinished(trace, guest, EventId(event.arg), out);
    }
    if !event.id.is_end() {
        for field in trace.decode_fields(callsite, event.arg, event.payload, time) {
            write!(out, "  {}={}", field.name, field.text)?;
        }
    }
    writeln!(out)
}

/// What the writer of an unfinished record was at: the event that it `meant` to record, as far as it had begun.
fn unfinished(trace: &Trace, guest: GuestId, meant: EventId, out: &mut impl Write) -> io::Result<()> {
    match trace.description.callsite(guest.callsite(meant.callsite())) {
        Some(meant) => writeln!(out, "  meant={}  at={}:{}", meant.name, meant.file, meant.line),
        None => writeln!(out),
    }
}
