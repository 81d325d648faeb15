//! Control requests: a line of text from the host, and the guest's answer in one or more lines.
//!
//! Where guest and host share memory the texts lie in two mailboxes, each written by one side alone:
//!
//! | mailbox | in the | written by | holds |
//! |---|---|---|---|
//! | request | control page, at [`REQUEST`] | host | a [`Slip`], then the text |
//! | reply | reply page, from its beginning | guest | a slip with the request's sequence number, then the text |
//! The text is stored before the slip (Release), and whoever has loaded the slip
//! (Acquire) copies the text and then looks whether the slip is still the same. **When a mailbox is full**, which is the case
//! while a request is unanswered, the next host waits: [`OWNER`] in the control page names the process whose turn it is. A
//! reply that does not fit is cut, and says so.
//!
//! Elsewhere, as over Xen's vchan, the same lines travel over a byte stream; an empty line ends each reply.
//!
//! A guest without a reply page answers nothing: it was built before there were requests.

use crate::shared::Mode;

/// Where the request begins in the control page.
pub const REQUEST: usize = 3072;
/// How far behind its slip a text begins.
pub const TEXT: usize = 8;
/// u64 in the control page: 0, or the process id of the host's program that is asking.
pub const OWNER: usize = REQUEST - 8;
/// The longest text of a request or a reply.
pub const MAX_TEXT_BYTES: usize = 1000;

/// The word before a mailbox's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slip {
    /// Grows by one with each request, and skips 0. A reply bears the number of its request.
    pub sequence: u32,
    /// Length of the text.
    pub len_bytes: u32,
}

impl Slip {
    /// The slip that this word is, whatever its length says.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low and the high half of a word")]
    pub const fn unpack(word: u64) -> Self {
        Slip { sequence: word as u32, len_bytes: (word >> 32) as u32 }
    }

    /// The word.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.sequence as u64 | (self.len_bytes as u64) << 32
    }

    /// The length, if a text may have it.
    #[must_use]
    pub fn text_len(self) -> Option<usize> {
        usize::try_from(self.len_bytes).ok().filter(|&len| len <= MAX_TEXT_BYTES)
    }

    /// The number after this one.
    #[must_use]
    pub const fn next_sequence(self) -> u32 {
        match self.sequence.wrapping_add(1) {
            0 => 1,
            next => next,
        }
    }
}

/// What a host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Say that you are there.
    Ping,
    /// Record, after [`Request::Stop`] or [`Request::Freeze`].
    Start,
    /// Record nothing more; what was recorded becomes a sealed packet.
    Stop,
    /// Record nothing more, and leave the ring as it is.
    Freeze,
    /// Seal the packet that is being written, so that readers of sealed packets see all of it.
    Flush,
    /// Keep the newest or the oldest.
    Mode(Mode),
    /// Turn a category on.
    Enable(&'a str),
    /// Turn a category off.
    Disable(&'a str),
    /// Levels, as the rules say.
    Level(&'a str),
    /// Put this text into the trace, at this moment.
    Mark(&'a str),
    /// Say what is recorded and how much, and say again what tasks are called.
    Dump,
}

/// The words that requests begin with, each with what follows it and what it is for.
pub const REQUESTS: [(&str, &str, &str); 11] = [
    ("ping", "", "say that it is there, and since when"),
    ("start", "", "record, after stop or freeze"),
    ("stop", "", "record nothing more; all that was recorded becomes sealed packets"),
    ("freeze", "", "record nothing more, and leave the ring as it is this instant"),
    ("flush", "", "seal the packet that is being written"),
    ("mode", "overwrite|discard", "keep the newest or the oldest when the ring is full"),
    ("enable", "CATEGORY", "turn the events of a category on"),
    ("disable", "CATEGORY", "turn the events of a category off"),
    ("level", "RULES", "turn events up to a level on, such as debug"),
    ("mark", "TEXT", "put a text into the trace, at this moment"),
    ("dump", "", "say what is recorded and how much, and name all tasks in the trace again"),
];

/// Why a line is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError<'a> {
    /// Its first word is none of [`REQUESTS`].
    Unknown(&'a str),
    /// What must follow the word is missing or not among what may.
    Expected(&'a str, &'static str),
    /// Nothing may follow the word.
    Superfluous(&'a str),
}

impl core::error::Error for RequestError<'_> {}

impl core::fmt::Display for RequestError<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RequestError::Unknown(word) => {
                write!(f, "there is no request {word:?}; the requests are")?;
                for (i, (word, ..)) in REQUESTS.iter().enumerate() {
                    write!(f, "{} {word}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            RequestError::Expected(word, what) => write!(f, "{word} wants {what} after it"),
            RequestError::Superfluous(word) => write!(f, "nothing can follow {word}"),
        }
    }
}

impl<'a> Request<'a> {
    /// The request that `line` is.
    ///
    /// # Errors
    /// See [`RequestError`]: a sentence for the person who typed the line.
    pub fn parse(line: &'a str) -> Result<Self, RequestError<'a>> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        let Some((word, wants, _)) = REQUESTS.iter().find(|(known, ..)| *known == word) else {
            return Err(RequestError::Unknown(word));
        };
        match (wants.is_empty(), rest.is_empty()) {
            (true, false) => return Err(RequestError::Superfluous(word)),
            (false, true) => return Err(RequestError::Expected(word, wants)),
            _ => {}
        }
        Ok(match *word {
            "ping" => Request::Ping,
            "start" => Request::Start,
            "stop" => Request::Stop,
            "freeze" => Request::Freeze,
            "flush" => Request::Flush,
            "mode" => match rest {
                "overwrite" => Request::Mode(Mode::Overwrite),
                "discard" => Request::Mode(Mode::Discard),
                _ => return Err(RequestError::Expected(word, wants)),
            },
            "enable" => Request::Enable(rest),
            "disable" => Request::Disable(rest),
            "level" => Request::Level(rest),
            "mark" => Request::Mark(rest),
            _ => Request::Dump,
        })
    }
}

/// `category.NN`, by which the description area says what bit `NN` of the enabled categories stands for.
pub const CATEGORY_KEY: &str = "category.";

// A page holds what lies before the mailbox, and the mailbox.
const _: () = assert!(REQUEST + TEXT + MAX_TEXT_BYTES <= crate::shared::PAGE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn every_request_in_the_table_is_understood_and_no_other_word_is() {
        for (word, wants, _) in REQUESTS {
            let rest = if word == "mode" { "discard" } else { wants };
            assert!(Request::parse(&format!(" {word}  {rest} ")).is_ok(), "{word}");
            if wants.is_empty() {
                assert_eq!(Request::parse(&format!("{word} x")), Err(RequestError::Superfluous(word)));
            } else {
                assert_eq!(Request::parse(word), Err(RequestError::Expected(word, wants)));
            }
        }
        let sentence = format!("{}", Request::parse("pong").unwrap_err());
        assert!(sentence.starts_with("there is no request \"pong\"; the requests are ping, start,"), "{sentence}");
        assert_eq!(Request::parse(""), Err(RequestError::Unknown("")));
    }

    #[test]
    fn what_follows_a_word_is_taken_as_it_is_but_for_the_space_around_it() {
        assert_eq!(Request::parse("mark  two  words \n"), Ok(Request::Mark("two  words")));
        assert_eq!(Request::parse("mode sideways"), Err(RequestError::Expected("mode", "overwrite|discard")));
    }

    #[test]
    fn a_slip_is_one_word_and_a_length_that_no_text_has_is_none() {
        let slip = Slip { sequence: u32::MAX, len_bytes: 7 };
        assert_eq!((Slip::unpack(slip.pack()), slip.next_sequence(), slip.text_len()), (slip, 1, Some(7)));
        assert_eq!(Slip { sequence: 1, len_bytes: 1001 }.text_len(), None);
    }
}
