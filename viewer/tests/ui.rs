//! The interface under a pointer and a keyboard, drawn on the CPU: no GPU, no display.

mod common;

use common::{CpuRenderer, click, small_trace, viewer};
use egui::{Event, Key, Modifiers, MouseWheelUnit, PointerButton, Pos2, TouchPhase, Vec2, pos2, vec2};
use egui_kittest::{Harness, kittest::Queryable as _};
use fata_viewer::app::Viewer;
use fata_viewer::view::pick::Pick;

const SIZE: Vec2 = vec2(1000.0, 620.0);

fn harness(viewer: Viewer) -> Harness<'static, Viewer> {
    themed(viewer, egui::Theme::Dark)
}

fn themed(viewer: Viewer, theme: egui::Theme) -> Harness<'static, Viewer> {
    let mut harness = Harness::builder()
        .with_size(SIZE)
        .with_theme(theme)
        .renderer(CpuRenderer::default())
        .build_ui_state(|ui, viewer: &mut Viewer| viewer.ui(ui), viewer);
    harness.run_steps(4);
    harness
}

fn small() -> Harness<'static, Viewer> {
    harness(viewer(small_trace(1)))
}

/// The middle of a lane's name, from which its canvas lies to the right.
fn lane(harness: &Harness<'_, Viewer>, title: &str) -> Pos2 {
    harness.get_by_label(title).rect().center()
}

fn span_nanos(harness: &Harness<'_, Viewer>) -> f64 {
    harness.state().state().window.span
}

fn press(harness: &mut Harness<'_, Viewer>, key: Key) {
    harness.key_press(key);
    harness.run_steps(12);
}

fn wheel(harness: &mut Harness<'_, Viewer>, lines: f32) {
    harness.event(Event::MouseWheel {
        unit: MouseWheelUnit::Line,
        delta: vec2(0.0, lines),
        phase: TouchPhase::Move,
        source: egui::MouseWheelSource::Unknown,
        modifiers: Modifiers::NONE,
    });
    harness.run_steps(6);
}

#[test]
fn lanes_can_be_found_by_name() {
    let harness = small();
    for title in ["vCPU 0", "main #1", "http.connection #2", "heap.live", "slow phases", "on their way"] {
        harness.get_by_label(title);
    }
    harness.get_by_label_contains("17 discarded (17 ring full)");
}

#[test]
fn the_wheel_zooms_and_the_moment_under_the_pointer_stays() {
    let mut harness = small();
    let at = pos2(700.0, lane(&harness, "http.connection #2").y);
    harness.hover_at(at);
    harness.step();
    let before = harness.state().state().window;
    let time = |window: fata_viewer::view::projection::Window| {
        // The canvas: right of the names, left of the details.
        let left = 212.0;
        let width = f64::from(details_left(&harness)) - left;
        window.start + window.span * (700.0 - left) / width
    };
    let moment = time(before);
    wheel(&mut harness, 3.0);
    let after = harness.state().state().window;
    assert!(after.span < before.span * 0.9, "{after:?}");
    let left = 212.0;
    let width = f64::from(details_left(&harness)) - left;
    let now = after.start + after.span * (700.0 - left) / width;
    assert!((now - moment).abs() < before.span * 0.01, "{moment} moved to {now}");
    wheel(&mut harness, -3.0);
    assert!(span_nanos(&harness) > after.span);
}

/// Where the side panel begins.
fn details_left(harness: &Harness<'_, Viewer>) -> f32 {
    harness.get_by_label("timeline").rect().right()
}

#[test]
fn keys_zoom_pan_fit_and_go_to_both_ends() {
    let mut harness = small();
    let whole = span_nanos(&harness);
    press(&mut harness, Key::W);
    press(&mut harness, Key::W);
    let closer = harness.state().state().window;
    assert!(closer.span < whole * 0.5);
    press(&mut harness, Key::D);
    assert!(harness.state().state().window.start > closer.start);
    press(&mut harness, Key::Home);
    assert!(harness.state().state().window.start < 0.0);
    press(&mut harness, Key::End);
    assert!(harness.state().state().window.end() > 10_000.0);
    press(&mut harness, Key::F);
    assert!((span_nanos(&harness) - whole).abs() < whole * 0.01);
}

#[test]
fn a_click_on_a_span_shows_its_fields_and_its_source() {
    let mut harness = small();
    let row = harness.get_by_label("http.connection #2").rect();
    let right = details_left(&harness);
    // The request lies from 3.2 to 6.2 of 10 µs.
    let x = 212.0 + (right - 212.0) * 0.56;
    click(&mut harness, pos2(x, row.top() + 26.0), 2);
    assert!(matches!(harness.state().state().selection, Some(Pick::Interval { .. })));
    harness.get_by_label("http.request");
    harness.get_by_label("512 B");
    harness.get_by_label("self time");
    harness.get_by_label("src/http.rs:48");
}

#[test]
fn a_search_counts_its_names_and_enter_goes_from_match_to_match() {
    let mut harness = small();
    press(&mut harness, Key::Slash);
    harness.get_by_label("search").type_text("dns");
    harness.run_steps(4);
    harness.get_by_label("1 name");
    harness.key_press(Key::Enter);
    harness.run_steps(12);
    let first = harness.state().state().selection;
    assert!(first.is_some());
    harness.get_by_label("2 events");
    press(&mut harness, Key::N);
    let second = harness.state().state().selection;
    assert!(second.is_some() && second != first);
    press(&mut harness, Key::N);
    assert_eq!(harness.state().state().selection, first, "it goes round");
    press(&mut harness, Key::Escape);
    assert!(harness.query_by_label("search").is_none());
}

#[test]
fn letters_typed_into_the_search_are_no_commands() {
    let mut harness = small();
    let whole = span_nanos(&harness);
    press(&mut harness, Key::Slash);
    harness.get_by_label("search").type_text("www");
    harness.key_press(Key::W);
    harness.run_steps(10);
    assert!((span_nanos(&harness) - whole).abs() < 1.0);
    harness.get_by_label("no such name");
}

#[test]
fn a_click_on_a_heading_folds_its_lanes() {
    let mut harness = small();
    harness.get_by_label("Tasks").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("main #1").is_none());
    harness.get_by_label("Tasks").click();
    harness.run_steps(3);
    harness.get_by_label("main #1");
}

#[test]
fn a_pinned_lane_comes_to_the_top() {
    let mut harness = small();
    let at = lane(&harness, "heap.live");
    harness.hover_at(at);
    harness.run_steps(2);
    let pin = harness.get_by_label("pin heap.live").rect().center();
    click(&mut harness, pin, 2);
    assert!(lane(&harness, "heap.live").y < lane(&harness, "vCPU 0").y);
}

#[test]
fn shift_and_drag_measures_and_a_plain_drag_pans() {
    let mut harness = small();
    let y = lane(&harness, "http.connection #2").y;
    let drag = |harness: &mut Harness<'_, Viewer>, modifiers: Modifiers, from: f32, to: f32| {
        harness.event(Event::PointerMoved(pos2(from, y)));
        harness.step();
        let button = PointerButton::Primary;
        harness
            .event_modifiers(Event::PointerButton { pos: pos2(from, y), button, pressed: true, modifiers }, modifiers);
        harness.step();
        for step in 1u8..=4 {
            let x = from + (to - from) * f32::from(step) / 4.0;
            harness.event_modifiers(Event::PointerMoved(pos2(x, y)), modifiers);
            harness.step();
        }
        harness
            .event_modifiers(Event::PointerButton { pos: pos2(to, y), button, pressed: false, modifiers }, modifiers);
        harness.step();
    };
    let before = harness.state().state().window;
    drag(&mut harness, Modifiers::SHIFT, 400.0, 500.0);
    let (from, to) = harness.state().state().measure.expect("a range is measured");
    assert!(to - from > 1_000 && to - from < 3_000, "{from}..{to}");
    assert_eq!(harness.state().state().window, before);
    harness.get_by_label("Measured");
    drag(&mut harness, Modifiers::NONE, 500.0, 400.0);
    assert!(harness.state().state().window.start > before.start);
}

#[test]
fn the_statistics_list_callsites_and_a_click_leads_to_the_longest() {
    let mut harness = small();
    press(&mut harness, Key::T);
    harness.get_by_label("http.parse").click();
    harness.run_steps(12);
    let range = harness.state().state().window;
    assert!(range.start > 0.0 && range.end() < 8_000.0 && range.span < 5_000.0, "{range:?}");
}

#[test]
fn promises_that_nobody_resolved_are_listed_by_name() {
    let mut harness = small();
    harness.get_by_label("1 never resolved").click();
    harness.run_steps(3);
    harness.get_by_label("arp.reply");
    harness.get_by_label_contains("so the signal was lost");
}

#[test]
fn a_command_is_found_in_the_palette_by_typing() {
    let mut harness = small();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::P);
    harness.run_steps(4);
    harness.get_by_label("command").type_text("statist");
    harness.run_steps(3);
    harness.key_press(Key::Enter);
    harness.run_steps(4);
    assert!(harness.state().state().panels.statistics && !harness.state().state().panels.palette);
}

#[test]
fn a_frame_in_which_nothing_changes_draws_nothing_anew() {
    let mut harness = small();
    harness.run_steps(6);
    let before = harness.state().rebuilt();
    for x in 0u8..20 {
        harness.hover_at(pos2(300.0 + f32::from(x) * 10.0, 200.0));
        harness.step();
    }
    assert_eq!(harness.state().rebuilt(), before);
    press(&mut harness, Key::W);
    assert!(harness.state().rebuilt() > before);
}

#[test]
fn a_trace_without_events_explains_itself() {
    let mut ingest = fata_model::ingest::Ingest::new(fata_model::ingest::Limits::default());
    ingest.metadata(&common::description()).unwrap();
    let mut harness = harness(viewer(ingest.finish()));
    let picture = harness.render().unwrap();
    let texts: Vec<String> = shown_texts(&harness);
    assert!(texts.iter().any(|text| text == "This trace has no events"), "{texts:?}");
    assert!(picture.width() == 1000);
}

/// Every text that the last frame painted.
fn shown_texts(harness: &Harness<'_, Viewer>) -> Vec<String> {
    let texts = harness.output().shapes.iter().filter_map(|clipped| match &clipped.shape {
        egui::Shape::Text(text) => Some(text.galley.text().to_owned()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn the_picture_of_a_small_trace_in_both_themes() {
    let mut results = egui_kittest::SnapshotResults::new();
    for (name, theme) in [("small_dark", egui::Theme::Dark), ("small_light", egui::Theme::Light)] {
        let mut harness = themed(viewer(small_trace(1)), theme);
        harness.state_mut().state_mut().select(Some(Pick::Task(fata_model::trace::TaskRef(1))));
        harness.run_steps(2);
        results.add(harness.try_snapshot(name));
        results.extend_harness(&mut harness);
    }
}

#[test]
fn the_picture_of_a_search_among_five_hundred_connections() {
    let mut harness = harness(viewer(small_trace(500)));
    press(&mut harness, Key::Slash);
    harness.get_by_label("search").type_text("heap");
    harness.run_steps(4);
    // The blinking cursor is not part of the picture.
    press(&mut harness, Key::Enter);
    harness.snapshot("search");
}

#[test]
fn a_press_in_the_overview_leads_the_timeline_there_and_keeps_the_zoom() {
    let mut harness = small();
    harness.state_mut().show_range(fata_viewer::view::projection::Window::new(1_000.0, 500.0));
    harness.run_steps(2);
    let strip = harness.get_by_label("overview").rect();
    for share in [0.25, 0.5, 0.75] {
        click(&mut harness, pos2(strip.left() + strip.width() * share, strip.center().y), 2);
        let window = harness.state().state().window;
        let middle = window.start + window.span / 2.0;
        assert!((middle - 10_000.0 * f64::from(share)).abs() < 30.0 && window.span == 500.0, "{share}: {window:?}");
    }
}
