//! See `fata_fuzz::grants`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::grants(bytes));
