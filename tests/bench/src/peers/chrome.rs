//! `tracing` with `tracing-chrome`, whose own thread writes JSON into a writer that only counts.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::layer::SubscriberExt;

use super::Server;
use crate::case::timed;

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    flushes: AtomicU64,
}

struct Counter(Arc<Counts>);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        // Release: pairs with the Acquire below, which then sees all the bytes counted.
        self.0.flushes.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

/// Installs the layer.
pub(super) fn server() -> Result<Server, String> {
    let counts = Arc::new(Counts::default());
    let (layer, guard) = tracing_chrome::ChromeLayerBuilder::new().writer(Counter(counts.clone())).build();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .map_err(|error| error.to_string())?;
    let mut made = 0;
    Ok(Box::new(move |events| {
        let flushes = counts.flushes.load(Ordering::Relaxed);
        let nanos = timed!(events, 1, |i| {
            let _span = tracing::info_span!("bench.span").entered();
        });
        made += events;
        guard.flush();
        // Acquire: see `Counter::flush`.
        while counts.flushes.load(Ordering::Acquire) == flushes {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let bytes = counts.bytes.load(Ordering::Relaxed) as f64 / made as f64;
        Ok((nanos, Some(bytes)))
    }))
}
