//! End-to-end tests.

pub mod image;
