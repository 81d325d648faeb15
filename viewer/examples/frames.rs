//! What a frame costs: CPU milliseconds per frame of a synthetic trace at every zoom, while panning, so that nothing is
//! remembered from the frame before. No window; layout, meshes, text and tessellation are what the window does.
//!
//! ```text
//! cargo run --release -p fata-viewer --example frames -- 10000000
//! ```

use std::error::Error;

use egui::{Context, Event, Key, Modifiers, Pos2, RawInput, Rect, vec2};
use fata_model::ingest::{Ingest, Limits};
use fata_model::synthetic::Synthetic;
use fata_viewer::Source;
use fata_viewer::app::Viewer;
use fata_viewer::view::projection::{Window, nanos_f64};

/// Frames per zoom.
const FRAMES: u16 = 150;

/// CPU time of this thread in milliseconds, as the scheduler counts it; other processes do not matter.
fn cpu_millis() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = text.split(' ').next().unwrap_or("").parse()?;
    Ok(nanos / 1e6)
}

/// One frame of a 1920 × 1080 window.
fn frame(viewer: &mut Viewer, context: &Context, time: &mut f64, events: Vec<Event>) {
    *time += 1.0 / 60.0;
    let screen = Rect::from_min_size(Pos2::ZERO, vec2(1920.0, 1080.0));
    let input = RawInput { screen_rect: Some(screen), time: Some(*time), focused: true, events, ..RawInput::default() };
    let mut output = context.run_ui(input, |ui| viewer.ui(ui));
    output.textures_delta.clear();
    drop(context.tessellate(output.shapes, output.pixels_per_point));
}

fn main() -> Result<(), Box<dyn Error>> {
    let spans = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let synthetic = Synthetic { spans, ..Synthetic::default() };
    let mut ingest = Ingest::new(Limits::default());
    ingest.metadata(&synthetic.metadata())?;
    synthetic.packets(|packet| ingest.packet(packet).is_ok());
    let trace = ingest.finish();
    println!("{spans} spans, {} events, {} MiB in memory", trace.events_total(), trace.memory_bytes() >> 20);
    let end = nanos_f64(trace.end());
    let mut viewer = Viewer::new(Source::Trace(Box::new(trace)), "frames")?;
    let (context, mut time) = (Context::default(), 0.0);
    for open in [false, true] {
        println!("{}", if open { "all groups open" } else { "as the window opens" });
        let (key, modifiers) = (if open { Key::CloseBracket } else { Key::Escape }, Modifiers::NONE);
        let press = Event::Key { key, physical_key: None, pressed: true, repeat: false, modifiers };
        frame(&mut viewer, &context, &mut time, vec![press]);
        for zoom in [1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 1e4, 1e5] {
            let span = end / zoom;
            let before = cpu_millis()?;
            for step in 0..FRAMES {
                let start = (end - span) * 0.4 + span * 0.001 * f64::from(step);
                viewer.show_range(Window::new(start, span));
                frame(&mut viewer, &context, &mut time, Vec::new());
            }
            println!("  zoom {zoom:>6}: {:6.2} ms", (cpu_millis()? - before) / f64::from(FRAMES));
        }
    }
    Ok(())
}
