//! What tasks say, where they say it: at the foot of a task's line a tick for each of its log records, in the colour of the
//! level.
//!
//! Invariant: what it costs follows the screen. Where more than [`PER_COLUMN`] records would share a pixel there are no ticks:
//! a warning among many could not be told from them, and the log panel has them all. Of several in one pixel the gravest is
//! shown.

use std::collections::HashMap;

use fata_model::guests::GuestId;
use fata_model::lod::View;
use fata_model::tasks::Task;
use fata_model::time::Nanos;
use fata_model::trace::Trace;
use fata_wire::field::Level;

use super::display::{DisplayList, Quad, ink_of_level};
use super::lanes::STATE_HEIGHT;
use super::projection::Projection;

/// So many records share a pixel at most, in the mean.
const PER_COLUMN: usize = 4;
/// A tick reaches from so far above the end of the line of states to so far below it: on the line alone, one of INFO would be
/// green on green.
const ABOVE: f32 = 2.0;
const BELOW: f32 = 3.0;

/// The ticks of the visible time.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// By task, in the order of time: no two in one column.
    ticks: HashMap<(GuestId, u16), Vec<(Nanos, Level)>>,
}

impl Said {
    /// Those of `view`.
    pub(super) fn of(trace: &Trace, view: View) -> Self {
        let logs = trace.logs();
        let (first, end) = (logs.first_from(view.from), logs.first_from(view.to.saturating_add(1)));
        let columns = usize::try_from(view.columns).unwrap_or(1);
        let mut said = Self::default();
        if end.saturating_sub(first) > PER_COLUMN * columns {
            return said;
        }
        for record in (first..end).filter_map(|index| logs.get(index)).filter(|record| record.task != 0) {
            let level = trace.log_level(&record);
            let ticks = said.ticks.entry((record.guest(), record.task)).or_default();
            match ticks.last_mut() {
                Some((time, gravest)) if view.x(record.time).floor() <= view.x(*time).floor() => {
                    *gravest = level.min(*gravest);
                }
                _ => ticks.push((record.time, level)),
            }
        }
        said
    }

    /// Adds the ticks of a task whose line begins at `y`. Its number may have been another task's before, and be another's now.
    pub(super) fn draw(&self, task: &Task, y: f32, projection: Projection, list: &mut DisplayList) {
        let Some(ticks) = self.ticks.get(&(task.guest(), task.number)) else { return };
        let lived = task.spawned.unwrap_or(Nanos::MIN)..=task.done.unwrap_or(Nanos::MAX);
        let (y0, y1) = (y + STATE_HEIGHT - ABOVE, y + STATE_HEIGHT + BELOW);
        list.quads.extend(ticks.iter().filter(|(time, _)| lived.contains(time)).map(|&(time, level)| {
            let x = projection.x_from_nanos(time);
            Quad { x0: x - 1.0, x1: x + 1.0, y0, y1, ink: ink_of_level(level), dim: false }
        }));
    }
}
