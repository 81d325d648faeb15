//! A guest that emits exactly the events of a test, one every 10 ns unless it says otherwise.
#![allow(dead_code, reason = "each test file uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use fata_model::ingest::{Ingest, Limits};
use fata_model::packets::{StreamWriter, UUID};
use fata_model::trace::{Trace, TrackId, TrackKind};
use fata_wire::describe::{Callsite, Record};
use fata_wire::event::EventId;
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit};
use fata_wire::metadata;
use fata_wire::packet::Cause;
use fata_wire::shared::Clock;

pub(crate) const A: u16 = 10;
pub(crate) const B: u16 = 11;
pub(crate) const C: u16 = 12;
pub(crate) const HEAP: u16 = 13;
pub(crate) const IRQ: u16 = 14;
pub(crate) const MARK: u16 = 15;
pub(crate) const LEVEL: u16 = 16;
pub(crate) const SPAWN: u16 = 20;
pub(crate) const READY: u16 = 21;
pub(crate) const POLL: u16 = 22;
pub(crate) const PENDING: u16 = 23;
pub(crate) const DONE: u16 = 24;
pub(crate) const SWITCH: u16 = 25;
pub(crate) const WAIT_FOR: u16 = 26;
pub(crate) const ALIVE: u16 = 27;
/// The end of a poll that says what its task waits for.
pub(crate) const PENDING_FOR: u16 = 28;
pub(crate) const SWITCH_FOR: u16 = 29;
pub(crate) const CREATE: u16 = 30;
pub(crate) const EXISTS: u16 = 37;
pub(crate) const TRY: u16 = 31;
pub(crate) const READ: u16 = 32;
pub(crate) const RESOLVE: u16 = 33;
pub(crate) const FAIL: u16 = 34;
pub(crate) const SIGNAL: u16 = 35;
pub(crate) const DROP: u16 = 36;
pub(crate) const FLOW_BEGIN: u16 = 40;
pub(crate) const FLOW_END: u16 = 41;
pub(crate) const TEXT: u16 = 42;
/// Names.
pub(crate) const SERVER: u16 = 50;
pub(crate) const CLIENT: u16 = 51;
pub(crate) const REPLY: u16 = 52;

/// 1 tick is 1 ns; time 0 of a trace is its first packet's begin.
pub(crate) const CLOCK: Clock = Clock {
    hz: 1_000_000_000,
    anchor_ticks: 0,
    anchor_unix_nanos: 1_000_000_000_000,
    clock_cost_picos: 0,
    probe_cost_picos: 0,
};

pub(crate) fn metadata(clock: &Clock) -> String {
    let none = |name| Field { name, ty: FieldType::U64, unit: Unit::None };
    let task = Field { name: "task", ty: FieldType::Task, unit: Unit::None };
    let name = Field { name: "name", ty: FieldType::Name, unit: Unit::None };
    let object = Field { name: "object", ty: FieldType::Object, unit: Unit::None };
    let packet = Field { name: "id", ty: FieldType::Packet, unit: Unit::None };
    let bytes = Field { name: "bytes", ty: FieldType::U64, unit: Unit::Bytes };
    let text = Field { name: "text", ty: FieldType::Str, unit: Unit::None };
    let parent = Field { name: "parent", ..task };
    let list: &[(u16, Kind, &str, &str, &[Field<'_>])] = &[
        (A, Kind::Span, "app", "app.a", &[bytes]),
        (B, Kind::Span, "app", "app.b", &[]),
        (C, Kind::Span, "net", "net.c", &[]),
        (HEAP, Kind::Span, "heap", "heap.refill", &[]),
        (IRQ, Kind::Span, "irq", "irq.timer", &[]),
        (MARK, Kind::Instant, "app", "app.mark", &[none("n")]),
        (LEVEL, Kind::Counter, "heap", "heap.live", &[bytes]),
        (SPAWN, Kind::Spawn, "task", "task.spawn", &[task, name, parent]),
        (ALIVE, Kind::Alive, "task", "task.alive", &[task, name, parent]),
        (READY, Kind::Ready, "task", "task.ready", &[task]),
        (POLL, Kind::Poll, "task", "task.poll", &[task]),
        (PENDING, Kind::Pending, "task", "task.pending", &[task]),
        (DONE, Kind::Done, "task", "task.done", &[task]),
        (SWITCH, Kind::Switch, "task", "task.switch", &[task]),
        (WAIT_FOR, Kind::WaitFor, "task", "task.wait", &[name]),
        (PENDING_FOR, Kind::Pending, "task", "task.pending/server", &[task]),
        (SWITCH_FOR, Kind::Switch, "task", "task.switch/arp.reply", &[task]),
        (CREATE, Kind::Create, "sync", "sync.promise", &[object, name]),
        (EXISTS, Kind::Exists, "sync", "sync.condition", &[object, name]),
        (TRY, Kind::Try, "sync", "sync.try", &[object]),
        (READ, Kind::Read, "sync", "sync.read", &[object]),
        (RESOLVE, Kind::Resolve, "sync", "sync.resolve", &[object]),
        (FAIL, Kind::Fail, "sync", "sync.fail", &[object]),
        (SIGNAL, Kind::Signal, "sync", "sync.signal", &[object]),
        (DROP, Kind::Drop, "sync", "sync.drop", &[object]),
        (FLOW_BEGIN, Kind::FlowBegin, "net", "net.rx", &[packet, bytes]),
        (FLOW_END, Kind::FlowEnd, "net", "net.rx.tcp", &[packet]),
        (TEXT, Kind::Log, "log", "log.info", &[text]),
        (SERVER, Kind::Name, "name", "server", &[]),
        (CLIENT, Kind::Name, "name", "client", &[]),
        (REPLY, Kind::Name, "name", "arp.reply", &[]),
    ];
    let mut out = String::new();
    metadata::write_preamble(&mut out, UUID, clock).unwrap();
    for &(id, kind, category, name, fields) in list {
        let fields = Fields::new(fields);
        let callsite = Callsite { id, kind, level: Level::Info, line: 7, category, name, file: "guest.rs", fields };
        metadata::write_record(&mut out, &Record::Callsite(callsite)).unwrap();
    }
    out
}

pub(crate) struct Guest {
    pub(crate) now: u64,
    writer: StreamWriter,
    pub(crate) packets: Vec<Vec<u8>>,
}

impl Guest {
    /// A guest whose trace begins at tick 1000, so that event `n` (from 0) is at `10 n` nanoseconds.
    pub(crate) fn new() -> Self {
        Guest { now: 1000, writer: StreamWriter::new(0, 4096), packets: Vec::new() }
    }

    pub(crate) fn at(&mut self, nanos: u64) -> &mut Self {
        self.now = 1000 + nanos;
        self
    }

    fn emit(&mut self, id: EventId, arg: u16, payload: &[u64]) -> &mut Self {
        let packets = &mut self.packets;
        self.writer.event(self.now, id, arg, payload, &mut |packet| packets.push(packet.to_vec()));
        self.now += 10;
        self
    }

    pub(crate) fn event(&mut self, callsite: u16, arg: u16) -> &mut Self {
        self.emit(EventId::begin(callsite), arg, &[])
    }

    pub(crate) fn with(&mut self, callsite: u16, arg: u16, payload: &[u64]) -> &mut Self {
        self.emit(EventId::begin(callsite), arg, payload)
    }

    pub(crate) fn begin(&mut self, callsite: u16) -> &mut Self {
        let payload: &[u64] = if callsite == A { &[1234] } else { &[] };
        self.emit(EventId::begin(callsite), 0, payload)
    }

    pub(crate) fn end(&mut self, callsite: u16) -> &mut Self {
        self.emit(EventId::end(callsite), 0, &[])
    }

    pub(crate) fn spawn(&mut self, task: u16, name: u16, parent: u16) -> &mut Self {
        self.with(SPAWN, task, &[u64::from(name), u64::from(parent)])
    }

    pub(crate) fn discard(&mut self, events: u64) -> &mut Self {
        let packets = &mut self.packets;
        self.writer.discard(Cause::Full, events, &mut |packet| packets.push(packet.to_vec()));
        self
    }

    pub(crate) fn skip_packet(&mut self) -> &mut Self {
        let packets = &mut self.packets;
        self.writer.skip_packet(&mut |packet| packets.push(packet.to_vec()));
        self
    }

    pub(crate) fn seal(&mut self) -> &mut Self {
        let packets = &mut self.packets;
        self.writer.seal(&mut |packet| packets.push(packet.to_vec()));
        self
    }

    pub(crate) fn trace(&mut self) -> Trace {
        self.trace_by(&CLOCK)
    }

    pub(crate) fn trace_by(&mut self, clock: &Clock) -> Trace {
        self.seal();
        let mut ingest = Ingest::new(Limits::default());
        ingest.metadata(&metadata(clock)).unwrap();
        for packet in &self.packets {
            ingest.packet(packet).unwrap();
        }
        ingest.finish()
    }
}

/// Everything in the trace as text, one line per interval: a golden to compare with.
pub(crate) fn picture(trace: &Trace) -> String {
    let mut out = String::new();
    for (id, track) in (0..).map(TrackId).zip(trace.tracks()) {
        let label = format!("{:?} {}", track.kind, trace.track_label(track.kind));
        if let Some(samples) = track.samples() {
            out += &format!("{label}: {:?}\n", samples.samples().collect::<Vec<_>>());
        }
        if let Some(row) = track.row() {
            out += &format!("{label}:\n");
            for entry in row.entries() {
                let is_state = matches!(track.kind, TrackKind::Task { .. } | TrackKind::Cpu { .. });
                let fields = if is_state { vec![] } else { trace.fields(entry.key, entry.extra, entry.start) };
                let mark = if entry.uncertain { " ?" } else { "" };
                out += &format!(
                    "  {}..{} {}{mark} {fields:?}\n",
                    entry.start,
                    entry.end,
                    trace.key_name(track.kind, entry.key)
                );
            }
            if let Some(open) = row.open() {
                out += &format!(
                    "  {}..{} open {}\n",
                    open.start,
                    trace.open_end(track),
                    trace.key_name(track.kind, open.key)
                );
            }
        }
        let _ = id;
    }
    out
}

/// The intervals of the track with this label, as text.
pub(crate) fn row(trace: &Trace, kind: &str) -> Vec<String> {
    let text = picture(trace);
    let head = text.lines().position(|line| line.starts_with(kind));
    let Some(head) = head else { return Vec::new() };
    let lines = text.lines().skip(head + 1).take_while(|line| line.starts_with("  "));
    lines.map(|line| line.trim().trim_end_matches(" []").to_owned()).collect()
}
