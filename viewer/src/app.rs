//! The application: owns all state, runs one frame.
//!
//! A frame is: take in what arrived, turn keys into commands, show the panels (which answer with [`Action`]s and change
//! nothing themselves), then do what they asked. The trace is looked at through one guard for the whole frame.

use std::sync::Arc;
use std::time::Duration;

use egui::Ui;
use fata_model::query::Hit;
use fata_model::source::OpenError;
use fata_model::stats::Stats;
use fata_model::trace::Trace;

use crate::commands::Command;
use crate::live::{Data, Source, Status};
use crate::paint::canvas::Canvas;
use crate::paint::palette::Palette;
use crate::panels;
use crate::state::State;
use crate::view::lanes::{self, Choices, LaneKey, Lanes};
use crate::view::names::Names;
use crate::view::pick::Pick;
use crate::view::projection::{Window, nanos_f64};
use crate::view::search::{self, Matches};

/// The most events that one search lists.
const MAX_HITS: usize = 100_000;
/// A live view shows this much until the person zooms.
const LIVE_SPAN: f64 = 2e9;

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
    /// Look at this range, smoothly.
    Go(Window),
    /// Scroll the lanes by so many points.
    Scroll(f32),
    /// So high is the part of the screen with the lanes.
    LanesHeight(f32),
    /// Measure a range, or stop.
    Measure(Option<(i64, i64)>),
    /// Look for a text.
    Search(String),
    /// Close the search and keep nothing of it.
    CloseSearch,
}

/// What every panel may look at.
pub struct Frame<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// Its names and colours.
    pub names: &'a Names,
    /// Lanes that stay at the top, and all others.
    pub lanes: &'a (Lanes, Lanes),
    /// What the search dims.
    pub matches: Option<&'a Matches>,
    /// Events that the search lists, if they were asked for.
    pub hits: &'a [Hit],
    /// The statistics.
    pub stats: &'a Stats,
    /// Which trace it is, for caches.
    pub version: u64,
    /// Where it comes from.
    pub status: &'a Status,
    /// What the person did.
    pub state: &'a State,
    /// The colours.
    pub palette: &'a Palette,
    /// Events per second, of a live trace.
    pub rate: f64,
    /// What was opened.
    pub title: &'a str,
}

/// Everything computed from the trace and kept until either changes.
#[derive(Default)]
struct Derived {
    lanes: (Lanes, Lanes),
    lanes_of: Option<(u64, u64)>,
    names: Names,
    matches: Option<Matches>,
    matches_of: Option<(String, usize, usize)>,
    hits: Arc<[Hit]>,
    hits_of: Option<(String, u64)>,
    stats: Option<Stats>,
    stats_of: u64,
    stats_at: f64,
}

/// The moment from which the rate is counted.
#[derive(Clone, Copy, Default)]
struct Rate {
    at: f64,
    events: u64,
    per_second: f64,
}

/// See the module.
pub struct Viewer {
    data: Data,
    title: String,
    state: State,
    derived: Derived,
    canvases: [Canvas; 2],
    fitted: bool,
    rate: Rate,
    theme: Option<egui::Theme>,
}

impl Viewer {
    /// A viewer of `source`, which is called `title`.
    ///
    /// # Errors
    /// Where there is nothing to read.
    pub fn new(source: Source, title: impl Into<String>) -> Result<Self, OpenError> {
        let data = Data::start(source)?;
        let mut state = State::new(Window::new(0.0, 1e9));
        state.following = data.status().is_following();
        Ok(Self {
            data,
            title: title.into(),
            state,
            derived: Derived::default(),
            canvases: Default::default(),
            fitted: false,
            rate: Rate::default(),
            theme: None,
        })
    }

    /// What the person did; for tests and for headless pictures.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// To arrange a headless picture.
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// Shows this range instead of the whole trace.
    pub fn show_range(&mut self, window: Window) {
        self.state.window = window;
        self.state.following = false;
        self.fitted = true;
    }

    /// The source, for tests that wait for it.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// How often the lanes' picture was made anew; a frame in which nothing changed must not.
    #[must_use]
    pub fn rebuilt(&self) -> u64 {
        self.canvases.iter().map(|canvas| canvas.rebuilt).sum()
    }

    /// One frame.
    pub fn ui(&mut self, ui: &mut Ui) {
        let context = ui.ctx().clone();
        self.data.repaint_with(&context);
        self.data.update();
        let theme = context.theme();
        if self.theme != Some(theme) {
            self.theme = Some(theme);
            style(&context);
        }
        let palette = Palette::of(&ui.style().visuals);
        let (time, elapsed) = ui.input(|input| (input.time, input.stable_dt));
        let version = self.data.version();
        let trace = self.data.trace();
        self.derived.refresh(&trace, version, &self.state, time);
        self.rate.count(time, trace.events_total());
        if !self.fitted && trace.end() > 0 {
            let whole = Window::fit(0, trace.end());
            self.state.window = if self.state.following { follow(&trace, LIVE_SPAN) } else { whole };
            // A trace that is still being read goes on filling the screen until somebody looks elsewhere.
            self.fitted = self.state.following
                || self.state.target.is_some()
                || !matches!(self.data.status().progress, fata_model::live::Progress::Reading(_));
        }
        if self.state.following && self.data.status().is_following() {
            self.state.window = follow(&trace, self.state.destination().span);
            self.state.target = None;
        } else if self.state.animate(Duration::from_secs_f32(elapsed.clamp(0.001, 0.1))) {
            context.request_repaint();
        }

        let mut actions = Vec::new();
        if !context.egui_wants_keyboard_input() {
            let pressed = ui.input_mut(Command::take_pressed);
            actions.extend(pressed.into_iter().map(Action::Do));
        }
        let frame = Frame {
            trace: &trace,
            names: &self.derived.names,
            lanes: &self.derived.lanes,
            matches: self.derived.matches.as_ref(),
            hits: &self.derived.hits,
            stats: self.derived.stats.get_or_insert_with(|| trace.stats()),
            version,
            status: self.data.status(),
            state: &self.state,
            palette: &palette,
            rate: self.rate.per_second,
            title: &self.title,
        };
        panels::show(ui, &frame, &mut self.canvases, &mut actions);
        // The field has taken the keyboard.
        self.state.search.focus = false;
        for action in actions {
            apply(&mut self.state, &mut self.derived, &trace, version, &context, action);
        }
    }
}

/// The window that keeps up with the end of a live trace.
fn follow(trace: &Trace, span: f64) -> Window {
    Window::new(nanos_f64(trace.end()) - span * 0.97, span)
}

impl Rate {
    fn count(&mut self, time: f64, events: u64) {
        let passed = time - self.at;
        if passed >= 1.0 || events < self.events {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let added = events.saturating_sub(self.events) as f64;
            self.per_second = if self.at == 0.0 { 0.0 } else { added / passed };
            (self.at, self.events) = (time, events);
        }
    }
}

impl Derived {
    fn refresh(&mut self, trace: &Trace, version: u64, state: &State, time: f64) {
        self.names.update(trace);
        if self.lanes_of != Some((version, state.version())) {
            self.lanes_of = Some((version, state.version()));
            let alarmed = lanes::verdicts(trace);
            let choices = Choices { toggled: &state.toggled, pinned: &state.pinned, alarmed: &alarmed };
            self.lanes = lanes::build(trace, &self.names, &choices);
        }
        let names = (state.search.text.clone(), trace.tasks().len(), trace.tracks().len());
        if self.matches_of.as_ref() != Some(&names) {
            self.matches = Matches::of(trace, &state.search.text);
            self.matches_of = Some(names);
        }
        // Statistics of a live trace are made anew once a second.
        if self.stats_of != version && (time - self.stats_at > 1.0 || self.stats.is_none()) {
            (self.stats_of, self.stats_at) = (version, time);
            self.stats = Some(trace.stats());
        }
    }

    /// The events that the search finds, in time order.
    fn hits(&mut self, trace: &Trace, version: u64, text: &str) -> Arc<[Hit]> {
        let key = (text.to_owned(), version);
        if self.hits_of.as_ref() != Some(&key) {
            self.hits =
                if text.trim().is_empty() { Arc::default() } else { trace.search(text.trim(), MAX_HITS).into() };
            self.hits_of = Some(key);
        }
        Arc::clone(&self.hits)
    }
}

/// Does what a panel asked for.
fn apply(
    state: &mut State,
    derived: &mut Derived,
    trace: &Trace,
    version: u64,
    context: &egui::Context,
    action: Action,
) {
    let extent = (0, trace.end().max(1));
    match action {
        Action::Do(command) => {
            let pointer = panels::timeline::pointer_time(context);
            if !state.execute(command, extent, pointer) {
                special(state, derived, trace, version, context, command);
            }
        }
        Action::Select(pick) => state.select(pick),
        Action::Show(pick) => show(state, derived, trace, pick),
        Action::ShowLongest(callsite) => {
            if let Some(pick) = search::longest_of(trace, callsite) {
                show(state, derived, trace, pick);
                if let Some((from, to)) = pick.range(trace).filter(|(from, to)| to > from) {
                    state.go(Window::framing(from, to).zoomed(nanos_f64(from), 0.5));
                }
            }
        }
        Action::Toggle(key) => state.toggle(&key),
        Action::Pin(key) => state.toggle_pin(&key),
        Action::Look(window) => {
            state.following = false;
            state.target = None;
            state.window = window.clamped(extent.0, extent.1);
        }
        Action::Go(window) => {
            state.following = false;
            state.go(window.clamped(extent.0, extent.1));
        }
        Action::Scroll(by) => state.scroll += by,
        Action::LanesHeight(height) => state.lanes_height = height,
        Action::Measure(range) => state.measure = range,
        Action::Search(text) => {
            state.search.text = text;
            state.touch();
        }
        Action::CloseSearch => {
            state.search = crate::state::Search::default();
            state.touch();
        }
    }
    // The panel that shows the lanes limits it from above.
    state.scroll = state.scroll.max(0.0);
    context.request_repaint();
}

/// Commands that need the trace.
fn special(
    state: &mut State,
    derived: &mut Derived,
    trace: &Trace,
    version: u64,
    context: &egui::Context,
    command: Command,
) {
    match command {
        Command::Focus => {
            let selected = state.selection.and_then(|pick| pick.range(trace));
            if let Some((from, to)) = state.measure.or(selected) {
                state.following = false;
                state.go(Window::framing(from, to.max(from + 1)));
            }
        }
        Command::SelectNext | Command::SelectPrevious => {
            if let Some(Pick::Interval { track, index }) = state.selection {
                let other = if command == Command::SelectNext {
                    trace.next_entry(track, index)
                } else {
                    trace.previous_entry(track, index)
                };
                if let Some(index) = other {
                    show(state, derived, trace, Pick::Interval { track, index });
                }
            }
        }
        Command::NextMatch | Command::PreviousMatch => {
            let text = state.search.text.clone();
            let hits = derived.hits(trace, version, &text);
            if let Some(hit) = next_hit(&hits, state, trace, command == Command::NextMatch) {
                show(state, derived, trace, Pick::Interval { track: hit.track, index: hit.index });
            }
        }
        Command::FoldAll | Command::UnfoldAll => {
            let open = command == Command::UnfoldAll;
            let both = [&derived.lanes.0, &derived.lanes.1];
            let keys = both.into_iter().flat_map(|lanes| &lanes.list).filter(|lane| lane.open == Some(!open));
            let keys: Vec<LaneKey> = keys.map(|lane| lane.key.clone()).collect();
            keys.iter().for_each(|key| state.toggle(key));
        }
        Command::ToggleTheme => {
            let dark = context.theme() == egui::Theme::Dark;
            context.set_theme(if dark { egui::Theme::Light } else { egui::Theme::Dark });
        }
        Command::Quit => context.send_viewport_cmd(egui::ViewportCommand::Close),
        _ => {}
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

/// Selects something and brings it onto the screen, its lane too.
fn show(state: &mut State, derived: &Derived, trace: &Trace, pick: Pick) {
    state.select(Some(pick));
    state.following = false;
    if let Some((from, to)) = pick.range(trace) {
        let now = state.destination();
        // Something that would be less than a hair wide is brought closer.
        let length = nanos_f64(to - from);
        let window = if length > 0.0 && length < now.span / 400.0 {
            Window::new(nanos_f64(from) - length * 20.0, length * 41.0)
        } else {
            now.showing(from, to)
        };
        state.go(window);
    }
    let track = match pick {
        Pick::Interval { track, .. } | Pick::Sample { track, .. } => Some(track),
        Pick::Task(_) | Pick::Flow { .. } => None,
    };
    let rest = &derived.lanes.1;
    let lane = rest.tops.iter().zip(&rest.list).find(|(_, lane)| lane.shows(track, pick.task(trace)));
    if let Some((&top, lane)) = lane {
        let visible = state.scroll..state.scroll + state.lanes_height;
        if !visible.contains(&top) || !visible.contains(&(top + lane.height)) {
            state.scroll = (top - state.lanes_height / 3.0).max(0.0);
        }
    }
}

/// Both themes' colours and sizes of letters.
fn style(context: &egui::Context) {
    context.set_visuals_of(egui::Theme::Dark, Palette::dark().visuals());
    context.set_visuals_of(egui::Theme::Light, Palette::light().visuals());
    context.all_styles_mut(|style| {
        for (text, font) in &mut style.text_styles {
            font.size = match text {
                egui::TextStyle::Heading => 15.0,
                egui::TextStyle::Small => 11.0,
                egui::TextStyle::Monospace => 12.0,
                _ => 12.5,
            };
        }
        style.spacing.item_spacing = egui::vec2(6.0, 4.0);
        style.interaction.tooltip_delay = 0.0;
        style.interaction.show_tooltips_only_when_still = false;
    });
}
