//! What goes between a collector and its viewers over a socket: frames, each a length and a `bincode` value.
//!
//! Invariant: no frame is longer than [`MAX_FRAME_BYTES`], and a reader allocates no more than that whatever it is sent. A
//! guest's bytes travel as one opaque vector: nothing of them is decoded here. The first frame is [`Frame::Hello`], whose
//! protocol number a viewer compares before it reads on.
//!
//! ```
//! use fata_collector::frames::{Frame, Reader, encode};
//! let mut bytes = Vec::new();
//! encode(&Frame::End { reason: "the guest ended".into() }, &mut bytes);
//! let mut reader = Reader::new(&bytes[..]);
//! assert!(matches!(reader.next_frame(), Ok(Some(Frame::End { .. }))));
//! assert!(matches!(reader.next_frame(), Ok(None)));
//! ```

use std::borrow::Cow;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// Changes whenever a frame does.
pub const PROTOCOL: u32 = 1;
/// No frame is longer; the longest packet is a quarter of it.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Longer metadata text is sent in several frames.
pub const MAX_TEXT_BYTES: usize = 256 << 10;

/// One message from a collector to a viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame<'a> {
    /// The first frame.
    Hello {
        /// [`PROTOCOL`] of the sender.
        protocol: u32,
        /// [`fata_wire::VERSION`] of the sender.
        format: u32,
        /// The guest's name.
        guest: Cow<'a, str>,
        /// What it runs on.
        platform: Cow<'a, str>,
        /// The trace's identity.
        uuid: [u8; 16],
    },
    /// More metadata text, to be appended to what came before. May end within a line.
    Metadata(#[serde(with = "opaque")] Cow<'a, [u8]>),
    /// One whole CTF packet.
    Packet(#[serde(with = "opaque")] Cow<'a, [u8]>),
    /// How the recording goes, a few times a second.
    Status {
        /// What the guest last said of itself.
        state: Cow<'a, str>,
        /// Events per second since the last such frame.
        events_per_second: u64,
        /// Bytes per second since the last such frame.
        bytes_per_second: u64,
        /// Events so far.
        events: u64,
        /// Discarded events by cause so far.
        discarded: [u64; 5],
    },
    /// This viewer read too slowly: so much was left out here, for it alone.
    Lost {
        /// Packets.
        packets: u64,
        /// Their events.
        events: u64,
        /// Their length.
        bytes: u64,
    },
    /// The last frame.
    End {
        /// Why, as a sentence.
        reason: Cow<'a, str>,
    },
}

/// Bytes as one run, not as a sequence of numbers.
mod opaque {
    use std::borrow::Cow;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    #[expect(clippy::ptr_arg, reason = "serde calls it with the field's own type")]
    pub(super) fn serialize<S: Serializer>(bytes: &Cow<'_, [u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, 'a, D: Deserializer<'de>>(from: D) -> Result<Cow<'a, [u8]>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Bytes).map(Cow::Owned)
    }
}

/// Why no frame can be read. Each ends the connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Reading failed, or the connection broke within a frame.
    #[error("the connection to the collector broke: {0}")]
    Io(#[from] io::Error),
    /// Something else than a collector speaks, or it lies.
    #[error("a frame of {0} bytes: what is at the other end is no fata collector")]
    TooLong(u64),
    /// The bytes are no frame of this protocol.
    #[error("a frame that is none ({0}): is the fata at the other end of another version?")]
    Malformed(#[from] bincode::error::DecodeError),
    /// The other end speaks another protocol.
    #[error(
        "the collector speaks protocol {theirs}, this program {PROTOCOL}: use the same version of fata at both ends"
    )]
    OtherProtocol {
        /// What the other end speaks.
        theirs: u32,
    },
}

const LENGTH_BYTES: usize = 4;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_FRAME_BYTES>()
}

/// Appends a frame to `out`. A frame that would be too long is left out, which no caller's packet or text is.
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; LENGTH_BYTES]);
    let written = bincode::serde::encode_into_std_write(frame, out, config());
    let length = out.len() - start - LENGTH_BYTES;
    match (written, u32::try_from(length)) {
        (Ok(_), Ok(length)) if length as usize <= MAX_FRAME_BYTES => {
            out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        }
        _ => out.truncate(start),
    }
}

/// Reads frames.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// A reader of what a collector sends.
    pub fn new(from: R) -> Self {
        Reader { from, buffer: Vec::new() }
    }

    /// The next frame; `None` where the connection ended between frames.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'static>>, FrameError> {
        let mut length = [0; LENGTH_BYTES];
        if !self.fill(&mut length)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length);
        if length as usize > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(length.into()));
        }
        self.buffer.resize(length as usize, 0);
        self.from.read_exact(&mut self.buffer)?;
        let (frame, _) = bincode::serde::decode_from_slice(&self.buffer, config())?;
        if let Frame::Hello { protocol, .. } = frame
            && protocol != PROTOCOL
        {
            return Err(FrameError::OtherProtocol { theirs: protocol });
        }
        Ok(Some(frame))
    }

    /// Fills `bytes`; `false` where the input ended before the first of them.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        let mut done = 0;
        while done < bytes.len() {
            match self.from.read(&mut bytes[done..]) {
                Ok(0) if done == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame<'static>> {
        vec![
            Frame::Hello {
                protocol: PROTOCOL,
                format: 1,
                guest: "http".into(),
                platform: "host".into(),
                uuid: [7; 16],
            },
            Frame::Metadata(b"/* CTF 1.8 */".as_slice().into()),
            Frame::Packet(vec![3; 1 << 18].into()),
            Frame::Lost { packets: 1, events: 2, bytes: 3 },
            Frame::Status {
                state: "running".into(),
                events_per_second: 1,
                bytes_per_second: 2,
                events: 3,
                discarded: [4; 5],
            },
            Frame::End { reason: "over".into() },
        ]
    }

    fn encoded() -> Vec<u8> {
        let mut bytes = Vec::new();
        frames().iter().for_each(|frame| encode(frame, &mut bytes));
        bytes
    }

    #[test]
    fn frames_survive_their_bytes() {
        let bytes = encoded();
        let mut reader = Reader::new(&bytes[..]);
        for frame in frames() {
            assert_eq!(reader.next_frame().unwrap(), Some(frame));
        }
        assert_eq!(reader.next_frame().unwrap(), None);
    }

    #[test]
    fn a_connection_that_breaks_anywhere_but_between_frames_is_an_error_and_never_a_panic() {
        let bytes = encoded();
        for cut in (0..bytes.len()).step_by(7) {
            let mut reader = Reader::new(&bytes[..cut]);
            while let Ok(Some(_)) = reader.next_frame() {}
        }
        let mut reader = Reader::new(&bytes[..bytes.len() - 1]);
        let end = std::iter::from_fn(|| reader.next_frame().transpose()).last();
        assert!(matches!(end, Some(Err(FrameError::Io(_)))));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_allocated() {
        let mut reader = Reader::new(&[0xff; 16][..]);
        assert!(matches!(reader.next_frame(), Err(FrameError::TooLong(0xffff_ffff))));
        assert_eq!(reader.buffer.capacity(), 0);
    }

    #[test]
    fn a_vector_that_claims_more_than_its_frame_is_refused() {
        // Packet (variant 2) of 2^40 bytes in a frame of ten.
        let mut bytes = vec![10, 0, 0, 0, 2, 253];
        bytes.extend((1u64 << 40).to_le_bytes());
        assert!(matches!(Reader::new(&bytes[..]).next_frame(), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn another_protocol_is_named() {
        let mut bytes = Vec::new();
        let hello = Frame::Hello { protocol: 99, format: 1, guest: "".into(), platform: "".into(), uuid: [0; 16] };
        encode(&hello, &mut bytes);
        let error = Reader::new(&bytes[..]).next_frame().unwrap_err();
        assert!(error.to_string().contains("protocol 99"), "{error}");
    }
}
