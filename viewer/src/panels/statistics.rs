//! The table of callsites: how often, how long, and a click that leads to the longest.

use egui::{Align, Layout, RichText, ScrollArea, Sense, Ui, vec2};
use fata_model::stats::CallsiteStats;

use crate::app::{Action, Frame};
use crate::view::format;

const ROW_HEIGHT: f32 = 19.0;

/// A column: its title, its width, and what it shows.
struct Column {
    title: &'static str,
    width: f32,
    text: fn(&CallsiteStats) -> String,
    order: fn(&CallsiteStats) -> f64,
}

const COLUMNS: [Column; 8] = [
    Column { title: "name", width: 220.0, text: |row| row.name.clone(), order: |_| 0.0 },
    Column { title: "kind", width: 76.0, text: |row| row.kind.to_owned(), order: |_| 0.0 },
    Column { title: "count", width: 86.0, text: |row| format::count(row.count), order: |row| float(row.count) },
    Column { title: "total", width: 92.0, text: |row| time(row, row.total_ns), order: |row| signed(row.total_ns) },
    Column { title: "self", width: 92.0, text: |row| time(row, row.self_ns), order: |row| signed(row.self_ns) },
    Column { title: "median", width: 86.0, text: |row| time(row, row.p50_ns), order: |row| signed(row.p50_ns) },
    Column { title: "99 %", width: 86.0, text: |row| time(row, row.p99_ns), order: |row| signed(row.p99_ns) },
    Column { title: "longest", width: 86.0, text: |row| time(row, row.max_ns), order: |row| signed(row.max_ns) },
];

fn float(value: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "only for sorting")]
    let value = value as f64;
    value
}

fn signed(value: i64) -> f64 {
    crate::view::projection::nanos_f64(value)
}

/// A duration, empty for what has none.
fn time(row: &CallsiteStats, nanos: i64) -> String {
    if row.kind == "span" { format::duration(nanos) } else { String::new() }
}

/// Shows the table.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    let sort = ui.scope_id().with("sort");
    let (by, ascending) = ui.data(|data| data.get_temp::<(usize, bool)>(sort)).unwrap_or((3, false));
    ui.horizontal(|ui| {
        for (at, column) in COLUMNS.iter().enumerate() {
            cell(ui, column.width, at > 1, |ui| {
                let colour = if at == by { frame.palette.accent } else { frame.palette.muted };
                let title = RichText::new(column.title).color(colour);
                if ui.add(egui::Label::new(title).sense(Sense::click())).clicked() {
                    ui.data_mut(|data| data.insert_temp(sort, (at, at == by && !ascending)));
                }
            });
        }
    });
    ui.separator();
    let mut rows: Vec<&CallsiteStats> = frame.stats.callsites.iter().collect();
    match (COLUMNS.get(by), by) {
        (_, 0) => rows.sort_by(|a, b| a.name.cmp(&b.name)),
        (_, 1) => rows.sort_by(|a, b| a.kind.cmp(b.kind)),
        (Some(column), _) => rows.sort_by(|a, b| (column.order)(b).total_cmp(&(column.order)(a))),
        (None, _) => {}
    }
    if ascending {
        rows.reverse();
    }
    ScrollArea::both().id_salt("callsites").auto_shrink(false).show_rows(ui, ROW_HEIGHT, rows.len(), |ui, range| {
        for row in rows.get(range).unwrap_or(&[]) {
            line(ui, frame, row, actions);
        }
    });
}

fn line(ui: &mut Ui, frame: &Frame<'_>, row: &CallsiteStats, actions: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        for (at, column) in COLUMNS.iter().enumerate() {
            cell(ui, column.width, at > 1, |ui| {
                if at > 0 {
                    ui.label((column.text)(row));
                    return;
                }
                let ink = frame.palette.ink(crate::view::display::ink_of_name(&row.name));
                let (dot, _) = ui.allocate_exact_size(vec2(8.0, 8.0), Sense::hover());
                ui.painter().rect_filled(dot, 2.0, ink);
                let callsite = frame.trace.description().callsites().find(|callsite| *callsite.name == *row.name);
                if ui.link(&row.name).on_hover_text("Go to the longest").clicked()
                    && let Some(callsite) = callsite
                {
                    actions.push(Action::ShowLongest(callsite.id));
                }
            });
        }
    });
}

/// A cell of fixed width, numbers to the right.
fn cell(ui: &mut Ui, width: f32, number: bool, add: impl FnOnce(&mut Ui)) {
    let layout = if number { Layout::right_to_left(Align::Center) } else { Layout::left_to_right(Align::Center) };
    ui.allocate_ui_with_layout(vec2(width, ROW_HEIGHT), layout, |ui| {
        ui.set_min_width(width);
        add(ui);
    });
}
