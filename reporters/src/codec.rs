//! An item as bytes, for as long as it waits in a queue of this process.
//!
//! Invariant: what was encoded is decoded to an equal item, except that a text longer than the limit was cut, and says by how
//! much. The bytes never leave the process: there is one version, and nobody else's.
//!
//! ```text
//! length u32 | kind u8 | level u8 | epoch u8 | marks u8 | order u64 | nanos i64 || body
//! ```

use std::vec::Vec;

use fata_wire::field::Level;

use crate::loss::{Cause, Counts, Loss};
use crate::record::{Field, Record, Span, Value};
use crate::reporter::Item;
use crate::time::{Epoch, Time};

/// Length of [`Head`] in bytes.
pub(crate) const HEAD_BYTES: usize = 24;

const RECORD: u8 = 1;
const LOSS: u8 = 2;
const LATE: u8 = 1;
const HISTORY: u8 = 2;

/// What a queue needs to know of an entry without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) len: usize,
    pub(crate) is_loss: bool,
    pub(crate) level: Level,
    pub(crate) order: u64,
    pub(crate) time: Time,
    marks: u8,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        let len = bytes.u32()? as usize;
        let [kind, level, epoch, marks] = bytes.array()?;
        Some(Head {
            len,
            is_loss: kind == LOSS,
            level: Level::from_u8(level)?,
            marks,
            order: bytes.u64()?,
            time: Time {
                nanos: bytes.u64()?.cast_signed(),
                epoch: if epoch == 0 { Epoch::Unix } else { Epoch::Start },
            },
        })
    }
}

/// What an item of this length takes at most when it is taken apart: a field needs 13 bytes at least, its place in a list that
/// grows by doubling 40.
pub(crate) const fn decoded_bytes(item_bytes: usize) -> usize {
    2 * item_bytes / 13 * size_of::<Field<'_>>()
}

/// Length of an encoded loss whose place and guest have no letters.
pub(crate) const LOSS_BYTES: usize = HEAD_BYTES + 3 + 9 * 8 + 2 * 4;

/// How long an entry may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// All of it.
    pub(crate) item: usize,
    /// Each text; the rest is cut off.
    pub(crate) text: usize,
}

/// Replaces `out` by the bytes of `item`; `false` where they would be longer than the limit.
pub(crate) fn encode(out: &mut Vec<u8>, item: &Item<'_>, order: u64, limits: Limits) -> bool {
    out.clear();
    let (kind, marks) = match item {
        Item::Record(record) => (RECORD, (u8::from(record.late) * LATE) | (u8::from(record.history) * HISTORY)),
        Item::Loss(_) => (LOSS, 0),
    };
    let time = item.time();
    out.extend([0; 4]);
    out.extend([kind, item.level() as u8, u8::from(time.epoch == Epoch::Start), marks]);
    out.extend(order.to_le_bytes());
    out.extend(time.nanos.to_le_bytes());
    let mut writer = Writer { out, limits, fits: true };
    match item {
        Item::Record(record) => writer.record(record),
        Item::Loss(loss) => writer.loss(loss),
    }
    if !writer.fits {
        return false;
    }
    let len = u32::try_from(out.len()).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = out.first_chunk_mut() {
        *place = len;
    }
    true
}

/// The same within `bytes`: where a long text is too much it is cut at a quarter, where many are, each so that four dozen fit.
pub(crate) fn encode_within(out: &mut Vec<u8>, item: &Item<'_>, order: u64, bytes: usize) -> bool {
    [bytes / 4, bytes / 128].into_iter().any(|text| encode(out, item, order, Limits { item: bytes, text }))
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    limits: Limits,
    fits: bool,
}

impl Writer<'_> {
    /// Every byte of the body passes here, so that no item, however long, makes the buffer grow beyond the limit.
    fn put(&mut self, bytes: &[u8]) {
        self.fits &= self.out.len() + bytes.len() <= self.limits.item;
        if self.fits {
            self.out.extend_from_slice(bytes);
        }
    }

    fn count(&mut self, count: usize) {
        self.put(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.put(bytes);
    }

    fn name(&mut self, name: &str) {
        self.bytes(name.get(..name.floor_char_boundary(self.limits.text)).unwrap_or(name).as_bytes());
    }

    /// A text that is too long keeps its beginning, and says how long it was.
    fn text(&mut self, text: &[u8]) {
        let Some(kept) = text.get(..self.limits.text).filter(|_| text.len() > self.limits.text) else {
            return self.bytes(text);
        };
        let mark = std::format!("… (cut: {} bytes)", text.len());
        self.count(kept.len() + mark.len());
        self.put(kept);
        self.put(mark.as_bytes());
    }

    fn fields(&mut self, fields: &[Field<'_>]) {
        self.count(fields.len());
        for field in fields {
            self.name(field.name);
            let (tag, word) = match field.value {
                Value::U64(value) => (0, value),
                Value::I64(value) => (1, value.cast_unsigned()),
                Value::F64(value) => (2, value.to_bits()),
                Value::Bool(value) => (3, u64::from(value)),
                Value::Str(text) => {
                    self.put(&[4]);
                    self.text(text);
                    continue;
                }
            };
            self.put(&[tag]);
            self.put(&word.to_le_bytes());
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        self.put(&record.sequence.to_le_bytes());
        self.put(&record.stream.to_le_bytes());
        self.put(&record.line.to_le_bytes());
        for text in [record.guest, record.task, record.target, record.name, record.file] {
            self.name(text);
        }
        self.fields(record.fields);
        self.count(record.spans.len());
        for span in record.spans {
            self.name(span.name);
            self.fields(span.fields);
        }
    }

    fn loss(&mut self, loss: &Loss<'_>) {
        let known = u8::from(loss.bytes.is_some()) + u8::from(loss.is_about);
        self.put(&[loss.cause.number(), u8::from(loss.last.epoch == Epoch::Start), known]);
        for count in loss.counts.by_level {
            self.put(&count.to_le_bytes());
        }
        for number in [loss.counts.unknown, loss.bytes.unwrap_or(0), loss.last.nanos.cast_unsigned()] {
            self.put(&number.to_le_bytes());
        }
        self.name(loss.place);
        self.name(loss.guest);
    }
}

/// Lends the item in `bytes` to `with`; `None` where these are not the bytes of an item.
pub(crate) fn decode<T>(bytes: &[u8], with: impl FnOnce(&Item<'_>) -> T) -> Option<T> {
    let head = Head::parse(bytes)?;
    let mut bytes = Bytes(bytes.get(HEAD_BYTES..)?);
    if head.is_loss {
        return Some(with(&Item::Loss(loss(&mut bytes, head.time)?)));
    }
    let (sequence, stream, line) = (bytes.u64()?, bytes.u32()?, bytes.u32()?);
    let (guest, task, target, name, file) = (bytes.text()?, bytes.text()?, bytes.text()?, bytes.text()?, bytes.text()?);
    let fields = fields(&mut bytes)?;
    let count = bytes.u32()?;
    let mut parts = Vec::new();
    for _ in 0..count {
        parts.push((bytes.text()?, self::fields(&mut bytes)?));
    }
    let spans: Vec<_> = parts.iter().map(|(name, fields)| Span { name, fields }).collect();
    let record = Record {
        time: head.time,
        sequence,
        level: head.level,
        guest,
        stream,
        task,
        target,
        name,
        file,
        line,
        spans: &spans,
        fields: &fields,
        late: head.marks & LATE != 0,
        history: head.marks & HISTORY != 0,
    };
    Some(with(&Item::Record(record)))
}

fn fields<'a>(bytes: &mut Bytes<'a>) -> Option<Vec<Field<'a>>> {
    let count = bytes.u32()?;
    let mut fields = Vec::new();
    for _ in 0..count {
        let name = bytes.text()?;
        let value = match bytes.array::<1>()? {
            [0] => Value::U64(bytes.u64()?),
            [1] => Value::I64(bytes.u64()?.cast_signed()),
            [2] => Value::F64(f64::from_bits(bytes.u64()?)),
            [3] => Value::Bool(bytes.u64()? != 0),
            [4] => Value::Str(bytes.bytes()?),
            _ => return None,
        };
        fields.push(Field { name, value });
    }
    Some(fields)
}

fn loss<'a>(bytes: &mut Bytes<'a>, first: Time) -> Option<Loss<'a>> {
    let [cause, epoch, known] = bytes.array()?;
    let mut counts = Counts::default();
    for count in &mut counts.by_level {
        *count = bytes.u64()?;
    }
    counts.unknown = bytes.u64()?;
    Some(Loss {
        cause: *Cause::ALL.get(usize::from(cause))?,
        counts,
        bytes: Some(bytes.u64()?).filter(|_| known != 0),
        is_about: known == 2,
        first,
        last: Time { nanos: bytes.u64()?.cast_signed(), epoch: if epoch == 0 { Epoch::Unix } else { Epoch::Start } },
        place: bytes.text()?,
        guest: bytes.text()?,
    })
}

/// Bytes that are read from the front; each reading is `None` where they end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(item: &Item<'_>, text: usize, check: impl FnOnce(&Item<'_>)) {
        let mut bytes = Vec::new();
        assert!(encode(&mut bytes, item, 7, Limits { item: 10_000, text }));
        let head = Head::parse(&bytes).unwrap();
        assert_eq!((head.len, head.order, head.time, head.level), (bytes.len(), 7, item.time(), item.level()));
        decode(&bytes, check).unwrap();
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end], |_| ()).is_none(), "{end} of {}", bytes.len());
        }
    }

    #[test]
    fn every_part_of_a_record_and_of_a_loss_comes_back() {
        let fields = [
            Field { name: "message", value: Value::Str(b"broken \xff") },
            Field { name: "u", value: Value::U64(u64::MAX) },
            Field { name: "i", value: Value::I64(i64::MIN) },
            Field { name: "f", value: Value::F64(-0.5) },
            Field { name: "b", value: Value::Bool(true) },
        ];
        let spans = [Span { name: "outer", fields: &fields[1..3] }, Span { name: "inner", fields: &[] }];
        let record = Record {
            time: Time::since_start(-3),
            sequence: 9,
            level: Level::Trace,
            guest: "g",
            stream: 3,
            task: "t",
            target: "net",
            name: "n",
            file: "src/x.rs",
            line: 42,
            spans: &spans,
            fields: &fields,
            late: true,
            history: false,
        };
        let item = Item::Record(record);
        round_trip(&item, 100, |read| assert_eq!(*read, item));
        let mut loss = Loss { guest: "g", ..Loss::new(Cause::Nested, "somewhere", Time::wall(5)) };
        loss.add(Level::App, 3, Time::wall(8));
        loss.counts.unknown = 4;
        for loss in [loss, Loss { bytes: None, ..loss }, Loss { is_about: true, ..loss }] {
            let item = Item::Loss(loss);
            round_trip(&item, 100, |read| assert_eq!(*read, item));
        }
    }

    #[test]
    fn a_loss_is_as_long_as_its_constant_says() {
        let mut bytes = Vec::new();
        let loss = Loss { guest: "five!", ..Loss::new(Cause::Full, "eight...", Time::wall(0)) };
        assert!(encode(&mut bytes, &Item::Loss(loss), 0, Limits { item: LOSS_BYTES + 13, text: 64 }));
        assert_eq!(bytes.len(), LOSS_BYTES + 13);
    }

    #[test]
    fn an_item_beyond_the_limit_is_refused_and_the_buffer_does_not_grow_beyond_it() {
        let fields = [Field { name: "message", value: Value::Str(&[b'x'; 100]) }; 100];
        let mut bytes = Vec::new();
        let limits = Limits { item: 1000, text: 200 };
        assert!(!encode(&mut bytes, &Item::Record(Record { fields: &fields, ..Record::BLANK }), 0, limits));
        assert!(bytes.len() <= 1000);
    }

    #[test]
    fn a_text_of_a_megabyte_keeps_its_beginning_and_says_how_long_it_was() {
        let text = std::vec![b'x'; 1 << 20];
        let fields = [Field { name: "message", value: Value::Str(&text) }];
        round_trip(&Item::Record(Record { fields: &fields, ..Record::BLANK }), 10, |read| {
            let Item::Record(record) = read else { panic!("a loss") };
            assert_eq!(record.message(), Some("xxxxxxxxxx… (cut: 1048576 bytes)".as_bytes()));
        });
    }
}
