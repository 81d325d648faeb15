//! What ten million log records cost: bytes each, and CPU milliseconds per frame while the list is scrolled, while a filter is
//! typed and looked for, and how long it takes until all is found.
//!
//! ```text
//! cargo run --release -p fata-viewer --example log -- 10000000
//! ```

use std::error::Error;
use std::time::Instant;

use egui::{Context, Pos2, RawInput, Rect, vec2};
use fata_model::ingest::{Ingest, Limits};
use fata_model::packets::{StreamWriter, UUID};
use fata_model::random::Random;
use fata_viewer::Source;
use fata_viewer::app::Viewer;
use fata_wire::describe::{Callsite, Record};
use fata_wire::event::EventId;
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit};
use fata_wire::log::{FIRST_FIELDS, MESSAGE};
use fata_wire::metadata;

const SITES: [(Level, &str); 5] = [
    (Level::Error, "disk"),
    (Level::Warn, "net.tcp"),
    (Level::Info, "http"),
    (Level::Debug, "net.tcp"),
    (Level::Debug, "heap"),
];

/// One frame of a 1920 × 1080 window; its CPU time in milliseconds.
fn frame(viewer: &mut Viewer, context: &Context, time: &mut f64) -> Result<f64, Box<dyn Error>> {
    *time += 1.0 / 60.0;
    let screen = Rect::from_min_size(Pos2::ZERO, vec2(1920.0, 1080.0));
    let input = RawInput { screen_rect: Some(screen), time: Some(*time), focused: true, ..RawInput::default() };
    let before = cpu_millis()?;
    let mut output = context.run_ui(input, |ui| viewer.ui(ui));
    output.textures_delta.clear();
    drop(context.tessellate(output.shapes, output.pixels_per_point));
    Ok(cpu_millis()? - before)
}

fn cpu_millis() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = text.split(' ').next().unwrap_or("").parse()?;
    Ok(nanos / 1e6)
}

fn main() -> Result<(), Box<dyn Error>> {
    let records: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let mut text = String::new();
    metadata::write_preamble(&mut text, UUID, &fata_model::synthetic::CLOCK)?;
    let mut fields = FIRST_FIELDS.to_vec();
    fields.push(Field { name: MESSAGE, ty: FieldType::Str, unit: Unit::None });
    for (id, (level, category)) in (8..).zip(SITES) {
        let fields = Fields::new(&fields);
        let site = Callsite { id, kind: Kind::Log, level, line: 1, category, name: "a.rs:1", file: "a.rs", fields };
        metadata::write_record(&mut text, &Record::Callsite(site))?;
    }
    let mut ingest = Ingest::new(Limits { field_bytes: 4 << 30, ..Limits::default() });
    ingest.metadata(&text)?;
    let (mut random, mut ticks, began) = (Random::new(1), 0, Instant::now());
    let mut writer = StreamWriter::new(0, 65_536);
    let (mut refused, mut numbers) = (0, [0; SITES.len()]);
    let mut sink = |packet: &[u8]| refused += u64::from(ingest.packet(packet).is_err());
    for _ in 0..records {
        ticks += random.below(20_000);
        let site = u16::try_from(random.below(SITES.len() as u64))?;
        let what = ["accepted from", "closed by the peer", "segment lost, sent again"];
        let mut said =
            format!("connection {} {}", random.below(5000), what[usize::try_from(random.below(3))?]).into_bytes();
        said.resize((said.len().max(40) / 8 + 1) * 8, 0);
        // By level, of which two sites have one.
        let number = &mut numbers[usize::from(site).min(3)];
        let mut payload = vec![*number];
        *number += 1;
        payload.extend(said.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)));
        writer.event(ticks, EventId::begin(8 + site), 1, &payload, &mut sink);
    }
    writer.seal(&mut sink);
    assert_eq!(refused, 0);
    let trace = ingest.finish();
    let bytes = trace.memory_bytes() as f64 / records as f64;
    println!(
        "{records} records: {bytes:.1} bytes each, fields and all; made and read in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let mut viewer = Viewer::new(Source::Trace(Box::new(trace)), "log")?;
    viewer.state_mut().panels.log = true;
    let (context, mut time) = (Context::default(), 0.0);
    for _ in 0..5 {
        frame(&mut viewer, &context, &mut time)?;
    }
    let mut scroll = 0.0;
    for step in 0..100u32 {
        viewer.state_mut().log.top = f64::from(step) * 0.01 * 1e7;
        scroll += frame(&mut viewer, &context, &mut time)? / 100.0;
    }
    println!("scrolling: {scroll:.2} ms per frame");
    for text in ["4", "42", "424", "sent", "sent again", "disk"] {
        text.clone_into(&mut viewer.state_mut().log.text);
        let (mut worst, mut all, mut frames): (f64, f64, u32) = (0.0, 0.0, 0);
        while frames == 0 || !viewer.is_log_searched() {
            let millis = frame(&mut viewer, &context, &mut time)?;
            (worst, all, frames) = (worst.max(millis), all + millis, frames + 1);
        }
        println!(
            "filter {text:?}: {} found after {frames} frames, {all:.0} ms of CPU; worst frame {worst:.2} ms",
            viewer.log_len()
        );
    }
    Ok(())
}
