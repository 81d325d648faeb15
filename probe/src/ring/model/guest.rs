//! The guest of a model, and its shared memory as readers see it.
#![expect(unsafe_code, reason = "a region in memory of the model's own")]

use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::vec::Vec;

use fata_wire::packet::{HEADER_BYTES, at};
use fata_wire::shared::{Geometry, Platform, at as shared_at};

use crate::region::{Config, Region};
use crate::ring::Writer;
use crate::sync::model::{self, Word};

/// What the guest of a model is.
pub(super) const CONFIG: Config<'static> = Config {
    name: "model",
    platform: Platform::Host,
    uuid: [5; 16],
    pid: 0,
    streams: 1,
    packets_per_stream: 4,
    packet_bytes: 4096,
    log_streams: 0,
    log_packets: 4,
    log_packet_bytes: 4096,
    description_bytes: 4096,
};

/// A guest with a ring of its own, which goes with it.
pub(super) struct Guest {
    region: *mut Region,
    memory: *mut u64,
    words: usize,
}

impl Guest {
    pub(super) fn new() -> Self {
        Guest::with(&CONFIG)
    }

    pub(super) fn with(config: &Config<'_>) -> Self {
        model::reset();
        let words = usize::try_from(config.total_bytes() / 8).unwrap();
        let layout = std::alloc::Layout::from_size_align(words * 8, 4096).unwrap();
        // SAFETY: the layout is not empty.
        let memory: *mut u64 = unsafe { std::alloc::alloc_zeroed(layout) }.cast();
        let region = Box::into_raw(Box::new(Region::bare(memory.cast(), words as u64 * 8, config).unwrap()));
        Guest { region, memory, words }
    }

    pub(super) fn region(&self) -> &'static Region {
        // SAFETY: the region lives until `free`, which every model calls when its threads have ended.
        unsafe { &*self.region }
    }

    pub(super) fn writer(&self) -> &'static Writer {
        self.region().writer().unwrap()
    }

    pub(super) fn attach(&self) {
        self.writer().attach(self.region(), 0);
    }

    pub(super) fn view(&self) -> View {
        View { memory: self.memory, geometry: *self.region().geometry() }
    }

    pub(super) fn free(self) {
        model::reset();
        let layout = std::alloc::Layout::from_size_align(self.words * 8, 4096).unwrap();
        // SAFETY: made in `new`, and nobody uses them any more.
        unsafe {
            drop(Box::from_raw(self.region));
            std::alloc::dealloc(self.memory.cast(), layout);
        }
    }
}

/// The shared memory as its readers see it.
#[derive(Clone, Copy)]
pub(super) struct View {
    memory: *mut u64,
    pub(super) geometry: Geometry,
}

// SAFETY: the memory is only accessed atomically.
unsafe impl Send for View {}

impl View {
    pub(super) fn at(&self, offset: u64) -> *mut u64 {
        self.memory.wrapping_add(usize::try_from(offset / 8).unwrap())
    }

    pub(super) fn word(&self, offset: u64) -> Word<'static> {
        // SAFETY: offsets come from the geometry.
        unsafe { crate::sync::word(self.at(offset)) }
    }

    pub(super) fn slot(&self, field: usize) -> u64 {
        self.geometry.packet_offset(0, 0) + field as u64
    }

    pub(super) fn stream_lock(&self) -> u64 {
        (Geometry::stream_entry(0) + shared_at::STREAM_LOCK) as u64
    }

    pub(super) fn control(&self, field: usize) -> u64 {
        self.geometry.control_offset + field as u64
    }

    /// Makes what models look at loom's.
    pub(super) fn watch(&self) {
        for field in [at::LOCK, at::CONTENT_SIZE, at::EVENTS_BEFORE, HEADER_BYTES, HEADER_BYTES + 8] {
            model::watch(self.at(self.slot(field)));
        }
        model::watch(self.at(self.stream_lock()));
    }

    /// All of the memory, once nobody writes any more.
    pub(super) fn bytes(&self) -> Vec<u8> {
        (0..self.geometry.total_bytes / 8)
            .flat_map(|i| self.word(i * 8).load(Ordering::Relaxed).to_le_bytes())
            .collect()
    }
}
