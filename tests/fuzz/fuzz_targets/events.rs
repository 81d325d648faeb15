//! See `fata_fuzz::events`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::events(bytes));
