//! The real window on a virtual screen: opened under Xvfb, its pixels looked at, its refusals read.
//!
//! A window belongs to a process's main thread, so this file has a `main` of its own: it runs itself again as the viewer.
//! Without Xvfb the test is skipped and says so; with `CI=true` that is a failure.

mod screen;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use egui::Color32;
use fata_model::synthetic::Synthetic;
use fata_viewer::paint::palette::Palette;
use fata_viewer::view::display::{Ink, ink_of_name};
use fata_viewer::{Options, Source};
use screen::{Colour, Screen};

/// Says to this program that it is the viewer: the trace to show.
const SHOW: &str = "FATA_TEST_SHOW";
/// How long the window may take to be painted, on a slow machine without a GPU.
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome = Result<(), String>;
type Test = (&'static str, fn() -> Outcome);

fn main() -> ExitCode {
    if let Some(trace) = std::env::var_os(SHOW) {
        return show(PathBuf::from(trace));
    }
    if std::env::args().any(|argument| argument == "--list") {
        println!("0 tests, 0 benchmarks");
        return ExitCode::SUCCESS;
    }
    let tests: [Test; 3] = [
        ("without_a_display_a_sentence_says_what_else_can_be_done", no_display),
        ("a_display_that_does_not_answer_names_the_packages", dead_display),
        ("the_window_shows_the_trace", real_window),
    ];
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests {
        match test() {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(why) => {
                failed += 1;
                println!("test {name} ... FAILED\n{why}");
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The viewer's process.
fn show(trace: PathBuf) -> ExitCode {
    match fata_viewer::run(Source::Path(trace), Options { title: "test".into(), ..Options::default() }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fata: {error}");
            ExitCode::FAILURE
        }
    }
}

/// This program as the viewer, on `display`.
fn viewer(trace: &Path, display: Option<&str>) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command
        .env(SHOW, trace)
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("WAYLAND_SOCKET")
        .env("LIBGL_ALWAYS_SOFTWARE", "1");
    match display {
        Some(display) => command.env("DISPLAY", display),
        None => command.env_remove("DISPLAY"),
    };
    Ok(command)
}

/// A trace directory that goes away with its owner.
struct TraceDirectory(PathBuf);

impl TraceDirectory {
    fn new(name: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("fata-window-{}-{name}", std::process::id()));
        let synthetic = Synthetic { spans: 20_000, tasks: 6, ..Synthetic::default() };
        synthetic.write_directory(&path).map_err(|error| error.to_string())?;
        Ok(Self(path))
    }
}

impl Drop for TraceDirectory {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's own temporary directory.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A process that ends with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the viewer says when it cannot open a window.
fn refusal(display: Option<&str>) -> Result<String, String> {
    let trace = TraceDirectory::new("refusal")?;
    let output = viewer(&trace.0, display)?.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Err("the viewer claims that it opened a window".into());
    }
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn no_display() -> Outcome {
    let said = refusal(None)?;
    if said.contains("no window can be opened") && said.contains("--screenshot") { Ok(()) } else { Err(said) }
}

fn dead_display() -> Outcome {
    let said = refusal(Some(":65000"))?;
    if said.contains("libegl1") && said.contains("apt-get install") { Ok(()) } else { Err(said) }
}

fn real_window() -> Outcome {
    let trace = TraceDirectory::new("real")?;
    let Some(screen) = Screen::open(&trace.0.join("screen"))? else { return Ok(()) };
    let display = screen.display();
    let mut window = Killed(viewer(&trace.0, Some(&display))?.spawn().map_err(|error| error.to_string())?);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lacking = screen.look().lacking(&expected());
        if lacking.is_none() {
            return Ok(());
        }
        if let Ok(Some(status)) = window.0.try_wait() {
            return Err(format!("the viewer ended by itself: {status}"));
        }
        if Instant::now() > deadline {
            return Err(lacking.unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the picture should show at least.
fn expected() -> [(&'static str, Colour, usize); 5] {
    let palette = Palette::dark();
    let rgb = |colour: Color32| [colour.r(), colour.g(), colour.b()];
    [
        ("the canvas", rgb(palette.canvas), 100_000),
        ("panels", rgb(palette.panel), 50_000),
        ("headings", rgb(palette.heading), 5_000),
        ("tasks that run", rgb(palette.ink(Ink::Running)), 10),
        ("the vCPU's polls", rgb(palette.ink(ink_of_name("worker"))), 50),
    ]
}
