//! Memory for the heap, from the process.

use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

/// At least `len_bytes` more memory, for ever, or `None` where there is none. The memory may or may not follow what was
/// given before.
pub fn grow(len_bytes: usize) -> Option<NonNull<[u8]>> {
    let mut bytes: Vec<u8> = Vec::new();
    bytes.try_reserve_exact(len_bytes).ok()?;
    bytes.resize(len_bytes, 0);
    Some(NonNull::from(Box::leak(bytes.into_boxed_slice())))
}
