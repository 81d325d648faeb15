//! Errors: the whole chain of causes as one text; going on without what failed, but never without a word; and errors that
//! nobody looked at.
//!
//! A record that is made here names the task and the spans in which the error was met, or, of one that nobody read, in which
//! it came up; and the place in the source.

use core::error::Error;
use core::fmt;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering};

use fata_wire::log::CUT;

use super::context;

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

/// No chain is followed further: one that leads back to itself would never end. What is left out is marked by `…`.
const MAX_CAUSES: usize = 16;

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut causes = core::iter::successors(self.0.source(), |&error| error.source());
        causes.by_ref().take(MAX_CAUSES).try_for_each(|cause| write!(f, ": {cause}"))?;
        if causes.next().is_some() { write!(f, ": {CUT}") } else { Ok(()) }
    }
}

/// What may be done with an error besides handing it on: to say it and go on, or to see to it that somebody reads it.
///
/// ```
/// # fn read() -> Result<u16, std::num::ParseIntError> { "eighty".parse() }
/// use fata_probe::log::ResultExt;
/// let port = read().on_error("the port cannot be read, taking 80", 80);
/// assert_eq!(port, 80);
/// let port = read().on_error_with("the port cannot be read", |_| 8080);
/// assert_eq!(port, 8080);
/// let _ = read().watched(); // a record: an error was dropped that nobody had read
/// ```
pub trait ResultExt<T, E: Error + 'static> {
    /// The value; or, where there is none, a record at ERROR with `what` and the error's causes, and `fallback`.
    fn on_error(self, what: &str, fallback: T) -> T;

    /// As [`on_error`](ResultExt::on_error), with a fallback that is made of the error.
    fn on_error_with(self, what: &str, fallback: impl FnOnce(E) -> T) -> T;

    /// The same result, whose error says so when it is dropped and nobody has read it: see [`Unread`].
    ///
    /// # Errors
    /// The one that there was.
    fn watched(self) -> Result<T, Unread<E>>;
}

impl<T, E: Error + 'static> ResultExt<T, E> for Result<T, E> {
    #[track_caller]
    fn on_error(self, what: &str, fallback: T) -> T {
        self.on_error_with(what, |_| fallback)
    }

    #[track_caller]
    fn on_error_with(self, what: &str, fallback: impl FnOnce(E) -> T) -> T {
        match self {
            Ok(value) => value,
            Err(error) => {
                say(what, &error, &Circumstances::here());
                fallback(error)
            }
        }
    }

    #[track_caller]
    fn watched(self) -> Result<T, Unread<E>> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(Unread::new(error)),
        }
    }
}

/// Where in the source, in which task and in which spans something happened.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "profiling"), expect(dead_code, reason = "there are no records that would name them"))]
struct Circumstances {
    place: &'static Location<'static>,
    task: u16,
    spans: u64,
}

impl Circumstances {
    #[track_caller]
    fn here() -> Self {
        let place = Location::caller();
        context::with(|context| Circumstances { place, task: context.task(), spans: context.spans() })
    }
}

/// The longest text of an error and its causes.
#[cfg(feature = "profiling")]
const CHAIN_BYTES: usize = 512;

/// A record of an error.
#[cfg(feature = "profiling")]
#[cold]
fn say(what: &str, error: &(dyn Error + 'static), circumstances: &Circumstances) {
    use fata_wire::field::{Kind, Level};
    use fata_wire::log::{FILE, LINE, MESSAGE, SEQ, SPANS, TASK};

    use super::limit::Bucket;
    use super::sentence::Sentence;
    use crate::callsite::Callsite;
    use crate::value::{Cons, Nil};

    #[used]
    #[unsafe(link_section = "fata_callsites")]
    #[expect(unsafe_code, reason = "a callsite lies in the linker's section of callsites")]
    static CALLSITE: Callsite = Callsite::new(
        Kind::Log,
        Level::Error,
        "error",
        "error",
        file!(),
        line!(),
        &[SEQ, TASK, SPANS, LINE, FILE, MESSAGE, "error"],
    );
    static BUCKET: Bucket = Bucket::new();
    let Some(template) = CALLSITE.enabled() else { return super::filtered(Level::Error) };
    let Circumstances { place, task, spans } = *circumstances;
    let mut chain = Sentence::<CHAIN_BYTES>::new();
    // A chain that is too long is cut, which its mark says and the account counts.
    let _ = fmt::Write::write_fmt(&mut chain, format_args!("{}", Chain(error)));
    let texts = Cons(place.file(), Cons(what, Cons(chain.text(), Nil)));
    let fields = Cons(spans, Cons(place.line(), texts));
    super::record::record_of(&CALLSITE, &BUCKET, Level::Error, template, task, chain.is_cut(), fields);
}

#[cfg(not(feature = "profiling"))]
fn say(_: &str, _: &(dyn Error + 'static), _: &Circumstances) {}

/// An error that somebody is expected to look at: dropped without that, it says so in a record, with its causes, and with the
/// place, the task and the spans in which it came up.
///
/// To look at it is to show it, to ask for its source, to use it as what it is, or to take it out by [`read`](Unread::read). It
/// is made by [`watched`](ResultExt::watched), or by `?` in a function that returns one:
///
/// ```
/// use fata_probe::log::Unread;
/// # #[derive(Debug)] struct Full;
/// # impl std::fmt::Display for Full { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("full") } }
/// # impl std::error::Error for Full {}
/// # fn write() -> Result<(), Full> { Err(Full) }
/// fn store() -> Result<(), Unread<Full>> {
///     write()?;
///     Ok(())
/// }
/// let _ = store();                                                      // a record
/// assert_eq!(store().map_err(|error| error.to_string()), Err("full".into())); // none
/// ```
pub struct Unread<E: Error + 'static> {
    /// `None` once it was taken out.
    error: Option<E>,
    is_read: AtomicBool,
    circumstances: Circumstances,
}

impl<E: Error + 'static> Unread<E> {
    /// Nobody has looked at `error` yet.
    #[track_caller]
    #[must_use]
    pub fn new(error: E) -> Self {
        Unread { error: Some(error), is_read: AtomicBool::new(false), circumstances: Circumstances::here() }
    }

    /// The error, which is read now.
    #[must_use]
    pub fn read(mut self) -> E {
        match self.error.take() {
            Some(error) => error,
            None => unreachable!("an error is taken out once, by this, which comes last"),
        }
    }

    fn look(&self) -> &E {
        // Relaxed: who drops the error has it from who looked at it.
        self.is_read.store(true, Ordering::Relaxed);
        match &self.error {
            Some(error) => error,
            None => unreachable!("an error is taken out by `read` alone, which comes last"),
        }
    }
}

impl<E: Error + 'static> From<E> for Unread<E> {
    #[track_caller]
    fn from(error: E) -> Self {
        Unread::new(error)
    }
}

impl<E: Error + 'static> core::ops::Deref for Unread<E> {
    type Target = E;

    fn deref(&self) -> &E {
        self.look()
    }
}

impl<E: Error + 'static> fmt::Debug for Unread<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.look(), f)
    }
}

impl<E: Error + 'static> fmt::Display for Unread<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.look(), f)
    }
}

impl<E: Error + 'static> Error for Unread<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.look().source()
    }
}

impl<E: Error + 'static> Drop for Unread<E> {
    fn drop(&mut self) {
        if let Some(error) = self.error.as_ref().filter(|_| !self.is_read.load(Ordering::Relaxed)) {
            say("an error was dropped that nobody had read", error, &self.circumstances);
        }
    }
}
