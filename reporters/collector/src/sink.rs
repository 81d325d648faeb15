//! Where published packets go.
//!
//! Invariant: a sink gets metadata before the first packet that needs it, packets of one stream in order, and each packet
//! once. What was handed over before an error stays readable.

pub mod directory;
pub mod stream;
pub mod tee;
pub mod together;

use std::io;
use std::path::PathBuf;

use crate::collector::Status;
use crate::description::Description;
use crate::shared::SharedMemory;

/// Why a sink takes nothing more.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Whoever read has gone: a clean end.
    #[error("the reader closed the stream")]
    Closed,
    /// No room: what was written before is whole and readable.
    #[error("{path}: no space left; the trace up to here is readable, free some space or limit it with --keep", path = path.display())]
    Full {
        /// What could not be written.
        path: PathBuf,
    },
    /// Writing failed otherwise.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory holds something that must not be mixed with this recording.
    #[error("{path} {what}: choose another directory", path = path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
    },
    /// Another collector records into the directory.
    #[error("{path} is being recorded into: stop that collector first, or choose another directory", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The recording to be continued is not as a collector leaves it. It was not changed.
    #[error(
        "{path} is damaged at byte {at}, so the recording is left as it is: choose another directory, and see with `fata stats` \
         what can be read of this one",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where its whole packets end.
        at: u64,
    },
}

impl SinkError {
    pub(crate) fn io(path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SinkError::Closed,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                SinkError::Full { path }
            }
            _ => SinkError::Io { path, source },
        }
    }
}

/// Takes what a collector publishes.
pub trait Sink {
    /// More metadata: `text` belongs behind all that came before, and ends with a whole line.
    ///
    /// # Errors
    /// See [`SinkError`]; each ends the recording.
    fn metadata(&mut self, uuid: [u8; 16], text: &str) -> Result<(), SinkError>;

    /// One whole packet of `stream`, header included.
    ///
    /// # Errors
    /// See [`SinkError`]; each ends the recording.
    fn packet(&mut self, stream: u32, packet: &[u8]) -> Result<(), SinkError>;

    /// How the recording goes, a few times a second, whether or not there are packets.
    ///
    /// # Errors
    /// See [`SinkError`]; each ends the recording.
    fn tick(&mut self, _status: &Status) -> Result<(), SinkError> {
        Ok(())
    }

    /// Whether somebody has begun to read since this was last asked, who has not heard what tasks and objects are called.
    fn has_joined(&mut self) -> bool {
        false
    }
}

/// A sink that was told the description as far as packets need it.
pub(crate) struct Outlet<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) description: &'a mut Description,
    /// The trace's identity.
    pub(crate) uuid: [u8; 16],
    /// Which guest of the trace it is.
    pub(crate) guest: u16,
}

impl Outlet<'_> {
    /// Hands over what the guest has described since the last time.
    pub(crate) fn describe(&mut self, memory: &SharedMemory) -> Result<(), SinkError> {
        self.description.follow(memory, |text| self.sink.metadata(self.uuid, text))
    }
}
