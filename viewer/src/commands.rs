//! Everything the viewer can be told to do, once: the menu, the palette, the keys and the tests all speak these.
//!
//! Invariant: every command is in [`Command::ALL`], and no key means two commands.
//!
//! ```
//! use fata_viewer::commands::Command;
//! assert_eq!(Command::Fit.title(), "Show the whole trace");
//! assert_eq!(Command::Fit.keys(), "F");
//! ```

use egui::{InputState, Key, KeyboardShortcut, Modifiers};

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Closer, at the pointer or the middle.
    ZoomIn,
    /// Further away.
    ZoomOut,
    /// Earlier by a tenth of the screen.
    PanLeft,
    /// Later by a tenth of the screen.
    PanRight,
    /// Earlier by a screen.
    PageLeft,
    /// Later by a screen.
    PageRight,
    /// Lanes up.
    ScrollUp,
    /// Lanes down.
    ScrollDown,
    /// The whole trace on one screen.
    Fit,
    /// The selection, or the measured range, on one screen.
    Focus,
    /// To the first moment.
    GoToStart,
    /// To the last moment.
    GoToEnd,
    /// Selects the next span of the same row.
    SelectNext,
    /// Selects the previous span of the same row.
    SelectPrevious,
    /// Forgets selection, search and measurement.
    Clear,
    /// Opens the search.
    Search,
    /// To the next match.
    NextMatch,
    /// To the previous match.
    PreviousMatch,
    /// Stops following what arrives, or goes on.
    TogglePause,
    /// Shows or hides the table of callsites.
    ToggleStatistics,
    /// Shows or hides what is known of the selection.
    ToggleDetails,
    /// Shows or hides the promises that nobody resolved.
    ToggleUnresolved,
    /// Shows or hides the log.
    ToggleLog,
    /// Folds all groups.
    FoldAll,
    /// Opens all groups.
    UnfoldAll,
    /// Between dark and light.
    ToggleTheme,
    /// Lists all commands, to be found by typing.
    Palette,
    /// Shows the keys.
    Help,
    /// Closes the window.
    Quit,
}

impl Command {
    /// All commands, in the order in which the palette lists them.
    pub const ALL: [Command; 29] = [
        Command::Search,
        Command::NextMatch,
        Command::PreviousMatch,
        Command::Fit,
        Command::Focus,
        Command::ZoomIn,
        Command::ZoomOut,
        Command::PanLeft,
        Command::PanRight,
        Command::PageLeft,
        Command::PageRight,
        Command::ScrollUp,
        Command::ScrollDown,
        Command::GoToStart,
        Command::GoToEnd,
        Command::SelectNext,
        Command::SelectPrevious,
        Command::Clear,
        Command::TogglePause,
        Command::ToggleStatistics,
        Command::ToggleDetails,
        Command::ToggleUnresolved,
        Command::ToggleLog,
        Command::FoldAll,
        Command::UnfoldAll,
        Command::ToggleTheme,
        Command::Palette,
        Command::Help,
        Command::Quit,
    ];

    /// What the command does, as the menu says it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Command::ZoomIn => "Zoom in",
            Command::ZoomOut => "Zoom out",
            Command::PanLeft => "Go earlier",
            Command::PanRight => "Go later",
            Command::PageLeft => "Go a screen earlier",
            Command::PageRight => "Go a screen later",
            Command::ScrollUp => "Scroll lanes up",
            Command::ScrollDown => "Scroll lanes down",
            Command::Fit => "Show the whole trace",
            Command::Focus => "Zoom to the selection",
            Command::GoToStart => "Go to the start",
            Command::GoToEnd => "Go to the end",
            Command::SelectNext => "Select the next span in the row",
            Command::SelectPrevious => "Select the previous span in the row",
            Command::Clear => "Clear selection, search and measurement",
            Command::Search => "Search by name",
            Command::NextMatch => "Next match",
            Command::PreviousMatch => "Previous match",
            Command::TogglePause => "Pause or follow the live guest",
            Command::ToggleStatistics => "Statistics",
            Command::ToggleDetails => "Details",
            Command::ToggleUnresolved => "Never resolved",
            Command::ToggleLog => "Log",
            Command::FoldAll => "Fold all groups",
            Command::UnfoldAll => "Open all groups",
            Command::ToggleTheme => "Dark or light",
            Command::Palette => "All commands",
            Command::Help => "Keys and mouse",
            Command::Quit => "Quit",
        }
    }

    /// The keys that give the command, the first of which the menu shows.
    #[must_use]
    pub const fn shortcuts(self) -> &'static [KeyboardShortcut] {
        macro_rules! keys {
            ($($modifiers:ident + $key:ident),*) => {
                const { &[$(KeyboardShortcut::new(Modifiers::$modifiers, Key::$key)),*] }
            };
        }
        match self {
            Command::ZoomIn => keys![NONE + W, NONE + Plus, NONE + Equals],
            Command::ZoomOut => keys![NONE + S, NONE + Minus],
            Command::PanLeft => keys![NONE + A, NONE + ArrowLeft],
            Command::PanRight => keys![NONE + D, NONE + ArrowRight],
            Command::PageLeft => keys![SHIFT + A, SHIFT + ArrowLeft],
            Command::PageRight => keys![SHIFT + D, SHIFT + ArrowRight],
            Command::ScrollUp => keys![NONE + ArrowUp, NONE + PageUp],
            Command::ScrollDown => keys![NONE + ArrowDown, NONE + PageDown],
            Command::Fit => keys![NONE + F, NONE + Num0],
            Command::Focus => keys![NONE + Z, NONE + Enter],
            Command::GoToStart => keys![NONE + Home],
            Command::GoToEnd => keys![NONE + End],
            Command::SelectNext => keys![NONE + Period],
            Command::SelectPrevious => keys![NONE + Comma],
            Command::Clear => keys![NONE + Escape],
            Command::Search => keys![NONE + Slash, COMMAND + F],
            Command::NextMatch => keys![NONE + N, NONE + F3],
            Command::PreviousMatch => keys![SHIFT + N, SHIFT + F3],
            Command::TogglePause => keys![NONE + Space],
            Command::ToggleStatistics => keys![NONE + T],
            Command::ToggleDetails => keys![NONE + I],
            Command::ToggleUnresolved => keys![NONE + U],
            Command::ToggleLog => keys![NONE + O],
            Command::FoldAll => keys![NONE + OpenBracket],
            Command::UnfoldAll => keys![NONE + CloseBracket],
            Command::ToggleTheme => keys![NONE + L],
            Command::Palette => keys![COMMAND + P],
            Command::Help => keys![NONE + H, NONE + F1, NONE + Questionmark],
            Command::Quit => keys![COMMAND + Q],
        }
    }

    /// The first shortcut as text.
    #[must_use]
    pub fn keys(self) -> String {
        let Some(shortcut) = self.shortcuts().first() else { return String::new() };
        let mut text = String::new();
        if shortcut.modifiers.command {
            text.push_str("Ctrl+");
        }
        if shortcut.modifiers.shift {
            text.push_str("Shift+");
        }
        text.push_str(match shortcut.logical_key {
            Key::ArrowLeft => "Left",
            Key::ArrowRight => "Right",
            Key::ArrowUp => "Up",
            Key::ArrowDown => "Down",
            Key::Escape => "Esc",
            Key::Slash => "/",
            Key::Period => ".",
            Key::Comma => ",",
            Key::OpenBracket => "[",
            Key::CloseBracket => "]",
            key => key.name(),
        });
        text
    }

    /// The commands whose keys were pressed in this frame, taken out of the input.
    ///
    /// To be called only while no text field has the keyboard: letters are commands.
    #[must_use]
    pub fn take_pressed(input: &mut InputState) -> Vec<Command> {
        let mut pressed = Vec::new();
        for command in Self::ALL {
            for shortcut in command.shortcuts() {
                let times = input.count_and_consume_key_exact(shortcut);
                pressed.extend(std::iter::repeat_n(command, times));
            }
        }
        pressed
    }
}

/// Keys taken only where exactly these modifiers are held: Shift+N is not N.
trait ExactKeys {
    fn count_and_consume_key_exact(&mut self, shortcut: &KeyboardShortcut) -> usize;
}

impl ExactKeys for InputState {
    fn count_and_consume_key_exact(&mut self, shortcut: &KeyboardShortcut) -> usize {
        let before = self.events.len();
        self.events.retain(|event| {
            let egui::Event::Key { key, pressed: true, modifiers, .. } = event else { return true };
            // A question mark needs Shift on some keyboards and not on others.
            let shift_matters = !matches!(key, Key::Questionmark | Key::Plus | Key::Slash);
            let matches = *key == shortcut.logical_key
                && modifiers.command == shortcut.modifiers.command
                && !modifiers.alt
                && (!shift_matters || modifiers.shift == shortcut.modifiers.shift);
            !matches
        });
        before - self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_commands() {
        let mut seen = std::collections::HashMap::new();
        for command in Command::ALL {
            for shortcut in command.shortcuts() {
                let earlier = seen.insert((shortcut.logical_key, shortcut.modifiers), command);
                assert_eq!(earlier, None, "{command:?} shares {shortcut:?}");
            }
        }
    }

    #[test]
    fn every_command_is_listed_once_and_has_a_key_and_a_title() {
        let listed: std::collections::HashSet<_> = Command::ALL.into_iter().collect();
        assert_eq!(listed.len(), Command::ALL.len());
        for command in Command::ALL {
            assert!(!command.keys().is_empty() && !command.title().is_empty());
        }
    }
}
