//! `fata demo`: the `http` sample under a real HTTP load, collected and shown.
//!
//! The load comes in through real loopback connections and the guest's own TCP/IP stack. With a display the viewer follows
//! live; without one, or with `--headless`, there are a trace, its statistics and a picture.

mod load;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fata_collector::sink::directory::{self, DirectorySink};
use fata_collector::source::{self, Guest};
use fata_collector::{Collector, Options};
use fata_model::ingest::Limits;
use fata_model::stats::Stats;
use rustix::process::{Pid, Signal, kill_process};

use crate::collect::{Progress, by_cause};
use crate::human;
use crate::output::say;
use crate::run::{EndWithParent, Platform, host, require_qemu};
use crate::signals::Stop;

/// How long a guest may take until it answers: as a machine it is built and booted first.
const START: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(600)];

/// Arguments of `fata demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the guest runs on
    #[arg(short, long, value_enum, default_value_t = Platform::Host, env = "FATA_PLATFORM")]
    platform: Platform,
    /// Open no window: write a trace and a picture, print the statistics
    #[arg(long)]
    headless: bool,
    /// How long to record, without a window
    #[arg(long, value_name = "SECONDS", value_parser = human::parse_seconds, default_value = "5")]
    seconds: Duration,
    /// The trace directory; by default a new one among the temporary files
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.platform == Platform::Qemu {
        require_qemu()?;
    }
    let stop = Stop::listen().context("cannot listen to signals")?;
    let output = match &args.output {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("fata-demo-{}", std::process::id())),
    };
    let recording = DirectorySink::open(&output, directory::Options::default())?;
    if recording.earlier().is_some() {
        bail!("{} holds a recording already: choose another directory", output.display());
    }
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("no free port")?.port();
    let mut running = Running::start(args.platform, port, &stop)?;
    say!("The guest {} answers on http://127.0.0.1:{port}/.", running.guest.label());
    let load = load::Load::start(port);
    let result = if !args.headless && has_window() {
        watch(&running, recording, &output, &stop)
    } else {
        record(&running.guest, recording, &output, args.seconds, &stop)
    };
    let (requests, failures) = load.stop();
    running.stop();
    result?;
    say!("{requests} requests were answered, {failures} failed.");
    if failures > requests / 100 {
        bail!("more than one request in a hundred failed");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a window can be opened by this program here.
fn has_window() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(feature = "viewer") && (set("WAYLAND_DISPLAY") || set("WAYLAND_SOCKET") || set("DISPLAY"))
}

/// A guest that this command has started, and ends with it.
struct Running {
    child: Child,
    guest: Guest,
}

impl Running {
    fn start(platform: Platform, port: u16, stop: &Stop) -> anyhow::Result<Self> {
        let mut command = match platform {
            Platform::Host => host::command("http", "demo", &[format!("publish={port}:80")], &[])?,
            Platform::Qemu => {
                let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
                command.args([
                    "run",
                    "--platform",
                    "qemu",
                    "--name",
                    "demo",
                    "--publish",
                    &format!("{port}:80"),
                    "http",
                ]);
                command
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .end_with_parent()
            .spawn()
            .context("cannot start the guest")?;
        let deadline = Instant::now() + START[usize::from(platform == Platform::Qemu)];
        // From here on the guest is ended whatever happens.
        let mut starting = Starting(Some(child));
        loop {
            if let Some(status) = starting.0.as_mut().and_then(|child| child.try_wait().transpose()).transpose()? {
                bail!("the guest ended before it answered, with {status}");
            }
            if let (Some(guest), true) = (find(platform, starting.id())?, load::answers(port))
                && let Some(child) = starting.0.take()
            {
                return Ok(Running { child, guest });
            }
            if Instant::now() > deadline || stop.is_asked() {
                bail!("the guest does not answer on port {port}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is ended unless it is taken.
struct Starting(Option<Child>);

impl Starting {
    fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

/// Asks a child to end and waits for it; a second time does nothing.
fn end(child: &mut Child) {
    if let Ok(None) = child.try_wait() {
        terminate(child.id());
        let _ = child.wait();
    }
}

/// Asks a process of ours to end.
fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may end by itself in this moment.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The ring of the child `pid`: its own on the host, its child's under QEMU.
fn find(platform: Platform, pid: u32) -> anyhow::Result<Option<Guest>> {
    Ok(source::list()?.into_iter().find(|guest| {
        guest.name == "demo"
            && match platform {
                Platform::Host => guest.pid == pid,
                Platform::Qemu => parent_of(guest.pid) == Some(pid),
            }
            && guest.open(false).is_ok()
    }))
}

/// The parent of a process: the fourth word of its `stat`, of which the second is a name in parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Follows the guest in a window until that is closed.
#[cfg(feature = "viewer")]
fn watch(running: &Running, recording: DirectorySink, output: &Path, stop: &Stop) -> anyhow::Result<()> {
    say!("Recording into {}.", output.display());
    let child = running.child.id();
    let live = crate::live::Live::collect(&running.guest, Some(recording), stop.clone(), move || terminate(child))?;
    crate::view::follow(live, fata_viewer::Options { title: running.guest.label(), ..fata_viewer::Options::default() })
}

#[cfg(not(feature = "viewer"))]
fn watch(_: &Running, _: DirectorySink, _: &Path, _: &Stop) -> anyhow::Result<()> {
    bail!("this fata was built without the viewer: use --headless")
}

/// Records for a while, then says and draws what came.
fn record(guest: &Guest, mut sink: DirectorySink, output: &Path, time: Duration, stop: &Stop) -> anyhow::Result<()> {
    let mut collector = Collector::attach(guest, &Options { duration: Some(time), ..Options::default() }, &[])?;
    let mut progress = Progress::new(false);
    let end = collector.run(&mut sink, &mut |status| {
        progress.show(status);
        !stop.is_asked()
    });
    progress.end();
    let end = end?;
    let totals = collector.totals();
    let trace = fata_model::source::load(output, Limits::default())?;
    crate::stats::tables(&Stats::of(&trace), false, &mut std::io::stdout().lock())
        .context("cannot print the statistics")?;
    drop(trace);
    say!(
        "\n{} events, {} in {}; discarded {}; {end}.",
        totals.events,
        human::bytes(totals.bytes),
        output.display(),
        by_cause(&totals.discarded)
    );
    draw(output)
}

/// The picture lies beside the directory: CTF readers take every file in it for a stream.
#[cfg(feature = "viewer")]
fn draw(output: &Path) -> anyhow::Result<()> {
    let mut file = output.as_os_str().to_owned();
    file.push(".png");
    let file = PathBuf::from(file);
    crate::view::write_picture(output, "demo", (None, None), fata_viewer::PictureSize::default(), &file)?;
    say!("The picture is {}.", file.display());
    Ok(())
}

#[cfg(not(feature = "viewer"))]
#[expect(clippy::unnecessary_wraps, reason = "with the viewer it can fail")]
fn draw(_: &Path) -> anyhow::Result<()> {
    say!("No picture: this fata was built without the viewer.");
    Ok(())
}
