//! The ring in the memory of a domain that is dead and kept, found by its signature and mapped by the numbers of its frames.
//!
//! For domains that nobody can ask and that say nothing of use: one that crashed before it advertised its ring, one whose
//! grants have ended, one that lies. Invariant: at most [`STEP_FRAMES`] are mapped at a time while the ring is looked for, and
//! no page of the result is missing.
//!
//! ```text
//! xl create last.cfg 'on_crash="preserve"'     # it crashes
//! fata collect last -o trace                   # …; the guest crashed
//!                                              # read from the memory of the dead domain, since …
//! ```

use fata_wire::packet;
use fata_wire::shared::{Geometry, PAGE_BYTES, STORED_MAGIC, SharedError, StreamStatus};

use super::device::{frames, map_frames};
use super::{MAX_PAGES, XenError};
use crate::shared::SharedMemory;

/// How many frames are mapped at a time.
const STEP_FRAMES: usize = 512;
/// Frames below 4 GiB, where the memory of devices lies: a domain's own goes on behind.
const FRAMES_BELOW_4_GIB: u64 = 1 << 20;
/// Where so many frames are missing one after the other, a domain's own memory below 4 GiB has ended: more than it gives back to Xen
/// in one piece. (What there is up to 4 GiB then are a few pages of Xen's.)
const HOLE_FRAMES: u64 = 64 << 20 >> 12;
/// How many pages that bear the signature and yet are no ring are looked at before giving up.
const MAX_CANDIDATES: usize = 1024;

/// The ring in the memory of domain `domid`; inside, why there is none. The first good one is taken.
pub(super) fn find(domid: u16) -> Result<Result<SharedMemory, SharedError>, XenError> {
    let total = frames(domid)?;
    let mut verdict = SharedError::NotARing;
    let (mut first, mut seen, mut candidates, mut missing) = (0, 0, 0, 0);
    while seen < total && first < total.saturating_add(FRAMES_BELOW_4_GIB) {
        let (step, present) = map_frames(domid, first, STEP_FRAMES)?;
        missing = if present.contains(&true) { 0 } else { missing + STEP_FRAMES as u64 };
        for (i, frame) in (first..).enumerate().take(STEP_FRAMES).filter(|(i, _)| present[*i]) {
            seen += 1;
            if step.load(i * PAGE_BYTES) != STORED_MAGIC {
                continue;
            }
            match ring_at(domid, frame, &step.copy_page(i * PAGE_BYTES))? {
                Ok(memory) => return Ok(Ok(memory)),
                Err(error) => verdict = error,
            }
            candidates += 1;
            if candidates >= MAX_CANDIDATES {
                return Ok(Err(verdict));
            }
        }
        first += STEP_FRAMES as u64;
        if missing >= HOLE_FRAMES && first < FRAMES_BELOW_4_GIB {
            first = FRAMES_BELOW_4_GIB;
        }
    }
    Ok(Err(verdict))
}

/// The ring whose header page is `page`, in frame `frame`.
fn ring_at(domid: u16, frame: u64, page: &[u8; PAGE_BYTES]) -> Result<Result<SharedMemory, SharedError>, XenError> {
    let geometry = match Geometry::parse(page, (MAX_PAGES * PAGE_BYTES) as u64) {
        Ok(geometry) => geometry,
        Err(error) => return Ok(Err(error)),
    };
    let pages = usize::try_from(geometry.total_bytes).unwrap_or(usize::MAX).div_ceil(PAGE_BYTES);
    let (ring, present) = map_frames(domid, frame, pages)?;
    if present.contains(&false) {
        return Ok(Err(SharedError::BadGeometry("length")));
    }
    let Ok(memory) = SharedMemory::granted(ring, None, geometry, None) else {
        return Ok(Err(SharedError::BadGeometry("length")));
    };
    Ok(if holds_packets(&memory, page) { Ok(memory) } else { Err(SharedError::BadGeometry("first packet")) })
}

/// Whether the youngest packet of the first stream begins as one: a copy of a header page is not followed by any.
fn holds_packets(memory: &SharedMemory, page: &[u8; PAGE_BYTES]) -> bool {
    let Some(youngest) = StreamStatus::parse(page, 0).lock.checked_sub(1).map(|lock| lock / 2) else { return true };
    let offset = usize::try_from(memory.geometry().packet_offset(0, youngest)).unwrap_or(0);
    let [a, b, c, d, ..] = memory.load(offset).to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) == packet::MAGIC
}
