//! See `fata_fuzz::frames`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::frames(bytes));
