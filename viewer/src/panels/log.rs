//! The log: what every level has to say, the newest below. A click leads the timeline to a record; what is selected or
//! measured there says which records are listed.
//!
//! Invariant: a frame looks at the records that fit the screen and at a bounded number of others, however many there are.
//! The place in the list is an `f64` of rows: ten million rows are more points than an `f32` can count.

use egui::text::{LayoutJob, TextFormat, TextWrapping};
use egui::{Align2, ComboBox, FontId, Id, Rect, RichText, Role, Sense, TextEdit, Ui, WidgetInfo, pos2, vec2};
use fata_model::log_filter::LogFilter;
use fata_model::log_losses;
use fata_model::logs::LogRecord;
use fata_model::trace::Trace;
use fata_wire::field::Level;

use crate::app::{Action, Frame};
use crate::paint::palette::Palette;
use crate::state::{LogChange, State};
use crate::view::display::ink_of_level;
use crate::view::format;
use crate::view::pick::Pick;

const ROW_HEIGHT: f32 = 17.0;
const SCROLLBAR_WIDTH: f32 = 10.0;
const FONT_SIZE: f32 = 12.0;

/// What is asked for: what was typed, and what is selected in the timeline.
#[must_use]
pub fn filter(state: &State, trace: &Trace) -> LogFilter {
    let log = &state.log;
    let mut filter = LogFilter { text: log.text.clone(), level: log.level, task: None, range: None };
    if log.by_selection {
        match state.selection {
            Some(Pick::Task(task)) => filter.task = trace.life_of(task),
            Some(pick) => filter.range = pick.range(trace).filter(|(from, to)| to > from),
            None => {}
        }
        filter.range = state.measure.or(filter.range);
    }
    filter
}

/// Shows the panel.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    // The list is painted, so it takes no room by itself.
    ui.set_min_height(ui.available_height());
    head(ui, frame, actions);
    ui.separator();
    let area = ui.available_rect_before_wrap();
    let found = frame.log.len(frame.trace);
    if found == 0 {
        let text =
            if frame.trace.logs().is_empty() { "This trace has no log records." } else { "No record is like this." };
        ui.painter().text(area.center(), Align2::CENTER_CENTER, text, FontId::proportional(13.0), frame.palette.muted);
        return;
    }
    list(ui, frame, area, found, actions);
}

/// The line above the list: text, level, selection, how many.
fn head(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    let log = &frame.state.log;
    let mut change = |change| actions.push(Action::Log(change));
    ui.horizontal(|ui| {
        ui.label(RichText::new("Log").strong());
        let mut text = log.text.clone();
        let field = TextEdit::singleline(&mut text)
            .id(Id::unique("log filter"))
            .hint_text("text or target")
            .desired_width(220.0);
        let response = ui.add(field);
        response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "filter the log"));
        if response.changed() {
            change(LogChange::Text(text));
        }
        let combo = ComboBox::from_id_salt("log level").width(70.0).selected_text(log.level.text());
        let shown = combo.show_ui(ui, |ui| {
            for &level in Level::ALL {
                let text = RichText::new(level.text()).color(colour(frame.palette, level));
                if ui.selectable_label(level == log.level, text).clicked() {
                    change(LogChange::Level(level));
                }
            }
        });
        shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "least important level"));
        let mut by_selection = log.by_selection;
        let hint = "Only what was said during the selected span or the measured time, or by the selected task";
        if ui.checkbox(&mut by_selection, "of the selection").on_hover_text(hint).changed() {
            change(LogChange::BySelection(by_selection));
        }
        let (found, all) = (frame.log.len(frame.trace), frame.trace.logs().len());
        let (looked_at, of) = frame.log.progress(frame.trace);
        let mut text = format!("{} of {}", format::count(found as u64), format::count(all as u64));
        if looked_at < of {
            text += &format!(", {} % looked at", looked_at * 100 / of);
        }
        ui.label(RichText::new(text).color(frame.palette.muted).small());
        let lost = frame.trace.logs().lost();
        if log_losses::total(&lost) > 0 {
            let text = format!("{} lost", format::count(log_losses::total(&lost)));
            let hint = format!("{} are missing, each in its place in the list", log_losses::counted(&lost));
            ui.label(RichText::new(text).color(frame.palette.alarm).small()).on_hover_text(hint);
        }
        if frame.trace.logs().forgotten() > 0 {
            let text = format!("the oldest {} were given up", format::count(frame.trace.logs().forgotten() as u64));
            ui.label(RichText::new(text).color(frame.palette.alarm).small());
        }
    });
}

fn list(ui: &mut Ui, frame: &Frame<'_>, area: Rect, found: usize, actions: &mut Vec<Action>) {
    let rows = Rect::from_min_max(area.min, pos2(area.right() - SCROLLBAR_WIDTH - 2.0, area.bottom()));
    let on_screen = f64::from(rows.height() / ROW_HEIGHT);
    let last_top = (float(found) - on_screen).max(0.0);
    let mut top = frame.state.log.top.clamp(0.0, last_top);
    let moved = ui.input(|input| input.smooth_scroll_delta().y);
    if moved != 0.0 && ui.rect_contains_pointer(area) {
        top = (top - f64::from(moved / ROW_HEIGHT)).clamp(0.0, last_top);
    }
    top = scrollbar(ui, frame, area, (top, on_screen, last_top));
    if top != frame.state.log.top {
        actions.push(Action::Log(LogChange::Top(top)));
    }
    let first = whole(top);
    let painter = ui.painter().with_clip_rect(rows);
    let mut y = rows.top() - fraction(top) * ROW_HEIGHT;
    for place in first..found {
        if y > rows.bottom() {
            break;
        }
        let Some(record) = frame.log.get(frame.trace, place) else { break };
        let row = Rect::from_min_size(pos2(rows.left(), y), vec2(rows.width(), ROW_HEIGHT));
        let response = ui.interact(row.intersect(rows), ui.scope_id().with(("log row", place)), Sense::click());
        let is_cursor = frame.state.log.cursor == Some(record.time);
        if is_cursor || response.hovered() {
            let ground = if is_cursor { frame.palette.selected_lane } else { frame.palette.heading };
            painter.rect_filled(row, 0.0, ground);
        }
        let text = line(ui, frame, &record, row.width());
        let said = text.text().to_owned();
        painter.galley(pos2(row.left() + 4.0, row.center().y - text.size().y / 2.0), text, frame.palette.text);
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &said));
        if response.clicked() {
            actions.push(Action::Log(LogChange::Go(record.time)));
        }
        y += ROW_HEIGHT;
    }
}

/// One record: time, level, target, task, text, in one line; of records that are missing, how many and why.
fn line(ui: &Ui, frame: &Frame<'_>, record: &LogRecord, width: f32) -> std::sync::Arc<egui::Galley> {
    let palette = frame.palette;
    let level = frame.trace.log_level(record);
    let target = frame.trace.log_target(record);
    let task = match record.task {
        0 => String::new(),
        task => frame.trace.task_by_number(record.guest(), task, record.time),
    };
    let mut job = LayoutJob {
        wrap: TextWrapping::truncate_at_width(width - 8.0),
        break_on_newline: false,
        ..LayoutJob::default()
    };
    let mut say = |text: &str, colour| {
        let format = TextFormat { font_id: FontId::monospace(FONT_SIZE), color: colour, ..TextFormat::default() };
        job.append(text, 0.0, format);
    };
    say(&format!("{:>14}  ", fata_model::text::moment(record.time)), palette.muted);
    if record.is_loss() {
        say(&format!("{:<5}  ", "LOST"), palette.alarm);
        if frame.trace.has_several_guests() {
            say(&format!("{:<12}  ", frame.trace.guest_name(record.guest())), palette.muted);
        }
        say(&frame.trace.log_text(record), palette.alarm);
        return ui.painter().layout_job(job);
    }
    say(&format!("{:<5}  ", level.text().to_uppercase()), colour(palette, level));
    say(&format!("{target:<12}  "), palette.ink(crate::view::display::ink_of_name(&target)));
    if !task.is_empty() {
        say(&format!("{task}  "), palette.muted);
    }
    let words = if level <= Level::Info { palette.text } else { palette.muted };
    say(&frame.trace.log_text(record), words);
    ui.painter().layout_job(job)
}

/// The colour of a level.
fn colour(palette: &Palette, level: Level) -> egui::Color32 {
    palette.ink(ink_of_level(level))
}

/// The bar at the right edge; returns the row that is the first on the screen. `place` is the first row, how many fit, and
/// the last that can be the first.
fn scrollbar(ui: &mut Ui, frame: &Frame<'_>, area: Rect, place: (f64, f64, f64)) -> f64 {
    let (top, on_screen, last_top) = place;
    if last_top <= 0.0 {
        return top;
    }
    let track = Rect::from_min_max(pos2(area.right() - SCROLLBAR_WIDTH, area.top()), area.max);
    let height = (track.height() * small(on_screen / (on_screen + last_top))).max(18.0);
    let room = track.height() - height;
    let response = ui.interact(track, ui.scope_id().with("log scrollbar"), Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, "log"));
    let mut top = top;
    if let Some(at) = response.interact_pointer_pos().filter(|_| response.dragged() || response.clicked()) {
        let share = (at.y - track.top() - height / 2.0) / room.max(1.0);
        top = f64::from(share.clamp(0.0, 1.0)) * last_top;
    }
    let y = track.top() + room * small(top / last_top);
    let strong = response.hovered() || response.dragged();
    let thumb = Rect::from_min_size(pos2(track.left() + 2.0, y), vec2(SCROLLBAR_WIDTH - 4.0, height));
    ui.painter().rect_filled(thumb, 3.0, frame.palette.muted.gamma_multiply(if strong { 0.8 } else { 0.4 }));
    top
}

fn float(rows: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "below 2^32 rows")]
    let rows = rows as f64;
    rows
}

fn whole(rows: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the list")]
    let rows = rows as usize;
    rows
}

fn fraction(rows: f64) -> f32 {
    small(rows.fract())
}

fn small(share: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "a share of a screen")]
    let share = share as f32;
    share
}
