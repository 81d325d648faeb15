//! The shared memory of a guest: what lies where, and who may write it.
//!
//! | region | written by | holds |
//! |---|---|---|
//! | header page | guest | signature, geometry, clock, state, per stream what was recorded and discarded, per log stream the account by level |
//! | control page | host | consumed position per stream, enabled categories, mode, freeze, requests |
//! | description area | guest, append-only | callsites and names ([`describe`](crate::describe)) |
//! | reply page | guest | the reply to the host's last request ([`request`](crate::request)) |
//! | ring pages | guest | per stream, `packets_per_stream` packets; then the log streams, whose packets have a size of their own |
//!
//! Streams are numbered through: first those of the vCPUs (or threads), then two [log streams](crate::log) for each of them
//! that has any.
//!
//! Trust is one-way per region. The guest reads the control page and nothing else that the host writes; the host maps the
//! rest read-only and takes geometry only from a copy that [`Geometry::parse`] has checked.

mod geometry;

use crate::packet::Cause;
use crate::{u32_at, u64_at};

pub use geometry::{Geometry, SharedError};

/// The signature of the header page. In memory it stands inverted ([`STORED_MAGIC`]), so that a scan of a memory image does
/// not find the constant inside a program.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FataRing");
/// The signature as it is stored.
pub const STORED_MAGIC: u64 = !MAGIC;
/// Header page and control page have this length, and every region begins at a multiple of it.
pub const PAGE_BYTES: usize = 4096;
/// The most streams that one guest may have.
pub const MAX_STREAMS: u32 = 16;
/// The most packets in a stream's ring; the fewest are [`MIN_PACKETS`].
pub const MAX_PACKETS: u32 = 1 << 14;
/// With fewer there would be none to read while one is written and one is kept.
pub const MIN_PACKETS: u32 = 4;
/// The largest description area.
pub const MAX_DESCRIPTION_BYTES: u64 = 4 << 20;

/// Offsets in the header page.
pub mod at {
    #![expect(missing_docs, reason = "the field of this name; see `Geometry`, `Clock`, `Status`")]
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8;
    pub const TOTAL_BYTES: usize = 16;
    pub const UUID: usize = 24;
    pub const PLATFORM: usize = 40;
    pub const STATE: usize = 44;
    pub const DESCRIPTION_OFFSET: usize = 48;
    pub const DESCRIPTION_CAPACITY: usize = 56;
    pub const DESCRIPTION_USED: usize = 64;
    pub const CONTROL_OFFSET: usize = 72;
    pub const STREAMS_OFFSET: usize = 80;
    pub const STREAM_COUNT: usize = 88;
    pub const PACKETS_PER_STREAM: usize = 92;
    pub const PACKET_BYTES: usize = 96;
    pub const CLOCK_HZ: usize = 104;
    pub const ANCHOR_TICKS: usize = 112;
    pub const ANCHOR_UNIX_NANOS: usize = 120;
    pub const CLOCK_COST_PICOS: usize = 128;
    pub const PROBE_COST_PICOS: usize = 136;
    pub const PID: usize = 144;
    pub const NAMES_REFUSED: usize = 152;
    /// u32 each: how many log streams, packets in each, and their length; 0 in a ring without log streams.
    pub const LOG_STREAMS: usize = 160;
    pub const LOG_PACKETS: usize = 164;
    pub const LOG_PACKET_BYTES: usize = 168;
    /// u64: where the reply page begins; 0 in a guest that answers no requests.
    pub const REPLY_OFFSET: usize = 176;
    pub const NAME: usize = 192;
    pub const MESSAGE: usize = 256;
    /// Per log stream, [`log::LOST_BYTES`](crate::log::LOST_BYTES): its [`LostBytes`](crate::log::LostBytes).
    pub const LOG_LOST_BYTES: usize = 768;
    pub const STREAMS: usize = 1024;
    /// Within a stream's entry: the lock of the youngest packet, as in its header.
    pub const STREAM_LOCK: usize = 0;
    /// Within a stream's entry: events recorded before the youngest packet.
    pub const STREAM_EVENTS_BEFORE: usize = 8;
    /// Within a stream's entry: discarded events by cause.
    pub const STREAM_DISCARDED: usize = 16;
    /// Within a stream's entry: the number of the first packet by the clock that the page describes; 0 as long as that has not
    /// changed. Earlier packets are by clocks that nobody can tell any more.
    pub const STREAM_CLOCK_SINCE: usize = 56;
    /// Per log stream, [`log::ACCOUNT_BYTES`](crate::log::ACCOUNT_BYTES): its [`Account`](crate::log::Account).
    pub const LOG_ACCOUNTS: usize = 2048;
}

/// Length of the guest's name, NUL-padded.
pub const NAME_BYTES: usize = 64;
/// Length of the guest's last words (a panic's message), NUL-padded.
pub const MESSAGE_BYTES: usize = 512;
/// Length of one stream's entry in the header page.
pub const STREAM_ENTRY_BYTES: usize = 64;

/// Offsets in the control page.
pub mod control {
    #![expect(missing_docs, reason = "see the comments")]
    /// u32: grows by one with each change that the guest is to look at; 0 until a host has written anything.
    pub const GENERATION: usize = 0;
    /// u32: 0 overwrite, 1 discard.
    pub const MODE: usize = 4;
    /// u64: a bit per category, valid once the generation is not 0.
    pub const CATEGORIES: usize = 8;
    /// u32: events above this level are off.
    pub const LEVEL: usize = 16;
    /// u32: 1 stops all recording until it is 0 again.
    pub const FREEZE: usize = 20;
    /// u64, 0 or the process id of the collector that is attached.
    pub const COLLECTOR: usize = 24;
    /// u64: grows while a collector is attached, several times a second; a guest in discard mode that sees it stand still for
    /// two seconds overwrites until it grows again. 0: nobody ever said that it would grow.
    pub const HEARTBEAT: usize = 32;
    /// u32: 1 where several guests are recorded together: each is to say which packet is which
    /// ([`WIRE_CATEGORY`](super::WIRE_CATEGORY)). u32: 0.
    pub const WIRE: usize = 40;
    /// Per stream, 16 bytes: u64 number of the first packet not yet consumed, u64 bytes of its content that were.
    pub const CONSUMED: usize = 64;
    pub const CONSUMED_ENTRY_BYTES: usize = 16;
    /// Per stream, 48 bytes: u64 events of the writer that collectors have accounted for, then u64 discarded events by
    /// cause that they have reported. A note from one collector to the next, which the guest never reads.
    pub const REPORTED: usize = CONSUMED + super::MAX_STREAMS as usize * CONSUMED_ENTRY_BYTES;
    pub const REPORTED_ENTRY_BYTES: usize = 48;
}

/// The category of the flows between guests. The id of such a flow is made of the packet itself and is the same in every guest:
/// it begins where the packet is sent, and ends in the guest that received it. Off unless a host asks for it; no event of a
/// program gets into it by its name, whose first word has no dot.
pub const WIRE_CATEGORY: &str = "fata.wire";

/// What happens to a new event when the ring has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// The oldest packet makes room: a flight recorder, which keeps the newest.
    Overwrite = 0,
    /// The new event is discarded and counted: streaming, which keeps the oldest.
    Discard = 1,
}

/// What the guest runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Platform {
    /// An ordinary process.
    Host = 1,
    /// Bare metal under QEMU.
    Qemu = 2,
    /// A Xen domain.
    Xen = 3,
}

impl Platform {
    /// The platform of this number, if the format has one.
    #[must_use]
    pub const fn from_u32(number: u32) -> Option<Self> {
        match number {
            1 => Some(Platform::Host),
            2 => Some(Platform::Qemu),
            3 => Some(Platform::Xen),
            _ => None,
        }
    }

    /// The word that stands for it in text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Platform::Host => "host",
            Platform::Qemu => "qemu",
            Platform::Xen => "xen",
        }
    }
}

/// What the guest last said of itself. A dead guest cannot say so: whoever reads compares with what the platform knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// The memory is being laid out: nothing in it holds yet.
    Absent = 0,
    /// Recording, the clock not yet known.
    Booting = 1,
    /// Recording.
    Running = 2,
    /// Ended on its own, the ring sealed.
    Exited = 3,
    /// Ended by a panic or a CPU exception, the ring sealed; the message says which.
    Panicked = 4,
}

impl State {
    /// The state of this number; an unknown one is [`State::Absent`].
    #[must_use]
    pub const fn from_u32(number: u32) -> Self {
        match number {
            1 => State::Booting,
            2 => State::Running,
            3 => State::Exited,
            4 => State::Panicked,
            _ => State::Absent,
        }
    }

    /// The word that stands for it in text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            State::Absent => "absent",
            State::Booting => "booting",
            State::Running => "running",
            State::Exited => "exited",
            State::Panicked => "panicked",
        }
    }
}

/// The clock of a guest: what a tick is worth, and when tick `anchor_ticks` was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Clock {
    /// Ticks per second; 0 until the guest has calibrated its clock.
    pub hz: u64,
    /// The clock at the anchor.
    pub anchor_ticks: u64,
    /// Nanoseconds since 1970 at the anchor; 0 where the guest does not know the time of day.
    pub anchor_unix_nanos: u64,
    /// What reading the clock costs, in picoseconds, as the guest measured it at start; 0 where it did not.
    pub clock_cost_picos: u64,
    /// What recording an event without payload costs, in picoseconds, clock included; 0 where it was not measured.
    pub probe_cost_picos: u64,
}

/// What the header page says of the guest at the moment of its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What the guest last said of itself.
    pub state: State,
    /// The clock; `hz` is 0 while unknown.
    pub clock: Clock,
    /// The guest's process id; 0 where it has none.
    pub pid: u64,
    /// How much of the description area is filled; never more than its capacity.
    pub description_used: u64,
    /// Names that found no room in the description area.
    pub names_refused: u64,
}

impl Status {
    /// The status in a copy of the header page.
    #[must_use]
    pub fn parse(page: &[u8; PAGE_BYTES], geometry: &Geometry) -> Self {
        Status {
            state: State::from_u32(u32_at(page, at::STATE)),
            clock: Clock {
                hz: u64_at(page, at::CLOCK_HZ),
                anchor_ticks: u64_at(page, at::ANCHOR_TICKS),
                anchor_unix_nanos: u64_at(page, at::ANCHOR_UNIX_NANOS),
                clock_cost_picos: u64_at(page, at::CLOCK_COST_PICOS),
                probe_cost_picos: u64_at(page, at::PROBE_COST_PICOS),
            },
            pid: u64_at(page, at::PID),
            description_used: u64_at(page, at::DESCRIPTION_USED).min(geometry.description_capacity),
            names_refused: u64_at(page, at::NAMES_REFUSED),
        }
    }
}

/// What the header page says of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// The lock of the youngest packet; 0 where the stream has none yet.
    pub lock: u64,
    /// Events recorded before the youngest packet.
    pub events_before: u64,
    /// Discarded events by cause.
    pub discarded: crate::packet::Discarded,
}

impl StreamStatus {
    /// The entry of `stream` in a copy of the header page.
    #[must_use]
    pub fn parse(page: &[u8; PAGE_BYTES], stream: u32) -> Self {
        let entry = Geometry::stream_entry(stream.min(MAX_STREAMS - 1));
        let mut discarded = [0; Cause::ALL.len()];
        for (i, count) in discarded.iter_mut().enumerate() {
            *count = u64_at(page, entry + at::STREAM_DISCARDED + 8 * i);
        }
        StreamStatus {
            lock: u64_at(page, entry + at::STREAM_LOCK),
            events_before: u64_at(page, entry + at::STREAM_EVENTS_BEFORE),
            discarded,
        }
    }
}

/// The NUL-padded text at `offset`, for the guest's name and message.
#[must_use]
pub fn text_at(page: &[u8; PAGE_BYTES], offset: usize, len: usize) -> &[u8] {
    let bytes = page.get(offset..offset + len).unwrap_or(&[]);
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or(&[])
}
