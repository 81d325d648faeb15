//! A test that cannot be done here says so aloud; where nothing may be left out, that is its failure.
//!
//! ```ignore
//! if !is_installed("gdb") {
//!     return skipped("gdb is not installed");
//! }
//! ```
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the tests of other packages have it as a module of their own, and use a part"
)]

/// Says that the test is left out, and why. `tests/run` lists it.
///
/// # Panics
/// With `CI=true`, where everything must be there.
pub fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    std::eprintln!("SKIPPED: {why}");
}

/// Whether what boots a machine is left out: `tests/run quick`, which says so itself.
#[must_use]
pub fn is_quick() -> bool {
    std::env::var("FATA_TEST_QUICK").is_ok_and(|quick| !quick.is_empty())
}
