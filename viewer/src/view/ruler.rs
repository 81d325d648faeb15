//! The time axis: where its grid lines lie and what they say.
//!
//! Steps are 1, 2 or 5 times a power of ten nanoseconds, the smallest whose labels do not touch.
//!
//! ```
//! use fata_viewer::view::{projection::{Projection, Window}, ruler};
//! let marks = ruler::marks(&Projection::new(Window::new(0.0, 1e6), 0.0, 500.0));
//! assert_eq!(marks.iter().filter(|mark| mark.major).count(), 6);
//! ```

use super::format;
use super::projection::{Projection, floor_nanos};

/// The least distance between labelled marks in pixels.
const LABEL_SPACING: f64 = 96.0;

/// One line of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Where.
    pub x: f32,
    /// Which moment.
    pub nanos: i64,
    /// Whether it is labelled.
    pub major: bool,
    /// The label; empty for minor marks.
    pub label: String,
}

/// The distance between labelled marks in nanoseconds.
#[must_use]
pub fn step_nanos(projection: &Projection) -> i64 {
    let least = projection.nanos_per_pixel() * LABEL_SPACING;
    let mut step = 1i64;
    loop {
        for factor in [1, 2, 5] {
            let candidate = step * factor;
            if super::projection::nanos_f64(candidate) >= least || candidate > i64::MAX / 20 {
                return candidate;
            }
        }
        step *= 10;
    }
}

/// All marks of the visible range, from left to right: five or four minor steps per major one.
#[must_use]
pub fn marks(projection: &Projection) -> Vec<Mark> {
    let step = step_nanos(projection);
    let leading = step / 10i64.pow(step.ilog10());
    let minor = (step / if leading == 2 { 4 } else { 5 }).max(1);
    let first = floor_nanos(projection.window.start).div_euclid(minor).saturating_mul(minor);
    let end = projection.window.end();
    let mut marks = Vec::new();
    let mut nanos = first;
    while super::projection::nanos_f64(nanos) <= end && marks.len() < 4096 {
        let major = nanos % step == 0;
        let label = if major { format::moment(nanos, step) } else { String::new() };
        marks.push(Mark { x: projection.x_from_nanos(nanos), nanos, major, label });
        nanos = nanos.saturating_add(minor);
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::projection::Window;

    #[test]
    fn labels_never_touch_at_any_zoom() {
        let mut span = 20.0;
        while span < 1e16 {
            let marks = marks(&Projection::new(Window::new(1.234e12, span), 0.0, 1600.0));
            let majors: Vec<_> = marks.iter().filter(|mark| mark.major).collect();
            assert!((2..=18).contains(&majors.len()), "{span}: {}", majors.len());
            for pair in majors.windows(2) {
                assert!(pair[1].x - pair[0].x >= 95.0, "{span}: {pair:?}");
            }
            span *= 3.0;
        }
    }

    #[test]
    fn two_marks_never_say_the_same_time() {
        for span in [1e3, 1e5, 1e7, 1e9, 1e11] {
            let marks = marks(&Projection::new(Window::new(5.0e9, span), 0.0, 1600.0));
            let mut labels: Vec<_> = marks.iter().filter(|mark| mark.major).map(|mark| &mark.label).collect();
            let all = labels.len();
            labels.dedup();
            assert_eq!(labels.len(), all, "{labels:?}");
        }
    }

    #[test]
    fn marks_before_the_origin_are_negative_and_on_the_same_grid() {
        let marks = marks(&Projection::new(Window::new(-1e9, 2e9), 0.0, 800.0));
        assert!(marks.iter().any(|mark| mark.major && mark.nanos == 0 && mark.label == "0 s"));
        assert!(marks.iter().any(|mark| mark.nanos < 0 && mark.label.starts_with('−')));
    }
}
