//! From a started process to a running guest.
//!
//! The trace ring comes first, so that all else is recorded.

use fata_probe::{Nanos, instant, span};

use super::{clock, power, trace};
use crate::{Boot, Main};

/// Runs `main` as the guest `name` with the parameters `args` (`key=value` words), then ends the process.
///
/// The calling thread becomes the guest's CPU. `ring_mib=` sets the length of the trace ring. Where no ring can be made the
/// process ends with a sentence and the code 100; a panic of any thread ends it with 101.
pub fn start(name: &str, args: &str, main: Main) -> ! {
    let entered = clock::now();
    let ring_mib = args
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("ring_mib="))
        .map(|text| text.parse().unwrap_or_else(|_| power::refuse("the boot parameter `ring_mib=` is not a number")))
        .next_back();
    trace::start(name, ring_mib).unwrap_or_else(|error| power::refuse(&error));
    power::end_at_panic();
    instant!("boot.entry", since_entry = Nanos(clock::now() - entered), args = args);
    trace::describe("args", args);
    {
        let _span = span!("boot.clock");
        trace::calibrate();
    }
    instant!("boot.main", since_entry = Nanos(clock::now() - entered));
    crate::run(Boot { name, args }, main);
    power::exit(0)
}
