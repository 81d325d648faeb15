//! What is shown of recorded guests: `fata view --screenshot` of a whole recording, of a part of it and of one that came down a
//! pipe; and the viewer asked for the words on it.
#![cfg(feature = "viewer")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Place, text_of};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use fata_viewer::Source;
use fata_viewer::app::Viewer;

/// The picture that `fata view ARGS --screenshot` makes, with this file as standard input.
fn picture(place: &Place, args: &[&str], input: Stdio) -> Vec<u8> {
    let mut command = place.fata(&["view", "--screenshot", "picture.png"]);
    let output = command.args(args).stdin(input).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text_of(&output.stderr));
    fs::read(place.0.join("picture.png")).unwrap()
}

/// Width and height, as a PNG file says them in its first chunk.
fn size(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let word = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (word(16), word(20))
}

/// A place with the trace of a guest that has ended, as a directory and as a stream.
fn recorded(name: &str) -> Place {
    let place = Place::new(name);
    place.guest(&["run", "hello"]).0.wait().unwrap();
    assert!(place.run(&["collect", "hello", "-o", "trace", "--snapshot", "--quiet"]).status.success());
    let stream = place.run(&["collect", "hello", "-o", "-", "--snapshot", "--quiet"]);
    fs::write(place.0.join("standard input"), stream.stdout).unwrap();
    place
}

#[test]
fn a_picture_is_as_large_as_asked_and_shows_what_lies_between_two_moments() {
    let place = recorded("pictures");
    let asked = |more: &[&str]| {
        picture(&place, &[&["trace", "--width", "800", "--height", "400"], more].concat(), Stdio::null())
    };
    let whole = asked(&[]);
    assert_eq!(size(&whole), (800, 400));
    assert_eq!(asked(&[]), whole, "the same trace, the same picture");
    let part = asked(&["--from", "1ms", "--to", "3ms"]);
    assert_eq!(size(&part), (800, 400));
    assert!(part != whole, "a part of the trace looks as the whole");
    assert!(part != asked(&["--from", "1ms", "--to", "2ms"]), "parts that end at different moments look alike");
    assert_eq!(size(&picture(&place, &["trace"], Stdio::null())), (1600, 900));
}

#[test]
fn a_picture_of_what_comes_down_a_pipe_is_that_of_the_same_bytes_in_a_file() {
    let place = recorded("piped");
    let file = picture(&place, &["standard input"], Stdio::null());
    let (read, mut write) = std::io::pipe().unwrap();
    let mut stream = File::open(place.0.join("standard input")).unwrap();
    let feeding = std::thread::spawn(move || std::io::copy(&mut stream, &mut write).unwrap());
    let piped = picture(&place, &["-"], read.into());
    assert!(feeding.join().unwrap() > 0);
    assert!(piped == file, "not what the file looks like");
}

#[test]
fn a_picture_larger_than_can_be_drawn_is_refused_with_the_largest() {
    let place = recorded("large");
    for (option, words) in [("--width", "320..=8192"), ("--height", "200..=8192")] {
        let output = place.run(&["view", "trace", "--screenshot", "large.png", option, "8193"]);
        let said = text_of(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{said}");
    }
    assert!(!place.0.join("large.png").exists());
    assert_eq!(size(&picture(&place, &["trace", "--width", "8192"], Stdio::null())).0, 8192);
}

#[test]
fn the_viewer_names_the_promise_of_lost_wakeup_that_was_never_resolved_and_the_signal_that_was_lost() {
    let place = Place::new("unresolved");
    place.guest(&["run", "lost-wakeup"]).0.wait().unwrap();
    assert!(place.run(&["collect", "lost-wakeup", "-o", "trace"]).status.success());
    let viewer = Viewer::new(Source::Path(place.0.join("trace")), "lost-wakeup").unwrap();
    let mut harness =
        Harness::builder().with_size([1200.0, 700.0]).build_ui_state(|ui, viewer: &mut Viewer| viewer.ui(ui), viewer);
    // The loader's thread has read it soon.
    let deadline = Instant::now() + Duration::from_secs(20);
    while harness.query_by_label("2 never resolved").is_none() {
        assert!(Instant::now() < deadline, "{:?}", harness.state().data().status());
        harness.step();
        std::thread::sleep(Duration::from_millis(10));
    }
    harness.get_by_label("arp.query #4");
    harness.get_by_label("2 never resolved").click();
    harness.run_steps(4);
    harness.get_by_label("arp.reply");
    harness.get_by_label("arp.address");
    harness.get_by_label_contains("before the wait began, so the signal was lost");
    harness.get_by_label_contains("and nothing ever came of it");
}
