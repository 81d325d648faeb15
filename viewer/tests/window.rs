//! The real window on a virtual screen: opened under Xvfb, its pixels looked at, its refusals read.
//!
//! A window belongs to a process's main thread, so this file has a `main` of its own: it runs itself again as the viewer.
//! Without Xvfb the test is skipped and says so; with `CI=true` that is a failure.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use egui::Color32;
use fata_model::synthetic::Synthetic;
use fata_viewer::paint::palette::Palette;
use fata_viewer::view::display::{Ink, ink_of_name};
use fata_viewer::{Options, Source};

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
    let screen = trace.0.join("screen");
    std::fs::create_dir_all(&screen).map_err(|error| error.to_string())?;
    let xvfb = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-fbdir"])
        .arg(&screen)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut xvfb = match xvfb {
        Ok(child) => Killed(child),
        Err(_) if std::env::var("CI").as_deref() != Ok("true") => {
            println!("SKIPPED the viewer's window: Xvfb is not installed (apt-get install xvfb)");
            return Ok(());
        }
        Err(error) => return Err(format!("Xvfb cannot be started (apt-get install xvfb): {error}")),
    };
    let display = format!(":{}", display_number(&mut xvfb.0)?);
    let mut window = Killed(viewer(&trace.0, Some(&display))?.spawn().map_err(|error| error.to_string())?);
    let file = screen.join("Xvfb_screen0");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pixels = read_screen(&file).unwrap_or_default();
        let lacking = lacking(&pixels);
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

/// What the picture should show and does not.
fn lacking(pixels: &[Color32]) -> Option<String> {
    let mut counts: HashMap<Color32, usize> = HashMap::new();
    for &pixel in pixels {
        *counts.entry(pixel).or_default() += 1;
    }
    let palette = Palette::dark();
    let expected = [
        ("the canvas", palette.canvas, 100_000),
        ("panels", palette.panel, 50_000),
        ("headings", palette.heading, 5_000),
        ("tasks that run", palette.ink(Ink::Running), 10),
        ("the vCPU's polls", palette.ink(ink_of_name("worker")), 50),
    ];
    for (what, colour, least) in expected {
        let found = near(&counts, colour);
        if found < least {
            return Some(format!("{what}: {found} pixels of {colour:?}, not {least}; {} colours in all", counts.len()));
        }
    }
    None
}

/// Pixels of a colour, whatever the dithering made of it.
fn near(counts: &HashMap<Color32, usize>, colour: Color32) -> usize {
    let close = |a: u8, b: u8| a.abs_diff(b) <= 1;
    let alike =
        |other: &Color32| close(other.r(), colour.r()) && close(other.g(), colour.g()) && close(other.b(), colour.b());
    counts.iter().filter(|(other, _)| alike(other)).map(|(_, count)| count).sum()
}

/// The number that Xvfb writes when it is ready.
fn display_number(xvfb: &mut Child) -> Result<u32, String> {
    let mut text = String::new();
    let mut output = xvfb.stdout.take().ok_or("no output of Xvfb")?;
    let mut byte = [0];
    while !text.ends_with('\n') {
        match output.read(&mut byte) {
            Ok(1) => text.push(char::from(byte[0])),
            _ => return Err("Xvfb ended at once".into()),
        }
    }
    text.trim().parse().map_err(|_| format!("Xvfb said {text:?} instead of a display's number"))
}

/// The screen as Xvfb keeps it in a file, in the format of `xwd`: a header of big-endian words, a colour map, then rows of
/// four bytes per pixel.
fn read_screen(file: &Path) -> Option<Vec<Color32>> {
    let bytes = std::fs::read(file).ok()?;
    let word = |index: usize| {
        let bytes = bytes.get(index * 4..index * 4 + 4)?;
        usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
    };
    let (header_bytes, width, height, row_bytes, colours) = (word(0)?, word(4)?, word(5)?, word(12)?, word(19)?);
    let start = header_bytes + colours * 12;
    let mut pixels = Vec::with_capacity(width * height);
    for row in 0..height {
        let from = start + row * row_bytes;
        for pixel in bytes.get(from..from + width * 4)?.chunks_exact(4) {
            // Little-endian: blue, green, red.
            pixels.push(Color32::from_rgb(*pixel.get(2)?, *pixel.get(1)?, *pixel.first()?));
        }
    }
    Some(pixels)
}
