//! Control requests: the word before a mailbox's text, and the line that is the text.

use fata_wire::request::{MAX_TEXT_BYTES, REQUESTS, Request, RequestError, Slip};
use fata_wire::shared::Mode;
use proptest::prelude::*;

use super::text;

/// A request that takes an argument, made of its word, and the argument back out of it.
type WithText = (&'static str, for<'a> fn(&'a str) -> Request<'a>);
const WITH_TEXT: [WithText; 4] = [
    ("enable", |text| Request::Enable(text)),
    ("disable", |text| Request::Disable(text)),
    ("level", |text| Request::Level(text)),
    ("mark", |text| Request::Mark(text)),
];
const WITHOUT: [(&str, Request<'static>); 8] = [
    ("ping", Request::Ping),
    ("start", Request::Start),
    ("stop", Request::Stop),
    ("freeze", Request::Freeze),
    ("flush", Request::Flush),
    ("dump", Request::Dump),
    ("mode overwrite", Request::Mode(Mode::Overwrite)),
    ("mode discard", Request::Mode(Mode::Discard)),
];

/// The text that a request has taken from its line.
fn argument<'a>(request: &Request<'a>) -> Option<&'a str> {
    match *request {
        Request::Enable(text) | Request::Disable(text) | Request::Level(text) | Request::Mark(text) => Some(text),
        _ => None,
    }
}

fn space() -> impl Strategy<Value = String> {
    "[ \t\n\u{a0}\u{2003}]{0,3}"
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_word_is_some_slip_and_is_packed_to_itself(word: u64) {
        let slip = Slip::unpack(word);
        prop_assert_eq!(slip.pack(), word);
        let len = slip.text_len();
        prop_assert!(len.is_none_or(|len| len <= MAX_TEXT_BYTES && len as u64 == word >> 32));
        prop_assert_eq!(len.is_some(), word >> 32 <= MAX_TEXT_BYTES as u64);
    }

    #[test]
    fn the_next_sequence_number_is_another_one_and_never_that_of_no_request(
        sequence in prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(u32::MAX - 1)],
        len_bytes: u32,
    ) {
        let next = Slip { sequence, len_bytes }.next_sequence();
        prop_assert!(next != 0 && next != sequence);
    }

    #[test]
    fn a_request_is_read_back_from_its_line_whatever_its_text_and_the_space_around(
        which in 0..WITH_TEXT.len(),
        text in text(),
        space in [space(), space()],
        between in "[ \t\u{2003}]{1,3}",
    ) {
        let (word, request) = WITH_TEXT[which];
        let line = format!("{}{word}{between}{text}{}", space[0], space[1]);
        let expected = match text.trim() {
            "" => Err(word),
            text => Ok(request(text)),
        };
        let read = Request::parse(&line).map_err(|error| match error {
            RequestError::Expected(word, _) => word,
            _ => "another error",
        });
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_request_without_a_text_is_read_back_and_takes_none(which in 0..WITHOUT.len(), text in text(), space in [space(), space()]) {
        let (words, request) = WITHOUT[which];
        let line = format!("{}{words}{}", space[0], space[1]);
        prop_assert_eq!(Request::parse(&line), Ok(request));
        if !text.trim().is_empty() {
            let line = format!("{words} {text}");
            prop_assert!(Request::parse(&line).is_err());
        }
    }

    #[test]
    fn no_bytes_make_the_request_parser_panic_or_take_what_the_line_does_not_hold(
        word in prop_oneof![
            1 => text(),
            4 => (0..REQUESTS.len()).prop_map(|which| REQUESTS[which].0.to_owned()),
        ],
        noise in prop::collection::vec(any::<u8>(), 0..80),
        glue in prop_oneof![Just(""), Just(" "), Just("\t"), Just("\0")],
    ) {
        let line = format!("{word}{glue}{}", String::from_utf8_lossy(&noise));
        match Request::parse(&line) {
            Ok(request) => if let Some(text) = argument(&request) {
                let start = text.as_ptr().addr() - line.as_ptr().addr();
                prop_assert_eq!(line.get(start..start + text.len()), Some(text), "a piece of the line");
                prop_assert!(!text.is_empty() && text.trim() == text);
            },
            Err(error) => {
                let sentence = error.to_string();
                prop_assert!(!sentence.is_empty() && !sentence.contains(char::is_control), "one line: {}", sentence);
            }
        }
    }
}
