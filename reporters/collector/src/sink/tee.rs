//! Two sinks as one: a recording that is watched live.
//!
//! Both get everything; an error of either ends both.

use super::{Sink, SinkError};
use crate::collector::Status;

/// Hands everything to both.
#[derive(Debug)]
pub struct Tee<'a, A: ?Sized, B: ?Sized>(
    /// Gets everything first.
    pub &'a mut A,
    /// Gets everything second.
    pub &'a mut B,
);

impl<A: Sink + ?Sized, B: Sink + ?Sized> Sink for Tee<'_, A, B> {
    fn metadata(&mut self, uuid: [u8; 16], text: &str) -> Result<(), SinkError> {
        self.0.metadata(uuid, text)?;
        self.1.metadata(uuid, text)
    }

    fn packet(&mut self, stream: u32, packet: &[u8]) -> Result<(), SinkError> {
        self.0.packet(stream, packet)?;
        self.1.packet(stream, packet)
    }

    fn tick(&mut self, status: &Status) -> Result<(), SinkError> {
        self.0.tick(status)?;
        self.1.tick(status)
    }
    fn has_joined(&mut self) -> bool {
        // Both are asked, whatever the first says.
        self.0.has_joined() | self.1.has_joined()
    }
}
