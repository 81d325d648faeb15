//! The guest's console is the process's standard error, so that a guest may be started with its output piped elsewhere.

use std::io::Write;

/// Writes `text` as it is. A console that nobody reads any more is not an error of the guest.
pub fn write(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
