//! Runs a sample as an ordinary process: `cargo run -p fata-samples --example guest --features profiling -- hello`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: fata_kernel::heap::Allocator = fata_kernel::heap::Allocator;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(sample) = args.next().and_then(|name| fata_samples::find(&name)) else {
        eprintln!("which sample? One of:");
        for sample in fata_samples::SAMPLES {
            eprintln!("  {:12} {}", sample.name, sample.about);
        }
        return ExitCode::from(2);
    };
    let args: Vec<String> = args.collect();
    fata_kernel::platform::boot::start(sample.name, &args.join(" "), sample.main)
}
