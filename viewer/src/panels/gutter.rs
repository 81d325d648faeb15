//! The lanes' names: click selects or folds, the pin keeps a lane at the top.

use egui::{Color32, CursorIcon, FontId, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};

use fata_model::objects::Verdict;

use crate::app::{Action, Frame};
use crate::paint::canvas::elided;
use crate::view::lanes::{Content, Lane, Lanes};
use crate::view::pick::Pick;

/// Shows the names of the lanes that are visible.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, lanes: &Lanes, rect: Rect, scroll: f32, actions: &mut Vec<Action>) {
    let painter = ui.painter().with_clip_rect(rect);
    painter.rect_filled(rect, 0.0, frame.palette.panel);
    for (top, lane) in lanes.between(scroll, scroll + rect.height()) {
        let y = rect.top() + top - scroll;
        let row = Rect::from_min_max(pos2(rect.left(), y), pos2(rect.right(), y + lane.height));
        name(ui, frame, lane, row, rect, actions);
    }
    painter.vline(rect.right() - 0.5, rect.y_range(), Stroke::new(1.0, frame.palette.separator));
}

fn name(ui: &mut Ui, frame: &Frame<'_>, lane: &Lane, row: Rect, clip: Rect, actions: &mut Vec<Action>) {
    let palette = frame.palette;
    let painter = ui.painter().with_clip_rect(clip);
    let heading = lane.content == Content::Heading;
    let selected = match (&lane.content, frame.state.selection) {
        (Content::Task { task, .. }, Some(pick)) => pick.task(frame.trace) == Some(*task),
        _ => false,
    };
    let response = ui.interact(row.intersect(clip), ui.scope_id().with(("lane", &lane.key)), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &*lane.title));
    if heading || selected || response.hovered() {
        painter.rect_filled(row, 0.0, if selected { palette.selected_lane } else { palette.heading });
    }
    painter.hline(row.x_range(), row.bottom() - 0.5, Stroke::new(1.0, palette.separator));
    let mut x = row.left() + 8.0 + f32::from(lane.indent.saturating_sub(1)) * 14.0;
    let y = row.top() + if heading { row.height() / 2.0 } else { 9.0 };
    if let Some(open) = lane.open {
        triangle(&painter, pos2(x + 4.0, y), open, palette.muted);
    }
    x += 14.0;
    let colour = if lane.alarm == Some(Verdict::SignalLost) { palette.alarm } else { palette.text };
    let pinned = frame.state.pinned.contains(&lane.key);
    let room = row.right() - x - if response.hovered() || pinned { 26.0 } else { 8.0 };
    let mut used = 0.0;
    if let Some(galley) = elided(&painter, &lane.title, 12.5, colour, room) {
        used = galley.size().x;
        let at = pos2(x, y - galley.size().y / 2.0);
        painter.galley(at, galley, colour);
    }
    // The note stands beside the title where there is room, else below.
    let (at, width) = if room - used > 44.0 || row.height() < 30.0 {
        (pos2(x + used + 8.0, y + 0.5), room - used - 8.0)
    } else {
        (pos2(x, y + 15.0), room)
    };
    // Half a number would be another number.
    let whole = painter.layout_no_wrap(lane.note.to_string(), FontId::proportional(10.5), palette.muted);
    let first = lane.note.split_once(", ").filter(|_| whole.size().x > width).map(|(first, _)| first);
    if let Some(galley) = elided(&painter, first.unwrap_or(&lane.note), 10.5, palette.muted, width) {
        painter.galley(pos2(at.x, at.y - galley.size().y / 2.0), galley, palette.muted);
    }
    if !heading {
        pin(ui, frame, lane, row.intersect(clip), y, response.hovered(), pinned, actions);
    }
    if response.clicked() {
        actions.push(match (&lane.content, lane.open) {
            (_, Some(_)) => Action::Toggle(lane.key.clone()),
            (Content::Task { task, .. }, None) => Action::Select(Some(Pick::Task(*task))),
            _ => Action::Select(None),
        });
    }
    if response.double_clicked()
        && let Content::Task { task, .. } = &lane.content
    {
        actions.push(Action::Show(Pick::Task(*task)));
    }
    if lane.open.is_some() {
        response.on_hover_cursor(CursorIcon::PointingHand);
    }
}

#[expect(clippy::too_many_arguments, reason = "one place, one purpose")]
fn pin(
    ui: &mut Ui,
    frame: &Frame<'_>,
    lane: &Lane,
    row: Rect,
    y: f32,
    hovered: bool,
    pinned: bool,
    actions: &mut Vec<Action>,
) {
    let centre = pos2(row.right() - 13.0, y);
    let area = Rect::from_center_size(centre, vec2(18.0, 16.0));
    let over = ui.rect_contains_pointer(area);
    if !(hovered || over || pinned) {
        return;
    }
    let response = ui.interact(area.intersect(row), ui.scope_id().with(("pin", &lane.key)), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("pin {}", lane.title)));
    let colour = if pinned || response.hovered() { frame.palette.accent } else { frame.palette.muted };
    let painter = ui.painter();
    let head = Rect::from_center_size(centre - vec2(0.0, 2.0), vec2(6.0, 6.0));
    if pinned {
        painter.rect_filled(head, 1.5, colour);
    } else {
        painter.rect_stroke(head, 1.5, Stroke::new(1.2, colour), egui::StrokeKind::Inside);
    }
    painter.line_segment([head.center_bottom(), head.center_bottom() + vec2(0.0, 4.5)], Stroke::new(1.2, colour));
    if response.clicked() {
        actions.push(Action::Pin(lane.key.clone()));
    }
    response.on_hover_text(if pinned { "Let go" } else { "Keep at the top" });
}

fn triangle(painter: &egui::Painter, centre: egui::Pos2, open: bool, colour: Color32) {
    let points = if open {
        vec![centre + vec2(-4.0, -2.5), centre + vec2(4.0, -2.5), centre + vec2(0.0, 3.0)]
    } else {
        vec![centre + vec2(-2.5, -4.0), centre + vec2(3.0, 0.0), centre + vec2(-2.5, 4.0)]
    };
    painter.add(Shape::convex_polygon(points, colour, Stroke::NONE));
}

/// The bar at the right edge, where there are more lanes than fit.
pub(super) fn scrollbar(
    ui: &mut Ui,
    frame: &Frame<'_>,
    area: Rect,
    height: f32,
    scroll: f32,
    actions: &mut Vec<Action>,
) {
    if height <= area.height() + 1.0 {
        return;
    }
    let track = Rect::from_min_max(pos2(area.right() - 9.0, area.top()), area.max);
    let share = area.height() / height;
    let top = track.top() + track.height() * scroll / height;
    let thumb = Rect::from_min_size(pos2(track.left() + 2.0, top), vec2(5.0, (track.height() * share).max(18.0)));
    let response = ui.interact(track, ui.scope_id().with("scrollbar"), Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, "lanes"));
    let strong = response.hovered() || response.dragged();
    ui.painter().rect_filled(thumb, 2.5, frame.palette.muted.gamma_multiply(if strong { 0.8 } else { 0.4 }));
    if response.dragged() {
        actions.push(Action::Scroll(response.drag_delta().y / share));
    }
}
