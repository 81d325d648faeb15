//! From a trace and a time range to a list of things to draw: pure functions that know no window and no toolkit.

mod arrows;
pub mod describe;
pub mod display;
mod flows;
pub mod format;
pub mod lanes;
pub mod layout;
pub mod names;
pub mod pick;
pub mod projection;
mod rows;
pub mod ruler;
mod said;
pub mod search;
