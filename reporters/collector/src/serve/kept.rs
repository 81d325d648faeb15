//! What a server keeps for viewers that come late: all that was described, and the newest packets.
//!
//! Full: of the packets the oldest go, whole, so that no more than [`HISTORY_BYTES`] are kept; the description is bounded by that of
//! the guest, of which each callsite and each name is described once.

use std::collections::VecDeque;

use super::HISTORY_BYTES;
use crate::frames::MAX_TEXT_BYTES;

/// The newest frames that hold packets, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    frames: VecDeque<Vec<u8>>,
    len_bytes: usize,
}

impl History {
    /// Keeps a copy of `frame`, in the memory of those that have to go for it.
    pub(super) fn keep(&mut self, frame: &[u8]) {
        let mut place = Vec::new();
        while self.len_bytes + frame.len() > HISTORY_BYTES
            && let Some(oldest) = self.frames.pop_front()
        {
            self.len_bytes -= oldest.len();
            place = oldest;
        }
        place.clear();
        place.extend_from_slice(frame);
        self.len_bytes += place.len();
        self.frames.push_back(place);
    }

    /// The newest frames that fit into `room_bytes`.
    pub(super) fn newest(&self, room_bytes: usize) -> impl Iterator<Item = &[u8]> {
        let mut left_bytes = self.len_bytes;
        self.frames.iter().map(Vec::as_slice).skip_while(move |frame| {
            let fits = left_bytes <= room_bytes;
            left_bytes -= frame.len();
            !fits
        })
    }
}

/// All that was described, for viewers that come late. In pieces, so that to grow moves nothing.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// All but the last are of [`MAX_TEXT_BYTES`].
    pieces: Vec<Vec<u8>>,
}

impl Text {
    pub(super) fn push(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            match self.pieces.last_mut().filter(|piece| piece.len() < MAX_TEXT_BYTES) {
                Some(piece) => {
                    let (now, later) = text.split_at(text.len().min(MAX_TEXT_BYTES - piece.len()));
                    piece.extend_from_slice(now);
                    text = later;
                }
                None => self.pieces.push(Vec::new()),
            }
        }
    }

    /// What comes after the first `told_bytes`, as much of it as goes into a frame; `None` where that is all.
    pub(super) fn after(&self, told_bytes: usize) -> Option<&[u8]> {
        let piece = self.pieces.get(told_bytes / MAX_TEXT_BYTES)?;
        piece.get(told_bytes % MAX_TEXT_BYTES..).filter(|rest| !rest.is_empty())
    }
}
