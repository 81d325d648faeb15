//! What of the log is asked for: by level, text, task and time; found piece by piece, so that nobody waits for ten million
//! records.
//!
//! Invariant: what was found is right for the records that were looked at, which are the first `LogSearch::looked_at` of
//! them, or of those that the search before it had found where the new one can only find fewer. A search keeps four bytes
//! for each record that it finds; without a filter, none.
//!
//! ```no_run
//! # fn frame(trace: &fata_model::trace::Trace) {
//! use fata_model::log_filter::{LogFilter, LogSearch};
//! let mut search = LogSearch::default();
//! search.ask(&LogFilter { text: "retransmit".to_owned(), ..LogFilter::default() });
//! while !search.step(trace, 10_000) { /* another frame */ }
//! println!("{} records", search.len(trace));
//! # }
//! ```

use fata_wire::field::Level;

use crate::columns::FAN_OUT;
use crate::lives::Life;
use crate::logs::LogRecord;
use crate::time::Nanos;
use crate::trace::Trace;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// In the text, or in the target; whatever its case. Records that are missing may have said anything: losses are found
    /// whatever the text, and by a task's life those of its guest.
    pub text: String,
    /// As important as this, or more; losses of such records.
    pub level: Level,
    /// By the task that lived this life.
    pub task: Option<Life>,
    /// Within this time.
    pub range: Option<(Nanos, Nanos)>,
}

impl Default for LogFilter {
    fn default() -> Self {
        LogFilter { text: String::new(), level: Level::Trace, task: None, range: None }
    }
}

impl LogFilter {
    /// Whether every record passes that lies within the time.
    fn is_open(&self) -> bool {
        self.text.is_empty() && self.level == Level::Trace && self.task.is_none()
    }

    /// Whether it can find nothing that `other` does not find, so that what `other` found is enough to look at.
    fn is_within(&self, other: &LogFilter) -> bool {
        let within = |inner: Option<(Nanos, Nanos)>, outer: Option<(Nanos, Nanos)>| match (inner, outer) {
            (_, None) => true,
            (Some(inner), Some(outer)) => outer.0 <= inner.0 && inner.1 <= outer.1,
            (None, Some(_)) => false,
        };
        self.text.to_lowercase().contains(&other.text.to_lowercase())
            && self.level <= other.level
            && other.task.is_none_or(|outer| self.task.is_some_and(|inner| inner.is_within(&outer)))
            && within(self.range, other.range)
    }
}

/// A search in progress, and what it has found.
#[derive(Clone, Debug, Default)]
pub struct LogSearch {
    filter: LogFilter,
    needle: String,
    /// The indices of records, in order.
    found: Vec<u32>,
    /// What the search before had found and this one has not looked at.
    candidates: Vec<u32>,
    next_candidate: usize,
    /// Records before this index were looked at.
    looked_at: usize,
    /// By callsite.
    sites: Vec<Option<Site>>,
    /// The group that was looked at last: the next record mostly lies in it.
    group: Option<(usize, [LogRecord; FAN_OUT])>,
}

/// What the text means for the records of a callsite.
#[derive(Clone, Copy, Debug)]
struct Site {
    level: Level,
    /// The target holds it: all of them are asked for.
    is_named: bool,
    /// It can stand in nothing but their texts.
    text_alone: bool,
}

impl LogSearch {
    /// What is asked for.
    #[must_use]
    pub fn filter(&self) -> &LogFilter {
        &self.filter
    }

    /// Asks for something else. What a text finds that goes on where the last one ended is looked for among what that found.
    pub fn ask(&mut self, filter: &LogFilter) {
        if *filter == self.filter {
            return;
        }
        let narrower = !self.filter.is_open() && filter.is_within(&self.filter) && !filter.is_open();
        if narrower {
            // What has been found, then what of the last search's candidates is left.
            let left = self.candidates.split_off(self.next_candidate.min(self.candidates.len()));
            self.candidates = std::mem::take(&mut self.found);
            self.candidates.extend(left);
        } else {
            self.candidates = Vec::new();
            self.found = Vec::new();
            self.looked_at = 0;
        }
        self.next_candidate = 0;
        self.sites.clear();
        self.group = None;
        self.needle = filter.text.to_lowercase();
        self.filter = filter.clone();
    }

    /// Looks at up to `most` more records; whether there is none left.
    pub fn step(&mut self, trace: &Trace, most: usize) -> bool {
        let mut left = most;
        while left > 0
            && let Some(&index) = self.candidates.get(self.next_candidate)
        {
            self.look(trace, index as usize);
            self.next_candidate += 1;
            left -= 1;
        }
        if self.next_candidate < self.candidates.len() {
            return false;
        }
        self.candidates = Vec::new();
        self.next_candidate = 0;
        let (first, end) = self.bounds(trace);
        if self.filter.is_open() {
            return true;
        }
        let mut index = self.looked_at.max(first);
        while left > 0 && index < end {
            self.look(trace, index);
            index += 1;
            left -= 1;
        }
        self.looked_at = index.max(self.looked_at);
        self.looked_at >= end
    }

    /// The records of the time that is asked for, as far as they are settled.
    fn bounds(&self, trace: &Trace) -> (usize, usize) {
        let logs = trace.logs();
        let settled = logs.settled();
        let (mut first, mut end) = (logs.forgotten(), settled);
        let range = self.filter.range.map(|(from, to)| (from, to.saturating_add(1)));
        for (from, until) in range.into_iter().chain(self.filter.task.map(|life| (life.from, life.until))) {
            first = first.max(logs.first_from(from));
            end = end.min(logs.first_from(until));
        }
        (first, end.max(first))
    }

    fn look(&mut self, trace: &Trace, index: usize) {
        if let Some(record) = self.record(trace, index)
            && self.fits(trace, &record)
            && let Ok(index) = u32::try_from(index)
        {
            self.found.push(index);
        }
    }

    fn record(&mut self, trace: &Trace, index: usize) -> Option<LogRecord> {
        let group = index / FAN_OUT;
        match &self.group {
            Some((known, records)) if *known == group => records.get(index % FAN_OUT).copied(),
            _ if group < trace.logs().groups() => {
                let records = trace.logs().group(group)?;
                self.group = Some((group, records));
                records.get(index % FAN_OUT).copied()
            }
            _ => trace.logs().get(index),
        }
    }

    fn fits(&mut self, trace: &Trace, record: &LogRecord) -> bool {
        let in_time = self.filter.range.is_none_or(|(from, to)| (from..=to).contains(&record.time));
        if record.is_loss() {
            let of_guest = self.filter.task.is_none_or(|life| life.is(record.guest(), life.number, record.time));
            return in_time && of_guest && trace.log_level(record) <= self.filter.level;
        }
        let of_task = self.filter.task.is_none_or(|life| life.is(record.guest(), record.task, record.time));
        if !in_time || !of_task {
            return false;
        }
        let site = self.site(trace, record.callsite);
        site.level <= self.filter.level
            && (self.needle.is_empty() || site.is_named || trace.log_says(record, &self.needle, site.text_alone))
    }

    fn site(&mut self, trace: &Trace, callsite: u16) -> Site {
        let at = usize::from(callsite);
        if let Some(Some(site)) = self.sites.get(at) {
            return *site;
        }
        let described = trace.description().callsite(callsite);
        let site = Site {
            level: described.map_or(Level::Info, |callsite| callsite.level),
            is_named: described.is_some_and(|callsite| callsite.category.to_lowercase().contains(&self.needle)),
            text_alone: trace.says_text_alone(callsite, &self.needle),
        };
        if self.sites.len() <= at {
            self.sites.resize(at + 1, None);
        }
        if let Some(place) = self.sites.get_mut(at) {
            *place = Some(site);
        }
        site
    }

    /// How many records were found so far.
    #[must_use]
    pub fn len(&self, trace: &Trace) -> usize {
        let (first, end) = self.bounds(trace);
        if self.filter.is_open() { end.saturating_sub(first) } else { self.found.len() }
    }

    /// Whether nothing was found so far.
    #[must_use]
    pub fn is_empty(&self, trace: &Trace) -> bool {
        self.len(trace) == 0
    }

    /// The record at `place` of what was found.
    #[must_use]
    pub fn get(&self, trace: &Trace, place: usize) -> Option<LogRecord> {
        let index = if self.filter.is_open() { self.bounds(trace).0 + place } else { *self.found.get(place)? as usize };
        trace.logs().get(index)
    }

    /// The place of the first found record at or after `time`.
    #[must_use]
    pub fn first_from(&self, trace: &Trace, time: Nanos) -> usize {
        let index = trace.logs().first_from(time);
        if self.filter.is_open() {
            let (first, end) = self.bounds(trace);
            return index.clamp(first, end.max(first)) - first;
        }
        self.found.partition_point(|&found| (found as usize) < index)
    }

    /// How many records have been looked at, of how many.
    #[must_use]
    pub fn progress(&self, trace: &Trace) -> (usize, usize) {
        let (first, end) = self.bounds(trace);
        let done = if self.filter.is_open() { end } else { self.looked_at.min(end).max(first) };
        (done - first, end.saturating_sub(first))
    }

    /// What it keeps.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        (self.found.capacity() + self.candidates.capacity()) * 4
    }
}
