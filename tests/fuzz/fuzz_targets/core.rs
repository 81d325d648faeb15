//! See `fata_fuzz::core`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::core(bytes));
