//! The sample unikernels, one short file each. They know the kernel and the probes, and nothing of the platform.
#![no_std]

extern crate alloc;

mod hello;
mod http;

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
    fn hello_says_good_bye() {
        let hello = find("hello").unwrap();
        fata_kernel::run(Boot { name: hello.name, args: "" }, hello.main);
    }
}
