//! An ordinary program that says itself where its log goes; its libraries only say things:
//!
//! ```text
//! cargo run -p fata-service --features reporters --example reports
//! cargo run -p fata-service --features reporters --example reports -- 'file:/tmp/bakery.log,rotate=10M and syslog:/dev/log'
//! ```
//! `fata log bakery` and `fata view bakery` see the program all the same.

use std::error::Error;
use std::thread;
use std::time::Duration;

use tracing::{debug, info, warn};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (place, loaves) = (words.next(), words.next().and_then(|word| word.parse().ok()).unwrap_or(5));
    let _fata = fata_service::builder("bakery").report(place.as_deref().unwrap_or("console"))?.start()?;
    info!(target: "app", loaves, "the bakery opens");
    let bakers: Vec<_> = (0..4)
        .map(|number| thread::Builder::new().name(format!("baker-{number}")).spawn(move || bake(number, loaves)))
        .collect::<Result<_, _>>()?;
    for baker in bakers {
        baker.join().map_err(|_| "a baker panicked")?;
    }
    info!(target: "app", "the bakery closes");
    Ok(())
}

fn bake(baker: u64, loaves: u64) {
    for loaf in 0..loaves {
        debug!(baker, loaf, "kneading");
        info!(baker, loaf, "a loaf is ready");
        thread::sleep(Duration::from_millis(1));
    }
    warn!(target: "oven", baker, "out of flour");
}
