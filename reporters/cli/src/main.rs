//! The `fata` command: run a guest, list guests, collect, serve, look.
//!
//! ```text
//! fata run http --publish 8080:80 &        # a guest, with a trace ring
//! fata collect http -o trace --duration 5  # its trace, as a CTF directory
//! fata stats trace                         # what it did
//! fata view trace                          # the same, drawn
//! ```
//!
//! Every failure is one sentence on standard error that says what is wrong and what to do, and an exit code that is not 0.

mod collect;
mod completions;
mod ctl;
mod demo;
mod dump;
mod guest;
mod human;
mod list;
#[cfg(feature = "viewer")]
mod live;
mod log;
mod nothing;
mod output;
mod run;
mod serve;
mod signals;
mod stats;
#[cfg(feature = "viewer")]
mod view;

use std::process::ExitCode;

use crate::output::say;
use clap::{Parser, Subcommand};

/// See inside a running unikernel.
#[derive(Debug, Parser)]
#[command(name = "fata", version, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a guest with a trace ring attached
    Run(run::Args),
    /// Show every ring on this machine
    List(list::Args),
    /// Record a guest into a CTF directory, or onto a pipe
    Collect(collect::Args),
    /// Offer a guest's live trace to viewers
    Serve(serve::Args),
    /// Draw a trace, or follow a guest live
    #[cfg(feature = "viewer")]
    View(view::Args),
    /// Draw a trace: not in this build, which has no viewer
    #[cfg(not(feature = "viewer"))]
    #[command(disable_help_flag = true)]
    View {
        /// Whatever the full build would take
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _rest: Vec<String>,
    },
    /// Ask a guest for something while it runs: to stop recording, to turn a category on, to mark this moment
    Ctl(ctl::Args),
    /// Show what guests log, or have logged
    Log(log::Args),
    /// Say what a trace says in numbers
    Stats(stats::Args),
    /// Print one line per event
    Dump(dump::Args),
    /// See it all at once: a guest under load, collected and shown
    Demo(demo::Args),
    /// Print the completion script for a shell
    Completions(completions::Args),
    /// Be a guest: what `run` starts
    #[command(name = "__guest", hide = true)]
    Guest(guest::Args),
}

fn main() -> ExitCode {
    completions::answer_the_shell();
    // A limit on the length of files is a full disk, and not the end of this program.
    signals::survive_long_files();
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::List(args) => list::run(&args),
        Command::Collect(args) => collect::run(&args),
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "viewer")]
        Command::View(args) => view::run(&args),
        #[cfg(not(feature = "viewer"))]
        Command::View { .. } => Err(anyhow::anyhow!(
            "this fata was built without the viewer: copy the trace to a machine with a display, or look at it with \
             `fata stats` and `fata dump`"
        )),
        Command::Demo(args) => demo::run(&args),
        Command::Ctl(args) => ctl::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Guest(args) => guest::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            say!("fata: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that a sentence before has told already.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("no room");
        let error = anyhow::Error::new(inner).context("x: no room").context("cannot write");
        assert_eq!(super::sentence(&error), "cannot write: x: no room");
    }
}
