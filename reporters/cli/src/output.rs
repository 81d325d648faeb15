//! Standard output and standard error as they are: readers that have seen enough, full disks, terminals that went away.
//!
//! A reader that closes the pipe (`fata dump trace | head`) is no error; a disk that is full is one, with a sentence. What is
//! said on standard error is never a reason to end.
//!
//! ```text
//! output::print("the list", |out| writeln!(out, "{rows}"))?;
//! say!("Serving {guest}.");
//! ```

use std::fmt::Arguments;
use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Context;

/// Writes to standard output what `write` writes, which an error calls `what`.
pub(crate) fn print(what: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(because).with_context(|| format!("cannot print {what}")),
    }
}

/// The error of a standard output that takes nothing more, with what to do.
pub(crate) fn because(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            anyhow::anyhow!("no space left behind standard output ({error}): free some, or send it elsewhere")
        }
        _ => error.into(),
    }
}

/// A line on standard error; nobody has to be there to read it.
pub(crate) fn line(line: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// As `eprintln!`, where a standard error that is full or gone is no reason to panic.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::line(format_args!($($words)*)) };
}
pub(crate) use say;
