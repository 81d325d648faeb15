//! `fata ctl`: one request to a running guest, and its answer.
//!
//! ```text
//! fata ctl http ping                 # ok: up 12.345 s
//! fata ctl http disable heap         # ok: heap is off
//! fata ctl http mark before the load # ok: marked
//! ```
//!
//! What the guest answers goes to standard output. That it refuses, or does not answer, is an error like any other.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap_complete::engine::ArgValueCandidates;
use fata_collector::request::{self, PATIENCE};
use fata_collector::source;
use fata_wire::request::REQUESTS;

use crate::output::say;
use crate::{completions, human, output};

/// Arguments of `fata ctl`.
#[derive(Debug, clap::Args)]
#[command(after_help = requests())]
pub(crate) struct Args {
    /// The guest: its name, `name.pid`, process or domain id, or the path of its memory file
    #[arg(add = ArgValueCandidates::new(completions::living_guests))]
    guest: String,
    /// The request, and what belongs to it
    #[arg(required = true, trailing_var_arg = true, add = ArgValueCandidates::new(completions::requests))]
    request: Vec<String>,
    /// Wait so long for the answer
    #[arg(long, value_name = "SECONDS", value_parser = human::parse_seconds)]
    timeout: Option<Duration>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let guest = source::find(&args.guest)?;
    let answer = request::ask(&guest, &args.request.join(" "), args.timeout.unwrap_or(PATIENCE))?;
    if let Some(remark) = &answer.remark {
        say!("{remark}.");
    }
    let answer = answer.text;
    if let Some(refused) = answer.strip_prefix("error:") {
        bail!("{}: {}", guest.label(), refused.trim_start());
    }
    output::print("the answer", |out| writeln!(out, "{answer}"))?;
    Ok(ExitCode::SUCCESS)
}

/// What can be asked for, for `--help`.
fn requests() -> String {
    let line = |(word, wants, about): &(&str, &str, &str)| format!("  {:<24} {about}\n", format!("{word} {wants}"));
    format!("Requests:\n{}", REQUESTS.iter().map(line).collect::<String>())
}
