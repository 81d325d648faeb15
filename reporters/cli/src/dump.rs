//! `fata dump`: one line per event.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use fata_model::dump::{DumpError, dump};
use fata_model::source;

use crate::{nothing, output};

/// Arguments of `fata dump`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace directory, a recorded stream, or - for standard input
    trace: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut reader = source::open(&args.trace)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let result = dump(&mut reader, &mut out).and_then(|events| Ok(out.flush().map(|()| events)?));
    match result {
        // `fata dump trace | head` has seen enough.
        Err(DumpError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(DumpError::Write(error)) => Err(output::because(error).context("cannot print the events")),
        Err(error) => Err(error.into()),
        Ok(0) => Err(nothing::in_trace(&args.trace, 0)),
        Ok(_) => Ok(ExitCode::SUCCESS),
    }
}
