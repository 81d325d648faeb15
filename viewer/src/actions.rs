//! What panels ask for, and doing it: the only place where a frame changes the state.

use fata_model::query::Hit;
use fata_model::trace::Trace;

use crate::commands::Command;
use crate::derived::Derived;
use crate::panels;
use crate::state::{LogChange, State};
use crate::view::lanes::LaneKey;
use crate::view::pick::Pick;
use crate::view::projection::{Window, nanos_f64};
use crate::view::search;

/// What a panel wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A command, as if its key had been pressed.
    Do(Command),
    /// Select something.
    Select(Option<Pick>),
    /// Select something and bring it onto the screen.
    Show(Pick),
    /// Show the longest span of a callsite.
    ShowLongest(u16),
    /// Open or fold a lane.
    Toggle(LaneKey),
    /// Pin a lane, or let it go.
    Pin(LaneKey),
    /// Look at this range at once, as a wheel or a drag does.
    Look(Window),
    /// Scroll the lanes by so many points.
    Scroll(f32),
    /// So high is the part of the screen with the lanes.
    LanesHeight(f32),
    /// Measure a range, or stop.
    Measure(Option<(i64, i64)>),
    /// Look for a text.
    Search(String),
    /// Change what the log shows, or go to one of its records.
    Log(LogChange),
    /// Close the search and keep nothing of it.
    CloseSearch,
}

/// Everything that an action may change or look at.
pub(crate) struct Doing<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) derived: &'a mut Derived,
    pub(crate) trace: &'a Trace,
    pub(crate) version: u64,
    pub(crate) context: &'a egui::Context,
}

impl Doing<'_> {
    /// Does what a panel asked for.
    pub(crate) fn apply(&mut self, action: Action) {
        let extent = (0, self.trace.end().max(1));
        let state = &mut *self.state;
        match action {
            Action::Do(command) => {
                let pointer = panels::timeline::pointer_time(self.context);
                if !state.execute(command, extent, pointer) {
                    self.special(command);
                }
            }
            Action::Select(pick) => state.select(pick),
            Action::Show(pick) => self.show(pick),
            Action::ShowLongest(callsite) => self.show_longest(callsite),
            Action::Toggle(key) => state.toggle(&key),
            Action::Pin(key) => state.toggle_pin(&key),
            Action::Look(window) => {
                state.following = false;
                state.target = None;
                state.window = window.clamped(extent.0, extent.1);
            }
            Action::Scroll(by) => state.scroll += by,
            Action::LanesHeight(height) => state.lanes_height = height,
            Action::Measure(range) => state.measure = range,
            Action::Search(text) => {
                state.search.text = text;
                state.touch();
            }
            Action::Log(change) => state.change_log(change, extent),
            Action::CloseSearch => {
                state.search = crate::state::Search::default();
                state.touch();
            }
        }
        // From below here; from above by the panel that shows the lanes.
        self.state.scroll = self.state.scroll.max(0.0);
        self.context.request_repaint();
    }

    fn show_longest(&mut self, callsite: u16) {
        let Some(pick) = search::longest_of(self.trace, callsite) else { return };
        self.show(pick);
        if let Some((from, to)) = pick.range(self.trace).filter(|(from, to)| to > from) {
            self.state.go(Window::framing(from, to).zoomed(nanos_f64(from), 0.5));
        }
    }

    /// Commands that need the trace.
    fn special(&mut self, command: Command) {
        match command {
            Command::Focus => {
                let selected = self.state.selection.and_then(|pick| pick.range(self.trace));
                if let Some((from, to)) = self.state.measure.or(selected) {
                    self.state.following = false;
                    self.state.go(Window::framing(from, to.max(from + 1)));
                }
            }
            Command::SelectNext | Command::SelectPrevious => {
                let Some(Pick::Interval { track, index }) = self.state.selection else { return };
                let other = if command == Command::SelectNext {
                    self.trace.next_entry(track, index)
                } else {
                    self.trace.previous_entry(track, index)
                };
                if let Some(index) = other {
                    self.show(Pick::Interval { track, index });
                }
            }
            Command::NextMatch | Command::PreviousMatch => {
                let text = self.state.search.text.clone();
                let hits = self.derived.hits(self.trace, self.version, &text);
                if let Some(hit) = next_hit(&hits, self.state, self.trace, command == Command::NextMatch) {
                    self.show(Pick::Interval { track: hit.track, index: hit.index });
                }
            }
            Command::FoldAll | Command::UnfoldAll => {
                let open = command == Command::UnfoldAll;
                let both = [&self.derived.lanes.0, &self.derived.lanes.1];
                let lanes = both.into_iter().flat_map(|lanes| &lanes.list);
                let keys: Vec<LaneKey> =
                    lanes.filter(|lane| lane.open == Some(!open)).map(|lane| lane.key.clone()).collect();
                keys.iter().for_each(|key| self.state.toggle(key));
            }
            Command::ToggleTheme => {
                let dark = self.context.theme() == egui::Theme::Dark;
                self.context.set_theme(if dark { egui::Theme::Light } else { egui::Theme::Dark });
            }
            Command::Quit => self.context.send_viewport_cmd(egui::ViewportCommand::Close),
            _ => {}
        }
    }

    /// Selects something and brings it onto the screen, its lane too.
    fn show(&mut self, pick: Pick) {
        self.state.select(Some(pick));
        self.state.following = false;
        if let Some((from, to)) = pick.range(self.trace) {
            let now = self.state.destination();
            // Something that would be less than a hair wide is brought closer.
            let length = nanos_f64(to - from);
            let window = if length > 0.0 && length < now.span / 400.0 {
                Window::new(nanos_f64(from) - length * 20.0, length * 41.0)
            } else {
                now.showing(from, to)
            };
            self.state.go(window);
        }
        let track = match pick {
            Pick::Interval { track, .. } | Pick::Sample { track, .. } => Some(track),
            Pick::Task(_) | Pick::Flow { .. } => None,
        };
        let rest = &self.derived.lanes.1;
        let lane = rest.tops.iter().zip(&rest.list).find(|(_, lane)| lane.shows(track, pick.task(self.trace)));
        if let Some((&top, lane)) = lane {
            let visible = self.state.scroll..self.state.scroll + self.state.lanes_height;
            if !visible.contains(&top) || !visible.contains(&(top + lane.height)) {
                self.state.scroll = (top - self.state.lanes_height / 3.0).max(0.0);
            }
        }
    }
}

/// The next hit after the selection, or from the left edge on; round and round.
fn next_hit(hits: &[Hit], state: &State, trace: &Trace, forward: bool) -> Option<Hit> {
    let current = state.selection.and_then(|pick| match pick {
        Pick::Interval { track, index } => {
            hits.iter().position(|hit| hit.track == track && hit.index == index).or_else(|| {
                let (start, _) = pick.range(trace)?;
                hits.partition_point(|hit| hit.start < start).checked_sub(1)
            })
        }
        _ => None,
    });
    let first_visible = || hits.partition_point(|hit| nanos_f64(hit.start) < state.destination().start);
    let at = match (current, forward) {
        (Some(at), true) => at + 1,
        (Some(at), false) => at.checked_sub(1).unwrap_or(hits.len().saturating_sub(1)),
        (None, true) => first_visible(),
        (None, false) => first_visible().checked_sub(1).unwrap_or(hits.len().saturating_sub(1)),
    };
    hits.get(at).or(hits.first()).copied()
}
