//! A memory image: finding the ring in it, whoever wrote it.
//!
//! A living guest's file is its memory, and [`locate`] finds the ring in it. A dead one's may be a core, in which memory is in
//! pieces: `open_image` looks for the ring by address, and puts its pieces together.
//!
//! The ring begins at some page with the inverted signature. Holes of a sparse file hold no ring and are skipped unread, so
//! a virtual machine's gigabytes cost only the pages that it has touched.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use fata_wire::packet;
use fata_wire::shared::{Geometry, PAGE_BYTES, STORED_MAGIC, SharedError, StreamStatus};
use fata_wire::{u32_at, u64_at};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::Errno;

use super::elf::{self, Extent, Order};

/// How much is read at a time.
const STEP_BYTES: usize = 256 << 10;
/// How often a core may have the same memory at several addresses, as a kernel's own has: more than this many times the length of
/// the file is not looked at.
const MAX_ALIASES: u64 = 16;
/// How many pages that bear the signature and yet are no ring are looked at before giving up.
const MAX_CANDIDATES: usize = 1024;

/// An image belongs to nobody.
#[must_use]
pub fn is_alive() -> bool {
    false
}

/// The offset and geometry of the ring in `file`. Where several pages bear the signature, the first good ring is taken.
///
/// # Errors
/// Outside those of reading, inside why no page of the file is a ring: [`SharedError::NotARing`] if none bears the signature.
pub fn locate(file: &File) -> io::Result<Result<(u64, Geometry), SharedError>> {
    let len = file.metadata()?.len();
    let mut verdict = SharedError::NotARing;
    let mut candidates = 0;
    let mut buffer = vec![0; STEP_BYTES];
    let mut at = 0;
    while at + PAGE_BYTES as u64 <= len {
        let (data, hole) = data_after(file, at, len)?;
        at = data - data % PAGE_BYTES as u64;
        while at < hole {
            let want = usize::try_from(len - at).unwrap_or(STEP_BYTES).min(STEP_BYTES);
            let got = read_up_to(file, &mut buffer[..want], at)?;
            for (i, page) in buffer[..got].as_chunks::<PAGE_BYTES>().0.iter().enumerate() {
                if u64_at(page, 0) != STORED_MAGIC {
                    continue;
                }
                let offset = at + (i * PAGE_BYTES) as u64;
                match Geometry::parse(page, len - offset) {
                    Ok(geometry) => return Ok(Ok((offset, geometry))),
                    Err(error) => verdict = error,
                }
                candidates += 1;
                if candidates >= MAX_CANDIDATES {
                    return Ok(Err(verdict));
                }
            }
            if got < PAGE_BYTES {
                return Ok(Err(verdict));
            }
            at += (got - got % PAGE_BYTES) as u64;
        }
    }
    Ok(Err(verdict))
}

/// A file whose bytes from the offset on are the ring of the image `file`, and its geometry: `file` itself where the ring is in
/// one piece, else a copy in memory. The image is raw memory, or an ELF core.
///
/// # Errors
/// As [`locate`].
pub(super) fn open_image(file: &File) -> io::Result<Result<(File, u64, Geometry), SharedError>> {
    let mut verdict = SharedError::NotARing;
    for order in [Order::Virtual, Order::Physical] {
        let raw = Extent { address: 0, offset: 0, len: file.metadata()?.len() };
        let found = elf::extents(file, order)?;
        let is_raw = found.is_none();
        match find(file, &found.unwrap_or_else(|| vec![raw]))? {
            Ok(ring) => return Ok(Ok(ring)),
            Err(SharedError::NotARing) => {}
            Err(error) => verdict = error,
        }
        if is_raw {
            break;
        }
    }
    Ok(Err(verdict))
}

/// The first ring in the memory that `extents` of `file` are.
fn find(file: &File, extents: &[Extent]) -> io::Result<Result<(File, u64, Geometry), SharedError>> {
    let file_bytes = file.metadata()?.len();
    let mut verdict = SharedError::NotARing;
    let mut candidates = 0;
    let mut buffer = vec![0; STEP_BYTES];
    let mut left_bytes = file_bytes.saturating_mul(MAX_ALIASES);
    for (i, extent) in extents.iter().enumerate() {
        let Some(left) = left_bytes.checked_sub(extent.len) else { break };
        left_bytes = left;
        let skip = extent.address.wrapping_neg() % PAGE_BYTES as u64;
        let (mut at, end) = (extent.offset.saturating_add(skip), extent.offset + extent.len);
        while at + PAGE_BYTES as u64 <= end {
            let (data, hole) = data_after(file, at, end)?;
            at = data - (data - extent.offset - skip) % PAGE_BYTES as u64;
            while at < hole {
                let want = usize::try_from(end - at).unwrap_or(STEP_BYTES).min(STEP_BYTES);
                let got = read_up_to(file, &mut buffer[..want], at)?;
                for (page_index, page) in buffer[..got].as_chunks::<PAGE_BYTES>().0.iter().enumerate() {
                    if u64_at(page, 0) != STORED_MAGIC {
                        continue;
                    }
                    let pieces = pieces(&extents[i..], at - extent.offset + (page_index * PAGE_BYTES) as u64);
                    let mapped = pieces.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.len));
                    match Geometry::parse(page, mapped.min(file_bytes)) {
                        Ok(geometry) if holds_packets(file, &pieces, page, &geometry)? => {
                            return put_together(file, &pieces, geometry).map(Ok);
                        }
                        Ok(_) => verdict = SharedError::BadGeometry("first packet"),
                        Err(error) => verdict = error,
                    }
                    candidates += 1;
                    if candidates >= MAX_CANDIDATES {
                        return Ok(Err(verdict));
                    }
                }
                if got < PAGE_BYTES {
                    break;
                }
                at += (got - got % PAGE_BYTES) as u64;
            }
            if at >= data && at < hole {
                break;
            }
        }
    }
    Ok(Err(verdict))
}

/// The memory from `skip` bytes into the first of `extents` on, for as long as one follows the other.
fn pieces(extents: &[Extent], skip: u64) -> Vec<Extent> {
    let mut pieces: Vec<Extent> = Vec::new();
    for extent in extents {
        let piece = match pieces.last() {
            None => Extent { address: extent.address + skip, offset: extent.offset + skip, len: extent.len - skip },
            Some(last) if last.address + last.len == extent.address => *extent,
            Some(_) => break,
        };
        pieces.push(piece);
    }
    pieces
}

/// Fills `bytes` from `at` bytes into the memory that `pieces` are; what no piece holds stays as it was.
fn read_pieces(file: &File, pieces: &[Extent], mut at: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    for piece in pieces {
        if at >= piece.len {
            at -= piece.len;
            continue;
        }
        let take = bytes.len().min(usize::try_from(piece.len - at).unwrap_or(usize::MAX));
        let (now, later) = bytes.split_at_mut(take);
        read_up_to(file, now, piece.offset + at)?;
        (at, bytes) = (0, later);
        if bytes.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Whether the youngest packet of the first stream begins as one: a copy of a header page, such as a collector makes, is not
/// followed by any.
fn holds_packets(file: &File, pieces: &[Extent], page: &[u8; PAGE_BYTES], geometry: &Geometry) -> io::Result<bool> {
    let Some(youngest) = StreamStatus::parse(page, 0).lock.checked_sub(1).map(|lock| lock / 2) else { return Ok(true) };
    let mut magic = [0; 4];
    read_pieces(file, pieces, geometry.packet_offset(0, youngest), &mut magic)?;
    Ok(u32_at(&magic, 0) == packet::MAGIC)
}

fn put_together(file: &File, pieces: &[Extent], geometry: Geometry) -> io::Result<(File, u64, Geometry)> {
    if let Some(first) = pieces.first()
        && first.len >= geometry.total_bytes
        && first.offset.is_multiple_of(PAGE_BYTES as u64)
    {
        return Ok((file.try_clone()?, first.offset, geometry));
    }
    let copy = File::from(memfd_create("fata-image", MemfdFlags::CLOEXEC)?);
    copy.set_len(geometry.total_bytes)?;
    let mut buffer = vec![0; STEP_BYTES];
    let mut at = 0;
    while at < geometry.total_bytes {
        let step = usize::try_from(geometry.total_bytes - at).unwrap_or(STEP_BYTES).min(STEP_BYTES);
        buffer[..step].fill(0);
        read_pieces(file, pieces, at, &mut buffer[..step])?;
        if buffer[..step].iter().any(|&byte| byte != 0) {
            copy.write_all_at(&buffer[..step], at)?;
        }
        at += step as u64;
    }
    Ok((copy, 0, geometry))
}

/// The next range of `file` at or after `at` that is no hole; an empty range at the end where there is none.
fn data_after(file: &File, at: u64, len: u64) -> io::Result<(u64, u64)> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok((data, seek(file, SeekFrom::Hole(data))?.min(len))),
        Err(Errno::NXIO) => Ok((len, len)),
        // A file system without holes: all of it is data.
        Err(Errno::INVAL) => Ok((at, len)),
        Err(errno) => Err(errno.into()),
    }
}

/// Fills `buffer` from `at` on, as far as the file goes.
pub(super) fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
