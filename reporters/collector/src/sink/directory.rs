//! A CTF trace directory: `metadata`, and per stream the files `stream_N_KKK`.
//!
//! Invariant: a CTF reader can open the directory at any time. Metadata is replaced by renaming, before the first packet
//! that needs it; a packet is one write, and one that could not be written whole is cut off again.
//!
//! What is full: with a cap ([`Options::keep_bytes`]) the oldest whole file of the largest stream goes, so what is left is
//! a recording of the newest events; how much went is counted in [`DirectorySink::dropped`], and a reader sees it, since
//! packet numbers and `events_before` go on. Without a cap, a full disk ends the recording.
//!
//! A directory that already holds a recording of the same guest is continued, from what its last packets say.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fata_wire::packet::{HEADER_BYTES, PacketHeader};

use super::{Sink, SinkError};
use crate::collector::Continue;
use crate::drain::Position;

/// A file is ended at this length even without a cap: tools that map whole files stay usable.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// With a cap there are at least so many files, so that dropping one drops little.
const MIN_FILES: u64 = 8;
/// No file is ended below this.
const MIN_FILE_BYTES: u64 = 256 << 10;

/// How to write a directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep at most so many bytes, the newest.
    pub keep_bytes: Option<u64>,
}

/// What was dropped to stay below the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Files.
    pub files: u64,
    /// Their length.
    pub bytes: u64,
}

/// Writes a trace directory.
#[derive(Debug)]
pub struct DirectorySink {
    dir: PathBuf,
    options: Options,
    streams: Vec<Option<StreamFiles>>,
    dropped: Dropped,
    uuid: Option<[u8; 16]>,
    earlier: Option<Continue>,
}

/// The files of one stream.
#[derive(Debug, Default)]
struct StreamFiles {
    /// Lengths of the files before the current one, oldest first.
    ended: VecDeque<(u64, u64)>,
    /// The current file, its number and length.
    current: Option<(File, u64, u64)>,
    next_number: u64,
}

impl StreamFiles {
    fn bytes(&self) -> u64 {
        self.ended.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.current.as_ref().map_or(0, |(_, _, bytes)| *bytes)
    }
}

impl DirectorySink {
    /// Makes `dir`, or takes up the recording in it.
    ///
    /// # Errors
    /// [`SinkError::Occupied`] if the directory holds something that is no recording of ours.
    pub fn open(dir: &Path, options: Options) -> Result<Self, SinkError> {
        let io = |source| SinkError::io(dir, source);
        if std::fs::metadata(dir).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(SinkError::Occupied { path: dir.to_owned(), what: "is no directory" });
        }
        std::fs::create_dir_all(dir).map_err(io)?;
        let mut sink = DirectorySink {
            dir: dir.to_owned(),
            options,
            streams: Vec::new(),
            dropped: Dropped::default(),
            uuid: None,
            earlier: None,
        };
        let mut files: Vec<(u32, u64)> = Vec::new();
        let mut metadata = false;
        for entry in std::fs::read_dir(dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let Some(name) = name.to_str() else { continue };
            metadata |= name == "metadata";
            files.extend(parse_name(name));
        }
        if files.is_empty() && !metadata {
            return Ok(sink);
        }
        let occupied = |what| SinkError::Occupied { path: dir.to_owned(), what };
        if !metadata {
            return Err(occupied("holds stream files without metadata"));
        }
        let mut head = Vec::new();
        let metadata = File::open(dir.join("metadata")).map_err(io)?;
        metadata.take(4096).read_to_end(&mut head).map_err(io)?;
        if !head.windows(14).any(|window| window == b"/* fata versio") {
            return Err(occupied("holds a trace of another program"));
        }
        files.sort_unstable();
        sink.take_up(&files)?;
        Ok(sink)
    }

    /// The recording that was found in the directory, if any.
    #[must_use]
    pub fn earlier(&self) -> Option<&Continue> {
        self.earlier.as_ref()
    }

    /// What was dropped to stay below the cap.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Length of all stream files that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.streams.iter().flatten().map(StreamFiles::bytes).sum()
    }

    fn path(&self, stream: u32, number: u64) -> PathBuf {
        self.dir.join(if number == 0 { format!("stream_{stream}") } else { format!("stream_{stream}_{number:03}") })
    }

    /// Reads the headers of an earlier recording and cuts off a packet that was not written whole.
    fn take_up(&mut self, files: &[(u32, u64)]) -> Result<(), SinkError> {
        let mut earlier = Continue::default();
        for &(stream, number) in files {
            let path = self.path(stream, number);
            let io = |source| SinkError::io(&path, source);
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
            let index = stream as usize;
            if self.streams.len() <= index {
                self.streams.resize_with(index + 1, || None);
                earlier.positions.resize(index + 1, None);
            }
            let position = earlier.positions[index].get_or_insert_default();
            let good = scan(&file, position, &mut earlier.uuid).map_err(io)?;
            file.set_len(good).map_err(io)?;
            let files = self.streams[index].get_or_insert_default();
            if let Some((_, number, bytes)) = files.current.take() {
                files.ended.push_back((number, bytes));
            }
            files.current = Some((file, number, good));
            files.next_number = number + 1;
        }
        if earlier.uuid != [0; 16] {
            self.uuid = Some(earlier.uuid);
            self.earlier = Some(earlier);
        }
        Ok(())
    }

    /// The stream's current file, if it has room for `bytes` more, else the next one.
    fn file_for(&mut self, stream: u32, bytes: u64) -> Result<&mut (File, u64, u64), SinkError> {
        let limit = match self.options.keep_bytes {
            Some(keep) => (keep / MIN_FILES).clamp(MIN_FILE_BYTES, MAX_FILE_BYTES),
            None => MAX_FILE_BYTES,
        };
        let index = stream as usize;
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, || None);
        }
        let files = self.streams[index].get_or_insert_default();
        if files.current.as_ref().is_some_and(|(_, _, length)| length + bytes > limit)
            && let Some((_, number, length)) = files.current.take()
        {
            files.ended.push_back((number, length));
        }
        let next = files.next_number;
        if self.streams[index].as_ref().is_none_or(|files| files.current.is_none()) {
            self.drop_oldest(bytes)?;
            let path = self.path(stream, next);
            let file = File::create(&path).map_err(|source| SinkError::io(&path, source))?;
            let files = self.streams[index].get_or_insert_default();
            files.next_number += 1;
            return Ok(files.current.insert((file, next, 0)));
        }
        let files = self.streams[index].get_or_insert_default();
        files.current.as_mut().ok_or(SinkError::Closed)
    }

    /// Drops whole files, the oldest of the largest stream first, until a new file fits under the cap.
    fn drop_oldest(&mut self, coming_bytes: u64) -> Result<(), SinkError> {
        let Some(keep) = self.options.keep_bytes else { return Ok(()) };
        let room = coming_bytes.max((keep / MIN_FILES).clamp(MIN_FILE_BYTES, MAX_FILE_BYTES));
        while self.kept_bytes() + room > keep {
            let largest = self
                .streams
                .iter_mut()
                .enumerate()
                .filter_map(|(stream, files)| Some((stream, files.as_mut().filter(|files| !files.ended.is_empty())?)))
                .max_by_key(|(_, files)| files.bytes());
            let Some((stream, files)) = largest else { break };
            let Some((number, bytes)) = files.ended.pop_front() else { break };
            let path = self.path(u32::try_from(stream).unwrap_or(u32::MAX), number);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                // Somebody else removed it: the room is there all the same.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(SinkError::io(&path, source)),
            }
            self.dropped.files += 1;
            self.dropped.bytes += bytes;
        }
        Ok(())
    }
}

impl Sink for DirectorySink {
    fn metadata(&mut self, _uuid: [u8; 16], text: &str, _known_bytes: usize) -> Result<(), SinkError> {
        let (path, new) = (self.dir.join("metadata"), self.dir.join(".metadata.new"));
        let result = File::create(&new).and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(source) = result.and_then(|()| std::fs::rename(&new, &path)) {
            // What stood there before is whole; half of its successor is of no use.
            let _ = std::fs::remove_file(&new);
            return Err(SinkError::io(&path, source));
        }
        Ok(())
    }

    fn packet(&mut self, stream: u32, packet: &[u8]) -> Result<(), SinkError> {
        let bytes = packet.len() as u64;
        let (file, number, length) = self.file_for(stream, bytes)?;
        if let Err(source) = file.write_all_at(packet, *length) {
            // Half a packet would make the whole file unreadable.
            let _ = file.set_len(*length);
            let number = *number;
            return Err(SinkError::io(&self.path(stream, number), source));
        }
        *length += bytes;
        Ok(())
    }
}

/// Stream and number of a stream file's name.
fn parse_name(name: &str) -> Option<(u32, u64)> {
    let rest = name.strip_prefix("stream_")?;
    match rest.split_once('_') {
        None => Some((rest.parse().ok()?, 0)),
        Some((stream, number)) => Some((stream.parse().ok()?, number.parse().ok()?)),
    }
}

/// Walks over the headers of a stream file and returns the length of its whole packets.
fn scan(file: &File, position: &mut Position, uuid: &mut [u8; 16]) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let mut at = 0;
    let mut bytes = [0; HEADER_BYTES];
    while at + HEADER_BYTES as u64 <= len {
        file.read_exact_at(&mut bytes, at)?;
        let Ok((header, length)) = PacketHeader::parse(&bytes).and_then(|header| Ok((header, header.check()?))) else {
            // A file that another program has damaged is cut where the damage begins, like one that ends early.
            break;
        };
        if at + length as u64 > len {
            break;
        }
        at += length as u64;
        *uuid = header.uuid;
        position.add(&header);
    }
    Ok(at)
}
