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

use crate::packet::{Cause, MAX_PACKET_BYTES, MIN_PACKET_BYTES};
use crate::{VERSION, u32_at, u64_at};

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
    pub const STREAMS: usize = 1024;
    /// Within a stream's entry: the lock of the youngest packet, as in its header.
    pub const STREAM_LOCK: usize = 0;
    /// Within a stream's entry: events recorded before the youngest packet.
    pub const STREAM_EVENTS_BEFORE: usize = 8;
    /// Within a stream's entry: discarded events by cause.
    pub const STREAM_DISCARDED: usize = 16;
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

/// Where everything lies. Holding one proves that all regions are page-aligned, disjoint where it matters, and inside
/// `total_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The trace's identity, also in every packet.
    pub uuid: [u8; 16],
    /// What the guest runs on.
    pub platform: Platform,
    /// Length of the whole region.
    pub total_bytes: u64,
    /// Where the description area begins.
    pub description_offset: u64,
    /// Its length.
    pub description_capacity: u64,
    /// Where the control page begins.
    pub control_offset: u64,
    /// Where the reply page begins; 0 where the guest has none.
    pub reply_offset: u64,
    /// Where stream 0's first packet begins; all packets of all streams follow one another.
    pub streams_offset: u64,
    /// How many streams.
    pub stream_count: u32,
    /// Packets in each stream's ring, a power of two.
    pub packets_per_stream: u32,
    /// Length of a packet, a power of two.
    pub packet_bytes: u32,
    /// How many log streams follow the others; an even number, 0 where the guest has none.
    pub log_streams: u32,
    /// Packets in each log stream's ring, a power of two.
    pub log_packets: u32,
    /// Length of a log stream's packet, a power of two.
    pub log_packet_bytes: u32,
}

/// Why memory is not a ring that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedError {
    /// The signature is not there: the guest was built without `profiling`, or has not come so far.
    NotARing,
    /// The guest is still laying it out: look again.
    NotReady,
    /// A version of another major number.
    UnknownVersion(u32),
    /// A region that does not fit, named.
    BadGeometry(&'static str),
}

impl core::error::Error for SharedError {}

impl core::fmt::Display for SharedError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            SharedError::NotARing => {
                f.write_str("no trace ring here: was the guest built with the feature `profiling`, and has it started?")
            }
            SharedError::NotReady => f.write_str("the guest is still laying out its trace ring"),
            SharedError::UnknownVersion(version) => write!(
                f,
                "the ring has format version {}.{}, this program reads {}.x: use the `fata` that belongs to the guest",
                version >> 16,
                version & 0xffff,
                VERSION >> 16
            ),
            SharedError::BadGeometry(what) => {
                write!(f, "the ring's {what} cannot be right: the guest's memory is damaged")
            }
        }
    }
}

impl Geometry {
    /// The geometry of a region with these rings, laid out without gaps: header page, control page, description,
    /// reply page, rings.
    #[must_use]
    pub const fn lay_out(
        uuid: [u8; 16],
        platform: Platform,
        description_capacity: u64,
        stream_count: u32,
        packets_per_stream: u32,
        packet_bytes: u32,
    ) -> Self {
        let description_offset = 2 * PAGE_BYTES as u64;
        let reply_offset = description_offset + description_capacity.next_multiple_of(PAGE_BYTES as u64);
        let streams_offset = reply_offset + PAGE_BYTES as u64;
        Geometry {
            uuid,
            platform,
            total_bytes: streams_offset + stream_count as u64 * packets_per_stream as u64 * packet_bytes as u64,
            description_offset,
            description_capacity,
            control_offset: PAGE_BYTES as u64,
            reply_offset,
            streams_offset,
            stream_count,
            packets_per_stream,
            packet_bytes,
            log_streams: 0,
            log_packets: 0,
            log_packet_bytes: 0,
        }
    }

    /// The same with log streams behind the others.
    #[must_use]
    pub const fn with_logs(mut self, streams: u32, packets: u32, packet_bytes: u32) -> Self {
        self.log_streams = streams;
        if streams > 0 {
            self.log_packets = packets;
            self.log_packet_bytes = packet_bytes;
            self.total_bytes += streams as u64 * packets as u64 * packet_bytes as u64;
        }
        self
    }

    /// Checks a copy of the header page of a region of which `mapped_bytes` can be read.
    ///
    /// # Errors
    /// See [`SharedError`]: `NotReady` means look again, every other is final for this memory.
    pub fn parse(page: &[u8; PAGE_BYTES], mapped_bytes: u64) -> Result<Self, SharedError> {
        if u64_at(page, at::MAGIC) != STORED_MAGIC {
            return Err(SharedError::NotARing);
        }
        let version = u32_at(page, at::VERSION);
        if version >> 16 != VERSION >> 16 {
            return Err(SharedError::UnknownVersion(version));
        }
        if State::from_u32(u32_at(page, at::STATE)) == State::Absent {
            return Err(SharedError::NotReady);
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&page[at::UUID..at::UUID + 16]);
        let geometry = Geometry {
            uuid,
            platform: Platform::from_u32(u32_at(page, at::PLATFORM)).ok_or(SharedError::BadGeometry("platform"))?,
            total_bytes: u64_at(page, at::TOTAL_BYTES),
            description_offset: u64_at(page, at::DESCRIPTION_OFFSET),
            description_capacity: u64_at(page, at::DESCRIPTION_CAPACITY),
            control_offset: u64_at(page, at::CONTROL_OFFSET),
            reply_offset: u64_at(page, at::REPLY_OFFSET),
            streams_offset: u64_at(page, at::STREAMS_OFFSET),
            stream_count: u32_at(page, at::STREAM_COUNT),
            packets_per_stream: u32_at(page, at::PACKETS_PER_STREAM),
            packet_bytes: u32_at(page, at::PACKET_BYTES),
            log_streams: u32_at(page, at::LOG_STREAMS),
            log_packets: u32_at(page, at::LOG_PACKETS),
            log_packet_bytes: u32_at(page, at::LOG_PACKET_BYTES),
        };
        geometry.check(mapped_bytes)?;
        Ok(geometry)
    }

    fn check(&self, mapped_bytes: u64) -> Result<(), SharedError> {
        let refuse = |bad: bool, what| if bad { Err(SharedError::BadGeometry(what)) } else { Ok(()) };
        let page = PAGE_BYTES as u64;
        let fits = |offset: u64, len: u64| {
            offset.is_multiple_of(page)
                && offset >= page
                && offset.checked_add(len).is_some_and(|end| end <= self.total_bytes)
        };
        refuse(self.total_bytes > mapped_bytes, "total length")?;
        refuse(!(1..=MAX_STREAMS).contains(&self.stream_count), "stream count")?;
        let logs_fit = self.log_streams <= MAX_STREAMS - self.stream_count && self.log_streams.is_multiple_of(2);
        refuse(!logs_fit, "log stream count")?;
        let lengths = |bytes: u32| bytes.is_power_of_two() && (MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&bytes);
        let counts = |packets: u32| packets.is_power_of_two() && (MIN_PACKETS..=MAX_PACKETS).contains(&packets);
        refuse(!lengths(self.packet_bytes), "packet length")?;
        refuse(!counts(self.packets_per_stream), "packet count")?;
        let logs = self.log_streams > 0;
        refuse(logs && !lengths(self.log_packet_bytes), "log packet length")?;
        refuse(logs && !counts(self.log_packets), "log packet count")?;
        refuse(self.description_capacity > MAX_DESCRIPTION_BYTES, "description length")?;
        refuse(!fits(self.description_offset, self.description_capacity), "description area")?;
        refuse(!fits(self.control_offset, page), "control page")?;
        refuse(self.reply_offset != 0 && !fits(self.reply_offset, page), "reply page")?;
        let rings = self.stream_bytes(0) * u64::from(self.stream_count)
            + self.stream_bytes(self.stream_count) * u64::from(self.log_streams);
        refuse(!fits(self.streams_offset, rings), "ring area")
    }

    /// How many streams there are, log streams included.
    #[must_use]
    pub const fn all_streams(&self) -> u32 {
        self.stream_count + self.log_streams
    }

    /// Whether `stream` is one of the log streams.
    #[must_use]
    pub const fn is_log(&self, stream: u32) -> bool {
        stream >= self.stream_count
    }

    /// Packets in the ring of `stream`.
    #[must_use]
    pub const fn packets_of(&self, stream: u32) -> u32 {
        if self.is_log(stream) { self.log_packets } else { self.packets_per_stream }
    }

    /// Length of a packet of `stream`.
    #[must_use]
    pub const fn packet_bytes_of(&self, stream: u32) -> u32 {
        if self.is_log(stream) { self.log_packet_bytes } else { self.packet_bytes }
    }

    /// Length of the ring of `stream`.
    #[must_use]
    pub const fn stream_bytes(&self, stream: u32) -> u64 {
        self.packets_of(stream) as u64 * self.packet_bytes_of(stream) as u64
    }

    /// Where packet number `number` of `stream` lies in the region.
    #[must_use]
    pub const fn packet_offset(&self, stream: u32, number: u64) -> u64 {
        let slot = number & (self.packets_of(stream) as u64).saturating_sub(1);
        let (before, logs_before) = if self.is_log(stream) {
            (self.stream_count as u64, (stream - self.stream_count) as u64)
        } else {
            (stream as u64, 0)
        };
        self.streams_offset
            + before * self.stream_bytes(0)
            + logs_before * self.stream_bytes(self.stream_count)
            + slot * self.packet_bytes_of(stream) as u64
    }

    /// Where the account of the log stream `stream` lies in the header page.
    #[must_use]
    pub const fn log_account(&self, stream: u32) -> usize {
        at::LOG_ACCOUNTS + (stream.saturating_sub(self.stream_count) % MAX_STREAMS) as usize * crate::log::ACCOUNT_BYTES
    }

    /// Where the entry of `stream` lies in the header page.
    #[must_use]
    pub const fn stream_entry(stream: u32) -> usize {
        at::STREAMS + stream as usize * STREAM_ENTRY_BYTES
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{put_u32, put_u64};

    fn page(change: impl Fn(&mut [u8])) -> [u8; PAGE_BYTES] {
        let geometry = Geometry::lay_out([1; 16], Platform::Host, 65536, 2, 8, 4096);
        let mut page = [0; PAGE_BYTES];
        put_u64(&mut page, at::MAGIC, STORED_MAGIC);
        put_u32(&mut page, at::VERSION, VERSION);
        put_u64(&mut page, at::TOTAL_BYTES, geometry.total_bytes);
        page[at::UUID..at::UUID + 16].copy_from_slice(&geometry.uuid);
        put_u32(&mut page, at::PLATFORM, Platform::Host as u32);
        put_u32(&mut page, at::STATE, State::Running as u32);
        put_u64(&mut page, at::DESCRIPTION_OFFSET, geometry.description_offset);
        put_u64(&mut page, at::DESCRIPTION_CAPACITY, geometry.description_capacity);
        put_u64(&mut page, at::CONTROL_OFFSET, geometry.control_offset);
        put_u64(&mut page, at::REPLY_OFFSET, geometry.reply_offset);
        put_u64(&mut page, at::STREAMS_OFFSET, geometry.streams_offset);
        put_u32(&mut page, at::STREAM_COUNT, 2);
        put_u32(&mut page, at::PACKETS_PER_STREAM, 8);
        put_u32(&mut page, at::PACKET_BYTES, 4096);
        change(&mut page);
        page
    }

    const MAPPED: u64 = 3 * 4096 + 65536 + 2 * 8 * 4096;

    #[test]
    fn a_layout_is_accepted_by_its_own_check() {
        let geometry = Geometry::parse(&page(|_| ()), MAPPED).unwrap();
        assert_eq!(geometry, Geometry::lay_out([1; 16], Platform::Host, 65536, 2, 8, 4096));
        assert_eq!(geometry.packet_offset(1, 9), geometry.streams_offset + 9 * 4096);
    }

    #[test]
    fn log_streams_follow_the_others_and_have_packets_of_their_own_size() {
        let geometry = Geometry::lay_out([1; 16], Platform::Host, 65536, 2, 8, 8192).with_logs(4, 16, 4096);
        assert_eq!(geometry.packet_offset(2, 0), geometry.streams_offset + 2 * 8 * 8192);
        assert_eq!(geometry.packet_offset(5, 17), geometry.packet_offset(2, 0) + 3 * 16 * 4096 + 4096);
        assert_eq!(geometry.total_bytes, geometry.packet_offset(5, 15) + 4096);
        assert_eq!(geometry.log_account(2), at::LOG_ACCOUNTS);
        assert!(geometry.log_account(MAX_STREAMS - 1) + crate::log::ACCOUNT_BYTES <= PAGE_BYTES);
    }

    #[test]
    fn every_lie_about_the_geometry_is_named() {
        let lies: [(usize, u64, &str); 11] = [
            (at::TOTAL_BYTES, MAPPED + 1, "total length"),
            (at::DESCRIPTION_CAPACITY, u64::MAX, "description length"),
            (at::DESCRIPTION_OFFSET, u64::MAX - 4095, "description area"),
            (at::DESCRIPTION_OFFSET, 4097, "description area"),
            (at::CONTROL_OFFSET, 0, "control page"),
            (at::REPLY_OFFSET, MAPPED, "reply page"),
            (at::STREAMS_OFFSET, MAPPED - 4096, "ring area"),
            (at::STREAM_COUNT, 17 | 8 << 32, "stream count"),
            (at::LOG_STREAMS, 1 | 8 << 32, "log stream count"),
            (at::LOG_STREAMS, 16 | 8 << 32, "log stream count"),
            (at::LOG_STREAMS, 2 | 8 << 32, "log packet length"),
        ];
        for (offset, value, what) in lies {
            let page = page(|page| put_u64(page, offset, value));
            assert_eq!(Geometry::parse(&page, MAPPED), Err(SharedError::BadGeometry(what)), "{offset}");
        }
        let page_with_logs = |packets: u64| {
            page(|page| {
                put_u64(page, at::LOG_STREAMS, 2 | packets << 32);
                put_u32(page, at::LOG_PACKET_BYTES, 4096);
            })
        };
        assert_eq!(Geometry::parse(&page_with_logs(3), MAPPED), Err(SharedError::BadGeometry("log packet count")));
        assert_eq!(Geometry::parse(&page_with_logs(4), MAPPED), Err(SharedError::BadGeometry("ring area")));
        for bytes in [0, 4095, 4097, MAX_PACKET_BYTES * 2] {
            let page = page(|page| put_u32(page, at::PACKET_BYTES, bytes));
            assert_eq!(Geometry::parse(&page, MAPPED), Err(SharedError::BadGeometry("packet length")));
        }
    }

    #[test]
    fn a_version_from_the_future_is_named_and_not_read() {
        let page = page(|page| put_u32(page, at::VERSION, 2 << 16));
        assert_eq!(Geometry::parse(&page, MAPPED), Err(SharedError::UnknownVersion(2 << 16)));
    }
}
