//! Text as words, eight bytes at a time.
//!
//! Invariant: no byte of a text is zero in the words, since NUL ends it there; one that is becomes U+001A (substitute).

/// Fewer than eight bytes as a word, the first lowest, zeros behind them.
#[inline(always)]
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    debug_assert!(len < 8, "the rest of a text");
    // Two loads that overlap hold all bytes, and no loop is needed.
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (len - 4));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        let (first, last) = (u16::from_le_bytes(*first), u16::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (len - 2));
    }
    bytes.first().map_or(0, |&byte| u64::from(byte))
}

/// The word of `len` bytes, at most eight, in which NULs are substituted.
#[inline(always)]
pub(crate) fn without_nul(word: u64, len: usize) -> u64 {
    let behind = if len < 8 { u64::MAX << (8 * len) } else { 0 };
    if has_zero(word | behind) { substituted(word, len) } else { word }
}

/// Whether a byte of the word is zero, by the borrow that it makes.
#[inline(always)]
pub(crate) const fn has_zero(word: u64) -> bool {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080 != 0
}

#[cold]
#[inline(never)]
fn substituted(word: u64, len: usize) -> u64 {
    let mut bytes = word.to_le_bytes();
    bytes.iter_mut().take(len).filter(|byte| **byte == 0).for_each(|byte| *byte = 0x1a);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_becomes_the_word_that_single_bytes_make_and_no_nul_is_left() {
        let bytes = *b"\x01\xff\0abc\0\x80\x09";
        for len in 0..=8 {
            let single = bytes.iter().take(len).enumerate();
            let word = single.clone().fold(0, |word, (i, &byte)| word | u64::from(byte) << (8 * i));
            assert!(len == 8 || word_of(&bytes[..len]) == word, "{len}");
            let substituted =
                single.fold(0, |word, (i, &byte)| word | u64::from(if byte == 0 { 0x1a } else { byte }) << (8 * i));
            assert_eq!(without_nul(word, len), substituted, "{len}");
        }
    }
}
