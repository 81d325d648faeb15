//! Turns a display list into a few triangle meshes: one for everything coloured, one for the density texture.
//!
//! Invariant: the work follows the length of the display list, and every mesh is shared (`Arc`), so that a frame in which
//! nothing changed only adds it again.

use std::sync::Arc;

use egui::epaint::{CubicBezierShape, Vertex};
use egui::{Color32, ColorImage, Mesh, Pos2, Rect, Shape, Stroke, TextureId, Vec2, pos2, vec2};

use super::palette::{Palette, mix};
use crate::view::display::{Arrow, Band, BandKind, Density, DisplayList, Hatch, Ink, Plot, Quad, Tick};

/// The distance between the stripes over missing time.
const HATCH_STEP: f32 = 9.0;
/// The thickness of a stripe, measured along the x axis.
const HATCH_WIDTH: f32 = 2.0;

/// What lies behind the grid: the lanes' grounds.
#[must_use]
pub fn bands(list: &[Band], canvas: Rect, palette: &Palette) -> Mesh {
    let mut mesh = Mesh::default();
    for band in list {
        let rect = Rect::from_min_max(
            pos2(canvas.left(), canvas.top() + band.y0),
            pos2(canvas.right(), canvas.top() + band.y1),
        );
        let ground = match band.kind {
            BandKind::Lane => palette.canvas,
            BandKind::Heading => palette.heading,
            BandKind::Selected => palette.selected_lane,
        };
        mesh.add_colored_rect(rect, ground);
        let line = Rect::from_min_max(pos2(rect.left(), rect.bottom() - 1.0), rect.right_bottom());
        mesh.add_colored_rect(line, palette.separator);
    }
    mesh
}

/// Everything of the list that has a plain colour, in painting order; arrows are [`arrows`].
#[must_use]
pub fn coloured(list: &DisplayList, canvas: Rect, palette: &Palette) -> Mesh {
    let mut mesh = Mesh::default();
    mesh.reserve_vertices(list.quads.len() * 4 + 64);
    mesh.reserve_triangles(list.quads.len() * 2 + 64);
    for quad in &list.quads {
        add_quad(&mut mesh, quad, canvas.min.to_vec2(), palette);
    }
    for plot in &list.plots {
        add_plot(&mut mesh, plot, canvas, palette);
    }
    for tick in &list.ticks {
        add_tick(&mut mesh, tick, canvas.min.to_vec2(), palette);
    }
    mesh
}

fn add_quad(mesh: &mut Mesh, quad: &Quad, offset: Vec2, palette: &Palette) {
    let mut colour = palette.ink(quad.ink);
    if quad.dim {
        colour = palette.dimmed(colour);
    }
    let width = quad.x1 - quad.x0;
    // A hair of ground between neighbours of the same name, where there is room for it.
    let gap = if width >= 4.0 { 1.0 } else { 0.0 };
    let rect = Rect::from_min_max(pos2(quad.x0, quad.y0) + offset, pos2(quad.x1 - gap, quad.y1) + offset);
    mesh.add_colored_rect(rect, colour);
}

fn add_plot(mesh: &mut Mesh, plot: &Plot, canvas: Rect, palette: &Palette) {
    let line = palette.ink(plot.ink);
    let area = line.gamma_multiply(0.16);
    let band = line.gamma_multiply(0.45);
    let offset = canvas.min.to_vec2();
    for (i, step) in plot.steps.iter().enumerate() {
        let next = plot.steps.get(i + 1).map_or(plot.end, |next| next.x).max(step.x + 0.5);
        let rect = |x0: f32, y0: f32, x1: f32, y1: f32| {
            Rect::from_min_max(pos2(x0, y0.min(y1)) + offset, pos2(x1, y0.max(y1)) + offset)
        };
        mesh.add_colored_rect(rect(step.x, step.last, next, plot.y1), area);
        if step.low - step.high > 1.0 {
            mesh.add_colored_rect(rect(step.x, step.high, (step.x + 1.0).max(next.min(step.x + 1.5)), step.low), band);
        }
        mesh.add_colored_rect(rect(step.x, step.last - 0.75, next, step.last + 0.75), line);
    }
}

fn add_tick(mesh: &mut Mesh, tick: &Tick, offset: Vec2, palette: &Palette) {
    let mut colour = palette.ink(tick.ink);
    if tick.dim {
        colour = palette.dimmed(colour);
    }
    let centre = pos2(tick.x, tick.y) + offset;
    let (wide, high) = (3.0, 4.0);
    add_polygon(
        mesh,
        &[centre + vec2(0.0, -high), centre + vec2(wide, 0.0), centre + vec2(0.0, high), centre + vec2(-wide, 0.0)],
        colour,
    );
}

fn add_polygon(mesh: &mut Mesh, corners: &[Pos2], colour: Color32) {
    let Ok(first) = u32::try_from(mesh.vertices.len()) else { return };
    let Ok(count) = u32::try_from(corners.len()) else { return };
    for &corner in corners {
        mesh.colored_vertex(corner, colour);
    }
    for i in 2..count {
        mesh.add_triangle(first, first + i - 1, first + i);
    }
}

/// The stripes over missing time, full height.
#[must_use]
pub fn hatches(list: &[Hatch], canvas: Rect, palette: &Palette) -> Mesh {
    let mut mesh = Mesh::default();
    for hatch in list {
        let left = (canvas.left() + hatch.x0).max(canvas.left());
        let right = (canvas.left() + hatch.x1.max(hatch.x0 + 2.0)).min(canvas.right());
        let rect = Rect::from_min_max(pos2(left, canvas.top()), pos2(right, canvas.bottom()));
        if rect.width() <= 0.0 {
            continue;
        }
        mesh.add_colored_rect(rect, palette.hatch.gamma_multiply(0.10));
        // Stripes are anchored to the screen, not to the hatch, so that neighbours join.
        let mut x = ((left - rect.height()) / HATCH_STEP).floor() * HATCH_STEP;
        while x < right {
            let stripe = [
                pos2(x, rect.bottom()),
                pos2(x + HATCH_WIDTH, rect.bottom()),
                pos2(x + HATCH_WIDTH + rect.height(), rect.top()),
                pos2(x + rect.height(), rect.top()),
            ];
            let right_of = clip(&stripe, |p| p.x - left);
            let inside = clip(&right_of, |p| right - p.x);
            add_polygon(&mut mesh, &inside, palette.hatch.gamma_multiply(0.5));
            x += HATCH_STEP;
        }
        for edge in [left, right - 1.0] {
            mesh.add_colored_rect(
                Rect::from_min_max(pos2(edge, rect.top()), pos2(edge + 1.0, rect.bottom())),
                palette.hatch.gamma_multiply(0.8),
            );
        }
    }
    mesh
}

/// The part of a convex polygon where `inside` is not negative (one step of Sutherland and Hodgman's clipping).
fn clip(polygon: &[Pos2], inside: impl Fn(Pos2) -> f32) -> Vec<Pos2> {
    let mut kept = Vec::with_capacity(polygon.len() + 2);
    for (i, &corner) in polygon.iter().enumerate() {
        let Some(&next) = polygon.get((i + 1) % polygon.len()) else { continue };
        let (here, there) = (inside(corner), inside(next));
        if here >= 0.0 {
            kept.push(corner);
        }
        if (here < 0.0) != (there < 0.0) {
            kept.push(corner + (next - corner) * (here / (here - there)));
        }
    }
    kept
}

/// Arrows, each a curve with a head, and whiskers where it may be off; anti-aliased by egui, so their number is bounded by the layout.
#[must_use]
pub fn arrows(list: &[Arrow], canvas: Rect, palette: &Palette) -> Vec<Shape> {
    let mut shapes = Vec::with_capacity(list.len() * 2);
    for arrow in list {
        let colour = palette.ink(arrow.ink);
        let from = pos2(arrow.from.0, arrow.from.1) + canvas.min.to_vec2();
        let to = pos2(arrow.to.0, arrow.to.1) + canvas.min.to_vec2();
        let down = (to.y - from.y).signum();
        let bend = ((to.x - from.x).abs() * 0.3).clamp(0.0, 60.0);
        let head_base = to - vec2(0.0, 6.0 * down);
        shapes.push(Shape::CubicBezier(CubicBezierShape::from_points_stroke(
            [from, from + vec2(bend, 8.0 * down), head_base - vec2(bend, 8.0 * down), head_base],
            false,
            Color32::TRANSPARENT,
            Stroke::new(1.4, colour),
        )));
        shapes.push(Shape::convex_polygon(
            vec![to, head_base + vec2(-3.5, 0.0), head_base + vec2(3.5, 0.0)],
            colour,
            Stroke::NONE,
        ));
        // Whiskers narrower than the head say nothing.
        if arrow.error > 1.0 {
            let (left, right) = (to - vec2(arrow.error, 0.0), to + vec2(arrow.error, 0.0));
            let stroke = Stroke::new(1.4, colour);
            shapes.push(Shape::line_segment([left, right], stroke));
            for end in [left, right] {
                shapes.push(Shape::line_segment([end - vec2(0.0, 4.0), end + vec2(0.0, 4.0)], stroke));
            }
        }
    }
    shapes
}

/// How many steps lie between an empty and a full column.
const SHADES: u8 = 32;

/// The shades of each ink, mixed once per picture and not once per pixel.
struct Shades<'a> {
    palette: &'a Palette,
    /// Where an ink's shades are among the known ones, by [`place`].
    places: Vec<Option<u16>>,
    known: Vec<[Color32; SHADES as usize]>,
}

/// A number for each ink.
#[inline]
fn place(ink: Ink, dim: bool) -> usize {
    let ink = match ink {
        Ink::Name(hue) => usize::from(hue.angle) * 4 + usize::from(hue.shade.min(3)),
        Ink::Idle => 1024,
        Ink::Ready => 1025,
        Ink::Running => 1026,
        Ink::Alarm => 1027,
        Ink::SpawnArrow => 1028,
        Ink::WakeArrow => 1029,
        Ink::Own => 1030,
        Ink::Muted => 1031,
    };
    ink * 2 + usize::from(dim)
}

impl<'a> Shades<'a> {
    fn new(palette: &'a Palette) -> Self {
        Self { palette, places: vec![None; place(Ink::Muted, true) + 1], known: Vec::new() }
    }

    #[inline]
    fn of(&mut self, ink: Ink, dim: bool, share: u8) -> Color32 {
        let place = self.places.get(place(ink, dim)).copied().flatten().unwrap_or_else(|| self.add(ink, dim));
        let shades = self.known.get(usize::from(place));
        shades.and_then(|shades| shades.get(usize::from(share / (u8::MAX / SHADES + 1)))).copied().unwrap_or_default()
    }

    #[cold]
    fn add(&mut self, ink: Ink, dim: bool) -> u16 {
        let full = self.palette.ink(ink);
        let full = if dim { self.palette.dimmed(full) } else { full };
        let mut shades = [full; SHADES as usize];
        for (shade, step) in shades.iter_mut().zip(0u8..) {
            // Even a single short span in a column must be seen.
            let share = 0.22 + 0.78 * f32::from(step) / f32::from(SHADES - 1);
            *shade = mix(self.palette.canvas, full, share);
        }
        let at = u16::try_from(self.known.len()).unwrap_or(0);
        self.known.push(shades);
        if let Some(slot) = self.places.get_mut(place(ink, dim)) {
            *slot = Some(at);
        }
        at
    }
}

/// The density rows as an image, one pixel per column and row.
#[must_use]
pub fn density_image(rows: &[Density], palette: &Palette) -> ColorImage {
    let width = rows.iter().map(|row| row.columns.len()).max().unwrap_or(0).max(1);
    let mut pixels = vec![Color32::TRANSPARENT; width * rows.len().max(1)];
    let mut shades = Shades::new(palette);
    for (row, line) in rows.iter().zip(pixels.chunks_exact_mut(width)) {
        for (column, pixel) in row.columns.iter().zip(line) {
            if column.share > 0 {
                *pixel = shades.of(column.ink, column.dim, column.share);
            }
        }
    }
    ColorImage::new([width, rows.len().max(1)], pixels)
}

/// One quad per density row, each showing its row of the texture.
#[must_use]
pub fn density_quads(rows: &[Density], canvas: Rect, texture: TextureId) -> Mesh {
    let mut mesh = Mesh::with_texture(texture);
    #[expect(clippy::cast_precision_loss, reason = "rows fit a screen")]
    let step = 1.0 / rows.len().max(1) as f32;
    let mut v = step / 2.0;
    for row in rows {
        let rect =
            Rect::from_min_max(pos2(canvas.left(), canvas.top() + row.y0), pos2(canvas.right(), canvas.top() + row.y1));
        let Ok(first) = u32::try_from(mesh.vertices.len()) else { break };
        for (pos, u) in
            [(rect.left_top(), 0.0), (rect.right_top(), 1.0), (rect.right_bottom(), 1.0), (rect.left_bottom(), 0.0)]
        {
            mesh.vertices.push(Vertex { pos, uv: pos2(u, v), color: Color32::WHITE });
        }
        mesh.add_triangle(first, first + 1, first + 2);
        mesh.add_triangle(first, first + 2, first + 3);
        v += step;
    }
    mesh
}

/// A shape of a mesh, or nothing where the mesh is empty.
#[must_use]
pub fn shape(mesh: Mesh) -> Option<Shape> {
    (!mesh.is_empty()).then(|| Shape::Mesh(Arc::new(mesh)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::display::{Column, Ink};

    fn canvas() -> Rect {
        Rect::from_min_max(pos2(10.0, 20.0), pos2(210.0, 120.0))
    }

    #[test]
    fn stripes_stay_within_their_hatch() {
        let hatch = Hatch { x0: 50.0, x1: 75.0, text: String::new() };
        let mesh = hatches(&[hatch], canvas(), &Palette::dark());
        assert!(mesh.vertices.len() > 20);
        for vertex in &mesh.vertices {
            assert!((60.0..=85.0).contains(&vertex.pos.x) && (20.0..=120.0).contains(&vertex.pos.y), "{vertex:?}");
        }
    }

    #[test]
    fn a_short_span_alone_in_its_column_is_seen() {
        let palette = Palette::dark();
        let column = |share| Column { ink: Ink::Running, share, dim: false };
        let row = Density { y0: 0.0, y1: 8.0, columns: vec![column(1), column(255), column(0)] };
        let image = density_image(&[row], &palette);
        assert_ne!(image.pixels[0], palette.canvas);
        assert_eq!(image.pixels[1], palette.ink(Ink::Running));
        assert_eq!(image.pixels[2], Color32::TRANSPARENT);
    }

    #[test]
    fn each_density_row_shows_its_own_row_of_the_texture() {
        let row = |y0: f32| Density { y0, y1: y0 + 8.0, columns: vec![Column::EMPTY; 4] };
        let mesh = density_quads(&[row(0.0), row(8.0), row(16.0), row(24.0)], canvas(), TextureId::default());
        let vs: Vec<f32> = mesh.vertices.iter().step_by(4).map(|vertex| vertex.uv.y).collect();
        assert_eq!(vs, [0.125, 0.375, 0.625, 0.875]);
    }
}
