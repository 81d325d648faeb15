//! A memory image: finding the ring in it, whoever wrote it.
//!
//! The ring begins at some page with the inverted signature. Holes of a sparse file hold no ring and are skipped unread, so
//! a virtual machine's gigabytes cost only the pages that it has touched.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use fata_wire::shared::{Geometry, PAGE_BYTES, STORED_MAGIC, SharedError};
use fata_wire::u64_at;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// How much is read at a time.
const STEP_BYTES: usize = 256 << 10;
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

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
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
