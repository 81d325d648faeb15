//! The platform's own tasks: there are none.

use crate::Guest;

/// Starts nothing.
pub(crate) fn start(_guest: &Guest) {}
