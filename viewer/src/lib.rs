//! The desktop timeline of Fata.
#![forbid(unsafe_code)]

pub mod commands;
pub mod paint;
pub mod view;
