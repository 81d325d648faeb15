//! Untrusted bytes as text that no terminal interprets, and texts of bounded length.
//!
//! Invariant: what [`Escaped`] shows is one line of printable characters, whatever the bytes were: control characters
//! (those of C1 too), line separators, characters that turn the writing direction, and bytes that are not UTF-8 appear as
//! escapes. A [`Text`] never grows: when it is full the rest is cut off, and its last character `…` says so.
//!
//! ```
//! use fata_reporters::text::Escaped;
//! assert_eq!(Escaped(b"red \x1b[31m\n\xff").to_string(), r"red \x1b[31m\n\xff");
//! ```

use core::fmt::{self, Write};

/// Shows bytes that somebody else wrote.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_escaped(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Writes `text` with everything escaped that is not to reach a terminal.
///
/// # Errors
/// Those of `out`.
pub fn write_escaped(out: &mut (impl Write + ?Sized), text: &str) -> fmt::Result {
    // Whole runs of harmless characters go out as one.
    let mut rest = text;
    while let Some(at) = rest.find(is_interpreted) {
        let (harmless, from) = rest.split_at(at);
        out.write_str(harmless)?;
        let mut chars = from.chars();
        match chars.next() {
            Some('\n') => out.write_str("\\n")?,
            Some('\r') => out.write_str("\\r")?,
            Some('\t') => out.write_str("\\t")?,
            Some(c) if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c))?,
            Some(c) => write!(out, "\\u{{{:x}}}", u32::from(c))?,
            None => {}
        }
        rest = chars.as_str();
    }
    out.write_str(rest)
}

/// Whether a terminal, or the eye behind it, does something else with `c` than see it.
#[must_use]
pub fn is_interpreted(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text of at most `N` bytes (and 65,535), which needs no allocation; the rest is cut off, and the mark `…` says so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u16,
    cut: bool,
}

const MARK: &str = "…";

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Text { bytes: [0; N], len: 0, cut: false };

    /// What `value` displays.
    #[must_use]
    pub fn of(value: impl fmt::Display) -> Self {
        let mut text = Self::EMPTY;
        // The only error is that of a `Display` that gives up; what it wrote before is the best there is.
        let _ = write!(text, "{value}");
        text
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len()).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
    }

    /// Whether something was cut off.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Makes a line that was cut a line again: it ends with the mark and a newline.
    pub fn end_cut_line(&mut self) {
        if let Some(limit) = N.checked_sub(MARK.len() + 1).filter(|_| self.cut) {
            let at = self.as_str().floor_char_boundary(limit.min(self.len().saturating_sub(MARK.len())));
            self.append(at, "…\n");
        }
    }

    /// Empties it.
    pub const fn clear(&mut self) {
        self.len = 0;
        self.cut = false;
    }

    fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Makes room for `text` after the first `at` bytes; one that has no room is not added.
    fn append(&mut self, at: usize, text: &str) {
        let end = at + text.len();
        if let (Some(room), Ok(len)) = (self.bytes.get_mut(at..end), u16::try_from(end)) {
            room.copy_from_slice(text.as_bytes());
            self.len = len;
        }
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let limit = N.min(usize::from(u16::MAX));
        if self.len() + text.len() <= limit {
            self.append(self.len(), text);
            return Ok(());
        }
        // The mark must fit, if need be in the place of what is already there.
        self.cut = true;
        let limit = limit.saturating_sub(MARK.len());
        if let Some(room) = limit.checked_sub(self.len()) {
            self.append(self.len(), text.get(..text.floor_char_boundary(room)).unwrap_or(""));
        }
        self.append(self.as_str().floor_char_boundary(limit), MARK);
        Ok(())
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn nothing_that_a_terminal_interprets_reaches_it() {
        let hostile: [(&[u8], &str); 9] = [
            (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
            (b"a\r\nb\tc", r"a\r\nb\tc"),
            (b"\x7f\x00", r"\x7f\x00"),
            ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
            ("\u{202e}gpj.exe".as_bytes(), r"\u{202e}gpj.exe"),
            ("\u{2028}".as_bytes(), r"\u{2028}"),
            (b"caf\xe9", r"caf\xe9"),
            (b"\xf0\x9f\x98", r"\xf0\x9f\x98"),
            ("naïve 漢字 🦀".as_bytes(), "naïve 漢字 🦀"),
        ];
        for (bytes, shown) in hostile {
            assert_eq!(Escaped(bytes).to_string(), shown);
        }
        for byte in 0..=255u8 {
            assert!(!Escaped(&[byte]).to_string().chars().any(is_interpreted), "{byte}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_ends_with_the_mark_at_a_character() {
        for n in 0..12 {
            let mut text = Text::<8>::EMPTY;
            for _ in 0..n {
                text.write_str("é").unwrap();
            }
            assert!(text.as_str().len() <= 8);
            assert_eq!(text.is_cut(), n > 4, "{n}");
            assert_eq!(text.as_str().ends_with('…'), n > 4, "{n}");
        }
        assert_eq!(Text::<8>::of("12345678").as_str(), "12345678");
        assert_eq!(Text::<8>::of("123456789").as_str(), "12345…");
        assert_eq!(Text::<2>::of("123").as_str(), "");
        for (text, line) in [("1234567\n", "1234567\n"), ("12345678\n", "1234…\n"), ("éééé\n", "éé…\n")] {
            let mut text = Text::<8>::of(text);
            text.end_cut_line();
            assert_eq!(text.as_str(), line);
        }
    }
}
