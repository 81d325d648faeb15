//! Lanes and a time range become a display list. Asks the model for what can be seen, per row, at pixel resolution.
//!
//! Invariant: pure; the same trace, lanes and range give the same list, so a list can be a test's expectation. Its cost
//! follows the pixels of the rows that are visible.

use std::sync::Arc;

use fata_model::lod::{View, Visible};
use fata_model::objects::Verdict;
use fata_model::trace::{Gap, TaskRef, Trace, TrackId};
use fata_wire::packet::Cause;

use super::display::{Band, BandKind, DisplayList, Hatch, Ink, Label, Quad, TextStyle};
use super::format;
use super::lanes::{Content, LANE_PADDING, Lane, Lanes, ROW_HEIGHT, STATE_HEIGHT};
use super::names::Names;
use super::pick::Pick;
use super::projection::Projection;
use super::said::Said;
use super::search::Matches;

/// Spans narrower than this, in points, carry no text.
pub(super) const LABEL_FROM: f32 = 40.0;

/// What is to be drawn, beside the lanes.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// Its names.
    pub names: &'a Names,
    /// What a search found; without one nothing is dimmed.
    pub matches: Option<&'a Matches>,
    /// What is selected.
    pub selection: Option<Pick>,
    /// Time to points from the canvas's left edge.
    pub projection: Projection,
    /// Physical pixels per point.
    pub scale: f32,
}

impl Scene<'_> {
    /// The visible range in the model's terms.
    #[must_use]
    pub fn view(&self) -> View {
        let (from, to) = self.projection.visible();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a screen's width")]
        let columns = (self.projection.width * self.scale).round().clamp(1.0, 32_768.0) as u32;
        View { from, to, columns }
    }

    /// The canvas's width in points.
    pub(super) fn width(&self) -> f32 {
        self.projection.width
    }
}

/// A layout in progress.
pub(super) struct Layout<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) view: View,
    pub(super) list: DisplayList,
    /// What tasks say in the visible time.
    said: Said,
    /// Used again for every row.
    pub(super) visible: Visible,
}

/// The display list of the lanes between `scroll` and `scroll + height`.
#[must_use]
pub fn layout(scene: &Scene<'_>, lanes: &Lanes, scroll: f32, height: f32) -> DisplayList {
    let mut layout = Layout {
        scene: *scene,
        view: scene.view(),
        list: DisplayList::default(),
        said: Said::of(scene.trace, scene.view()),
        visible: Visible::default(),
    };
    for (top, lane) in lanes.between(scroll, scroll + height) {
        layout.lane(lane, top - scroll);
    }
    layout.gaps();
    layout.arrows(lanes, scroll, height);
    layout.list
}

impl Layout<'_> {
    fn lane(&mut self, lane: &Lane, y: f32) {
        let kind = match (&lane.content, self.scene.selection) {
            (Content::Heading, _) => BandKind::Heading,
            (Content::Task { task, .. }, Some(pick)) if pick.task(self.scene.trace) == Some(*task) => {
                BandKind::Selected
            }
            _ => BandKind::Lane,
        };
        self.list.bands.push(Band { y0: y, y1: y + lane.height, kind });
        match &lane.content {
            Content::Heading => {}
            Content::Cpu { polls, spans, instants } => {
                self.polls(*polls, y + 2.0);
                self.span_rows(spans, y + STATE_HEIGHT);
                self.instants(*instants, y + 5.0);
            }
            Content::Task { task, states, spans, instants } => {
                self.states(*states, y, lane.alarm.is_some());
                self.span_rows(spans, y + STATE_HEIGHT);
                self.instants(*instants, y + 5.0);
                if let Some(task) = self.scene.trace.task(*task) {
                    self.said.draw(task, y, self.scene.projection, &mut self.list);
                }
                self.never_resolved(*task, lane, y);
            }
            Content::Group(members) => self.group(members, y),
            Content::Phases(rows) => self.span_rows(rows, y + LANE_PADDING),
            Content::Packets => self.packets(y + LANE_PADDING),
            Content::Counter(id) => self.counter(*id, y, lane.height),
        }
    }

    fn span_rows(&mut self, rows: &[TrackId], y: f32) {
        let mut top = y;
        for &row in rows {
            self.spans(row, top, top + ROW_HEIGHT - 1.0);
            top += ROW_HEIGHT;
        }
    }

    /// The red mark of a task that waits for what nobody will resolve.
    fn never_resolved(&mut self, task: TaskRef, lane: &Lane, y: f32) {
        let Some(verdict) = lane.alarm else { return };
        let end = self.scene.trace.task(task).and_then(|task| task.done).unwrap_or(self.scene.trace.end());
        let x = self.scene.projection.x_from_nanos(end);
        if !(-4.0..=self.scene.width() + 4.0).contains(&x) {
            return;
        }
        let lost = verdict == Verdict::SignalLost;
        let (ink, style) = if lost { (Ink::Alarm, TextStyle::Alarm) } else { (Ink::Ready, TextStyle::Muted) };
        let quad = Quad { x0: x - 3.0, x1: x, y0: y + 1.0, y1: y + lane.height - 2.0, ink, dim: false };
        self.list.quads.push(quad);
        let lost = self.scene.trace.unresolved().into_iter().find(|lost| lost.task == Some(task));
        let text = lost.map_or_else(|| "never resolved".to_owned(), |lost| format!("{} never resolved", lost.name));
        // To the left of the mark, where the task's line is; a letter is about six points wide.
        let width = 6.4 * f32::from(u8::try_from(text.chars().count()).unwrap_or(u8::MAX)) + 6.0;
        self.list.labels.push(Label { x: x - width - 4.0, y: y + 7.0, width, text: text.into(), style });
    }

    /// A text on what lies between `x0` and `x1`, kept on the screen while any of it is.
    pub(super) fn label_within(&mut self, x0: f32, x1: f32, y: f32, style: TextStyle, text: impl FnOnce() -> Arc<str>) {
        let (left, right) = (x0.max(0.0), x1.min(self.scene.width()));
        if right - left < LABEL_FROM {
            return;
        }
        self.list.labels.push(Label { x: left + 4.0, y, width: right - left - 8.0, text: text(), style });
    }

    fn gaps(&mut self) {
        let mut last_x1 = f32::NEG_INFINITY;
        let mut gaps: Vec<&Gap> =
            self.scene.trace.gaps().iter().filter(|gap| gap.to >= self.view.from && gap.from < self.view.to).collect();
        gaps.sort_by_key(|gap| gap.from);
        for gap in gaps {
            let x0 = self.scene.projection.x_from_nanos(gap.from).max(-1.0);
            let x1 = self.scene.projection.x_from_nanos(gap.to).min(self.scene.width() + 1.0);
            match self.list.hatches.last_mut() {
                Some(last) if x0 < last_x1 + 1.0 => last.x1 = last.x1.max(x1),
                _ => self.list.hatches.push(Hatch { x0, x1, text: gap_text(gap) }),
            }
            last_x1 = last_x1.max(x1);
        }
    }
}

/// What a gap says of itself.
#[must_use]
pub fn gap_text(gap: &Gap) -> String {
    let mut parts = Vec::new();
    for (cause, &count) in Cause::ALL.iter().zip(&gap.discarded) {
        if count > 0 {
            parts.push(format!("{} {}", format::count(count), cause_text(*cause)));
        }
    }
    if gap.missing_packets > 0 {
        parts.push(format!("{} packets missing from the trace", format::count(gap.missing_packets)));
    }
    if parts.is_empty() {
        parts.push("an unknown number of events".into());
    }
    format!("{} not recorded: {}", format::duration(gap.to - gap.from), parts.join(", "))
}

/// Why events were discarded, in words.
#[must_use]
pub fn cause_text(cause: Cause) -> &'static str {
    match cause {
        Cause::Full => "discarded, the ring was full",
        Cause::Nested => "discarded, an interrupt came while the ring changed packets",
        Cause::TooBig => "discarded, longer than a packet",
        Cause::Overwritten => "overwritten by newer ones",
        Cause::Refused => "refused, not readable as events",
    }
}
