//! See `fata_fuzz::xenstore`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::xenstore(bytes));
