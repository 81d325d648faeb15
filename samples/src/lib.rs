//! The sample unikernels, one short file each. They know the kernel and the probes, and nothing of the platform.
#![no_std]

extern crate alloc;

mod chatter;
mod churn;
mod echo;
mod fetch;
mod hello;
mod http;
mod iperf;
mod lost_wakeup;
mod ring_deadlock;

use alloc::boxed::Box;
use fata_kernel::Main;

/// A sample unikernel.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What it is called by.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// Its program.
    pub main: Main,
}

/// All samples.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "hello",
        about: "a few tasks that sleep, meet and say hello",
        main: |guest| Box::pin(hello::main(guest)),
    },
    Sample { name: "http", about: "an HTTP/1.1 server on port 80", main: |guest| Box::pin(http::main(guest)) },
    Sample {
        name: "echo",
        about: "sends back whatever comes to port 7, over UDP and TCP",
        main: |guest| Box::pin(echo::main(guest)),
    },
    Sample { name: "iperf", about: "what iperf3 -c measures against", main: |guest| Box::pin(iperf::main(guest)) },
    Sample {
        name: "fetch",
        about: "an HTTP client: asks another guest, over and over",
        main: |guest| Box::pin(fetch::main(guest)),
    },
    Sample {
        name: "churn",
        about: "phases of allocation: growing, replacing, punching holes, freeing",
        main: |guest| Box::pin(churn::main(guest)),
    },
    Sample {
        name: "chatter",
        about: "a log: every level, spans, now and then an error with its causes, and one that nobody reads",
        main: |guest| Box::pin(chatter::main(guest)),
    },
    Sample {
        name: "lost-wakeup",
        about: "a condition is signalled before its waiter waits, and a promise is never resolved",
        main: |guest| Box::pin(lost_wakeup::main(guest)),
    },
    Sample {
        name: "ring-deadlock",
        about: "packets take the slots of a shared ring one by one, until each holds some and none gets the rest",
        main: |guest| Box::pin(ring_deadlock::main(guest)),
    },
];

/// The sample called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fata_kernel::Boot;

    #[test]
    fn every_sample_but_the_servers_runs_to_its_end() {
        // The servers have none.
        for sample in SAMPLES.iter().filter(|sample| !["http", "echo", "iperf"].contains(&sample.name)) {
            fata_kernel::run(Boot { name: sample.name, args: "" }, sample.main);
        }
    }
}
