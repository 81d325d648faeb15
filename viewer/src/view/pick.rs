//! What lies under the pointer: asked of the model, not of the picture, so that nothing is too small to be picked.

use fata_model::columns::Row;
use fata_model::lod::Span;
use fata_model::trace::{TaskRef, Trace, TrackId, TrackKind};

use super::lanes::{Content, LANE_PADDING, Lane, Lanes, ROW_HEIGHT, STATE_HEIGHT};
use super::projection::Projection;

/// How far from a thing the pointer may be, in points.
const REACH: f32 = 4.0;

/// One thing of a trace, named such that it stays what it is while the trace grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pick {
    /// A span, a poll, a state or an instant.
    Interval {
        /// Its track.
        track: TrackId,
        /// Its index, or [`Span::OPEN`].
        index: u32,
    },
    /// A task as such.
    Task(TaskRef),
    /// A packet on its way, by the index of one of its points.
    Flow {
        /// The index among all flow points.
        point: u32,
    },
    /// A counter at a moment.
    Sample {
        /// Its track.
        track: TrackId,
        /// The moment.
        time: i64,
    },
}

impl Pick {
    /// The task that it belongs to.
    #[must_use]
    pub fn task(&self, trace: &Trace) -> Option<TaskRef> {
        match *self {
            Pick::Task(task) => Some(task),
            Pick::Flow { point } => match trace.flows().point(point)?.actor {
                fata_model::trace::Actor::Task(task) => Some(task),
                _ => None,
            },
            Pick::Sample { .. } => None,
            Pick::Interval { track, index } => match trace.track(track)?.kind {
                TrackKind::Task { task } | TrackKind::TaskSpans { task, .. } | TrackKind::TaskInstants { task } => {
                    Some(task)
                }
                TrackKind::Cpu { .. } => Some(TaskRef(trace.entry(track, index)?.extra)),
                _ => None,
            },
        }
    }

    /// From when to when.
    #[must_use]
    pub fn range(&self, trace: &Trace) -> Option<(i64, i64)> {
        match *self {
            Pick::Interval { track, index } => trace.entry(track, index).map(|entry| (entry.start, entry.end)),
            Pick::Sample { time, .. } => Some((time, time)),
            Pick::Flow { point } => {
                let points = trace.flows().flow_of(point, super::flows::MAX_POINTS);
                Some((points.first()?.time, points.last()?.time))
            }
            Pick::Task(task) => {
                let known = trace.task(task)?;
                let first = trace.track(known.states).and_then(|track| track.row()?.entry(0)).map(|entry| entry.start);
                let begin = known.spawned.or(first).unwrap_or(known.since);
                Some((begin, known.done.unwrap_or(trace.end())))
            }
        }
    }
}

/// What lies at height `y` of the lanes and at `x`.
#[must_use]
pub fn pick(trace: &Trace, lanes: &Lanes, projection: &Projection, x: f32, y: f32) -> Option<Pick> {
    let (top, lane) = lanes.at(y)?;
    pick_in_lane(trace, lane, projection, x, y - top)
}

fn pick_in_lane(trace: &Trace, lane: &Lane, projection: &Projection, x: f32, y: f32) -> Option<Pick> {
    let time = projection.nanos_from_x(x);
    let reach = super::projection::floor_nanos(projection.nanos_per_pixel() * f64::from(REACH)).max(1);
    let in_row = |id: TrackId| interval(trace, id, time, reach);
    let in_rows = |rows: &[TrackId], from: f32| {
        let at = row_index(y - from)?;
        in_row(*rows.get(at)?)
    };
    match &lane.content {
        Content::Heading => None,
        Content::Cpu { polls, spans, instants } if y < STATE_HEIGHT => {
            let _ = spans;
            instants.and_then(in_row).or_else(|| in_row(*polls))
        }
        Content::Task { states, instants, .. } if y < STATE_HEIGHT => {
            instants.and_then(in_row).or_else(|| in_row(*states))
        }
        Content::Cpu { spans, .. } => in_rows(spans, STATE_HEIGHT),
        Content::Task { spans, task, .. } => in_rows(spans, STATE_HEIGHT).or(Some(Pick::Task(*task))),
        Content::Phases(rows) => in_rows(rows, LANE_PADDING),
        Content::Packets => super::flows::pick(trace, time, reach),
        Content::Group(members) => {
            // The member that was busiest nearest to here: the first that ran.
            let mut running = members.iter().filter_map(|&member| {
                let known = trace.task(member)?;
                let alive = known.spawned.is_none_or(|from| from <= time + reach)
                    && known.done.is_none_or(|to| to + reach >= time);
                if alive { Some((member, known.states)) } else { None }
            });
            let first = running.next()?;
            let ran = std::iter::once(first).chain(running).take(1_000).find(|&(_, states)| {
                matches!(in_row(states), Some(Pick::Interval { index, .. })
                if trace.entry(states, index).is_some_and(|entry| {
                    fata_model::tasks::State::from_key(entry.key) == fata_model::tasks::State::Running
                }))
            });
            Some(Pick::Task(ran.unwrap_or(first).0))
        }
        Content::Counter(id) => {
            let samples = trace.track(*id)?.samples()?;
            let (index, _) = samples.at(time)?;
            let (at, _) = samples.sample(index)?;
            Some(Pick::Sample { track: *id, time: at })
        }
    }
}

fn row_index(y: f32) -> Option<usize> {
    if y < 0.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, at most 128 rows")]
    let index = (y / ROW_HEIGHT) as usize;
    Some(index)
}

/// The interval at `time`, else the nearest within `reach`.
fn interval(trace: &Trace, id: TrackId, time: i64, reach: i64) -> Option<Pick> {
    let row: &Row = trace.track(id)?.row()?;
    let found = |index: usize| Some(Pick::Interval { track: id, index: u32::try_from(index).ok()? });
    if let Some(index) = row.at(time) {
        return found(index);
    }
    let after = row.first_from(time);
    let distance_after = row.entry(after).map(|entry| entry.start - time);
    let before = after.checked_sub(1);
    let distance_before = before.and_then(|index| row.entry(index)).map(|entry| time - entry.end);
    let nearest = match (distance_before, distance_after) {
        (Some(before_by), Some(after_by)) if before_by <= after_by => before.map(|index| (index, before_by)),
        (_, Some(after_by)) => Some((after, after_by)),
        (Some(before_by), None) => before.map(|index| (index, before_by)),
        (None, None) => None,
    };
    // The nearest ended one may lie further than the open one.
    if row.open().is_some_and(|open| open.start <= time + reach)
        && trace.track(id).map(|t| trace.open_end(t)) >= Some(time)
    {
        return Some(Pick::Interval { track: id, index: Span::OPEN });
    }
    nearest.filter(|&(_, distance)| distance <= reach).and_then(|(index, _)| found(index))
}
