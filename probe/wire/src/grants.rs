//! How a Xen guest lists the pages of its ring for dom0: index pages, which hold grants.
//!
//! Under the domain's own path XenStore says where to begin, in a folder that dom0 alone may read:
//!
//! | `data/fata/…` | holds |
//! |---|---|
//! | [`version`](VERSION) | `1`. A reader that knows other versions only stops here |
//! | `name` | what the guest is called |
//! | `pages` | how many pages its memory has |
//! | `ring-ref` | the grant of the first index page |
//! | `event-channel` | the port that dom0 may bind to |
//! | `state` | `running`; written last, and so the place to watch |
//! | `ctl/` | the control channel, as libxenvchan advertises it |
//!
//! An index page is little-endian words of 32 bits: the [signature](MAGIC), the version, how many grants it holds, the grant
//! of the next index page (0 = none), then the grants. They are the pages of the memory in order
//! ([`shared`](crate::shared)): all granted read-only but the control page.

use crate::shared::PAGE_BYTES;
use crate::u32_at;

/// The folder in XenStore, under the domain's path.
pub const FOLDER: &str = "data/fata";
/// The version of folder and index pages.
pub const VERSION: u32 = 1;
/// The signature of an index page.
pub const MAGIC: u32 = u32::from_le_bytes(*b"FGRT");
/// Length of what comes before an index page's grants.
pub const HEADER_BYTES: usize = 16;
/// The most grants in an index page.
pub const MAX_REFS: usize = (PAGE_BYTES - HEADER_BYTES) / 4;

/// Why a page is no index page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// The signature is not there.
    NotAnIndex,
    /// A version that this program does not know.
    UnknownVersion(u32),
    /// It claims to hold none, or more grants than a page can.
    BadCount(u32),
}

impl core::error::Error for IndexError {}

impl core::fmt::Display for IndexError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            IndexError::NotAnIndex => f.write_str("the page that is to list its ring's grants does not"),
            IndexError::UnknownVersion(version) => {
                write!(f, "its list of grants has version {version}, this program reads {VERSION}: use a later `fata`")
            }
            IndexError::BadCount(count) => write!(f, "its list of grants claims {count} in one page"),
        }
    }
}

/// A copy of an index page, checked. Holding one proves that its count fits the page.
#[derive(Clone, Copy, Debug)]
pub struct IndexPage<'a> {
    bytes: &'a [u8; PAGE_BYTES],
    count: usize,
}

impl<'a> IndexPage<'a> {
    /// Checks a copy of a page.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn parse(bytes: &'a [u8; PAGE_BYTES]) -> Result<Self, IndexError> {
        if u32_at(bytes, 0) != MAGIC {
            return Err(IndexError::NotAnIndex);
        }
        match u32_at(bytes, 4) {
            VERSION => {}
            version => return Err(IndexError::UnknownVersion(version)),
        }
        let count = u32_at(bytes, 8);
        match usize::try_from(count) {
            Ok(fits @ 1..=MAX_REFS) => Ok(IndexPage { bytes, count: fits }),
            _ => Err(IndexError::BadCount(count)),
        }
    }

    /// The grant of the next index page.
    #[must_use]
    pub fn next(&self) -> Option<u32> {
        Some(u32_at(self.bytes, 12)).filter(|&grant| grant != 0)
    }

    /// The grants.
    pub fn refs(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        let bytes = self.bytes;
        (0..self.count).map(move |i| u32_at(bytes, HEADER_BYTES + 4 * i))
    }
}

/// The words of an index page that holds the first [`MAX_REFS`] of `refs`.
pub fn index_page(refs: &[u32], next: Option<u32>) -> impl Iterator<Item = u32> + '_ {
    let refs = refs.get(..MAX_REFS).unwrap_or(refs);
    let count = u32::try_from(refs.len()).unwrap_or(0);
    [MAGIC, VERSION, count, next.unwrap_or(0)].into_iter().chain(refs.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::put_u32;
    use std::vec::Vec;

    fn page(refs: &[u32], next: Option<u32>) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        for (i, word) in index_page(refs, next).enumerate() {
            put_u32(&mut page, 4 * i, word);
        }
        page
    }

    #[test]
    fn what_a_guest_lists_is_what_dom0_reads() {
        let refs: Vec<u32> = (8..8 + 1020).collect();
        for (refs, next) in [(&refs[..], Some(7)), (&refs[..1], None)] {
            let bytes = page(refs, next);
            let index = IndexPage::parse(&bytes).unwrap();
            assert_eq!((index.refs().collect::<Vec<_>>(), index.next()), (refs.to_vec(), next));
        }
    }

    #[test]
    fn a_page_that_lies_is_named() {
        let lie = |at: usize, value: u32| {
            let mut bytes = page(&[1, 2], None);
            put_u32(&mut bytes, at, value);
            IndexPage::parse(&bytes).unwrap_err()
        };
        assert_eq!(lie(0, 0), IndexError::NotAnIndex);
        assert_eq!(lie(4, 2), IndexError::UnknownVersion(2));
        for count in [0, 1021, u32::MAX] {
            assert_eq!(lie(8, count), IndexError::BadCount(count));
        }
    }
}
