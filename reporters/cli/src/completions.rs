//! `fata completions`: the completion script for a shell, on standard output.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `fata completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "all commands have one signature")]
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "fata", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
