//! Properties of every decoder: what was written is read back, and no bytes at all make one panic, read outside of them, or
//! give more than the bytes can hold.
//!
//! Bytes are of three sorts: noise, what a writer makes, and what a writer made with a few bytes changed, cut or repeated,
//! which comes deepest. `PROPTEST_CASES` sets how many cases each property is tried on.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use proptest::prelude::*;

mod events;
mod header;
mod mutations;
mod packets;
mod records;
mod requests;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z._]{0,24}", "\\PC{0,60}", any::<String>(), "[\"*\\\\/\n ]{0,8}"]
}

fn pick<T: Copy + std::fmt::Debug>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(|i| all[i])
}
