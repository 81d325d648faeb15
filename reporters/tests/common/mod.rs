//! What the tests with receivers at the other end have in common.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod rsyslog;
#[path = "../../../tests/src/skipped.rs"]
#[allow(clippy::duplicate_mod, reason = "a test of the command has these receivers beside its own helpers")]
pub(crate) mod skipped;

use std::time::{Duration, Instant};

use fata_reporters::reporter::ReportError;

/// Longer than anything takes that is to come about.
pub(crate) const PLENTY: Duration = Duration::from_secs(30);

/// Waits until it holds, for [`PLENTY`].
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PLENTY, "it did not come about that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Hears of trouble and says nothing: it is what these tests are about.
pub(crate) fn quiet(_: &str, _: Option<&ReportError>) {}
