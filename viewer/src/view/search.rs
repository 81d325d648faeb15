//! Search by name: what is dimmed at once, and which events are gone through one after another.
//!
//! Names are few and asked while one types; events are many, and listed only when one wants to go to the next of them.

use fata_model::query::Found;
use fata_model::trace::{TaskRef, Trace, TrackId, TrackKind};

use super::pick::Pick;

/// The names that a text finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    callsites: Vec<bool>,
    tasks: Vec<bool>,
    /// How many names.
    pub names: usize,
}

impl Matches {
    /// What `text` finds; `None` for an empty one.
    #[must_use]
    pub fn of(trace: &Trace, text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let found = trace.find_names(text);
        let mut matches = Self { names: found.len(), ..Self::default() };
        for name in found {
            match name.what {
                Found::Callsite(id) => set(&mut matches.callsites, usize::from(id)),
                Found::Task(task) => set(&mut matches.tasks, usize::try_from(task.0).unwrap_or(0)),
                Found::Counter(id) => {
                    if let Some(TrackKind::Counter { callsite, .. }) = trace.track(id).map(|track| track.kind) {
                        set(&mut matches.callsites, usize::from(callsite));
                    }
                }
            }
        }
        Some(matches)
    }

    /// Whether a callsite matches.
    #[must_use]
    pub fn callsite(&self, id: u16) -> bool {
        self.callsites.get(usize::from(id)).copied().unwrap_or(false)
    }

    /// Whether a task matches.
    #[must_use]
    pub fn task(&self, task: TaskRef) -> bool {
        usize::try_from(task.0).ok().and_then(|at| self.tasks.get(at)).copied().unwrap_or(false)
    }
}

fn set(flags: &mut Vec<bool>, at: usize) {
    if flags.len() <= at {
        flags.resize(at + 1, false);
    }
    if let Some(flag) = flags.get_mut(at) {
        *flag = true;
    }
}

/// The longest span of a callsite, or its first instant: where a click in the statistics leads.
#[must_use]
pub fn longest_of(trace: &Trace, callsite: u16) -> Option<Pick> {
    let mut best: Option<(i64, Pick)> = None;
    for (id, track) in (0u32..).map(TrackId).zip(trace.tracks()) {
        let events = matches!(
            track.kind,
            TrackKind::CpuSpans { .. }
                | TrackKind::TaskSpans { .. }
                | TrackKind::CpuInstants { .. }
                | TrackKind::TaskInstants { .. }
        );
        let Some(row) = track.row().filter(|_| events) else { continue };
        row.scan(|index, entry| {
            let length = entry.end - entry.start;
            if entry.key == callsite && best.is_none_or(|(longest, _)| length > longest) {
                best = Some((length, Pick::Interval { track: id, index }));
            }
        });
    }
    best.map(|(_, pick)| pick)
}
