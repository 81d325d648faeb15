//! Items as a CTF trace: a directory that `fata log`, `fata view` and every other CTF reader open.
//!
//! Invariant: the directory can be read at any time. A record's description is there before the packet that needs it; a packet
//! is one write, and one that could not be written whole is cut off again. Of each level, records and losses are numbered
//! through, so a reader sees how many are missing, and where.
//!
//! At most one packet waits to be written ([`PACKET_BYTES`]); when the disk takes none, [`Reporter::report`] says `Later`.
//! There are 4096 callsites: records that differ in level, target, name, place or names of fields; when they are used up, a
//! record of a new one is refused ([`ReportError::Item`]). A text beyond what an event can hold is cut.
//!
//! ```
//! use fata_reporters::trace::Trace;
//! use fata_reporters::{Item, Record, Reporter};
//! let dir = tempfile::tempdir().unwrap();
//! let mut trace = Trace::create(&dir.path().join("log")).unwrap();
//! trace.report(&Item::Record(Record { target: "net", name: "up", ..Record::BLANK })).unwrap();
//! drop(trace);
//! assert!(dir.path().join("log/metadata").exists());
//! ```

mod encode;

use core::task::{Context, Poll};
use std::borrow::ToOwned as _;
use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

use fata_wire::describe::{self, Callsite, MAX_TEXT_BYTES};
use fata_wire::event::{CLOCK, EXTENDED, EventId, FIRST_CALLSITE, Header, LEDGER, MAX_CALLSITES};
use fata_wire::field::{Fields, Kind, Level};
use fata_wire::log::ledger::{self, Extent, Ledger};
use fata_wire::metadata::{write_preamble, write_record};
use fata_wire::packet::{Discarded, FLAG_LOG, HEADER_BYTES, PacketHeader};
use fata_wire::shared::Clock;

use crate::loss::Loss;
use crate::record::Record;
use crate::reporter::{Item, ReportError, Reporter};
use crate::time::{Epoch, Time};

/// How long a packet may become.
pub const PACKET_BYTES: usize = 64 << 10;
/// Between two stamps of 32 bits there may be no more than this; a clock event comes between.
const SILENCE_NANOS: u64 = 1 << 31;
/// A ledger with its header, and a clock event before it.
const LEDGER_BYTES: usize = (ledger::WORDS + 3) * 8;

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Another trace must not be mixed with this one.
    #[error("{path} holds a trace already: choose another directory", path = .0.display())]
    Occupied(PathBuf),
    /// The system's.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes a trace.
#[derive(Debug)]
pub struct Trace {
    dir: PathBuf,
    metadata: File,
    metadata_len: u64,
    stream: File,
    stream_len: u64,
    uuid: [u8; 16],
    /// What the first item's time counts from, whose guest it was; the preamble says so.
    begun: Option<(Epoch, String)>,
    callsites: HashMap<Vec<u8>, u16>,
    /// Room for a header, then events.
    packet: Vec<u8>,
    header: PacketHeader,
    /// The number of the next record of each level.
    numbers: [u64; 6],
    ticks: u64,
    /// What the last written packet said was discarded.
    told: Discarded,
    /// How long the records were that were lost, and those in the packets that were written; and those in the open one.
    ledger: Ledger,
    open: Extent,
}

impl Trace {
    /// Makes the directory and begins a trace in it.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn create(dir: &Path) -> Result<Self, CreateError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| CreateError::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let (metadata, stream) = (dir.join("metadata"), dir.join("stream_0"));
        if metadata.exists() || stream.exists() {
            return Err(CreateError::Occupied(dir.into()));
        }
        let mut uuid = [0; 16];
        let random = || RandomState::new().hash_one(std::time::SystemTime::now()).to_le_bytes();
        uuid[..8].copy_from_slice(&random());
        uuid[8..].copy_from_slice(&random());
        let header = PacketHeader {
            uuid,
            stream_id: 0,
            content_size: 0,
            packet_size: 0,
            timestamp_begin: 0,
            timestamp_end: 0,
            packet_seq_num: 0,
            events_discarded: 0,
            lock: 0,
            events_before: 0,
            events: 0,
            cpu_id: 0,
            flags: FLAG_LOG,
            discarded: Discarded::default(),
        };
        Ok(Trace {
            dir: dir.into(),
            metadata: File::create(&metadata).map_err(io(&metadata))?,
            metadata_len: 0,
            stream: File::create(&stream).map_err(io(&stream))?,
            stream_len: 0,
            uuid,
            begun: None,
            callsites: HashMap::new(),
            packet: std::vec![0; HEADER_BYTES],
            header,
            numbers: [0; 6],
            ticks: 0,
            told: Discarded::default(),
            ledger: Ledger::default(),
            open: Extent::default(),
        })
    }

    /// Appends to the metadata, whole or not at all.
    fn describe(&mut self, text: &str) -> Result<(), ReportError> {
        if let Err(error) = self.metadata.write_all_at(text.as_bytes(), self.metadata_len) {
            let _ = self.metadata.set_len(self.metadata_len);
            return Err(self.error(&error));
        }
        self.metadata_len += text.len() as u64;
        Ok(())
    }

    fn begin(&mut self, time: Time, guest: &str) -> Result<(), ReportError> {
        if self.begun.is_some() {
            return Ok(());
        }
        // One tick is one nanosecond, and the clock's value is the time itself.
        let ticks = ticks_from_time(time);
        let anchor_unix_nanos = if time.epoch == Epoch::Unix { ticks } else { 0 };
        let anchor_ticks = if time.epoch == Epoch::Unix { ticks } else { 0 };
        let clock = Clock { hz: 1_000_000_000, anchor_ticks, anchor_unix_nanos, ..Clock::default() };
        let mut text = String::new();
        // A `String` takes everything.
        let _ = write_preamble(&mut text, self.uuid, &clock);
        let value = if guest.is_empty() { "log" } else { cut(guest) };
        let _ = write_record(&mut text, &describe::Record::Env { key: "guest", value });
        self.describe(&text)?;
        self.begun = Some((time.epoch, guest.into()));
        Ok(())
    }

    /// The callsite of records like `record` with these fields; described when it is new.
    fn callsite(&mut self, record: &Record<'_>, fields: &Fields<'_>) -> Result<u16, ReportError> {
        let key = encode::key(record, fields);
        if let Some(id) = self.callsites.get(&key) {
            return Ok(*id);
        }
        let id = FIRST_CALLSITE + u16::try_from(self.callsites.len()).unwrap_or(MAX_CALLSITES);
        if id >= MAX_CALLSITES {
            return Err(ReportError::item("the trace has no number left for another kind of record"));
        }
        let mut text = String::new();
        let callsite = Callsite {
            id,
            kind: Kind::Log,
            level: record.level,
            line: record.line,
            category: cut(record.target),
            name: cut(record.name),
            file: cut(record.file),
            fields: *fields,
        };
        let _ = write_record(&mut text, &describe::Record::Callsite(callsite));
        self.describe(&text)?;
        self.callsites.insert(key, id);
        Ok(id)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), ReportError> {
        self.begin(record.time, record.guest)?;
        let home = self.begun.as_ref().map_or("", |(_, guest)| guest.as_str()).to_owned();
        // The stream's time never runs backwards; a record that is late keeps its own in a field.
        let made = ticks_from_time(record.time);
        let ticks = made.max(self.ticks);
        let late = (made < ticks).then_some(made);
        let number = self.numbers[record.level as usize];
        encode::event(record, &home, late, number, |fields, arg, words| {
            let code = if fields.is_extended() { EXTENDED } else { u8::try_from(words.len()).unwrap_or(EXTENDED) };
            let id = self.callsite(record, fields)?;
            self.add(id, code, arg, ticks, words)
        })?;
        self.numbers[record.level as usize] += 1;
        Ok(())
    }

    /// Adds an event to the packet, or to the next where there is no room.
    fn add(&mut self, id: u16, code: u8, arg: u16, ticks: u64, words: &[u64]) -> Result<(), ReportError> {
        let bytes = (words.len() + 3) * 8;
        if self.packet.len() + bytes > PACKET_BYTES {
            self.flush()?;
        }
        if self.header.events == 0 {
            self.header.timestamp_begin = ticks;
        } else if ticks - self.ticks > SILENCE_NANOS {
            self.put(CLOCK, 1, 0, ticks, &[ticks]);
        }
        self.put(id, code, arg, ticks, words);
        if id != LEDGER {
            self.open = Extent { records: self.open.records + 1, bytes: self.open.bytes + 8 + 8 * words.len() as u64 };
        }
        Ok(())
    }

    fn put(&mut self, callsite: u16, words_code: u8, arg: u16, ticks: u64, words: &[u64]) {
        self.ticks = ticks;
        let header = Header {
            #[expect(clippy::cast_possible_truncation, reason = "a stamp is the low half of the clock")]
            ticks_low: ticks as u32,
            id: EventId::begin(callsite),
            busy: false,
            words: words_code,
            arg,
        };
        self.packet.extend(header.pack().to_le_bytes());
        words.iter().for_each(|word| self.packet.extend(word.to_le_bytes()));
        self.header.events += 1;
    }

    /// The numbers of what was lost are passed over; what has none is counted beside them. How long it was is told where that is
    /// known.
    fn loss(&mut self, loss: &Loss<'_>) -> Result<(), ReportError> {
        self.begin(loss.first, loss.guest)?;
        let is_exact = !loss.is_about && loss.counts.unknown == 0;
        let bytes = loss.bytes.filter(|_| is_exact);
        // Here it may fail; what comes then is taken as a whole.
        if bytes.is_some() && self.packet.len() + LEDGER_BYTES > PACKET_BYTES {
            self.flush()?;
        }
        for &level in Level::ALL {
            self.numbers[level as usize] += loss.counts.of(level);
        }
        let cause = encode::cause(loss.cause);
        self.header.discarded[cause as usize] += loss.counts.total();
        self.header.events_discarded += loss.counts.total();
        if let Some(bytes) = bytes {
            let Extent { records, bytes: before } = self.ledger.discarded;
            self.ledger.discarded = Extent { records: records + loss.counts.total(), bytes: before + bytes };
            let (words, ticks) = (self.ledger.words(), ticks_from_time(loss.last).max(self.ticks));
            let code = u8::try_from(words.len()).unwrap_or(EXTENDED);
            self.add(LEDGER, code, 0, ticks, &words)?;
        }
        Ok(())
    }

    /// Writes the packet, if there is anything in it or to tell.
    fn flush(&mut self) -> Result<(), ReportError> {
        if self.begun.is_none() || (self.header.events == 0 && self.header.discarded == self.told) {
            return Ok(());
        }
        let bits = self.packet.len() as u64 * 8;
        if self.header.events == 0 {
            self.header.timestamp_begin = self.ticks;
        }
        let header = PacketHeader { content_size: bits, packet_size: bits, timestamp_end: self.ticks, ..self.header };
        header.write(&mut self.packet);
        if let Err(error) = self.stream.write_all_at(&self.packet, self.stream_len) {
            // Half a packet would make the whole file unreadable.
            let _ = self.stream.set_len(self.stream_len);
            return Err(self.error(&error));
        }
        self.stream_len += self.packet.len() as u64;
        self.packet.truncate(HEADER_BYTES);
        self.told = self.header.discarded;
        self.header.packet_seq_num += 1;
        self.header.events_before += self.header.events;
        self.header.events = 0;
        let Extent { records, bytes } = std::mem::take(&mut self.open);
        self.ledger.recorded.records += records;
        self.ledger.recorded.bytes += bytes;
        Ok(())
    }

    fn error(&self, error: &io::Error) -> ReportError {
        let dir = self.dir.display();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ReportError::later(format_args!("{dir}: no space left; goes on when there is"))
            }
            _ => ReportError::later(format_args!("{dir}: {error}")),
        }
    }
}

impl Reporter for Trace {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        match item {
            Item::Record(record) => self.record(record),
            Item::Loss(loss) => self.loss(loss),
        }
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        Poll::Ready(self.flush())
    }

    fn worst_case_bytes(&self) -> usize {
        // The packet; of each callsite its key and number.
        PACKET_BYTES + usize::from(MAX_CALLSITES) * (encode::MAX_KEY_BYTES + 64)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Whoever wanted to know has asked `poll_done`.
        let _ = self.flush();
    }
}

fn ticks_from_time(time: Time) -> u64 {
    u64::try_from(time.nanos).unwrap_or(0)
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT_BYTES)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
