//! An item as one line of JSON, for programs.
//!
//! Invariant: a line is one JSON object in UTF-8 without control characters, whatever the texts in it are. Bytes that are not
//! UTF-8 appear as U+FFFD, and numbers that JSON has no words for (infinities) as texts.
//!
//! ```
//! use fata_reporters::{Item, Record, json};
//! let mut line = String::new();
//! json::write(&mut line, &Item::Record(Record { target: "net", name: "up", sequence: 7, ..Record::BLANK })).unwrap();
//! assert_eq!(
//!     line,
//!     "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"nanos\":0,\"level\":\"info\",\"sequence\":7,\"target\":\"net\",\"name\":\"up\"}\n"
//! );
//! ```

use core::fmt::{self, Write};

use crate::loss::Loss;
use crate::record::{Field, Record, Span, Value};
use crate::reporter::Item;
use crate::time::{Epoch, Time};

/// Writes the line of `item`, newline included.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, item: &Item<'_>) -> fmt::Result {
    match item {
        Item::Record(record) => write_record(out, record)?,
        Item::Loss(loss) => write_loss(out, loss)?,
    }
    out.write_str("}\n")
}

fn write_record(out: &mut dyn Write, record: &Record<'_>) -> fmt::Result {
    out.write_char('{')?;
    write_time(out, record.time)?;
    write!(out, ",\"level\":\"{}\",\"sequence\":{}", record.level.text(), record.sequence)?;
    if !record.guest.is_empty() {
        write_member(out, "guest", record.guest)?;
        write!(out, ",\"stream\":{}", record.stream)?;
    }
    for (key, value) in [("task", record.task), ("target", record.target), ("name", record.name), ("file", record.file)]
    {
        if !value.is_empty() {
            write_member(out, key, value)?;
        }
    }
    if record.line > 0 {
        write!(out, ",\"line\":{}", record.line)?;
    }
    for (key, set) in [("late", record.late), ("history", record.history)] {
        if set {
            write!(out, ",\"{key}\":true")?;
        }
    }
    if let Some(message) = record.message() {
        out.write_str(",\"message\":")?;
        write_string(out, message)?;
    }
    if record.details().next().is_some() {
        out.write_str(",\"fields\":")?;
        write_fields(out, record.details())?;
    }
    for (i, Span { name, fields }) in record.spans.iter().enumerate() {
        out.write_str(if i == 0 { ",\"spans\":[{\"name\":" } else { ",{\"name\":" })?;
        write_string(out, name.as_bytes())?;
        if !fields.is_empty() {
            out.write_str(",\"fields\":")?;
            write_fields(out, fields.iter())?;
        }
        out.write_char('}')?;
    }
    if record.spans.is_empty() { Ok(()) } else { out.write_char(']') }
}

fn write_loss(out: &mut dyn Write, loss: &Loss<'_>) -> fmt::Result {
    out.write_char('{')?;
    write_time(out, loss.first)?;
    write!(out, ",\"level\":\"{}\",\"discarded\":{}", loss.level().text(), loss.counts.total())?;
    write_member(out, "cause", loss.cause.text())?;
    write_member(out, "place", loss.place)?;
    if !loss.guest.is_empty() {
        write_member(out, "guest", loss.guest)?;
    }
    out.write_str(",\"discarded_by_level\":{")?;
    let mut separator = "";
    for (name, count) in loss.counts.named() {
        write!(out, "{separator}\"{name}\":{count}")?;
        separator = ",";
    }
    out.write_str("},\"bytes\":")?;
    match loss.bytes {
        Some(bytes) => write!(out, "{bytes}")?,
        None => out.write_str("null")?,
    }
    if loss.is_about {
        out.write_str(",\"bytes_are_about\":true")?;
    }
    write!(out, ",\"first_nanos\":{},\"last_nanos\":{}", loss.first.nanos, loss.last.nanos)
}

fn write_time(out: &mut dyn Write, time: Time) -> fmt::Result {
    match time.epoch {
        Epoch::Unix => write!(out, "\"time\":\"{time}\",\"nanos\":{}", time.nanos),
        Epoch::Start => write!(out, "\"nanos_since_start\":{}", time.nanos),
    }
}

fn write_member(out: &mut dyn Write, key: &str, value: &str) -> fmt::Result {
    write!(out, ",\"{key}\":")?;
    write_string(out, value.as_bytes())
}

fn write_fields<'a>(out: &mut dyn Write, fields: impl Iterator<Item = &'a Field<'a>>) -> fmt::Result {
    for (i, field) in fields.enumerate() {
        out.write_char(if i == 0 { '{' } else { ',' })?;
        write_string(out, field.name.as_bytes())?;
        out.write_char(':')?;
        match field.value {
            Value::U64(value) => write!(out, "{value}")?,
            Value::I64(value) => write!(out, "{value}")?,
            Value::F64(value) if value.is_finite() => write!(out, "{value:?}")?,
            Value::F64(value) => write!(out, "\"{value}\"")?,
            Value::Bool(value) => write!(out, "{value}")?,
            Value::Str(text) => write_string(out, text)?,
        }
    }
    out.write_char('}')
}

/// Writes `text` as a JSON string, quotes included.
///
/// # Errors
/// Those of `out`.
pub fn write_string(out: &mut dyn Write, text: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        // A line separator is no control character, but a reader of lines could take it for one.
        let special = |c: char| c.is_control() || matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}');
        while let Some(at) = rest.find(special) {
            let (plain, from) = rest.split_at(at);
            out.write_str(plain)?;
            let mut chars = from.chars();
            match chars.next() {
                Some(c @ ('"' | '\\')) => write!(out, "\\{c}")?,
                Some('\n') => out.write_str("\\n")?,
                Some(c) => write!(out, "\\u{:04x}", u32::from(c))?,
                None => {}
            }
            rest = chars.as_str();
        }
        out.write_str(rest)?;
        if !chunk.invalid().is_empty() {
            out.write_char('\u{fffd}')?;
        }
    }
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Cause;
    use fata_wire::field::Level;
    use std::string::String;

    fn parsed(item: &Item<'_>) -> serde_json::Value {
        let mut line = String::new();
        write(&mut line, item).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    #[test]
    fn every_part_of_a_record_is_there_and_parses() {
        let fields = [
            Field { name: "message", value: Value::Str(b"two\nlines \"quoted\" \\ \x1b \xff end") },
            Field { name: "u", value: Value::U64(u64::MAX) },
            Field { name: "i", value: Value::I64(-1) },
            Field { name: "f", value: Value::F64(1.0) },
            Field { name: "nan", value: Value::F64(f64::NAN) },
            Field { name: "b", value: Value::Bool(false) },
        ];
        let spans = [Span { name: "outer", fields: &fields[1..2] }, Span { name: "inner", fields: &[] }];
        let record = Record {
            guest: "g\u{2028}",
            stream: 2,
            task: "t",
            file: "src/a.rs",
            line: 3,
            spans: &spans,
            fields: &fields,
            late: true,
            ..Record::BLANK
        };
        let value = parsed(&Item::Record(record));
        assert_eq!(value["message"], "two\nlines \"quoted\" \\ \u{1b} \u{fffd} end");
        assert_eq!(value["guest"], "g\u{2028}");
        assert_eq!(value["fields"]["u"], u64::MAX);
        assert_eq!(value["fields"]["f"], 1.0);
        assert_eq!(value["fields"]["nan"], "NaN");
        assert_eq!(value["spans"][0]["fields"]["u"], u64::MAX);
        assert_eq!(value["spans"][1]["name"], "inner");
        assert_eq!((&value["late"], &value["line"], &value["stream"]), (&true.into(), &3.into(), &2.into()));
    }

    #[test]
    fn a_loss_has_its_numbers_by_level() {
        let mut loss = Loss { guest: "g", ..Loss::new(Cause::Limited, "the ring", Time::since_start(5)) };
        loss.add(Level::Warn, 10, Time::since_start(9));
        loss.counts.unknown = 2;
        let value = parsed(&Item::Loss(loss));
        assert_eq!((&value["discarded"], &value["cause"]), (&3.into(), &"limited".into()));
        assert_eq!(value["discarded_by_level"]["warn"], 1);
        assert_eq!(value["last_nanos"], 9);
    }
}
