//! The log panel under a pointer and a keyboard: filter while typing, levels, a click that leads the timeline, a selection
//! that leads the log.

mod common;

use common::{CpuRenderer, click, log_trace, numbers_trace, spoken_trace, viewer};
use egui::{Event, Key, Modifiers, Pos2, Vec2, pos2, vec2};
use egui_kittest::{Harness, kittest::Queryable as _};
use fata_model::trace::{TaskRef, Trace};
use fata_viewer::app::Viewer;
use fata_viewer::view::pick::Pick;
use fata_viewer::view::projection::Window;

const SIZE: Vec2 = vec2(1000.0, 620.0);
/// Frames after which whatever a click or a key has begun is over.
const STEPS: usize = 12;

/// The panel, open, over a log of so many records: one a microsecond.
fn harness(records: u64) -> Harness<'static, Viewer> {
    panel(log_trace(records))
}

/// The panel, open, over the log of a trace.
fn panel(trace: Trace) -> Harness<'static, Viewer> {
    let mut harness = Harness::builder()
        .with_size(SIZE)
        .with_theme(egui::Theme::Dark)
        .renderer(CpuRenderer::default())
        .build_ui_state(|ui, viewer: &mut Viewer| viewer.ui(ui), viewer(trace));
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

/// In the row of spans of the task of this name, where the timeline shows this moment.
fn in_spans(harness: &Harness<'_, Viewer>, task: &str, nanos: f64) -> Pos2 {
    let (left, right) = (212.0, harness.get_by_label("timeline").rect().right());
    let window = harness.state().state().window;
    #[expect(clippy::cast_possible_truncation, reason = "a place on the screen")]
    let share = ((nanos - window.start) / window.span) as f32;
    pos2(left + (right - left) * share, harness.get_by_label(task).rect().top() + 26.0)
}

#[test]
fn a_span_that_is_selected_in_the_timeline_says_which_records_are_listed() {
    let mut harness = panel(spoken_trace());
    harness.get_by_label("8 of 8");
    let at = in_spans(&harness, "http.connection #2", 3_000.0);
    click(&mut harness, at, STEPS);
    assert!(matches!(harness.state().state().selection, Some(Pick::Interval { .. })));
    harness.get_by_label("2 of 8");
    harness.get_by_label_contains("the request is parsed");
    harness.get_by_label_contains("the request is slow");
}

#[test]
fn a_task_that_is_selected_in_the_timeline_lists_its_records_and_none_of_a_later_task_of_its_number() {
    let mut harness = panel(spoken_trace());
    let at = in_spans(&harness, "http.connection #2", 9_000.0);
    click(&mut harness, at, STEPS);
    assert_eq!(harness.state().state().selection, Some(Pick::Task(TaskRef(1))));
    harness.get_by_label("4 of 8");
    harness.get_by_label_contains("the connection is accepted");
    assert!(harness.query_by_label_contains("another task").is_none());
    let name = harness.get_by_label("arp.reply #2").rect().center();
    click(&mut harness, name, STEPS);
    // What is lost may have been its own.
    harness.get_by_label("2 of 8");
    harness.get_by_label_contains("arp.reply #2  another task of the number");
    harness.get_by_label_contains("LOST");
}

#[test]
fn the_level_box_leaves_what_is_as_important_and_what_of_it_is_lost() {
    let mut harness = panel(spoken_trace());
    let level = harness.get_by_label("least important level").rect().center();
    click(&mut harness, level, STEPS);
    let warn = harness.get_by_label("warn").rect().center();
    click(&mut harness, warn, STEPS);
    harness.get_by_label("3 of 8");
    harness.get_by_label_contains("main ends");
    harness.get_by_label_contains("LOST   lost 1 record (1 WARN)");
    harness.get_by_label("1 lost");
    assert!(harness.query_by_label_contains("main begins").is_none());
}

#[test]
fn ten_million_records_are_filtered_as_one_types_and_their_end_is_one_drag_away_and_drawn_exactly() {
    let mut harness = panel(numbers_trace(10_000_000));
    harness.state_mut().state_mut().log.top = f64::MAX;
    harness.run_steps(3);
    let rect = |harness: &Harness<'_, Viewer>, text: &str| harness.get_by_label_contains(text).rect();
    let (last, before) = (rect(&harness, "n999"), rect(&harness, "n998"));
    assert!((last.top() - before.top() - 17.0).abs() < 0.6, "{last:?} {before:?}");
    // What is typed is looked for a part of a frame at a time, so that there is a frame for each letter.
    type_filter(&mut harness, "n98");
    let frames = (0..100_000).find(|_| {
        harness.step();
        harness.state().is_log_searched()
    });
    assert!(frames.is_some());
    harness.run_steps(STEPS);
    harness.get_by_label("100,000 of 10,000,000");
    harness.state_mut().state_mut().log.top = f64::MAX;
    harness.run_steps(3);
    let (last, before) = (rect(&harness, "n989"), rect(&harness, "n988"));
    assert!((last.top() - before.top() - 17.0).abs() < 0.6, "{last:?} {before:?}");
}

#[test]
fn the_picture_of_a_log() {
    let mut harness = harness(1000);
    harness.snapshot("log");
}
