//! What is known of the selection, and the tooltip, which is its short form.

use egui::{Align, Layout, RichText, ScrollArea, Ui, vec2};

use crate::app::{Action, Frame};
use crate::commands::Command;
use crate::view::describe::{Facts, describe};
use crate::view::format;
use crate::view::pick::Pick;

/// Rows that a tooltip shows, at most.
const TOOLTIP_ROWS: usize = 7;
/// The width of the names beside values.
const NAME_WIDTH: f32 = 92.0;

/// Shows the selection.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    if let Some((from, to)) = frame.state.measure {
        ui.heading("Measured");
        row(ui, frame, "length", &format::duration(to - from));
        row(ui, frame, "from", &crate::view::describe::exact(from));
        row(ui, frame, "to", &crate::view::describe::exact(to));
        ui.add_space(8.0);
    }
    let facts = frame.state.selection.and_then(|pick| Some((pick, describe(frame.trace, pick)?)));
    let Some((pick, facts)) = facts else {
        ui.heading("Nothing selected");
        let text =
            "Click a span, a task or a counter. Wheel: zoom. Drag: pan. Shift and drag: measure. H shows all keys.";
        ui.label(RichText::new(text).color(frame.palette.muted));
        return;
    };
    ScrollArea::vertical().id_salt("details").show(ui, |ui| {
        ui.heading(&facts.title);
        ui.label(RichText::new(&facts.kind).color(frame.palette.muted));
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            if ui.small_button("Zoom here").on_hover_text(Command::Focus.keys()).clicked() {
                actions.push(Action::Do(Command::Focus));
            }
            if let Some(task) = pick.task(frame.trace).filter(|&task| pick != Pick::Task(task))
                && ui.small_button("Its task").clicked()
            {
                actions.push(Action::Select(Some(Pick::Task(task))));
            }
        });
        ui.add_space(4.0);
        table(ui, frame, &facts.rows);
        if !facts.fields.is_empty() {
            ui.add_space(6.0);
            ui.label(RichText::new("Fields").strong());
            table(ui, frame, &facts.fields);
        }
        if let Some((file, line)) = &facts.source {
            ui.add_space(6.0);
            ui.label(RichText::new("Source").strong());
            let place = format!("{file}:{line}");
            if ui.link(&place).on_hover_text("Copy").clicked() {
                ui.ctx().copy_text(place);
            }
        }
    });
}

fn table(ui: &mut Ui, frame: &Frame<'_>, rows: &[(String, String)]) {
    for (name, value) in rows {
        row(ui, frame, name, value);
    }
}

fn row(ui: &mut Ui, frame: &Frame<'_>, name: &str, value: &str) {
    let alarm = name == "never resolved";
    let colour = if alarm { frame.palette.alarm } else { frame.palette.muted };
    ui.horizontal_top(|ui| {
        let layout = Layout::top_down(Align::Min);
        ui.allocate_ui_with_layout(vec2(NAME_WIDTH, 0.0), layout, |ui| {
            ui.set_width(NAME_WIDTH);
            ui.add(egui::Label::new(RichText::new(name).color(colour)).truncate());
        });
        ui.add(egui::Label::new(value).wrap());
    });
}

/// The short form, at the pointer.
pub(super) fn tooltip(ui: &mut Ui, frame: &Frame<'_>, picked: Option<Pick>, gap: Option<&str>) {
    ui.set_max_width(360.0);
    if let Some(gap) = gap {
        ui.label(RichText::new(gap).color(frame.palette.alarm));
    }
    let Some(facts) = picked.and_then(|pick| describe(frame.trace, pick)) else { return };
    short(ui, frame, &facts);
}

fn short(ui: &mut Ui, frame: &Frame<'_>, facts: &Facts) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(&facts.title).strong());
        ui.label(RichText::new(&facts.kind).color(frame.palette.muted));
    });
    let rows: Vec<_> = facts.rows.iter().chain(&facts.fields).take(TOOLTIP_ROWS).cloned().collect();
    table(ui, frame, &rows);
}
