//! The trace format of Fata, both directions: what a probe writes into shared memory, and what every receiver reads.
//!
//! 1. **One set of bytes.** Guest memory, socket and file hold the same CTF 1.8 packets; a dead guest's memory is a trace.
//! 2. **Views judge, nothing else does.** Every function that sees guest or file bytes returns a named error for what it
//!    cannot accept; nothing here panics on input, allocates, or contains `unsafe`.
//! 3. **Both sides use the same names**, so that a grep finds the writer and the reader of a field together.
//!
//! | module | what it is the format of |
//! |---|---|
//! | [`event`] | one event: a header word, then payload words |
//! | [`packet`] | a CTF packet, which is also a sub-buffer of the ring |
//! | [`repair`] | turning a packet copied from live memory into a well-formed one |
//! | [`field`] | kinds, levels, field types, units, and where a field's value lies |
//! | [`log`] | a log record's first fields, and the account of a log stream |
//! | [`describe`] | the append-only description area: callsites, names, environment |
//! | [`shared`] | the shared memory: header page, control page, ring pages |
//! | [`request`] | what a host may ask of a guest, and the mailboxes for it |
//! | [`grants`] | how a Xen guest lists the pages of its shared memory |
//! | [`metadata`] | the same description as CTF's TSDL text, written and read back |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod describe;
pub mod event;
pub mod field;
pub mod grants;
pub mod log;
pub mod metadata;
pub mod numbers;
pub mod packet;
pub mod repair;
pub mod request;
pub mod shared;

/// The format's version: `major << 16 | minor`. A reader refuses another major and accepts any minor.
pub const VERSION: u32 = 1 << 16;

/// Reads the little-endian `u64` at `offset`, or 0 where the bytes end before it.
///
/// Every caller has checked the length before; the total function keeps panics out of the decoders.
#[must_use]
#[inline]
pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    match bytes.get(offset..).and_then(<[u8]>::first_chunk::<8>) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Reads the little-endian `u32` at `offset`, or 0 where the bytes end before it.
#[must_use]
#[inline]
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    match bytes.get(offset..).and_then(<[u8]>::first_chunk::<4>) {
        Some(chunk) => u32::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Reads the little-endian `u16` at `offset`, or 0 where the bytes end before it.
#[must_use]
pub fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    match bytes.get(offset..).and_then(<[u8]>::first_chunk::<2>) {
        Some(chunk) => u16::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Stores `value` little-endian at `offset`; does nothing where the bytes end before it.
pub fn put_u64(bytes: &mut [u8], offset: usize, value: u64) {
    if let Some(chunk) = bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut::<8>) {
        *chunk = value.to_le_bytes();
    }
}

/// Stores `value` little-endian at `offset`; does nothing where the bytes end before it.
pub fn put_u32(bytes: &mut [u8], offset: usize, value: u32) {
    if let Some(chunk) = bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *chunk = value.to_le_bytes();
    }
}

/// A trace's number, of 16 random bytes: version 4, variant 1, as RFC 9562 asks of random ones.
#[must_use]
pub const fn uuid_of_random(mut random: [u8; 16]) -> [u8; 16] {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    random
}
