//! `fata completions`: what a shell needs to complete our arguments, on standard output.
//!
//! The script asks `fata` itself at every Tab, so that it knows the guests that run now and the categories that they have.

use std::convert::Infallible;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use fata_collector::description::Description;
use fata_collector::source::{self, Guest};
use fata_wire::describe::Record;
use fata_wire::field::Kind;
use fata_wire::metadata::Line;
use fata_wire::request::REQUESTS;
use fata_wire::shared::Status;

/// The variable by which a shell's script says that it wants candidates.
const VARIABLE: &str = "FATA_COMPLETE";

/// A shell that there is a script for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// Arguments of `fata completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = args.shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).with_context(|| format!("no completions for {name}"))?;
    // By its name, so that the script finds whichever `fata` the person has in the path.
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "fata", "fata", "fata", &mut script).context("the completion script")?;
    crate::output::print("the script", |out| out.write_all(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Gives candidates and ends, if it is a shell's script that has started us.
pub(crate) fn answer_the_shell() {
    CompleteEnv::with_factory(crate::Cli::command).var(VARIABLE).complete();
}

/// Every guest, by the shortest name that means it.
pub(crate) fn guests() -> Vec<CompletionCandidate> {
    candidates(|_| true)
}

/// The guests that can answer.
pub(crate) fn living_guests() -> Vec<CompletionCandidate> {
    candidates(Guest::is_alive)
}

fn candidates(wanted: impl Fn(&Guest) -> bool) -> Vec<CompletionCandidate> {
    // A directory that cannot be read has no guests to offer; the command itself will say why.
    let guests: Vec<Guest> = source::list().unwrap_or_default().into_iter().filter(wanted).collect();
    let is_alone = |guest: &Guest| guests.iter().filter(|other| other.name == guest.name).count() == 1;
    guests
        .iter()
        .map(|guest| CompletionCandidate::new(if is_alone(guest) { guest.name.clone() } else { guest.label() }))
        .collect()
}

/// What can stand at this place of a request: the requests, or what belongs to the one that was begun.
pub(crate) fn requests() -> Vec<CompletionCandidate> {
    let words: Vec<String> = std::env::args().collect();
    let after_ctl = words.iter().map(String::as_str).skip_while(|word| *word != "ctl").skip(1);
    let (guest, request, begun) = match without_options(after_ctl).as_slice() {
        [guest, request, .., begun] => (*guest, *request, *begun),
        _ => {
            return REQUESTS
                .iter()
                .map(|(word, _, about)| CompletionCandidate::new(*word).help(Some((*about).into())))
                .collect();
        }
    };
    let values = match request {
        "mode" => vec!["overwrite".to_owned(), "discard".to_owned()],
        "level" => rules(guest, begun),
        "enable" | "disable" => categories(guest),
        _ => Vec::new(),
    };
    values.into_iter().map(CompletionCandidate::new).collect()
}

/// The words behind `ctl` without its options, one of which takes the word after it.
fn without_options<'a>(mut words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut left = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--timeout" => drop(words.next()),
            option if option.starts_with('-') => {}
            word => left.push(word),
        }
    }
    left
}

/// Levels, and the targets that may have one of their own; behind the `=` of a target, levels again. (Some shells take what
/// stands there for a word of its own.)
fn rules(guest: &str, begun: &str) -> Vec<String> {
    let levels = || fata_wire::field::Level::ALL.iter().map(|level| level.text()).chain(["off"]);
    let targets = describe(guest, |record| match record {
        Record::Callsite(callsite) if callsite.kind == Kind::Log => Some(format!("{}=", callsite.category)),
        _ => None,
    });
    let of_target = begun.split_once('=').map(|(target, _)| levels().map(move |level| format!("{target}={level}")));
    levels().map(str::to_owned).chain(targets).chain(of_target.into_iter().flatten()).collect()
}

/// The categories of a guest.
fn categories(guest: &str) -> Vec<String> {
    describe(guest, |record| match record {
        Record::Env { key, value } if key.starts_with(fata_wire::request::CATEGORY_KEY) => Some((*value).to_owned()),
        _ => None,
    })
}

/// What is `wanted` of the guest's description of itself, each once; nothing where there is no such guest.
fn describe(guest: &str, wanted: impl Fn(&Record<'_>) -> Option<String>) -> Vec<String> {
    let Ok(memory) = source::find(guest).and_then(|guest| guest.open(false)) else { return Vec::new() };
    let clock = Status::parse(&memory.header_page(), memory.geometry()).clock;
    let mut description = Description::alone(memory.geometry().uuid, &clock, &[]);
    let mut found = Vec::new();
    let Ok(()) = description.follow(&memory, |text| {
        found.extend(text.lines().filter_map(|line| match Line::parse(line) {
            Some(Line::Record(record)) => wanted(&record),
            _ => None,
        }));
        Ok::<_, Infallible>(())
    });
    found.sort_unstable();
    found.dedup();
    found
}
