//! See `fata_fuzz::vchan`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::vchan(bytes));
