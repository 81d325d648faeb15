//! Synthetic traces of any size, as the packets a guest would write: for measurements and for tests. Nothing in them
//! happened; their guest is named `synthetic`.
//!
//! A scheduler polls tasks at random; in a poll spans nest up to six deep, some are held across polls; interrupts, wakes,
//! counters and instants come between. The same numbers give the same bytes.

use std::io::Write;
use std::path::Path;

use fata_wire::describe::{Callsite, Record};
use fata_wire::event::{EventId, FIRST_CALLSITE};
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit};
use fata_wire::metadata;
use fata_wire::shared::Clock;

use crate::packets::{StreamWriter, UUID};
use crate::random::Random;

/// What to make. The spans are the begun ones; a few stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Spans that begin.
    pub spans: u64,
    /// Tasks, at most 32,767.
    pub tasks: u16,
    /// The length of a packet.
    pub packet_bytes: u32,
    /// Another seed gives another trace.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Synthetic { spans: 100_000, tasks: 64, packet_bytes: 65536, seed: 1 }
    }
}

/// The clock of synthetic guests.
pub const CLOCK: Clock = Clock {
    hz: 2_500_000_000,
    anchor_ticks: 1_000_000_000,
    anchor_unix_nanos: 1_750_000_000_000_000_000,
    clock_cost_picos: 8000,
    probe_cost_picos: 12_000,
};

const SPANS: [(&str, &str); 12] = [
    ("http", "http.request"),
    ("http", "http.parse"),
    ("http", "http.respond"),
    ("net", "net.rx"),
    ("net", "net.tx"),
    ("tcp", "tcp.segment"),
    ("tcp", "tcp.ack"),
    ("db", "db.query"),
    ("db", "db.commit"),
    ("tls", "tls.record"),
    ("fs", "fs.read"),
    ("heap", "heap.refill"),
];
const SPAN: u16 = FIRST_CALLSITE;
const IRQ: u16 = 20;
const COUNTER: u16 = 21;
const INSTANT: u16 = 22;
const SPAWN: u16 = 23;
const READY: u16 = 24;
const POLL: u16 = 25;
const PENDING: u16 = 26;
const SWITCH: u16 = 27;
const NAME: u16 = 28;
const MAX_DEPTH: usize = 6;

fn callsite<'a>(id: u16, kind: Kind, category: &'a str, name: &'a str, fields: &[Field<'a>]) -> Record<'a> {
    let fields = Fields::new(fields);
    Record::Callsite(Callsite { id, kind, level: Level::Info, line: 1, category, name, file: "synthetic.rs", fields })
}

fn field(name: &str, ty: FieldType, unit: Unit) -> Field<'_> {
    Field { name, ty, unit }
}

/// Writes the trace, event by event.
struct Writer<'a, F> {
    stream: StreamWriter,
    ticks: u64,
    sink: &'a mut F,
    stopped: bool,
}

impl<F: FnMut(&[u8]) -> bool> Writer<'_, F> {
    fn event(&mut self, id: EventId, arg: u16, payload: &[u64]) {
        let Writer { stream, ticks, sink, stopped } = self;
        stream.event(*ticks, id, arg, payload, &mut |packet| *stopped |= !sink(packet));
    }
}

impl Synthetic {
    /// The metadata text.
    #[must_use]
    pub fn metadata(&self) -> String {
        let mut text = String::new();
        let task = |name| field(name, FieldType::Task, Unit::None);
        let mut records = vec![Record::Env { key: "guest", value: "synthetic" }];
        for ((category, name), id) in SPANS.iter().zip(SPAN..) {
            // One in three has a field.
            let bytes = [field("bytes", FieldType::U64, Unit::Bytes)];
            let fields = if id % 3 == 0 { &bytes[..] } else { &[] };
            records.push(callsite(id, Kind::Span, category, name, fields));
        }
        records.extend([
            callsite(IRQ, Kind::Span, "irq", "irq.timer", &[]),
            callsite(COUNTER, Kind::Counter, "heap", "heap.live", &[field("bytes", FieldType::U64, Unit::Bytes)]),
            callsite(INSTANT, Kind::Instant, "dns", "dns.miss", &[field("port", FieldType::Small, Unit::None)]),
            callsite(
                SPAWN,
                Kind::Spawn,
                "task",
                "task.spawn",
                &[task("task"), field("name", FieldType::Name, Unit::None), task("parent")],
            ),
            callsite(READY, Kind::Ready, "task", "task.ready", &[task("task")]),
            callsite(POLL, Kind::Poll, "task", "task.poll", &[task("task")]),
            callsite(PENDING, Kind::Pending, "task", "task.pending", &[task("task")]),
            callsite(SWITCH, Kind::Switch, "task", "task.switch", &[task("task")]),
            callsite(NAME, Kind::Name, "name", "worker", &[]),
        ]);
        // Writing to a string cannot fail.
        let _ = metadata::write_preamble(&mut text, UUID, &CLOCK);
        for record in &records {
            let _ = metadata::write_record(&mut text, record);
        }
        text
    }

    /// Hands the packets on one by one, until `sink` says `false`.
    pub fn packets(&self, mut sink: impl FnMut(&[u8]) -> bool) {
        let mut random = Random::new(self.seed);
        let tasks = self.tasks.clamp(1, 0x7fff);
        let stream = StreamWriter::new(0, self.packet_bytes);
        let mut out = Writer { stream, ticks: CLOCK.anchor_ticks, sink: &mut sink, stopped: false };
        let mut stacks = vec![Vec::new(); usize::from(tasks)];
        for task in 1..=tasks {
            out.ticks += 300;
            out.event(EventId::begin(SPAWN), task, &[u64::from(NAME), 0]);
            out.event(EventId::begin(READY), task, &[]);
        }
        let (mut left, mut running) = (self.spans, false);
        while left > 0 && !out.stopped {
            let index = random.below(u64::from(tasks));
            let (Ok(task), Some(stack)) =
                (u16::try_from(index + 1), stacks.get_mut(usize::try_from(index).unwrap_or(0)))
            else {
                continue;
            };
            out.ticks += 50 + random.below(200);
            if running {
                out.event(EventId::begin(SWITCH), task, &[]);
            } else {
                out.event(EventId::begin(READY), task, &[]);
                out.event(EventId::begin(POLL), task, &[]);
            }
            poll(&mut out, &mut random, stack, &mut left);
            // Mostly the next task runs at once; now and then the guest sleeps.
            running = random.below(4) != 0;
            if !running {
                out.event(EventId::begin(PENDING), task, &[]);
                let sleep = 1 << random.below(20);
                out.ticks += random.below(sleep);
            }
        }
        let Writer { stream, sink, .. } = &mut out;
        stream.seal(&mut |packet| {
            sink(packet);
        });
    }

    /// Writes a trace directory.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_directory(&self, path: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(path)?;
        std::fs::write(path.join("metadata"), self.metadata())?;
        let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path.join("stream_0"))?);
        let mut result = Ok(());
        self.packets(|packet| {
            result = file.write_all(packet);
            result.is_ok()
        });
        result.and_then(|()| file.flush())
    }
}

/// What one task does in one poll.
fn poll<F: FnMut(&[u8]) -> bool>(out: &mut Writer<'_, F>, random: &mut Random, stack: &mut Vec<u16>, left: &mut u64) {
    for _ in 0..4 + random.below(24) {
        out.ticks += 40 + random.below(400);
        match random.below(32) {
            0..15 if stack.len() < MAX_DEPTH && *left > 0 => {
                let id = SPAN + u16::try_from(random.below(SPANS.len() as u64)).unwrap_or(0);
                let bytes = [random.below(1500)];
                out.event(EventId::begin(id), 0, if id.is_multiple_of(3) { &bytes } else { &[] });
                stack.push(id);
                *left -= 1;
            }
            29 => {
                let bytes = [1_000_000 + random.below(100_000)];
                out.event(EventId::begin(COUNTER), 0, &bytes);
            }
            30 => out.event(EventId::begin(INSTANT), 53, &[]),
            31 if *left > 0 => {
                out.event(EventId::begin(IRQ), 0, &[]);
                out.ticks += 20 + random.below(50);
                out.event(EventId::end(IRQ), 0, &[]);
                *left -= 1;
            }
            _ => {
                if let Some(id) = stack.pop() {
                    out.event(EventId::end(id), 0, &[]);
                }
            }
        }
    }
    // At most two spans are held across the pause.
    while stack.len() > usize::try_from(random.below(3)).unwrap_or(0) {
        out.ticks += 30 + random.below(100);
        if let Some(id) = stack.pop() {
            out.event(EventId::end(id), 0, &[]);
        }
    }
}
