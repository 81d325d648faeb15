//! The colours of both themes, and what stands for what.
//!
//! Names get hues on a circle of even lightness (OKLCH), so that no name shouts; states have fixed colours, the same in
//! every picture: running green, ready amber, idle a thin grey line. Red is kept for what is wrong.

use std::sync::LazyLock;

use egui::{Color32, Visuals};

use crate::view::display::{Hue, Ink};

/// The colours of one theme.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    /// Whether it is the dark one.
    pub dark: bool,
    /// Behind the lanes.
    pub canvas: Color32,
    /// Behind panels.
    pub panel: Color32,
    /// Behind a group's heading.
    pub heading: Color32,
    /// Behind the selected lane.
    pub selected_lane: Color32,
    /// Between lanes.
    pub separator: Color32,
    /// Labelled grid lines.
    pub grid_major: Color32,
    /// The others.
    pub grid_minor: Color32,
    /// Text.
    pub text: Color32,
    /// Unimportant text.
    pub muted: Color32,
    /// The selection's frame, links, the pointer's line.
    pub accent: Color32,
    /// What is wrong.
    pub alarm: Color32,
    /// The hatching over missing time.
    pub hatch: Color32,
}

impl Palette {
    /// The dark theme.
    #[must_use]
    pub fn dark() -> Self {
        Self {
            dark: true,
            canvas: Color32::from_rgb(20, 22, 27),
            panel: Color32::from_rgb(27, 29, 35),
            heading: Color32::from_rgb(31, 34, 41),
            selected_lane: Color32::from_rgb(30, 38, 50),
            separator: Color32::from_rgb(37, 40, 48),
            grid_major: Color32::from_rgb(42, 46, 55),
            grid_minor: Color32::from_rgb(28, 30, 37),
            text: Color32::from_rgb(222, 225, 230),
            muted: Color32::from_rgb(138, 144, 156),
            accent: Color32::from_rgb(98, 174, 255),
            alarm: Color32::from_rgb(255, 96, 92),
            hatch: Color32::from_rgb(190, 84, 80),
        }
    }

    /// The light theme.
    #[must_use]
    pub fn light() -> Self {
        Self {
            dark: false,
            canvas: Color32::from_rgb(252, 252, 253),
            panel: Color32::from_rgb(244, 245, 247),
            heading: Color32::from_rgb(236, 238, 242),
            selected_lane: Color32::from_rgb(229, 240, 253),
            separator: Color32::from_rgb(228, 230, 235),
            grid_major: Color32::from_rgb(214, 217, 223),
            grid_minor: Color32::from_rgb(239, 241, 244),
            text: Color32::from_rgb(32, 35, 42),
            muted: Color32::from_rgb(104, 110, 122),
            accent: Color32::from_rgb(20, 104, 214),
            alarm: Color32::from_rgb(205, 38, 38),
            hatch: Color32::from_rgb(222, 120, 112),
        }
    }

    /// The palette of the theme that is on.
    #[must_use]
    pub fn of(visuals: &Visuals) -> Self {
        if visuals.dark_mode { Self::dark() } else { Self::light() }
    }

    /// The colour that an ink has in this theme.
    #[must_use]
    pub fn ink(&self, ink: Ink) -> Color32 {
        match (ink, self.dark) {
            (Ink::Name(hue), _) => self.hue(hue),
            (Ink::Idle, true) => Color32::from_rgb(82, 89, 102),
            (Ink::Idle, false) => Color32::from_rgb(176, 182, 193),
            (Ink::Ready, true) => Color32::from_rgb(232, 178, 60),
            (Ink::Ready, false) => Color32::from_rgb(230, 160, 20),
            (Ink::Running, true) => Color32::from_rgb(66, 184, 106),
            (Ink::Running, false) => Color32::from_rgb(40, 160, 84),
            (Ink::Alarm, _) => self.alarm,
            (Ink::SpawnArrow, true) => Color32::from_rgb(186, 140, 255),
            (Ink::SpawnArrow, false) => Color32::from_rgb(122, 70, 214),
            (Ink::WakeArrow, true) => Color32::from_rgb(255, 196, 84),
            (Ink::WakeArrow, false) => Color32::from_rgb(190, 120, 0),
            (Ink::Own, _) => self.accent,
            (Ink::Muted, _) => self.muted,
        }
    }

    /// The same colour where a search leaves it out: nearly the background.
    #[must_use]
    pub fn dimmed(&self, colour: Color32) -> Color32 {
        mix(self.canvas, colour, 0.18)
    }

    /// The text colour to be read on `fill`.
    #[must_use]
    pub fn text_on(&self, fill: Color32) -> Color32 {
        let [r, g, b, _] = fill.to_array().map(f32::from);
        if 0.299 * r + 0.587 * g + 0.114 * b > 108.0 {
            Color32::from_rgb(16, 18, 22)
        } else {
            Color32::from_rgb(246, 247, 249)
        }
    }

    fn hue(&self, hue: Hue) -> Color32 {
        let at = usize::from(hue.angle) * SHADES + usize::from(hue.shade.min(3));
        HUES[usize::from(self.dark)].get(at).copied().unwrap_or(self.muted)
    }

    /// egui's own widgets in these colours.
    #[must_use]
    pub fn visuals(&self) -> Visuals {
        let mut visuals = if self.dark { Visuals::dark() } else { Visuals::light() };
        visuals.panel_fill = self.panel;
        visuals.window_fill = self.panel;
        visuals.extreme_bg_color = self.canvas;
        visuals.faint_bg_color = self.heading;
        visuals.hyperlink_color = self.accent;
        visuals.selection.bg_fill = mix(self.panel, self.accent, 0.35);
        visuals.selection.stroke.color = self.text;
        visuals.widgets.noninteractive.fg_stroke.color = self.text;
        visuals.widgets.noninteractive.bg_stroke.color = self.separator;
        visuals.widgets.inactive.fg_stroke.color = self.text;
        visuals.window_stroke.color = self.separator;
        visuals.window_shadow.blur = 12;
        visuals.popup_shadow.blur = 8;
        visuals
    }
}

/// Shades of each hue.
const SHADES: usize = 4;

/// All hues in all shades, light and dark: a picture asks for thousands, and each takes a cosine and three powers.
static HUES: [LazyLock<Vec<Color32>>; 2] = [LazyLock::new(|| hues(0.74, 0.1)), LazyLock::new(|| hues(0.655, 0.105))];

fn hues(lightness: f32, chroma: f32) -> Vec<Color32> {
    let hue = |angle: u16, shade: f32| {
        oklch(lightness + shade * 0.028, chroma, f32::from(angle) / 256.0 * std::f32::consts::TAU)
    };
    (0..256).flat_map(|angle| [0.0, 1.0, 2.0, 3.0].map(|shade| hue(angle, shade))).collect()
}

/// `share` of `b`, the rest of `a`.
#[must_use]
pub fn mix(a: Color32, b: Color32, share: f32) -> Color32 {
    a.lerp_to_gamma(b, share)
}

/// A colour given by lightness, chroma and hue in Björn Ottosson's OKLab, cut to sRGB.
fn oklch(lightness: f32, chroma: f32, angle: f32) -> Color32 {
    let (a, b) = (chroma * angle.cos(), chroma * angle.sin());
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_4 * s,
        -0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ];
    let [r, g, b] = linear.map(|channel: f32| {
        let gamma = if channel <= 0.003_130_8 { channel * 12.92 } else { 1.055 * channel.powf(1.0 / 2.4) - 0.055 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let byte = (gamma.clamp(0.0, 1.0) * 255.0).round() as u8;
        byte
    });
    Color32::from_rgb(r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(colour: Color32) -> f32 {
        let [r, g, b, _] = colour.to_array().map(|channel| (f32::from(channel) / 255.0).powf(2.2));
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: Color32, b: Color32) -> f32 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn every_name_is_readable_on_its_colour_in_both_themes() {
        for palette in [Palette::dark(), Palette::light()] {
            for angle in 0..=255 {
                for shade in 0..4 {
                    let fill = palette.ink(Ink::Name(Hue { angle, shade }));
                    let ratio = contrast(fill, palette.text_on(fill));
                    assert!(ratio >= 4.5, "angle {angle} shade {shade}: {ratio}");
                }
            }
        }
    }

    #[test]
    fn texts_keep_the_contrast_that_people_need() {
        for palette in [Palette::dark(), Palette::light()] {
            for ground in [palette.canvas, palette.panel, palette.heading, palette.selected_lane] {
                assert!(contrast(palette.text, ground) >= 7.0);
                assert!(contrast(palette.muted, ground) >= 4.0, "{}", contrast(palette.muted, ground));
            }
        }
    }

    #[test]
    fn the_three_states_of_a_task_differ_in_more_than_hue() {
        for palette in [Palette::dark(), Palette::light()] {
            let [idle, ready, running] = [Ink::Idle, Ink::Ready, Ink::Running].map(|ink| palette.ink(ink));
            assert!(idle != ready && ready != running && contrast(ready, running) > 1.1);
        }
    }
}
