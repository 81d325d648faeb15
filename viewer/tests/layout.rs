//! The display list as text: what a person sees of a small trace, without a window.

mod common;

use std::collections::{HashMap, HashSet};

use fata_model::trace::{TaskRef, Trace};
use fata_viewer::view::describe::describe;
use fata_viewer::view::display::{Column, Ink};
use fata_viewer::view::lanes::{self, Choices, LaneKey, Lanes};
use fata_viewer::view::layout::{Scene, layout};
use fata_viewer::view::names::Names;
use fata_viewer::view::pick::{Pick, pick};
use fata_viewer::view::projection::{Projection, Window};
use fata_viewer::view::search::Matches;

struct Fixture {
    trace: Trace,
    names: Names,
    lanes: Lanes,
}

fn fixture(connections: u16, toggled: &[LaneKey]) -> Fixture {
    of_trace(common::small_trace(connections), toggled)
}

fn of_trace(trace: Trace, toggled: &[LaneKey]) -> Fixture {
    let mut names = Names::default();
    names.update(&trace);
    let toggled: HashSet<LaneKey> = toggled.iter().cloned().collect();
    let alarmed = lanes::verdicts(&trace);
    let (_, lanes) = lanes::build(&trace, &names, &Choices { toggled: &toggled, pinned: &[], alarmed: &alarmed });
    Fixture { trace, names, lanes }
}

impl Fixture {
    /// The whole trace, a nanosecond in ten points.
    fn scene(&self, selection: Option<Pick>) -> Scene<'_> {
        let projection = Projection::new(Window::new(0.0, 10_000.0), 0.0, 1000.0);
        Scene { trace: &self.trace, names: &self.names, matches: None, selection, projection, scale: 1.0 }
    }

    fn text(&self, selection: Option<Pick>) -> String {
        layout(&self.scene(selection), &self.lanes, 0.0, 2000.0).to_text()
    }

    fn top(&self, title: &str) -> f32 {
        let at = self.lanes.list.iter().position(|lane| &*lane.title == title);
        self.lanes.tops[at.unwrap_or_else(|| panic!("no lane {title}"))]
    }

    fn pick(&self, title: &str, x: f32, below: f32) -> Option<Pick> {
        pick(&self.trace, &self.lanes, &self.scene(None).projection, x, self.top(title) + below)
    }
}

#[test]
fn the_lanes_are_vcpu_tasks_heap_packets_and_counters_in_this_order() {
    let titles: Vec<String> =
        fixture(1, &[]).lanes.list.iter().map(|lane| format!("{} ({})", lane.title, lane.note)).collect();
    assert_eq!(
        titles,
        [
            "vCPU ()",
            "vCPU 0 (who runs)",
            "Tasks (2 of 2 alive)",
            "main #1 (idle)",
            "http.connection #2 (idle)",
            "Heap ()",
            "slow phases (vCPU 0)",
            "Packets ()",
            "on their way (2 points)",
            "Counters (1)",
            "heap.live (3.9 KiB, ≤ 3.9 KiB)",
        ]
    );
}

#[test]
fn the_picture_of_a_small_trace_is_this_list() {
    let expected = include_str!("layout.txt");
    let found = fixture(1, &[]).text(None);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout.txt"), &found).unwrap();
        return;
    }
    assert_eq!(found, expected, "if the change is wanted: UPDATE_SNAPSHOTS=1 cargo test -p fata-viewer");
}

#[test]
fn missing_time_is_hatched_and_says_how_many_events_and_why() {
    let text = fixture(1, &[]).text(None);
    assert!(text.contains("hatch 100..200 1.000 µs not recorded: 17 discarded, the ring was full"), "{text}");
}

#[test]
fn what_nobody_resolved_is_marked_at_the_end_of_its_lane_by_name() {
    let text = fixture(1, &[]).text(None);
    assert!(text.contains("arp.reply never resolved"), "{text}");
}

#[test]
fn the_selected_task_shows_who_spawned_and_who_woke_it() {
    let fixture = fixture(1, &[]);
    let text = fixture.text(Some(Pick::Task(TaskRef(1))));
    let arrows: Vec<&str> = text.lines().filter(|line| line.starts_with("arrow")).collect();
    assert!(arrows.iter().any(|line| line.ends_with("SpawnArrow")), "{text}");
    assert!(arrows.iter().any(|line| line.ends_with("WakeArrow")), "{text}");
    assert!(!fixture.text(None).contains("arrow"));
}

#[test]
fn a_packet_is_followed_from_station_to_station() {
    let fixture = fixture(1, &[]);
    let picked = fixture.pick("on their way", 400.0, 6.0);
    let facts = describe(&fixture.trace, picked.unwrap()).unwrap();
    assert_eq!((facts.title.as_str(), facts.value("net.read")), ("net.rx", Some("+2.900 µs, http.connection #2")));
    assert!(fixture.text(picked).lines().any(|line| line.starts_with("arrow 290,")));
}

#[test]
fn a_packet_between_guests_is_an_arrow_with_whiskers_as_wide_as_the_clocks_may_be_off() {
    let fixture = of_trace(common::two_guests(), &[]);
    let text = fixture.text(None);
    let [from, to] = ["left/vCPU 0", "right/vCPU 0"].map(|title| fixture.top(title));
    // Sent at 1 µs and received at 4 µs, by clocks that may be off by 300 and by 200 ns; a nanosecond is a tenth of a point.
    let (tip, base) = (from + 9.9, to + 9.9);
    let arrow = format!("arrow 100,{tip:.0} -> 400,{base:.0} Name");
    let line = text.lines().find(|line| line.starts_with(&arrow)).unwrap_or_else(|| panic!("no {arrow:?} in {text}"));
    assert!(line.ends_with(" ± 50"), "{line}");
    assert_eq!(text.lines().filter(|line| line.starts_with("arrow")).count(), 1);
}

#[test]
fn a_search_dims_all_but_its_matches() {
    let fixture = fixture(1, &[]);
    let matches = Matches::of(&fixture.trace, "PARSE").unwrap();
    let scene = Scene { matches: Some(&matches), ..fixture.scene(None) };
    let list = layout(&scene, &fixture.lanes, 0.0, 2000.0);
    let bright: Vec<_> = list.quads.iter().filter(|quad| !quad.dim).map(|quad| (quad.x0, quad.x1)).collect();
    assert!(bright.contains(&(330.0, 430.0)), "{bright:?}");
    assert!(list.quads.iter().filter(|quad| quad.dim).count() > bright.len());
}

#[test]
fn many_tasks_of_one_name_share_a_folded_lane_that_can_be_opened() {
    let group = LaneKey::Group("http.connection".into());
    let folded = fixture(500, &[]);
    assert!(folded.lanes.list.len() < 14);
    let lane = folded.lanes.list.iter().find(|lane| lane.key == group).unwrap();
    assert_eq!((&*lane.note, lane.open), ("500 tasks, 1 alive", Some(false)));
    assert!(folded.text(None).contains("density"), "{}", folded.text(None));
    let open = fixture(500, std::slice::from_ref(&group));
    assert!(open.lanes.list.len() > 500);
    // Only what is on the screen is laid out.
    let list = layout(&open.scene(None), &open.lanes, 0.0, 400.0);
    assert!(list.bands.len() < 30, "{}", list.bands.len());
}

#[test]
fn a_group_of_very_many_tasks_shows_nothing_outside_its_tasks_lives() {
    let fixture = fixture(500, &[]);
    // A pixel stands for a microsecond, a column of the group for several pixels.
    let projection = Projection::new(Window::new(0.0, 1_000_000.0), 0.0, 1000.0);
    let list = layout(&Scene { projection, ..fixture.scene(None) }, &fixture.lanes, 0.0, 2000.0);
    let top = fixture.top("http.connection");
    let group = list.densities.iter().find(|density| (top..top + 20.0).contains(&density.y0)).unwrap();
    let shown: Vec<_> = (0..).zip(&group.columns).filter(|(_, column)| **column != Column::EMPTY).collect();
    let (first, last) = (shown.first().unwrap().0, shown.last().unwrap().0);
    // The first of them was spawned after 2.2 microseconds.
    assert_eq!((first, last), (2, (fixture.trace.end() - 1) / 1000));
}

#[test]
fn a_span_is_described_with_fields_units_self_time_and_source() {
    let fixture = fixture(1, &[]);
    let picked = fixture.pick("http.connection #2", 470.0, 26.0);
    let facts = describe(&fixture.trace, picked.unwrap()).unwrap();
    assert_eq!(facts.title, "http.request");
    assert_eq!(facts.value("duration"), Some("3.000 µs"));
    assert_eq!(facts.value("self time"), Some("1.000 µs"));
    assert_eq!(facts.value("bytes"), Some("512 B"));
    assert_eq!(facts.source, Some(("src/http.rs".into(), 48)));
}

#[test]
fn an_idle_task_says_what_it_waits_for_and_a_ready_one_who_woke_it() {
    let fixture = fixture(1, &[]);
    let idle = describe(&fixture.trace, fixture.pick("http.connection #2", 800.0, 10.0).unwrap()).unwrap();
    assert_eq!((idle.kind.as_str(), idle.value("waits for")), ("idle", Some("arp.reply")));
    let lost = idle.value("never resolved").unwrap();
    assert!(lost.contains("so the signal was lost"), "{lost}");
    let ready = describe(&fixture.trace, fixture.pick("http.connection #2", 260.0, 10.0).unwrap()).unwrap();
    assert_eq!((ready.kind.as_str(), ready.value("woken by")), ("ready", Some("main #1")));
}

#[test]
fn a_counter_tells_its_value_under_the_pointer() {
    let fixture = fixture(1, &[]);
    let facts = |x| describe(&fixture.trace, fixture.pick("heap.live", x, 20.0).unwrap()).unwrap();
    assert_eq!(facts(100.0).value("value"), Some("1000 B"));
    assert_eq!((facts(700.0).value("value"), facts(700.0).value("change")), (Some("3.9 KiB"), Some("+2.9 KiB")));
    assert!(fixture.pick("heap.live", 10.0, 20.0).is_none());
}

#[test]
fn pins_move_a_lane_to_the_top_and_folds_hide_what_is_below() {
    let Fixture { trace, names, .. } = fixture(1, &[]);
    let toggled: HashSet<LaneKey> = [LaneKey::Heading(lanes::Section::Tasks)].into();
    let pinned = [LaneKey::Cpu(0)];
    let alarmed = HashMap::new();
    let (top, rest) = lanes::build(&trace, &names, &Choices { toggled: &toggled, pinned: &pinned, alarmed: &alarmed });
    assert_eq!(top.list.len(), 1);
    assert!(rest.list.iter().all(|lane| !matches!(lane.key, LaneKey::Task(_) | LaneKey::Cpu(_))));
}

#[test]
fn the_list_grows_with_the_pixels_and_not_with_the_events() {
    let synthetic = fata_model::synthetic::Synthetic { spans: 300_000, tasks: 3, ..Default::default() };
    let mut ingest = fata_model::ingest::Ingest::new(fata_model::ingest::Limits::default());
    ingest.metadata(&synthetic.metadata()).unwrap();
    synthetic.packets(|packet| ingest.packet(packet).is_ok());
    let trace = ingest.finish();
    let mut names = Names::default();
    names.update(&trace);
    let (toggled, alarmed) = (HashSet::new(), HashMap::new());
    let (_, lanes) = lanes::build(&trace, &names, &Choices { toggled: &toggled, pinned: &[], alarmed: &alarmed });
    let columns = 800.0f32;
    for zoom in [1.0, 10.0, 100.0, 1_000.0, 100_000.0] {
        #[expect(clippy::cast_precision_loss, reason = "a range of time")]
        let window = Window::new(1_000.0, trace.end() as f64 / zoom);
        let projection = Projection::new(window, 0.0, columns);
        let scene = Scene { trace: &trace, names: &names, matches: None, selection: None, projection, scale: 1.0 };
        let list = layout(&scene, &lanes, 0.0, 5_000.0);
        // At most 3 × 8 rows of tasks, and a dozen of the vCPU, the heap and the counter.
        let most = 36 * 800;
        let drawn = list.quads.len() + list.ticks.len() + list.plots.iter().map(|plot| plot.steps.len()).sum::<usize>();
        assert!(drawn < most, "zoom {zoom}: {drawn}");
        assert!(list.densities.iter().all(|row| row.columns.len() == 800));
        assert!(list.labels.len() < 36 * 20, "zoom {zoom}: {} labels", list.labels.len());
    }
}

#[test]
fn a_task_has_a_tick_for_each_of_its_records_and_of_many_in_a_pixel_the_gravest_or_none() {
    let trace = common::log_trace(100);
    let mut names = Names::default();
    names.update(&trace);
    let (toggled, alarmed) = (HashSet::new(), HashMap::new());
    let (_, lanes) = lanes::build(&trace, &names, &Choices { toggled: &toggled, pinned: &[], alarmed: &alarmed });
    let ticks = |span: f64, columns: f32| -> Vec<(f32, Ink)> {
        let projection = Projection::new(Window::new(-500.0, span), 0.0, columns);
        let scene = Scene { trace: &trace, names: &names, matches: None, selection: None, projection, scale: 1.0 };
        let list = layout(&scene, &lanes, 0.0, 2000.0);
        let is_tick = |quad: &&fata_viewer::view::display::Quad| (quad.x1 - quad.x0 - 2.0).abs() < 0.01;
        list.quads.iter().filter(is_tick).map(|quad| (quad.x0 + 1.0, quad.ink)).collect()
    };
    // A record a microsecond, ten points each; every tenth is a warning.
    let all = ticks(100_000.0, 1000.0);
    assert_eq!(all.len(), 100);
    for (i, (x, ink)) in all.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a hundred")]
        let expected = 5.0 + 10.0 * i as f32;
        assert!((x - expected).abs() < 0.1, "{i}: {x}");
        assert_eq!(*ink, if i % 10 == 9 { Ink::Ready } else { Ink::Running }, "{i}");
    }
    let crowded = ticks(100_000.0, 50.0);
    assert_eq!(crowded.len(), 50);
    assert_eq!(crowded.iter().filter(|(_, ink)| *ink == Ink::Ready).count(), 10, "{crowded:?}");
    assert_eq!(ticks(100_000.0, 20.0), [], "five in a pixel");
}
