//! The guest's end of the mailboxes: take a request, write the reply.
//!
//! Invariant: the request's text is copied once, and the copy is what is judged: its length, that it is UTF-8, and that the
//! slip was still the same afterwards. Whatever the host writes meanwhile, and whatever it writes at all, costs the guest one
//! copy of 1000 bytes a look.
//!
//! A reply is at most [`MAX_TEXT_BYTES`] long; **what does not fit is cut** between two characters, and `…` stands at its end.

use core::fmt;
use core::sync::atomic::Ordering;

use fata_wire::request::{MAX_TEXT_BYTES, REQUEST, Slip, TEXT};

use crate::region::{self, Region};

/// What stands where a reply was cut.
const CUT: &str = "…";

/// The text of a reply, as far as it fits.
#[derive(Debug)]
pub struct Reply {
    bytes: [u8; MAX_TEXT_BYTES],
    len: usize,
    cut: bool,
}

impl Reply {
    /// An empty reply.
    #[must_use]
    pub const fn new() -> Self {
        Reply { bytes: [0; MAX_TEXT_BYTES], len: 0, cut: false }
    }

    /// The text so far.
    #[must_use]
    pub fn text(&self) -> &str {
        // `write_str` puts in whole characters only.
        core::str::from_utf8(self.bytes.get(..self.len).unwrap_or(&[])).unwrap_or("")
    }
}

impl Default for Reply {
    fn default() -> Self {
        Reply::new()
    }
}

impl fmt::Write for Reply {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let room = MAX_TEXT_BYTES - CUT.len() - self.len;
        let taken = text.floor_char_boundary(room);
        self.cut = taken < text.len();
        for part in [&text[..taken], if self.cut { CUT } else { "" }] {
            if let Some(place) = self.bytes.get_mut(self.len..self.len + part.len()) {
                place.copy_from_slice(part.as_bytes());
                self.len += part.len();
            }
        }
        Ok(())
    }
}

/// Whether a host waits for an answer, or has changed what the control page says. One or two loads a region.
#[must_use]
pub fn is_asked() -> bool {
    crate::ENABLED
        && region::all().any(|region| {
            pending(region).is_some()
                || super::split(region.control_word(fata_wire::shared::control::GENERATION)).0
                    != region.generation().load(Ordering::Relaxed)
        })
}

/// Lets `answer` answer what hosts have asked, one request a region. For the scheduler, where it calls [`poll`](super::poll).
pub fn serve(mut answer: impl FnMut(&str, &mut Reply)) {
    if !crate::ENABLED {
        return;
    }
    for region in region::all() {
        let Some(slip) = pending(region) else { continue };
        let mut reply = Reply::new();
        let mut bytes = [0; MAX_TEXT_BYTES];
        match copy_request(region, slip, &mut bytes) {
            Some(Ok(line)) => answer(line, &mut reply),
            Some(Err(why)) => {
                // A reply takes what fits.
                let _ = fmt::Write::write_str(&mut reply, why);
            }
            // The host is writing: the slip will say when it has done so.
            None => continue,
        }
        region.put_reply(slip.sequence, reply.text());
    }
}

/// The slip of a request that has not been answered.
fn pending(region: &Region) -> Option<Slip> {
    // `control_word` acquires: pairs with the host's Release of the slip, so that the text is there.
    let slip = Slip::unpack(region.control_word(REQUEST));
    (slip.sequence != 0 && slip.sequence != region.answered()).then_some(slip)
}

/// The request's text, or what is wrong with it; `None` if it changed while it was copied.
fn copy_request<'a>(
    region: &Region,
    slip: Slip,
    bytes: &'a mut [u8; MAX_TEXT_BYTES],
) -> Option<Result<&'a str, &'static str>> {
    let Some(len) = slip.text_len() else { return Some(Err("error: a request has at most 1000 bytes")) };
    for (i, chunk) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate().take(len.div_ceil(8)) {
        *chunk = region.control_word(REQUEST + TEXT + 8 * i).to_le_bytes();
    }
    // The words above were acquired, so that this load comes after them.
    if region.control_word(REQUEST) != slip.pack() {
        return None;
    }
    let text = bytes.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok());
    Some(text.ok_or("error: a request is UTF-8 text"))
}

// The text is copied by words.
const _: () = assert!(MAX_TEXT_BYTES.is_multiple_of(8) && TEXT.is_multiple_of(8));

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn a_reply_that_is_too_long_is_cut_between_two_characters_and_says_so() {
        for step in ["x", "ß", "…", "\u{1f980}"] {
            let mut reply = Reply::new();
            for _ in 0..2000 {
                write!(reply, "{step}").unwrap();
            }
            let text = reply.text();
            assert!(text.ends_with('…') && text.len() > 990 && text.len() <= MAX_TEXT_BYTES, "{}", text.len());
            assert!(text.trim_end_matches('…').chars().all(|c| step.contains(c)));
        }
    }
}
