//! From a started process to a running guest.
//!
//! The trace ring comes first, so that all else is recorded.

use std::format;

use fata_probe::{Bytes, Nanos, instant, span};

use super::{clock, ending, fault, memory, net, power, trace};
use crate::{Boot, Main, heap, logs};

/// The heap may grow so far unless the boot parameter `heap_mib=` says otherwise.
const DEFAULT_HEAP_MIB: u64 = 1024;

/// Runs `main` as the guest `name` with the parameters `args` (`key=value` words), then ends the process.
///
/// The calling thread becomes the guest's CPU. `ring_mib=` sets the length of the trace ring, `heap_mib=` that of the heap.
/// [`net`] tells what plugs a network in, `log=` and its like what sets the log's rules; so does the environment variable `FATA_LOG`.
/// Where the guest cannot start the process ends with a sentence and the code 100; a panic of any thread ends it with 101.
pub fn start(name: &str, args: &str, main: Main) -> ! {
    let entered = clock::now();
    trace::start(name, number(args, "ring_mib"), number(args, "log_kib")).unwrap_or_else(|error| power::refuse(&error));
    power::end_at_panic();
    fault::seal_at_fault();
    ending::seal_when_asked();
    instant!("boot.entry", since_entry = Nanos(clock::now() - entered), args = args);
    logs::start(args, std::env::var("FATA_LOG").ok().as_deref()).unwrap_or_else(|error| power::refuse(&error));
    trace::describe("args", args);
    {
        let _span = span!("boot.memory");
        let wanted_mib = number(args, "heap_mib").unwrap_or(DEFAULT_HEAP_MIB).clamp(1, 1 << 20);
        let bytes = memory::start(usize::try_from(wanted_mib << 20).unwrap_or(usize::MAX));
        if bytes == 0 {
            power::refuse("the operating system gives no memory for the heap");
        }
        heap::adopt();
        instant!("boot.heap", limit = Bytes(bytes as u64));
    }
    {
        let _span = span!("boot.clock");
        trace::calibrate();
    }
    {
        let _span = span!("boot.devices");
        net::plug(args).unwrap_or_else(|error| power::refuse(&error));
    }
    instant!("boot.main", since_entry = Nanos(clock::now() - entered));
    crate::run(Boot { name, args }, main);
    power::exit(0)
}

/// The boot parameter `key`, the last one where it is given twice.
fn number(args: &str, key: &str) -> Option<u64> {
    let text =
        args.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).next_back()?;
    Some(text.parse().unwrap_or_else(|_| power::refuse(&format!("the boot parameter `{key}={text}` is not a number"))))
}
