//! See `fata_fuzz::metadata`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::metadata(bytes));
