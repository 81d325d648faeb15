//! What a hostile guest does, a step at a time.

use fata_wire::describe::{Callsite, MAX_RECORD_BYTES, Record};
use fata_wire::event::{EventId, FIRST_CALLSITE, Header, MAX_CALLSITES};
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, MAX_FIELDS, Unit};
use fata_wire::packet::{HEADER_BYTES, at as packet_at};
use fata_wire::shared::{State, at};

use super::memory::{Memory, Random};

/// One step of an attack.
pub(super) type Attack = fn(&Memory, &mut Random);

pub(super) fn committed(random: &mut Random) -> u64 {
    let id = EventId(random.next() as u16 & 0x1fff);
    Header { ticks_low: random.next() as u32, id, busy: false, words: random.next() as u8 & 7, arg: 0 }.pack()
}

pub(super) fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut buffer = [0; MAX_RECORD_BYTES];
    let len = record.encode(&mut buffer);
    buffer[..len].to_vec()
}

/// Each has a name that a failure shows.
pub(super) const ATTACKS: &[(&str, Attack)] = &[
    ("noise anywhere", |memory, random| {
        for _ in 0..64 {
            memory.put(random.below(memory.geometry.total_bytes), random.edge());
        }
    }),
    ("noise in headers", |memory, random| {
        let packet = memory.geometry.packet_offset(0, random.next());
        memory.put(packet + random.below(HEADER_BYTES as u64), random.edge());
        memory.put(random.below(at::STREAMS as u64 + 64), random.edge());
    }),
    ("packets of noise", |memory, random| {
        let number = memory.youngest() + 1;
        let words = random.below(u64::from(memory.geometry.packet_bytes) / 8 - HEADER_BYTES as u64 / 8);
        let content: Vec<_> =
            (0..words).map(|_| if random.below(3) == 0 { random.edge() } else { committed(random) }).collect();
        memory.publish(number, number * 10, &content);
    }),
    ("lengths that grow after they were checked", |memory, random| {
        let number = memory.youngest() + 1;
        memory.publish(number, number * 10, &[committed(random); 10]);
        let packet = memory.geometry.packet_offset(0, number);
        for _ in 0..200 {
            memory.put(packet + packet_at::CONTENT_SIZE as u64, random.edge());
            memory.put(packet + packet_at::PACKET_SIZE as u64, random.edge());
            memory.put(packet + packet_at::CONTENT_SIZE as u64, (HEADER_BYTES as u64 + 80) * 8);
            memory.put(packet + packet_at::PACKET_SIZE as u64, u64::from(memory.geometry.packet_bytes) * 8);
        }
    }),
    ("event lengths that grow after they were checked", |memory, random| {
        let number = memory.youngest() + 1;
        let long = Header { ticks_low: 0, id: EventId::begin(FIRST_CALLSITE), busy: false, words: 7, arg: 0 }.pack();
        memory.publish(number, number * 10, &[long, 2, 0, long, 2, 0]);
        let length = memory.geometry.packet_offset(0, number) + HEADER_BYTES as u64 + 8;
        for _ in 0..200 {
            memory.put(length, random.edge());
            memory.put(length, 2);
        }
    }),
    ("indices that run backwards", |memory, random| {
        for _ in 0..32 {
            memory.put(
                memory.entry(at::STREAM_LOCK),
                memory.get(memory.entry(at::STREAM_LOCK)).wrapping_sub(random.below(9)),
            );
            memory.put(memory.entry(at::STREAM_EVENTS_BEFORE), random.edge());
        }
        if random.below(4) == 0 {
            memory.put(memory.entry(at::STREAM_LOCK), random.edge());
        }
    }),
    ("sequence numbers that jump", |memory, random| {
        let number = match random.below(4) {
            0 => memory.youngest() + random.below(1 << 30),
            1 => random.edge() / 2,
            _ => memory.youngest() + random.below(3),
        };
        memory.publish(number.min(u64::MAX / 2 - 1), random.edge(), &[committed(random); 4]);
    }),
    ("a busy bit for ever", |memory, random| {
        let number = memory.youngest() + 1;
        let busy =
            Header { ticks_low: 0, id: EventId::begin(9), busy: true, words: 0, arg: random.next() as u16 & 0x7fff };
        memory.publish(number, number * 3, &[busy.pack(), 0, 0, committed(random)]);
        memory.put(memory.geometry.packet_offset(0, number) + packet_at::LOCK as u64, 2 * number + 1);
        memory.put(memory.entry(at::STREAM_LOCK), 2 * number + 1);
    }),
    ("callsite tables that change", |memory, random| {
        let start = memory.geometry.description_offset;
        for _ in 0..32 {
            memory.put(start + random.below(memory.geometry.description_capacity), random.edge());
        }
        memory.put(at::DESCRIPTION_USED as u64, random.edge());
    }),
    ("names without end", |memory, random| {
        let first = random.next() as u16;
        let text = "*".repeat(random.below(120) as usize);
        memory.describe((0..u16::MAX).map(|i| encoded(&Record::Name { id: first.wrapping_add(i), text: &text })));
    }),
    ("the longest callsites", |memory, _| {
        let text = "*".repeat(120);
        let fields = Fields::new(&[Field { name: &text[..38], ty: FieldType::Str, unit: Unit::Percent }; MAX_FIELDS]);
        let (line, kind, level) = (u32::MAX, Kind::Span, Level::App);
        memory.describe((0..MAX_CALLSITES).map(|id| {
            encoded(&Record::Callsite(Callsite {
                id,
                kind,
                level,
                line,
                category: &text,
                name: &text,
                file: &text,
                fields,
            }))
        }));
    }),
    ("the shortest names", |memory, _| {
        memory.describe((0..u16::MAX).map(|id| encoded(&Record::Name { id, text: "" })));
    }),
    ("facts without end", |memory, random| {
        let value = random.next().to_string();
        memory.describe((0..u16::MAX).map(|_| encoded(&Record::Env { key: "k", value: &value })));
    }),
    ("counters that run backwards", |memory, random| {
        for i in 0..5 {
            memory.put(memory.entry(at::STREAM_DISCARDED) + i * 8, random.edge());
        }
        let number = memory.youngest() + 1;
        memory.publish(number, random.edge(), &[committed(random)]);
        let packet = memory.geometry.packet_offset(0, number);
        memory.put(packet + packet_at::EVENTS as u64, random.edge());
        memory.put(packet + packet_at::DISCARDED as u64, random.edge());
    }),
    ("clocks that lie", |memory, random| {
        memory.put(at::CLOCK_HZ as u64, random.edge());
        memory.put(at::ANCHOR_TICKS as u64, random.edge());
        memory.put(at::ANCHOR_UNIX_NANOS as u64, random.edge());
        let number = memory.youngest() + 1;
        let clock = Header { ticks_low: 0, id: EventId::begin(2), busy: false, words: 1, arg: 0 }.pack();
        memory.publish(number, number * 3, &[clock, random.edge(), clock, random.edge()]);
        let packet = memory.geometry.packet_offset(0, number);
        memory.put(packet + packet_at::TIMESTAMP_BEGIN as u64, random.edge());
        memory.put(packet + packet_at::TIMESTAMP_END as u64, random.edge());
    }),
    ("a geometry that changes after it was checked", |memory, random| {
        for field in [at::TOTAL_BYTES, at::DESCRIPTION_OFFSET, at::DESCRIPTION_CAPACITY, at::CONTROL_OFFSET] {
            memory.put(field as u64, random.edge());
        }
        memory.put(at::STREAMS_OFFSET as u64, random.edge());
        memory.put(at::STREAM_COUNT as u64, random.edge());
        memory.put(at::PACKET_BYTES as u64, random.edge());
    }),
    ("a guest that ends and does not", |memory, random| {
        let state = [State::Running, State::Exited, State::Panicked, State::Absent][random.below(4) as usize];
        memory.put(at::PLATFORM as u64, 1 | u64::from(state as u32) << 32);
        memory.put(at::MESSAGE as u64 + random.below(512), random.next());
        let number = memory.youngest() + 1;
        memory.publish(number, number * 3, &[committed(random); 3]);
    }),
];
