//! The ring's protocol under loom: the ring's own code as the writer, a reader that goes as the collector goes, and every
//! order in which their accesses can be seen.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p fata-probe --lib --features std,profiling --target-dir target/loom model`
//!
//! Slot 0 of a ring of four packets is watched: its lock, two header fields and the first event. A packet holds that event
//! (the *mark*, whose value is the packet's number) and one that fills it. Each model must hold; each ordering that a model
//! passes is then left out in turn, and some model must fail ([`every_ordering_in_the_ring_is_needed`]). An ordering that is in
//! the source, and that no model passes, fails [`no_ordering_in_the_source_is_without_a_model`]. What a guest says of itself beside
//! its rings is modelled in `pages`.
//!
//! The reader is written anew here: the collector reads a mapping through `unsafe` code of its own, of which `fata-wire`, all
//! that both sides have in common, has none.
//!
//! What loom cannot show: it runs the loads of a thread in program order, so nothing fails where the collector's *Release* of
//! the consumed position is left out (a load that happens after a later store). Unlocked instructions and real interrupts are
//! for the stress test.
#![expect(unsafe_code, reason = "a region in memory of the model's own")]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use core::panic::AssertUnwindSafe;
use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::rc::Rc;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use fata_wire::event::{CLOCK, EventId, Events, Header};
use fata_wire::packet::{Cause, HEADER_BYTES, HEADER_WORDS, PacketHeader, at};
use fata_wire::repair::{End, repair};
use fata_wire::shared::{Geometry, Mode, Platform, StreamStatus, at as shared_at, control};

mod pages;

use super::Writer;
use crate::region::{Config, Region};
use crate::sync::model::{self, Site, Word};
use crate::value::{Cons, Nil, Small};

const PACKETS: u64 = 4;
const MARK: u16 = 9;
const FILLER: u16 = 10;
/// Words of a packet's body.
const BODY: usize = 512 - HEADER_WORDS;

/// What the guest of a model is.
const CONFIG: Config<'static> = Config {
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
struct Guest {
    region: *mut Region,
    memory: *mut u64,
    words: usize,
}

impl Guest {
    fn new() -> Self {
        model::reset();
        let words = usize::try_from(CONFIG.total_bytes() / 8).unwrap();
        let layout = std::alloc::Layout::from_size_align(words * 8, 4096).unwrap();
        // SAFETY: the layout is not empty.
        let memory: *mut u64 = unsafe { std::alloc::alloc_zeroed(layout) }.cast();
        let region = Box::into_raw(Box::new(Region::bare(memory.cast(), words as u64 * 8, &CONFIG).unwrap()));
        Guest { region, memory, words }
    }

    fn region(&self) -> &'static Region {
        // SAFETY: the region lives until `free`, which every model calls when its threads have ended.
        unsafe { &*self.region }
    }

    fn writer(&self) -> &'static Writer {
        self.region().writer().unwrap()
    }

    fn attach(&self) {
        self.writer().attach(self.region(), 0);
    }

    fn view(&self) -> View {
        View { memory: self.memory, geometry: *self.region().geometry() }
    }

    fn free(self) {
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
struct View {
    memory: *mut u64,
    geometry: Geometry,
}

// SAFETY: the memory is only accessed atomically.
unsafe impl Send for View {}

impl View {
    fn at(&self, offset: u64) -> *mut u64 {
        self.memory.wrapping_add(usize::try_from(offset / 8).unwrap())
    }

    fn word(&self, offset: u64) -> Word<'static> {
        // SAFETY: offsets come from the geometry.
        unsafe { crate::sync::word(self.at(offset)) }
    }

    fn slot(&self, field: usize) -> u64 {
        self.geometry.packet_offset(0, 0) + field as u64
    }

    fn stream_lock(&self) -> u64 {
        (Geometry::stream_entry(0) + shared_at::STREAM_LOCK) as u64
    }

    fn control(&self, field: usize) -> u64 {
        self.geometry.control_offset + field as u64
    }

    /// Makes what models look at loom's.
    fn watch(&self) {
        for field in [at::LOCK, at::CONTENT_SIZE, at::EVENTS_BEFORE, HEADER_BYTES, HEADER_BYTES + 8] {
            model::watch(self.at(self.slot(field)));
        }
        model::watch(self.at(self.stream_lock()));
    }

    /// All of the memory, once nobody writes any more.
    fn bytes(&self) -> Vec<u8> {
        (0..self.geometry.total_bytes / 8)
            .flat_map(|i| self.word(i * 8).load(Ordering::Relaxed).to_le_bytes())
            .collect()
    }
}

fn template(callsite: u16) -> u32 {
    u32::from(EventId::begin(callsite).0)
}

fn mark(writer: &Writer, value: u64) -> bool {
    writer.record(template(MARK), Cons(value, Nil))
}

/// Fills what a mark has left of a packet.
fn filler(writer: &Writer) -> bool {
    let text = String::from_utf8(std::vec![b'x'; (BODY - 4) * 8 - 1]).unwrap();
    writer.record(template(FILLER), Cons(text.as_str(), Nil))
}

/// What a reader copied of slot 0, between two looks at its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copied {
    lock: u64,
    content: u64,
    before: u64,
    header: u64,
    payload: u64,
    lock_after: u64,
}

/// Copies slot 0 as the collector does: each word with Acquire, in the order of addresses, then a fence, then the lock.
fn copy(view: &View, weak: bool) -> Copied {
    let order = if weak { Ordering::Relaxed } else { Ordering::Acquire };
    let load = |field| view.word(view.slot(field)).load(order);
    let lock = view.word(view.slot(at::LOCK)).load(Ordering::Acquire);
    let (content, before) = (load(at::CONTENT_SIZE), load(at::EVENTS_BEFORE));
    let (header, payload) = (load(HEADER_BYTES), load(HEADER_BYTES + 8));
    if !weak {
        loom::sync::atomic::fence(Ordering::Acquire);
    }
    Copied { lock, content, before, header, payload, lock_after: load(at::LOCK) }
}

impl Copied {
    /// What the collector believes of a copy must be true of the packet that the lock names.
    fn check(&self) {
        let Some(number) = self.lock.checked_sub(1).map(|lock| lock / 2) else { return };
        let sealed = self.lock.is_multiple_of(2);
        let same = self.lock_after == self.lock || (!sealed && self.lock_after == self.lock + 1);
        if !same {
            return;
        }
        assert_eq!(self.before, number * 2, "{self:?}: a header of another packet");
        let header = Header::unpack(self.header);
        if sealed {
            assert_eq!(self.content, 512 * 64, "{self:?}: sealed before its length was there");
            assert!(!header.busy && self.header != 0, "{self:?}: sealed before its events were there");
        }
        if self.header == 0 || header.busy {
            return;
        }
        if header.id == EventId::begin(CLOCK) {
            assert_eq!(self.payload & 0xffff_ffff, u64::from(header.ticks_low), "{self:?}: a torn clock");
        } else {
            assert_eq!((header.id, self.payload), (EventId::begin(MARK), number), "{self:?}: a torn event");
        }
    }
}

/// Runs `body` in every order, with at most `preemptions` changes of thread where none is needed.
fn explore(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// A reader copies slot 0 while the writer takes it for packet 4, in overwrite mode. With `silence`, the first event of packet
/// 4 is a clock event.
fn overwrite_while_reading(silence: bool, weak_reader: bool) {
    explore(2, move || {
        let guest = Guest::new();
        guest.attach();
        let (writer, view) = (guest.writer(), guest.view());
        for number in 0..PACKETS {
            assert!(mark(writer, number) && filler(writer));
        }
        view.watch();
        let reader = loom::thread::spawn(move || copy(&view, weak_reader).check());
        if silence {
            // Within packet 4: its first event is reserved after it was opened.
            writer.switch(writer.state.load(Ordering::Relaxed));
            model::sleep(super::SILENCE + 1);
        }
        assert!(mark(writer, PACKETS));
        reader.join().unwrap();
        guest.free();
    });
}

/// A reader follows the stream's own word to a packet: the packet must be in that state, or a later one.
fn the_stream_names_a_packet_that_is_there() {
    explore(2, || {
        let guest = Guest::new();
        guest.attach();
        let (writer, view) = (guest.writer(), guest.view());
        view.watch();
        let reader = loom::thread::spawn(move || {
            let named = view.word(view.stream_lock()).load(Ordering::Acquire);
            let found = copy(&view, false);
            if named > 0 && named <= 2 {
                assert!(found.lock >= named, "the stream names {named}, the packet says {}", found.lock);
            }
            found.check();
        });
        assert!(mark(writer, 0) && filler(writer));
        // Seals packet 0.
        assert!(mark(writer, 1));
        reader.join().unwrap();
        guest.free();
    });
}

/// An interrupt seals the packet in which it found a record unfinished; the record's writer goes on while a reader copies.
/// Two copies that are the same must not hold a payload without its header.
fn a_record_is_finished_after_its_packet_was_sealed(silence: bool, point: usize) {
    explore(2, move || {
        let guest = Guest::new();
        guest.attach();
        let (writer, view) = (guest.writer(), guest.view());
        if silence {
            model::sleep(super::SILENCE + 1);
        }
        view.watch();
        let reader = loom::thread::spawn(move || {
            let (first, second) = (copy(&view, false), copy(&view, false));
            if first == second && first.lock == 2 && first.lock_after == 2 {
                assert!(first.header != 0 || first.payload == 0, "{first:?}: a payload without a header");
            }
        });
        model::interrupt_at(
            &[point],
            Rc::new(move || {
                model::interrupt_at(&[], Rc::new(|| ()));
                assert!(filler(writer) && mark(writer, 1));
            }),
        );
        assert!(mark(writer, 7));
        reader.join().unwrap();
        guest.free();
    });
}

/// The host says stop: whoever sees that something changed sees what.
fn freeze() {
    explore(2, || {
        let guest = Guest::new();
        let view = guest.view();
        let (generation, level) = (view.control(control::GENERATION), view.control(control::LEVEL));
        model::watch(view.at(generation));
        model::watch(view.at(level));
        let host = loom::thread::spawn(move || {
            view.word(level).store(5 | 1 << 32, Ordering::Relaxed);
            view.word(generation).store(1 | u64::from(Mode::Discard as u32) << 32, Ordering::Release);
        });
        if let Some(asked) = crate::control::look(guest.region()) {
            assert!(asked.frozen, "a change was seen without what changed");
            assert_eq!(guest.region().mode(), Mode::Discard);
        }
        host.join().unwrap();
        guest.free();
    });
}

/// In discard mode a reader that gives packets back one by one finds each of them whole, and what found no room is counted.
fn discard_while_full(gives_back_before_copying: bool) {
    explore(2, move || {
        let guest = Guest::new();
        guest.region().set_mode(Mode::Discard);
        guest.attach();
        let (writer, view) = (guest.writer(), guest.view());
        for number in 0..PACKETS {
            assert!(mark(writer, number) && filler(writer));
        }
        assert!(!mark(writer, 99), "the ring is full");
        view.watch();
        let consumed = view.control(control::CONSUMED);
        model::watch(view.at(consumed));
        let reader = loom::thread::spawn(move || {
            if gives_back_before_copying {
                view.word(consumed).store(1, Ordering::Release);
            }
            let found = copy(&view, false);
            assert_eq!((found.lock, found.lock_after), (2, 2), "a packet that was not given back was overwritten");
            found.check();
            if !gives_back_before_copying {
                view.word(consumed).store(1, Ordering::Release);
            }
        });
        let mut produced = 2 * PACKETS + 1;
        let mut recorded = 2 * PACKETS;
        for _ in 0..2 {
            produced += 1;
            recorded += u64::from(mark(writer, PACKETS));
        }
        reader.join().unwrap();
        let discarded = guest.region().discarded(0)[Cause::Full as usize];
        assert_eq!(produced, recorded + discarded);
        guest.free();
    });
}

/// A reader leaves its position, packet number and bytes, and may die between the two; the next one must never skip what
/// was not read. `bytes_first` is what the collector does.
fn restart_of_the_reader(bytes_first: bool, number_order: Ordering) {
    explore(2, move || {
        let (number, bytes) =
            (Arc::new(loom::sync::atomic::AtomicU64::new(0)), Arc::new(loom::sync::atomic::AtomicU64::new(64)));
        let (their_number, their_bytes) = (number.clone(), bytes.clone());
        let first = loom::thread::spawn(move || {
            if bytes_first {
                their_bytes.store(0, Ordering::Release);
            }
            their_number.store(1, number_order);
            if !bytes_first {
                their_bytes.store(0, Ordering::Release);
            }
        });
        let position = (number.load(Ordering::Acquire), bytes.load(Ordering::Acquire));
        assert_ne!(position, (1, 64), "the next reader would skip bytes that nobody has read");
        first.join().unwrap();
    });
}

/// The models of the guest's own code.
fn all() {
    pages::all();
    for silence in [false, true] {
        overwrite_while_reading(silence, false);
        // Before the exchange that reserves, and after it.
        for point in 1..=2 {
            a_record_is_finished_after_its_packet_was_sealed(silence, point);
        }
    }
    the_stream_names_a_packet_that_is_there();
    discard_while_full(false);
    freeze();
}

/// Whether `body` fails, quietly.
fn fails(body: impl FnOnce()) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let failed = std::panic::catch_unwind(AssertUnwindSafe(body)).is_err();
    std::panic::set_hook(hook);
    failed
}

/// The files whose orderings between guest and host are modelled.
const SOURCES: [(&str, &str); 4] = [
    ("region.rs", include_str!("../region.rs")),
    ("ring/mod.rs", include_str!("mod.rs")),
    ("ring/switch.rs", include_str!("switch.rs")),
    ("ring/word.rs", include_str!("word.rs")),
];

/// Where the guest orders what a host sees, once for each place in the source.
const ORDERED: [&str; 13] = [
    "region.rs, append",
    "region.rs, control_word",
    "region.rs, publish_stream",
    "region.rs, put_reply",
    "region.rs, set_running",
    "region.rs, set_state",
    "region.rs, sign",
    "ring/mod.rs, commit",
    "ring/mod.rs, commit",
    "ring/switch.rs, open",
    "ring/switch.rs, open",
    "ring/switch.rs, seal",
    "ring/word.rs, fence_publish",
];

/// Where it orders what no host sees, and what loom is therefore not asked: the list of regions, which threads of one process
/// walk, and a writer's state, which an interrupt on the same CPU finds (of which [`nested`] tries every point).
const PRIVATE: [&str; 6] = [
    "region.rs, all",
    "region.rs, publish",
    "ring/mod.rs, reserve",
    "ring/mod.rs, reserve_slowly",
    "ring/switch.rs, open",
    "ring/word.rs, compare_exchange_local",
];

/// The function that a line of a source is in.
fn place((file, text): (&str, &str), line: usize) -> String {
    let name = |line: &str| Some(String::from(line.split_once("fn ")?.1.split(['(', '<']).next()?));
    let before = text.lines().take(line).filter(|line| !line.trim_start().starts_with("//"));
    let function = before.filter_map(name).last().unwrap_or_default();
    std::format!("{file}, {function}")
}

/// The places of the guest's code that order anything in the models.
fn modelled() -> Vec<(Site, String)> {
    let place = |site: Site| {
        let source = SOURCES.into_iter().find(|(file, _)| site.0.ends_with(&std::format!("src/{file}")))?;
        Some((site, place(source, usize::try_from(site.1).unwrap())))
    };
    model::sites().into_iter().filter_map(place).collect()
}

#[test]
fn every_ordering_in_the_ring_is_needed() {
    all();
    let modelled = modelled();
    let mut places: Vec<_> = modelled.iter().map(|(_, place)| place.as_str()).collect();
    places.sort_unstable();
    // `fence_publish` is where its callers are.
    assert!(places.iter().eq(ORDERED.iter().filter(|place| !place.ends_with("fence_publish"))), "{places:#?}");
    let mut needless = Vec::new();
    for (site, place) in modelled {
        model::weaken(Some(site));
        let failed = fails(all);
        model::weaken(None);
        std::println!("without {place} ({}): {}", site.1, if failed { "a model fails" } else { "NOTHING FAILS" });
        if !failed {
            needless.push(place);
        }
    }
    assert_eq!(needless, [""; 0], "orderings that no model needs");
}

#[test]
fn no_ordering_in_the_source_is_without_a_model() {
    let mut found = Vec::new();
    for (file, text) in SOURCES {
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let orders =
                ["Ordering::Acquire", "Ordering::Release", "Ordering::AcqRel", "Ordering::SeqCst", "fence_publish();"];
            if orders.iter().any(|order| line.contains(order)) {
                found.push(place((file, text), i + 1));
            }
        }
    }
    found.sort_unstable();
    let mut listed: Vec<_> = ORDERED.into_iter().chain(PRIVATE).collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

#[test]
fn a_reader_that_does_not_order_its_copy_is_caught() {
    assert!(fails(|| overwrite_while_reading(false, true)));
}

#[test]
fn a_reader_that_gives_back_before_it_has_copied_is_caught() {
    assert!(fails(|| discard_while_full(true)));
}

#[test]
fn a_reader_that_is_restarted_skips_nothing_only_if_the_bytes_go_first_and_in_order() {
    restart_of_the_reader(true, Ordering::Release);
    assert!(fails(|| restart_of_the_reader(false, Ordering::Release)));
    assert!(fails(|| restart_of_the_reader(true, Ordering::Relaxed)));
}

/// What a ring holds when everything has ended: produced = recorded + overwritten + discarded, none torn, none twice.
fn check_account(view: &View, produced: u64) {
    let bytes = view.bytes();
    let status = StreamStatus::parse(bytes.first_chunk().unwrap(), 0);
    let youngest = (status.lock - 1) / 2;
    let mut expected = None;
    let (mut recorded, mut values) = (0, Vec::new());
    for number in (youngest + 1).saturating_sub(PACKETS)..=youngest {
        let start = usize::try_from(view.geometry.packet_offset(0, number)).unwrap();
        let header = PacketHeader::parse(&bytes[start..]).unwrap();
        assert_eq!(header.lock, 2 * number + 2, "sealed");
        assert_eq!(expected.unwrap_or(header.events_before), header.events_before);
        let end = start + usize::try_from(header.content_size / 8).unwrap();
        let mut content = bytes[start + HEADER_BYTES..end].to_vec();
        let walk = repair(&mut content, header.timestamp_begin, 4096);
        assert_eq!((walk.events, walk.unfinished, walk.end), (header.events, 0, End::Whole));
        for event in Events::new(&content, header.timestamp_begin) {
            let event = event.unwrap();
            if event.id.callsite() == MARK {
                assert_eq!(event.payload.len(), 8);
                values.push((event.arg, fata_wire::u64_at(event.payload, 0)));
            }
        }
        expected = Some(header.events_before + header.events);
        recorded = header.events_before + header.events;
    }
    let discarded: u64 = status.discarded.iter().sum();
    assert_eq!(recorded + discarded, produced, "{:?}", status.discarded);
    let mut unique = values.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), values.len(), "an event twice");
}

/// Two levels of interrupts at the given points of a writer that fills `packets` packets; returns how many points there are.
fn nested(mode: Mode, packets: u64, points: &[usize]) -> usize {
    let guest = Guest::new();
    guest.region().set_mode(mode);
    guest.attach();
    let writer = guest.writer();
    let produced = Rc::new(core::cell::Cell::new(0u64));
    let produce = {
        let produced = produced.clone();
        move |level: u16| {
            produced.set(produced.get() + 1);
            writer.record(template(MARK), Cons(Small(level), Cons(produced.get(), Nil)));
        }
    };
    let (handler_produce, handler_produced) = (produce.clone(), produced.clone());
    let level = core::cell::Cell::new(0);
    model::interrupt_at(
        points,
        Rc::new(move || {
            level.set(level.get() + 1);
            handler_produce(level.get());
            handler_produced.set(handler_produced.get() + 1);
            filler(writer);
            handler_produce(level.get());
            level.set(level.get() - 1);
        }),
    );
    for _ in 0..packets {
        produce(0);
        produced.set(produced.get() + 1);
        filler(writer);
    }
    let count = model::points();
    model::interrupt_at(&[], Rc::new(|| ()));
    writer.finish();
    check_account(&guest.view(), produced.get());
    guest.free();
    count
}

#[test]
fn an_interrupt_at_any_point_and_another_within_it_leave_the_account_exact() {
    for mode in [Mode::Overwrite, Mode::Discard] {
        let points = nested(mode, 6, &[]);
        assert!(points > 100);
        for first in 0..points {
            let more = nested(mode, 6, &[first]);
            assert!(more > first);
            // Any later point, the handler's own among them: all of a few, a few of all.
            let step = if first % 64 == 0 { 13 } else { 997 };
            for second in (first + 1..more).step_by(step) {
                nested(mode, 6, &[first, second]);
            }
        }
    }
}
