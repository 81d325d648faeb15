//! The line at the top: what is open, what can be done, the search.

use egui::{Align, Button, Id, Key, Layout, RichText, TextEdit, Ui};

use crate::app::{Action, Frame};
use crate::commands::Command;
use crate::view::format;

const MENUS: [(&str, &[Command]); 3] = [
    (
        "View",
        &[
            Command::Fit,
            Command::Focus,
            Command::ZoomIn,
            Command::ZoomOut,
            Command::GoToStart,
            Command::GoToEnd,
            Command::FoldAll,
            Command::UnfoldAll,
            Command::ToggleTheme,
            Command::Quit,
        ],
    ),
    (
        "Go",
        &[
            Command::Search,
            Command::NextMatch,
            Command::PreviousMatch,
            Command::SelectNext,
            Command::SelectPrevious,
            Command::PageLeft,
            Command::PageRight,
            Command::Clear,
            Command::TogglePause,
        ],
    ),
    ("Help", &[Command::Palette, Command::Help]),
];

/// Shows the line.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    ui.horizontal(|ui| {
        ui.label(RichText::new("Fata").strong().color(frame.palette.accent));
        for (title, commands) in MENUS {
            ui.menu_button(title, |ui| {
                for &command in commands {
                    let button = Button::new(command.title()).shortcut_text(command.keys());
                    if ui.add(button).clicked() {
                        actions.push(Action::Do(command));
                    }
                }
            });
        }
        ui.separator();
        ui.label(RichText::new(frame.title).color(frame.palette.muted));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let panels = frame.state.panels;
            for (command, on) in [
                (Command::ToggleDetails, panels.details),
                (Command::ToggleUnresolved, panels.unresolved),
                (Command::ToggleStatistics, panels.statistics),
                (Command::ToggleLog, panels.log),
            ] {
                let hint = format!("{} ({})", command.title(), command.keys());
                if ui.selectable_label(on, command.title()).on_hover_text(hint).clicked() {
                    actions.push(Action::Do(command));
                }
            }
            if frame.status.is_following() {
                let text = if frame.state.following { "Pause" } else { "Follow" };
                if ui.selectable_label(frame.state.following, text).on_hover_text("Space").clicked() {
                    actions.push(Action::Do(Command::TogglePause));
                }
            }
            search(ui, frame, actions);
        });
    });
}

fn search(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    let state = &frame.state.search;
    if !state.open && state.text.is_empty() {
        if ui.button("Search  /").clicked() {
            actions.push(Action::Do(Command::Search));
        }
        return;
    }
    if ui.small_button("Close").on_hover_text("Esc").clicked() {
        actions.push(Action::CloseSearch);
    }
    if ui.small_button("Next").on_hover_text("Enter, or N").clicked() {
        actions.push(Action::Do(Command::NextMatch));
    }
    if ui.small_button("Previous").on_hover_text("Shift+Enter, or Shift+N").clicked() {
        actions.push(Action::Do(Command::PreviousMatch));
    }
    if let Some(matches) = frame.matches {
        let text = match (matches.names, frame.hits.len()) {
            (0, _) => "no such name".to_owned(),
            (1, 0) => "1 name".to_owned(),
            (names, 0) => format!("{names} names"),
            (_, 1) => "1 event".to_owned(),
            (_, events) => format!("{} events", format::count(events as u64)),
        };
        let colour = if matches.names == 0 { frame.palette.alarm } else { frame.palette.muted };
        ui.label(RichText::new(text).color(colour).small());
    }
    let mut text = state.text.clone();
    let field = TextEdit::singleline(&mut text)
        .id(Id::unique("search field"))
        .hint_text("name of a span, event or task")
        .desired_width(190.0);
    let response = ui.add(field);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::TextInput, true, "search"));
    if state.focus {
        response.request_focus();
    }
    if response.changed() {
        actions.push(Action::Search(text));
    }
    if response.lost_focus() {
        let (enter, shift, escape) =
            ui.input(|input| (input.key_pressed(Key::Enter), input.modifiers.shift, input.key_pressed(Key::Escape)));
        if enter {
            let command = if shift { Command::PreviousMatch } else { Command::NextMatch };
            actions.push(Action::Do(command));
        }
        if escape {
            actions.push(Action::CloseSearch);
        }
    }
}
