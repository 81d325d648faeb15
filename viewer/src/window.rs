//! The window on the desktop: eframe's loop around the [`Viewer`], and errors that say which package is missing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::app::Viewer;
use crate::live::Source;
use crate::{Options, ViewerError};

struct Application {
    viewer: Viewer,
}

impl eframe::App for Application {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.viewer.ui(ui);
    }
}

/// Opens the window and shows `source` until it is closed.
///
/// # Errors
/// A trace that cannot be read, no display, a library that is missing: each in a sentence that says what to do.
pub fn run(source: Source, options: Options) -> Result<(), ViewerError> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !set("WAYLAND_DISPLAY") && !set("WAYLAND_SOCKET") && !set("DISPLAY") {
        return Err(ViewerError::NoDisplay);
    }
    let mut viewer = Viewer::new(source, options.title.clone())?;
    viewer.show_first(options.from, options.to);
    let title = if options.title.is_empty() { "Fata".to_owned() } else { format!("Fata: {}", options.title) };
    let native = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_app_id("fata")
            .with_title(&title)
            .with_inner_size([1500.0, 900.0])
            .with_min_inner_size([480.0, 320.0])
            .with_icon(egui::IconData::default()),
        renderer: eframe::Renderer::Glow,
        ..eframe::NativeOptions::default()
    };
    // A missing libxkbcommon-x11 or libwayland-egl is a panic in the window library, not an error.
    let quiet = std::panic::take_hook();
    let opened = catch_unwind(AssertUnwindSafe(|| {
        eframe::run_native(&title, native, Box::new(|_context| Ok(Box::new(Application { viewer }))))
    }));
    std::panic::set_hook(quiet);
    match opened {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ViewerError::Window(error.to_string())),
        Err(panic) => Err(ViewerError::Window(panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a library is missing").trim_end_matches('.').to_owned()
}
