//! Numbers in as many bits as the largest of them needs, eight at a time.
//!
//! Invariant: up to 16 bits every width is possible; above, an even one up to 32, so that four numbers fill whole bytes; then
//! 64. Whoever reads eight numbers may read [`PAD`] bytes beyond their end: a list of them ends with so many bytes of padding.
//!
//! ```text
//! width 6: 4 numbers in 3 bytes   aaaaaa bb|bbbb cccc|cc dddddd
//! ```

use super::FAN_OUT;

/// Bytes that a list of packed numbers ends with, so that eight numbers are two loads.
pub(crate) const PAD: usize = 16;

/// Eight numbers.
pub(crate) type Eight = [u64; FAN_OUT];

/// Bits of each number: 0 to 16, an even number up to 32, or 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Width(u8);

impl Width {
    const WIDE: u8 = 64;

    /// The width for numbers of which `all` has all bits that any of them has.
    #[inline]
    pub(crate) fn of(all: u64) -> Self {
        match (u64::BITS - all.leading_zeros()).to_le_bytes()[0] {
            bits @ 0..=16 => Width(bits),
            bits @ 17..=32 => Width(bits.next_multiple_of(2)),
            _ => Width(Self::WIDE),
        }
    }

    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// From the low seven bits of a word.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Width(bits.to_le_bytes()[0] & 0x7f)
    }

    #[inline]
    pub(crate) const fn is_wide(self) -> bool {
        self.0 >= Self::WIDE
    }

    /// The bytes that so many numbers take.
    #[inline]
    pub(crate) const fn bytes(self, count: usize) -> usize {
        (self.0 as usize * count).div_ceil(8)
    }
}

/// Packs the first `count` numbers at `at`; the others must be 0. Up to [`PAD`] bytes beyond them become 0; what does not fit
/// is not written. Returns where they end.
#[inline]
pub(crate) fn put(bytes: &mut [u8], at: usize, width: Width, numbers: &Eight, count: usize) -> usize {
    let bits = width.bits();
    if bits > 16 {
        put_long(bytes, at, width, numbers, count);
    } else {
        let [a, b, c, d, e, f, g, h] = *numbers;
        let low = (a | b << bits) | (c | d << bits) << (2 * bits);
        let high = (e | f << bits) | (g | h << bits) << (2 * bits);
        put_words(bytes, at, u128::from(low) | u128::from(high) << (4 * bits));
    }
    at + width.bytes(count)
}

#[inline(never)]
fn put_long(bytes: &mut [u8], at: usize, width: Width, numbers: &Eight, count: usize) {
    let bits = width.bits();
    if width.is_wide() {
        for (i, &number) in numbers.iter().enumerate().take(count) {
            put_word(bytes, at + 8 * i, number);
        }
        return;
    }
    for (half, [a, b, c, d]) in numbers.as_chunks().0.iter().enumerate().take(count.div_ceil(4)) {
        let all = u128::from(a | b << bits) | u128::from(c | d << bits) << (2 * bits);
        put_words(bytes, at + half * width.bytes(4), all);
    }
}

/// Stores sixteen bytes at `at`, where there is room for them.
#[inline]
fn put_words(bytes: &mut [u8], at: usize, words: u128) {
    if let Some(place) = bytes.get_mut(at..at + 16) {
        place.copy_from_slice(&words.to_le_bytes());
    }
}

/// Stores eight bytes at `at`, where there is room for them.
#[inline]
fn put_word(bytes: &mut [u8], at: usize, word: u64) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// The eight numbers at `at`; zeros beyond the end. Where fewer were put there, the first of them are those.
#[inline]
pub(crate) fn eight(bytes: &[u8], at: usize, width: Width) -> Eight {
    let bits = width.bits();
    if bits <= 16 {
        let mask = (1 << bits) - 1;
        let (first, second) = (word(bytes, at), word(bytes, at + 8));
        let high = (first >> (2 * bits)) >> (2 * bits) | second.wrapping_shl(64 - 4 * bits);
        let of = |word: u64, i: u32| word >> (i * bits) & mask;
        [of(first, 0), of(first, 1), of(first, 2), of(first, 3), of(high, 0), of(high, 1), of(high, 2), of(high, 3)]
    } else if bits <= 32 {
        let mask = (1 << bits) - 1;
        let four = |at: usize| {
            let (first, second) = (word(bytes, at), word(bytes, at + 8));
            let high = (first >> bits) >> bits | second << ((64 - 2 * bits) & 63);
            [first & mask, first >> bits & mask, high & mask, high >> bits & mask]
        };
        let ([a, b, c, d], [e, f, g, h]) = (four(at), four(at + width.bytes(4)));
        [a, b, c, d, e, f, g, h]
    } else {
        let mut numbers = [0; FAN_OUT];
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = word(bytes, at + 8 * i);
        }
        numbers
    }
}

/// The eight bytes at `at`; zeros beyond the end.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|place| place.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn numbers_of_every_width_and_count_come_back_and_end_where_their_bits_end() {
        let mut random = Random::new(4);
        for bits in 0..=64 {
            let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            for count in 0..=FAN_OUT {
                let mut numbers = [0; FAN_OUT].map(|_: u64| random.next_u64() & mask);
                numbers[count..].fill(0);
                let width = Width::of(numbers.iter().fold(0, |all, number| all | number));
                let mut bytes = [0; 1 + 64 + PAD];
                bytes[0] = 7;
                let end = put(&mut bytes, 1, width, &numbers, count);
                assert_eq!(end, 1 + width.bytes(count));
                bytes[end..].fill(0xff);
                assert_eq!(eight(&bytes, 1, width)[..count], numbers[..count], "{bits} bits, {count}");
                assert_eq!((bytes[0], Width::from_bits(width.bits())), (7, width));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_neither_written_nor_read() {
        let mut bytes = [0; 20];
        put(&mut bytes, 8, Width::of(u64::MAX), &[u64::MAX; FAN_OUT], FAN_OUT);
        assert_eq!(bytes[16..], [0; 4]);
        assert_eq!(eight(&bytes, 8, Width::of(u64::MAX)), [u64::MAX, 0, 0, 0, 0, 0, 0, 0]);
    }
}
