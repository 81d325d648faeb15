//! How a recording ends, as sentences for whoever started it: by the guest's end, whatever that was, by their own word, or by an
//! error.

use fata_wire::shared::{MESSAGE_BYTES, PAGE_BYTES, State, at, text_at};

use crate::sink::SinkError;
use crate::source::SourceError;

/// Why a guest cannot be collected from, or the recording ended early. What was written before stays readable.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The guest's memory cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The sink takes nothing more.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Somebody else is attached.
    #[error("{guest} is being collected by process {pid}: stop that one first, or take a --snapshot")]
    Busy {
        /// The guest.
        guest: String,
        /// The other collector.
        pid: u64,
    },
    /// The recording to be continued is of another guest, or of an earlier life of this one.
    #[error("{guest} is not the guest that was recorded there: choose another directory")]
    OtherGuest {
        /// The guest.
        guest: String,
    },
    /// The clock of the guest was changed since the recording that is to be continued began.
    #[error("the clock of {guest} was changed since it was recorded there: choose another directory")]
    OtherClock {
        /// The guest.
        guest: String,
    },
    /// The recording to be continued holds more than one guest, or more than one life of it.
    #[error("a recording of several guests, or of several lives of one, is not continued: choose another directory")]
    Several,
}

/// Why a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The time was over, or somebody said stop; the guest goes on.
    Stopped,
    /// It was a snapshot.
    Copied,
    /// It was a memory image of a guest in this state, with so many records unfinished.
    Image(State, u64),
    /// The guest ended on its own.
    Exited,
    /// The guest was asked to end, and ended in order: by whom.
    Asked(String),
    /// The guest panicked, with these last words.
    Panicked(String),
    /// The guest is gone without a word, with so many records unfinished.
    Killed(u64),
    /// The hypervisor says that the guest crashed, with so many records unfinished.
    Crashed(u64),
    /// Another guest uses the memory now.
    Restarted,
    /// The guest's clock was changed. It goes on, and what it has recorded since can be read by another recording.
    ClockChanged,
    /// The reader of the stream has gone.
    ReaderGone,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Stopped => f.write_str("stopped; the guest goes on"),
            End::Copied => f.write_str("copied what the ring held"),
            End::Image(state, unfinished) => write!(
                f,
                "the guest was {} when its memory was copied; {unfinished} of its records are unfinished",
                state.text()
            ),
            End::Exited => f.write_str("the guest ended"),
            End::Asked(words) => write!(f, "the guest ended: {words}"),
            End::Panicked(message) if message.is_empty() => f.write_str("the guest panicked"),
            End::Panicked(message) => write!(f, "the guest panicked: {message}"),
            End::Killed(0) => f.write_str("the guest is gone without a word: it was killed, or it crashed"),
            End::Killed(unfinished) => write!(
                f,
                "the guest is gone without a word: it was killed, or it crashed; {unfinished} of its records are unfinished"
            ),
            End::Crashed(0) => f.write_str("the guest crashed"),
            End::Crashed(unfinished) => {
                write!(
                    f,
                    "the guest crashed; {unfinished} of its records are unfinished: the last shows what it was at"
                )
            }
            End::Restarted => f.write_str("the guest was restarted: collect again to see its new life"),
            End::ClockChanged => {
                f.write_str("the guest's clock was changed: what it recorded since is by another clock")
            }
            End::ReaderGone => f.write_str("the reader closed the stream; the guest goes on"),
        }
    }
}

/// What the guest said of its end, without what would do something to a terminal.
pub(crate) fn last_words(page: &[u8; PAGE_BYTES]) -> String {
    let words = text_at(page, at::MESSAGE, MESSAGE_BYTES);
    String::from_utf8_lossy(words).chars().filter(|c| !c.is_control()).collect()
}
