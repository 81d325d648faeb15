//! `fata run`: start a guest with a trace ring attached, and be its console.
//!
//! A host guest is this same program in another role: the process becomes it. A QEMU guest is a child whose memory is a
//! file of the ring directory; what of it is the ring stays there when it has ended.

mod backlog;
pub(crate) mod host;
mod image;
mod publish;
mod qemu;

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;

use crate::human;
pub(crate) use publish::Publish;
pub(crate) use qemu::{EndWithParent, require_qemu};

/// Arguments of `fata run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A sample, or the path of a bootable ELF
    program: String,
    /// Boot parameters, `key=value`
    parameters: Vec<String>,
    /// What the guest runs on; an ELF runs on qemu, a sample on the host unless asked otherwise
    #[arg(short, long, value_enum, env = "FATA_PLATFORM")]
    platform: Option<Platform>,
    /// The guest's name; by default the sample's
    #[arg(short, long)]
    name: Option<String>,
    /// Publish a TCP port of the guest on 127.0.0.1, such as 8080:80; may be given several times
    #[arg(long, value_name = "HOST:GUEST")]
    publish: Vec<Publish>,
    /// The guest's memory (qemu)
    #[arg(short, long, value_name = "SIZE", value_parser = human::parse_bytes, default_value = "128M", env = "FATA_MEMORY")]
    memory: u64,
    /// The machine (qemu): microvm or q35
    #[arg(long, default_value = "microvm", env = "FATA_MACHINE")]
    machine: String,
    /// The bootable ELF to use for samples (qemu), instead of building it from the source
    #[arg(long, value_name = "ELF", env = "FATA_IMAGE")]
    image: Option<std::path::PathBuf>,
}

/// What a guest can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Platform {
    /// An ordinary process
    Host,
    /// A virtual machine
    Qemu,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(odd) = args.parameters.iter().find(|parameter| !is_parameter(parameter)) {
        bail!("{odd:?} is no boot parameter: write key=value, without spaces");
    }
    let sample = fata_samples::find(&args.program).map(|sample| sample.name);
    let elf = Path::new(&args.program);
    match (sample, args.platform) {
        (None, _) if !elf.is_file() => bail!(crate::guest::no_such_sample(&args.program)),
        (None, Some(Platform::Host)) => bail!("an ELF boots on a machine: leave out `--platform host`"),
        (Some(sample), Some(Platform::Host) | None) => host::run(args, sample),
        (Some(sample), Some(Platform::Qemu)) => {
            let build = || args.image.clone().map_or_else(image::build, Ok);
            qemu::run(args, build, sample, Some(sample))
        }
        (None, Some(Platform::Qemu) | None) => {
            let name = elf.file_stem().map_or("guest".into(), |stem| stem.to_string_lossy());
            qemu::run(args, || Ok(elf.to_owned()), &name, None)
        }
    }
}

/// `key=value` of printable characters: boot parameters are separated by spaces.
fn is_parameter(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| !key.is_empty()) && text.chars().all(|c| c.is_ascii_graphic())
}

impl Args {
    /// The guest's name, as a file name may contain it.
    fn guest_name(&self, default: &str) -> String {
        let name = self.name.as_deref().unwrap_or(default);
        name.chars().take(64).map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
    }
}
