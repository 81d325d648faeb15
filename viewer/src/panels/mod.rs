//! The parts of the window. Each looks at a [`Frame`], draws, and answers with actions.

mod details;
mod gutter;
mod help;
pub mod log;
mod menu;
pub mod minimap;
mod overlay;
mod statistics;
mod status;
pub mod timeline;
mod unresolved;

use egui::{CentralPanel, Panel, Ui};

use crate::app::{Action, Frame};
use crate::paint::canvas::Canvas;

/// What was drawn for the last frame and may serve for the next.
#[derive(Default)]
pub struct Pictures {
    /// The lanes, and those that stay at the top.
    pub canvases: [Canvas; 2],
    /// The strip over the timeline.
    pub minimap: minimap::Minimap,
}

/// Shows the whole window.
pub fn show(ui: &mut Ui, frame: &Frame<'_>, pictures: &mut Pictures, actions: &mut Vec<Action>) {
    let plain = egui::Frame::new().fill(frame.palette.panel).inner_margin(egui::Margin::symmetric(8, 4));
    Panel::top("menu").frame(plain).show(ui, |ui| menu::show(ui, frame, actions));
    Panel::bottom("status").frame(plain).show(ui, |ui| status::show(ui, frame, actions));
    let panels = frame.state.panels;
    if panels.statistics {
        let size = ui.available_height() * 0.34;
        Panel::bottom("statistics")
            .frame(plain)
            .resizable(true)
            .default_size(size)
            .show(ui, |ui| statistics::show(ui, frame, actions));
    }
    if panels.log {
        let size = ui.available_height() * 0.36;
        Panel::bottom("log")
            .frame(plain)
            .resizable(true)
            .default_size(size)
            .min_size(90.0)
            .show(ui, |ui| log::show(ui, frame, actions));
    }
    if panels.details || panels.unresolved {
        Panel::right("side").frame(plain.inner_margin(10)).resizable(true).default_size(280.0).min_size(230.0).show(
            ui,
            |ui| {
                // A panel that followed its contents would push the timeline about with every click.
                ui.set_min_width(ui.available_width());
                if panels.unresolved {
                    unresolved::show(ui, frame, actions);
                }
                if panels.details {
                    details::show(ui, frame, actions);
                }
            },
        );
    }
    let canvas = egui::Frame::new().fill(frame.palette.canvas);
    CentralPanel::default().frame(canvas).show(ui, |ui| timeline::show(ui, frame, pictures, actions));
    help::show(ui, frame, actions);
}
