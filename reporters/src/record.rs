//! One log record: when, how much it matters, from where, and what it says in typed fields.
//!
//! Invariant: a record only borrows, so passing one on costs nothing; whoever keeps it copies it into memory that it has
//! bounded. `time` and `sequence` were taken when the record was made, and no reporter changes them.
//!
//! ```
//! use fata_reporters::record::{Field, Record, Value};
//! use fata_reporters::Level;
//! let fields = [Field { name: "message", value: Value::Str(b"retransmit") }, Field { name: "port", value: Value::U64(80) }];
//! let record = Record { level: Level::Warn, target: "net.tcp", fields: &fields, ..Record::BLANK };
//! assert_eq!(record.message(), Some(&b"retransmit"[..]));
//! assert_eq!(record.details().count(), 1);
//! ```

use core::fmt::{self, Write};

use fata_wire::field::Level;

use crate::text::{Escaped, is_interpreted};
use crate::time::Time;

/// The field that holds a record's words, by the convention of `tracing`.
pub const MESSAGE: &str = "message";

/// One log record. Every text in it is untrusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<'a> {
    /// When it was made.
    pub time: Time,
    /// Its number among the records of its guest: after sorting, a step of more than one is a record that is not there
    /// (filtered, or discarded and then told by a [`Loss`](crate::Loss)).
    pub sequence: u64,
    /// How much it matters.
    pub level: Level,
    /// The guest's name; empty for this program itself.
    pub guest: &'a str,
    /// The stream it came in: on a guest, the vCPU.
    pub stream: u32,
    /// The task that made it; empty outside of any.
    pub task: &'a str,
    /// The part of the program it speaks of.
    pub target: &'a str,
    /// The event's own name, or `file:line`.
    pub name: &'a str,
    /// The source file; empty where unknown.
    pub file: &'a str,
    /// The line in it; 0 where unknown.
    pub line: u32,
    /// The spans it was made in, outermost first.
    pub spans: &'a [Span<'a>],
    /// What it says.
    pub fields: &'a [Field<'a>],
    /// It arrived after records that are younger had been reported, so it is not in its place.
    pub late: bool,
    /// It had not been shown at its level, and is now because an error of its task came after it.
    pub history: bool,
}

/// A span around a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span<'a> {
    /// The span's name.
    pub name: &'a str,
    /// Its fields.
    pub fields: &'a [Field<'a>],
}

/// One typed value and its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// The name as the program writes it.
    pub name: &'a str,
    /// The value.
    pub value: Value<'a>,
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An unsigned number.
    U64(u64),
    /// A signed number.
    I64(i64),
    /// A double.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// The bytes of a text; not necessarily UTF-8.
    Str(&'a [u8]),
}

impl<'a> Record<'a> {
    /// A record of the level info that says nothing: the rest of a literal.
    pub const BLANK: Record<'static> = Record {
        time: Time::wall(0),
        sequence: 0,
        level: Level::Info,
        guest: "",
        stream: 0,
        task: "",
        target: "",
        name: "",
        file: "",
        line: 0,
        spans: &[],
        fields: &[],
        late: false,
        history: false,
    };

    /// The record's words: the text field `message`.
    #[must_use]
    pub fn message(&self) -> Option<&'a [u8]> {
        self.fields.iter().find_map(|field| match field.value {
            Value::Str(text) if field.name == MESSAGE => Some(text),
            _ => None,
        })
    }

    /// The fields besides the message.
    pub fn details(&self) -> impl Iterator<Item = &'a Field<'a>> {
        self.fields.iter().filter(|field| !(field.name == MESSAGE && matches!(field.value, Value::Str(_))))
    }

    /// How long its texts and numbers are together, as a measure of what is lost with it.
    #[must_use]
    pub fn least_bytes(&self) -> u64 {
        let fields = self.spans.iter().flat_map(|span| span.fields).chain(self.fields);
        fields.map(|field| if let Value::Str(text) = field.value { text.len() as u64 } else { 8 }).sum()
    }

    /// Whether it has a share of memory of its own wherever records wait: what the program tells its user, and everything
    /// that a person should look at.
    #[must_use]
    pub const fn is_urgent(&self) -> bool {
        is_urgent(self.level)
    }
}

/// See [`Record::is_urgent`].
#[must_use]
pub const fn is_urgent(level: Level) -> bool {
    matches!(level, Level::App | Level::Error | Level::Warn)
}

/// The value for people: texts escaped, and between quotes where a word would not do.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::U64(value) => value.fmt(f),
            Value::I64(value) => value.fmt(f),
            Value::F64(value) => value.fmt(f),
            Value::Bool(value) => value.fmt(f),
            Value::Str(text) if is_word(text) => Escaped(text).fmt(f),
            Value::Str(text) => {
                f.write_char('"')?;
                for (i, part) in text.split(|&byte| byte == b'"').enumerate() {
                    if i > 0 {
                        f.write_str("\\\"")?;
                    }
                    Escaped(part).fmt(f)?;
                }
                f.write_char('"')
            }
        }
    }
}

/// `name=value`.
impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", Escaped(self.name.as_bytes()), self.value)
    }
}

/// `name{a=1 b=2}`.
impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.name.as_bytes()).fmt(f)?;
        for (i, field) in self.fields.iter().enumerate() {
            f.write_str(if i == 0 { "{" } else { " " })?;
            field.fmt(f)?;
        }
        if self.fields.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

/// Whether a text stands for itself between blanks.
fn is_word(text: &[u8]) -> bool {
    core::str::from_utf8(text).is_ok_and(|text| {
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "\"={},".contains(c) || is_interpreted(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_text_that_could_be_taken_for_more_than_a_word_stands_between_quotes() {
        let texts: [(&[u8], &str); 6] = [
            (b"GET", "GET"),
            (b"", "\"\""),
            (b"two words", "\"two words\""),
            (b"say \"x\"", "\"say \\\"x\\\"\""),
            (b"a=1", "\"a=1\""),
            (b"\x1b[0m", "\"\\x1b[0m\""),
        ];
        for (text, shown) in texts {
            assert_eq!(Value::Str(text).to_string(), shown);
        }
    }

    #[test]
    fn a_number_called_message_is_a_field_like_others() {
        let fields = [Field { name: "message", value: Value::U64(7) }];
        let record = Record { fields: &fields, ..Record::BLANK };
        assert_eq!(record.message(), None);
        assert_eq!(record.details().count(), 1);
    }
}
