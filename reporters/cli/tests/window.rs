//! `fata view` and `fata demo` in their windows, on a virtual screen: a pipe, a guest that runs, and a guest of the demo's own.
//!
//! Without Xvfb each of these is skipped and says so; with `CI=true` that is a failure.
#![cfg(feature = "viewer")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;
#[path = "../../../viewer/tests/screen/mod.rs"]
mod screen;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ends, Place, json, text_of};
use fata_viewer::paint::palette::Palette;
use fata_viewer::view::display::Ink;
use screen::{Colour, Screen};

/// How long a window may take to be painted, on a slow machine without a GPU.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a picture of a guest at work shows at least: groups of lanes, and in them times in which nothing runs, which have a
/// colour of their own. A window without a trace has neither.
fn work() -> [(&'static str, Colour, usize); 3] {
    let palette = Palette::dark();
    let [canvas, heading, idle] = [palette.canvas, palette.heading, palette.ink(Ink::Idle)].map(|colour| {
        let [red, green, blue, _] = colour.to_array();
        [red, green, blue]
    });
    [("the canvas", canvas, 100_000), ("headings", heading, 5_000), ("idle times", idle, 300)]
}

/// The command with its window on this screen.
fn on(screen: &Screen, place: &Place, args: &[&str]) -> Command {
    let mut command = place.fata(args);
    command.env("DISPLAY", screen.display()).env("LIBGL_ALWAYS_SOFTWARE", "1").stderr(Stdio::piped());
    command
}

/// Waits until the window shows a guest at work.
fn wait_for_work(screen: &Screen, window: &mut Ends) {
    let deadline = Instant::now() + PATIENCE;
    while let Some(lacking) = screen.look().lacking(&work()) {
        assert_eq!(window.0.try_wait().unwrap(), None, "the window closed by itself");
        assert!(Instant::now() < deadline, "{lacking}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A guest that always has something to do, and says so in a rate that any machine can follow.
fn busy(place: &Place) -> Ends {
    let guest = place.guest(&["run", "churn", "rounds=1000000"]);
    place.wait_until_listed("running");
    guest
}

fn terminate(process: &Ends) {
    assert!(Command::new("kill").arg(process.0.id().to_string()).status().unwrap().success());
}

#[test]
fn a_recording_down_a_pipe_is_followed_in_the_window_from_its_begin() {
    let place = Place::new("window-pipe");
    let Some(screen) = Screen::open(&place.0.join("screen")).unwrap() else { return };
    let _guest = busy(&place);
    let mut collecting =
        Ends(place.fata(&["collect", "churn", "-o", "-", "--quiet"]).stdout(Stdio::piped()).spawn().unwrap());
    let pipe = collecting.0.stdout.take().unwrap();
    let mut window = Ends(on(&screen, &place, &["view", "-"]).stdin(pipe).spawn().unwrap());
    wait_for_work(&screen, &mut window);
    // It goes on while the pipe does.
    let before = screen.look();
    let deadline = Instant::now() + PATIENCE;
    while screen.look() == before {
        assert!(Instant::now() < deadline, "the picture stands still");
        std::thread::sleep(Duration::from_millis(200));
    }
    // With its reader the recording ends, which is no error.
    drop(window);
    assert!(collecting.0.wait().unwrap().success());
}

#[test]
fn a_guest_is_followed_in_the_window_which_leaves_it_in_order_when_asked_to_end() {
    let place = Place::new("window-guest");
    let Some(screen) = Screen::open(&place.0.join("screen")).unwrap() else { return };
    let _guest = busy(&place);
    let mut window = Ends(on(&screen, &place, &["view", "churn"]).spawn().unwrap());
    wait_for_work(&screen, &mut window);
    place.wait_until_listed(&format!("collected by {}", window.0.id()));
    terminate(&window);
    assert_eq!(window.0.wait().unwrap().code(), Some(130));
    // The guest is in nobody's hands, and a flight recorder again.
    assert_eq!(json(&place, &["list", "--json"])[0]["collector"], 0);
    assert!(text_of(&place.run(&["ctl", "churn", "dump"]).stdout).contains("overwrite"));
}

#[test]
fn the_demo_shows_its_guest_in_a_window_and_ends_it_with_the_window() {
    let place = Place::new("window-demo");
    let Some(screen) = Screen::open(&place.0.join("screen")).unwrap() else { return };
    let mut demo = Ends(on(&screen, &place, &["demo", "-o", "trace"]).spawn().unwrap());
    place.wait_until_listed("running");
    wait_for_work(&screen, &mut demo);
    terminate(&demo);
    assert_eq!(demo.0.wait().unwrap().code(), Some(130));
    place.wait_until_listed("exited");
    // What was shown was recorded.
    let stats = json(&place, &["stats", "--json", "trace"]);
    let answered = stats["callsites"].as_array().unwrap().iter().find(|site| site["name"] == "http.request").unwrap();
    assert!(answered["count"].as_u64().unwrap() > 10, "{answered}");
}
