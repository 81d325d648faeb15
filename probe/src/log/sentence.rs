//! A text of bounded length that is put together where nothing may be allocated.
//!
//! When it is full it ends with `…` in place of what would have been too much, between two characters, and takes no more.

use core::fmt;

use fata_wire::log::CUT;

/// A text of at most `BYTES` bytes.
pub(crate) struct Sentence<const BYTES: usize> {
    bytes: [u8; BYTES],
    len: usize,
    is_cut: bool,
}

impl<const BYTES: usize> Sentence<BYTES> {
    pub(crate) const fn new() -> Self {
        Sentence { bytes: [0; BYTES], len: 0, is_cut: false }
    }

    pub(crate) fn text(&self) -> &str {
        // `write_str` puts in whole characters only.
        core::str::from_utf8(self.bytes.get(..self.len).unwrap_or(&[])).unwrap_or("")
    }

    /// Whether there was more to say.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn add(&mut self, text: &str) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + text.len()) {
            room.copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
    }
}

impl<const BYTES: usize> fmt::Write for Sentence<BYTES> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        let room = BYTES - CUT.len() - self.len;
        let taken = text.floor_char_boundary(room);
        self.add(&text[..taken]);
        if taken < text.len() {
            self.is_cut = true;
            self.add(CUT);
            // An error ends the formatting of what would not be kept.
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn a_text_too_long_is_cut_between_two_characters_and_marked_once() {
        let mut sentence = Sentence::<100>::new();
        assert!(write!(sentence, "{}", "ß".repeat(100)).is_err());
        assert!(sentence.write_str("more").is_err());
        assert!(sentence.is_cut() && sentence.text().ends_with("ß…"), "{}", sentence.text());
        assert_eq!(sentence.text().len(), 99);
    }
}
