//! Where traces come from: a CTF directory, a trace stream in a file, or anything that can be read.
//!
//! Invariants: chunks come in the order in which they happened, as far as packets tell: metadata first, then packets, each
//! stream's in its own order and streams merged by the packets' begin, those of several guests by the time of day. A reader holds one packet per stream, so the length
//! of a recording does not matter. What is cut is read up to the cut, and [`TraceReader::warnings`] says so.
//!
//! ```no_run
//! # fn main() -> Result<(), fata_model::source::OpenError> {
//! let mut reader = fata_model::source::open("trace".as_ref())?;
//! while let Some(chunk) = reader.next_chunk()? { /* … */ }
//! # Ok(()) }
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fata_wire::packet::{HEADER_BYTES, MAGIC, PacketHeader, metadata_packet};
use fata_wire::shared::Clock;

use crate::description::{Description, MetadataError};
use crate::guests::GuestId;
use crate::ingest::{Ingest, Limits};
use crate::trace::Trace;

mod ahead;
mod input;

pub use ahead::Ahead;
use ahead::Kept;
use input::PacketInput;

/// The longest metadata file that is read.
const MAX_METADATA_BYTES: u64 = 16 << 20;

/// Why a trace cannot be opened or read on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there.
    #[error("there is no trace at {0}: give a trace directory, a recorded stream, or - for standard input")]
    NotFound(PathBuf),
    /// A directory without metadata.
    #[error("{0} is not a trace: a trace directory holds a file named `metadata` and stream files")]
    NoMetadata(PathBuf),
    /// Stream files without their metadata.
    #[error("{0} holds packets without their description: open the directory that holds it and its `metadata`")]
    NoDescription(String),
    /// Some other file.
    #[error("{0} is not a trace: it begins with neither a metadata packet nor an event packet")]
    Foreign(String),
    /// A trace of another tracer.
    #[error("{0} is a CTF trace of another tracer: babeltrace2 and Trace Compass can open it")]
    ForeignCtf(String),
    /// Another version.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The system refused.
    #[error("{name} cannot be read: {error}")]
    Io {
        /// What.
        name: String,
        /// Why.
        error: io::Error,
    },
}

/// A piece of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Metadata text, whole or the next piece.
    Metadata(&'a str),
    /// The bytes of one packet.
    Packet(&'a [u8]),
}

/// See the module.
pub struct TraceReader {
    name: String,
    metadata: Option<String>,
    streams: Vec<Stream>,
    warnings: Vec<String>,
    /// Bytes of all stream files, where they are files.
    total_bytes: Option<u64>,
    read_bytes: u64,
    /// The clocks by guest, where there are several.
    clocks: Vec<Clock>,
    /// What was read to look ahead.
    kept: Box<Kept>,
}

/// One stream's files, or one input.
struct Stream {
    input: PacketInput,
    /// Further files of the same stream, the next one last.
    files: Vec<PathBuf>,
}

impl std::fmt::Debug for TraceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceReader").field("name", &self.name).field("streams", &self.streams.len()).finish()
    }
}

/// Opens a trace directory, a recorded stream, or `-` for standard input.
///
/// # Errors
/// See [`OpenError`].
pub fn open(path: &Path) -> Result<TraceReader, OpenError> {
    if path == Path::new("-") {
        return from_read("standard input", io::stdin());
    }
    let name = path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::NotFound(path.to_owned()),
        _ => OpenError::Io { name: name.clone(), error },
    })?;
    if meta.is_dir() {
        return open_directory(path);
    }
    let is_metadata = path.file_name().is_some_and(|file| file == "metadata");
    if let (true, Some(directory)) = (is_metadata, path.parent()) {
        return open_directory(directory);
    }
    let file = File::open(path).map_err(|error| OpenError::Io { name: name.clone(), error })?;
    let mut input = PacketInput::new(name.clone(), Box::new(file));
    let total_bytes = meta.is_file().then_some(meta.len());
    // A stream file of a trace directory: its description lies beside it.
    let beside = path.parent().map(|directory| directory.join("metadata")).filter(|metadata| metadata.is_file());
    let metadata = match (input.fill(4)? && input.magic() == MAGIC, beside) {
        (true, Some(beside)) => Some(read_metadata(&beside)?),
        _ => None,
    };
    Ok(TraceReader { total_bytes, ..TraceReader::new(name, metadata, vec![Stream { input, files: Vec::new() }]) })
}

/// Reads a trace stream from anything: a pipe, a socket, a slice.
///
/// # Errors
/// None yet: what is wrong shows when it is read.
pub fn from_read(name: &str, input: impl Read + Send + 'static) -> Result<TraceReader, OpenError> {
    let input = PacketInput::new(name.to_owned(), Box::new(input));
    Ok(TraceReader::new(name.to_owned(), None, vec![Stream { input, files: Vec::new() }]))
}

/// Reads a whole trace.
///
/// # Errors
/// See [`OpenError`].
pub fn load(path: &Path, limits: Limits) -> Result<Trace, OpenError> {
    let mut ingest = Ingest::new(limits);
    read_into(&mut open(path)?, &mut ingest)?;
    Ok(ingest.finish())
}

/// Reads what is left of `reader` into `ingest`, its warnings included.
///
/// # Errors
/// See [`OpenError`]; what was read before stays.
pub fn read_into(reader: &mut TraceReader, ingest: &mut Ingest) -> Result<(), OpenError> {
    let result = loop {
        match reader.next_chunk() {
            Ok(Some(Chunk::Metadata(text))) => ingest.metadata(text)?,
            Ok(Some(Chunk::Packet(packet))) => {
                if let Err(error) = ingest.packet(packet) {
                    ingest.warn(error.to_string());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    reader.warnings().iter().for_each(|warning| ingest.warn(warning.clone()));
    result
}

fn open_directory(path: &Path) -> Result<TraceReader, OpenError> {
    let name = path.display().to_string();
    let io = |error| OpenError::Io { name: name.clone(), error };
    let metadata = path.join("metadata");
    if !metadata.is_file() {
        return Err(OpenError::NoMetadata(path.to_owned()));
    }
    let metadata = read_metadata(&metadata)?;
    let mut described = Description::new();
    described.metadata(&metadata)?;
    let clocks = match described.guests() {
        1 => Vec::new(),
        guests => (0..guests).map(|guest| described.clock(GuestId::new(guest)).unwrap_or_default()).collect(),
    };
    // What a file holds says its first packet, not its name: (guest, vCPU, packet number).
    let mut files = Vec::new();
    let mut total_bytes = 0;
    for entry in std::fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let mut header = [0; HEADER_BYTES];
        let mut opened = match File::open(&file) {
            Ok(opened) if file.is_file() => opened,
            _ => continue,
        };
        if opened.read_exact(&mut header).is_ok()
            && let Ok(header) = PacketHeader::parse(&header)
        {
            total_bytes += opened.metadata().map_or(0, |meta| meta.len());
            files.push(((header.guest(), header.cpu_id), header.packet_seq_num, file));
        }
    }
    files.sort();
    let mut streams: Vec<((u16, u32), Stream)> = Vec::new();
    for (cpu, _, file) in files.into_iter().rev() {
        match streams.iter_mut().find(|(known, _)| *known == cpu) {
            Some((_, stream)) => stream.files.push(file),
            None => {
                let input = PacketInput::new(String::new(), Box::new(io::empty()));
                streams.push((cpu, Stream { input, files: vec![file] }));
            }
        }
    }
    let streams = streams.into_iter().rev().map(|(_, stream)| stream).collect();
    Ok(TraceReader { total_bytes: Some(total_bytes), clocks, ..TraceReader::new(name, Some(metadata), streams) })
}

/// The text of a metadata file: plain, or in packets.
fn read_metadata(path: &Path) -> Result<String, OpenError> {
    let name = path.display().to_string();
    let io = |error| OpenError::Io { name: name.clone(), error };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MAX_METADATA_BYTES).read_to_end(&mut bytes).map_err(io)?;
    let mut text = Vec::new();
    let mut rest = &bytes[..];
    while let Ok((piece, len)) = metadata_packet::parse(rest) {
        text.extend_from_slice(piece);
        rest = rest.get(len..).unwrap_or(&[]);
    }
    let text = if text.is_empty() { bytes } else { text };
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.contains("/* fata version") { Ok(text) } else { Err(OpenError::ForeignCtf(name)) }
}

impl TraceReader {
    fn new(name: String, metadata: Option<String>, streams: Vec<Stream>) -> Self {
        TraceReader {
            name,
            metadata,
            streams,
            warnings: Vec::new(),
            total_bytes: None,
            read_bytes: 0,
            clocks: Vec::new(),
            kept: Box::default(),
        }
    }

    /// What was opened, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was wrong so far, in sentences.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many streams lie apart and are merged: in a trace stream they lie one after another already.
    #[must_use]
    pub fn merged_streams(&self) -> usize {
        self.streams.len()
    }

    /// How much of the packets has been read, 0 to 1; `None` where the end is not known.
    #[must_use]
    pub fn progress(&self) -> Option<f64> {
        let total = self.total_bytes?;
        Some(if total == 0 { 1.0 } else { (self.read_bytes as f64 / total as f64).min(1.0) })
    }

    /// The next chunk; `None` at the end. Waits where the input does.
    ///
    /// # Errors
    /// See [`OpenError`]; after an error there is nothing more to read.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>, OpenError> {
        if !self.kept.is_empty() {
            return Ok(self.kept.take());
        }
        self.read_chunk()
    }

    /// The next chunk that was not read yet.
    fn read_chunk(&mut self) -> Result<Option<Chunk<'_>>, OpenError> {
        if self.metadata.is_some() {
            // The text moves to the first stream's place for borrowed bytes, so that it lives as long as the reader.
            let text = self.metadata.take().unwrap_or_default();
            let input = match self.streams.first_mut() {
                Some(stream) => &mut stream.input,
                None => {
                    self.warnings.push(format!("{} holds no packets", self.name));
                    let input = PacketInput::new(String::new(), Box::new(io::empty()));
                    self.streams.push(Stream { input, files: Vec::new() });
                    match self.streams.first_mut() {
                        Some(stream) => &mut stream.input,
                        None => return Ok(None),
                    }
                }
            };
            input.described = true;
            input.text = text;
            self.streams.iter_mut().for_each(|stream| stream.input.described = true);
            return Ok(self.streams.first().map(|stream| Chunk::Metadata(&stream.input.text)));
        }
        let mut first: Option<(usize, i128)> = None;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let begin = stream.next_begin(&mut self.warnings)?;
            if let Some(begin) = begin.map(|(guest, ticks)| moment(&self.clocks, guest, ticks))
                && first.is_none_or(|(_, least)| begin < least)
            {
                first = Some((index, begin));
            }
        }
        let Some((index, _)) = first else { return Ok(None) };
        let Some(stream) = self.streams.get_mut(index) else { return Ok(None) };
        let chunk = stream.input.take();
        if let Some(Chunk::Packet(packet)) = chunk {
            self.read_bytes += packet.len() as u64;
        }
        Ok(chunk)
    }
}

/// When a guest's clock read `ticks`, to be compared: in ticks where there is one guest, else in nanoseconds since 1970.
/// Metadata, at tick 0, is before all packets.
fn moment(clocks: &[Clock], guest: u16, ticks: u64) -> i128 {
    match clocks.get(usize::from(guest)) {
        Some(_) if ticks == 0 => i128::MIN,
        Some(clock) => {
            let since_anchor = i128::from(ticks) - i128::from(clock.anchor_ticks);
            since_anchor * 1_000_000_000 / i128::from(clock.hz.max(1)) + i128::from(clock.anchor_unix_nanos)
        }
        None => ticks.into(),
    }
}

impl Stream {
    /// The guest whose chunk comes next, and when it begins, in ticks; metadata at 0. `None` at the end.
    fn next_begin(&mut self, warnings: &mut Vec<String>) -> Result<Option<(u16, u64)>, OpenError> {
        loop {
            if let Some(begin) = self.input.next_begin(warnings)? {
                return Ok(Some(begin));
            }
            let Some(file) = self.files.pop() else { return Ok(None) };
            let name = file.display().to_string();
            match File::open(&file) {
                Ok(opened) => {
                    let described = self.input.described;
                    self.input = PacketInput::new(name, Box::new(opened));
                    self.input.described = described;
                }
                Err(error) => warnings.push(format!("{name} cannot be read: {error}")),
            }
        }
    }
}
