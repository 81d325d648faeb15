//! Items as lines, for people or programs, to whatever takes bytes: standard output, a pipe, a test's buffer.
//!
//! Invariant: a line is one write, so lines of several writers to one pipe do not mix. Nothing is kept: a slow reader makes
//! the reporter wait, and a front before it decides what that means for the program.
//!
//! ```
//! use fata_reporters::lines::{Format, Lines};
//! use fata_reporters::{Item, Record, Reporter};
//! let mut lines = Lines::new(Vec::new(), "a buffer", Format::plain());
//! lines.report(&Item::Record(Record { target: "net", name: "up", ..Record::BLANK })).unwrap();
//! assert_eq!(lines.into_inner(), b"1970-01-01T00:00:00.000000Z INFO  net: up\n");
//! ```

use core::fmt;
use core::task::{Context, Poll};
use std::io::{self, IsTerminal, Write};
use std::string::String;

use crate::console::Console;
use crate::json;
use crate::queue::ITEM_BYTES;
use crate::reporter::{Item, ReportError, Reporter};

/// A line's buffer is given back above this.
const KEPT_BYTES: usize = 64 << 10;
/// The most that a line's buffer takes, of items as a front hands them over ([`ITEM_BYTES`]): JSON writes a control character
/// as six, and a buffer grows by doubling.
pub(crate) const WORST_LINE_BYTES: usize = 2 * 6 * ITEM_BYTES;

/// How the sentence ends when whoever read has gone: of `… | head` a clean end.
pub const GONE: &str = "the reader has gone";

/// What a line looks like.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// For people.
    Text(Console),
    /// For programs.
    Json,
}

impl Format {
    /// Lines for people, without colours.
    #[must_use]
    pub const fn plain() -> Self {
        Format::Text(Console::plain())
    }

    /// Lines for people; in colours where `out` is a terminal and the environment does not say `NO_COLOR`.
    #[must_use]
    pub fn for_people_at(out: &impl IsTerminal) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Format::Text(if wanted && out.is_terminal() { Console::coloured() } else { Console::plain() })
    }

    /// Replaces `out` by the line of `item`, newline included.
    pub fn line(&mut self, out: &mut String, item: &Item<'_>) {
        out.clear();
        out.shrink_to(KEPT_BYTES);
        // A `String` takes everything.
        let _: fmt::Result = match self {
            Format::Text(console) => console.write(out, item),
            Format::Json => json::write(out, item),
        };
    }
}

/// Writes lines.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    name: String,
    format: Format,
    line: String,
}

impl<W: Write> Lines<W> {
    /// Lines to `out`, which messages call `name`.
    pub fn new(out: W, name: &str, format: Format) -> Self {
        Lines { out, name: name.into(), format, line: String::new() }
    }

    /// Gives back what was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn error(&self, error: &io::Error) -> ReportError {
        let Self { name, .. } = self;
        match error.kind() {
            io::ErrorKind::BrokenPipe => ReportError::never(format_args!("{name}: {GONE}")),
            _ => ReportError::later(format_args!("{name}: {error}")),
        }
    }
}

impl<W: Write> Reporter for Lines<W> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        self.format.line(&mut self.line, item);
        self.out.write_all(self.line.as_bytes()).map_err(|error| self.error(&error))
    }

    fn poll_done(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        Poll::Ready(self.out.flush().map_err(|error| self.error(&error)))
    }

    fn worst_case_bytes(&self) -> usize {
        WORST_LINE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[test]
    fn a_reader_that_has_gone_ends_the_reporter_and_a_full_device_does_not() {
        struct Fails(io::ErrorKind);
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let report = |kind| Lines::new(Fails(kind), "x", Format::Json).report(&Item::Record(Record::BLANK));
        assert!(matches!(report(io::ErrorKind::BrokenPipe), Err(ReportError::Never(_))));
        assert!(matches!(report(io::ErrorKind::StorageFull), Err(ReportError::Later(_))));
    }
}
