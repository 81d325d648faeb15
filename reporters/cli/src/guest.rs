//! `fata __guest`: this process becomes a guest. `fata run` starts it, so that a guest is a process of its own and this one
//! program is all that a first look needs.

use std::process::ExitCode;

use anyhow::bail;
use fata_samples::SAMPLES;

/// Traced where this process is a guest, the system's everywhere else.
#[global_allocator]
static ALLOCATOR: fata_kernel::heap::Allocator = fata_kernel::heap::Allocator;

/// Arguments of `fata __guest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sample
    sample: String,
    /// The guest's name
    #[arg(long)]
    name: String,
    /// Boot parameters, `key=value`
    parameters: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(sample) = fata_samples::find(&args.sample) else { bail!(no_such_sample(&args.sample)) };
    fata_kernel::platform::boot::start(&args.name, &args.parameters.join(" "), sample.main)
}

/// The sentence for a sample that there is none of.
pub(crate) fn no_such_sample(wanted: &str) -> String {
    let samples: Vec<_> = SAMPLES.iter().map(|sample| format!("\n  {:<12} {}", sample.name, sample.about)).collect();
    format!("there is no sample {wanted:?}, and no file of that name; the samples are:{}", samples.concat())
}
