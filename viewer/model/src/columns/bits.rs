//! Numbers in as many bits as the largest of them needs, four at a time.
//!
//! Invariant: a width is an even number of bits, so that four numbers fill whole bytes. Above 32 bits it is 64. Whoever
//! reads four numbers may read [`PAD`] bytes beyond their begin: a list of them ends with so many bytes of padding.
//!
//! ```text
//! width 6: 4 numbers in 3 bytes   aaaaaa bb|bbbb cccc|cc dddddd
//! ```

/// Bytes that a list of packed numbers ends with, so that four numbers are one load.
pub(crate) const PAD: usize = 16;

/// Half of the bits of each number, 0 to 16, or 32: also the bytes that four numbers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Width(u8);

impl Width {
    const WIDE: u8 = 32;
    /// Bits that hold a width.
    pub(crate) const BITS: u32 = 6;

    /// The width for numbers of which `all` has all bits that any of them has.
    #[inline]
    pub(crate) fn of(all: u64) -> Self {
        let half = (65 - all.leading_zeros()) / 2;
        Width(if half > 16 { Self::WIDE } else { u8::try_from(half).unwrap_or(Self::WIDE) })
    }

    #[inline]
    pub(crate) const fn code(self) -> u32 {
        self.0 as u32
    }

    /// From the low [`Width::BITS`] of a word.
    #[inline]
    pub(crate) const fn from_code(code: u32) -> Self {
        Width(code.to_le_bytes()[0] & 0x3f)
    }

    #[inline]
    pub(crate) const fn is_wide(self) -> bool {
        self.0 == Self::WIDE
    }

    /// The bytes that four numbers take.
    #[inline]
    pub(crate) const fn bytes(self) -> usize {
        self.0 as usize
    }
}

/// What is being packed; as long as a group can be.
pub(crate) struct Writer {
    bytes: [u8; 256],
    len: usize,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Writer { bytes: [0; 256], len: 0 }
    }

    /// What was written, and the padding.
    #[inline]
    pub(crate) fn padded(&self) -> &[u8] {
        self.bytes.get(..self.len + PAD).unwrap_or(&self.bytes)
    }

    /// Numbers of at most 8 bytes, of which the low `len` are kept.
    #[inline]
    pub(crate) fn word(&mut self, number: u64, len: usize) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + 8) {
            place.copy_from_slice(&number.to_le_bytes());
            self.len += len;
        }
    }

    /// Four numbers.
    #[inline]
    pub(crate) fn four(&mut self, width: Width, numbers: [u64; 4]) {
        if width.is_wide() {
            numbers.into_iter().for_each(|number| self.word(number, 8));
            return;
        }
        let bits = u32::from(width.0) * 2;
        let [a, b, c, d] = numbers;
        let all = u128::from(a | b << bits) | u128::from(c | d << bits) << (2 * bits);
        if let Some(place) = self.bytes.get_mut(self.len..self.len + 16) {
            place.copy_from_slice(&all.to_le_bytes());
            self.len += width.bytes();
        }
    }
}

/// The four numbers at `at`; zeros beyond the end.
#[inline]
pub(crate) fn four(bytes: &[u8], at: usize, width: Width) -> [u64; 4] {
    if width.is_wide() {
        return [word(bytes, at), word(bytes, at + 8), word(bytes, at + 16), word(bytes, at + 24)];
    }
    let bits = u32::from(width.0) * 2;
    let all = match bytes.get(at..at + 16).and_then(|place| place.try_into().ok()) {
        Some(place) => u128::from_le_bytes(place),
        None => 0,
    };
    let mask = (1u64 << (bits & 63)) - 1;
    let (low, high) = (low_half(all), low_half(all >> ((2 * bits) & 127)));
    [low & mask, (low >> (bits & 63)) & mask, high & mask, (high >> (bits & 63)) & mask]
}

/// The eight bytes at `at`; zeros beyond the end.
#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|place| place.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low_half(all: u128) -> u64 {
    all as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn numbers_of_every_width_come_back() {
        let mut random = Random::new(4);
        for bits in 0..=64 {
            let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            let numbers = [0; 4].map(|_: u64| random.next_u64() & mask);
            let width = Width::of(numbers.iter().fold(0, |all, number| all | number));
            let mut writer = Writer::new();
            writer.word(7, 1);
            writer.four(width, numbers);
            writer.word(9, 1);
            assert_eq!(four(writer.padded(), 1, width), numbers, "{bits} bits");
            assert_eq!(word(writer.padded(), 1 + width.bytes()) & 0xff, 9);
            assert_eq!(Width::from_code(width.code()), width);
        }
    }
}
