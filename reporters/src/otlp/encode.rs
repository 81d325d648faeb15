//! The JSON form of `ExportLogsServiceRequest` (`opentelemetry/proto/logs/v1/logs.proto`), as records come in.
//!
//! Invariant: the text is a whole request after every record: consecutive records of one guest share a `ResourceLogs`.

use core::fmt::{self, Write};
use std::string::String;

use fata_wire::field::Level;

use crate::json::write_string;
use crate::loss::level_word;
use crate::record::{Record, Value};
use crate::reporter::Item;

const HEAD: &str = "{\"resourceLogs\":[";
const END_OF_RESOURCE: &str = "]}]}";
const END: &str = "]}";

/// A request that grows.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The request without its end.
    text: String,
    guest: String,
    body: String,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(super::BATCH_BYTES);
        self.body = String::new();
    }

    /// The whole request.
    pub(super) fn body(&mut self) -> &str {
        self.body.clear();
        if !self.text.is_empty() {
            self.body.push_str(&self.text);
            self.body.push_str(END_OF_RESOURCE);
            self.body.push_str(END);
        }
        &self.body
    }

    pub(super) fn add(&mut self, item: &Item<'_>) {
        let guest = match item {
            Item::Record(record) => record.guest,
            Item::Loss(loss) => loss.guest,
        };
        // A `String` takes everything.
        let _ = self.try_add(item, guest);
    }

    fn try_add(&mut self, item: &Item<'_>, guest: &str) -> fmt::Result {
        if self.text.is_empty() {
            self.text.push_str(HEAD);
            self.begin_resource(guest)?;
        } else if self.guest != guest {
            self.text.push_str(END_OF_RESOURCE);
            self.text.push(',');
            self.begin_resource(guest)?;
        } else {
            self.text.push(',');
        }
        write_log_record(&mut self.text, item)
    }

    fn begin_resource(&mut self, guest: &str) -> fmt::Result {
        self.guest.clear();
        self.guest.push_str(guest);
        let service = if guest.is_empty() { "fata" } else { guest };
        self.text.push_str("{\"resource\":{\"attributes\":[");
        attribute(&mut self.text, "", "service.name", Value::Str(service.as_bytes()))?;
        self.text.push_str("]},\"scopeLogs\":[{\"scope\":{\"name\":\"fata\"},\"logRecords\":[");
        Ok(())
    }
}

fn write_log_record(out: &mut String, item: &Item<'_>) -> fmt::Result {
    let level = item.level();
    out.push('{');
    if let Some(nanos) = item.time().unix_nanos() {
        write!(out, "\"timeUnixNano\":\"{nanos}\",")?;
    }
    write!(
        out,
        "\"severityNumber\":{},\"severityText\":\"{}\",\"body\":{{\"stringValue\":",
        severity(level),
        level_word(level)
    )?;
    match item {
        Item::Record(record) => write_string(out, record.message().unwrap_or(record.name.as_bytes()))?,
        Item::Loss(loss) => {
            write!(out, "\"")?;
            // The sentence has no quotes or control characters: names in it are escaped, and backslashes are doubled here.
            write!(Doubling(out), "{loss}")?;
            write!(out, "\"")?;
        }
    }
    out.push_str("},\"attributes\":[");
    match item {
        Item::Record(record) => record_attributes(out, record)?,
        Item::Loss(loss) => {
            attribute(out, "", "fata.discarded", Value::U64(loss.counts.total()))?;
            attribute(out, ",", "fata.cause", Value::Str(loss.cause.text().as_bytes()))?;
            attribute(out, ",", "fata.place", Value::Str(loss.place.as_bytes()))?;
            for (name, count) in loss.counts.named() {
                attribute(out, ",", &std::format!("fata.discarded.{name}"), Value::U64(count))?;
            }
            if let Some(bytes) = loss.bytes {
                attribute(out, ",", "fata.discarded_bytes", Value::U64(bytes))?;
            }
            if loss.is_about {
                attribute(out, ",", "fata.discarded_bytes_are_about", Value::Bool(true))?;
            }
            attribute(out, ",", "fata.first_nanos", Value::I64(loss.first.nanos))?;
            attribute(out, ",", "fata.last_nanos", Value::I64(loss.last.nanos))?;
        }
    }
    out.push_str("]}");
    Ok(())
}

fn record_attributes(out: &mut String, record: &Record<'_>) -> fmt::Result {
    attribute(out, "", "fata.sequence", Value::U64(record.sequence))?;
    let texts = [
        ("fata.target", record.target),
        ("fata.task", record.task),
        ("fata.name", record.name),
        ("code.file.path", record.file),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        attribute(out, ",", name, Value::Str(text.as_bytes()))?;
    }
    if record.line > 0 {
        attribute(out, ",", "code.line.number", Value::U64(record.line.into()))?;
    }
    for (name, set) in [("fata.late", record.late), ("fata.history", record.history)] {
        if set {
            attribute(out, ",", name, Value::Bool(true))?;
        }
    }
    if !record.spans.is_empty() {
        out.push_str(",{\"key\":\"fata.spans\",\"value\":{\"arrayValue\":{\"values\":[");
        for (i, span) in record.spans.iter().enumerate() {
            out.push_str(if i == 0 { "{\"stringValue\":\"" } else { ",{\"stringValue\":\"" });
            write!(Doubling(out), "{span}")?;
            out.push_str("\"}");
        }
        out.push_str("]}}}");
    }
    for (i, field) in record.details().enumerate() {
        // An attribute's key is there once: the first field of a name has it.
        if !record.details().take(i).any(|before| before.name == field.name) {
            attribute(out, ",", field.name, field.value)?;
        }
    }
    Ok(())
}

fn attribute(out: &mut String, separator: &str, key: &str, value: Value<'_>) -> fmt::Result {
    out.push_str(separator);
    out.push_str("{\"key\":");
    write_string(out, key.as_bytes())?;
    out.push_str(",\"value\":{");
    match value {
        Value::Str(text) => {
            out.push_str("\"stringValue\":");
            write_string(out, text)?;
        }
        Value::Bool(value) => write!(out, "\"boolValue\":{value}")?,
        Value::F64(value) if value.is_finite() => write!(out, "\"doubleValue\":{value:?}")?,
        Value::F64(value) if value.is_nan() => out.push_str("\"doubleValue\":\"NaN\""),
        Value::F64(value) => write!(out, "\"doubleValue\":\"{}Infinity\"", if value < 0.0 { "-" } else { "" })?,
        // Beyond the protocol's signed integers a number is a text.
        Value::U64(value) if i64::try_from(value).is_err() => write!(out, "\"stringValue\":\"{value}\"")?,
        Value::U64(value) => write!(out, "\"intValue\":\"{value}\"")?,
        Value::I64(value) => write!(out, "\"intValue\":\"{value}\"")?,
    }
    out.push_str("}}");
    Ok(())
}

/// The protocol's severities, of which each level has four.
const fn severity(level: Level) -> u8 {
    match level {
        Level::Trace => 1,
        Level::Debug => 5,
        Level::Info => 9,
        Level::App => 10,
        Level::Warn => 13,
        Level::Error => 17,
    }
}

/// Text that is printable already, between the quotes of JSON.
struct Doubling<'a>(&'a mut String);

impl Write for Doubling<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                self.0.push('\\');
            }
            self.0.push(c);
        }
        Ok(())
    }
}
