//! See `fata_fuzz::mailbox`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fata_fuzz::mailbox(bytes));
