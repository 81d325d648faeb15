//! Promises that nobody resolved, by name: where a lost wake-up shows.

use egui::{RichText, ScrollArea, Ui};
use fata_model::objects::Verdict;

use crate::app::{Action, Frame};
use crate::view::describe::never_resolved;
use crate::view::display::Ink;
use crate::view::format;
use crate::view::pick::Pick;

/// Shows the list.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    let list = frame.trace.unresolved();
    ui.heading("Never resolved");
    if list.is_empty() {
        ui.label(
            RichText::new("At the end nobody waited for a promise, condition or channel.").color(frame.palette.muted),
        );
        ui.add_space(8.0);
        return;
    }
    let height = ui.available_height() * 0.5;
    ScrollArea::vertical().id_salt("unresolved").max_height(height).show(ui, |ui| {
        for lost in &list {
            let colour = match lost.verdict {
                Verdict::SignalLost => frame.palette.alarm,
                Verdict::NeverResolved => frame.palette.ink(Ink::Ready),
                Verdict::StillWaiting => frame.palette.muted,
            };
            let task = lost.task.map_or_else(|| "no task".to_owned(), |task| frame.trace.task_label(task));
            ui.horizontal(|ui| {
                ui.label(RichText::new(&lost.name).strong().color(colour));
                let waited = format!("for {}", format::duration(frame.trace.end() - lost.since));
                ui.label(RichText::new(waited).color(frame.palette.muted));
            });
            if ui.link(&task).on_hover_text("Show the task").clicked()
                && let Some(task) = lost.task
            {
                actions.push(Action::Show(Pick::Task(task)));
            }
            ui.add(egui::Label::new(RichText::new(never_resolved(lost)).color(frame.palette.muted)).wrap());
            ui.add_space(6.0);
        }
    });
    ui.separator();
}
