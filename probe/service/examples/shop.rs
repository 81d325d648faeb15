//! An ordinary program with threads, spans and both ways of logging, of which Fata is one line:
//!
//! ```text
//! cargo run -p fata-service --example shop &
//! fata log shop --follow
//! ```

use std::error::Error;
use std::fmt;
use std::thread;
use std::time::Duration;

use tracing::{debug, error, info, info_span, instrument, warn};

/// What went wrong with an order.
#[derive(Debug)]
struct SoldOut(u64);

impl fmt::Display for SoldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "article {} is sold out", self.0)
    }
}

impl Error for SoldOut {}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let _fata = fata_service::start("shop")?;
    let orders = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(20);
    info!(target: "app", orders, "the shop opens");
    let clerks: Vec<_> = (0..8)
        .map(|number| thread::Builder::new().name(format!("clerk-{number}")).spawn(move || serve(number, orders)))
        .collect::<Result<_, _>>()?;
    for clerk in clerks {
        clerk.join().map_err(|_| "a clerk panicked")?;
    }
    info!(target: "app", "the shop closes");
    Ok(())
}

fn serve(clerk: u64, orders: u64) {
    for order in 0..orders {
        let _order = info_span!("order", clerk, order).entered();
        if let Err(error) = sell(clerk * 10 + order) {
            error!(error = &error as &dyn Error, "not sold");
        }
        thread::sleep(Duration::from_millis(5));
    }
    // A library that uses the crate `log` is heard as well.
    log::warn!(target: "till", "clerk {clerk} has served {orders} customers");
}

#[instrument(level = "debug")]
fn sell(article: u64) -> Result<(), SoldOut> {
    debug!(article, "looking into the shelf");
    if article > 0 && article.is_multiple_of(13) {
        return Err(SoldOut(article));
    }
    if article > 80 {
        warn!(left = 90u64.saturating_sub(article), "running low");
    }
    Ok(())
}
