//! Asking a domain of Xen over its control channel: a line there, and lines back up to an empty one.
//!
//! Invariant: an answer is at most [`MAX_ANSWER_BYTES`] long, whatever the domain sends; and the domain's life is looked at as
//! often as it keeps silent for [`ALIVE_INTERVAL`].

use std::time::{Duration, Instant};

use super::{ALIVE_INTERVAL, RequestError, open, printable};
use crate::source::Guest;
use crate::xen::vchan::{Channel, ChannelError};

/// Longer than any answer of a guest of ours, which takes what fits into a reply page.
const MAX_ANSWER_BYTES: usize = 4096;

/// What `guest` answers to `line` over its channel within `patience`.
pub(super) fn ask(guest: &Guest, line: &str, started: Instant, patience: Duration) -> Result<String, RequestError> {
    let failed = |source| RequestError::Channel { guest: guest.label(), source };
    let domid = u16::try_from(guest.pid).ok().filter(|_| guest.is_alive());
    // An empty line is no request over a channel; and for a dead guest speaks what is left in its memory.
    let Some(domid) = domid.filter(|_| !line.trim().is_empty()) else { return Err(failed(ChannelError::None)) };
    let mut channel = Channel::open(domid).map_err(failed)?;
    // Sleeps until the domain says something, or explains why it never will.
    let wait = |channel: &Channel| {
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(RequestError::NoAnswer { guest: guest.label(), seconds: patience.as_secs_f64() });
        }
        let slept = Instant::now();
        channel.wait(left.min(ALIVE_INTERVAL));
        if slept.elapsed() >= ALIVE_INTERVAL && !guest.is_alive() {
            // It is never alive again: what its memory says of its end is the answer.
            open(guest, started)?;
        }
        Ok(())
    };
    while !channel.greet().map_err(failed)? {
        wait(&channel)?;
    }
    // One line is one request.
    let line = format!("{}\n", line.replace('\n', " "));
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        let len = channel.put(rest).map_err(failed)?;
        rest = &rest[len..];
        if len == 0 {
            wait(&channel)?;
        }
    }
    let mut answer = Answer::default();
    loop {
        let mut bytes = [0; 256];
        let len = channel.take(&mut bytes).map_err(failed)?;
        if answer.add(&bytes[..len]).map_err(failed)? {
            return Ok(answer.text());
        }
        if len == 0 {
            wait(&channel)?;
        }
    }
}

/// An answer that comes in pieces.
#[derive(Debug, Default)]
struct Answer(Vec<u8>);

impl Answer {
    /// Adds a piece, and says whether that was all: the empty line has come.
    fn add(&mut self, bytes: &[u8]) -> Result<bool, ChannelError> {
        self.0.extend(bytes);
        if let Some(end) = self.0.windows(2).position(|pair| pair == b"\n\n") {
            self.0.truncate(end);
            return Ok(true);
        }
        if self.0.len() > MAX_ANSWER_BYTES {
            return Err(ChannelError::Lie(format!("it answers with more than {MAX_ANSWER_BYTES} bytes, and no end")));
        }
        Ok(false)
    }

    fn text(&self) -> String {
        printable(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_the_empty_line_wherever_it_is_cut() {
        let text = b"ok: one\ntwo\n\nand what nobody asked for";
        for cut in 0..text.len() {
            let mut answer = Answer::default();
            let mut whole = false;
            for piece in [&text[..cut], &text[cut..]] {
                whole = whole || answer.add(piece).unwrap();
            }
            assert!(whole);
            assert_eq!(answer.text(), "ok: one\ntwo", "{cut}");
        }
    }

    #[test]
    fn an_answer_without_end_is_an_error_once_it_is_too_long() {
        let mut answer = Answer::default();
        let pieces = (0..100).map_while(|_| answer.add(&[b'x'; 256]).ok()).count();
        assert_eq!(pieces, MAX_ANSWER_BYTES / 256);
        assert!(answer.0.len() <= MAX_ANSWER_BYTES + 256);
    }
}
