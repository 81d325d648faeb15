//! What the person has done to the view: where they look, what they selected, folded, searched and opened.
//!
//! Invariant: nothing here is derived from the trace's events, and every change that the canvas shows goes through
//! [`State::touch`], so that a picture is made anew exactly when it has to be.

use std::collections::HashSet;
use std::time::Duration;

use fata_wire::field::Level;

use crate::commands::Command;
use crate::view::lanes::LaneKey;
use crate::view::pick::Pick;
use crate::view::projection::{Window, nanos_f64};

/// Which panels are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panels {
    /// The table of callsites.
    pub statistics: bool,
    /// The selection's fields.
    pub details: bool,
    /// Promises that nobody resolved.
    pub unresolved: bool,
    /// The log.
    pub log: bool,
    /// The list of commands.
    pub palette: bool,
    /// The keys.
    pub help: bool,
}

/// A search by name.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Whether the field is shown.
    pub open: bool,
    /// Whether the field should take the keyboard in the next frame.
    pub focus: bool,
    /// What is looked for; nothing where empty.
    pub text: String,
}

/// What of the log is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct LogView {
    /// In the text or the target.
    pub text: String,
    /// As important as this, or more.
    pub level: Level,
    /// Whether the timeline's selection says which records are listed.
    pub by_selection: bool,
    /// The first row on the screen, beyond the end for the last ones.
    pub top: f64,
    /// The moment of the record that was clicked.
    pub cursor: Option<i64>,
}

impl Default for LogView {
    fn default() -> Self {
        Self { text: String::new(), level: Level::Trace, by_selection: true, top: 0.0, cursor: None }
    }
}

/// What the log panel wants changed.
#[derive(Clone, Debug, PartialEq)]
pub enum LogChange {
    /// Another text.
    Text(String),
    /// Another level.
    Level(Level),
    /// Whether the selection filters.
    BySelection(bool),
    /// Another first row.
    Top(f64),
    /// The timeline is to go to this moment.
    Go(i64),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct State {
    /// What is visible now.
    pub window: Window,
    /// Where the animation leads.
    pub target: Option<Window>,
    /// How far the lanes are scrolled, in points.
    pub scroll: f32,
    /// How high the part of the screen with the lanes was in the last frame.
    pub lanes_height: f32,
    /// Whether the window keeps up with what arrives.
    pub following: bool,
    /// Groups that are not as they are by default.
    pub toggled: HashSet<LaneKey>,
    /// Lanes kept at the top, in the order in which they were pinned.
    pub pinned: Vec<LaneKey>,
    /// What the details are about.
    pub selection: Option<Pick>,
    /// A time range being measured.
    pub measure: Option<(i64, i64)>,
    /// The search.
    pub search: Search,
    /// Open panels.
    pub panels: Panels,
    /// The log's filter and place.
    pub log: LogView,
    /// Text typed into the palette.
    pub palette_text: String,
    version: u64,
}

impl State {
    /// A state that shows `window`.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self {
            window,
            target: None,
            scroll: 0.0,
            lanes_height: 400.0,
            following: false,
            toggled: HashSet::new(),
            pinned: Vec::new(),
            selection: None,
            measure: None,
            search: Search::default(),
            log: LogView::default(),
            panels: Panels {
                statistics: false,
                details: true,
                unresolved: false,
                log: false,
                palette: false,
                help: false,
            },
            palette_text: String::new(),
            version: 0,
        }
    }

    /// A number that changes with everything that the canvas shows beside events and the window.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Says that the canvas has to be drawn anew.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    /// Where the view is going, or is.
    #[must_use]
    pub fn destination(&self) -> Window {
        self.target.unwrap_or(self.window)
    }

    /// Goes to `window`, smoothly.
    pub fn go(&mut self, window: Window) {
        self.target = Some(window);
    }

    /// One step of the animation; whether there are more to come.
    pub fn animate(&mut self, elapsed: Duration) -> bool {
        let Some(target) = self.target else { return false };
        if let Some(next) = self.window.approached(target, elapsed.as_secs_f32()) {
            self.window = next;
            true
        } else {
            self.window = target;
            self.target = None;
            false
        }
    }

    /// Opens or folds a lane.
    pub fn toggle(&mut self, key: &LaneKey) {
        if !self.toggled.remove(key) {
            self.toggled.insert(key.clone());
        }
        self.touch();
    }

    /// Pins a lane or lets it go.
    pub fn toggle_pin(&mut self, key: &LaneKey) {
        if let Some(at) = self.pinned.iter().position(|pinned| pinned == key) {
            self.pinned.remove(at);
        } else {
            self.pinned.push(key.clone());
        }
        self.touch();
    }

    /// Selects something, or nothing.
    pub fn select(&mut self, pick: Option<Pick>) {
        if self.selection != pick {
            self.selection = pick;
            self.touch();
        }
    }

    /// Executes a command that needs nothing but the state: `extent` is the trace's first and last moment, `pointer` the
    /// moment that a zoom leaves in its place. Returns whether it was one.
    pub fn execute(&mut self, command: Command, extent: (i64, i64), pointer: Option<f64>) -> bool {
        let now = self.destination();
        let clamp = |window: Window| window.clamped(extent.0, extent.1);
        match command {
            Command::ZoomIn => self.go(clamp(now.zoomed(self.zoom_centre(pointer), 1.5))),
            Command::ZoomOut => self.go(clamp(now.zoomed(self.zoom_centre(pointer), 1.0 / 1.5))),
            Command::PanLeft => self.look(clamp(now.panned(-0.12))),
            Command::PanRight => self.look(clamp(now.panned(0.12))),
            Command::PageLeft => self.look(clamp(now.panned(-0.9))),
            Command::PageRight => self.look(clamp(now.panned(0.9))),
            Command::ScrollUp => self.scroll = (self.scroll - 60.0).max(0.0),
            Command::ScrollDown => self.scroll += 60.0,
            Command::Fit => self.look(Window::fit(extent.0, extent.1)),
            Command::GoToStart => self.look(Window::new(Window::fit(extent.0, extent.1).start, now.span)),
            Command::GoToEnd => self.look(Window::new(Window::fit(extent.0, extent.1).end() - now.span, now.span)),
            Command::Clear => self.clear(),
            Command::Search => {
                self.search.open = true;
                self.search.focus = true;
            }
            Command::TogglePause => self.following = !self.following,
            Command::ToggleStatistics => self.panels.statistics ^= true,
            Command::ToggleDetails => self.panels.details ^= true,
            Command::ToggleUnresolved => self.panels.unresolved ^= true,
            Command::ToggleLog => self.panels.log ^= true,
            Command::Palette => {
                self.panels.palette ^= true;
                self.palette_text.clear();
            }
            Command::Help => self.panels.help ^= true,
            _ => return false,
        }
        true
    }

    /// Changes what the log panel shows, or leads the timeline to one of its records.
    pub fn change_log(&mut self, change: LogChange, extent: (i64, i64)) {
        match change {
            LogChange::Text(text) => self.log.text = text,
            LogChange::Level(level) => self.log.level = level,
            LogChange::BySelection(on) => self.log.by_selection = on,
            LogChange::Top(top) => self.log.top = top,
            LogChange::Go(time) => {
                self.log.cursor = Some(time);
                let now = self.destination();
                self.look(Window::new(nanos_f64(time) - now.span / 2.0, now.span).clamped(extent.0, extent.1));
            }
        }
    }

    /// The pointer's moment where it is visible, else the selection's middle of the screen.
    fn zoom_centre(&self, pointer: Option<f64>) -> f64 {
        let now = self.destination();
        pointer.filter(|at| (now.start..=now.end()).contains(at)).unwrap_or(now.start + now.span / 2.0)
    }

    /// Goes somewhere on the person's own wish, which ends the following.
    fn look(&mut self, window: Window) {
        self.following = false;
        self.go(window);
    }

    /// One thing per press: what lies on top first.
    fn clear(&mut self) {
        if self.panels.palette || self.panels.help {
            self.panels.palette = false;
            self.panels.help = false;
        } else if self.search.open || !self.search.text.is_empty() {
            self.search = Search::default();
        } else if self.measure.take().is_none() {
            self.selection = None;
        }
        self.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(mut state: State) -> State {
        while state.animate(Duration::from_millis(16)) {}
        state
    }

    #[test]
    fn a_zoom_by_key_keeps_the_pointers_moment_in_its_place() {
        let mut state = State::new(Window::new(0.0, 1_000.0));
        assert!(state.execute(Command::ZoomIn, (0, 1_000), Some(250.0)));
        let state = settled(state);
        assert!((state.window.start + state.window.span * 0.25 - 250.0).abs() < 0.5);
    }

    #[test]
    fn looking_around_ends_the_following_and_space_begins_it_again() {
        let mut state = State::new(Window::new(0.0, 1_000.0));
        state.following = true;
        state.execute(Command::PanLeft, (0, 100_000), None);
        assert!(!state.following);
        state.execute(Command::TogglePause, (0, 100_000), None);
        assert!(state.following);
    }

    #[test]
    fn escape_takes_one_thing_away_at_a_time() {
        let mut state = State::new(Window::new(0.0, 1_000.0));
        state.search.text = "x".into();
        state.measure = Some((1, 2));
        state.panels.help = true;
        let mut left = Vec::new();
        for _ in 0..3 {
            state.execute(Command::Clear, (0, 1), None);
            left.push((state.panels.help, state.search.text.is_empty(), state.measure));
        }
        assert_eq!(left, [(false, false, Some((1, 2))), (false, true, Some((1, 2))), (false, true, None)]);
    }
}
