//! Shows a display list, and remembers the triangles for as long as nothing changed.
//!
//! Invariant: while the [`Key`] is the same, a frame neither asks the model nor lays out text; it adds the shapes of the
//! last frame again. So moving the pointer costs next to nothing.

use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat, TextWrapping};
use egui::{Context, FontId, Painter, Rect, Shape, TextureHandle, TextureOptions, pos2};

use super::mesh;
use super::palette::Palette;
use crate::view::display::{DisplayList, Label, TextStyle};
use crate::view::projection::Window;
use crate::view::ruler::Mark;

/// The size of texts on the canvas, in points.
pub const TEXT_SIZE: f32 = 11.5;

/// Everything that a canvas's picture depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// The visible time.
    pub window: Window,
    /// Where the canvas is.
    pub rect: Rect,
    /// How far the lanes are scrolled.
    pub scroll: f32,
    /// Which events the trace has.
    pub data: u64,
    /// Folds, selection, search.
    pub state: u64,
    /// The theme.
    pub dark: bool,
    /// The screen's scale.
    pub pixels_per_point: f32,
    /// The glyph atlas: when it grows, kept texts point to the wrong place.
    pub atlas: [usize; 2],
}

impl Key {
    /// The part of the key that the toolkit knows.
    #[must_use]
    pub fn new(context: &Context, window: Window, rect: Rect, scroll: f32, data: u64, state: u64) -> Self {
        Self {
            window,
            rect,
            scroll,
            data,
            state,
            dark: context.theme() == egui::Theme::Dark,
            pixels_per_point: context.pixels_per_point(),
            atlas: context.fonts(|fonts| fonts.font_image_size()),
        }
    }
}

/// One canvas and its last picture.
#[derive(Default)]
pub struct Canvas {
    key: Option<Key>,
    shapes: Vec<Shape>,
    texture: Option<TextureHandle>,
    /// How often the picture was made anew.
    pub rebuilt: u64,
}

impl Canvas {
    /// Paints what `make` lists; calls it only where `key` differs from the last one.
    pub fn paint(
        &mut self,
        painter: &Painter,
        key: Key,
        palette: &Palette,
        marks: &[Mark],
        make: impl FnOnce() -> DisplayList,
    ) {
        if self.key != Some(key) {
            let list = make();
            self.build(painter, &list, key.rect, palette, marks);
            self.rebuilt += 1;
            // Laying out text may have made the atlas grow; then the next frame builds once more.
            self.key = Some(key);
        }
        painter.with_clip_rect(key.rect).extend(self.shapes.iter().cloned());
    }

    fn build(&mut self, painter: &Painter, list: &DisplayList, rect: Rect, palette: &Palette, marks: &[Mark]) {
        self.shapes.clear();
        self.shapes.extend(mesh::shape(mesh::bands(&list.bands, rect, palette)));
        self.shapes.extend(mesh::shape(grid(marks, rect, palette)));
        if !list.densities.is_empty() {
            let image = mesh::density_image(&list.densities, palette);
            let texture = match &mut self.texture {
                Some(texture) => {
                    texture.set(image, TextureOptions::NEAREST);
                    texture.id()
                }
                none => none.insert(painter.ctx().load_texture("density", image, TextureOptions::NEAREST)).id(),
            };
            self.shapes.extend(mesh::shape(mesh::density_quads(&list.densities, rect, texture)));
        }
        self.shapes.extend(mesh::shape(mesh::coloured(list, rect, palette)));
        self.shapes.extend(mesh::shape(mesh::hatches(&list.hatches, rect, palette)));
        self.shapes.extend(list.labels.iter().filter_map(|label| text(painter, label, rect, palette)));
        self.shapes.extend(mesh::arrows(&list.arrows, rect, palette));
    }
}

/// The grid's lines behind the lanes.
fn grid(marks: &[Mark], rect: Rect, palette: &Palette) -> egui::Mesh {
    let mut mesh = egui::Mesh::default();
    for mark in marks {
        let colour = if mark.major { palette.grid_major } else { palette.grid_minor };
        let x = mark.x.round();
        mesh.add_colored_rect(Rect::from_min_max(pos2(x, rect.top()), pos2(x + 1.0, rect.bottom())), colour);
    }
    mesh
}

/// A label as a shape, cut to its width; nothing where not even two letters fit.
fn text(painter: &Painter, label: &Label, rect: Rect, palette: &Palette) -> Option<Shape> {
    let colour = match label.style {
        TextStyle::OnFill(ink) => palette.text_on(palette.ink(ink)),
        TextStyle::OnDimFill(_) => palette.muted,
        TextStyle::Muted => palette.muted,
        TextStyle::Alarm => palette.alarm,
    };
    let galley = elided(painter, &label.text, TEXT_SIZE, colour, label.width)?;
    let at = pos2(rect.left() + label.x, rect.top() + label.y - galley.size().y / 2.0);
    let at = pos2(at.x.round(), at.y.round());
    Some(Shape::galley(at, galley, colour))
}

/// A text that takes at most `width`.
///
/// The width is rounded down to a coarse step, so that a zoom finds most texts laid out already.
#[must_use]
pub fn elided(
    painter: &Painter,
    text: &str,
    size: f32,
    colour: egui::Color32,
    width: f32,
) -> Option<Arc<egui::Galley>> {
    if width < 14.0 {
        return None;
    }
    let font = FontId::proportional(size);
    let whole = painter.layout_no_wrap(text.to_owned(), font.clone(), colour);
    if whole.size().x <= width {
        return Some(whole);
    }
    let format = TextFormat { font_id: font, color: colour, ..TextFormat::default() };
    let mut job = LayoutJob::single_section(text.to_owned(), format);
    job.wrap = TextWrapping::truncate_at_width((width / 6.0).floor() * 6.0);
    Some(painter.layout_job(job))
}
