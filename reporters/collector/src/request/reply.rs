//! What a guest replies, before anybody believes it: bytes of the guest's, out of its reply page or off its control channel.
//!
//! Invariant: whatever the bytes are, a reply is at most [`MAX_REPLY_BYTES`] of them, is text, and moves no terminal's cursor. A
//! reply that is longer, or never ends, is none.
//!
//! ```
//! use fata_collector::request::reply::{Pieces, number_in};
//! let mut reply = Pieces::default();
//! assert_eq!(reply.add(b"ok: up 1 s, ti"), Ok(false));
//! assert_eq!(reply.add(b"ck 5678\n\n"), Ok(true));
//! assert_eq!(number_in(&reply.text(), "tick "), Some(5678));
//! ```

use fata_wire::request::Slip;

/// Longer than any reply of a guest of ours, which takes what fits into a reply page.
pub const MAX_REPLY_BYTES: usize = 4096;

/// The reply that this slip announces, of which `bytes` are what lies behind it; `None` where no text has the slip's length.
#[must_use]
pub fn in_page(slip: Slip, bytes: &[u8]) -> Option<String> {
    Some(printable(&String::from_utf8_lossy(bytes.get(..slip.text_len()?)?)))
}

/// The guest's text without what would do something to a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The number behind `what` in the reply to a ping.
#[must_use]
pub fn number_in(reply: &str, what: &str) -> Option<u64> {
    reply.strip_prefix("ok")?.split_once(what)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// More has come than any reply is long, and no end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it answers with more than {MAX_REPLY_BYTES} bytes, and no end")]
pub struct Endless;

/// A reply that comes in pieces, up to an empty line.
#[derive(Debug, Default)]
pub struct Pieces(Vec<u8>);

impl Pieces {
    /// Adds a piece, and says whether that was all: the empty line has come. Nothing is to be added after that.
    ///
    /// # Errors
    /// [`Endless`].
    pub fn add(&mut self, bytes: &[u8]) -> Result<bool, Endless> {
        self.0.extend(bytes);
        if let Some(end) = self.0.windows(2).position(|pair| pair == b"\n\n") {
            self.0.truncate(end);
            return Ok(true);
        }
        if self.0.len() > MAX_REPLY_BYTES { Err(Endless) } else { Ok(false) }
    }

    /// What has come so far, without the empty line.
    #[must_use]
    pub fn text(&self) -> String {
        printable(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_moves_no_cursor_and_keeps_its_lines() {
        assert_eq!(printable("ok\n\x1b[2Jx\r\u{9b}"), "ok\n\u{fffd}[2Jx\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_slip_that_promises_more_than_there_is_or_may_be_announces_nothing() {
        let slip = |len_bytes| Slip { sequence: 1, len_bytes };
        assert_eq!(in_page(slip(2), b"ok and more"), Some("ok".to_owned()));
        for (len, there) in [(3, 2), (1001, 2000), (u32::MAX, 2000)] {
            assert_eq!(in_page(slip(len), &vec![b'x'; there]), None, "{len}");
        }
    }

    #[test]
    fn a_reply_ends_with_the_empty_line_wherever_it_is_cut() {
        let text = b"ok: one\ntwo\n\nand what nobody asked for";
        for cut in 0..text.len() {
            let mut reply = Pieces::default();
            let mut whole = false;
            for piece in [&text[..cut], &text[cut..]] {
                whole = whole || reply.add(piece).unwrap();
            }
            assert!(whole);
            assert_eq!(reply.text(), "ok: one\ntwo", "{cut}");
        }
    }

    #[test]
    fn a_reply_without_end_is_an_error_once_it_is_too_long() {
        let mut reply = Pieces::default();
        let pieces = (0..100).map_while(|_| reply.add(&[b'x'; 256]).ok()).count();
        assert_eq!(pieces, MAX_REPLY_BYTES / 256);
        assert!(reply.0.len() <= MAX_REPLY_BYTES + 256);
    }

    #[test]
    fn the_numbers_of_a_reply_are_read_by_their_names() {
        assert_eq!(number_in("ok: up 1.234 s, tick 5678", "tick "), Some(5678));
        assert_eq!(number_in("ok: up 1.234 s, tick 5678", "shared "), None);
        assert_eq!(number_in("ok: up 1.234 s, tick 5678, shared 91", "tick "), Some(5678));
        assert_eq!(number_in("ok: up 1.234 s, tick 5678, shared 91", "shared "), Some(91));
        assert_eq!(number_in("error: tick 7", "tick "), None);
        assert_eq!(number_in("ok: tick 99999999999999999999999", "tick "), None);
    }
}
