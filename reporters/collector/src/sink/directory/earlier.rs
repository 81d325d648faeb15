//! What a directory holds already: an earlier recording, read so that it can be continued.
//!
//! Invariant: nothing is written here. A collector that was killed, or found the disk full, may leave the begin of a packet behind
//! the last whole one of a stream: those bytes are no part of any event and are told ([`Current::torn`]). Whatever else a
//! collector of ours does not leave behind is refused, since to cut it or to write after it would take away what can still
//! be read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use fata_wire::metadata::MAX_GUESTS;
use fata_wire::packet::{self, HEADER_BYTES, MAX_PACKET_BYTES, PacketHeader};
use fata_wire::shared::MAX_STREAMS;

use super::described::Described;
use super::{Current, StreamFiles, file_name};
use crate::collector::Continue;
use crate::drain::Position;
use crate::sink::SinkError;

/// Streams of all guests that a trace can hold.
const MAX_STREAM_FILES: u32 = MAX_GUESTS as u32 * MAX_STREAMS;
/// Every packet of a trace begins with these: the magic number and the trace's identity.
const SIGNATURE_BYTES: usize = packet::at::UUID + 16;
/// Numbers and clocks above this are damage: no recording has come so far, and we count on from them.
const MAX_COUNT: u64 = i64::MAX as u64;

/// The files of a recording, by stream, and where it stands, if anything was recorded.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    pub(super) streams: Vec<Option<StreamFiles>>,
    pub(super) recording: Option<Continue>,
    pub(super) described: Option<Described>,
}

/// Reads what is in `dir`.
///
/// # Errors
/// [`SinkError::Occupied`] where that is no recording of ours, [`SinkError::Damaged`] where it is not as we left it.
pub(super) fn read(dir: &Path) -> Result<Earlier, SinkError> {
    let io = |source| SinkError::io(dir, source);
    let occupied = |what| SinkError::Occupied { path: dir.to_owned(), what };
    let mut files: Vec<(u32, u64)> = Vec::new();
    let mut metadata = false;
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let Some(name) = name.to_str() else { continue };
        metadata |= name == "metadata";
        if name.starts_with("stream_") {
            // To a reader of CTF each file is a stream: what we record beside this one could not be read.
            files.push(parse_name(name).ok_or_else(|| occupied("holds a stream file that no recording of ours has"))?);
        }
    }
    if !metadata {
        return if files.is_empty() {
            Ok(Earlier::default())
        } else {
            Err(occupied("holds stream files without metadata"))
        };
    }
    let mut head = Vec::new();
    File::open(dir.join("metadata")).and_then(|file| file.take(4096).read_to_end(&mut head)).map_err(io)?;
    if !head.windows(14).any(|window| window == b"/* fata versio") {
        return Err(occupied("holds a trace of another program"));
    }
    files.sort_unstable();
    let mut earlier = Earlier::default();
    for (i, &(stream, number)) in files.iter().enumerate() {
        let is_last = files.get(i + 1).is_none_or(|next| next.0 != stream);
        earlier.add(dir, stream, number, is_last)?;
    }
    if let Some(recording) = &mut earlier.recording {
        let described = Described::read(&dir.join("metadata")).map_err(io)?;
        if described.version >> 16 != fata_wire::VERSION >> 16 {
            return Err(occupied("holds a recording of another version of the format"));
        }
        recording.several |= described.several;
        earlier.described = Some(described);
    }
    Ok(earlier)
}

impl Earlier {
    /// Adds the next file of a stream.
    fn add(&mut self, dir: &Path, stream: u32, number: u64, is_last: bool) -> Result<(), SinkError> {
        let path = dir.join(file_name(stream, number));
        let io = |source| SinkError::io(&path, source);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
        let len_bytes = file.metadata().map_err(io)?.len();
        let index = stream as usize;
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, || None);
        }
        let whole_bytes = self.scan(&file, stream, len_bytes).map_err(io)?;
        let torn = whole_bytes < len_bytes;
        if torn && !(is_last && self.is_torn_packet(&file, stream, whole_bytes, len_bytes).map_err(io)?) {
            return Err(SinkError::Damaged { path, at: whole_bytes });
        }
        let files = self.streams[index].get_or_insert_default();
        if let Some(Current { number, bytes, .. }) = files.current.take() {
            files.ended.push_back((number, bytes));
        }
        files.current = Some(Current { file, number, bytes: whole_bytes, torn });
        files.next_number = number + 1;
        Ok(())
    }

    /// Walks over the packets of a stream file, and returns where the last whole one ends.
    fn scan(&mut self, file: &File, stream: u32, len_bytes: u64) -> io::Result<u64> {
        let mut at = 0;
        let mut bytes = [0; HEADER_BYTES];
        while at + HEADER_BYTES as u64 <= len_bytes {
            file.read_exact_at(&mut bytes, at)?;
            let Some((header, packet_bytes)) = self.header(&bytes, stream) else { break };
            if at + packet_bytes > len_bytes {
                break;
            }
            at += packet_bytes;
            let recording = self.recording.get_or_insert_default();
            recording.uuid = header.uuid;
            recording.several |= header.guest() != 0;
            let index = stream as usize;
            if recording.positions.len() <= index {
                recording.positions.resize(index + 1, None);
            }
            recording.positions[index].get_or_insert_with(Position::default).add(&header);
        }
        Ok(at)
    }

    /// The header of a packet of this recording and stream, and the packet's length; `None` where these bytes are none.
    fn header(&self, bytes: &[u8], stream: u32) -> Option<(PacketHeader, u64)> {
        let header = PacketHeader::parse(bytes).ok()?;
        let packet_bytes = header.check().ok()?;
        let of_stream = u32::from(header.guest()).checked_mul(MAX_STREAMS)?.checked_add(header.stream_id >> 16)?;
        let is_ours = of_stream == stream
            && header.packet_seq_num.max(header.timestamp_end) <= MAX_COUNT
            && self.recording.as_ref().is_none_or(|recording| recording.uuid == header.uuid);
        is_ours.then_some((header, packet_bytes as u64))
    }

    /// Whether what follows the last whole packet is the begin of one more, and nothing else.
    fn is_torn_packet(&mut self, file: &File, stream: u32, from: u64, len_bytes: u64) -> io::Result<bool> {
        let Some(rest_bytes) = usize::try_from(len_bytes - from).ok().filter(|&rest| rest < MAX_PACKET_BYTES as usize)
        else {
            return Ok(false);
        };
        let mut rest = vec![0; rest_bytes];
        file.read_exact_at(&mut rest, from)?;
        let magic = packet::MAGIC.to_le_bytes();
        if !rest.iter().zip(magic).all(|(byte, of_magic)| *byte == of_magic) {
            return Ok(false);
        }
        let Some((signature, [_, _, _, _, uuid @ ..])) = rest.first_chunk::<SIGNATURE_BYTES>().map(|all| (all, *all))
        else {
            return Ok(true);
        };
        if rest_bytes >= HEADER_BYTES && self.header(&rest, stream).is_none() {
            return Ok(false);
        }
        // A header with a wrong length would hide the packets behind it.
        let hides_another = (8..rest_bytes).step_by(8).any(|at| rest[at..].starts_with(signature));
        Ok(!hides_another
            && self.recording.get_or_insert_with(|| Continue { uuid, ..Continue::default() }).uuid == uuid)
    }
}

/// Stream and number of a stream file's name.
fn parse_name(name: &str) -> Option<(u32, u64)> {
    let rest = name.strip_prefix("stream_")?;
    let (stream, number) = rest.split_once('_').unwrap_or((rest, "0"));
    let (stream, number) = (stream.parse().ok()?, number.parse().ok()?);
    // Other spellings of the same number would be two files for one.
    (stream < MAX_STREAM_FILES && number <= MAX_COUNT && file_name(stream, number) == name).then_some((stream, number))
}
