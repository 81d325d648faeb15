//! The desktop timeline of Fata: a trace, or a guest that runs, as lanes over time.
//!
//! 1. **Paint is stateless.** [`app`] owns the state; [`view`] turns trace, lanes and time range into a display list and
//!    knows no toolkit; [`paint`] turns that into one mesh and one texture; [`panels`] answer with actions.
//! 2. **A frame costs pixels.** What is visible is asked of `fata-model` per row at pixel resolution; what did not change
//!    is not drawn anew.
//! 3. **Nothing is hidden.** Missing time is hatched, unfinished spans are marked, what nobody resolved is named.
//! 4. **The same picture everywhere.** [`screenshot`] draws with no display what the window shows.
//!
//! ```no_run
//! use fata_viewer::{Options, live::Source};
//! fata_viewer::run(Source::Path("trace".into()), Options::default())?;
//! # Ok::<(), fata_viewer::ViewerError>(())
//! ```
#![forbid(unsafe_code)]

mod actions;
pub mod app;
pub mod commands;
mod derived;
pub mod headless;
pub mod live;
pub mod paint;
pub mod panels;
pub mod state;
pub mod view;
mod window;

use egui::Theme;
use fata_model::source::OpenError;
use fata_model::trace::Trace;

pub use headless::PictureSize;
pub use live::Source;
pub use window::run;

use app::Viewer;

/// How a window is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What is shown, for the window's title.
    pub title: String,
    /// Where the view begins, in nanoseconds since the origin; with `to`, instead of the whole trace.
    pub from: Option<i64>,
    /// Where it ends.
    pub to: Option<i64>,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    /// The trace.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No display, or none that this process may use.
    #[error(
        "no window can be opened: neither WAYLAND_DISPLAY nor DISPLAY is set. \
         Use `fata view --screenshot FILE.png` for a picture, or `fata stats` for numbers"
    )]
    NoDisplay,
    /// A library that the window needs is missing, or the display refused.
    #[error(
        "the window could not be opened: {0}. On Debian and Ubuntu the viewer needs the packages {PACKAGES} \
         (sudo apt-get install {PACKAGES}); `fata view --screenshot FILE.png` needs none of them"
    )]
    Window(String),
    /// A mistake of ours.
    #[error("the picture could not be encoded: {0}")]
    Picture(#[from] png::EncodingError),
}

/// What a window needs on Debian and Ubuntu.
pub const PACKAGES: &str = "libx11-6 libx11-xcb1 libxcursor1 libxi6 libxrandr2 libxkbcommon-x11-0 libwayland-egl1 \
                            libegl1 libgl1-mesa-dri";

/// The picture of a trace as a PNG file, with no display: the whole of it, or what lies between `from` and `to`
/// (nanoseconds since the origin).
///
/// # Errors
/// [`ViewerError::Picture`], which would be a mistake of ours.
pub fn screenshot(
    trace: Trace,
    title: &str,
    from: Option<i64>,
    to: Option<i64>,
    size: PictureSize,
) -> Result<Vec<u8>, ViewerError> {
    let mut viewer = Viewer::new(Source::Trace(Box::new(trace)), title)?;
    viewer.show_first(from, to);
    Ok(headless::picture(size, Theme::Dark, &[], |ui| viewer.ui(ui))?)
}
