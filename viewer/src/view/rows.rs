//! How each kind of row looks: spans, polls, states, instants, groups of tasks, counters.
//!
//! Invariant: whatever is at least a pixel wide is a quad; all that is narrower shares one density row per row.

use std::ops::Range;

use fata_model::lod::{Span, View};
use fata_model::tasks::{NO_NAME, State};
use fata_model::trace::{TaskRef, TrackId, TrackKind};

use super::display::{Column, Density, Ink, Plot, PlotStep, Quad, TextStyle, Tick};
use super::lanes::{ROW_HEIGHT, STATE_HEIGHT};
use super::layout::Layout;

/// From this many members on a group shows only how many live, not what they do.
const GROUP_STATES_UP_TO: usize = 1_000;
/// So many members are asked at full resolution; with more, the columns of a group get wider, so that it costs the same.
const GROUP_FULL_DETAIL: usize = 12;
/// Instants nearer to each other than this, in points, are drawn as lines.
const CROWDED: f32 = 7.0;

impl Layout<'_> {
    /// Asks the model for a row.
    fn query(&mut self, id: TrackId) {
        let mut visible = std::mem::take(&mut self.visible);
        self.scene.trace.visible(id, &self.view, &mut visible);
        self.visible = visible;
    }

    /// A quad's place on the x axis, cut to a little beyond the canvas.
    fn extent(&self, span: &Span) -> (f32, f32) {
        let x0 = self.scene.projection.x_from_nanos(span.start).max(-8.0);
        let x1 = self.scene.projection.x_from_nanos(span.end).min(self.scene.width() + 8.0);
        (x0, x1.max(x0))
    }

    /// The density row of what the last query found too narrow.
    fn density(&mut self, y0: f32, y1: f32, column: impl Fn(u16, u32, f32) -> Column) {
        if self.visible.cells.is_empty() {
            return;
        }
        let width = usize::try_from(self.view.columns).unwrap_or(1);
        let mut columns = vec![Column::EMPTY; width];
        for cell in &self.visible.cells {
            if let Some(slot) = usize::try_from(cell.column).ok().and_then(|at| columns.get_mut(at)) {
                *slot = column(cell.key, cell.first, cell.share);
            }
        }
        self.list.densities.push(Density { y0, y1, columns });
    }

    /// Spans of one depth.
    pub(super) fn spans(&mut self, id: TrackId, y0: f32, y1: f32) {
        self.query(id);
        let (names, matches) = (self.scene.names, self.scene.matches);
        let dim = |callsite| matches.is_some_and(|matches| !matches.callsite(callsite));
        self.density(y0, y1, |key, _, share| Column {
            ink: names.callsite_ink(key),
            share: byte(share),
            dim: dim(key),
        });
        let spans = std::mem::take(&mut self.visible.spans);
        for span in &spans {
            let (x0, x1) = self.extent(span);
            let (ink, dim) = (names.callsite_ink(span.key), dim(span.key));
            self.list.quads.push(Quad { x0, x1, y0, y1, ink, dim });
            if span.uncertain || span.index == Span::OPEN {
                // The end is not known: a notch in the colour of what is missing.
                let from = (x1 - 3.0).max(x0);
                self.list.quads.push(Quad { x0: from, x1, y0, y1, ink: Ink::Alarm, dim });
            }
            let style = if dim { TextStyle::OnDimFill(ink) } else { TextStyle::OnFill(ink) };
            self.label_within(x0, x1, (y0 + y1) / 2.0, style, || names.callsite(span.key).text);
        }
        self.visible.spans = spans;
    }

    /// Who ran on a vCPU.
    pub(super) fn polls(&mut self, id: TrackId, y: f32) {
        self.query(id);
        let (y0, y1) = (y, y + STATE_HEIGHT - 4.0);
        let Some(row) = self.scene.trace.track(id).and_then(|track| track.row()) else { return };
        let (names, matches) = (self.scene.names, self.scene.matches);
        let task_at = |index: u32| {
            let extra = match usize::try_from(index) {
                Ok(at) if index != Span::OPEN => row.entry(at).map(|entry| entry.extra),
                _ => row.open().map(|open| open.extra),
            };
            extra.map(TaskRef)
        };
        let dim = |task: Option<TaskRef>| matches.is_some_and(|found| !task.is_some_and(|task| found.task(task)));
        self.density(y0, y1, |_, first, share| {
            let task = task_at(first);
            Column { ink: task.map_or(Ink::Muted, |task| names.task_ink(task)), share: byte(share), dim: dim(task) }
        });
        let spans = std::mem::take(&mut self.visible.spans);
        for span in &spans {
            let (x0, x1) = self.extent(span);
            let task = task_at(span.index);
            let (ink, dim) = (task.map_or(Ink::Muted, |task| names.task_ink(task)), dim(task));
            self.list.quads.push(Quad { x0, x1, y0, y1, ink, dim });
            let style = if dim { TextStyle::OnDimFill(ink) } else { TextStyle::OnFill(ink) };
            if let Some(task) = task {
                self.label_within(x0, x1, (y0 + y1) / 2.0, style, || names.task(task).text);
            }
        }
        self.visible.spans = spans;
    }

    /// A task's states: a low line while it waits, half as high when it could run, full when it runs.
    pub(super) fn states(&mut self, id: TrackId, y: f32, alarmed: bool) {
        self.query(id);
        let Some(row) = self.scene.trace.track(id).and_then(|track| track.row()) else { return };
        let bottom = y + STATE_HEIGHT - 2.0;
        let dim = match self.scene.trace.track(id).map(|track| track.kind) {
            Some(TrackKind::Task { task }) => self.scene.matches.is_some_and(|matches| !matches.task(task)),
            _ => false,
        };
        self.density(y + 5.0, bottom, |key, _, share| {
            let ink = state_ink(State::from_key(key));
            // What it did in however short a time is seen; that it waited is not counted, and faint.
            let share = if ink == Ink::Idle { 0.4 } else { share.sqrt() };
            Column { ink, share: byte(share), dim }
        });
        let spans = std::mem::take(&mut self.visible.spans);
        for span in &spans {
            let (x0, x1) = self.extent(span);
            let state = State::from_key(span.key);
            let (ink, height) = (state_ink(state), state_height(state));
            self.list.quads.push(Quad { x0, x1, y0: bottom - height, y1: bottom, ink, dim });
            // What never came is named at the lane's end instead.
            if state != State::Idle || (alarmed && span.index == Span::OPEN) {
                continue;
            }
            let extra = match usize::try_from(span.index) {
                Ok(at) if span.index != Span::OPEN => row.entry(at).map(|entry| entry.extra),
                _ => row.open().map(|open| open.extra),
            };
            let name = extra.filter(|&extra| extra != NO_NAME);
            if let Some(name) = name.and_then(|id| self.scene.trace.description().name(id)) {
                self.label_within(x0, x1, y + 7.0, TextStyle::Muted, || name.into());
            }
        }
        self.visible.spans = spans;
    }

    /// Moments, as diamonds where there is room and as lines where they crowd.
    pub(super) fn instants(&mut self, id: Option<TrackId>, y: f32) {
        let Some(id) = id else { return };
        self.query(id);
        let cells = std::mem::take(&mut self.visible.cells);
        let x_of = |column: u32| {
            #[expect(clippy::cast_precision_loss, reason = "a screen's column")]
            let column = column as f32;
            (column + 0.5) / self.scene.scale
        };
        let xs: Vec<f32> = cells.iter().map(|cell| x_of(cell.column)).collect();
        for (i, cell) in cells.iter().enumerate() {
            let x = xs.get(i).copied().unwrap_or(0.0);
            let near = |other: Option<&f32>| other.is_some_and(|&other| (other - x).abs() < CROWDED);
            let crowded = cell.count > 1 || near(i.checked_sub(1).and_then(|i| xs.get(i))) || near(xs.get(i + 1));
            let ink = self.scene.names.callsite_ink(cell.key);
            let dim = self.scene.matches.is_some_and(|matches| !matches.callsite(cell.key));
            if crowded {
                self.list.quads.push(Quad { x0: x - 0.5, x1: x + 0.5, y0: y - 3.0, y1: y + 2.0, ink, dim });
            } else {
                self.list.ticks.push(Tick { x, y, ink, dim });
            }
        }
        self.visible.cells = cells;
    }

    /// Tasks of one name: what they do together, and how many there are.
    pub(super) fn group(&mut self, members: &[TaskRef], y: f32) {
        let width = usize::try_from(self.view.columns).unwrap_or(1);
        let view = self.view;
        #[expect(clippy::cast_precision_loss, reason = "a screen's width")]
        let last = width as f64;
        let column_of = move |time| {
            let x = view.x(time).clamp(0.0, last);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the screen")]
            let column = x as usize;
            column
        };
        let dim = self.scene.matches.is_some_and(|matches| !members.iter().any(|&member| matches.task(member)));
        let mut change = vec![0i32; width + 2];
        let mut shares = vec![[0.0f32; 2]; width];
        let with_states = members.len() <= GROUP_STATES_UP_TO;
        let widening = members.len().div_ceil(GROUP_FULL_DETAIL).next_power_of_two().min(32);
        let coarse = u32::try_from(width / widening).unwrap_or(1).max(1);
        for &member in members {
            let Some(task) = self.scene.trace.task(member) else { continue };
            let from = task.spawned.unwrap_or(i64::MIN / 4);
            let to = task.done.unwrap_or(self.scene.trace.end());
            if to < self.view.from || from >= self.view.to {
                continue;
            }
            let (first, end) = (column_of(from), column_of(to));
            if let Some(slot) = change.get_mut(first) {
                *slot += 1;
            }
            if let Some(slot) = change.get_mut(end + 1) {
                *slot -= 1;
            }
            if with_states {
                let mut visible = std::mem::take(&mut self.visible);
                self.scene.trace.visible(task.states, &View { columns: coarse, ..view }, &mut visible);
                self.visible = visible;
                // Before it was first seen nothing is known of what it did.
                let lived = column_of(task.first)..(end + 1).min(width);
                self.add_states(&mut shares, &lived, coarse, &column_of);
            }
        }
        self.group_states(&shares, y, dim);
        self.alive_plot(&change, width, y, dim);
    }

    /// Adds the last query's running and ready time to the columns in which the task `lived`.
    fn add_states(&self, shares: &mut [[f32; 2]], lived: &Range<usize>, coarse: u32, column_of: &dyn Fn(i64) -> usize) {
        let slot_of = |key| match State::from_key(key) {
            State::Running => Some(0usize),
            State::Ready => Some(1),
            _ => None,
        };
        let width = shares.len() as u64;
        for cell in &self.visible.cells {
            let Some(slot) = slot_of(cell.key) else { continue };
            // A coarse column stands for several of the screen's, but for none beyond the task's life.
            let edge = |column: u32| usize::try_from(u64::from(column) * width / u64::from(coarse)).unwrap_or(0);
            let columns = shares.get_mut(edge(cell.column).max(lived.start)..edge(cell.column + 1).min(lived.end));
            for share in columns.into_iter().flatten().filter_map(|column| column.get_mut(slot)) {
                *share += cell.share;
            }
        }
        for span in &self.visible.spans {
            let Some(slot) = slot_of(span.key) else { continue };
            let (first, last) = (column_of(span.start), column_of(span.end));
            for (at, column) in shares.iter_mut().enumerate().skip(first).take(last - first + 1) {
                #[expect(clippy::cast_precision_loss, reason = "a screen's column")]
                let left = at as f64;
                let x0 = self.view.x(span.start).max(left);
                let x1 = self.view.x(span.end).min(left + 1.0);
                #[expect(clippy::cast_possible_truncation, reason = "a share of one pixel")]
                let covered = (x1 - x0).max(0.0) as f32;
                if let Some(share) = column.get_mut(slot) {
                    *share += covered;
                }
            }
        }
    }

    fn group_states(&mut self, shares: &[[f32; 2]], y: f32, dim: bool) {
        if shares.iter().all(|share| *share == [0.0; 2]) {
            return;
        }
        let column = |&[running, ready]: &[f32; 2]| {
            // Running matters more: it is one task at a time, while many may be ready.
            let (ink, share) = if running * 3.0 >= ready { (Ink::Running, running) } else { (Ink::Ready, ready) };
            if share <= 0.0 { Column::EMPTY } else { Column { ink, share: byte(share.min(1.0).sqrt()), dim } }
        };
        let columns = shares.iter().map(column).collect();
        self.list.densities.push(Density { y0: y + 3.0, y1: y + STATE_HEIGHT - 2.0, columns });
    }

    /// How many live, as a plot.
    fn alive_plot(&mut self, change: &[i32], width: usize, y: f32, dim: bool) {
        let (top, bottom) = (y + STATE_HEIGHT, y + STATE_HEIGHT + ROW_HEIGHT);
        let mut alive = 0;
        let mut levels: Vec<(usize, i32)> = Vec::new();
        for (at, delta) in change.iter().take(width).enumerate() {
            alive += delta;
            if levels.last().map_or(0, |&(_, level)| level) != alive {
                levels.push((at, alive));
            }
        }
        let most = levels.iter().map(|&(_, level)| level).max().unwrap_or(0).max(1);
        let y_of = |level: i32| bottom - (bottom - top - 2.0) * small_f32(level) / small_f32(most);
        let steps = levels.into_iter().map(|(at, level)| {
            let (x, y) = (small_f32(i32::try_from(at).unwrap_or(0)) / self.scene.scale, y_of(level));
            PlotStep { x, low: y, high: y, last: y }
        });
        let ink = if dim { Ink::Muted } else { Ink::Idle };
        let end = self.end_of_trace();
        let plot = Plot { y0: top, y1: bottom, ink, end, steps: steps.filter(|step| step.x < end).collect() };
        self.list.plots.push(plot);
    }

    /// Where the trace ends on the canvas.
    fn end_of_trace(&self) -> f32 {
        self.scene.projection.x_from_nanos(self.scene.trace.end()).clamp(0.0, self.scene.width())
    }

    /// A counter's plot, from zero to its greatest value ever, so that it keeps its scale while one looks around.
    pub(super) fn counter(&mut self, id: TrackId, y: f32, height: f32) {
        let Some(track) = self.scene.trace.track(id) else { return };
        let (Some(samples), TrackKind::Counter { callsite, .. }) = (track.samples(), track.kind) else { return };
        let (Some((least, most)), mut columns) = (samples.range(), Vec::new()) else { return };
        samples.visible(&self.view, &mut columns);
        let (least, most) = (least.min(0.0), if most > least.min(0.0) { most } else { least + 1.0 });
        let (top, bottom) = (y + 4.0, y + height - 3.0);
        let y_of = |value: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "a share")]
            let share = ((value - least) / (most - least)) as f32;
            bottom - (bottom - top) * share
        };
        let steps = columns.iter().map(|column| {
            #[expect(clippy::cast_precision_loss, reason = "a screen's column")]
            let x = column.column as f32 / self.scene.scale;
            PlotStep { x, low: y_of(column.min), high: y_of(column.max), last: y_of(column.last) }
        });
        let dim = self.scene.matches.is_some_and(|matches| !matches.callsite(callsite));
        let ink = if dim { Ink::Muted } else { self.scene.names.callsite_ink(callsite) };
        let plot = Plot { y0: top, y1: bottom, ink, end: self.end_of_trace(), steps: steps.collect() };
        self.list.plots.push(plot);
    }
}

fn state_ink(state: State) -> Ink {
    match state {
        State::Running => Ink::Running,
        State::Ready => Ink::Ready,
        State::Idle | State::Done => Ink::Idle,
        State::Unknown => Ink::Muted,
    }
}

/// Points above the lane's line.
fn state_height(state: State) -> f32 {
    match state {
        State::Running => 13.0,
        State::Ready => 7.0,
        State::Idle | State::Done | State::Unknown => 2.0,
    }
}

/// A share as a byte; what is there at all never becomes nothing.
pub(super) fn byte(share: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
    let byte = (share * 255.0).clamp(1.0, 255.0) as u8;
    byte
}

fn small_f32(value: i32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "columns and numbers of tasks, for drawing")]
    let value = value as f32;
    value
}
