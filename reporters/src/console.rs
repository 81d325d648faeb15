//! A record as a line for people: time, level in colour, whose it is, target, words, fields, and the spans around it.
//!
//! Invariant: one item is one line, and nothing in it but our own colours is interpreted by a terminal. Columns are as wide
//! as the widest that was seen, up to a bound; what is wider moves only its own line.
//!
//! ```text
//! 2026-07-14T12:34:56.123456Z INFO  http0/1 accept  net.tcp: connected port=80 peer=10.0.0.2  in serve{id=7}
//! 2026-07-14T12:34:56.223456Z WARN  http0/0 conn-7  net.tcp: retransmit after_ms=200
//! ```

use core::fmt::{self, Write};

use fata_wire::field::Level;

use crate::loss::level_word;
use crate::record::Record;
use crate::reporter::Item;
use crate::text::Escaped;

/// Columns of names grow up to this.
const MAX_COLUMN: usize = 24;

/// Writes items as lines.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    coloured: bool,
    origin_width: usize,
    task_width: usize,
}

impl Console {
    /// Lines without colours, for files and pipes.
    #[must_use]
    pub const fn plain() -> Self {
        Console { coloured: false, origin_width: 0, task_width: 0 }
    }

    /// Lines with colours, for terminals.
    #[must_use]
    pub const fn coloured() -> Self {
        Console { coloured: true, ..Console::plain() }
    }

    /// Writes the line of `item`, newline included.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, out: &mut dyn Write, item: &Item<'_>) -> fmt::Result {
        self.styled(out, DIM, &item.time())?;
        let level = item.level();
        out.write_char(' ')?;
        self.styled(out, colour(level), &format_args!("{:5}", level_word(level)))?;
        out.write_char(' ')?;
        match item {
            Item::Record(record) => self.write_record(out, record)?,
            Item::Loss(loss) => {
                column(out, &mut self.origin_width, &Escaped(loss.guest.as_bytes()))?;
                self.styled(out, colour(level), loss)?;
            }
        }
        out.write_char('\n')
    }

    fn write_record(&mut self, out: &mut dyn Write, record: &Record<'_>) -> fmt::Result {
        if !record.guest.is_empty() {
            let origin = format_args!("{}/{}", Escaped(record.guest.as_bytes()), record.stream);
            column(out, &mut self.origin_width, &origin)?;
        } else {
            column(out, &mut self.origin_width, &"")?;
        }
        column(out, &mut self.task_width, &Escaped(record.task.as_bytes()))?;
        if !record.target.is_empty() {
            self.styled(out, BOLD, &Escaped(record.target.as_bytes()))?;
            out.write_str(": ")?;
        }
        self.write_words(out, record)
    }

    fn write_words(&self, out: &mut dyn Write, record: &Record<'_>) -> fmt::Result {
        if record.late {
            self.styled(out, YELLOW, &"(late) ")?;
        }
        if record.history {
            self.styled(out, DIM, &"(before the error) ")?;
        }
        let mut separator = "";
        match record.message() {
            Some(message) => {
                write!(out, "{}", Escaped(message))?;
                separator = " ";
            }
            // A record that has no words is known by its own name.
            None if !record.name.is_empty() => {
                write!(out, "{}", Escaped(record.name.as_bytes()))?;
                separator = " ";
            }
            None => {}
        }
        for field in record.details() {
            out.write_str(separator)?;
            self.styled(out, DIM, &format_args!("{}=", Escaped(field.name.as_bytes())))?;
            write!(out, "{}", field.value)?;
            separator = " ";
        }
        for (i, span) in record.spans.iter().enumerate() {
            self.styled(out, DIM, &format_args!("{}{span}", if i == 0 { "  in " } else { ":" }))?;
        }
        Ok(())
    }

    fn styled(&self, out: &mut dyn Write, style: &str, text: &dyn fmt::Display) -> fmt::Result {
        if self.coloured { write!(out, "\x1b[{style}m{text}\x1b[0m") } else { write!(out, "{text}") }
    }
}

/// What a record says, as the end of a line: words, fields, spans. For formats that have places of their own for the rest.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a Record<'a>);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Console::plain().write_words(f, self.0)
    }
}

const DIM: &str = "2";
const BOLD: &str = "1";
const YELLOW: &str = "33";

/// The colours that the Logs library has made familiar.
const fn colour(level: Level) -> &'static str {
    match level {
        Level::App => "36",
        Level::Error => "31",
        Level::Warn => YELLOW,
        Level::Info => "34",
        Level::Debug => "32",
        Level::Trace => DIM,
    }
}

/// Writes `text` and pads it to the column's width, which it may widen; an empty column that never had a text takes no room.
fn column(out: &mut dyn Write, width: &mut usize, text: &dyn fmt::Display) -> fmt::Result {
    let mut counted = Counted { out, chars: 0 };
    write!(counted, "{text}")?;
    let chars = counted.chars;
    *width = (*width).max(chars.min(MAX_COLUMN));
    let pad = width.saturating_sub(chars) + usize::from(*width > 0);
    write!(out, "{:pad$}", "")
}

/// Counts the characters on their way.
struct Counted<'a> {
    out: &'a mut dyn Write,
    chars: usize,
}

impl Write for Counted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.chars += text.chars().count();
        self.out.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Cause, Loss};
    use crate::record::{Field, Span, Value};
    use crate::text::is_interpreted;
    use crate::time::Time;
    use std::string::String;

    fn line(console: &mut Console, item: &Item<'_>) -> String {
        let mut line = String::new();
        console.write(&mut line, item).unwrap();
        line
    }

    const TIME: Time = Time::wall(1_000_000_000_123_456_000);

    #[test]
    fn columns_line_up_once_the_widest_was_seen() {
        let fields =
            [Field { name: "message", value: Value::Str(b"up") }, Field { name: "peer", value: Value::Str(b"a b") }];
        let spans = [
            Span { name: "serve", fields: &[Field { name: "id", value: Value::U64(7) }] },
            Span { name: "read", fields: &[] },
        ];
        let long =
            Record { time: TIME, guest: "http0", task: "conn-7", target: "net", fields: &fields, ..Record::BLANK };
        let short = Record { guest: "h", stream: 1, task: "", spans: &spans, level: Level::Warn, ..long };
        let mut console = Console::plain();
        assert_eq!(
            line(&mut console, &Item::Record(long)),
            "2001-09-09T01:46:40.123456Z INFO  http0/0 conn-7 net: up peer=\"a b\"\n"
        );
        assert_eq!(
            line(&mut console, &Item::Record(short)),
            "2001-09-09T01:46:40.123456Z WARN  h/1            net: up peer=\"a b\"  in serve{id=7}:read\n"
        );
    }

    #[test]
    fn each_level_has_the_colour_that_people_know() {
        let known =
            [(Level::App, "36"), (Level::Error, "31"), (Level::Warn, "33"), (Level::Info, "34"), (Level::Debug, "32")];
        for (level, code) in known {
            let shown = line(&mut Console::coloured(), &Item::Record(Record { level, ..Record::BLANK }));
            assert!(shown.contains(&std::format!("\x1b[{code}m{:5}\x1b[0m", level_word(level))), "{shown:?}");
        }
    }

    #[test]
    fn whatever_a_guest_writes_anywhere_is_one_line_and_moves_no_cursor() {
        let evil = "\x1b[2J\n\u{202e}";
        let fields = [
            Field { name: "message", value: Value::Str(b"\x1b[2J\n\xff\xfe") },
            Field { name: evil, value: Value::Str(evil.as_bytes()) },
        ];
        let spans = [Span { name: evil, fields: &fields }];
        let record = Record {
            guest: evil,
            task: evil,
            target: evil,
            name: evil,
            fields: &fields,
            spans: &spans,
            late: true,
            history: true,
            ..Record::BLANK
        };
        let loss = Loss { guest: evil, ..Loss::new(Cause::Full, evil, TIME) };
        for item in [Item::Record(record), Item::Loss(loss)] {
            let shown = line(&mut Console::plain(), &item);
            assert!(!shown.trim_end_matches('\n').contains(is_interpreted), "{shown:?}");
            assert!(shown.ends_with('\n'));
        }
    }

    #[test]
    fn a_loss_stands_in_the_line_where_its_records_would_be() {
        let mut loss = Loss { guest: "http0", ..Loss::new(Cause::Full, "the ring", TIME) };
        loss.add(Level::Debug, 24, TIME);
        assert_eq!(
            line(&mut Console::plain(), &Item::Loss(loss)),
            "2001-09-09T01:46:40.123456Z WARN  http0 discarded 1 record (1 DEBUG; 24 bytes): the ring was full\n"
        );
    }

    #[test]
    fn a_record_without_words_is_known_by_its_name() {
        let record = Record { name: "src/net.rs:42", target: "net", ..Record::BLANK };
        assert!(line(&mut Console::plain(), &Item::Record(record)).ends_with("net: src/net.rs:42\n"));
    }
}
