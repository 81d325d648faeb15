//! The guest's console is the process's standard error, so that a guest may be started with its output piped elsewhere.

use std::io::Write;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Writes `text` as it is. A console that nobody reads any more is not an error of the guest.
pub fn write(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A pipe that says it has room takes so much without waiting.
const STEP_BYTES: usize = 512;

/// Writes as many of the bytes as the console takes without waiting; how many that were. One that nobody reads any more takes
/// everything.
pub(crate) fn try_write(bytes: &[u8]) -> usize {
    let error = std::io::stderr();
    let mut ready = [PollFd::new(&error, PollFlags::OUT)];
    match rustix::event::poll(&mut ready, Some(&Timespec::default())) {
        Ok(0) | Err(_) => return 0,
        Ok(_) => {}
    }
    let step = bytes.get(..STEP_BYTES).unwrap_or(bytes);
    match error.lock().write(step) {
        Ok(written) => written,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
        Err(_) => bytes.len(),
    }
}
