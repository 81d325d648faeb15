//! A guest under QEMU: its whole memory is a file that QEMU maps, and the ring lies somewhere in it.
//!
//! When QEMU has ended, everything in the file but the ring can be given back: see [`keep_ring`].

use std::fs::OpenOptions;
use std::path::Path;

use fata_wire::shared::PAGE_BYTES;
use rustix::fs::{FallocateFlags, fallocate};

use super::SourceError;

/// Whether the QEMU process `pid` runs with this memory.
#[must_use]
pub fn is_alive(pid: u32, inode: u64) -> bool {
    super::process::is_alive(pid, inode)
}

/// Gives back everything but the ring of the memory file at `path`, and says how many bytes are kept.
///
/// Offsets stay as they are, so that a collector that has the ring mapped goes on reading it.
///
/// # Errors
/// As [`Guest::open`](super::Guest::open): a file without a ring is left as it is.
pub fn keep_ring(path: &Path) -> Result<u64, SourceError> {
    let io = |source: std::io::Error| SourceError::Io { path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
    let (offset, geometry) = super::memory::locate(&file)
        .map_err(io)?
        .map_err(|source| SourceError::Ring { path: path.to_owned(), source })?;
    let end = (offset + geometry.total_bytes).next_multiple_of(PAGE_BYTES as u64);
    let len = file.metadata().map_err(io)?.len();
    for (start, len) in [(0, offset), (end, len.saturating_sub(end))] {
        if len > 0 {
            fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, len)
                .map_err(|errno| io(errno.into()))?;
        }
    }
    Ok(geometry.total_bytes)
}
