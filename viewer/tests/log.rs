//! The log panel under a pointer and a keyboard: filter while typing, levels, a click that leads the timeline, a selection
//! that leads the log.

mod common;

use common::{CpuRenderer, click, log_trace, viewer};
use egui::{Event, Key, Modifiers, Vec2, vec2};
use egui_kittest::{Harness, kittest::Queryable as _};
use fata_viewer::app::Viewer;
use fata_viewer::view::projection::Window;

const SIZE: Vec2 = vec2(1000.0, 620.0);
/// Frames after which whatever a click or a key has begun is over.
const STEPS: usize = 12;

/// The panel, open, over a log of so many records: one a microsecond.
fn harness(records: u64) -> Harness<'static, Viewer> {
    let mut harness = Harness::builder()
        .with_size(SIZE)
        .with_theme(egui::Theme::Dark)
        .renderer(CpuRenderer::default())
        .build_ui_state(|ui, viewer: &mut Viewer| viewer.ui(ui), viewer(log_trace(records)));
    harness.run_steps(4);
    harness.key_press(Key::O);
    harness.run_steps(4);
    harness
}

fn type_filter(harness: &mut Harness<'_, Viewer>, text: &str) {
    let at = harness.get_by_label("filter the log").rect().center();
    click(harness, at, STEPS);
    for letter in text.chars() {
        harness.event(Event::Text(letter.to_string()));
        harness.step();
    }
    harness.run_steps(STEPS);
}

#[test]
fn records_stand_with_time_level_target_task_and_text() {
    let harness = harness(1000);
    harness.get_by_label("1,000 of 1,000");
    let row = harness.get_by_label_contains("connection 1 opened").rect();
    assert!(row.width() > 500.0);
    harness.get_by_label_contains("WARN");
    harness.get_by_label_contains("net.tcp");
}

#[test]
fn typing_filters_and_taking_letters_back_unfilters() {
    let mut harness = harness(1000);
    type_filter(&mut harness, "retransmit");
    harness.get_by_label("100 of 1,000");
    assert!(harness.query_by_label_contains("accepted").is_none());
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.key_press(Key::Backspace);
    harness.run_steps(STEPS);
    harness.get_by_label("1,000 of 1,000");
}

#[test]
fn a_click_on_a_record_leads_the_timeline_there_and_keeps_the_zoom() {
    let mut harness = harness(1000);
    harness.state_mut().show_range(Window::new(500_000.0, 20_000.0));
    harness.run_steps(4);
    let row = harness.get_by_label_contains("connection 3 opened").rect().center();
    click(&mut harness, row, STEPS);
    let window = harness.state().state().window;
    assert!((window.span - 20_000.0).abs() < 1.0, "{window:?}");
    assert!((window.start + window.span / 2.0 - 3_000.0).abs() < 200.0, "{window:?}");
}

#[test]
fn a_measured_time_says_which_records_are_listed_until_it_is_switched_off() {
    let mut harness = harness(1000);
    harness.state_mut().state_mut().measure = Some((100_000, 149_999));
    harness.run_steps(4);
    harness.get_by_label("50 of 1,000");
    harness.get_by_label_contains("connection 100 ");
    let at = harness.get_by_label("of the selection").rect().center();
    click(&mut harness, at, STEPS);
    harness.get_by_label("1,000 of 1,000");
}

#[test]
fn the_end_of_a_hundred_thousand_records_is_one_drag_away_and_drawn_exactly() {
    let mut harness = harness(100_000);
    harness.state_mut().state_mut().log.top = f64::MAX;
    harness.run_steps(3);
    let last = harness.get_by_label_contains("connection 99999 ").rect();
    let before = harness.get_by_label_contains("connection 99998 ").rect();
    assert!((last.top() - before.top() - 17.0).abs() < 0.6, "{last:?} {before:?}");
}

#[test]
fn the_picture_of_a_log() {
    let mut harness = harness(1000);
    harness.snapshot("log");
}
