//! Ethernet frames over a byte stream, each with its length before it as four bytes, big-endian: QEMU's `-netdev stream`.
//!
//! Invariant of [`FrameReader`]: `bytes[start..end]` is what was read and not yet taken, and begins with a length.
//! When the buffer is full of frames that nobody takes, [`FrameReader::fill`] is not called and the stream holds the sender
//! back. When a [`FrameWriter`] is full, [`FrameWriter::has_room`] is false and the stack keeps its segments.
//!
//! ```text
//! reader.fill(|space| (&stream).read(space))?;
//! while let Some(frame) = reader.next_frame()? { … }
//! ```

use std::io::{self, ErrorKind};
use std::vec;
use std::vec::Vec;

/// The longest frame; QEMU's own limit is a little more than 64 KiB.
pub(super) const MAX_FRAME_BYTES: usize = 68 * 1024;
const LENGTH_BYTES: usize = 4;
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Frames waiting for the other end to read; a frame begun below this is written whole.
const WRITE_LIMIT_BYTES: usize = 256 * 1024;

/// Frames in.
#[derive(Debug)]
pub(super) struct FrameReader {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    /// An empty reader.
    #[must_use]
    pub(super) fn new() -> Self {
        FrameReader { bytes: vec![0; READ_BUFFER_BYTES], start: 0, end: 0 }
    }

    /// Reads once from the stream, which is `read`; the number of bytes it gave.
    ///
    /// # Errors
    /// Whatever `read` says.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.bytes.len() - self.end < MAX_FRAME_BYTES + LENGTH_BYTES {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let len = read(&mut self.bytes[self.end..])?;
        self.end += len;
        Ok(len)
    }

    /// Whether a whole frame, or what cannot be one, is there to be taken without another [`fill`](Self::fill).
    #[must_use]
    pub(super) fn has_frame(&self) -> bool {
        !matches!(self.frame_len(), Ok(None))
    }

    /// The next frame, `None` where it has not arrived in full.
    ///
    /// # Errors
    /// `InvalidData` where the length cannot be a frame's: this is not such a stream, or its middle.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(len) = self.frame_len()? else {
            return Ok(None);
        };
        let first = self.start + LENGTH_BYTES;
        self.start = first + len;
        Ok(Some(&self.bytes[first..first + len]))
    }

    /// The length of the next frame, if all of it is there.
    fn frame_len(&self) -> io::Result<Option<usize>> {
        let read = &self.bytes[self.start..self.end];
        let Some(length) = read.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if len > MAX_FRAME_BYTES {
            return Err(io::Error::new(ErrorKind::InvalidData, "the link carries something else than Ethernet frames"));
        }
        Ok((read.len() - LENGTH_BYTES >= len).then_some(len))
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

/// Frames out, many per write.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    bytes: Vec<u8>,
    written: usize,
}

impl FrameWriter {
    /// Whether another frame may be pushed.
    #[must_use]
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < WRITE_LIMIT_BYTES
    }

    /// Appends a frame of `len` bytes that `write` fills in.
    pub(super) fn push<R>(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        let prefix = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        self.bytes.extend_from_slice(&prefix);
        let first = self.bytes.len();
        self.bytes.resize(first + len, 0);
        write(&mut self.bytes[first..])
    }

    /// Hands what was pushed to the stream, which is `write`; `false` where it could not take everything.
    ///
    /// # Errors
    /// Whatever `write` says, except that the stream is full.
    pub(super) fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        while self.written < self.bytes.len() {
            match write(&self.bytes[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.bytes.drain(..self.written);
                    self.written = 0;
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.written = 0;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn stream(frames: &[&[u8]]) -> Vec<u8> {
        let mut writer = FrameWriter::default();
        for frame in frames {
            writer.push(frame.len(), |space| space.copy_from_slice(frame));
        }
        let mut bytes = Vec::new();
        writer
            .flush(|part| {
                bytes.extend_from_slice(part);
                Ok(part.len())
            })
            .unwrap();
        bytes
    }

    #[test]
    fn frames_cut_at_every_byte_come_out_whole() {
        let frames: [&[u8]; 3] = [b"first", b"", b"the third frame"];
        let bytes = stream(&frames);
        assert_eq!(bytes[..9], *b"\0\0\0\x05first");
        for cut in 0..=bytes.len() {
            let mut reader = FrameReader::new();
            let mut seen = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                reader
                    .fill(|space| {
                        space[..part.len()].copy_from_slice(part);
                        Ok(part.len())
                    })
                    .unwrap();
                while let Some(frame) = reader.next_frame().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            assert_eq!(seen, frames);
        }
    }

    #[test]
    fn a_length_no_frame_has_is_an_error_and_not_a_wait() {
        let mut reader = FrameReader::new();
        reader
            .fill(|space| {
                space[..4].copy_from_slice(b"GET ");
                Ok(4)
            })
            .unwrap();
        assert_eq!(reader.next_frame().unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_stream_that_takes_little_gets_every_byte_once_and_in_order() {
        let mut writer = FrameWriter::default();
        let mut sent = Vec::new();
        for round in 0..50u8 {
            writer.push(100, |space| space.fill(round));
            let mut room = 70;
            let flushed = writer.flush(|part| {
                if room == 0 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                let len = part.len().min(room);
                room -= len;
                sent.extend_from_slice(&part[..len]);
                Ok(len)
            });
            assert!(!flushed.unwrap());
        }
        writer
            .flush(|part| {
                sent.extend_from_slice(part);
                Ok(part.len())
            })
            .unwrap();
        let expected: Vec<u8> = (0..50u8).flat_map(|n| [vec![0, 0, 0, 100], vec![n; 100]].concat()).collect();
        assert_eq!(sent, expected);
    }
}
