//! The timeline: overview, ruler, lanes' names, canvas, and what the mouse does there.
//!
//! Wheel: zoom at the pointer. Drag: pan. Shift and drag: measure. Over the names the wheel scrolls the lanes.

use egui::{Context, CursorIcon, Id, Pos2, Rect, Sense, Ui, pos2};

use super::{Pictures, gutter, minimap, overlay};
use crate::app::{Action, Frame};
use crate::commands::Command;
use crate::paint::canvas::Key;
use crate::view::lanes::Lanes;
use crate::view::layout::{self, Scene};
use crate::view::pick;
use crate::view::projection::{Projection, floor_nanos};
use crate::view::ruler;

/// The width of the lanes' names.
const GUTTER_WIDTH: f32 = 212.0;
/// The height of the time axis.
const RULER_HEIGHT: f32 = 26.0;

/// Where the moment under the pointer is kept from frame to frame, for commands that zoom there.
fn pointer_id() -> Id {
    Id::unique("pointer time")
}

/// The moment under the pointer, if it is over the canvas.
#[must_use]
pub fn pointer_time(context: &Context) -> Option<f64> {
    context.data(|data| data.get_temp::<Option<f64>>(pointer_id())).flatten()
}

/// Which parts of the screen there are.
struct Areas {
    minimap: Rect,
    ruler: Rect,
    corner: Rect,
    pinned: Rect,
    lanes: Rect,
    names: Rect,
}

impl Areas {
    fn of(rect: Rect, pinned_height: f32) -> Self {
        let x = rect.left() + GUTTER_WIDTH.min(rect.width() * 0.4);
        let top = rect.top() + minimap::HEIGHT;
        let y = top + RULER_HEIGHT;
        let split = (y + pinned_height).min(rect.bottom() - 40.0).max(y);
        Self {
            minimap: Rect::from_min_max(rect.min, pos2(rect.right(), top)),
            ruler: Rect::from_min_max(pos2(x, top), pos2(rect.right(), y)),
            corner: Rect::from_min_max(pos2(rect.left(), top), pos2(x, y)),
            pinned: Rect::from_min_max(pos2(x, y), pos2(rect.right(), split)),
            lanes: Rect::from_min_max(pos2(x, split), rect.max),
            names: Rect::from_min_max(pos2(rect.left(), y), pos2(x, rect.bottom())),
        }
    }
}

/// Shows the timeline.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, pictures: &mut Pictures, actions: &mut Vec<Action>) {
    let (pinned, rest) = frame.lanes;
    let areas = Areas::of(ui.max_rect(), pinned.height());
    let projection = Projection::new(frame.state.window, 0.0, areas.lanes.width());
    let on_screen = Projection { left: areas.lanes.left(), ..projection };
    let marks = ruler::marks(&on_screen);
    let most = (rest.height() - areas.lanes.height()).max(0.0);
    let scroll = frame.state.scroll.min(most);
    if scroll != frame.state.scroll {
        actions.push(Action::Scroll(scroll - frame.state.scroll));
    }

    let scene = Scene {
        trace: frame.trace,
        names: frame.names,
        matches: frame.matches,
        selection: frame.state.selection,
        projection,
        scale: ui.ctx().pixels_per_point(),
    };
    let [below, above] = &mut pictures.canvases;
    let key =
        |rect: Rect, scroll| Key::new(ui.ctx(), frame.state.window, rect, scroll, frame.version, frame.state.version());
    let painter = ui.painter();
    below.paint(painter, key(areas.lanes, scroll), frame.palette, &marks, || {
        layout::layout(&scene, rest, scroll, areas.lanes.height())
    });
    if !pinned.list.is_empty() {
        above.paint(painter, key(areas.pinned, 0.0), frame.palette, &marks, || {
            layout::layout(&scene, pinned, 0.0, areas.pinned.height())
        });
    }
    pictures.minimap.show(ui, frame, areas.minimap, actions);
    overlay::ruler(ui, frame, areas.ruler, areas.corner, &marks);
    let names_of_rest = Rect::from_min_max(pos2(areas.names.left(), areas.lanes.top()), areas.names.max);
    gutter::show(ui, frame, rest, names_of_rest, scroll, actions);
    if !pinned.list.is_empty() {
        let names = Rect::from_min_max(areas.names.min, pos2(areas.names.right(), areas.pinned.bottom()));
        gutter::show(ui, frame, pinned, names, 0.0, actions);
        overlay::edge(ui, areas.pinned, frame.palette);
    }
    gutter::scrollbar(ui, frame, areas.lanes, rest.height(), scroll, actions);

    let canvas = areas.pinned.union(areas.lanes);
    let place = |at: Pos2| {
        let (lanes, top): (&Lanes, f32) =
            if areas.pinned.contains(at) { (pinned, areas.pinned.top()) } else { (rest, areas.lanes.top() - scroll) };
        pick::pick(frame.trace, lanes, &projection, at.x - canvas.left(), at.y - top)
    };
    interact(ui, frame, canvas, &on_screen, &place, actions);
    wheel(ui, frame, canvas, areas.names, &on_screen, scroll, actions);
    if frame.trace.events_total() == 0 {
        overlay::explain_empty(ui, frame, canvas);
    }
    if areas.lanes.height() != frame.state.lanes_height {
        actions.push(Action::LanesHeight(areas.lanes.height()));
    }
}

/// Pointer, click, drag.
fn interact(
    ui: &mut Ui,
    frame: &Frame<'_>,
    canvas: Rect,
    projection: &Projection,
    place: &dyn Fn(Pos2) -> Option<pick::Pick>,
    actions: &mut Vec<Action>,
) {
    let response = ui.interact(canvas, ui.scope_id().with("canvas"), Sense::click_and_drag());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Canvas, true, "timeline"));
    let at = response.hover_pos();
    let time = at.map(|at| projection.time_from_x(at.x));
    ui.ctx().data_mut(|data| data.insert_temp(pointer_id(), time));
    overlay::selection(ui, frame, canvas, projection);
    overlay::measure(ui, frame, canvas, projection);
    overlay::log_cursor(ui, frame, canvas, projection);

    let (shift, origin) = ui.input(|input| (input.modifiers.shift, input.pointer.press_origin()));
    let measuring = Id::unique("measuring");
    if response.drag_started() {
        ui.ctx().data_mut(|data| data.insert_temp(measuring, shift));
    }
    if response.dragged() {
        let is_measuring = ui.ctx().data(|data| data.get_temp::<bool>(measuring)).unwrap_or(false);
        if let (true, Some(origin), Some(now)) = (is_measuring, origin, response.interact_pointer_pos()) {
            let (a, b) = (projection.time_from_x(origin.x), projection.time_from_x(now.x));
            actions.push(Action::Measure(Some((floor_nanos(a.min(b)), floor_nanos(a.max(b))))));
        } else {
            let moved = response.drag_delta();
            ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
            if moved.x != 0.0 {
                let share = -f64::from(moved.x) / f64::from(projection.width);
                actions.push(Action::Look(frame.state.window.panned(share)));
            }
            if moved.y != 0.0 {
                actions.push(Action::Scroll(-moved.y));
            }
        }
        return;
    }
    let Some(at) = at else { return };
    overlay::pointer(ui, frame, canvas, at);
    let picked = place(at);
    if response.double_clicked() {
        actions.push(Action::Select(picked));
        actions.push(Action::Do(Command::Focus));
    } else if response.clicked() {
        actions.push(Action::Select(picked));
    }
    let text = overlay::hatch_text(frame, canvas, projection, at);
    if text.is_some() || picked.is_some() {
        response.on_hover_ui_at_pointer(|ui| super::details::tooltip(ui, frame, picked, text.as_deref()));
    }
}

/// The wheel, the trackpad and pinching.
fn wheel(
    ui: &Ui,
    frame: &Frame<'_>,
    canvas: Rect,
    names: Rect,
    projection: &Projection,
    scroll: f32,
    actions: &mut Vec<Action>,
) {
    let (pointer, moved, pinch, shift) = ui.input(|input| {
        (input.pointer.hover_pos(), input.smooth_scroll_delta(), input.zoom_delta(), input.modifiers.shift)
    });
    let Some(at) = pointer.filter(|&at| ui.rect_contains_pointer(canvas.union(names)) && ui.clip_rect().contains(at))
    else {
        return;
    };
    if names.contains(at) {
        if moved.y != 0.0 {
            actions.push(Action::Scroll((-moved.y).max(-scroll)));
        }
        return;
    }
    let mut window = frame.state.window;
    let centre = projection.time_from_x(at.x);
    if pinch != 1.0 {
        window = window.zoomed(centre, f64::from(pinch));
    } else if !shift && moved.y != 0.0 {
        window = window.zoomed(centre, (f64::from(moved.y) * 0.006).exp());
    }
    let sideways = if shift { moved.x + moved.y } else { moved.x };
    if sideways != 0.0 {
        window = window.panned(-f64::from(sideways) / f64::from(projection.width));
    }
    if window != frame.state.window {
        actions.push(Action::Look(window));
    }
}
