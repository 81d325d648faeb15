//! A guest as an ordinary process: this program again, as `fata __guest`.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::Context;

use super::Args;
use crate::output::say;

/// Becomes the guest; returns only if that fails.
pub(super) fn run(args: &Args, sample: &str) -> anyhow::Result<ExitCode> {
    fata_collector::source::make_ring_dir().context("no place for trace rings")?;
    let error = command(sample, &args.guest_name(sample), &args.publish_words()?, &args.parameters)?.exec();
    Err(error).context("cannot start the guest")
}

/// The command that is a guest.
pub(crate) fn command(sample: &str, name: &str, publish: &[String], parameters: &[String]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.arg("__guest").arg("--name").arg(name).arg("--").arg(sample).args(publish).args(parameters);
    Ok(command)
}

impl Args {
    /// The boot parameters that publish ports.
    fn publish_words(&self) -> anyhow::Result<Vec<String>> {
        self.publish
            .iter()
            .map(|publish| {
                let publish = publish.with_free_port()?;
                say!("Publishing port {} of the guest on 127.0.0.1:{}.", publish.guest, publish.host);
                Ok(format!("publish={}:{}", publish.host, publish.guest))
            })
            .collect()
    }
}
