//! From a started process to a running guest.

use super::power;
use crate::{Boot, Main};

/// Runs `main` as the guest `name` with the parameters `args` (`key=value` words), then ends the process.
pub fn start(name: &str, args: &str, main: Main) -> ! {
    crate::run(Boot { name, args }, main);
    power::exit(0)
}
