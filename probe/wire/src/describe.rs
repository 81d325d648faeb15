//! The description area: records that say what the numbers in events mean. Append-only and bounded.
//!
//! When it is full, no further record is taken and the guest counts the refusal: events of such a name still count, they
//! are shown by number. A record, once written, never changes, so a reader decodes each byte once.
//!
//! ```text
//! record:   u32 length in bytes (a multiple of 8, all included) | u8 tag | 3 × 0 | body | 0 to 7 × 0
//! callsite: u16 id | u8 kind | u8 level | u32 line | text category | text name | text file | u8 n | n × (u8 type, u8 unit, text)
//! name:     u16 id | text
//! env:      text key | text value
//! text:     u16 length in bytes | UTF-8
//! ```

use crate::field::{Field, FieldType, Fields, Kind, Level, Unit};
use crate::{u16_at, u32_at};

/// No record is longer.
pub const MAX_RECORD_BYTES: usize = 1024;
/// No text in a record is longer; writers cut.
pub const MAX_TEXT_BYTES: usize = 120;

/// What one record says.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "no_std: there is no box, and a record lives only while it is passed on")]
pub enum Record<'a> {
    /// A callsite.
    Callsite(Callsite<'a>),
    /// A text that [`FieldType::Name`] fields refer to, made at run time; ids from 4096.
    Name {
        /// The number.
        id: u16,
        /// The text.
        text: &'a str,
    },
    /// A fact about the guest, such as its build.
    Env {
        /// What the fact is about.
        key: &'a str,
        /// The fact.
        value: &'a str,
    },
}

/// The static description of an instrumentation point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Callsite<'a> {
    /// Its number in event ids.
    pub id: u16,
    /// What its events mean.
    pub kind: Kind,
    /// How much they matter.
    pub level: Level,
    /// Line in `file`.
    pub line: u32,
    /// The word before the first dot of the name, unless the callsite says otherwise.
    pub category: &'a str,
    /// The event's name.
    pub name: &'a str,
    /// The source file.
    pub file: &'a str,
    /// The fields of its events.
    pub fields: Fields<'a>,
}

/// Why the description area cannot be read further. What came before holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescribeError {
    /// The record is longer than what is there.
    Incomplete,
    /// A length, number or text that no writer makes.
    Malformed,
}

impl core::error::Error for DescribeError {}

impl core::fmt::Display for DescribeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            DescribeError::Incomplete => "the description area ends within a record",
            DescribeError::Malformed => {
                "the description area holds a record that is none: the guest's memory is damaged"
            }
        })
    }
}

const TAG_CALLSITE: u8 = 1;
const TAG_NAME: u8 = 2;
const TAG_ENV: u8 = 3;

impl Record<'_> {
    /// Encodes the record into `buffer` and returns its length; texts are cut at [`MAX_TEXT_BYTES`].
    #[must_use]
    pub fn encode(&self, buffer: &mut [u8; MAX_RECORD_BYTES]) -> usize {
        let mut out = Encoder { buffer, at: 8 };
        let tag = match self {
            Record::Callsite(callsite) => {
                out.bytes(&callsite.id.to_le_bytes());
                out.bytes(&[callsite.kind as u8, callsite.level as u8]);
                out.bytes(&callsite.line.to_le_bytes());
                out.text(callsite.category);
                out.text(callsite.name);
                out.text_end(callsite.file);
                let fields = callsite.fields.as_slice();
                out.bytes(&[u8::try_from(fields.len()).unwrap_or(0)]);
                for field in fields {
                    out.bytes(&[field.ty as u8, field.unit as u8]);
                    // Twelve fields of 40 bytes and three texts of 120 stay below MAX_RECORD_BYTES.
                    out.text_max(field.name, 38);
                }
                TAG_CALLSITE
            }
            Record::Name { id, text } => {
                out.bytes(&id.to_le_bytes());
                out.text(text);
                TAG_NAME
            }
            Record::Env { key, value } => {
                out.text(key);
                out.text(value);
                TAG_ENV
            }
        };
        let len = out.at.next_multiple_of(8).min(MAX_RECORD_BYTES);
        let used = out.at;
        buffer[used..len].fill(0);
        buffer[..4].copy_from_slice(&u32::try_from(len).unwrap_or(0).to_le_bytes());
        buffer[4..8].copy_from_slice(&[tag, 0, 0, 0]);
        len
    }
}

struct Encoder<'b> {
    buffer: &'b mut [u8; MAX_RECORD_BYTES],
    at: usize,
}

impl Encoder<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(space) = self.buffer.get_mut(self.at..self.at + bytes.len()) {
            space.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    fn text(&mut self, text: &str) {
        self.text_max(text, MAX_TEXT_BYTES);
    }

    fn text_max(&mut self, text: &str, max: usize) {
        let text = &text[..text.floor_char_boundary(max)];
        self.bytes(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    /// Keeps the end of a text that is too long: of a path, the file's name matters most.
    fn text_end(&mut self, text: &str) {
        self.text(&text[text.ceil_char_boundary(text.len().saturating_sub(MAX_TEXT_BYTES))..]);
    }
}

/// The records at the start of `bytes`, with an error at the first that is none.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Reads from the start of `bytes`, a copy of the description area up to its `used` length.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Records { bytes, at: 0 }
    }

    /// How many bytes hold whole, good records so far.
    #[must_use]
    pub const fn consumed_bytes(&self) -> usize {
        self.at
    }

    fn decode(&self) -> Result<(Record<'a>, usize), DescribeError> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        if rest.len() < 8 {
            return Err(DescribeError::Incomplete);
        }
        let len = u32_at(rest, 0) as usize;
        if !(16..=MAX_RECORD_BYTES).contains(&len) || !len.is_multiple_of(8) {
            return Err(DescribeError::Malformed);
        }
        let record = rest.get(..len).ok_or(DescribeError::Incomplete)?;
        let mut body = Decoder { rest: record.get(8..).unwrap_or(&[]) };
        let record = match record[4] {
            TAG_CALLSITE => body.callsite(),
            TAG_NAME => body.u16().and_then(|id| Some(Record::Name { id, text: body.text()? })),
            TAG_ENV => body.text().and_then(|key| Some(Record::Env { key, value: body.text()? })),
            _ => None,
        };
        record.map(|record| (record, len)).ok_or(DescribeError::Malformed)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DescribeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        Some(match self.decode() {
            Ok((record, len)) => {
                self.at += len;
                Ok(record)
            }
            Err(error) => {
                // Nothing after a bad record can be found; `consumed_bytes` still says where it began.
                self.bytes = self.bytes.get(..self.at).unwrap_or(&[]);
                Err(error)
            }
        })
    }
}

struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16_at(bytes, 0))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u16()?);
        if len > MAX_TEXT_BYTES {
            return None;
        }
        core::str::from_utf8(self.take(len)?).ok()
    }

    fn callsite(&mut self) -> Option<Record<'a>> {
        let id = self.u16()?;
        let kind = Kind::from_u8(self.u8()?)?;
        let level = Level::from_u8(self.u8()?)?;
        let line = u32_at(self.take(4)?, 0);
        let (category, name, file) = (self.text()?, self.text()?, self.text()?);
        let count = usize::from(self.u8()?);
        if count > crate::field::MAX_FIELDS || id >= crate::event::MAX_CALLSITES {
            return None;
        }
        let mut fields = Fields::EMPTY;
        for _ in 0..count {
            let ty = FieldType::from_u8(self.u8()?)?;
            let unit = Unit::from_u8(self.u8()?)?;
            fields.push(Field { name: self.text()?, ty, unit });
        }
        Some(Record::Callsite(Callsite { id, kind, level, line, category, name, file, fields }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    pub(crate) fn callsite() -> Record<'static> {
        Record::Callsite(Callsite {
            id: 9,
            kind: Kind::Span,
            level: Level::Info,
            line: 42,
            category: "net",
            name: "net.rx",
            file: "src/net.rs",
            fields: Fields::new(&[Field { name: "bytes", ty: FieldType::U64, unit: Unit::Bytes }]),
        })
    }

    fn area(records: &[Record<'_>]) -> Vec<u8> {
        let mut area = Vec::new();
        for record in records {
            let mut buffer = [0; MAX_RECORD_BYTES];
            let len = record.encode(&mut buffer);
            area.extend_from_slice(&buffer[..len]);
        }
        area
    }

    #[test]
    fn records_survive_their_bytes() {
        let records =
            [callsite(), Record::Name { id: 4096, text: "conn-17" }, Record::Env { key: "build", value: "release" }];
        let area = area(&records);
        let decoded: Vec<_> = Records::new(&area).map(Result::unwrap).collect();
        assert_eq!(decoded, records);
    }

    #[test]
    fn every_truncation_keeps_the_records_before_it() {
        let area = area(&[callsite(), callsite()]);
        for len in 0..area.len() {
            let mut records = Records::new(&area[..len]);
            let good = records.by_ref().take_while(Result::is_ok).count();
            assert_eq!(good, usize::from(len >= area.len() / 2));
            assert_eq!(records.consumed_bytes(), good * area.len() / 2);
        }
    }

    #[test]
    fn the_longest_callsite_fits_a_record() {
        let long = "x".repeat(500);
        let field = Field { name: &long, ty: FieldType::Str, unit: Unit::None };
        let record = Record::Callsite(Callsite {
            id: 1,
            kind: Kind::Log,
            level: Level::Warn,
            line: 1,
            category: &long,
            name: &long,
            file: &long,
            fields: Fields::new(&[field; crate::field::MAX_FIELDS]),
        });
        let area = area(&[record]);
        let Some(Ok(Record::Callsite(decoded))) = Records::new(&area).next() else { panic!("not decoded") };
        assert_eq!(decoded.fields.as_slice().len(), crate::field::MAX_FIELDS);
        assert_eq!(decoded.name.len(), MAX_TEXT_BYTES);
    }

    #[test]
    fn a_record_of_unknown_numbers_is_malformed() {
        let mut area = area(&[callsite()]);
        area[10] = 99; // kind
        assert_eq!(Records::new(&area).next(), Some(Err(DescribeError::Malformed)));
    }
}
