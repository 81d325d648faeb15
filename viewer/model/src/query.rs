//! Questions of a person: where is this name, what is that event, what comes next, why did this task wake up.
//!
//! Searches look at every interval (a few nanoseconds each), so they belong on a worker; everything else costs a binary
//! search.

use crate::columns::Entry;
use crate::lod::Span;
use crate::stats::open_by_callsite;
use crate::tasks::{NO_NAME, State};
use crate::text;
use crate::time::Nanos;
use crate::trace::{Actor, FieldValue, TaskRef, Trace, Track, TrackId, TrackKind, Wake};

/// Something that was searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where.
    pub track: TrackId,
    /// Which interval of the track; [`Span::OPEN`] for an open one.
    pub index: u32,
    /// When it began.
    pub start: Nanos,
    /// When it ended.
    pub end: Nanos,
}

/// What a name is the name of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The name.
    pub name: String,
    /// What is called so.
    pub what: Found,
}

/// See [`Match`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Events of this callsite.
    Callsite(u16),
    /// A task.
    Task(TaskRef),
    /// A counter's track.
    Counter(TrackId),
}

/// An event or interval in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// What it is.
    pub title: String,
    /// When it began.
    pub start: Nanos,
    /// When it ended; as `start` for an instant, the trace's end for what is open.
    pub end: Nanos,
    /// Everything else there is to say, in order.
    pub lines: Vec<FieldValue>,
}

impl Trace {
    /// The callsites, tasks and counters whose names contain `text`, whatever its case.
    #[must_use]
    pub fn find_names(&self, text: &str) -> Vec<Match> {
        let text = text.to_lowercase();
        let fits = |name: &str| name.to_lowercase().contains(&text);
        let open = open_by_callsite(self);
        let used = |id: u16| {
            let (times, open) = (self.times.get(usize::from(id)), open.get(usize::from(id)));
            times.map_or(0, |times| times.count) + open.copied().unwrap_or(0) > 0
        };
        let callsites = self.description.callsites().filter(|callsite| used(callsite.id) && fits(&callsite.name));
        let mut list: Vec<_> = callsites
            .map(|callsite| Match { name: callsite.name.to_string(), what: Found::Callsite(callsite.id) })
            .collect();
        for (index, _) in (0..).zip(&self.tasks.list) {
            let name = self.task_label(TaskRef(index));
            if fits(&name) {
                list.push(Match { name, what: Found::Task(TaskRef(index)) });
            }
        }
        for (index, track) in (0..).zip(&self.tracks.list) {
            if let TrackKind::Counter { .. } = track.kind {
                let name = self.track_label(track.kind);
                if fits(&name) {
                    list.push(Match { name, what: Found::Counter(TrackId(index)) });
                }
            }
        }
        list
    }

    /// The spans, instants and polls whose callsite's or task's name contains `text`, in time order; at most `limit`.
    #[must_use]
    pub fn search(&self, text: &str, limit: usize) -> Vec<Hit> {
        let matches = self.find_names(text);
        let mut callsites = vec![false; self.times.len()];
        let mut tasks = vec![false; self.tasks.list.len()];
        for found in &matches {
            let (list, index) = match found.what {
                Found::Callsite(id) => (&mut callsites, usize::from(id)),
                Found::Task(task) => (&mut tasks, task.0 as usize),
                Found::Counter(_) => continue,
            };
            if let Some(flag) = list.get_mut(index) {
                *flag = true;
            }
        }
        let flag = |list: &[bool], index: usize| list.get(index).copied().unwrap_or(false);
        let mut hits = Vec::new();
        for (id, track) in (0..).map(TrackId).zip(&self.tracks.list) {
            let Some(row) = track.row() else { continue };
            let hit = |key: u16, extra: u32| match track.kind {
                TrackKind::Cpu { .. } => flag(&tasks, extra as usize),
                TrackKind::Task { .. } | TrackKind::Phases { .. } => false,
                _ => flag(&callsites, usize::from(key)),
            };
            let before = hits.len();
            row.scan(|index, entry| {
                // A row is in time order: later hits would not be among the first.
                if hit(entry.key, entry.extra) && hits.len() - before < limit {
                    hits.push(Hit { track: id, index, start: entry.start, end: entry.end });
                }
            });
            if let Some(open) = row.open()
                && hit(open.key, open.extra)
            {
                hits.push(Hit { track: id, index: Span::OPEN, start: open.start, end: self.open_end(track) });
            }
            // Twice the limit at most is held, whatever matches.
            if hits.len() > limit {
                hits.sort_by_key(|hit| hit.start);
                hits.truncate(limit);
            }
        }
        hits.sort_by_key(|hit| hit.start);
        hits.truncate(limit);
        hits
    }

    /// The interval of this index in a track, open or not.
    #[must_use]
    pub fn entry(&self, id: TrackId, index: u32) -> Option<Entry> {
        let track = self.track(id)?;
        let row = track.row()?;
        if index != Span::OPEN {
            return row.entry(index as usize);
        }
        let open = row.open()?;
        Some(Entry { start: open.start, end: self.open_end(track), key: open.key, extra: open.extra, uncertain: false })
    }

    /// The interval that covers `time` in a track, or the instant at it.
    #[must_use]
    pub fn entry_at(&self, id: TrackId, time: Nanos) -> Option<u32> {
        let track = self.track(id)?;
        let row = track.row()?;
        if let Some(open) = row.open()
            && (open.start..=self.open_end(track)).contains(&time)
        {
            return Some(Span::OPEN);
        }
        u32::try_from(row.at(time)?).ok()
    }

    /// The interval after `index` in its track.
    #[must_use]
    pub fn next_entry(&self, id: TrackId, index: u32) -> Option<u32> {
        let row = self.track(id)?.row()?;
        let next = index.checked_add(1)?;
        if (next as usize) < row.len() { Some(next) } else { row.open().map(|_| Span::OPEN) }
    }

    /// The interval before `index` in its track.
    #[must_use]
    pub fn previous_entry(&self, id: TrackId, index: u32) -> Option<u32> {
        let len = u32::try_from(self.track(id)?.row()?.len()).ok()?;
        index.min(len).checked_sub(1)
    }

    /// What there is to say of an interval or instant.
    #[must_use]
    pub fn details(&self, id: TrackId, index: u32) -> Option<Details> {
        let track = self.track(id)?;
        let entry = self.entry(id, index)?;
        let mut lines = Vec::new();
        let mut say = |name: &str, text: String| lines.push(FieldValue { name: name.to_owned(), text });
        let title = match track.kind {
            TrackKind::Task { task } => {
                self.state_lines(&entry, &mut say);
                format!("{}: {}", self.task_label(task), State::from_key(entry.key).text())
            }
            TrackKind::Cpu { .. } => self.task_label(TaskRef(entry.extra)),
            _ => self.key_name(track.kind, entry.key),
        };
        say("begin", text::moment(entry.start));
        if entry.end > entry.start || index == Span::OPEN {
            say("duration", text::duration(entry.end - entry.start));
        }
        if index == Span::OPEN {
            say("end", "not in the trace".to_owned());
        }
        if entry.uncertain {
            say("note", "events were discarded while it was open: it may have ended earlier".to_owned());
        }
        self.place_lines(track, &mut say);
        if !matches!(track.kind, TrackKind::Task { .. } | TrackKind::Cpu { .. }) {
            if let Some(callsite) = self.description.callsite(entry.key) {
                say("category", callsite.category.to_string());
                say("level", callsite.level.text().to_owned());
                say("source", format!("{}:{}", callsite.file, callsite.line));
            }
            lines.extend(self.fields(entry.key, entry.extra, entry.start));
        }
        Some(Details { title, start: entry.start, end: entry.end, lines })
    }

    fn state_lines(&self, entry: &Entry, say: &mut impl FnMut(&str, String)) {
        match State::from_key(entry.key) {
            State::Ready => say("woken by", self.actor_label(Actor::unpack(entry.extra))),
            State::Running => say("on", self.cpu_label(entry.extra)),
            State::Idle if entry.extra != NO_NAME => {
                let id = entry.extra;
                say("waits for", self.description.name(id).map_or_else(|| format!("name {id}"), str::to_owned));
            }
            _ => {}
        }
    }

    fn place_lines(&self, track: &Track, say: &mut impl FnMut(&str, String)) {
        match track.kind {
            TrackKind::TaskSpans { task, .. } | TrackKind::TaskInstants { task } => say("task", self.task_label(task)),
            TrackKind::CpuSpans { cpu, .. } | TrackKind::CpuInstants { cpu } | TrackKind::Phases { cpu, .. } => {
                say("on", self.cpu_label(cpu));
            }
            _ => {}
        }
    }

    /// Why `task` ran at `time`: its last wake up to then, who woke the waker before that, and so on; youngest first.
    #[must_use]
    pub fn wake_chain(&self, task: TaskRef, time: Nanos, limit: usize) -> Vec<Wake> {
        let mut chain = Vec::new();
        let (mut task, mut time) = (task, time);
        while chain.len() < limit {
            let Some(wake) = self.last_wake(task, time) else { break };
            chain.push(wake);
            // The waker was running: what had woken it lies before its own poll, so time goes backwards for certain.
            match wake.from {
                Actor::Task(waker) if waker != task && wake.time <= time => (task, time) = (waker, wake.time - 1),
                _ => break,
            }
        }
        chain
    }

    /// The last wake of a task at or before `time` that made it ready.
    #[must_use]
    pub fn last_wake(&self, task: TaskRef, time: Nanos) -> Option<Wake> {
        let known = self.task(task)?;
        let row = self.track(known.states)?.row()?;
        let wake = |start, extra| Wake { time: start, from: Actor::unpack(extra), to: task, cpu: known.cpu() };
        if let Some(open) = row.open()
            && open.start <= time
            && State::from_key(open.key) == State::Ready
        {
            return Some(wake(open.start, open.extra));
        }
        let before = row.first_from(time.saturating_add(1));
        // A task is ready at least every third interval, unless gaps tore its life apart.
        let ready = (0..before).rev().take(64).filter_map(|index| row.entry(index));
        ready.into_iter().find(|entry| State::from_key(entry.key) == State::Ready).map(|e| wake(e.start, e.extra))
    }
}
