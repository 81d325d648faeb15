//! The application: owns all state, runs one frame.
//!
//! A frame is: take in what arrived, turn keys into commands, show the panels (which answer with [`Action`]s and change
//! nothing themselves), then do what they asked. The trace is looked at through one guard for the whole frame.

use std::time::Duration;

use egui::Ui;
use fata_model::live::Progress;
use fata_model::log_filter::LogSearch;
use fata_model::query::Hit;
use fata_model::source::OpenError;
use fata_model::stats::Stats;
use fata_model::trace::Trace;

pub use crate::actions::Action;

use crate::actions::Doing;
use crate::commands::Command;
use crate::derived::Derived;
use crate::live::{Data, Source, Status};
use crate::paint::palette::Palette;
use crate::panels::{self, Pictures};
use crate::state::State;
use crate::view::lanes::Lanes;
use crate::view::names::Names;
use crate::view::projection::{Window, nanos_f64};
use crate::view::search::Matches;

/// A live view shows this much until the person zooms.
const LIVE_SPAN: f64 = 2e9;

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
    /// What of the log is asked for, as far as it was found.
    pub log: &'a LogSearch,
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
    pictures: Pictures,
    fitted: bool,
    /// What is shown first, in place of the whole trace.
    first: (Option<i64>, Option<i64>),
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
            pictures: Pictures::default(),
            fitted: false,
            first: (None, None),
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

    /// Shows what lies between two moments at first, each where it is given, instead of the whole trace.
    pub fn show_first(&mut self, from: Option<i64>, to: Option<i64>) {
        self.first = (from, to);
        self.state.following &= from.is_none() && to.is_none();
    }

    /// Shows this range from now on.
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
        self.pictures.canvases.iter().map(|canvas| canvas.rebuilt).sum()
    }

    /// Whether the log's filter has looked at every record; for tests and measurements.
    #[must_use]
    pub fn is_log_searched(&self) -> bool {
        self.derived.log_done
    }

    /// How many records the log's filter has found so far.
    #[must_use]
    pub fn log_len(&self) -> usize {
        self.derived.log.len(&self.data.trace())
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
        let growing = matches!(self.data.status().progress, Progress::Reading(_));
        self.derived.refresh(&trace, version, &self.state, time, growing);
        self.rate.count(time, trace.events_total());
        if !self.fitted && trace.end() > 0 {
            let first = Window::between(self.first.0, self.first.1, trace.end());
            self.state.window = if self.state.following { follow(&trace, LIVE_SPAN) } else { first };
            // A trace that is still being read goes on filling the screen until somebody looks elsewhere.
            self.fitted = self.state.following || self.state.target.is_some() || !growing;
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
        if self.state.panels.log && !self.derived.search_log(&trace, &self.state) {
            context.request_repaint();
        }
        let frame = Frame {
            trace: &trace,
            names: &self.derived.names,
            lanes: &self.derived.lanes,
            matches: self.derived.matches.as_ref(),
            hits: &self.derived.hits,
            log: &self.derived.log,
            stats: self.derived.stats.get_or_insert_with(|| trace.stats()),
            version,
            status: self.data.status(),
            state: &self.state,
            palette: &palette,
            rate: self.rate.per_second,
            title: &self.title,
        };
        panels::show(ui, &frame, &mut self.pictures, &mut actions);
        // The field has taken the keyboard.
        self.state.search.focus = false;
        let (state, derived) = (&mut self.state, &mut self.derived);
        let mut doing = Doing { state, derived, trace: &trace, version, context: &context };
        for action in actions {
            doing.apply(action);
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
