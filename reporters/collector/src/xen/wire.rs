//! XenStore's messages, as bytes: a header of four words, and a payload of at most 4096 bytes.
//!
//! Source: Xen, `xen/include/public/io/xs_wire.h` and `docs/misc/xenstore.txt`. Nothing here believes a length: a message is
//! decoded only when it is whole, and refused when it claims to be longer than any may be.

use fata_wire::{put_u32, u32_at};

/// Length of a message's header.
pub const HEADER_BYTES: usize = 16;
/// The longest payload.
pub const MAX_PAYLOAD_BYTES: usize = 4096;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The names below a place.
    Directory = 1,
    /// The value of a place.
    Read = 2,
    /// The answer to a request that failed: the name of an error number.
    Error = 16,
}

/// One message, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The number of its kind: a reply's is that of its request, or [`Kind::Error`].
    pub kind: u32,
    /// Which request it belongs to.
    pub request: u32,
    /// Its content.
    pub payload: &'a [u8],
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They may become one: read so many more.
    #[error("the message is cut")]
    Incomplete {
        /// How many bytes are missing, at least.
        missing_bytes: usize,
    },
    /// They claim to be longer than any message.
    #[error("XenStore sends a message of {0} bytes, which none may have")]
    TooLong(u32),
}

impl<'a> Message<'a> {
    /// The message that `bytes` begins with.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() < HEADER_BYTES {
            return Err(WireError::Incomplete { missing_bytes: HEADER_BYTES - bytes.len() });
        }
        let claimed = u32_at(bytes, 12);
        let len = match usize::try_from(claimed) {
            Ok(len) if len <= MAX_PAYLOAD_BYTES => len,
            _ => return Err(WireError::TooLong(claimed)),
        };
        let payload = bytes
            .get(HEADER_BYTES..HEADER_BYTES + len)
            .ok_or_else(|| WireError::Incomplete { missing_bytes: HEADER_BYTES + len - bytes.len() })?;
        Ok(Message { kind: u32_at(bytes, 0), request: u32_at(bytes, 4), payload })
    }

    /// The names or texts of a payload, which end with a NUL each.
    pub fn texts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.payload.split(|&byte| byte == 0).filter(|text| !text.is_empty())
    }
}

/// A request for what lies at `place`, outside of any transaction; `None` where no place can have such a name.
#[must_use]
pub fn request(kind: Kind, number: u32, place: &str) -> Option<Vec<u8>> {
    let len = place.len() + 1;
    if place.contains('\0') || len > MAX_PAYLOAD_BYTES {
        return None;
    }
    let mut bytes = vec![0; HEADER_BYTES];
    put_u32(&mut bytes, 0, kind as u32);
    put_u32(&mut bytes, 4, number);
    put_u32(&mut bytes, 12, u32::try_from(len).ok()?);
    bytes.extend(place.as_bytes());
    bytes.push(0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_asks_for_as_many_bytes_as_are_missing() {
        let bytes = request(Kind::Read, 7, "/local/domain/0/name").unwrap();
        assert_eq!(Message::parse(&bytes).unwrap().payload, b"/local/domain/0/name\0");
        for len in 0..bytes.len() {
            let Err(WireError::Incomplete { missing_bytes }) = Message::parse(&bytes[..len]) else { panic!("{len}") };
            let enough = if len < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
            assert_eq!(len + missing_bytes, enough);
        }
    }

    #[test]
    fn a_message_longer_than_any_may_be_is_refused_before_it_is_waited_for() {
        let mut bytes = request(Kind::Directory, 1, "x").unwrap();
        for len in [4097, u32::MAX] {
            put_u32(&mut bytes, 12, len);
            assert_eq!(Message::parse(&bytes), Err(WireError::TooLong(len)));
        }
        assert_eq!(request(Kind::Read, 1, "a\0b"), None);
        assert_eq!(request(Kind::Read, 1, &"x".repeat(4096)), None);
    }

    #[test]
    fn a_folder_is_the_texts_between_the_nuls() {
        let message = Message { kind: 1, request: 0, payload: b"0\x0012\0\0" };
        assert_eq!(message.texts().collect::<Vec<_>>(), [&b"0"[..], b"12"]);
    }
}
