//! See `fata_fuzz::header_page`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::header_page(bytes));
