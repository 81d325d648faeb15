//! The keys, and the palette in which every command is found by typing.

use egui::{Align2, Grid, Key, RichText, ScrollArea, TextEdit, Ui, Window, vec2};

use crate::app::{Action, Frame};
use crate::commands::Command;

const MOUSE: [(&str, &str); 7] = [
    ("wheel", "zoom at the pointer"),
    ("drag", "pan"),
    ("Shift and wheel", "pan sideways"),
    ("Shift and drag", "measure"),
    ("click", "select"),
    ("double click", "select and zoom there"),
    ("wheel over the names", "scroll the lanes"),
];

/// Shows whichever of the two is open.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    if frame.state.panels.help {
        keys(ui, frame);
    }
    if frame.state.panels.palette {
        palette(ui, frame, actions);
    }
}

fn keys(ui: &Ui, frame: &Frame<'_>) {
    Window::new("Keys and mouse")
        .anchor(Align2::CENTER_CENTER, vec2(0.0, 0.0))
        .collapsible(false)
        .resizable(false)
        .show(ui.ctx(), |ui| {
            ui.horizontal_top(|ui| {
                let (first, second) = Command::ALL.split_at(Command::ALL.len() / 2);
                for (id, commands) in [("first keys", first), ("second keys", second)] {
                    Grid::new(id).num_columns(2).spacing([14.0, 3.0]).show(ui, |ui| {
                        for command in commands {
                            ui.label(RichText::new(command.keys()).color(frame.palette.accent));
                            ui.label(command.title());
                            ui.end_row();
                        }
                    });
                    ui.separator();
                }
                Grid::new("mouse").num_columns(2).spacing([14.0, 3.0]).show(ui, |ui| {
                    for (what, does) in MOUSE {
                        ui.label(RichText::new(what).color(frame.palette.accent));
                        ui.label(does);
                        ui.end_row();
                    }
                });
            });
            ui.add_space(4.0);
            ui.label(RichText::new("Esc closes this.").color(frame.palette.muted));
        });
}

fn palette(ui: &Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    let id = ui.scope_id().with("palette text");
    Window::new("All commands").anchor(Align2::CENTER_TOP, vec2(0.0, 60.0)).collapsible(false).resizable(false).show(
        ui.ctx(),
        |ui| {
            let mut text = ui.data(|data| data.get_temp::<String>(id)).unwrap_or_default();
            let field = ui.add(TextEdit::singleline(&mut text).hint_text("type to find").desired_width(340.0));
            field.widget_info(|| egui::WidgetInfo::labeled(egui::Role::TextInput, true, "command"));
            let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            let escaped = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Escape));
            field.request_focus();
            let found =
                Command::ALL.into_iter().filter(|&command| command != Command::Palette && fits(command.title(), &text));
            let found: Vec<Command> = found.collect();
            let mut chosen = if entered { found.first().copied() } else { None };
            ScrollArea::vertical().max_height(320.0).show(ui, |ui| {
                for &command in &found {
                    let button = egui::Button::new(command.title()).shortcut_text(command.keys()).frame(false);
                    if ui.add_sized(vec2(340.0, 20.0), button).clicked() {
                        chosen = Some(command);
                    }
                }
                if found.is_empty() {
                    ui.label(RichText::new("no such command").color(frame.palette.muted));
                }
            });
            if let Some(command) = chosen {
                actions.push(Action::Do(Command::Palette));
                actions.push(Action::Do(command));
                text.clear();
            } else if escaped {
                actions.push(Action::Do(Command::Palette));
                text.clear();
            }
            ui.data_mut(|data| data.insert_temp(id, text));
        },
    );
}

/// Whether the letters of `text` occur in `title` in this order.
fn fits(title: &str, text: &str) -> bool {
    let mut letters = title.chars().flat_map(char::to_lowercase);
    text.chars()
        .flat_map(char::to_lowercase)
        .filter(|letter| !letter.is_whitespace())
        .all(|letter| letters.any(|l| l == letter))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_command_is_found_by_letters_in_order() {
        assert!(fits("Zoom to the selection", "zsel") && fits("Zoom in", "ZOOM I") && !fits("Zoom in", "nz"));
    }
}
