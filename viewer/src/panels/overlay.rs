//! What lies over the canvas and changes with the pointer: the ruler's labels, the pointer's line, the selection's frame,
//! the measured range, and the words for a trace in which there is nothing.

use egui::{Align2, FontId, Pos2, Rect, Stroke, StrokeKind, Ui, pos2, vec2};
use fata_model::live::Progress;

use crate::app::Frame;
use crate::paint::palette::Palette;
use crate::view::format;
use crate::view::layout::gap_text;
use crate::view::projection::{Projection, floor_nanos};
use crate::view::ruler::Mark;

/// The time axis, with the origin's wall clock in its corner.
pub(super) fn ruler(ui: &Ui, frame: &Frame<'_>, rect: Rect, corner: Rect, marks: &[Mark]) {
    let palette = frame.palette;
    let painter = ui.painter();
    painter.rect_filled(corner.union(rect), 0.0, palette.panel);
    let clipped = painter.with_clip_rect(rect);
    for mark in marks {
        let height = if mark.major { 8.0 } else { 4.0 };
        let x = mark.x.round() + 0.5;
        clipped.vline(x, rect.bottom() - height..=rect.bottom(), Stroke::new(1.0, palette.muted.gamma_multiply(0.7)));
        if mark.major {
            let label = clipped.layout_no_wrap(mark.label.clone(), FontId::proportional(11.5), palette.text);
            // Half a label would be another time.
            if x + 4.0 + label.size().x <= rect.right() {
                clipped.galley(pos2(x + 4.0, rect.top() + 4.0), label, palette.text);
            }
        }
    }
    painter.hline(corner.union(rect).x_range(), rect.bottom() - 0.5, Stroke::new(1.0, palette.separator));
    let origin = frame.trace.origin().and_then(|origin| origin.unix_nanos).map(format::wall_clock);
    let text = origin.map_or_else(
        || "time since the first packet".to_owned(),
        |text| format!("0 s = {}", text.split('.').next().unwrap_or(&text)),
    );
    painter.with_clip_rect(corner).text(
        pos2(corner.left() + 8.0, corner.center().y),
        Align2::LEFT_CENTER,
        text,
        FontId::proportional(11.0),
        palette.muted,
    );
}

/// The line under the lanes that are kept at the top.
pub(super) fn edge(ui: &Ui, rect: Rect, palette: &Palette) {
    ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, Stroke::new(2.0, palette.accent.gamma_multiply(0.5)));
}

/// A thin line at the pointer.
pub(super) fn pointer(ui: &Ui, frame: &Frame<'_>, canvas: Rect, at: Pos2) {
    let colour = frame.palette.accent.gamma_multiply(0.45);
    ui.painter().with_clip_rect(canvas).vline(at.x.round() + 0.5, canvas.y_range(), Stroke::new(1.0, colour));
}

/// Two lines around what is selected.
pub(super) fn selection(ui: &Ui, frame: &Frame<'_>, canvas: Rect, projection: &Projection) {
    let Some((from, to)) = frame.state.selection.and_then(|pick| pick.range(frame.trace)) else { return };
    let painter = ui.painter().with_clip_rect(canvas);
    let (x0, x1) = (projection.x_from_nanos(from), projection.x_from_nanos(to));
    let stroke = Stroke::new(1.0, frame.palette.accent.gamma_multiply(0.8));
    painter.vline(x0.round() + 0.5, canvas.y_range(), stroke);
    if x1 - x0 > 2.0 {
        painter.vline(x1.round() + 0.5, canvas.y_range(), stroke);
        let band = Rect::from_min_max(pos2(x0, canvas.top()), pos2(x1, canvas.bottom()));
        painter.rect_filled(band, 0.0, frame.palette.accent.gamma_multiply(0.06));
    }
}

/// The moment of the log record that was clicked.
pub(super) fn log_cursor(ui: &Ui, frame: &Frame<'_>, canvas: Rect, projection: &Projection) {
    if let (true, Some(time)) = (frame.state.panels.log, frame.state.log.cursor) {
        let x = projection.x_from_nanos(time).round() + 0.5;
        ui.painter().with_clip_rect(canvas).vline(x, canvas.y_range(), Stroke::new(1.5, frame.palette.accent));
    }
}

/// The measured range with its length.
pub(super) fn measure(ui: &Ui, frame: &Frame<'_>, canvas: Rect, projection: &Projection) {
    let Some((from, to)) = frame.state.measure else { return };
    let painter = ui.painter().with_clip_rect(canvas);
    let (x0, x1) = (projection.x_from_nanos(from), projection.x_from_nanos(to));
    let band = Rect::from_min_max(pos2(x0, canvas.top()), pos2(x1, canvas.bottom()));
    painter.rect_filled(band, 0.0, frame.palette.accent.gamma_multiply(0.12));
    painter.rect_stroke(band, 0.0, Stroke::new(1.0, frame.palette.accent), StrokeKind::Inside);
    let text = format::duration(to - from);
    let middle = pos2((x0.max(canvas.left()) + x1.min(canvas.right())) / 2.0, canvas.top() + 14.0);
    let galley = painter.layout_no_wrap(text, FontId::proportional(13.0), frame.palette.text);
    let label = Rect::from_center_size(middle, galley.size() + vec2(14.0, 6.0));
    painter.rect_filled(label, 4.0, frame.palette.heading);
    painter.rect_stroke(label, 4.0, Stroke::new(1.0, frame.palette.accent), StrokeKind::Inside);
    painter.galley(label.center() - galley.size() / 2.0, galley, frame.palette.text);
}

/// What the gap under the pointer says.
#[must_use]
pub(super) fn hatch_text(frame: &Frame<'_>, canvas: Rect, projection: &Projection, at: Pos2) -> Option<String> {
    if !canvas.contains(at) {
        return None;
    }
    let reach = floor_nanos(projection.nanos_per_pixel() * 2.0).max(1);
    let time = floor_nanos(projection.time_from_x(at.x));
    let hit = frame.trace.gaps().iter().find(|gap| gap.from - reach <= time && time <= gap.to + reach);
    hit.map(gap_text)
}

/// A trace in which nothing happened says so, and what to do.
pub(super) fn explain_empty(ui: &Ui, frame: &Frame<'_>, canvas: Rect) {
    let (title, advice) = match &frame.status.progress {
        Progress::Failed(why) => ("The trace cannot be read".to_owned(), why.clone()),
        Progress::Reading(_) if frame.status.live => (
            "Waiting for the first packet".to_owned(),
            "The guest is connected but has published no packet yet. A guest that does nothing publishes when it does something.".to_owned(),
        ),
        Progress::Reading(share) => (
            "Reading".to_owned(),
            share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
        ),
        Progress::Ended => (
            "This trace has no events".to_owned(),
            "The guest was built without the feature `profiling`, every category was switched off, or it ended before the \
             collector came."
                .to_owned(),
        ),
    };
    let painter = ui.painter().with_clip_rect(canvas);
    let centre = canvas.center() - vec2(0.0, 30.0);
    painter.text(centre, Align2::CENTER_CENTER, title, FontId::proportional(20.0), frame.palette.text);
    let width = (canvas.width() - 40.0).min(520.0);
    let galley = painter.layout(advice, FontId::proportional(13.0), frame.palette.muted, width);
    painter.galley(centre + vec2(-galley.size().x / 2.0, 22.0), galley, frame.palette.muted);
}
