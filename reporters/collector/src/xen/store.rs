//! XenStore, asked over the kernel's device: read a place, list a folder.
//!
//! A request is answered before the call returns. What a guest has written there is text of the guest's: it is cut at
//! [`wire::MAX_PAYLOAD_BYTES`] by the protocol, and never believed.
//!
//! ```no_run
//! # use fata_collector::xen::{XenError, store::Store};
//! # fn f() -> Result<(), XenError> {
//! let mut store = Store::open()?;
//! for domain in store.list("/local/domain")? {
//!     println!("{domain}: {:?}", store.read(&format!("/local/domain/{domain}/name"))?);
//! }
//! # Ok(()) }
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use super::XenError;
use super::wire::{self, Kind, Message, WireError};

/// The device, and what it was called before there was `/dev/xen`.
const DEVICES: [&str; 2] = ["/dev/xen/xenbus", "/proc/xen/xenbus"];

/// A connection to XenStore.
#[derive(Debug)]
pub struct Store<S = File> {
    device: S,
    requests: u32,
    buffer: Vec<u8>,
}

impl Store {
    /// Connects.
    ///
    /// # Errors
    /// [`XenError::NoXen`] and [`XenError::NoPermission`].
    pub fn open() -> Result<Self, XenError> {
        let mut first = None;
        for path in DEVICES {
            match OpenOptions::new().read(true).write(true).open(path) {
                Ok(device) => return Ok(Store::over(device)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => first = first.or(Some((path, error))),
            }
        }
        Err(first.map_or(XenError::NoXen, |(path, error)| XenError::device(path, error)))
    }
}

impl<S: Read + Write> Store<S> {
    /// Speaks to XenStore over this.
    pub fn over(device: S) -> Self {
        Store { device, requests: 0, buffer: Vec::new() }
    }

    /// The text at `place`; `None` where there is none, or none that is ours to read. What is no UTF-8 in it is replaced.
    ///
    /// # Errors
    /// [`XenError::Store`].
    pub fn read(&mut self, place: &str) -> Result<Option<String>, XenError> {
        Ok(self.ask(Kind::Read, place)?.map(|payload| String::from_utf8_lossy(&payload).into_owned()))
    }

    /// The names below `place`; none where there is no such place.
    ///
    /// # Errors
    /// [`XenError::Store`].
    pub fn list(&mut self, place: &str) -> Result<Vec<String>, XenError> {
        let payload = self.ask(Kind::Directory, place)?.unwrap_or_default();
        let names = Message { kind: Kind::Directory as u32, request: 0, payload: &payload };
        Ok(names.texts().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// The payload of the answer; `None` for the errors that say that there is nothing to be had at `place`.
    fn ask(&mut self, kind: Kind, place: &str) -> Result<Option<Vec<u8>>, XenError> {
        let damaged = |what: String| XenError::Store(io::Error::other(what));
        self.requests = self.requests.wrapping_add(1);
        let number = self.requests;
        let request = wire::request(kind, number, place)
            .ok_or_else(|| damaged(format!("{place:?} is the name of no place in XenStore")))?;
        self.device.write_all(&request).map_err(XenError::Store)?;
        loop {
            self.buffer.clear();
            let message = loop {
                match Message::parse(&self.buffer) {
                    Ok(message) => break message,
                    Err(WireError::Incomplete { missing_bytes }) => {
                        let have = self.buffer.len();
                        self.buffer.resize(have + missing_bytes, 0);
                        self.device.read_exact(&mut self.buffer[have..]).map_err(XenError::Store)?;
                    }
                    Err(error) => return Err(damaged(error.to_string())),
                }
            };
            // Answers to what was given up are passed over.
            if message.request != number {
                continue;
            }
            if message.kind == kind as u32 {
                return Ok(Some(message.payload.to_vec()));
            }
            if message.kind != Kind::Error as u32 {
                return Err(damaged(format!("XenStore answers {place} with a message of kind {}", message.kind)));
            }
            let name = String::from_utf8_lossy(message.payload).trim_end_matches('\0').to_owned();
            return match name.as_str() {
                "ENOENT" | "EACCES" => Ok(None),
                _ => Err(damaged(format!("XenStore answers {place} with {name}"))),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that has answered already, whatever it is asked.
    struct Answered(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Answered {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Answered {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answered(answers: &[(u32, u32, &[u8])]) -> Store<Answered> {
        let mut bytes = Vec::new();
        for (kind, request, payload) in answers {
            for word in [*kind, *request, 0, u32::try_from(payload.len()).unwrap()] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(*payload);
        }
        Store::over(Answered(io::Cursor::new(bytes), Vec::new()))
    }

    #[test]
    fn a_place_that_is_not_there_is_none_and_any_other_error_is_told() {
        let mut store =
            answered(&[(16, 1, b"ENOENT\0"), (2, 2, b"a name"), (16, 3, b"EIO\0"), (2, 99, b""), (1, 4, b"x\0y\0")]);
        assert_eq!(store.read("a").unwrap(), None);
        assert_eq!(store.read("b").unwrap().as_deref(), Some("a name"));
        assert!(store.read("c").unwrap_err().to_string().contains("EIO"));
        // The answer to another request is passed over.
        assert_eq!(store.list("d").unwrap(), ["x", "y"]);
        // And then nobody answers any more.
        assert!(matches!(store.read("e"), Err(XenError::Store(_))));
        assert!(store.device.1.windows(2).any(|bytes| bytes == b"e\0"));
    }

    #[test]
    fn a_message_without_end_is_an_error_and_not_a_wait() {
        let mut store = answered(&[]);
        store.device.0.get_mut().extend([2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(store.read("a").unwrap_err().to_string().contains("4294967295 bytes"));
    }
}
