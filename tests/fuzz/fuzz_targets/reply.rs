//! See `fata_fuzz::reply`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::reply(bytes));
