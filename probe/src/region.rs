//! The shared memory that makes a guest visible, as the guest sees it.
//!
//! [`Region::install`] lays it out in memory that the platform provides: a file under the ring directory on the host, pages
//! of RAM under QEMU, granted pages on Xen. Afterwards the guest writes all of it but the control page, and reads nothing
//! back of what it has written, so that whoever can see the memory cannot lead it astray.
//!
//! ```
//! use fata_probe::{instant, region::{Config, Region}};
//! let region = Region::in_memory(&Config { name: "doc", ..Config::default() })?;
//! let attached = region.attach(0).ok_or("stream 0 is taken")?;
//! instant!("doc.example", answer = 42u64);
//! drop(attached);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(unsafe_code, reason = "lays out and writes memory that the platform gave as a pointer")]

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use fata_wire::describe::{MAX_RECORD_BYTES, Record};
use fata_wire::log::LOST_SUPPRESSED_OFFSET;
use fata_wire::packet::{Cause, Discarded, MAX_PACKET_BYTES, MIN_PACKET_BYTES};
use fata_wire::request;
use fata_wire::shared::{
    Clock, Geometry, MAX_PACKETS, MAX_STREAMS, MESSAGE_BYTES, MIN_PACKETS, Mode, NAME_BYTES, PAGE_BYTES, Platform,
    STORED_MAGIC, State, at, control,
};

use crate::control::Watch;
use crate::current::Writers;
use crate::log::slot::{MAX_LOGS, Slot};
use crate::ring::{Writer, fence_publish, index, zero_words};
use crate::sync::Word;

/// What a region is to be.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The guest's name, cut at 63 bytes.
    pub name: &'a str,
    /// What the guest runs on.
    pub platform: Platform,
    /// A number that no other trace has.
    pub uuid: [u8; 16],
    /// The guest's process id, where it has one.
    pub pid: u32,
    /// Streams: one per vCPU, or per thread that records.
    pub streams: u32,
    /// Packets in each stream's ring: a power of two, at least 4.
    pub packets_per_stream: u32,
    /// Length of a packet: a power of two from 4 to 256 KiB.
    pub packet_bytes: u32,
    /// Log streams: none, or two for each of the first streams. All streams together are at most 16.
    pub log_streams: u32,
    /// Packets in each log stream's ring: a power of two, at least 4.
    pub log_packets: u32,
    /// Length of a log stream's packet: a power of two from 4 to 256 KiB. It bounds a log record.
    pub log_packet_bytes: u32,
    /// Length of the description area. When it is full, callsites and names that are reached later stay out of the trace
    /// and are counted.
    pub description_bytes: u32,
}

impl Default for Config<'_> {
    /// One stream with a ring of 1 MiB, no log streams (which would have 64 KiB each), and room for about 1000 callsites.
    fn default() -> Self {
        Config {
            name: "guest",
            platform: Platform::Host,
            uuid: [0; 16],
            pid: 0,
            streams: 1,
            packets_per_stream: 16,
            packet_bytes: 64 << 10,
            log_streams: 0,
            log_packets: 16,
            log_packet_bytes: 4096,
            description_bytes: 128 << 10,
        }
    }
}

impl Config<'_> {
    const fn geometry(&self) -> Geometry {
        Geometry::lay_out(
            self.uuid,
            self.platform,
            self.description_bytes as u64,
            self.streams,
            self.packets_per_stream,
            self.packet_bytes,
        )
        .with_logs(self.log_streams, self.log_packets, self.log_packet_bytes)
    }

    /// How much memory [`Region::install`] needs for this.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.geometry().total_bytes
    }
}

/// Why there is no region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// The memory is shorter than the configuration needs.
    TooSmall {
        /// What it needs.
        needed_bytes: u64,
    },
    /// The memory does not begin at a page.
    Misaligned,
    /// A length or count is none that the format allows.
    BadConfig,
    /// Without an allocator there is room for one region, and it is taken.
    Taken,
}

impl core::fmt::Display for RegionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RegionError::TooSmall { needed_bytes } => write!(f, "the trace ring needs {needed_bytes} bytes: give it more, or fewer or shorter packets"),
            RegionError::Misaligned => f.write_str("the trace ring's memory must begin at a page"),
            RegionError::BadConfig => f.write_str(
                "a trace ring has 1 to 16 streams, log streams included, of at least 4 packets (a power of two) of 4 to \
                 256 KiB (a power of two)",
            ),
            RegionError::Taken => f.write_str("there is a trace ring already"),
        }
    }
}

impl core::error::Error for RegionError {}

/// An installed region. Lives for ever: probes anywhere may record into it.
#[derive(Debug)]
pub struct Region {
    memory: *mut u8,
    geometry: Geometry,
    writers: Writers,
    attached: [AtomicBool; MAX_STREAMS as usize],
    logs: [Slot; MAX_LOGS],
    mode: AtomicU32,
    /// The control page's generation that was last looked at.
    generation: AtomicU32,
    /// What was seen of the collector's heart.
    watch: Watch,
    /// The sequence number of the request that was last answered.
    answered: AtomicU32,
    /// How much of the description area is filled.
    described_bytes: AtomicU64,
    /// The region that was installed before this one.
    older: AtomicPtr<Region>,
}

// SAFETY: `memory` is shared memory that is only touched through atomic words; everything else is atomic or constant.
unsafe impl Send for Region {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region {}

/// The youngest region; the others follow by `older`.
static YOUNGEST: AtomicPtr<Region> = AtomicPtr::new(core::ptr::null_mut());

/// Every installed region, the youngest first.
pub(crate) fn all() -> impl Iterator<Item = &'static Region> {
    let region = |pointer: *mut Region| {
        // SAFETY: `publish` stores references that live for ever, or null.
        unsafe { pointer.cast_const().as_ref() }
    };
    // Acquire: pairs with the Release in `publish`; `older` was stored before.
    core::iter::successors(region(YOUNGEST.load(Ordering::Acquire)), move |young| {
        region(young.older.load(Ordering::Relaxed))
    })
}

impl Region {
    fn new(memory: *mut u8, bytes: u64, config: &Config<'_>) -> Result<Self, RegionError> {
        let geometry = config.geometry();
        let counts = |packets: u32| packets.is_power_of_two() && (MIN_PACKETS..=MAX_PACKETS).contains(&packets);
        let lengths = |bytes: u32| bytes.is_power_of_two() && (MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&bytes);
        let logs = config.log_streams > 0;
        let sane = (1..=MAX_STREAMS).contains(&config.streams)
            && counts(config.packets_per_stream)
            && lengths(config.packet_bytes)
            && config.log_streams.is_multiple_of(2)
            && config.log_streams <= (MAX_STREAMS - config.streams).min(2 * config.streams)
            && (!logs || counts(config.log_packets) && lengths(config.log_packet_bytes))
            && u64::from(config.description_bytes) <= fata_wire::shared::MAX_DESCRIPTION_BYTES;
        if !sane {
            return Err(RegionError::BadConfig);
        }
        if geometry.total_bytes > bytes {
            return Err(RegionError::TooSmall { needed_bytes: geometry.total_bytes });
        }
        if !memory.addr().is_multiple_of(PAGE_BYTES) {
            return Err(RegionError::Misaligned);
        }
        Ok(Region {
            memory,
            geometry,
            writers: Writers::new(),
            attached: [const { AtomicBool::new(false) }; MAX_STREAMS as usize],
            logs: [const { Slot::unattached() }; MAX_LOGS],
            mode: AtomicU32::new(Mode::Overwrite as u32),
            generation: AtomicU32::new(0),
            watch: Watch::new(),
            answered: AtomicU32::new(0),
            described_bytes: AtomicU64::new(0),
            older: AtomicPtr::new(core::ptr::null_mut()),
        })
    }

    /// Lays a region out in `bytes` bytes of `memory`, zeroing its pages, and turns the callsites on. The guest's state is
    /// [`State::Booting`] until [`set_running`](Region::set_running).
    ///
    /// # Errors
    /// See [`RegionError`].
    ///
    /// # Safety
    /// `memory` stays mapped writable for ever, and the guest touches it through this region alone.
    #[cfg(feature = "std")]
    pub unsafe fn install(memory: *mut u8, bytes: u64, config: &Config<'_>) -> Result<&'static Region, RegionError> {
        let region: &'static Region = std::boxed::Box::leak(std::boxed::Box::new(Region::new(memory, bytes, config)?));
        region.publish(config);
        Ok(region)
    }

    /// Lays a region out in `bytes` bytes of `memory`, zeroing its pages, and turns the callsites on. The guest's state is
    /// [`State::Booting`] until [`set_running`](Region::set_running).
    ///
    /// # Errors
    /// See [`RegionError`].
    ///
    /// # Safety
    /// `memory` stays mapped writable for ever, and the guest touches it through this region alone.
    #[cfg(not(feature = "std"))]
    pub unsafe fn install(memory: *mut u8, bytes: u64, config: &Config<'_>) -> Result<&'static Region, RegionError> {
        struct Place(core::cell::UnsafeCell<core::mem::MaybeUninit<Region>>);
        // SAFETY: written once, by whoever turned `PLACED` over, and read only afterwards.
        unsafe impl Sync for Place {}
        static PLACE: Place = Place(core::cell::UnsafeCell::new(core::mem::MaybeUninit::uninit()));
        static PLACED: AtomicBool = AtomicBool::new(false);
        let region = Region::new(memory, bytes, config)?;
        // Relaxed: the exchange alone decides; nobody else reads `PLACE`.
        if PLACED.swap(true, Ordering::Relaxed) {
            return Err(RegionError::Taken);
        }
        // SAFETY: the exchange lets exactly one caller come here, and the static lives for ever.
        let region: &'static Region = unsafe { (*PLACE.0.get()).write(region) };
        region.publish(config);
        Ok(region)
    }

    /// Installs a region in memory of this process that nobody else maps: for tests and benchmarks. It is never freed.
    ///
    /// # Errors
    /// See [`RegionError`].
    ///
    /// # Panics
    /// Where there is no memory left.
    #[cfg(feature = "std")]
    pub fn in_memory(config: &Config<'_>) -> Result<&'static Region, RegionError> {
        let bytes = config.total_bytes();
        let layout = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| core::alloc::Layout::from_size_align(bytes, PAGE_BYTES).ok())
            .ok_or(RegionError::BadConfig)?;
        // SAFETY: a region is never of size zero.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!memory.is_null(), "no memory for a trace ring of {bytes} bytes");
        // SAFETY: the memory was just allocated, is never freed, and nobody else knows of it.
        unsafe { Region::install(memory, bytes, config) }
    }

    /// A region that no probe finds, for models.
    #[cfg(all(test, loom))]
    pub(crate) fn bare(memory: *mut u8, bytes: u64, config: &Config<'_>) -> Result<Self, RegionError> {
        Region::new(memory, bytes, config)
    }

    /// The writer of stream 0, for models.
    #[cfg(all(test, loom))]
    pub(crate) fn writer(&self) -> Option<&Writer> {
        self.writers.get(0)
    }

    /// The writer of the first ordinary log stream, for models.
    #[cfg(all(test, loom))]
    pub(crate) fn log_writer(&self) -> &'static Writer {
        // SAFETY: a model frees its region when its threads have ended.
        unsafe { &*core::ptr::from_ref(&self.logs[0].class(0).writer) }
    }

    /// Writes the header page and makes the region known.
    fn publish(&'static self, config: &Config<'_>) {
        self.write_header(config);
        let mut head = YOUNGEST.load(Ordering::Relaxed);
        loop {
            self.older.store(head, Ordering::Relaxed);
            // Release: pairs with the Acquire in `all`.
            match YOUNGEST.compare_exchange_weak(
                head,
                (&raw const *self).cast_mut(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        crate::describe::describe_all(self);
        self.sign();
        crate::control::apply_defaults();
    }

    /// Zeroes all that lies before the rings, and says what lies where.
    pub(crate) fn write_header(&self, config: &Config<'_>) {
        let geometry = &self.geometry;
        // SAFETY: `new` checked that the memory holds the region's `total_bytes`, a multiple of 8.
        unsafe { zero_words(self.memory.cast(), index(geometry.streams_offset / 8)) };
        self.word(at::STATE & !7).store(u64::from(config.platform as u32), Ordering::Relaxed);
        self.word(at::VERSION).store(u64::from(fata_wire::VERSION), Ordering::Relaxed);
        self.word(at::TOTAL_BYTES).store(geometry.total_bytes, Ordering::Relaxed);
        self.put_bytes(at::UUID, &geometry.uuid, 16);
        self.word(at::DESCRIPTION_OFFSET).store(geometry.description_offset, Ordering::Relaxed);
        self.word(at::DESCRIPTION_CAPACITY).store(geometry.description_capacity, Ordering::Relaxed);
        self.word(at::CONTROL_OFFSET).store(geometry.control_offset, Ordering::Relaxed);
        self.word(at::REPLY_OFFSET).store(geometry.reply_offset, Ordering::Relaxed);
        self.word(at::STREAMS_OFFSET).store(geometry.streams_offset, Ordering::Relaxed);
        let counts = u64::from(geometry.stream_count) | u64::from(geometry.packets_per_stream) << 32;
        self.word(at::STREAM_COUNT).store(counts, Ordering::Relaxed);
        self.word(at::PACKET_BYTES).store(u64::from(geometry.packet_bytes), Ordering::Relaxed);
        let logs = u64::from(geometry.log_streams) | u64::from(geometry.log_packets) << 32;
        self.word(at::LOG_STREAMS).store(logs, Ordering::Relaxed);
        self.word(at::LOG_PACKET_BYTES).store(u64::from(geometry.log_packet_bytes), Ordering::Relaxed);
        self.word(at::PID).store(u64::from(config.pid), Ordering::Relaxed);
        self.put_bytes(at::NAME, config.name.as_bytes(), NAME_BYTES);
    }

    /// From here on the region is found.
    pub(crate) fn sign(&self) {
        self.set_state(State::Booting);
        // Pairs with a reader's Acquire load of the signature: who finds it finds a whole header page.
        fence_publish();
        self.word(at::MAGIC).store(STORED_MAGIC, Ordering::Relaxed);
    }

    /// Makes the calling thread, or the vCPU, the writer of `stream` until the result is dropped. `None` where there is no
    /// such stream, or where it has been taken once: a ring is never rewound. On bare metal, where there is one vCPU, that is
    /// stream 0.
    #[must_use]
    pub fn attach(&'static self, stream: u32) -> Option<Attached> {
        let index = stream as usize;
        if stream >= self.geometry.stream_count || self.attached[index].swap(true, Ordering::Relaxed) {
            return None;
        }
        let writer = self.writers.get(stream)?;
        writer.attach(self, stream);
        crate::current::set(Some(writer));
        let log = self.logs.get(index).filter(|_| 2 * stream < self.geometry.log_streams);
        if let Some(log) = log {
            log.attach(self, self.geometry.stream_count + 2 * stream);
        }
        crate::log::slot::set(log);
        Some(Attached { writer, log, not_send: core::marker::PhantomData })
    }

    /// The writer and the log rings of `stream`, for whoever sees to it that one thread at a time uses them.
    #[cfg(all(feature = "std", feature = "profiling"))]
    pub(crate) fn seat(&'static self, stream: u32) -> Option<(&'static Writer, &'static Slot)> {
        let index = stream as usize;
        let writer = self.writers.get(stream)?;
        let log = self.logs.get(index).filter(|_| 2 * stream < self.geometry.log_streams);
        if !self.attached.get(index)?.swap(true, Ordering::Relaxed) {
            writer.attach(self, stream);
            if let Some(log) = log {
                log.attach(self, self.geometry.stream_count + 2 * stream);
            }
        }
        Some((writer, log.unwrap_or(&crate::log::slot::NOBODY)))
    }

    /// Says what a tick is worth; from then on the guest is [`State::Running`].
    pub fn set_running(&self, clock: &Clock) {
        self.word(at::ANCHOR_TICKS).store(clock.anchor_ticks, Ordering::Relaxed);
        self.word(at::ANCHOR_UNIX_NANOS).store(clock.anchor_unix_nanos, Ordering::Relaxed);
        self.word(at::CLOCK_COST_PICOS).store(clock.clock_cost_picos, Ordering::Relaxed);
        self.word(at::PROBE_COST_PICOS).store(clock.probe_cost_picos, Ordering::Relaxed);
        // Pairs with the reader's copy of the page, which believes the anchor only where the frequency is there.
        fence_publish();
        self.word(at::CLOCK_HZ).store(clock.hz, Ordering::Relaxed);
        crate::log::limit::set_hz(clock.hz);
        self.set_state(State::Running);
    }

    /// Says that the clock was changed by which the calling thread's streams, and no others, are recorded. What they hold by now
    /// becomes sealed packets, and what follows is by `clock`: [`at::STREAM_CLOCK_SINCE`] says from which packet on.
    ///
    /// A reader of the page that finds a frequency, between two looks at that number which agree, knows which of the two clocks it
    /// has found.
    pub fn change_clock(&self, clock: &Clock) {
        self.forget_clock();
        crate::current::get().change_clock();
        crate::log::slot::get().change_clock();
        // Publishes the numbers before the frequency, too.
        self.set_running(clock);
    }

    /// What a tick is worth is not known from here on.
    pub(crate) fn forget_clock(&self) {
        self.word(at::CLOCK_HZ).store(0, Ordering::Relaxed);
        // Pairs with the reader's Acquire loads: whoever finds a new number no longer finds the old frequency.
        fence_publish();
    }

    /// Seals the calling thread's stream for good and leaves the guest's last state and words. For the end of a guest, also
    /// in a panic or exception handler: takes no lock and cannot fail.
    pub fn finish(&self, state: State, message: &str) {
        self.put_bytes(at::MESSAGE, message.as_bytes(), MESSAGE_BYTES);
        crate::current::get().finish();
        crate::log::slot::get().finish();
        self.set_state(state);
    }

    /// Appends a fact about the guest to the description area; whether there was room.
    pub fn describe_env(&self, key: &str, value: &str) -> bool {
        crate::describe::append_env(self, key, value)
    }

    /// Where everything lies.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// A copy of the whole region, for readers in the same process.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn copy(&self) -> std::vec::Vec<u8> {
        let words = index(self.geometry.total_bytes / 8);
        // SAFETY: the region is `total_bytes` long and stays mapped.
        let word = |i| unsafe { crate::ring::copy_word(self.memory.cast::<u64>().add(i)) };
        (0..words).flat_map(|i| word(i).to_le_bytes()).collect()
    }

    /// The region that was installed last.
    #[must_use]
    pub fn youngest() -> Option<&'static Region> {
        all().next()
    }

    /// Copies the words at `offset` into `out`, for a guest that reads its own records back; `false`, and nothing copied,
    /// where they are not whole words or do not lie within the region. What somebody writes meanwhile may be torn between
    /// two words: the packet's lock says so.
    #[must_use]
    pub fn copy_out(&self, offset: u64, out: &mut [u8]) -> bool {
        let end = offset.checked_add(out.len() as u64);
        let within = end.is_some_and(|end| end <= self.geometry.total_bytes);
        if !within || !offset.is_multiple_of(8) || !out.len().is_multiple_of(8) {
            return false;
        }
        for (i, chunk) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: offset and length are whole words within the region, which is page-aligned and lives for ever.
            *chunk =
                unsafe { crate::ring::copy_word(self.memory.cast::<u64>().add(index(offset / 8) + i)) }.to_le_bytes();
        }
        true
    }

    /// The region's memory, for a receiver in the same process.
    #[must_use]
    pub fn memory(&self) -> *mut u8 {
        self.memory
    }

    fn set_state(&self, state: State) {
        let platform = u64::from(self.geometry.platform as u32);
        // Release: pairs with whoever waits for the state; the words before it are there.
        self.word(at::PLATFORM).store(platform | u64::from(state as u32) << 32, Ordering::Release);
    }

    /// The word at byte `offset`, a multiple of 8 below the first ring page.
    fn word(&self, offset: usize) -> Word<'_> {
        debug_assert!(offset.is_multiple_of(8) && offset < index(self.geometry.streams_offset));
        // SAFETY: the offset lies in the region, which is page-aligned, lives for ever, and is only accessed atomically.
        unsafe { crate::sync::word(self.memory.add(offset).cast()) }
    }

    /// Stores `bytes` at `offset`, cut to `len - 1` where longer than `len` leaves room for a NUL, and NULs after it.
    fn put_bytes(&self, offset: usize, bytes: &[u8], len: usize) {
        let bytes = if bytes.len() > len { &bytes[..len - 1] } else { bytes };
        for i in 0..len / 8 {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(bytes.iter().skip(i * 8)) {
                *to = *from;
            }
            self.word(offset + i * 8).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }

    pub(crate) fn stream_start(&self, stream: u32) -> *mut u64 {
        let offset = index(self.geometry.packet_offset(stream, 0));
        // SAFETY: the offset of a stream lies in the region.
        unsafe { self.memory.add(offset).cast() }
    }

    pub(crate) fn mode(&self) -> Mode {
        if self.mode.load(Ordering::Relaxed) == Mode::Discard as u32 { Mode::Discard } else { Mode::Overwrite }
    }

    /// The log rings of all streams, of which not all are in use.
    pub(crate) fn slots(&self) -> core::slice::Iter<'_, Slot> {
        self.logs.iter()
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as u32, Ordering::Relaxed);
    }

    pub(crate) fn generation(&self) -> &AtomicU32 {
        &self.generation
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Ticks per second; 0 until that is known.
    pub(crate) fn clock_hz(&self) -> u64 {
        self.word(at::CLOCK_HZ).load(Ordering::Relaxed)
    }

    /// The sequence number of the request that was last answered.
    pub(crate) fn answered(&self) -> u32 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Answers the request of this number.
    pub(crate) fn put_reply(&self, sequence: u32, text: &str) {
        let reply = index(self.geometry.reply_offset);
        self.put_bytes(reply + request::TEXT, text.as_bytes(), request::MAX_TEXT_BYTES);
        self.answered.store(sequence, Ordering::Relaxed);
        let slip = request::Slip { sequence, len_bytes: u32::try_from(text.len()).unwrap_or(0) };
        // Release: pairs with the host's Acquire of the slip; the text is there.
        self.word(reply).store(slip.pack(), Ordering::Release);
    }

    /// Events that `stream` has recorded, and those that it has discarded.
    pub(crate) fn recorded(&self, stream: u32) -> (u64, u64) {
        let recorded = self.writers.get(stream).map_or(0, Writer::recorded);
        (recorded, self.discarded(stream).iter().sum())
    }

    /// A word of the control page, which the host writes: never trusted, only compared.
    pub(crate) fn control_word(&self, offset: usize) -> u64 {
        // Acquire: pairs with the collector's Release of the consumed position: its copy is done.
        self.word(index(self.geometry.control_offset) + (offset & !7)).load(Ordering::Acquire)
    }

    /// The number of the first packet that the collector has not consumed.
    pub(crate) fn consumed(&self, stream: u32) -> u64 {
        self.control_word(control::CONSUMED + control::CONSUMED_ENTRY_BYTES * stream as usize)
    }

    /// Where the account of the log stream `stream` is counted.
    pub(crate) fn log_account(&self, stream: u32) -> *mut u64 {
        // SAFETY: the account of a log stream lies in the header page, which lives for ever.
        unsafe { self.memory.add(self.geometry.log_account(stream)).cast() }
    }

    pub(crate) fn count_discarded(&self, stream: u32, cause: Cause) {
        let offset = Geometry::stream_entry(stream) + at::STREAM_DISCARDED + 8 * cause as usize;
        self.word(offset).fetch_add(1, Ordering::Relaxed);
    }

    /// How many events found the ring full.
    pub(crate) fn discarded_full(&self, stream: u32) -> u64 {
        let offset = Geometry::stream_entry(stream) + at::STREAM_DISCARDED + 8 * Cause::Full as usize;
        self.word(offset).load(Ordering::Relaxed)
    }

    pub(crate) fn discarded(&self, stream: u32) -> Discarded {
        let entry = Geometry::stream_entry(stream) + at::STREAM_DISCARDED;
        core::array::from_fn(|i| self.word(entry + 8 * i).load(Ordering::Relaxed))
    }

    pub(crate) fn publish_stream(&self, stream: u32, lock: u64, events_before: u64) {
        let entry = Geometry::stream_entry(stream);
        self.word(entry + at::STREAM_EVENTS_BEFORE).store(events_before, Ordering::Relaxed);
        // Release: pairs with the collector's Acquire load: the packet that the lock names is in that state.
        self.word(entry + at::STREAM_LOCK).store(lock, Ordering::Release);
    }

    /// Between [`forget_clock`](Region::forget_clock) and [`set_running`](Region::set_running), which order it.
    pub(crate) fn note_clock_since(&self, stream: u32, packet: u64) {
        self.word(Geometry::stream_entry(stream) + at::STREAM_CLOCK_SINCE).store(packet, Ordering::Relaxed);
    }

    /// Counts a callsite that found no room in the program's own table.
    #[cfg(feature = "tracing")]
    pub(crate) fn count_refused(&self) {
        self.word(at::NAMES_REFUSED).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts how long records of the log stream `stream` were that were discarded, and that were suppressed.
    pub(crate) fn count_lost_bytes(&self, stream: u32, discarded: u64, suppressed: u64) {
        let counters = self.geometry.log_lost_bytes(stream);
        self.word(counters).fetch_add(discarded, Ordering::Relaxed);
        self.word(counters + LOST_SUPPRESSED_OFFSET).fetch_add(suppressed, Ordering::Relaxed);
    }

    /// Appends a record to the description area, whole or not at all. The caller holds the describing lock.
    pub(crate) fn append(&self, record: &Record<'_>) -> bool {
        let mut buffer = [0; MAX_RECORD_BYTES];
        let len = record.encode(&mut buffer);
        let used = self.described_bytes.load(Ordering::Relaxed);
        if used + len as u64 > self.geometry.description_capacity {
            self.word(at::NAMES_REFUSED).fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.put_bytes(index(self.geometry.description_offset + used), &buffer[..len], len);
        self.described_bytes.store(used + len as u64, Ordering::Relaxed);
        // Release: pairs with the collector's Acquire load: all bytes before the new length are there.
        self.word(at::DESCRIPTION_USED).store(used + len as u64, Ordering::Release);
        true
    }
}

/// The calling thread, or the vCPU, records into a stream as long as this lives.
#[derive(Debug)]
#[must_use = "recording ends where this is dropped"]
pub struct Attached {
    writer: &'static Writer,
    log: Option<&'static Slot>,
    not_send: core::marker::PhantomData<*const ()>,
}

impl Attached {
    /// Goes on recording for as long as the thread, or the guest, lives.
    pub fn forever(self) {
        core::mem::forget(self);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.writer.finish();
        crate::current::set(None);
        if let Some(log) = self.log {
            log.finish();
        }
        crate::log::slot::set(None);
    }
}
