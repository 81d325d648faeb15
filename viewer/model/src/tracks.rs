//! Tracks: a row of intervals or a counter's samples, and what it shows.
//!
//! Invariant: all tracks together take no more intervals than [`Limits`](crate::ingest::Limits) allow. Before the budget is
//! used up the ingest makes room by forgetting the oldest; where that is not enough, what comes is counted and not kept.
//! Statistics do not depend on it.

use crate::columns::Row;
use crate::samples::Samples;
use crate::tasks::State;
use crate::time::Nanos;
use crate::trace::{TaskRef, TrackId};

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Which task a vCPU runs.
    Cpu {
        /// The vCPU.
        cpu: u32,
    },
    /// Spans of the scheduler and of interrupts, at one depth.
    CpuSpans {
        /// The vCPU.
        cpu: u32,
        /// How many spans enclose them.
        depth: u16,
    },
    /// Instants outside of tasks.
    CpuInstants {
        /// The vCPU.
        cpu: u32,
    },
    /// The heap's phases on a vCPU, whichever task was in them; the same spans are in the tasks' rows.
    Phases {
        /// The vCPU.
        cpu: u32,
        /// How many phases enclose them.
        depth: u16,
    },
    /// The states of a task.
    Task {
        /// The task.
        task: TaskRef,
    },
    /// Spans of a task at one depth.
    TaskSpans {
        /// The task.
        task: TaskRef,
        /// How many spans enclose them.
        depth: u16,
    },
    /// Instants in a task.
    TaskInstants {
        /// The task.
        task: TaskRef,
    },
    /// A counter as one vCPU saw it.
    Counter {
        /// The vCPU.
        cpu: u32,
        /// Its callsite.
        callsite: u16,
    },
}

/// A track's data.
#[derive(Clone, Debug)]
#[repr(u8)]
pub enum Series {
    /// Intervals or instants.
    Row(Row),
    /// A counter's values.
    Samples(Samples),
}

/// A series of the trace. What the next interval needs of its row lies in its first cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Track {
    /// Its data.
    pub series: Series,
    /// What it shows.
    pub kind: TrackKind,
}

impl Track {
    /// The intervals, where it is not a counter.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        if let Series::Row(row) = &self.series { Some(row) } else { None }
    }

    /// The samples, where it is a counter.
    #[must_use]
    pub fn samples(&self) -> Option<&Samples> {
        if let Series::Samples(samples) = &self.series { Some(samples) } else { None }
    }
}

/// All tracks, and how many intervals they may still take.
#[derive(Clone, Debug)]
pub(crate) struct Tracks {
    pub(crate) list: Vec<Track>,
    pub(crate) max_tracks: usize,
    /// Intervals and samples that still fit.
    pub(crate) room: u64,
    /// What did not.
    pub(crate) refused: u64,
}

impl Tracks {
    pub(crate) const NONE: TrackId = TrackId(u32::MAX);

    pub(crate) fn add(&mut self, kind: TrackKind) -> TrackId {
        if self.list.len() >= self.max_tracks {
            self.refused += 1;
            return Self::NONE;
        }
        let series = match kind {
            TrackKind::Counter { .. } => Series::Samples(Samples::default()),
            TrackKind::Task { .. } => Series::Row(Row::with_quiet(State::Idle.key())),
            _ => Series::Row(Row::new()),
        };
        let id = TrackId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(Track { kind, series });
        id
    }

    /// The row of a track, if another interval fits.
    #[inline]
    pub(crate) fn row(&mut self, id: TrackId) -> Option<&mut Row> {
        if self.room == 0 {
            self.refused += 1;
            return None;
        }
        match self.list.get_mut(id.0 as usize) {
            Some(Track { series: Series::Row(row), .. }) => {
                self.room -= 1;
                Some(row)
            }
            _ => {
                self.refused += 1;
                None
            }
        }
    }

    /// Whether another wake fits.
    pub(crate) fn take_room(&mut self) -> bool {
        let fits = self.room > 0;
        self.room -= u64::from(fits);
        self.refused += u64::from(!fits);
        fits
    }

    /// The row of a track, to end or forget what is open in it.
    #[inline]
    pub(crate) fn row_with_open(&mut self, id: TrackId) -> Option<&mut Row> {
        match self.list.get_mut(id.0 as usize) {
            Some(Track { series: Series::Row(row), .. }) => Some(row),
            _ => None,
        }
    }

    /// Ends what is open in a row, or forgets it where no further interval fits.
    #[inline]
    pub(crate) fn end_open(&mut self, id: TrackId, time: Nanos, uncertain: bool) {
        if let Some(row) = self.row(id) {
            row.end(time, uncertain);
        } else if let Some(row) = self.row_with_open(id) {
            row.abandon();
        }
    }

    pub(crate) fn samples(&mut self, id: TrackId) -> Option<&mut Samples> {
        match self.list.get_mut(id.0 as usize) {
            Some(Track { series: Series::Samples(samples), .. }) if self.room > 0 => {
                self.room -= 1;
                Some(samples)
            }
            _ => {
                self.refused += 1;
                None
            }
        }
    }
}
