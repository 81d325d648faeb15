//! The whole trace in a strip over the timeline: how busy the vCPUs were, what is missing, and a frame around what the
//! timeline shows. A press or a drag leads the timeline there.
//!
//! Invariant: the strip is drawn anew when the trace has grown or the window has another width, not when one looks around.

use egui::{Color32, CursorIcon, Mesh, Rect, Role, Sense, Shape, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use fata_model::lod::{View, Visible};
use fata_model::trace::Trace;

use crate::app::{Action, Frame};
use crate::paint::palette::{Palette, mix};
use crate::view::display::Ink;
use crate::view::projection::{Window, nanos_f64};

/// The height of the strip.
pub(super) const HEIGHT: f32 = 20.0;
/// A frame around what is visible is never narrower.
const LEAST_WIDTH: f32 = 3.0;

/// The strip's last picture.
#[derive(Clone, Debug, Default)]
pub struct Minimap {
    key: Option<(u64, Rect, bool)>,
    shape: Option<Shape>,
}

impl Minimap {
    /// Shows the strip.
    pub(super) fn show(&mut self, ui: &mut Ui, frame: &Frame<'_>, rect: Rect, actions: &mut Vec<Action>) {
        let painter = ui.painter().with_clip_rect(rect);
        painter.rect_filled(rect, 0.0, frame.palette.panel);
        let extent = nanos_f64(frame.trace.end().max(1));
        let key = (frame.version, rect, frame.palette.dark);
        if self.key != Some(key) {
            self.key = Some(key);
            self.shape = Some(Shape::mesh(busy(frame.trace, rect, frame.palette)));
        }
        painter.extend(self.shape.clone());
        let x_of = |time: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "a share of the screen")]
            let share = (time / extent).clamp(-0.1, 1.1) as f32;
            rect.left() + share * rect.width()
        };
        for gap in frame.trace.gaps().iter().take(1000) {
            let (x0, x1) = (x_of(nanos_f64(gap.from)), x_of(nanos_f64(gap.to)));
            let missing = Rect::from_min_max(pos2(x0, rect.top()), pos2(x1.max(x0 + 1.0), rect.bottom()));
            painter.rect_filled(missing, 0.0, frame.palette.hatch.gamma_multiply(0.6));
        }
        let window = frame.state.window;
        let (x0, x1) = (x_of(window.start).max(rect.left()), x_of(window.end()).min(rect.right()));
        let middle = f32::midpoint(x0, x1);
        let half = ((x1 - x0) / 2.0).max(LEAST_WIDTH / 2.0);
        let seen = Rect::from_min_max(pos2(middle - half, rect.top() + 1.0), pos2(middle + half, rect.bottom() - 1.0));
        let dark = Color32::from_black_alpha(if frame.palette.dark { 110 } else { 40 });
        painter.rect_filled(Rect::from_min_max(rect.min, pos2(seen.left(), rect.bottom())), 0.0, dark);
        painter.rect_filled(Rect::from_min_max(pos2(seen.right(), rect.top()), rect.max), 0.0, dark);
        painter.rect_stroke(seen, 2.0, Stroke::new(1.5, frame.palette.accent), StrokeKind::Inside);
        painter.hline(rect.x_range(), rect.bottom() - 0.5, Stroke::new(1.0, frame.palette.separator));

        let response = ui.interact(rect, ui.scope_id().with("minimap"), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::Slider, true, "overview"));
        if let Some(at) = response.interact_pointer_pos().filter(|_| response.dragged() || response.clicked()) {
            let time = f64::from((at.x - rect.left()) / rect.width().max(1.0)) * extent;
            actions.push(Action::Look(Window::new(time - window.span / 2.0, window.span)));
        }
        response.on_hover_cursor(CursorIcon::ResizeHorizontal);
    }
}

/// How much of each pixel's time the vCPUs spent in polls, as bars.
fn busy(trace: &Trace, rect: Rect, palette: &Palette) -> Mesh {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a screen's width")]
    let columns = rect.width().clamp(1.0, 8192.0) as u32;
    let view = View { from: 0, to: trace.end().max(1), columns };
    let mut shares = vec![0.0f32; usize::try_from(columns).unwrap_or(1)];
    let mut visible = Visible::default();
    for stream in trace.streams() {
        trace.visible(stream.lane(), &view, &mut visible);
        for cell in &visible.cells {
            if let Some(share) = usize::try_from(cell.column).ok().and_then(|at| shares.get_mut(at)) {
                *share += cell.share;
            }
        }
        for span in &visible.spans {
            #[expect(clippy::cast_possible_truncation, reason = "columns of a screen")]
            let (x0, x1) = (view.x(span.start).max(0.0) as f32, view.x(span.end) as f32);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "columns of a screen")]
            let first = x0 as usize;
            let mut left = first_f32(first);
            for share in shares.iter_mut().skip(first) {
                if left >= x1 {
                    break;
                }
                *share += (x1.min(left + 1.0) - x0.max(left)).max(0.0);
                left += 1.0;
            }
        }
    }
    let mut mesh = Mesh::default();
    let (full, room) = (palette.ink(Ink::Running), rect.height() - 4.0);
    for (x, &share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        // The root, so that a short burst in a quiet trace is seen.
        let height = (share.min(1.0).sqrt() * room).max(1.0);
        let at = pos2(rect.left() + first_f32(x), rect.bottom() - 2.0 - height);
        mesh.add_colored_rect(Rect::from_min_size(at, vec2(1.0, height)), mix(palette.panel, full, 0.75));
    }
    mesh
}

fn first_f32(column: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a screen's column")]
    let column = column as f32;
    column
}
