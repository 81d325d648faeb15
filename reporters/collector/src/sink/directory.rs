//! A CTF trace directory: `metadata`, and per stream the files `stream_N_KKK`.
//!
//! Invariant: a CTF reader can open the directory at any time. Metadata grows by renaming, before the first packet that needs
//! it, and what it has described is not described otherwise later; a packet is one write, and one that could not be written
//! whole is cut off again.
//!
//! What is full: with a cap ([`Options::keep_bytes`]) the oldest whole file of the largest stream goes, so what is left is
//! a recording of the newest events; how much went is counted in [`DirectorySink::dropped`], and a reader sees it, since
//! packet numbers and `events_before` go on. Without a cap, a full disk ends the recording.
//!
//! A directory that already holds a recording of the same guest is continued, from what its last packets say. Until the first
//! packet or description comes nothing in it is changed, and what comes is refused unless it bears the recording's identity:
//! whatever ends a command before, also that the guest is another one, costs the earlier recording nothing. One sink at a time
//! has a directory: it holds a lock on it, which goes with its process, however that ends.

mod described;
mod earlier;

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fata_wire::packet::PacketHeader;

use self::described::Described;
use self::earlier::Earlier;
use super::{Sink, SinkError};
use crate::collector::Continue;

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
    earlier: Option<Continue>,
    /// What its metadata describes.
    described: Option<Described>,
    /// There is metadata of this recording.
    has_metadata: bool,
    /// Something was written, so the recording is this sink's to go on with.
    begun: bool,
    _lock: Lock,
}

/// Nobody else records into the directory while one is held, where its file system can lock.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn take(dir: &Path) -> Result<Self, SinkError> {
        // The directory itself: a file in it would stay behind, and readers of CTF would ask what it is.
        let dir_file = File::open(dir).map_err(|source| SinkError::io(dir, source))?;
        match dir_file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(SinkError::InUse { path: dir.to_owned() }),
            // Some network file systems lock no directories; what can be recorded there is worth more than the lock.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Lock(dir_file)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // To close it is not enough: a child that is about to become another program has it too for that moment.
        let _ = self.0.unlock();
    }
}

/// The files of one stream.
#[derive(Debug, Default)]
struct StreamFiles {
    /// Lengths of the files before the current one, oldest first.
    ended: VecDeque<(u64, u64)>,
    current: Option<Current>,
    next_number: u64,
}

/// The file that packets go to.
#[derive(Debug)]
struct Current {
    file: File,
    number: u64,
    /// Length of its whole packets.
    bytes: u64,
    /// Behind them lies the begin of one that an earlier collector could not finish.
    torn: bool,
}

impl StreamFiles {
    fn bytes(&self) -> u64 {
        self.ended.iter().map(|(_, bytes)| bytes).sum::<u64>()
            + self.current.as_ref().map_or(0, |current| current.bytes)
    }
}

impl DirectorySink {
    /// Makes `dir`, or takes up the recording in it.
    ///
    /// # Errors
    /// [`SinkError::InUse`] while another sink has the directory, [`SinkError::Occupied`] if it holds something that is no
    /// recording of ours, [`SinkError::Damaged`] if that is not as a collector leaves it.
    pub fn open(dir: &Path, options: Options) -> Result<Self, SinkError> {
        let io = |source| SinkError::io(dir, source);
        if std::fs::metadata(dir).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(SinkError::Occupied { path: dir.to_owned(), what: "is no directory" });
        }
        std::fs::create_dir_all(dir).map_err(io)?;
        let lock = Lock::take(dir)?;
        let Earlier { streams, recording, described } = earlier::read(dir)?;
        Ok(DirectorySink {
            dir: dir.to_owned(),
            options,
            streams,
            dropped: Dropped::default(),
            has_metadata: recording.is_some(),
            earlier: recording,
            described,
            begun: false,
            _lock: lock,
        })
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
        self.dir.join(file_name(stream, number))
    }

    /// Before anything is written: what is to come must be of the recording that is here, and what an earlier collector could
    /// not finish goes.
    fn begin(&mut self, uuid: [u8; 16]) -> Result<(), SinkError> {
        if self.begun {
            return Ok(());
        }
        if self.earlier.as_ref().is_some_and(|earlier| earlier.uuid != uuid) {
            return Err(SinkError::Occupied { path: self.dir.clone(), what: "holds a recording of another guest" });
        }
        for current in self.streams.iter_mut().flatten().filter_map(|files| files.current.as_mut()) {
            if std::mem::take(&mut current.torn) {
                current.file.set_len(current.bytes).map_err(|source| SinkError::io(&self.dir, source))?;
            }
        }
        self.begun = true;
        Ok(())
    }

    /// The stream's current file, if it has room for `bytes` more, else the next one.
    fn file_for(&mut self, stream: u32, bytes: u64) -> Result<&mut Current, SinkError> {
        let limit = match self.options.keep_bytes {
            Some(keep) => (keep / MIN_FILES).clamp(MIN_FILE_BYTES, MAX_FILE_BYTES),
            None => MAX_FILE_BYTES,
        };
        let index = stream as usize;
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, || None);
        }
        let files = self.streams[index].get_or_insert_default();
        if files.current.as_ref().is_some_and(|current| current.bytes + bytes > limit)
            && let Some(Current { number, bytes, .. }) = files.current.take()
        {
            files.ended.push_back((number, bytes));
        }
        let next = files.next_number;
        if self.streams[index].as_ref().is_none_or(|files| files.current.is_none()) {
            self.drop_oldest(bytes)?;
            let path = self.path(stream, next);
            let file = File::create(&path).map_err(|source| SinkError::io(&path, source))?;
            let files = self.streams[index].get_or_insert_default();
            files.next_number += 1;
            return Ok(files.current.insert(Current { file, number: next, bytes: 0, torn: false }));
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
    fn metadata(&mut self, uuid: [u8; 16], text: &str) -> Result<(), SinkError> {
        self.begin(uuid)?;
        let new = self.described.as_mut().map(|described| described.new_in(text));
        let text = new.as_deref().unwrap_or(text);
        if text.is_empty() {
            return Ok(());
        }
        let (path, next) = (self.dir.join("metadata"), self.dir.join(".metadata.new"));
        let written = File::create(&next).and_then(|mut file| {
            if self.has_metadata {
                io::copy(&mut File::open(&path)?, &mut file)?;
            }
            file.write_all(text.as_bytes())?;
            std::fs::rename(&next, &path)
        });
        if let Err(source) = written {
            // What stood there before is whole; half of its successor is of no use.
            let _ = std::fs::remove_file(&next);
            return Err(SinkError::io(&path, source));
        }
        self.has_metadata = true;
        Ok(())
    }

    fn packet(&mut self, stream: u32, packet: &[u8]) -> Result<(), SinkError> {
        if !self.begun {
            self.begin(PacketHeader::parse(packet).map_or([0; 16], |header| header.uuid))?;
        }
        let bytes = packet.len() as u64;
        let current = self.file_for(stream, bytes)?;
        if let Err(source) = current.file.write_all_at(packet, current.bytes) {
            // Half a packet would make the whole file unreadable.
            let _ = current.file.set_len(current.bytes);
            let number = current.number;
            return Err(SinkError::io(&self.path(stream, number), source));
        }
        current.bytes += bytes;
        Ok(())
    }
}

fn file_name(stream: u32, number: u64) -> String {
    if number == 0 { format!("stream_{stream}") } else { format!("stream_{stream}_{number:03}") }
}
