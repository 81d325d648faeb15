//! One look at a guest from afar: what `fata list` shows. Changes nothing, and needs no right to write.

use fata_wire::event::MAX_CALLSITES;
use fata_wire::packet::{self, HEADER_BYTES};
use fata_wire::repair::committed_prefix;
use fata_wire::shared::{State, Status, StreamStatus, control};

use crate::collector::last_words;
use crate::shared::SharedMemory;
use crate::source::{Guest, SourceError};

/// What a guest's memory says at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Whether the guest runs.
    pub alive: bool,
    /// What it last said of itself.
    pub state: State,
    /// What it said of its end, if it has ended and had anything to say.
    pub last_words: String,
    /// Events that it has recorded, all streams together.
    pub recorded: u64,
    /// Events that found no room, as the guest counts them.
    pub discarded_by_guest: u64,
    /// The process that collects from it; 0 where there is none.
    pub collector: u64,
}

impl Peek {
    /// Every event that happened: recorded or discarded.
    #[must_use]
    pub fn produced(&self) -> u64 {
        self.recorded.saturating_add(self.discarded_by_guest)
    }

    /// Events that found no room.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.discarded_by_guest
    }
}

/// A guest whose memory is mapped, to be looked at more than once.
pub struct Watched<'a> {
    guest: &'a Guest,
    memory: SharedMemory,
}

impl<'a> Watched<'a> {
    /// Maps its memory.
    ///
    /// # Errors
    /// As [`Guest::open`].
    pub fn open(guest: &'a Guest) -> Result<Self, SourceError> {
        Ok(Watched { guest, memory: guest.open(false)? })
    }

    /// Looks at it.
    #[must_use]
    pub fn peek(&self) -> Peek {
        let Watched { guest, memory } = self;
        let geometry = *memory.geometry();
        let page = memory.header_page();
        let status = Status::parse(&page, &geometry);
        let (mut recorded, mut discarded_by_guest) = (0u64, 0u64);
        for stream in 0..geometry.all_streams() {
            let entry = StreamStatus::parse(&page, stream);
            recorded =
                recorded.saturating_add(entry.events_before).saturating_add(open_events(memory, stream, entry.lock));
            discarded_by_guest = entry.discarded.iter().fold(discarded_by_guest, |sum, &n| sum.saturating_add(n));
        }
        let control = usize::try_from(geometry.control_offset).unwrap_or(0);
        let collector = memory.load(control + control::COLLECTOR);
        let collector = if collector != 0 && guest.is_mapped_by(collector) { collector } else { 0 };
        let last_words = match status.state {
            State::Exited | State::Panicked => last_words(&page),
            _ => String::new(),
        };
        Peek { alive: guest.is_alive(), state: status.state, last_words, recorded, discarded_by_guest, collector }
    }
}

/// Looks at a guest once.
///
/// # Errors
/// As [`Guest::open`].
pub fn peek(guest: &Guest) -> Result<Peek, SourceError> {
    Ok(Watched::open(guest)?.peek())
}

/// Events in the packet that is being written; 0 where none is, or where it changed while it was copied.
fn open_events(memory: &SharedMemory, stream: u32, lock: u64) -> u64 {
    if lock.is_multiple_of(2) {
        return 0;
    }
    let geometry = memory.geometry();
    let Ok(offset) = usize::try_from(geometry.packet_offset(stream, lock / 2)) else { return 0 };
    let mut content = Vec::new();
    memory.copy(offset + HEADER_BYTES, geometry.packet_bytes_of(stream) as usize - HEADER_BYTES, &mut content);
    if memory.lock_is_still(offset + packet::at::LOCK, lock) {
        committed_prefix(&content, 0, MAX_CALLSITES).events
    } else {
        0
    }
}
