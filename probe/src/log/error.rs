//! Errors: the whole chain of causes as one text; and going on without what failed, but never without a word.

use core::error::Error;
use core::fmt;

/// An error and what it came from, to the first cause: `cannot open: no such file`.
///
/// With the `std` of `tracing`, `error!(error = &error as &dyn Error)` records the same; without it, an error is shown by this:
///
/// ```
/// # #[derive(Debug)] struct Full;
/// # impl std::fmt::Display for Full { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("full") } }
/// # impl std::error::Error for Full {}
/// use fata_probe::log::Chain;
/// let error = Full;
/// tracing::error!(error = %Chain(&error), "not stored");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

/// No chain is followed further: one that leads back to itself would never end.
const MAX_CAUSES: usize = 16;

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        core::iter::successors(self.0.source(), |&error| error.source())
            .take(MAX_CAUSES)
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// Going on after an error that was logged: never an excuse to throw away what it said.
///
/// ```
/// # fn read() -> Result<u16, std::num::ParseIntError> { "eighty".parse() }
/// use fata_probe::log::OnError;
/// let port = read().on_error("the port cannot be read, taking 80", 80);
/// assert_eq!(port, 80);
/// let port = read().on_error_with("the port cannot be read", |_| 8080);
/// assert_eq!(port, 8080);
/// ```
pub trait OnError<T, E> {
    /// The value; or, where there is none, a record at ERROR with `what` and the error's causes, and `fallback`.
    fn on_error(self, what: &str, fallback: T) -> T;

    /// As [`on_error`](OnError::on_error), with a fallback that is made of the error.
    fn on_error_with(self, what: &str, fallback: impl FnOnce(E) -> T) -> T;
}

impl<T, E: Error + 'static> OnError<T, E> for Result<T, E> {
    #[track_caller]
    fn on_error(self, what: &str, fallback: T) -> T {
        self.on_error_with(what, |_| fallback)
    }

    #[track_caller]
    fn on_error_with(self, what: &str, fallback: impl FnOnce(E) -> T) -> T {
        match self {
            Ok(value) => value,
            Err(error) => {
                say(what, &error, core::panic::Location::caller());
                fallback(error)
            }
        }
    }
}

/// A record of an error, and of where it was met.
#[cold]
fn say(what: &str, error: &(dyn Error + 'static), place: &core::panic::Location<'_>) {
    let mut text = Sentence { bytes: [0; SENTENCE_BYTES], len: 0 };
    // A chain that is too long is cut.
    let _ = fmt::Write::write_fmt(&mut text, format_args!("{}", Chain(error)));
    let error = core::str::from_utf8(text.bytes.get(..text.len).unwrap_or(&[])).unwrap_or("");
    #[cfg_attr(feature = "profiling", expect(unsafe_code, reason = "the macro's own link section"))]
    {
        crate::log!(Error, target: "error", "went on without it", what = what, error = error, file = place.file(), line = place.line());
    }
}

const SENTENCE_BYTES: usize = 512;

/// Text of bounded length, cut between two characters.
struct Sentence {
    bytes: [u8; SENTENCE_BYTES],
    len: usize,
}

impl fmt::Write for Sentence {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text = &text[..text.floor_char_boundary(SENTENCE_BYTES - self.len)];
        if let Some(room) = self.bytes.get_mut(self.len..self.len + text.len()) {
            room.copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
        Ok(())
    }
}

/// An error that somebody is expected to look at: dropped without having been looked at, it says so in a record.
///
/// ```
/// use fata_probe::log::Unread;
/// # #[derive(Debug)] struct Full;
/// # impl std::fmt::Display for Full { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("full") } }
/// # impl std::error::Error for Full {}
/// fn store() -> Result<(), Unread<Full>> {
///     Err(Unread::new(Full))
/// }
/// let _ = store();                                        // a record: an error was dropped unread
/// assert_eq!(store().unwrap_err().read().to_string(), "full"); // none
/// ```
#[derive(Debug)]
pub struct Unread<E: Error + 'static> {
    error: Option<E>,
    made_at: &'static core::panic::Location<'static>,
}

impl<E: Error + 'static> Unread<E> {
    /// Nobody has looked at `error` yet.
    #[track_caller]
    #[must_use]
    pub fn new(error: E) -> Self {
        Unread { error: Some(error), made_at: core::panic::Location::caller() }
    }

    /// The error, which is read now.
    #[must_use]
    pub fn read(mut self) -> E {
        match self.error.take() {
            Some(error) => error,
            // Only `drop` and this take it, and both come last.
            None => unreachable!("an error is read once"),
        }
    }
}

impl<E: Error + 'static> Drop for Unread<E> {
    fn drop(&mut self) {
        if let Some(error) = &self.error {
            say("an error was dropped that nobody had read", error, self.made_at);
        }
    }
}
