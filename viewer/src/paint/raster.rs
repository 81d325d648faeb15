//! Draws egui's triangles into an image on the CPU, so that a picture needs no GPU, no display and no system library.
//!
//! Invariant: a pixel belongs to a triangle when its centre lies in the half-open span between the triangle's edges, and
//! an edge is computed from its upper end whichever triangle asks, so that neighbours neither overlap nor leave a seam.
//! Colours are multiplied and blended in gamma space with premultiplied alpha, as egui's own renderers do.
//!
//! ```
//! use egui::{Color32, Mesh, Rect, pos2};
//! use fata_viewer::paint::raster::Raster;
//! let mut mesh = Mesh::default();
//! mesh.add_colored_rect(Rect::from_min_max(pos2(1.0, 1.0), pos2(3.0, 2.0)), Color32::RED);
//! let mut raster = Raster::new();
//! raster.begin(4, 4, Color32::BLACK);
//! raster.mesh(&mesh, Rect::EVERYTHING, 1.0);
//! assert_eq!(raster.pixels().iter().filter(|&&pixel| pixel == Color32::RED).count(), 2);
//! ```

use std::collections::HashMap;

use egui::epaint::{ClippedPrimitive, ImageData, Primitive, Vertex};
use egui::{Color32, ColorImage, Mesh, Rect, TextureFilter, TextureId, TextureOptions, TexturesDelta};

/// A picture in the making and the textures it may use.
#[derive(Default)]
pub struct Raster {
    width: usize,
    height: usize,
    pixels: Vec<Color32>,
    textures: HashMap<TextureId, (ColorImage, TextureOptions)>,
}

impl Raster {
    /// An empty picture.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a picture of this size.
    pub fn begin(&mut self, width: usize, height: usize, background: Color32) {
        (self.width, self.height) = (width, height);
        self.pixels.clear();
        self.pixels.resize(width * height, background);
    }

    /// The picture, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[Color32] {
        &self.pixels
    }

    /// The picture as RGBA bytes.
    #[must_use]
    pub fn rgba(&self) -> Vec<u8> {
        self.pixels.iter().flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b(), 255]).collect()
    }

    /// Takes over what changed in the textures, before painting.
    pub fn update_textures(&mut self, delta: &mut TexturesDelta) {
        for (id, images) in delta.set.drain() {
            for image in images {
                let ImageData::Color(source) = image.image;
                match (image.pos, self.textures.get_mut(&id)) {
                    (Some(at), Some((target, _))) => copy_region(&source, target, at),
                    _ => drop(self.textures.insert(id, (ColorImage::clone(&source), image.options))),
                }
            }
        }
        for id in delta.free.drain() {
            self.textures.remove(&id);
        }
    }

    /// Paints all of `primitives`.
    pub fn paint(&mut self, primitives: &[ClippedPrimitive], pixels_per_point: f32) {
        for primitive in primitives {
            // The interface has no paint callbacks: they could not be drawn here.
            if let Primitive::Mesh(mesh) = &primitive.primitive {
                self.mesh(mesh, primitive.clip_rect, pixels_per_point);
            }
        }
    }

    /// Paints one mesh within `clip`.
    pub fn mesh(&mut self, mesh: &Mesh, clip: Rect, pixels_per_point: f32) {
        let texture = self.textures.remove(&mesh.texture_id);
        let bounds = self.pixel_bounds(clip, pixels_per_point);
        for triangle in mesh.indices.chunks_exact(3) {
            let corner = |i: usize| mesh.vertices.get(*triangle.get(i)? as usize).copied();
            if let (Some(a), Some(b), Some(c)) = (corner(0), corner(1), corner(2)) {
                let scaled = [a, b, c].map(|vertex| Vertex { pos: vertex.pos * pixels_per_point, ..vertex });
                self.triangle(scaled, bounds, texture.as_ref());
            }
        }
        if let Some(texture) = texture {
            self.textures.insert(mesh.texture_id, texture);
        }
    }

    /// The clip rectangle in whole pixels: left, top, right, bottom.
    fn pixel_bounds(&self, clip: Rect, pixels_per_point: f32) -> [usize; 4] {
        let pixel = |value: f32, limit: usize| to_index((value * pixels_per_point).round()).min(limit);
        [
            pixel(clip.min.x, self.width),
            pixel(clip.min.y, self.height),
            pixel(clip.max.x, self.width),
            pixel(clip.max.y, self.height),
        ]
    }

    fn triangle(&mut self, corners: [Vertex; 3], bounds: [usize; 4], texture: Option<&(ColorImage, TextureOptions)>) {
        let [a, b, c] = corners;
        let area = (b.pos - a.pos).x * (c.pos - a.pos).y - (b.pos - a.pos).y * (c.pos - a.pos).x;
        if area == 0.0 || !area.is_finite() {
            return;
        }
        let [left, top, right, bottom] = bounds;
        let ys = corners.map(|corner| corner.pos.y);
        let first = to_index((ys[0].min(ys[1]).min(ys[2]) - 0.5).ceil()).max(top);
        let last = to_index((ys[0].max(ys[1]).max(ys[2]) - 0.5).ceil()).min(bottom);
        let flat = a.color == b.color && b.color == c.color;
        let one_texel = a.uv == b.uv && b.uv == c.uv;
        let constant = (flat && one_texel).then(|| multiply(colour_channels(a.color), sample(texture, a.uv.x, a.uv.y)));
        for row in first..last {
            let y = index_f32(row) + 0.5;
            let Some((from, to)) = crossing(&corners, y) else { continue };
            let from = to_index((from - 0.5).ceil()).max(left);
            let to = to_index((to - 0.5).ceil()).min(right);
            for column in from..to {
                let source = constant.unwrap_or_else(|| {
                    let x = index_f32(column) + 0.5;
                    let weight =
                        |p: Vertex, q: Vertex| ((p.pos.x - x) * (q.pos.y - y) - (p.pos.y - y) * (q.pos.x - x)) / area;
                    let weights = [weight(b, c), weight(c, a), weight(a, b)];
                    shade(&corners, weights, texture)
                });
                if let Some(pixel) = self.pixels.get_mut(row * self.width + column) {
                    *pixel = blend(source, *pixel);
                }
            }
        }
    }
}

/// Where the line at height `y` enters and leaves the triangle.
fn crossing(corners: &[Vertex; 3], y: f32) -> Option<(f32, f32)> {
    let mut xs = [0.0f32; 2];
    let mut found = 0;
    for i in 0..3 {
        let (p, q) = (corners[i].pos, corners[(i + 1) % 3].pos);
        let (upper, lower) = if (p.y, p.x) <= (q.y, q.x) { (p, q) } else { (q, p) };
        if upper.y <= y && y < lower.y && found < 2 {
            xs[found] = upper.x + (lower.x - upper.x) * ((y - upper.y) / (lower.y - upper.y));
            found += 1;
        }
    }
    (found == 2).then(|| (xs[0].min(xs[1]), xs[0].max(xs[1])))
}

/// The colour at a point of the triangle, channels 0 to 255.
fn shade(corners: &[Vertex; 3], weights: [f32; 3], texture: Option<&(ColorImage, TextureOptions)>) -> [f32; 4] {
    let mut colour = [0.0f32; 4];
    let (mut u, mut v) = (0.0, 0.0);
    for (corner, weight) in corners.iter().zip(weights) {
        for (sum, channel) in colour.iter_mut().zip(colour_channels(corner.color)) {
            *sum += channel * weight;
        }
        u += corner.uv.x * weight;
        v += corner.uv.y * weight;
    }
    multiply(colour, sample(texture, u, v))
}

/// The texture's colour at `u, v`; white without a texture.
fn sample(texture: Option<&(ColorImage, TextureOptions)>, u: f32, v: f32) -> [f32; 4] {
    let Some((image, options)) = texture else { return [255.0; 4] };
    let [width, height] = image.size;
    let texel = |x: usize, y: usize| {
        let at = y.min(height.saturating_sub(1)) * width + x.min(width.saturating_sub(1));
        image.pixels.get(at).map_or([0.0; 4], |&pixel| colour_channels(pixel))
    };
    let (x, y) = (u * index_f32(width), v * index_f32(height));
    if options.magnification == TextureFilter::Nearest {
        return texel(to_index(x.floor()), to_index(y.floor()));
    }
    let (x, y) = ((x - 0.5).max(0.0), (y - 0.5).max(0.0));
    let (column, row) = (to_index(x.floor()), to_index(y.floor()));
    let (right, down) = (x - x.floor(), y - y.floor());
    if right == 0.0 && down == 0.0 {
        return texel(column, row);
    }
    let mut mixed = [0.0; 4];
    for (dx, dy, share) in [
        (0, 0, (1.0 - right) * (1.0 - down)),
        (1, 0, right * (1.0 - down)),
        (0, 1, (1.0 - right) * down),
        (1, 1, right * down),
    ] {
        for (sum, channel) in mixed.iter_mut().zip(texel(column + dx, row + dy)) {
            *sum += channel * share;
        }
    }
    mixed
}

fn colour_channels(colour: Color32) -> [f32; 4] {
    colour.to_array().map(f32::from)
}

fn multiply(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
    [a[0] * b[0] / 255.0, a[1] * b[1] / 255.0, a[2] * b[2] / 255.0, a[3] * b[3] / 255.0]
}

/// Premultiplied `source` over `target`.
fn blend(source: [f32; 4], target: Color32) -> Color32 {
    let rest = 1.0 - source[3] / 255.0;
    let mut channels = target.to_array();
    for (channel, add) in channels.iter_mut().zip(source) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let mixed = (add + f32::from(*channel) * rest + 0.5).clamp(0.0, 255.0) as u8;
        *channel = mixed;
    }
    Color32::from_rgba_premultiplied(channels[0], channels[1], channels[2], channels[3])
}

/// A coordinate as an index; anything below zero is zero.
fn to_index(value: f32) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a picture's size")]
    let index = value.clamp(0.0, 1e6) as usize;
    index
}

fn index_f32(index: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a picture's coordinates are below 2^24")]
    let value = index as f32;
    value
}

fn copy_region(source: &ColorImage, target: &mut ColorImage, [x, y]: [usize; 2]) {
    let [width, height] = source.size;
    for row in 0..height {
        let from = source.pixels.get(row * width..(row + 1) * width);
        let start = (y + row) * target.size[0] + x;
        if let (Some(from), Some(to)) = (from, target.pixels.get_mut(start..start + width)) {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::pos2;

    fn picture(mesh: &Mesh, size: usize) -> Vec<Color32> {
        let mut raster = Raster::new();
        raster.begin(size, size, Color32::BLACK);
        raster.mesh(mesh, Rect::EVERYTHING, 1.0);
        raster.pixels().to_vec()
    }

    #[test]
    fn a_fan_of_translucent_triangles_covers_every_pixel_exactly_once() {
        let mut mesh = Mesh::default();
        let colour = Color32::from_rgba_premultiplied(100, 0, 0, 100);
        let centre = pos2(7.3, 8.9);
        mesh.colored_vertex(centre, colour);
        let rim =
            [(0.0, 0.0), (9.1, 0.0), (16.0, 0.0), (16.0, 5.5), (16.0, 16.0), (3.3, 16.0), (0.0, 16.0), (0.0, 4.0)];
        for (x, y) in rim {
            mesh.colored_vertex(pos2(x, y), colour);
        }
        for i in 0..8 {
            mesh.add_triangle(0, i + 1, (i + 1) % 8 + 1);
        }
        for (i, pixel) in picture(&mesh, 16).iter().enumerate() {
            assert_eq!(pixel.r(), 100, "pixel {i} was painted twice or never");
        }
    }

    #[test]
    fn corners_shade_into_each_other() {
        let mut mesh = Mesh::default();
        mesh.colored_vertex(pos2(0.0, 0.0), Color32::BLACK);
        mesh.colored_vertex(pos2(64.0, 0.0), Color32::WHITE);
        mesh.colored_vertex(pos2(0.0, 64.0), Color32::BLACK);
        mesh.add_triangle(0, 1, 2);
        let pixels = picture(&mesh, 64);
        assert!(pixels[1].r() < 10 && (120..136).contains(&pixels[32].r()) && pixels[62].r() > 245);
    }

    #[test]
    fn nothing_is_painted_outside_the_clip_rectangle() {
        let mut mesh = Mesh::default();
        mesh.add_colored_rect(Rect::from_min_max(pos2(-5.0, -5.0), pos2(50.0, 50.0)), Color32::WHITE);
        let mut raster = Raster::new();
        raster.begin(10, 10, Color32::BLACK);
        raster.mesh(&mesh, Rect::from_min_max(pos2(2.0, 3.0), pos2(5.0, 7.0)), 1.0);
        assert_eq!(raster.pixels().iter().filter(|&&pixel| pixel == Color32::WHITE).count(), 12);
    }

    #[test]
    fn nonsense_coordinates_paint_nothing_and_do_not_hang() {
        let mut mesh = Mesh::default();
        for value in [f32::NAN, f32::INFINITY, -1e30] {
            mesh.colored_vertex(pos2(value, value), Color32::WHITE);
        }
        mesh.add_triangle(0, 1, 2);
        mesh.indices.extend([7, 8, 9]);
        assert!(picture(&mesh, 4).iter().all(|&pixel| pixel == Color32::BLACK));
    }
}
