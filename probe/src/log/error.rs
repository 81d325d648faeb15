//! Errors: the whole chain of causes as one text.

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
