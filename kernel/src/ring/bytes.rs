//! A ring of bytes in a shared page, with two free-running indices beside it: one end only puts in, the other only takes out.
//!
//! When it is full, [`put`](ByteRing::put) takes as much as there is room for and says how much that was. Indices that cannot
//! be right, which is the other end's fault, make it seem empty, or full.

use core::sync::atomic::Ordering;

use super::page::Page;

/// One end of such a ring.
#[derive(Clone, Copy, Debug)]
pub struct ByteRing {
    /// Where it lies.
    pub page: Page,
    /// Where its bytes begin.
    pub at: usize,
    /// How many there are: a power of two.
    pub len: usize,
    /// Where the index of the end that puts in lies.
    pub produced: usize,
    /// Where the index of the end that takes out lies.
    pub consumed: usize,
}

impl ByteRing {
    /// How many bytes can be taken out. Indices that cannot be right count as an empty ring.
    #[must_use]
    pub fn filled(self) -> usize {
        let consumed = self.page.word(self.consumed).load(Ordering::Acquire);
        // Acquire: pairs with the other end's release of what it has put in (`put` in our own case).
        let filled = self.page.word(self.produced).load(Ordering::Acquire).wrapping_sub(consumed) as usize;
        if filled > self.len { 0 } else { filled }
    }

    /// How many bytes can be put in.
    #[must_use]
    pub fn free(self) -> usize {
        let produced = self.page.word(self.produced).load(Ordering::Acquire);
        // Acquire: pairs with the other end's release of what it has taken out (`take`).
        let filled = produced.wrapping_sub(self.page.word(self.consumed).load(Ordering::Acquire)) as usize;
        self.len.saturating_sub(filled)
    }

    /// Puts in as much of `bytes` as there is room for, and says how much that was.
    #[must_use]
    pub fn put(self, bytes: &[u8]) -> usize {
        let bytes = &bytes[..bytes.len().min(self.free())];
        let index = self.page.word(self.produced);
        let start = index.load(Ordering::Relaxed);
        let offset = start as usize & (self.len - 1);
        let (first, rest) = bytes.split_at(bytes.len().min(self.len - offset));
        self.page.write(self.at + offset, first);
        self.page.write(self.at, rest);
        #[expect(clippy::cast_possible_truncation, reason = "no longer than the ring, which lies in a page")]
        // Release: pairs with the other end's acquire: the bytes are there before the index says so.
        index.store(start.wrapping_add(bytes.len() as u32), Ordering::Release);
        bytes.len()
    }

    /// Takes out as much as there is, at most `bytes.len()`, and says how much that was.
    #[must_use]
    pub fn take(self, bytes: &mut [u8]) -> usize {
        let len = bytes.len().min(self.filled());
        let index = self.page.word(self.consumed);
        let start = index.load(Ordering::Relaxed);
        let offset = start as usize & (self.len - 1);
        let (first, rest) = bytes[..len].split_at_mut(len.min(self.len - offset));
        self.page.read(self.at + offset, first);
        self.page.read(self.at, rest);
        #[expect(clippy::cast_possible_truncation, reason = "no longer than the ring, which lies in a page")]
        // Release: pairs with the other end's acquire: the bytes are copied before their room is given back.
        index.store(start.wrapping_add(len as u32), Ordering::Release);
        len
    }
}
