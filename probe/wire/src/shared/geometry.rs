//! Where the parts of a guest's memory lie, and the check that makes a stranger's word on it usable.
//!
//! Invariant: a [`Geometry`] that [`Geometry::parse`] has returned names no byte outside of the memory that it was checked for.

use super::{
    MAX_DESCRIPTION_BYTES, MAX_PACKETS, MAX_STREAMS, MIN_PACKETS, PAGE_BYTES, Platform, STORED_MAGIC,
    STREAM_ENTRY_BYTES, State, at,
};
use crate::packet::{MAX_PACKET_BYTES, MIN_PACKET_BYTES};
use crate::{VERSION, u32_at, u64_at};

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

    /// Where the header page says how long the lost records of the log stream `stream` were.
    #[must_use]
    pub const fn log_lost_bytes(&self, stream: u32) -> usize {
        at::LOG_LOST_BYTES + (stream.saturating_sub(self.stream_count) % MAX_STREAMS) as usize * crate::log::LOST_BYTES
    }

    /// Where the entry of `stream` lies in the header page.
    #[must_use]
    pub const fn stream_entry(stream: u32) -> usize {
        at::STREAMS + stream as usize * STREAM_ENTRY_BYTES
    }
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
        assert_eq!(geometry.log_lost_bytes(2), at::MESSAGE + crate::shared::MESSAGE_BYTES);
        assert_eq!(geometry.log_lost_bytes(2 + MAX_STREAMS - 1) + crate::log::LOST_BYTES, at::STREAMS);
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
