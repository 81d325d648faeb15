//! `fata view`: a trace or a living guest, drawn in a window; or as a picture in a file, with no display at all.

use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::channel;

use anyhow::{Context, bail};
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::source::{self as guests, Guest};
use fata_collector::{Collector, Options};
use fata_model::ingest::Limits;
use fata_model::source;
use fata_model::stats::Stats;
use fata_viewer::PictureSize;
use fata_viewer::live::{Note, Source};

use crate::live::{Live, Said};
use crate::nothing;
use crate::signals::Stop;

/// Arguments of `fata view`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A trace directory, a recorded stream, - for standard input, the socket or loopback address of `fata serve`, or a
    /// guest; by default the one guest that runs
    what: Option<String>,
    /// Write a picture into this PNG file instead of opening a window
    #[arg(long, value_name = "FILE.png")]
    screenshot: Option<PathBuf>,
    /// Where the view begins, such as 1.5s, 20ms, 300us
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<i64>,
    /// Where the view ends
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<i64>,
    /// The picture's width in pixels
    #[arg(long, default_value_t = 1600, value_parser = clap::value_parser!(u32).range(pixels(PictureSize::WIDTHS)))]
    width: u32,
    /// The picture's height in pixels
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u32).range(pixels(PictureSize::HEIGHTS)))]
    height: u32,
}

impl Args {
    /// What is shown, for people.
    fn title(&self) -> &str {
        match self.what.as_deref() {
            Some("-") => "standard input",
            what => what.unwrap_or_default(),
        }
    }
}

/// What there is to see.
enum What {
    Path(PathBuf),
    Guest(Box<Guest>),
    Socket(PathBuf),
    Tcp(SocketAddr),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        bail!("--from must lie before --to");
    }
    let what = find(args.what.as_deref())?;
    match &args.screenshot {
        Some(file) => picture(args, &what, file),
        None => window(args, &what),
    }
}

/// What `text` means: a path if there is one, else an address, else a guest.
fn find(text: Option<&str>) -> anyhow::Result<What> {
    let Some(text) = text else {
        let living: Vec<_> = guests::list()?.into_iter().filter(Guest::is_alive).collect();
        return match living.as_slice() {
            [one] => Ok(What::Guest(Box::new(one.clone()))),
            [] => bail!("no guest runs: name a trace, or start a guest with `fata run SAMPLE`"),
            several => {
                let labels: Vec<_> = several.iter().map(Guest::label).collect();
                bail!("several guests run, {}: name one of them", labels.join(", "))
            }
        };
    };
    let path = Path::new(text);
    if text == "-" {
        return Ok(What::Path(path.to_owned()));
    }
    if let Ok(metadata) = std::fs::metadata(path) {
        if metadata.file_type().is_socket() {
            return Ok(What::Socket(path.to_owned()));
        }
        // The memory file of a guest is not a trace, but holds one.
        return Ok(match Guest::at(path) {
            Ok(guest) if metadata.is_file() && guest.platform().is_some() => What::Guest(Box::new(guest)),
            _ => What::Path(path.to_owned()),
        });
    }
    if let Ok(address) = text.parse() {
        return Ok(What::Tcp(address));
    }
    if text.contains('/') {
        // The model says best what is missing.
        return Ok(What::Path(path.to_owned()));
    }
    Ok(What::Guest(Box::new(guests::find(text)?)))
}

fn window(args: &Args, what: &What) -> anyhow::Result<ExitCode> {
    let options = fata_viewer::Options { title: args.title().to_owned(), from: args.from, to: args.to };
    match what {
        What::Path(path) => {
            let reader = nothing::open_unless_empty(path)?;
            let source = if is_read_once(path) {
                // The viewer goes on with what was read; nothing is said beside it.
                Source::Stream { reader, notes: channel().1 }
            } else {
                Source::Path(path.clone())
            };
            fata_viewer::run(source, options)?;
        }
        What::Guest(guest) => {
            let stop = Stop::listen().context("cannot listen to signals")?;
            follow(Live::collect(guest, None, stop, || ())?, options)?;
        }
        What::Socket(path) => follow(Live::connect_unix(path)?, options)?,
        What::Tcp(address) => {
            let socket = TcpStream::connect(address).with_context(|| format!("nobody serves a trace on {address}"))?;
            follow(Live::connect(socket)?, options)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it is standard input, or another pipe: what was read of it comes no second time.
fn is_read_once(path: &Path) -> bool {
    path == Path::new("-") || !(path.is_file() || path.is_dir())
}

/// Opens a window on a stream and what is said beside it.
pub(crate) fn follow(mut live: Live, options: fata_viewer::Options) -> anyhow::Result<()> {
    let stream = live.stream.take().context("the stream is read already")?;
    let reader = source::from_read(&options.title, stream)?;
    let (send, notes) = channel();
    if let Some(said) = live.said.take() {
        std::thread::spawn(move || {
            for said in said {
                let note = match said {
                    Said::Guest(text) => Note::Guest(text),
                    Said::Ended(text) => Note::Ended(text),
                };
                if send.send(note).is_err() {
                    return;
                }
            }
        });
    }
    fata_viewer::run(Source::Stream { reader, notes }, options)?;
    match live.lost_packets() {
        0 => Ok(()),
        lost => bail!(
            "{lost} packets came too fast for this viewer, and what it showed has gaps: record the guest with `fata collect`, or \
             have it say less with `fata ctl GUEST level` and `disable`"
        ),
    }
}

fn picture(args: &Args, what: &What, file: &Path) -> anyhow::Result<ExitCode> {
    match what {
        What::Path(path) => draw(path, args, file)?,
        What::Guest(guest) => {
            // A picture is of one moment: the flight recorder's.
            let dir = std::env::temp_dir().join(format!("fata-picture-{}", std::process::id()));
            let mut sink = DirectorySink::open(&dir, directory::Options::default())?;
            let options = Options { snapshot: true, ..Options::default() };
            let copied = Collector::attach(guest, &options, &[])
                .and_then(|mut collector| collector.run(&mut sink, &mut |_| true));
            let drawn = copied.map_err(anyhow::Error::from).and_then(|_| draw(&dir, args, file));
            // What was copied for the picture is of no further use.
            let _ = std::fs::remove_dir_all(&dir);
            drawn?;
        }
        What::Socket(_) | What::Tcp(_) => {
            bail!("a live stream has no end to draw: take a picture of the guest itself, or of a recorded trace")
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn draw(trace: &Path, args: &Args, file: &Path) -> anyhow::Result<()> {
    let size = PictureSize { width: args.width, height: args.height, ..PictureSize::default() };
    write_picture(trace, args.title(), (args.from, args.to), size, file)
}

/// Draws the trace in the directory or file `trace` into the PNG `file`.
pub(crate) fn write_picture(
    trace: &Path,
    title: &str,
    (from, to): (Option<i64>, Option<i64>),
    size: PictureSize,
    file: &Path,
) -> anyhow::Result<()> {
    let loaded = source::load(trace, Limits::default())?;
    if loaded.events_total() == 0 {
        return Err(nothing::in_trace(trace, Stats::of(&loaded).discarded.total));
    }
    let png = fata_viewer::screenshot(loaded, title, from, to, size)?;
    std::fs::write(file, png).with_context(|| format!("the picture cannot be written to {}", file.display()))
}

/// The sizes that a picture may have, as the parser of arguments wants them.
fn pixels(sizes: RangeInclusive<u32>) -> RangeInclusive<i64> {
    (*sizes.start()).into()..=(*sizes.end()).into()
}

/// A time since the trace's begin, in nanoseconds: `1.5s`, `20ms`, `300us`, `7ns`; a bare number is seconds.
fn parse_time(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no time: write a number and ns, us, ms or s, such as 1.5s");
    let end = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "" | "s" => 1e9,
        "ms" => 1e6,
        "us" | "µs" => 1e3,
        "ns" => 1.0,
        _ => return Err(wrong()),
    };
    let nanos = number.trim().parse::<f64>().map_err(|_| wrong())? * factor;
    if !(0.0..9.0e18).contains(&nanos) {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to lie within 64 bits")]
    Ok(nanos.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_type_them() {
        let read = ["1.5s", "20ms", "300us", "7ns", "2", "0"].map(|text| parse_time(text).unwrap());
        assert_eq!(read, [1_500_000_000, 20_000_000, 300_000, 7, 2_000_000_000, 0]);
        for wrong in ["", "ms", "-1s", "1h", "1e99s", "NaN"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
