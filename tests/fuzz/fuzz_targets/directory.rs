//! See `fata_fuzz::directory`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::directory(bytes));
