//! The guest's side of a ring, and numbers by which to do harm with it.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fata_probe::instant;
use fata_probe::region::{Config, Region};
use fata_wire::packet::{HEADER_BYTES, at as packet_at};
use fata_wire::shared::{Clock, Geometry, PAGE_BYTES, at};
use memmap2::MmapRaw;

/// A small xorshift: attacks are repeatable up to the timing of threads.
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// A number at an edge, more often than not.
    pub(super) fn edge(&mut self) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - 1,
            4 => i64::MAX.cast_unsigned(),
            5 => 1 << 63,
            6 => 1 << 32,
            7 => self.below(1 << 20) * 8,
            8 => self.below(64),
            9 => u64::MAX / 2,
            _ => self.next(),
        }
    }
}

/// The guest's side of a ring, in the hands of whoever wants to do harm.
pub(super) struct Memory {
    map: MmapRaw,
    pub(super) geometry: Geometry,
}

impl Memory {
    /// Lays out an honest ring with a few events in a file, and takes it over.
    pub(super) fn new(path: &Path, config: &Config<'_>) -> Self {
        let region = Region::in_memory(config).unwrap();
        region.set_running(&Clock { hz: 1_000_000_000, ..Clock::default() });
        let attached = region.attach(0).unwrap();
        for i in 0..1000u64 {
            instant!("hostile.before", i = i, text = "some text");
        }
        attached.forever();
        let bytes = region.copy();
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        Memory { map: MmapRaw::map_raw(&file).unwrap(), geometry: *region.geometry() }
    }

    pub(super) fn word(&self, offset: u64) -> &AtomicU64 {
        let offset = (offset & !7) % self.geometry.total_bytes;
        // SAFETY: the offset is a multiple of 8 inside the mapping, which lives as long as `self`; all accesses are atomic.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(offset as usize).cast()) }
    }

    pub(super) fn put(&self, offset: u64, value: u64) {
        // The control page is the host's: on Xen a guest could not write it.
        let control = self.geometry.control_offset..self.geometry.control_offset + PAGE_BYTES as u64;
        if !control.contains(&(offset % self.geometry.total_bytes)) {
            self.word(offset).store(value, Ordering::Release);
        }
    }

    pub(super) fn get(&self, offset: u64) -> u64 {
        self.word(offset).load(Ordering::Acquire)
    }

    pub(super) fn entry(&self, field: usize) -> u64 {
        (Geometry::stream_entry(0) + field) as u64
    }

    /// Publishes packet `number`, full of `content`, as an honest guest would, but for what the caller changes afterwards.
    pub(super) fn publish(&self, number: u64, events_before: u64, content: &[u64]) {
        self.publish_in(0, number, events_before, content);
    }

    pub(super) fn publish_in(&self, stream: u32, number: u64, events_before: u64, content: &[u64]) {
        let packet = self.geometry.packet_offset(stream, number);
        self.put(packet + packet_at::LOCK as u64, 0);
        let words = (HEADER_BYTES / 8 + content.len()) as u64;
        for (i, word) in content.iter().enumerate() {
            self.put(packet + HEADER_BYTES as u64 + i as u64 * 8, *word);
        }
        self.put(packet, u64::from(fata_wire::packet::MAGIC));
        self.put(packet + packet_at::CONTENT_SIZE as u64, words * 64);
        self.put(packet + packet_at::PACKET_SIZE as u64, u64::from(self.geometry.packet_bytes) * 8);
        self.put(packet + packet_at::TIMESTAMP_BEGIN as u64, number);
        self.put(packet + packet_at::EVENTS_BEFORE as u64, events_before);
        self.put(packet + packet_at::EVENTS as u64, content.len() as u64);
        self.put(packet + packet_at::LOCK as u64, 2 * number + 2);
        self.put((Geometry::stream_entry(stream) + at::STREAM_LOCK) as u64, 2 * number + 2);
    }

    pub(super) fn youngest(&self) -> u64 {
        (self.get(self.entry(at::STREAM_LOCK)) / 2) % (1 << 40)
    }

    /// Overwrites the description area with these records and claims that all of it is used.
    pub(super) fn describe(&self, records: impl Iterator<Item = Vec<u8>>) {
        let (mut used, start) = (0, self.geometry.description_offset);
        for record in records {
            if used + record.len() as u64 > self.geometry.description_capacity {
                break;
            }
            for word in record.as_chunks::<8>().0 {
                self.put(start + used, u64::from_le_bytes(*word));
                used += 8;
            }
        }
        self.put(at::DESCRIPTION_USED as u64, used);
    }
}
