//! See `fata_fuzz::stream`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::stream(bytes));
