//! The line at the bottom: how many events, what is missing and why, how fast, and how it ended.

use egui::{Align, Layout, Rect, RichText, Sense, Ui, pos2, vec2};
use fata_model::live::Progress;
use fata_model::objects::Verdict;

use crate::app::{Action, Frame};
use crate::commands::Command;
use crate::paint::palette::Palette;
use crate::view::display::Ink;
use crate::view::format;

/// Shows the line.
pub(super) fn show(ui: &mut Ui, frame: &Frame<'_>, actions: &mut Vec<Action>) {
    let palette = frame.palette;
    ui.horizontal(|ui| {
        let (text, colour) = state(frame);
        let (dot, _) = ui.allocate_exact_size(vec2(10.0, 10.0), Sense::hover());
        ui.painter().circle_filled(dot.center(), 4.0, colour);
        ui.label(text);
        ui.separator();
        ui.label(format!("{} events", format::count(frame.trace.events_total())));
        if frame.status.is_following() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people")]
            let rate = frame.rate as u64;
            ui.label(RichText::new(format!("{}/s", format::count(rate))).color(palette.muted));
        }
        ui.separator();
        discarded(ui, frame);
        let count = |verdict: Verdict| {
            frame.stats.unresolved.iter().filter(|unresolved| unresolved.verdict == verdict.text()).count()
        };
        let (signals, others) = (count(Verdict::SignalLost), count(Verdict::NeverResolved));
        let lost = signals + others;
        if lost > 0 && !frame.status.is_following() {
            ui.separator();
            let text = RichText::new(format!("{lost} never resolved")).color(if signals > 0 {
                palette.alarm
            } else {
                palette.ink(Ink::Ready)
            });
            if ui.link(text).clicked() && !frame.state.panels.unresolved {
                actions.push(Action::Do(Command::ToggleUnresolved));
            }
        }
        let warnings = &frame.stats.warnings;
        if !warnings.is_empty() {
            ui.separator();
            let text = RichText::new(format!(
                "{} {}",
                warnings.len(),
                if warnings.len() == 1 { "warning" } else { "warnings" }
            ))
            .color(palette.alarm);
            ui.label(text).on_hover_text(warnings.join("\n"));
        }
        if let Some(ended) = &frame.status.ended {
            ui.separator();
            ui.label(ended);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let window = frame.state.window;
            #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
            let visible = format::duration(window.span as i64);
            ui.label(RichText::new(format!("{visible} visible")).color(palette.muted));
            if !frame.trace.tasks().is_empty() {
                legend(ui, palette);
            }
        });
    });
}

/// The states in which a task's row shows it: how high, in which colour.
const STATES: [(&str, f32, Ink); 3] =
    [("running", 10.0, Ink::Running), ("ready", 6.0, Ink::Ready), ("idle", 2.0, Ink::Idle)];

/// What the colours of a task's row mean, from right to left, where there is room for it.
fn legend(ui: &mut Ui, palette: &Palette) {
    const WIDTH: f32 = 220.0;
    if ui.available_width() < WIDTH {
        return;
    }
    ui.separator();
    for (text, height, ink) in STATES.into_iter().rev() {
        ui.label(RichText::new(text).color(palette.muted).small());
        let (place, _) = ui.allocate_exact_size(vec2(12.0, 10.0), Sense::hover());
        let swatch = Rect::from_min_max(pos2(place.left(), place.bottom() - height), place.max);
        ui.painter().rect_filled(swatch, 0.0, palette.ink(ink));
        ui.add_space(4.0);
    }
}

/// What the source does, and the colour of that.
fn state(frame: &Frame<'_>) -> (String, egui::Color32) {
    let palette = frame.palette;
    let running = palette.ink(Ink::Running);
    match (&frame.status.progress, &frame.status.guest) {
        (Progress::Failed(why), _) => (why.clone(), palette.alarm),
        (Progress::Reading(_), Some(guest)) if frame.status.live => (guest.clone(), running),
        (Progress::Reading(_), None) if frame.status.live => ("live".into(), running),
        (Progress::Reading(Some(share)), _) => (format!("reading, {:.0} %", share * 100.0), palette.accent),
        (Progress::Reading(None), _) => ("reading".into(), palette.accent),
        (Progress::Ended, Some(guest)) => (guest.clone(), palette.muted),
        (Progress::Ended, None) => (format!("{} recorded", format::duration(frame.trace.end())), palette.muted),
    }
}

fn discarded(ui: &mut Ui, frame: &Frame<'_>) {
    let stats = &frame.stats.discarded;
    if stats.total == 0 && stats.missing_packets == 0 {
        ui.label(RichText::new("nothing discarded").color(frame.palette.muted));
        return;
    }
    let causes = [
        ("ring full", stats.full),
        ("nested", stats.nested),
        ("too big", stats.too_big),
        ("overwritten", stats.overwritten),
        ("refused", stats.refused),
    ];
    let parts: Vec<String> = causes
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(cause, count)| format!("{} {cause}", format::count(*count)))
        .collect();
    let packets = if stats.missing_packets > 0 {
        format!(", {} packets missing", format::count(stats.missing_packets))
    } else {
        String::new()
    };
    let text = format!("{} discarded ({}){packets}", format::count(stats.total), parts.join(", "));
    ui.label(RichText::new(text).color(frame.palette.alarm));
}
