//! The interface without a window: run for a few frames, drawn on the CPU, returned as PNG.
//!
//! The picture is the one that the window would show, made by the same code up to the triangles.

use std::ops::RangeInclusive;

use egui::{Color32, Context, Event, Pos2, RawInput, Rect, Theme, Ui, vec2};

use crate::paint::raster::Raster;

/// The longest side of a picture, in pixels: of its textures too.
const MAX_SIDE: u32 = 8192;

/// Frames that an interface gets to find its sizes before the picture is taken.
const SETTLING_FRAMES: usize = 4;

/// How large a picture is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureSize {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Physical pixels per point: 2 for a picture with letters twice as large.
    pub scale: f32,
}

impl Default for PictureSize {
    fn default() -> Self {
        Self { width: 1600, height: 900, scale: 1.0 }
    }
}

impl PictureSize {
    /// From the narrowest to the widest picture there is.
    pub const WIDTHS: RangeInclusive<u32> = 320..=MAX_SIDE;
    /// From the lowest to the highest picture there is.
    pub const HEIGHTS: RangeInclusive<u32> = 200..=MAX_SIDE;

    /// The size made legal: what lies beyond [`WIDTHS`](Self::WIDTHS) and [`HEIGHTS`](Self::HEIGHTS) is cut.
    #[must_use]
    pub fn legal(self) -> Self {
        let scale = if self.scale.is_finite() { self.scale.clamp(0.5, 4.0) } else { 1.0 };
        let cut = |pixels: u32, sizes: RangeInclusive<u32>| pixels.clamp(*sizes.start(), *sizes.end());
        Self { width: cut(self.width, Self::WIDTHS), height: cut(self.height, Self::HEIGHTS), scale }
    }
}

/// Draws what `interface` shows; `events` come one per frame, before the picture is taken.
///
/// # Errors
/// When the PNG cannot be encoded, which would be a mistake of ours.
pub fn picture(
    size: PictureSize,
    theme: Theme,
    events: &[Event],
    mut interface: impl FnMut(&mut Ui),
) -> Result<Vec<u8>, png::EncodingError> {
    let size = size.legal();
    let context = Context::default();
    context.set_theme(theme);
    let mut raster = Raster::new();
    let mut primitives = Vec::new();
    let mut time = 0.0;
    for frame in 0..events.len() + SETTLING_FRAMES {
        let input = input(size, time, events.get(frame).cloned());
        time += 0.25;
        let mut output = context.run_ui(input, &mut interface);
        raster.update_textures(&mut output.textures_delta);
        primitives = context.tessellate(output.shapes, output.pixels_per_point);
    }
    let (width, height) = (to_usize(size.width), to_usize(size.height));
    raster.begin(width, height, Color32::BLACK);
    raster.paint(&primitives, size.scale);
    encode(&raster.rgba(), size.width, size.height)
}

fn input(size: PictureSize, time: f64, event: Option<Event>) -> RawInput {
    #[expect(clippy::cast_precision_loss, reason = "a picture's size is below 2^24")]
    let points = vec2(size.width as f32, size.height as f32) / size.scale;
    let mut input = RawInput {
        screen_rect: Some(Rect::from_min_size(Pos2::ZERO, points)),
        time: Some(time),
        focused: true,
        events: event.into_iter().collect(),
        max_texture_side: Some(to_usize(MAX_SIDE)),
        ..RawInput::default()
    };
    input.viewports.entry(input.viewport_id).or_default().native_pixels_per_point = Some(size.scale);
    input
}

/// RGBA bytes as a PNG file.
///
/// # Errors
/// When the bytes do not fill the size.
pub fn encode(rgba: &[u8], width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header()?.write_image_data(rgba)?;
    Ok(file)
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_what_the_interface_draws_at_the_size_asked_for() {
        let size = PictureSize { width: 400, height: 300, scale: 2.0 };
        let file = picture(size, Theme::Dark, &[], |ui| {
            assert_eq!(ui.max_rect().size(), vec2(200.0, 150.0));
            ui.painter().rect_filled(ui.max_rect(), 0.0, Color32::from_rgb(10, 200, 30));
            ui.label("text");
        })
        .unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (400, 300));
        let green = pixels.chunks_exact(4).filter(|pixel| pixel[..3] == [10, 200, 30]).count();
        let other = pixels.chunks_exact(4).filter(|pixel| pixel[..3] != [10, 200, 30]).count();
        assert!(green > 100_000 && other > 50, "{green} {other}");
    }

    #[test]
    fn absurd_sizes_are_made_legal() {
        let size = PictureSize { width: u32::MAX, height: 0, scale: f32::NAN }.legal();
        assert_eq!((size.width, size.height), (8192, 200));
        assert!(size.scale.is_finite());
    }
}
