//! What is computed from the trace and the person's choices, and kept until either changes.
//!
//! Invariant: each part remembers what it was computed from, so a frame in which nothing changed computes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fata_model::log_filter::LogSearch;
use fata_model::objects::Verdict;
use fata_model::query::Hit;
use fata_model::stats::Stats;
use fata_model::trace::Trace;

use crate::state::State;
use crate::view::lanes::{self, Choices, Lanes};
use crate::view::names::Names;
use crate::view::search::Matches;

/// The most events that one search lists.
const MAX_HITS: usize = 100_000;
/// How long a frame may look through the log.
const LOG_STEP: Duration = Duration::from_millis(6);
/// Everything computed from the trace and kept until either changes.
#[derive(Default)]
pub(crate) struct Derived {
    /// Lanes that stay at the top, and all others.
    pub(crate) lanes: (Lanes, Lanes),
    lanes_of: Option<(u64, u64, bool)>,
    /// Names and colours.
    pub(crate) names: Names,
    /// What the search dims.
    pub(crate) matches: Option<Matches>,
    matches_of: Option<(String, usize, usize)>,
    /// The events that the search lists, once they were asked for.
    pub(crate) hits: Arc<[Hit]>,
    hits_of: Option<(String, u64)>,
    /// The statistics.
    pub(crate) stats: Option<Stats>,
    stats_of: u64,
    stats_at: f64,
    /// What of the log is asked for.
    pub(crate) log: LogSearch,
    /// Whether all of it was found.
    pub(crate) log_done: bool,
}

impl Derived {
    /// Brings everything up to date. `growing` says that more will come, so that what is dear may wait a second.
    pub(crate) fn refresh(&mut self, trace: &Trace, version: u64, state: &State, time: f64, growing: bool) {
        self.names.update(trace);
        if self.lanes_of != Some((version, state.version(), growing)) {
            self.lanes_of = Some((version, state.version(), growing));
            let mut alarmed = lanes::verdicts(trace);
            // What is awaited while more comes may still be resolved; a lost signal stays lost.
            alarmed.retain(|_, verdict| !growing || *verdict == Verdict::SignalLost);
            let choices = Choices { toggled: &state.toggled, pinned: &state.pinned, alarmed: &alarmed };
            self.lanes = lanes::build(trace, &self.names, &choices);
        }
        let names = (state.search.text.clone(), trace.tasks().len(), trace.tracks().len());
        if self.matches_of.as_ref() != Some(&names) {
            self.matches = Matches::of(trace, &state.search.text);
            self.matches_of = Some(names);
        }
        if self.stats_of != version && (!growing || time - self.stats_at > 1.0 || self.stats.is_none()) {
            (self.stats_of, self.stats_at) = (version, time);
            self.stats = Some(trace.stats());
        }
    }

    /// Looks through the log for what is asked for, for a part of a frame; whether that was all.
    pub(crate) fn search_log(&mut self, trace: &Trace, state: &State) -> bool {
        self.log.ask(&crate::panels::log::filter(state, trace));
        let began = Instant::now();
        self.log_done = false;
        while began.elapsed() < LOG_STEP && !self.log_done {
            self.log_done = self.log.step(trace, 2000);
        }
        self.log_done
    }

    /// The events that the search finds, in time order.
    pub(crate) fn hits(&mut self, trace: &Trace, version: u64, text: &str) -> Arc<[Hit]> {
        let key = (text.to_owned(), version);
        if self.hits_of.as_ref() != Some(&key) {
            self.hits =
                if text.trim().is_empty() { Arc::default() } else { trace.search(text.trim(), MAX_HITS).into() };
            self.hits_of = Some(key);
        }
        Arc::clone(&self.hits)
    }
}
