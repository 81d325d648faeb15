//! See `fata_fuzz::packet`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::packet(bytes));
