//! End-to-end tests.

pub mod image;
pub mod skipped;
