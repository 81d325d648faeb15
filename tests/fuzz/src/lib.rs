//! What is fuzzed: a function per decoder, which takes any bytes and fails where a decoder breaks its word.
//!
//! libFuzzer runs each for as long as it is let (`tests/run fuzz SECONDS` all of them, `cargo +nightly fuzz run packet --fuzz-dir
//! tests/fuzz` one); `tests/tests/fuzz.rs` runs the same functions with a small mutation driver on the stable compiler. Both
//! start from `corpus/`.

use std::cell::Cell;
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fata_collector::request::reply::{MAX_REPLY_BYTES, Pieces, in_page, number_in};
use fata_collector::shared::WritablePage;
use fata_collector::sink::stream::StreamSink;
use fata_collector::source::Guest;
use fata_collector::xen::vchan::{Bell, Channel};
use fata_collector::xen::wire::{HEADER_BYTES, MAX_PAYLOAD_BYTES, Message, WireError};
use fata_collector::{Collector, Options};
use fata_probe::region::{Config, Region};
use fata_probe::{control, instant};
use fata_wire::describe::Records;
use fata_wire::event::Events;
use fata_wire::grants::{IndexPage, MAX_REFS, index_page};
use fata_wire::metadata::Line;
use fata_wire::packet::{Packet, metadata_packet};
use fata_wire::repair::{committed_prefix, repair, repair_open};
use fata_wire::request::{MAX_TEXT_BYTES, REQUEST, Request, Slip, TEXT};
use fata_wire::shared::{Clock, Geometry, PAGE_BYTES, Status, StreamStatus};

/// A decoder under test.
pub type Target = fn(&[u8]);

/// Every target and its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("packet", packet),
    ("events", events),
    ("description", description),
    ("header_page", header_page),
    ("metadata", metadata),
    ("frames", frames),
    ("grants", grants),
    ("xenstore", xenstore),
    ("stream", stream),
    ("directory", directory),
    ("mailbox", mailbox),
    ("reply", reply),
    ("vchan", vchan),
    ("core", core),
];

/// A packet's header, and its events.
pub fn packet(bytes: &[u8]) {
    if let Ok(packet) = Packet::parse(bytes) {
        assert!(packet.bytes.len() <= bytes.len());
        let decoded: usize = packet.events().map_while(Result::ok).map(|event| 8 + event.payload.len()).sum();
        assert!(decoded <= packet.bytes.len());
    }
    if let Ok((text, len)) = metadata_packet::parse(bytes) {
        assert!(text.len() < len && len <= bytes.len());
    }
}

/// What a collector does to the content of a packet, live and dead.
pub fn events(bytes: &[u8]) {
    let ticks = fata_wire::u64_at(bytes, 0) >> 2;
    let content = bytes.get(8..).unwrap_or(&[]);
    let prefix = committed_prefix(content, ticks, 100);
    for mend in [repair, repair_open] {
        let mut copy = content.to_vec();
        let walk = mend(&mut copy, ticks, 100);
        assert!(walk.bytes <= copy.len() && walk.events >= prefix.events && walk.bytes >= prefix.bytes);
        let mut last = ticks;
        let mut count = 0;
        for event in Events::new(&copy[..walk.bytes], ticks) {
            let event = event.expect("what was repaired is whole");
            assert!(event.ticks >= last);
            last = event.ticks;
            count += 1;
        }
        assert_eq!(count, walk.events + walk.unfinished);
    }
}

/// The description area.
pub fn description(bytes: &[u8]) {
    let mut records = Records::new(bytes);
    let mut text = String::new();
    for record in records.by_ref().flatten() {
        text.clear();
        fata_wire::metadata::write_record(&mut text, &record).expect("a string takes everything");
        let read = text.lines().filter_map(Line::parse).count();
        assert_eq!(read, 1, "a record is one line: {text}");
        assert_eq!(text.matches("*/").count(), 1, "no text ends its comment: {text}");
    }
    assert!(records.consumed_bytes() <= bytes.len());
}

/// An index page, by which a Xen guest lists its grants.
pub fn grants(bytes: &[u8]) {
    let mut page = [0; PAGE_BYTES];
    let len = bytes.len().min(PAGE_BYTES);
    page[..len].copy_from_slice(&bytes[..len]);
    if let Ok(index) = IndexPage::parse(&page) {
        assert!((1..=MAX_REFS).contains(&index.refs().count()));
        let refs: Vec<u32> = index.refs().collect();
        let words = index_page(&refs, index.next());
        assert!(words.eq(page.chunks(4).take(4 + refs.len()).map(|word| fata_wire::u32_at(word, 0))));
    }
}

/// A message of XenStore.
pub fn xenstore(bytes: &[u8]) {
    match Message::parse(bytes) {
        Ok(message) => {
            assert!(HEADER_BYTES + message.payload.len() <= bytes.len());
            assert!(message.texts().all(|text| !text.contains(&0)));
        }
        Err(WireError::Incomplete { missing_bytes }) => {
            assert!((1..=MAX_PAYLOAD_BYTES + HEADER_BYTES).contains(&missing_bytes));
        }
        Err(WireError::TooLong(_)) => {}
    }
}

/// The first page of a ring.
pub fn header_page(bytes: &[u8]) {
    let mut page = [0; PAGE_BYTES];
    let len = bytes.len().min(PAGE_BYTES);
    page[..len].copy_from_slice(&bytes[..len]);
    let mapped = 1 << 22;
    if let Ok(geometry) = Geometry::parse(&page, mapped) {
        for stream in 0..geometry.all_streams() {
            for number in [0, 7, u64::MAX] {
                let offset = geometry.packet_offset(stream, number);
                assert!(offset >= PAGE_BYTES as u64 && offset + u64::from(geometry.packet_bytes_of(stream)) <= mapped);
            }
            let _ = StreamStatus::parse(&page, stream);
        }
        assert!(geometry.description_offset + Status::parse(&page, &geometry).description_used <= mapped);
    }
}

/// Metadata text.
pub fn metadata(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = text.lines().filter_map(Line::parse).count();
    let mut description = fata_model::description::Description::new();
    let _ = description.metadata(&text);
}

/// What a viewer reads from a collector's socket.
pub fn frames(bytes: &[u8]) {
    let mut reader = fata_collector::frames::Reader::new(bytes);
    let mut frames = 0;
    while let Ok(Some(_)) = reader.next_frame() {
        frames += 1;
        assert!(frames * 5 <= bytes.len(), "a frame is at least its length and its kind");
    }
}

fn limits() -> fata_model::ingest::Limits {
    fata_model::ingest::Limits {
        intervals: 1 << 16,
        field_bytes: 1 << 20,
        tracks: 256,
        tasks: 256,
        streams: 4,
        flow_points: 1 << 12,
        gaps: 1 << 8,
    }
}

/// A trace stream: a pipe or a recorded file.
pub fn stream(bytes: &[u8]) {
    let input = std::io::Cursor::new(bytes.to_vec());
    let Ok(mut reader) = fata_model::source::from_read("fuzz", input) else { return };
    let mut ingest = fata_model::ingest::Ingest::new(limits());
    let _ = fata_model::source::read_into(&mut reader, &mut ingest);
    let trace = ingest.finish();
    let _ = trace.stats();
    assert!(trace.warnings().count() < 10_000);
}

/// A trace directory: metadata up to the first NUL, then packets.
pub fn directory(bytes: &[u8]) {
    let split = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (text, mut rest) = bytes.split_at(split);
    let mut ingest = fata_model::ingest::Ingest::new(limits());
    if ingest.metadata(&String::from_utf8_lossy(text)).is_err() {
        return;
    }
    rest = rest.get(1..).unwrap_or(&[]);
    while let Ok(packet) = Packet::parse(rest) {
        let _ = ingest.packet(packet.bytes);
        rest = &rest[packet.bytes.len()..];
    }
    let trace = ingest.finish();
    let _ = trace.stats();
    for track in trace.tracks() {
        let _ = trace.track_label(track.kind);
        let _ = trace.open_end(track);
    }
}

/// The guest that the control page of [`mailbox`] belongs to; the calling thread records.
fn asked_guest() -> &'static Region {
    static GUEST: LazyLock<&Region> = LazyLock::new(|| {
        let config = Config { name: "asked", packets_per_stream: 4, packet_bytes: 4096, ..Config::default() };
        let region = Region::in_memory(&config).expect("the configuration is right");
        region.attach(0).expect("nobody else records into it").forever();
        region
    });
    *GUEST
}

/// What a host may write into a guest's control page, and what the guest answers: what is asked of all events (six words), the
/// length of a request (four bytes), and its text.
#[expect(unsafe_code, reason = "plays the host, which writes words of the control page")]
pub fn mailbox(bytes: &[u8]) {
    static SEQUENCE: AtomicU32 = AtomicU32::new(0);
    const WORDS: usize = 6;
    let region = asked_guest();
    let page = usize::try_from(region.geometry().control_offset).expect("the region fits into memory");
    let put = |offset: usize, word: u64| {
        // SAFETY: the offsets are those of words of the control page, which lives for ever and is only accessed atomically.
        // Release: pairs with the guest's Acquire, as a collector's stores do.
        unsafe { AtomicU64::from_ptr(region.memory().add(page + offset).cast()) }.store(word, Ordering::Release);
    };
    for i in 0..WORDS {
        put(8 * i, fata_wire::u64_at(bytes, 8 * i));
    }
    let text = bytes.get(8 * WORDS + 4..).unwrap_or(&[]);
    for (i, chunk) in text.chunks(8).take(MAX_TEXT_BYTES / 8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        put(REQUEST + TEXT + 8 * i, u64::from_le_bytes(word));
    }
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed) + 1;
    let slip = Slip { sequence, len_bytes: fata_wire::u32_at(bytes, 8 * WORDS) };
    put(REQUEST, slip.pack());
    control::poll();
    control::serve(|line, reply| {
        assert!(Some(line.len()) == slip.text_len(), "the guest is asked what the slip says");
        if let Err(error) = Request::parse(line) {
            assert!(!error.to_string().contains(char::is_control), "a sentence for one line: {error}");
        }
        control::answer(line, reply);
    });
    assert!(!control::is_asked(), "what was asked is done, whatever it was");
    let mut page = [0; TEXT + MAX_TEXT_BYTES];
    assert!(region.copy_out(region.geometry().reply_offset, &mut page), "the reply page lies in the region");
    let answered = Slip::unpack(fata_wire::u64_at(&page, 0));
    let text =
        answered.text_len().map(|len| &page[TEXT..TEXT + len]).expect("a reply has a length that a reply may have");
    let text = std::str::from_utf8(text).expect("a reply is text");
    assert!(answered.sequence == sequence && (text.starts_with("ok") || text.starts_with("error: ")), "{text:?}");
}

/// What a guest replies, in its reply page and in pieces over a channel.
pub fn reply(bytes: &[u8]) {
    let slip = Slip::unpack(fata_wire::u64_at(bytes, 0));
    let bytes = bytes.get(TEXT..).unwrap_or(&[]);
    let check = |text: &str| {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        for what in ["tick ", "shared "] {
            let number = number_in(text, what).map(|number| number.to_string());
            assert!(number.is_none_or(|number| text.starts_with("ok") && text.contains(&number)), "{text:?}");
        }
    };
    let whole = in_page(slip, bytes);
    assert!(whole.is_none() || slip.text_len().is_some_and(|len| len <= bytes.len()));
    whole.as_deref().map(check);
    // However it is cut, a reply is the same.
    let read = |piece_bytes: usize| {
        let mut reply = Pieces::default();
        let ended = bytes.chunks(piece_bytes).map(|piece| reply.add(piece)).find(|end| *end != Ok(false));
        (ended, reply.text())
    };
    let (ended, text) = read(1 + slip.sequence as usize % 300);
    check(&text);
    assert!(text.chars().count() <= MAX_REPLY_BYTES + 300);
    assert!(bytes.len() > MAX_REPLY_BYTES || (ended, text) == read(bytes.len().max(1)));
}

/// Writes two bytes of its script into the channel's page whenever it is called: where, and what.
struct Vandal<'a> {
    page: WritablePage,
    script: Cell<&'a [u8]>,
}

impl Bell for Vandal<'_> {
    fn notify(&self) {
        if let [at, byte, rest @ ..] = self.script.get() {
            self.page.write(usize::from(*at), &[*byte]);
            self.script.set(rest);
        }
    }

    fn wait(&self, _pause: Duration) {
        self.notify();
    }
}

/// The page of a channel of Xen's libxenvchan, whose server does as it likes: the page's first 24 bytes, then a script.
pub fn vchan(bytes: &[u8]) {
    const HEADER: usize = 24;
    let file = tempfile::tempfile_in("/dev/shm").expect("there is memory for a page");
    file.set_len(PAGE_BYTES as u64).expect("there is memory for a page");
    let page = || WritablePage::new(&file, 0).expect("there is memory for a page");
    let (header, script) = bytes.split_at(bytes.len().min(HEADER));
    let theirs = page();
    theirs.write(0, header);
    let Ok(mut channel) = Channel::over(page(), Vandal { page: theirs, script: Cell::new(script) }) else { return };
    let (mut connected, mut sink) = (false, [0; PAGE_BYTES]);
    for _ in 0..script.len() / 2 + 4 {
        if connected {
            let put = channel.put(&[7; 3000]).unwrap_or(0);
            let taken = channel.take(&mut sink).unwrap_or(0);
            assert!(put <= 2048 && taken <= 2048, "{put} and {taken} of a ring");
        } else {
            connected = channel.greet().unwrap_or(false);
        }
        channel.wait(Duration::ZERO);
    }
}

/// Length of the ring in the file of [`core`], whose two halves are exchanged: its first [`CORE_SPLIT`] bytes come last. So it is
/// no ring to whoever does not follow the headers before it.
pub const CORE_BYTES: usize = 8 * PAGE_BYTES;
/// See [`CORE_BYTES`].
pub const CORE_SPLIT: usize = 4 * PAGE_BYTES;
/// Where the ring begins in the file of [`core`].
pub const CORE_HEADERS: usize = PAGE_BYTES;

fn halves() -> &'static [u8] {
    static HALVES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let config = Config {
            name: "core",
            packets_per_stream: 4,
            packet_bytes: 4096,
            description_bytes: 4096,
            ..Config::default()
        };
        let region = Region::in_memory(&config).expect("the configuration is right");
        region.set_running(&Clock { hz: 1_000_000_000, ..Clock::default() });
        let attached = region.attach(0).expect("nobody else records into it");
        instant!("core.event", answer = 42u64);
        drop(attached);
        let mut memory = region.copy();
        assert_eq!(memory.len(), CORE_BYTES);
        memory.rotate_left(CORE_SPLIT);
        memory
    });
    &HALVES
}

/// The file that has these headers and the ring.
pub fn core_file(headers: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").expect("there is memory for a core");
    let headers = &headers[..headers.len().min(CORE_HEADERS)];
    for part in [headers, &[0; CORE_HEADERS][headers.len()..], halves()] {
        file.write_all(part).expect("there is memory for a core");
    }
    file
}

/// The headers of an ELF core, of which a ring is the rest.
pub fn core(bytes: &[u8]) {
    let file = core_file(bytes);
    let Ok(guest) = Guest::in_image(file.path()) else { return };
    let memory = guest.open(false).expect("what was found once is found again");
    assert!(memory.geometry().total_bytes <= (CORE_HEADERS + CORE_BYTES) as u64, "more memory than the file has");
    let mut sink = StreamSink::new(Vec::new(), "core");
    let options = Options { snapshot: true, ..Options::default() };
    let drained =
        Collector::attach(&guest, &options, &[]).and_then(|mut collector| collector.run(&mut sink, &mut |_| true));
    assert!(drained.is_ok(), "what is mapped is read: {drained:?}");
}
