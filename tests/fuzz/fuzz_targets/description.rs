//! See `fata_fuzz::description`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::description(bytes));
