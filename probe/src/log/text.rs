//! Text into words: what `Display` and `Debug` write goes straight into a record, NUL-terminated and NUL-padded.
//!
//! When there is no more room the text ends with `…` in place of what would have been too much, between two characters, and
//! nothing more is taken. A NUL within it becomes U+001A (substitute).

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use fata_wire::log::CUT;

use crate::bytes::{without_nul, word_of};

/// A text that is being written into words.
pub(crate) struct Text<'a> {
    words: &'a [AtomicU64],
    len: usize,
    /// The word that is not full yet.
    word: u64,
    cut: bool,
}

impl<'a> Text<'a> {
    /// An empty text, for which there is all of `words`, at least one.
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Text { words, len: 0, word: 0, cut: false }
    }

    /// Ends the text and returns how many words it took, and whether it was cut.
    pub(crate) fn end(self) -> (usize, bool) {
        self.put(self.word);
        (self.len / 8 + 1, self.cut)
    }

    /// Adds as much of `text` as there is room for.
    #[inline]
    pub(crate) fn add(&mut self, text: &str) {
        if self.cut {
            return;
        }
        // The last byte is the NUL's.
        let room = (self.words.len() * 8 - 1).saturating_sub(self.len);
        if text.len() <= room {
            self.bytes(text.as_bytes());
        } else {
            self.cut_at(text, room);
        }
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        let shift = self.len % 8 * 8;
        let (whole, rest) = bytes.as_chunks::<8>();
        if !whole.is_empty() {
            self.whole(whole, shift);
        }
        let word = without_nul(word_of(rest), rest.len());
        self.word |= word << shift;
        if shift / 8 + rest.len() >= 8 {
            self.put(self.word);
            self.word = carried(word, shift);
        }
        self.len += rest.len();
    }

    /// Adds whole words of text, each of which ends in the next word where the text so far has ended within one.
    #[inline]
    fn whole(&mut self, whole: &[[u8; 8]], shift: usize) {
        let mut open = self.word;
        for (slot, chunk) in self.words.get(self.len / 8..).unwrap_or(&[]).iter().zip(whole) {
            let word = without_nul(u64::from_le_bytes(*chunk), 8);
            slot.store(open | word << shift, Ordering::Relaxed);
            open = carried(word, shift);
        }
        self.word = open;
        self.len += 8 * whole.len();
    }

    /// Stores the word that the text's end lies in.
    fn put(&self, word: u64) {
        self.words.get(self.len / 8).inspect(|slot| slot.store(word, Ordering::Relaxed));
    }

    #[cold]
    fn cut_at(&mut self, text: &str, room: usize) {
        self.cut = true;
        let fits = room.saturating_sub(CUT.len());
        if fits > 0 || room >= CUT.len() {
            self.bytes(&text.as_bytes()[..text.floor_char_boundary(fits)]);
        } else {
            self.back_to((self.words.len() * 8 - 1).saturating_sub(CUT.len()));
        }
        self.bytes(CUT.as_bytes());
    }

    /// Takes back what lies after byte `len`, and before it the rest of a character.
    fn back_to(&mut self, len: usize) {
        let byte = |at: usize| {
            let word = if at / 8 == self.len / 8 {
                self.word
            } else {
                self.words.get(at / 8).map_or(0, |word| word.load(Ordering::Relaxed))
            };
            word.to_le_bytes()[at % 8]
        };
        let mut end = len.min(self.len);
        // The bytes of a character after its first begin with the bits 10.
        while end > 0 && end < self.len && byte(end) & 0xc0 == 0x80 {
            end -= 1;
        }
        let kept: u64 = (0..end % 8).fold(0, |word, i| word | u64::from(byte(end / 8 * 8 + i)) << (8 * i));
        self.word = kept;
        self.len = end;
    }
}

/// What of `word` was shifted out of the word that it was added to.
#[inline(always)]
fn carried(word: u64, shift: usize) -> u64 {
    // In two steps, since all 64 bits cannot be shifted out in one.
    word >> (56 - shift) >> 8
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text);
        // An error ends the formatting of what would not be kept.
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn written(parts: &[&str], words: usize) -> (String, bool) {
        let memory: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
        let mut text = Text::new(&memory);
        parts.iter().for_each(|part| text.add(part));
        let (used, cut) = text.end();
        let bytes: Vec<u8> =
            memory[..used].iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or_else(|| panic!("no NUL in {bytes:?}"));
        assert!(bytes[end..].iter().all(|&byte| byte == 0) && end / 8 + 1 == used);
        (String::from_utf8(bytes[..end].to_vec()).unwrap_or_default(), cut)
    }

    #[test]
    fn parts_become_one_text_whatever_their_lengths() {
        for cut in 0..=17 {
            let whole = "seventeen letters";
            assert_eq!(written(&[&whole[..cut], &whole[cut..]], 4), (whole.into(), false));
        }
        assert_eq!(written(&["a\0b"], 1), ("a\x1ab".into(), false));
        assert_eq!(written(&["12345678\0", "1234567\0"], 4), ("12345678\x1a1234567\x1a".into(), false));
        assert_eq!(written(&[""], 1), (String::new(), false));
    }

    #[test]
    fn a_text_too_long_is_cut_between_two_characters_and_marked() {
        for words in 1..4 {
            let room = words * 8 - 1;
            assert_eq!(written(&[&"x".repeat(room)], words), ("x".repeat(room), false));
            let cut = ("x".repeat(room - 3) + CUT, true);
            assert_eq!(written(&[&"x".repeat(room + 1)], words), cut);
            assert_eq!(written(&[&"x".repeat(room), "x"], words), cut);
            assert_eq!(written(&[&"x".repeat(room - 1), "xx"], words), cut);
            assert_eq!(written(&[&"x".repeat(room), "x", "more"], words), cut);
        }
        assert_eq!(written(&["ab€€€"], 1), ("ab…".into(), true));
        assert_eq!(written(&["ab€a", "€"], 1), ("ab…".into(), true));
        assert_eq!(written(&["abc€", "€"], 1), ("abc…".into(), true));
    }
}
