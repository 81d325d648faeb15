//! A record as the fields and words of an event.
//!
//! Invariant: an event is at most [`MAX_PAYLOAD_WORDS`] long and has at most [`MAX_FIELDS`] fields: texts that are too long are
//! cut and end with a mark; fields beyond are one text, `fata.more`.

use core::fmt::Write as _;
use std::string::String;
use std::vec::Vec;

use fata_wire::event::MAX_PAYLOAD_WORDS;
use fata_wire::field::{self, FieldType, Fields, MAX_FIELDS, Place, Unit};
use fata_wire::log::{CUT, MORE, SEQ};
use fata_wire::packet;

use crate::loss::Cause;
use crate::record::{Record, Value};
use crate::reporter::ReportError;

/// A callsite's texts and names of fields are cut at this together, where they are compared.
pub(super) const MAX_KEY_BYTES: usize = 1024;

/// What tells one callsite from another.
pub(super) fn key(record: &Record<'_>, fields: &Fields<'_>) -> Vec<u8> {
    let mut key = std::vec![record.level as u8];
    key.extend(record.line.to_le_bytes());
    for text in [record.target, record.name, record.file] {
        key.extend_from_slice(text.as_bytes());
        key.push(0);
    }
    for field in fields.as_slice() {
        key.push(field.ty as u8);
        key.extend_from_slice(field.name.as_bytes());
        key.push(0);
    }
    key.truncate(MAX_KEY_BYTES);
    key.shrink_to_fit();
    key
}

/// The ring's word for a cause.
pub(super) const fn cause(cause: Cause) -> packet::Cause {
    match cause {
        Cause::Overwritten => packet::Cause::Overwritten,
        Cause::TooBig => packet::Cause::TooBig,
        Cause::Nested => packet::Cause::Nested,
        Cause::Damaged => packet::Cause::Refused,
        Cause::Full
        | Cause::Limited
        | Cause::Failed
        | Cause::Stuck
        | Cause::Closed
        | Cause::Various
        | Cause::Undescribed => packet::Cause::Full,
    }
}

/// Gives fields, narrow value and payload of `record`, which is number `number` of its level, to `with`. `home` is the guest
/// that needs no mention; `late` the time it was made at, where the event cannot have it as its own.
pub(super) fn event(
    record: &Record<'_>,
    home: &str,
    late: Option<u64>,
    number: u64,
    with: impl FnOnce(&Fields<'_>, u16, &[u64]) -> Result<(), ReportError>,
) -> Result<(), ReportError> {
    let spans = record.spans.iter().fold(String::new(), |mut spans, span| {
        // A `String` takes everything.
        let _ = write!(spans, "{}{span}", if spans.is_empty() { "" } else { ":" });
        spans
    });
    let mut list = std::vec![(SEQ, Value::U64(number))];
    let texts = [
        ("fata.guest", if record.guest == home { "" } else { record.guest }),
        ("fata.task_name", record.task),
        ("fata.in", spans.as_str()),
    ];
    for (name, text) in texts {
        if !text.is_empty() {
            list.push((name, Value::Str(text.as_bytes())));
        }
    }
    list.extend(late.map(|made| ("fata.made_ns", Value::U64(made))));
    list.extend(record.history.then_some(("fata.history", Value::Bool(true))));
    // A name that is there already, and what finds no place, become words.
    let mut more = String::new();
    for (i, field) in record.fields.iter().enumerate() {
        let again = list.iter().any(|(name, _)| *name == field.name);
        let last = list.len() + 1 == MAX_FIELDS && (i + 1 < record.fields.len() || !more.is_empty());
        if again || last || list.len() == MAX_FIELDS {
            let _ = write!(more, "{}{field}", if more.is_empty() { "" } else { " " });
        } else {
            list.push((field.name, field.value));
        }
    }
    if !more.is_empty() {
        list.truncate(MAX_FIELDS - 1);
        list.push((MORE, Value::Str(more.as_bytes())));
    }
    let mut fields = Fields::EMPTY;
    for (name, value) in &list {
        fields.push(field::Field { name, ty: type_of(*value), unit: Unit::None });
    }
    // The payload begins with its length; each text gets an equal part of what is left.
    let texts = list.iter().filter(|(_, value)| matches!(value, Value::Str(_))).count();
    let text_words = (MAX_PAYLOAD_WORDS - 1 - list.len()) / texts.max(1);
    let (mut arg, mut words) = (0, std::vec![0]);
    for ((_, place), (_, value)) in fields.places().zip(&list) {
        match (*value, place) {
            (Value::Bool(value), Place::Arg) => arg = u16::from(value),
            (Value::Bool(value), Place::Payload) => words.push(u64::from(value)),
            (Value::U64(value), _) => words.push(value),
            (Value::I64(value), _) => words.push(value.cast_unsigned()),
            (Value::F64(value), _) => words.push(value.to_bits()),
            (Value::Str(text), _) => put_text(&mut words, text, text_words),
        }
    }
    if fields.is_extended() {
        words[0] = words.len() as u64;
    } else {
        words.remove(0);
    }
    with(&fields, arg, &words)
}

fn put_text(words: &mut Vec<u64>, text: &[u8], max_words: usize) {
    let max = max_words * 8 - 1;
    let mut bytes: Vec<u8> = text.iter().map(|&byte| if byte == 0 { b'?' } else { byte }).collect();
    if bytes.len() > max {
        bytes.truncate(max - CUT.len());
        bytes.extend_from_slice(CUT.as_bytes());
    }
    bytes.resize((bytes.len() / 8 + 1) * 8, 0);
    words.extend(bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)));
}

const fn type_of(value: Value<'_>) -> FieldType {
    match value {
        Value::U64(_) => FieldType::U64,
        Value::I64(_) => FieldType::I64,
        Value::F64(_) => FieldType::F64,
        Value::Bool(_) => FieldType::Bool,
        Value::Str(_) => FieldType::Str,
    }
}
