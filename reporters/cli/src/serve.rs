//! `fata serve`: offer a guest's live trace on a Unix socket, and on a loopback TCP port if asked; record it as well if asked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use fata_collector::serve::Server;
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::sink::tee::Tee;
use fata_collector::{Collector, Options, source};
use fata_wire::field::Level;

use crate::collect::{Progress, parse_level};
use crate::human;
use crate::output::say;
use crate::signals::Stop;

/// Arguments of `fata serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The guest: its name, `name.pid`, process id, or the path of a memory file
    #[arg(add = clap_complete::engine::ArgValueCandidates::new(crate::completions::guests))]
    guest: String,
    /// The Unix socket; by default `<guest>.sock` in the ring directory
    #[arg(long, value_name = "PATH", env = "FATA_SOCKET")]
    socket: Option<PathBuf>,
    /// A loopback address and port as well, such as 127.0.0.1:7070; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    tcp: Option<SocketAddr>,
    /// Record into this directory as well
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Keep at most this much of the recording, the newest, such as 2G
    #[arg(long, value_name = "SIZE", value_parser = human::parse_keep, requires = "output")]
    keep: Option<u64>,
    /// Record events up to this level: error, warn, info, debug, trace
    #[arg(long, value_parser = parse_level)]
    level: Option<Level>,
    /// Say nothing while it goes well
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stop = Stop::listen().context("cannot listen to signals")?;
    let guest = source::find(&args.guest)?;
    let mut recording = match &args.output {
        Some(dir) => Some(DirectorySink::open(dir, directory::Options { keep_bytes: args.keep })?),
        None => None,
    };
    let earlier = recording.as_ref().and_then(DirectorySink::earlier).map(std::slice::from_ref).unwrap_or(&[]);
    let options = Options { level: args.level, ..Options::default() };
    let mut collector = Collector::attach(&guest, &options, earlier)?;
    let mut server = Server::new(&guest.name, collector.platform().text(), collector.uuid());
    let socket = args.socket.clone().unwrap_or_else(|| source::ring_dir().join(format!("{}.sock", guest.label())));
    server.listen_unix(&socket)?;
    say!("Serving {} on {}: `fata view {}` looks on.", guest.label(), socket.display(), socket.display());
    if let Some(address) = args.tcp {
        say!("Serving on {} too.", server.listen_tcp(address)?);
    }
    let mut progress = Progress::new(args.quiet);
    let mut report = |status: &fata_collector::Status| {
        progress.show(status);
        !stop.is_asked()
    };
    let result = match &mut recording {
        Some(recording) => collector.run(&mut Tee(recording, &mut server), &mut report),
        None => collector.run(&mut server, &mut report),
    };
    progress.end();
    match &result {
        Ok(end) => server.end(&end.to_string()),
        Err(error) => server.end(&error.to_string()),
    }
    let totals = collector.totals();
    say!("{} events; discarded {}; {}.", totals.events, crate::collect::by_cause(&totals.discarded), result?);
    match (server.lost(), &recording) {
        (0, _) => Ok(ExitCode::SUCCESS),
        (lost, Some(_)) => bail!(
            "{lost} packets were left out for viewers that read too slowly, and what they showed has gaps; the recording has all"
        ),
        (lost, None) => bail!(
            "{lost} packets were left out for viewers that read too slowly, and what they showed has gaps; with -o they are \
             recorded as well, whatever a viewer does"
        ),
    }
}
