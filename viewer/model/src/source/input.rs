//! Packets one after another from anything that can be read, one held at a time.
//!
//! Invariant: `from..to` are the bytes that were read and not yet handed on; they begin at a packet's begin.

use std::io::{self, Read};

use fata_wire::event::MAX_CALLSITES;
use fata_wire::packet::{HEADER_BYTES, MAGIC, METADATA_MAGIC, Packet, PacketError, PacketHeader, metadata_packet};
use fata_wire::repair::committed_prefix;
use fata_wire::u32_at;

use super::{Chunk, OpenError};

/// Small enough to stay in the processor's cache.
const BUFFER_BYTES: usize = 1 << 17;

/// What lies at the input's position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Not looked at yet.
    Unseen,
    /// Metadata text of so many bytes.
    Metadata(usize),
    /// A packet: its length, whose it is, its begin in ticks.
    Packet(usize, u16, u64),
    /// Nothing more.
    End,
}

/// Packets one after another.
pub(super) struct PacketInput {
    name: String,
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// The unread bytes of the buffer.
    from: usize,
    to: usize,
    /// Bytes that were taken out before `from`.
    before: u64,
    next: Next,
    /// Metadata has been seen.
    pub(super) described: bool,
    pub(super) text: String,
}

impl PacketInput {
    pub(super) fn new(name: String, input: Box<dyn Read + Send>) -> Self {
        PacketInput {
            name,
            input,
            buffer: Vec::new(),
            from: 0,
            to: 0,
            before: 0,
            next: Next::Unseen,
            described: false,
            text: String::new(),
        }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.from..self.to).unwrap_or(&[])
    }

    pub(super) fn magic(&self) -> u32 {
        u32_at(self.bytes(), 0)
    }

    /// Reads until there are `needed` bytes; `false` where the input ends before.
    pub(super) fn fill(&mut self, needed: usize) -> Result<bool, OpenError> {
        while self.to - self.from < needed {
            if self.buffer.len() < self.from + needed.max(BUFFER_BYTES / 2) {
                self.buffer.copy_within(self.from..self.to, 0);
                self.before += self.from as u64;
                self.to -= self.from;
                self.from = 0;
                self.buffer.resize(BUFFER_BYTES.max(needed), 0);
            }
            let room = self.buffer.get_mut(self.to..).unwrap_or(&mut []);
            match self.input.read(room) {
                Ok(0) => return Ok(false),
                Ok(count) => self.to += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(OpenError::Io { name: self.name.clone(), error }),
            }
        }
        Ok(true)
    }

    pub(super) fn next_begin(&mut self, warnings: &mut Vec<String>) -> Result<Option<(u16, u64)>, OpenError> {
        if self.next == Next::Unseen {
            self.next = self.look(warnings)?;
        }
        Ok(match self.next {
            Next::Metadata(_) => Some((0, 0)),
            Next::Packet(_, guest, begin) => Some((guest, begin)),
            Next::Unseen | Next::End => None,
        })
    }

    fn look(&mut self, warnings: &mut Vec<String>) -> Result<Next, OpenError> {
        let mut needed = 4;
        loop {
            let enough = self.fill(needed)?;
            let bytes = self.bytes();
            if !enough {
                if !bytes.is_empty() {
                    warnings.push(format!(
                        "{} ends in the middle of a packet, after {} bytes: it was read up to there",
                        self.name,
                        self.before + self.to as u64
                    ));
                }
                let at_start = self.before + self.from as u64 == 0;
                if at_start && !self.described && !self.looks_like_a_trace() {
                    let name = self.name.clone();
                    return if bytes.is_empty() { Ok(Next::End) } else { Err(OpenError::Foreign(name)) };
                }
                return Ok(self.salvage());
            }
            let parsed = if self.magic() == METADATA_MAGIC {
                metadata_packet::parse(bytes).map(|(text, len)| (text.to_vec(), len, None))
            } else {
                Packet::parse(bytes).map(|packet| {
                    (Vec::new(), packet.bytes.len(), Some((packet.header.guest(), packet.header.timestamp_begin)))
                })
            };
            match parsed {
                Ok((_, len, Some((guest, begin)))) if self.described => return Ok(Next::Packet(len, guest, begin)),
                Ok((_, _, Some(_))) => return Err(OpenError::NoDescription(self.name.clone())),
                Ok((text, len, None)) => {
                    self.text = String::from_utf8_lossy(&text).into_owned();
                    if !self.described && !self.text.contains("/* fata") {
                        return Err(OpenError::ForeignCtf(self.name.clone()));
                    }
                    self.described = true;
                    return Ok(Next::Metadata(len));
                }
                Err(PacketError::Incomplete { needed_bytes }) => needed = needed_bytes,
                Err(error) => {
                    let at = self.before + self.from as u64;
                    if at == 0 && !self.described {
                        return Err(OpenError::Foreign(self.name.clone()));
                    }
                    warnings.push(format!("{}, byte {at}: {error}; the rest of it was left out", self.name));
                    return Ok(Next::End);
                }
            }
        }
    }

    fn looks_like_a_trace(&self) -> bool {
        let bytes = self.bytes();
        bytes.len() >= 4 && (self.magic() == METADATA_MAGIC || self.magic() == MAGIC)
    }

    /// Makes a packet of what there is of one that was cut: its whole events.
    fn salvage(&mut self) -> Next {
        let Ok(mut header) = PacketHeader::parse(self.bytes()) else { return Next::End };
        if !self.described {
            return Next::End;
        }
        let content = usize::try_from(header.content_size / 8).unwrap_or(usize::MAX).min(self.bytes().len());
        let events = self.bytes().get(HEADER_BYTES..content).unwrap_or(&[]);
        let walk = committed_prefix(events, header.timestamp_begin, MAX_CALLSITES);
        let len = HEADER_BYTES + walk.bytes;
        header.content_size = len as u64 * 8;
        header.packet_size = header.content_size;
        header.timestamp_end = walk.ticks;
        header.events = walk.events;
        let (guest, begin) = (header.guest(), header.timestamp_begin);
        if let Some(bytes) = self.buffer.get_mut(self.from..self.to) {
            header.write(bytes);
        }
        // What follows the last whole event is nothing.
        self.to = self.from + len;
        Next::Packet(len, guest, begin)
    }

    /// The chunk that was looked at.
    pub(super) fn take(&mut self) -> Option<Chunk<'_>> {
        let next = std::mem::replace(&mut self.next, Next::Unseen);
        let from = self.from;
        match next {
            Next::Metadata(len) => {
                self.from += len;
                Some(Chunk::Metadata(&self.text))
            }
            Next::Packet(len, ..) => {
                self.from += len;
                self.buffer.get(from..from + len).map(Chunk::Packet)
            }
            Next::Unseen | Next::End => {
                self.next = next;
                None
            }
        }
    }
}
