//! What a frame shows, as data: the layout writes a [`DisplayList`], the painter turns it into triangles.
//!
//! Invariant: its length follows the screen's pixels, never the trace's events. Coordinates are points relative to the
//! canvas: x from its left edge, y from its top, already scrolled.

use std::fmt::Write as _;
use std::sync::Arc;

use fata_wire::field::Level;

/// What a colour stands for; the palette gives it a value per theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ink {
    /// The colour of a name, stable through time and traces.
    Name(Hue),
    /// A task that waits.
    Idle,
    /// A task that could run.
    Ready,
    /// A task that runs.
    Running,
    /// Something is wrong: failed, never resolved, discarded.
    Alarm,
    /// An arrow from a spawning task to its child.
    SpawnArrow,
    /// An arrow from what woke a task to the task.
    WakeArrow,
    /// The program's own words.
    Own,
    /// A log line or a tick that does not matter much.
    Muted,
}

/// A name's place in the colour circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hue {
    /// The angle, 256 steps for the whole circle.
    pub angle: u8,
    /// A nudge of the lightness, 0 to 3, that keeps neighbours of one family apart.
    pub shade: u8,
}

/// The ink of a log record, by how much it matters.
#[must_use]
pub const fn ink_of_level(level: Level) -> Ink {
    match level {
        Level::App => Ink::Own,
        Level::Error => Ink::Alarm,
        Level::Warn => Ink::Ready,
        Level::Info => Ink::Running,
        Level::Debug | Level::Trace => Ink::Muted,
    }
}

/// The ink of a name: its first word gives the family, the rest a place within it.
///
/// ```
/// use fata_viewer::view::display::ink_of_name;
/// assert_eq!(ink_of_name("heap.refill"), ink_of_name("heap.refill"));
/// assert_ne!(ink_of_name("heap.refill"), ink_of_name("net.rx"));
/// ```
#[must_use]
pub fn ink_of_name(name: &str) -> Ink {
    // Nothing happens: the picture's quiet parts.
    if name.ends_with(".idle") {
        return Ink::Idle;
    }
    let (family, rest) = name.split_once('.').unwrap_or((name, ""));
    let base: u8 = match family {
        "heap" => 32,
        "boot" => 232,
        "net" => 178,
        "tcp" | "udp" => 190,
        "ip" | "arp" | "dns" | "icmp" => 168,
        "http" => 124,
        "sync" => 214,
        "task" | "main" => 92,
        "time" | "timer" => 60,
        // Anywhere but where the colours of an alarm and of a task that is ready lie, as far as names spread.
        _ => 86 + low_byte(hash(family) % 160),
    };
    let within = hash(rest);
    let spread = low_byte(within % 29);
    Ink::Name(Hue { angle: base.wrapping_add(spread).wrapping_sub(14), shade: low_byte((within >> 8) % 4) })
}

/// FNV-1a, with its bits mixed once more.
fn hash(text: &str) -> u32 {
    let fnv = text.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (fnv ^ (fnv >> 15)).wrapping_mul(0x2c1b_3c6d) >> 5
}

fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

/// A filled rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quad {
    /// Left edge.
    pub x0: f32,
    /// Right edge.
    pub x1: f32,
    /// Top.
    pub y0: f32,
    /// Bottom.
    pub y1: f32,
    /// Its colour.
    pub ink: Ink,
    /// Whether a search leaves it out.
    pub dim: bool,
}

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextStyle {
    /// On a quad of this ink.
    OnFill(Ink),
    /// Beside things, not important.
    Muted,
    /// A warning.
    Alarm,
    /// On a quad of this ink that a search leaves out.
    OnDimFill(Ink),
}

/// A text with a place to fit into.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Left edge.
    pub x: f32,
    /// The vertical middle.
    pub y: f32,
    /// It is elided to this width.
    pub width: f32,
    /// What it says.
    pub text: Arc<str>,
    /// How it looks.
    pub style: TextStyle,
}

/// One pixel column of a density row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The colour of what takes most of it.
    pub ink: Ink,
    /// How much of it is taken, 0 to 255; 0 leaves it empty.
    pub share: u8,
    /// Whether a search leaves it out.
    pub dim: bool,
}

impl Column {
    /// A column with nothing in it.
    pub const EMPTY: Column = Column { ink: Ink::Muted, share: 0, dim: false };
}

/// A row of things too narrow to draw one by one.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    /// Top.
    pub y0: f32,
    /// Bottom.
    pub y1: f32,
    /// One per physical pixel of the canvas's width.
    pub columns: Vec<Column>,
}

/// A counter's step line.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// Top.
    pub y0: f32,
    /// Bottom.
    pub y1: f32,
    /// Its colour.
    pub ink: Ink,
    /// Where it ends: the trace's end, or the canvas's.
    pub end: f32,
    /// From left to right: x, least and most there, and the value it leaves with; all y.
    pub steps: Vec<PlotStep>,
}

/// One column of a plot, in y coordinates (so `low` is the greater number).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlotStep {
    /// Where.
    pub x: f32,
    /// The least value's y.
    pub low: f32,
    /// The greatest value's y.
    pub high: f32,
    /// The last value's y, kept until the next step.
    pub last: f32,
}

/// A stretch of time of which events are missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Hatch {
    /// Left edge.
    pub x0: f32,
    /// Right edge.
    pub x1: f32,
    /// What is missing and why.
    pub text: String,
}

/// A causal arrow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrow {
    /// Where it begins.
    pub from: (f32, f32),
    /// Where its head is.
    pub to: (f32, f32),
    /// Its colour.
    pub ink: Ink,
    /// How far the head may be off, to the left and to the right; 0 where it is exact.
    pub error: f32,
}

/// A moment on a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// Where.
    pub x: f32,
    /// The vertical middle.
    pub y: f32,
    /// Its colour.
    pub ink: Ink,
    /// Whether a search leaves it out.
    pub dim: bool,
}

/// A full-height band behind a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Top.
    pub y0: f32,
    /// Bottom.
    pub y1: f32,
    /// What it is for.
    pub kind: BandKind,
}

/// What a band behind a lane says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandKind {
    /// An ordinary lane.
    Lane,
    /// The heading of a group.
    Heading,
    /// The lane that is selected.
    Selected,
}

/// Everything that a frame of the canvas shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DisplayList {
    /// Behind everything.
    pub bands: Vec<Band>,
    /// Missing time.
    pub hatches: Vec<Hatch>,
    /// What is too small for quads.
    pub densities: Vec<Density>,
    /// What is large enough.
    pub quads: Vec<Quad>,
    /// Counters.
    pub plots: Vec<Plot>,
    /// Moments.
    pub ticks: Vec<Tick>,
    /// Causes.
    pub arrows: Vec<Arrow>,
    /// Texts.
    pub labels: Vec<Label>,
}

impl DisplayList {
    /// The list as text, for tests that compare by eye: one line per thing, coordinates rounded to points.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for hatch in &self.hatches {
            let _ = writeln!(text, "hatch {:.0}..{:.0} {}", hatch.x0, hatch.x1, hatch.text);
        }
        for density in &self.densities {
            let taken = density.columns.iter().filter(|column| column.share > 0).count();
            let _ = writeln!(text, "density y {:.0}..{:.0} {taken} columns", density.y0, density.y1);
        }
        for quad in &self.quads {
            let dim = if quad.dim { " dim" } else { "" };
            let ink = ink_text(quad.ink);
            let _ = writeln!(text, "quad {:.0}..{:.0} y {:.0}..{:.0} {ink}{dim}", quad.x0, quad.x1, quad.y0, quad.y1);
        }
        for plot in &self.plots {
            let _ = writeln!(text, "plot y {:.0}..{:.0} {} steps", plot.y0, plot.y1, plot.steps.len());
        }
        for tick in &self.ticks {
            let _ = writeln!(text, "tick {:.0} y {:.0}", tick.x, tick.y);
        }
        for arrow in &self.arrows {
            let ((x0, y0), (x1, y1)) = (arrow.from, arrow.to);
            let _ = write!(text, "arrow {x0:.0},{y0:.0} -> {x1:.0},{y1:.0} {:?}", arrow.ink);
            let _ = match arrow.error {
                0.0 => writeln!(text),
                error => writeln!(text, " ± {error:.0}"),
            };
        }
        for label in &self.labels {
            let _ = writeln!(text, "label {:.0} y {:.0} w {:.0} {}", label.x, label.y, label.width, label.text);
        }
        text
    }
}

fn ink_text(ink: Ink) -> String {
    match ink {
        Ink::Name(_) => "name".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_family_look_related_and_families_apart() {
        let angle = |name: &str| match ink_of_name(name) {
            Ink::Name(hue) => i32::from(hue.angle),
            other => panic!("{other:?}"),
        };
        for other in ["heap.flush", "heap.grow", "heap.coalesce"] {
            assert!((angle("heap.refill") - angle(other)).abs() <= 28, "{other}");
        }
        assert!((angle("heap.refill") - angle("net.rx")).abs() > 60);
        // An alarm's red lies at 17, the amber of a task that is ready at 59.
        for family in 0..2000 {
            let angle = angle(&format!("family{family}.{family}"));
            assert!(!(4..=71).contains(&angle), "family{family}: {angle}");
        }
    }
}
