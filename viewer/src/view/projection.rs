//! The visible time range and where its moments lie on the screen.
//!
//! Time is `f64` nanoseconds since the trace's origin, which is exact to a nanosecond for 104 days; `f32` begins only at
//! the painter, with pixels.
//!
//! Invariant: `MIN_SPAN <= span`, and both numbers are finite.
//!
//! ```
//! use fata_viewer::view::projection::{Projection, Window};
//! let p = Projection::new(Window::new(1_000.0, 500.0), 100.0, 250.0);
//! assert_eq!(p.x_from_time(1_250.0), 225.0);
//! assert_eq!(p.time_from_x(225.0), 1_250.0);
//! ```

/// The narrowest visible range in nanoseconds: below it there is nothing more to see.
pub const MIN_SPAN: f64 = 20.0;
/// The widest one: 10 years.
const MAX_SPAN: f64 = 3.2e17;

/// A visible time range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Nanoseconds since the origin at the left edge.
    pub start: f64,
    /// Nanoseconds from the left edge to the right one.
    pub span: f64,
}

impl Window {
    /// The range that begins at `start` and is `span` nanoseconds wide, made legal.
    #[must_use]
    pub fn new(start: f64, span: f64) -> Self {
        let start = if start.is_finite() { start } else { 0.0 };
        let span = if span.is_finite() { span.clamp(MIN_SPAN, MAX_SPAN) } else { MAX_SPAN };
        Self { start, span }
    }

    /// The range of a whole trace with a little room on both sides, so that its ends are seen to be ends.
    #[must_use]
    pub fn fit(begin: i64, end: i64) -> Self {
        let span = nanos_f64(end.saturating_sub(begin)).max(1_000.0);
        let margin = span * 0.015;
        Self::new(nanos_f64(begin) - margin, span + 2.0 * margin)
    }

    /// The range from `from` to `to`; the ends of a trace that ends at `end` where they are not given.
    #[must_use]
    pub fn between(from: Option<i64>, to: Option<i64>, end: i64) -> Self {
        if from.is_none() && to.is_none() {
            return Self::fit(0, end);
        }
        let from = from.unwrap_or(0);
        let to = to.unwrap_or(end).max(from.saturating_add(1));
        Self::new(nanos_f64(from), nanos_f64(to.saturating_sub(from)))
    }

    /// The moment at the right edge.
    #[must_use]
    pub fn end(&self) -> f64 {
        self.start + self.span
    }

    /// Zooms by `factor` (above one = closer) such that the moment `at` stays where it is on the screen.
    #[must_use]
    pub fn zoomed(&self, at: f64, factor: f64) -> Self {
        let span = (self.span / factor).clamp(MIN_SPAN, MAX_SPAN);
        let share = (at - self.start) / self.span;
        Self::new(at - share * span, span)
    }

    /// Moves by `share` of the visible range; positive = later.
    #[must_use]
    pub fn panned(&self, share: f64) -> Self {
        Self::new(self.start + share * self.span, self.span)
    }

    /// Kept where a trace from `begin` to `end` can be found again: at least a tenth of the screen still shows it, and no
    /// zoom goes further out than three times the trace.
    #[must_use]
    pub fn clamped(&self, begin: i64, end: i64) -> Self {
        let (begin, end) = (nanos_f64(begin), nanos_f64(end));
        let span = self.span.min(((end - begin) * 3.0).max(10_000.0));
        let share = span * 0.1;
        let start = if span < self.span { self.start + (self.span - span) / 2.0 } else { self.start };
        let low = begin - span + share.min((end - begin).max(1.0));
        let high = end - share.min((end - begin).max(1.0));
        Self::new(start.clamp(low.min(high), high.max(low)), span)
    }

    /// Moved just far enough that `from..to` is visible, zoomed out only where it does not fit.
    #[must_use]
    pub fn showing(&self, from: i64, to: i64) -> Self {
        let (from, to) = (nanos_f64(from), nanos_f64(to));
        let length = to - from;
        if length > self.span * 0.9 {
            return Self::new(from - length * 0.1, length * 1.2);
        }
        if from >= self.start && to <= self.end() {
            return *self;
        }
        Self::new(from + length / 2.0 - self.span / 2.0, self.span)
    }

    /// Zoomed such that `from..to` fills most of the screen.
    #[must_use]
    pub fn framing(from: i64, to: i64) -> Self {
        let length = nanos_f64(to.saturating_sub(from)).max(MIN_SPAN);
        Self::new(nanos_f64(from) - length * 0.1, length * 1.2)
    }

    /// A step of the animation towards `target`; `None` when it is reached.
    ///
    /// The span moves on a logarithmic scale, so that a zoom feels even.
    #[must_use]
    pub fn approached(&self, target: Self, seconds: f32) -> Option<Self> {
        let rate = 1.0 - (-f64::from(seconds) * 22.0).exp();
        let log = (target.span / self.span).ln();
        let near = |a: f64, b: f64| (a - b).abs() < target.span * 2e-4;
        if near(self.start, target.start) && near(self.end(), target.end()) {
            return None;
        }
        if log.abs() < 1e-6 {
            return Some(Self::new(self.start + (target.start - self.start) * rate, target.span));
        }
        // The point that both ranges show at the same place stays fixed all the way.
        let fixed = (self.start * target.span - target.start * self.span) / (target.span - self.span);
        let span = self.span * (log * rate).exp();
        Some(Self::new(fixed + (self.start - fixed) * span / self.span, span))
    }
}

/// A window laid on pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// What is visible.
    pub window: Window,
    /// The x of the window's start.
    pub left: f32,
    /// The pixels that the window takes.
    pub width: f32,
}

impl Projection {
    /// The projection of `window` to `width` pixels from `left`.
    #[must_use]
    pub fn new(window: Window, left: f32, width: f32) -> Self {
        Self { window, left, width: width.max(1.0) }
    }

    /// Nanoseconds per pixel.
    #[must_use]
    pub fn nanos_per_pixel(&self) -> f64 {
        self.window.span / f64::from(self.width)
    }

    /// Where the moment `nanos` lies; far outside it is cut to a little beyond the edge, so that pixels stay exact.
    #[must_use]
    pub fn x_from_time(&self, nanos: f64) -> f32 {
        let x = (nanos - self.window.start) / self.nanos_per_pixel();
        #[expect(clippy::cast_possible_truncation, reason = "pixels; cut to the screen's neighbourhood first")]
        let x = x.clamp(-16_384.0, 65_536.0) as f32;
        self.left + x
    }

    /// The same for a whole number of nanoseconds.
    #[must_use]
    pub fn x_from_nanos(&self, nanos: i64) -> f32 {
        self.x_from_time(nanos_f64(nanos))
    }

    /// The moment at `x`.
    #[must_use]
    pub fn time_from_x(&self, x: f32) -> f64 {
        self.window.start + f64::from(x - self.left) * self.nanos_per_pixel()
    }

    /// The whole nanosecond at `x`.
    #[must_use]
    pub fn nanos_from_x(&self, x: f32) -> i64 {
        floor_nanos(self.time_from_x(x))
    }

    /// The visible range in whole nanoseconds, outwards.
    #[must_use]
    pub fn visible(&self) -> (i64, i64) {
        (floor_nanos(self.window.start), floor_nanos(self.window.end()).saturating_add(1))
    }
}

/// Nanoseconds as the axis counts them.
#[must_use]
pub fn nanos_f64(nanos: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact for 104 days, and the axis is relative")]
    let nanos = nanos as f64;
    nanos
}

/// The whole nanosecond at or before `time`.
#[must_use]
pub fn floor_nanos(time: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let nanos = time.floor() as i64;
    nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_under_the_pointer_stays_under_it_through_a_zoom() {
        let window = Window::new(3.0e12, 1.0e9);
        for factor in [0.25, 0.9, 1.1, 8.0, 1e5] {
            let at = 3.0e12 + 2.5e8;
            let before = Projection::new(window, 0.0, 1000.0).x_from_time(at);
            let after = Projection::new(window.zoomed(at, factor), 0.0, 1000.0).x_from_time(at);
            assert!((before - after).abs() < 0.01, "{factor}: {before} {after}");
        }
    }

    #[test]
    fn an_animated_zoom_arrives_and_keeps_its_fixed_point_on_the_way() {
        let start = Window::new(0.0, 1.0e9);
        let target = start.zoomed(7.0e8, 50.0);
        let mut now = start;
        for step in 0.. {
            assert!(step < 200, "never arrives");
            let Some(next) = now.approached(target, 1.0 / 60.0) else { break };
            let x = Projection::new(next, 0.0, 1000.0).x_from_time(7.0e8);
            assert!((x - 700.0).abs() < 0.5, "{x}");
            now = next;
        }
    }

    #[test]
    fn the_trace_can_always_be_found_again() {
        let far = Window::new(1.0e15, 1.0e6).clamped(0, 1_000_000_000);
        assert!(far.start < 1.0e9);
        let before = Window::new(-1.0e15, 1.0e6).clamped(0, 1_000_000_000);
        assert!(before.end() > 0.0);
        let wide = Window::new(-1.0e15, 2.0e15).clamped(0, 1_000_000_000);
        assert!(wide.span <= 3.0e9 && wide.start < 1.0e9 && wide.end() > 0.0);
    }

    #[test]
    fn a_nanosecond_is_still_a_distance_after_an_hour() {
        let hour = 3_600_000_000_000;
        let p = Projection::new(Window::new(nanos_f64(hour), MIN_SPAN), 0.0, 1000.0);
        assert!((p.x_from_nanos(hour + 1) - p.x_from_nanos(hour) - 50.0).abs() < 0.1);
    }

    #[test]
    fn no_number_makes_a_window_that_is_not_one() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0] {
            let window = Window::new(bad, bad);
            assert!(window.start.is_finite() && window.span >= MIN_SPAN);
        }
        assert!(Window::fit(5, 5).span > 0.0);
    }
}
