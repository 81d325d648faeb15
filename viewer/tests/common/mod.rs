//! A small trace with one of everything, whose times can be counted on one's fingers: the clock ticks in nanoseconds.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use egui::{Event, Modifiers, PointerButton, Pos2};
use egui_kittest::Harness;
use fata_model::ingest::{Ingest, Limits};
use fata_model::packets::{StreamWriter, UUID};
use fata_model::trace::Trace;
use fata_viewer::Source;
use fata_viewer::app::Viewer;
use fata_viewer::paint::raster::Raster;
use fata_wire::describe::{Callsite, Record};
use fata_wire::event::EventId;
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit};
use fata_wire::metadata;
use fata_wire::packet::Cause;
use fata_wire::shared::Clock;

const REQUEST: u16 = 8;
const PARSE: u16 = 9;
const REFILL: u16 = 10;
const LIVE: u16 = 11;
const MISS: u16 = 12;
const SPAWN: u16 = 13;
const READY: u16 = 14;
const POLL: u16 = 15;
const PENDING: u16 = 16;
const WAIT: u16 = 17;
const RX: u16 = 18;
const READ: u16 = 19;
const CREATE: u16 = 20;
const TRY: u16 = 21;
const SIGNAL: u16 = 22;
const MAIN: u16 = 23;
const CONNECTION: u16 = 24;
const REPLY: u16 = 25;
const DONE: u16 = 26;

fn callsites() -> Vec<(u16, Kind, &'static str, Vec<Field<'static>>)> {
    let field = |name, ty| Field { name, ty, unit: Unit::of_name(name) };
    let task = || vec![field("task", FieldType::Task)];
    let object = || vec![field("object", FieldType::Object)];
    vec![
        (REQUEST, Kind::Span, "http.request", vec![field("bytes", FieldType::U64)]),
        (PARSE, Kind::Span, "http.parse", vec![]),
        (REFILL, Kind::Span, "heap.refill", vec![]),
        (LIVE, Kind::Counter, "heap.live", vec![field("bytes", FieldType::U64)]),
        (MISS, Kind::Instant, "dns.miss", vec![field("port", FieldType::Small)]),
        (
            SPAWN,
            Kind::Spawn,
            "task.spawn",
            vec![field("task", FieldType::Task), field("name", FieldType::Name), field("parent", FieldType::Task)],
        ),
        (READY, Kind::Ready, "task.ready", task()),
        (POLL, Kind::Poll, "task.poll", task()),
        (PENDING, Kind::Pending, "task.pending", task()),
        (DONE, Kind::Done, "task.done", task()),
        (WAIT, Kind::WaitFor, "task.wait", vec![field("name", FieldType::Name)]),
        (RX, Kind::FlowBegin, "net.rx", vec![field("id", FieldType::Packet)]),
        (READ, Kind::FlowEnd, "net.read", vec![field("id", FieldType::Packet)]),
        (
            CREATE,
            Kind::Create,
            "sync.condition",
            vec![field("object", FieldType::Object), field("name", FieldType::Name)],
        ),
        (TRY, Kind::Try, "sync.try", object()),
        (SIGNAL, Kind::Signal, "sync.signal", object()),
        (MAIN, Kind::Name, "main", vec![]),
        (CONNECTION, Kind::Name, "http.connection", vec![]),
        (REPLY, Kind::Name, "arp.reply", vec![]),
    ]
}

/// The metadata text.
pub(crate) fn description() -> String {
    let clock = Clock {
        hz: 1_000_000_000,
        anchor_ticks: 0,
        anchor_unix_nanos: 1_795_269_600_000_000_000,
        clock_cost_picos: 0,
        probe_cost_picos: 0,
    };
    let mut text = String::new();
    metadata::write_preamble(&mut text, UUID, &clock).unwrap();
    for (id, kind, name, fields) in callsites() {
        let category = name.split('.').next().unwrap_or(name);
        let fields = Fields::new(&fields);
        let file = "src/http.rs";
        let record = Callsite { id, kind, level: Level::Info, line: 40 + u32::from(id), category, name, file, fields };
        metadata::write_record(&mut text, &Record::Callsite(record)).unwrap();
    }
    text
}

/// A guest in which `main` spawns `connections` tasks after a gap; the first one handles a request and then waits for a
/// condition that was signalled before.
pub(crate) fn small_trace(connections: u16) -> Trace {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut sink = |packet: &[u8]| packets.push(packet.to_vec());
    let mut w = StreamWriter::new(0, 65_536);
    let begin = EventId::begin;
    w.event(0, begin(SPAWN), 1, &[u64::from(MAIN), 0], &mut sink);
    w.event(50, begin(READY), 1, &[], &mut sink);
    w.event(100, begin(POLL), 1, &[], &mut sink);
    w.event(200, begin(LIVE), 0, &[1000], &mut sink);
    w.event(1_000, begin(PENDING), 1, &[], &mut sink);
    w.discard(Cause::Full, 17, &mut sink);
    w.event(2_000, begin(READY), 1, &[], &mut sink);
    w.event(2_100, begin(POLL), 1, &[], &mut sink);
    w.event(2_150, begin(CREATE), 5, &[u64::from(REPLY)], &mut sink);
    w.event(2_160, begin(SIGNAL), 5, &[], &mut sink);
    for n in 0..connections {
        let at = 2_200 + u64::from(n) * 2;
        w.event(at, begin(SPAWN), 2 + n, &[u64::from(CONNECTION), 1], &mut sink);
        w.event(at + 1, begin(READY), 2 + n, &[], &mut sink);
    }
    w.event(2_900, begin(RX), 7, &[], &mut sink);
    w.event(2_950, begin(WAIT), REPLY, &[], &mut sink);
    w.event(3_000, begin(PENDING), 1, &[], &mut sink);
    w.event(3_100, begin(POLL), 2, &[], &mut sink);
    w.event(3_200, begin(REQUEST), 0, &[512], &mut sink);
    w.event(3_300, begin(PARSE), 0, &[], &mut sink);
    w.event(4_300, EventId::end(PARSE), 0, &[], &mut sink);
    w.event(4_500, begin(REFILL), 0, &[], &mut sink);
    w.event(5_500, EventId::end(REFILL), 0, &[], &mut sink);
    w.event(5_600, begin(LIVE), 0, &[4000], &mut sink);
    w.event(5_700, begin(MISS), 53, &[], &mut sink);
    w.event(5_800, begin(READ), 7, &[], &mut sink);
    w.event(6_200, EventId::end(REQUEST), 0, &[], &mut sink);
    w.event(6_300, begin(TRY), 5, &[], &mut sink);
    w.event(6_350, begin(WAIT), REPLY, &[], &mut sink);
    w.event(6_400, begin(PENDING), 2, &[], &mut sink);
    for n in 1..connections {
        let at = 6_500 + u64::from(n) * 3;
        w.event(at, begin(POLL), 2 + n, &[], &mut sink);
        w.event(at + 2, begin(DONE), 2 + n, &[], &mut sink);
    }
    w.event(10_000, begin(MISS), 53, &[], &mut sink);
    w.seal(&mut sink);

    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&description()).unwrap();
    for packet in &packets {
        ingest.packet(packet).unwrap();
    }
    ingest.finish()
}

/// A record of the log: when, by which task, of which callsite, its number and its text.
fn say(w: &mut StreamWriter, record: (u64, u16, u16, u64), text: &str, sink: &mut impl FnMut(&[u8])) {
    let (ticks, task, callsite, number) = record;
    // Long enough for the extended form, which texts have.
    let mut bytes = format!("{text:<48}").into_bytes();
    bytes.resize((bytes.len() / 8 + 1) * 8, 0);
    let mut payload = vec![number];
    payload.extend(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)));
    w.event(ticks, EventId::begin(callsite), task, &payload, sink);
}

const OPENED: u16 = 40;
const AGAIN: u16 = 41;

/// The metadata text of a guest that logs.
fn description_with_log() -> String {
    let mut text = description();
    let mut fields = fata_wire::log::FIRST_FIELDS.to_vec();
    fields.push(Field { name: fata_wire::log::MESSAGE, ty: FieldType::Str, unit: Unit::None });
    let fields = Fields::new(&fields);
    for (id, level, category) in [(OPENED, Level::Info, "http"), (AGAIN, Level::Warn, "net.tcp")] {
        let (name, file) = ("src/http.rs:7", "src/http.rs");
        let record = Callsite { id, kind: Kind::Log, level, line: 7, category, name, file, fields };
        metadata::write_record(&mut text, &Record::Callsite(record)).unwrap();
    }
    text
}

/// `main`, and two tasks that have the number 2 one after another; the first handles a request from 2 to 4 µs. What they log
/// says who they are; the warning number 1 is lost.
pub(crate) fn spoken_trace() -> Trace {
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&description_with_log()).unwrap();
    let mut sink = |packet: &[u8]| ingest.packet(packet).unwrap();
    let mut w = StreamWriter::new(0, 65_536);
    let events: [(u64, EventId, u16, &[u64]); 15] = [
        (0, EventId::begin(SPAWN), 1, &[MAIN as u64, 0]),
        (100, EventId::begin(POLL), 1, &[]),
        (150, EventId::begin(SPAWN), 2, &[CONNECTION as u64, 1]),
        (160, EventId::begin(READY), 2, &[]),
        (1_000, EventId::begin(PENDING), 1, &[]),
        (1_100, EventId::begin(POLL), 2, &[]),
        (2_000, EventId::begin(REQUEST), 0, &[512]),
        (4_000, EventId::end(REQUEST), 0, &[]),
        (5_000, EventId::begin(DONE), 2, &[]),
        (6_000, EventId::begin(SPAWN), 2, &[REPLY as u64, 0]),
        (6_050, EventId::begin(READY), 2, &[]),
        (6_100, EventId::begin(POLL), 2, &[]),
        (8_000, EventId::begin(DONE), 2, &[]),
        (9_000, EventId::begin(POLL), 1, &[]),
        (10_000, EventId::begin(PENDING), 1, &[]),
    ];
    for (ticks, id, arg, payload) in events {
        w.event(ticks, id, arg, payload, &mut sink);
    }
    w.seal(&mut sink);
    let mut w = StreamWriter::new(1, 65_536);
    for (record, text) in [
        ((500, 1, OPENED, 0), "main begins"),
        ((1_500, 2, OPENED, 1), "the connection is accepted"),
        ((2_500, 2, OPENED, 2), "the request is parsed"),
        ((3_500, 2, AGAIN, 0), "the request is slow"),
        ((4_500, 2, OPENED, 3), "the request is answered"),
        ((7_000, 2, OPENED, 4), "another task of the number"),
        ((9_500, 1, AGAIN, 2), "main ends"),
    ] {
        say(&mut w, record, text, &mut sink);
    }
    w.seal(&mut sink);
    ingest.finish()
}

/// A log of so many records in as little memory as may be, one a microsecond, whose texts are their numbers below a thousand.
pub(crate) fn numbers_trace(records: u64) -> Trace {
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&description_with_log()).unwrap();
    let mut sink = |packet: &[u8]| ingest.packet(packet).unwrap();
    let mut w = StreamWriter::new(1, 65_536);
    for number in 0..records {
        let [hundreds, tens, ones] =
            [number / 100 % 10, number / 10 % 10, number % 10].map(|digit| b'0' + digit.to_le_bytes()[0]);
        let text = u64::from_le_bytes([b'n', hundreds, tens, ones, 0, 0, 0, 0]);
        // What holds a text has its length in front, in words.
        w.event(number * 1000, EventId::begin(OPENED), 1, &[2, number, text], &mut sink);
    }
    w.seal(&mut sink);
    ingest.finish()
}

/// A guest with one task and a log of so many records in a stream of its own, one a microsecond; every tenth is a warning.
pub(crate) fn log_trace(records: u64) -> Trace {
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&description_with_log()).unwrap();
    let mut sink = |packet: &[u8]| ingest.packet(packet).unwrap();
    let mut w = StreamWriter::new(0, 65_536);
    w.event(0, EventId::begin(SPAWN), 1, &[u64::from(MAIN), 0], &mut sink);
    w.event(100, EventId::begin(POLL), 1, &[], &mut sink);
    w.seal(&mut sink);
    let mut w = StreamWriter::new(1, 65_536);
    for seq in 0..records {
        let again = seq % 10 == 9;
        let said = if again { "segment lost, retransmit after" } else { "peer accepted," };
        let text = format!("{said:<32} connection {seq} opened");
        let (callsite, number) = if again { (AGAIN, seq / 10) } else { (OPENED, seq - seq / 10) };
        say(&mut w, (seq * 1000, 1, callsite, number), &text, &mut sink);
    }
    w.seal(&mut sink);
    ingest.finish()
}

/// A viewer of a trace.
pub(crate) fn viewer(trace: Trace) -> Viewer {
    Viewer::new(Source::Trace(Box::new(trace)), "small").unwrap()
}

/// The viewer's own CPU rasteriser as kittest's renderer: no GPU, no display.
#[derive(Default)]
pub(crate) struct CpuRenderer {
    raster: Raster,
}

impl egui_kittest::TestRenderer for CpuRenderer {
    fn handle_delta(&mut self, delta: &mut egui::TexturesDelta) {
        self.raster.update_textures(delta);
    }

    fn render(&mut self, context: &egui::Context, output: &egui::FullOutput) -> Result<image::RgbaImage, String> {
        let scale = output.pixels_per_point;
        let size = context.content_rect().size() * scale;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a picture's size")]
        let (width, height) = (size.x.round() as u32, size.y.round() as u32);
        let as_usize = |value| usize::try_from(value).map_err(|error| format!("{error}"));
        self.raster.begin(as_usize(width)?, as_usize(height)?, egui::Color32::BLACK);
        self.raster.paint(&context.tessellate(output.shapes.clone(), scale), scale);
        image::RgbaImage::from_raw(width, height, self.raster.rgba()).ok_or_else(|| "size".to_owned())
    }
}

/// A click of the mouse at `at`, then so many frames.
pub(crate) fn click(harness: &mut Harness<'_, Viewer>, at: Pos2, steps: usize) {
    harness.hover_at(at);
    harness.step();
    for pressed in [true, false] {
        let (button, modifiers) = (PointerButton::Primary, Modifiers::NONE);
        harness.event(Event::PointerButton { pos: at, button, pressed, modifiers });
        harness.step();
    }
    harness.run_steps(steps);
}

/// Two guests, of which the left sends a packet that the right receives, by a clock that is 5000 ticks ahead.
pub(crate) fn two_guests() -> Trace {
    let mut text = String::from("/* fata version 1.0 */\n");
    for (guest, name, ticks, error) in [(0, "left", 1000, 300), (1, "right", 6000, 200)] {
        text += &format!(
            "/* fata guest {guest} */\n/* fata clock 1000000000 {ticks} 1000000000 0 0 */\n\
             /* fata env \"guest\" \"{name}\" */\n/* fata env \"clock.error_ns\" \"{error}\" */\n\
             /* fata callsite 9 flow_begin info 1 \"fata.wire\" \"wire.tx\" \"net.rs\" \"id\":flow:none */\n\
             /* fata callsite 10 flow_end info 1 \"fata.wire\" \"wire.rx\" \"net.rs\" \"id\":flow:none */\n\
             /* fata callsite 11 instant info 1 \"boot\" \"boot.begin\" \"boot.rs\" */\n"
        );
    }
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&text).unwrap();
    let events = [(0, 1000, 11, None), (0, 2000, 9, Some(7)), (1, 6000, 11, None), (1, 10_000, 10, Some(7))];
    for guest in 0..2 {
        let mut writer = StreamWriter::new(0, 4096).of_guest(guest);
        let mut take = |packet: &[u8]| ingest.packet(packet).unwrap();
        for (_, ticks, callsite, id) in events.iter().filter(|(of, ..)| *of == guest) {
            writer.event(*ticks, EventId::begin(*callsite), 0, id.as_slice(), &mut take);
        }
        writer.seal(&mut take);
    }
    ingest.finish()
}
