//! The ring from the outside: what the macros record is what a reader of the shared memory finds, event by event.
#![cfg(all(feature = "profiling", feature = "std"))]
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test's helpers fail by panicking")]

use fata_probe::region::{Config, Region};
use fata_probe::{Bytes, Kind, Small, TaskId, counter, event, instant, name, span, span_begin, span_end};
use fata_wire::describe::{Record, Records};
use fata_wire::event::CLOCK;
use fata_wire::packet::{Cause, HEADER_BYTES, PacketHeader};
use fata_wire::repair::{End, committed_prefix};
use fata_wire::shared::{Clock, Geometry, Mode, PAGE_BYTES, State, Status, StreamStatus, control};
use fata_wire::{put_u32, put_u64};

/// A copy of a region, read as a collector reads it.
struct Copy {
    bytes: Vec<u8>,
    geometry: Geometry,
}

impl Copy {
    fn of(region: &Region) -> Self {
        let bytes = region.copy();
        let page = bytes.first_chunk::<PAGE_BYTES>().unwrap();
        let geometry = Geometry::parse(page, bytes.len() as u64).unwrap();
        Copy { bytes, geometry }
    }

    fn stream(&self) -> StreamStatus {
        StreamStatus::parse(self.bytes.first_chunk().unwrap(), 0)
    }

    fn status(&self) -> Status {
        Status::parse(self.bytes.first_chunk().unwrap(), &self.geometry)
    }

    /// The names of all callsites by id, and of all run-time names.
    fn name(&self, id: u16) -> String {
        let start = usize::try_from(self.geometry.description_offset).unwrap();
        let used = usize::try_from(self.status().description_used).unwrap();
        Records::new(&self.bytes[start..start + used])
            .map(Result::unwrap)
            .find_map(|record| match record {
                Record::Callsite(callsite) if callsite.id == id => Some(callsite.name.to_owned()),
                Record::Name { id: other, text } if other == id => Some(text.to_owned()),
                _ => None,
            })
            .unwrap_or_else(|| format!("#{id}"))
    }

    fn fields(&self, id: u16) -> fata_wire::field::Fields<'_> {
        let start = usize::try_from(self.geometry.description_offset).unwrap();
        let used = usize::try_from(self.status().description_used).unwrap();
        Records::new(&self.bytes[start..start + used])
            .map(Result::unwrap)
            .find_map(|record| match record {
                Record::Callsite(callsite) if callsite.id == id => Some(callsite.fields),
                _ => None,
            })
            .unwrap()
    }

    fn packet(&self, number: u64) -> (PacketHeader, &[u8]) {
        let start = usize::try_from(self.geometry.packet_offset(0, number)).unwrap();
        let bytes = &self.bytes[start..start + self.geometry.packet_bytes as usize];
        (PacketHeader::parse(bytes).unwrap(), &bytes[HEADER_BYTES..])
    }

    /// Every packet still in the ring, oldest first: its header and its events as one text each.
    fn packets(&self) -> Vec<(PacketHeader, Vec<String>)> {
        let youngest = (self.stream().lock - 1) / 2;
        let oldest = (youngest + 1).saturating_sub(u64::from(self.geometry.packets_per_stream));
        (oldest..=youngest)
            .map(|number| {
                let (header, body) = self.packet(number);
                assert!(header.lock == 2 * number + 1 || header.lock == 2 * number + 2);
                let walk = committed_prefix(body, header.timestamp_begin, 4096);
                let content = if header.lock.is_multiple_of(2) {
                    assert_eq!(
                        walk.bytes.min(header.content_size as usize / 8 - HEADER_BYTES),
                        header.content_size as usize / 8 - HEADER_BYTES
                    );
                    &body[..header.content_size as usize / 8 - HEADER_BYTES]
                } else {
                    assert_eq!(walk.end, End::Unfinished);
                    &body[..walk.bytes]
                };
                let mut ticks = header.timestamp_begin;
                let events: Vec<_> = fata_wire::event::Events::new(content, header.timestamp_begin)
                    .map(|event| {
                        let event = event.unwrap();
                        assert!(event.ticks >= ticks);
                        ticks = event.ticks;
                        if event.id.callsite() == CLOCK {
                            return "clock".to_owned();
                        }
                        let mut text = self.name(event.id.callsite());
                        if event.id.is_end() {
                            text += " end";
                        } else {
                            for (field, value) in self.fields(event.id.callsite()).values(event.arg, event.payload) {
                                text += &format!(" {}={value:?}", field.name);
                            }
                        }
                        text
                    })
                    .collect();
                if header.lock.is_multiple_of(2) {
                    assert_eq!(header.events, events.len() as u64);
                }
                (header, events)
            })
            .collect()
    }

    fn events(&self) -> Vec<String> {
        self.packets().into_iter().flat_map(|(_, events)| events).collect()
    }
}

fn small(name: &'static str) -> Config<'static> {
    Config { name, packets_per_stream: 4, packet_bytes: 4096, ..Config::default() }
}

/// Writes the control page as a collector does.
fn control(region: &Region, mode: Mode, categories: u64, level: u32, consumed: u64) {
    control_with_heartbeat(region, mode, categories, level, consumed, 0);
}

fn control_with_heartbeat(region: &Region, mode: Mode, categories: u64, level: u32, consumed: u64, heartbeat: u64) {
    static GENERATION: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let mut page = [0; 128];
    put_u64(&mut page, control::HEARTBEAT, heartbeat);
    put_u32(&mut page, control::MODE, mode as u32);
    put_u64(&mut page, control::CATEGORIES, categories);
    put_u32(&mut page, control::LEVEL, level);
    put_u64(&mut page, control::CONSUMED, consumed);
    put_u32(&mut page, control::GENERATION, GENERATION.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    for (i, word) in page.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().unwrap());
        // SAFETY: the control page lies in the region, which lives for ever; accesses are atomic words.
        #[expect(unsafe_code, reason = "the host's side of shared memory")]
        unsafe {
            let at = region.memory().add(PAGE_BYTES + i * 8).cast();
            std::sync::atomic::AtomicU64::from_ptr(at).store(word, std::sync::atomic::Ordering::Release);
        }
    }
}

/// The tests share the process's callsites: one turns them off while another counts.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn every_macro_records_what_it_says() {
    let _alone = alone();
    let region = Region::in_memory(&small("macros")).unwrap();
    let attached = region.attach(0).unwrap();
    {
        let _span = span!("net.rx", bytes = 7usize, from = "peer");
        instant!("dns.miss", port = 53u16, ok = false);
        counter!("heap.live", bytes = Bytes(4096));
    }
    let open = span_begin!(category: "disk", "read");
    event!(Kind::Ready, "task.ready", task = TaskId(5));
    span_end!(open);
    instant!(level: Debug, "net.detail");
    instant!("empty");
    instant!("many", a = 1u8, b = 2u64, c = 3u64, d = 4u64, e = 5u64, f = 6u64, g = 7u64, h = 8u64, i = Small(9));
    assert_eq!(
        Copy::of(region).events(),
        [
            r#"net.rx bytes=U64(7) from=Str([112, 101, 101, 114])"#,
            "dns.miss port=U64(53) ok=Bool(false)",
            "heap.live bytes=U64(4096)",
            "net.rx end",
            "read",
            "task.ready task=Task(5)",
            "read end",
            "empty",
            "many a=U64(1) b=U64(2) c=U64(3) d=U64(4) e=U64(5) f=U64(6) g=U64(7) h=U64(8) i=U64(9)",
        ]
    );
    drop(attached);
}

#[test]
fn an_event_without_payload_takes_8_bytes_and_a_u64_adds_8() {
    let _alone = alone();
    let region = Region::in_memory(&small("sizes")).unwrap();
    let _attached = region.attach(0).unwrap();
    let used = || {
        let copy = Copy::of(region);
        let (header, body) = copy.packet(0);
        committed_prefix(body, header.timestamp_begin, 4096).bytes
    };
    instant!("sizes.none");
    let none = used();
    instant!("sizes.narrow", task = TaskId(1));
    let narrow = used() - none;
    instant!("sizes.one", a = 1u64);
    let one = used() - none - narrow;
    assert_eq!((none, narrow, one), (8, 8, 16));
}

#[test]
fn packets_of_every_length_are_filled_to_their_last_word() {
    for shift in 12..=18 {
        let config = Config { name: "lengths", packets_per_stream: 4, packet_bytes: 1 << shift, ..Config::default() };
        let region = Region::in_memory(&config).unwrap();
        let attached = region.attach(0).unwrap();
        let fits = (config.packet_bytes as usize - HEADER_BYTES) / 8;
        for _ in 0..2 * fits + 1 {
            instant!("lengths.one");
        }
        let copy = Copy::of(region);
        let events: Vec<_> = copy.packets().iter().map(|(_, events)| events.len()).collect();
        assert_eq!(events, [fits, fits, 1], "packets of {} bytes", config.packet_bytes);
        assert_eq!(copy.packet(1).0.content_size, u64::from(config.packet_bytes) * 8);
        drop(attached);
    }
}

#[test]
fn overwrite_keeps_the_newest_and_the_reader_can_count_the_rest() {
    let _alone = alone();
    let region = Region::in_memory(&small("overwrite")).unwrap();
    let attached = region.attach(0).unwrap();
    for i in 0..10_000u64 {
        instant!("overwrite.event", i = i);
    }
    drop(attached);
    let copy = Copy::of(region);
    let packets = copy.packets();
    let (oldest, _) = &packets[0];
    let events = copy.events();
    assert_eq!(packets.len(), 4);
    assert_eq!(events.last().unwrap(), "overwrite.event i=U64(9999)");
    assert_eq!(oldest.events_before + events.len() as u64, 10_000);
    assert_eq!(events[0], format!("overwrite.event i=U64({})", oldest.events_before));
    assert_eq!(copy.stream().discarded, [0; 5]);
}

#[test]
fn discard_keeps_the_oldest_and_counts_the_rest_until_there_is_room() {
    let _alone = alone();
    let region = Region::in_memory(&small("discard")).unwrap();
    let attached = region.attach(0).unwrap();
    control(region, Mode::Discard, u64::MAX, 3, 0);
    fata_probe::control::poll();
    for i in 0..10_000u64 {
        instant!("discard.event", i = i);
    }
    let copy = Copy::of(region);
    let kept = copy.events().len() as u64;
    assert_eq!(copy.events()[0], "discard.event i=U64(0)");
    assert_eq!(copy.stream().discarded[Cause::Full as usize], 10_000 - kept);
    control(region, Mode::Discard, u64::MAX, 3, 2);
    instant!("discard.later");
    drop(attached);
    let copy = Copy::of(region);
    assert_eq!(copy.events().last().unwrap(), "discard.later");
    let packets = copy.packets();
    let (last, _) = packets.last().unwrap();
    assert_eq!(last.events_before, kept);
    assert_eq!(last.discarded[Cause::Full as usize], 10_000 - kept);
    assert_eq!(last.events_discarded, 10_000 - kept);
}

/// Lets the collector's heart beat, without a word else.
fn beat(region: &Region, heartbeat: u64) {
    // SAFETY: as in `control_with_heartbeat`.
    #[expect(unsafe_code, reason = "the host's side of shared memory")]
    unsafe {
        let at = region.memory().add(PAGE_BYTES + control::HEARTBEAT).cast();
        std::sync::atomic::AtomicU64::from_ptr(at).store(heartbeat, std::sync::atomic::Ordering::Release);
    }
}

#[test]
fn a_ring_whose_collector_died_overwrites_until_its_heart_beats_again() {
    let _alone = alone();
    let region = Region::in_memory(&small("orphan")).unwrap();
    let attached = region.attach(0).unwrap();
    // Two seconds of this clock are two million ticks, less than a millisecond.
    region.set_running(&Clock { hz: 1_000_000, anchor_ticks: 1, ..Clock::default() });
    let record = |i: u64| {
        instant!("orphan.event", i = i);
        let stream = Copy::of(region).stream();
        (stream.lock, stream.discarded[Cause::Full as usize])
    };
    let silence = || {
        let begin = fata_probe::ticks();
        while fata_probe::ticks().wrapping_sub(begin) < 3_000_000 {}
    };

    // A host that never beats is taken at its word, and one whose heart beats lives.
    control_with_heartbeat(region, Mode::Discard, u64::MAX, 3, 0, 0);
    fata_probe::control::poll();
    for i in 0..2_000 {
        instant!("orphan.event", i = i);
    }
    silence();
    fata_probe::control::poll();
    let full = record(0);
    assert_eq!(record(1), (full.0, full.1 + 1), "without a heartbeat the ring discards");
    for i in 1..4 {
        control_with_heartbeat(region, Mode::Discard, u64::MAX, 3, 0, i);
        silence();
        beat(region, i + 100);
        fata_probe::control::poll();
    }
    let full = record(0);
    assert_eq!(record(1), (full.0, full.1 + 1), "while the heart beats the ring discards");

    // It stands still: a scheduler that looks sees it, and the newest events are kept.
    silence();
    fata_probe::control::poll();
    let orphaned = record(7);
    assert!(orphaned.0 > full.0, "nobody makes room, and the ring does not overwrite");
    assert_eq!(Copy::of(region).events().last().unwrap(), "orphan.event i=U64(7)");

    // It beats again, and the ring keeps what it has.
    beat(region, 200);
    fata_probe::control::poll();
    for i in 0..2_000 {
        instant!("orphan.event", i = i);
    }
    let full = record(0);
    assert_eq!(record(1), (full.0, full.1 + 1), "a heart that beats again is not heard");

    // Without a scheduler the writer itself sees it, within 64 events.
    silence();
    let before = Copy::of(region).stream().lock;
    for i in 0..64 {
        instant!("orphan.event", i = i);
    }
    assert!(Copy::of(region).stream().lock > before, "a writer without a scheduler discards for ever");
    drop(attached);
}

#[test]
fn an_event_longer_than_a_packet_is_counted_and_leaves_the_ring_as_it_was() {
    let _alone = alone();
    let region = Region::in_memory(&small("too big")).unwrap();
    let _attached = region.attach(0).unwrap();
    let text = "x".repeat(4096);
    instant!("big.event", text = text.as_str());
    instant!("big.after");
    let copy = Copy::of(region);
    assert_eq!(copy.events(), ["big.after"]);
    assert_eq!(copy.stream().discarded[Cause::TooBig as usize], 1);
}

#[test]
fn the_host_turns_categories_and_levels_on_and_off() {
    let _alone = alone();
    let region = Region::in_memory(&small("categories")).unwrap();
    let _attached = region.attach(0).unwrap();
    let probe = || {
        instant!(category: "red", "red.info");
        instant!(category: "blue", level: Debug, "blue.debug");
    };
    probe();
    let start = usize::try_from(region.geometry().description_offset).unwrap();
    let copy = Copy::of(region);
    let used = usize::try_from(copy.status().description_used).unwrap();
    let blue = Records::new(&copy.bytes[start..start + used])
        .find_map(|record| match record {
            Ok(Record::Env { key, value: "blue" }) => key.strip_prefix("category.")?.parse::<u32>().ok(),
            _ => None,
        })
        .unwrap();
    control(region, Mode::Overwrite, 1 << blue, 5, 0);
    fata_probe::control::poll();
    probe();
    control(region, Mode::Overwrite, 0, 5, 0);
    fata_probe::control::poll();
    probe();
    control(region, Mode::Overwrite, u64::MAX, 3, 0);
    fata_probe::control::poll();
    assert_eq!(Copy::of(region).events(), ["red.info", "blue.debug"]);
}

#[test]
fn names_are_numbers_in_events_and_texts_in_the_description() {
    let _alone = alone();
    let region = Region::in_memory(&small("names")).unwrap();
    let _attached = region.attach(0).unwrap();
    let dynamic = fata_probe::Name::new_dynamic("conn-17");
    instant!("names.static", name = name!("http.connection"));
    instant!("names.dynamic", name = dynamic);
    let copy = Copy::of(region);
    let (header, body) = copy.packet(0);
    let ids: Vec<_> = fata_wire::event::Events::new(body, header.timestamp_begin)
        .map_while(Result::ok)
        .map(|event| copy.name(event.arg))
        .collect();
    assert_eq!(ids, ["http.connection", "conn-17"]);
}

#[test]
fn a_guest_that_ends_leaves_its_words_and_a_sealed_packet() {
    let _alone = alone();
    let region = Region::in_memory(&small("end")).unwrap();
    let attached = region.attach(0).unwrap();
    instant!("end.before");
    region.finish(State::Panicked, "it broke");
    instant!("end.after");
    attached.forever();
    let copy = Copy::of(region);
    assert_eq!(copy.status().state, State::Panicked);
    assert_eq!(fata_wire::shared::text_at(copy.bytes.first_chunk().unwrap(), 256, 512), b"it broke");
    assert_eq!(copy.packets()[0].0.lock, 2);
    assert_eq!(copy.events(), ["end.before"]);
}

#[test]
fn a_stream_has_one_writer_in_its_life() {
    let _alone = alone();
    let region = Region::in_memory(&small("one writer")).unwrap();
    drop(region.attach(0).unwrap());
    assert!(region.attach(0).is_none());
    assert!(region.attach(1).is_none());
}
