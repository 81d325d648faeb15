//! From a trace and a time range to a list of things to draw: pure functions that know no window and no toolkit.

pub mod display;
pub mod format;
pub mod projection;
pub mod ruler;
