//! An ELF core as memory: which bytes of the file were at which address.
//!
//! Invariant: every [`Extent`] lies inside the file, whatever the headers say. Extents are in the order of their addresses and
//! those that follow one another in memory do so in the list, wherever they lie in the file: a core splits a mapping as it
//! likes, and `gcore` does not even align it. When a core has more than [`MAX_EXTENTS`] of them the rest is not looked at.
//!
//! Three writers are known. `dump-guest-memory` of QEMU has a segment per range of physical memory, a process core one per
//! mapping of virtual memory, and `xl dump-core` no segments but a section of pages and one with their numbers.

use std::fs::File;
use std::io;

use fata_wire::shared::PAGE_BYTES;
use fata_wire::{u16_at, u32_at, u64_at};

use super::memory::read_up_to;

/// A domain of 16 GiB whose every page lies somewhere else.
const MAX_EXTENTS: usize = 1 << 22;
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
const SECTION_BYTES: usize = 64;
const PT_LOAD: u32 = 1;
/// The segments are too many for their field: section 0 has their number.
const PN_XNUM: u16 = 0xffff;
const MAX_SECTIONS: u16 = 1024;

/// Memory from `address` on, and where it is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The kinds of address by which a core's memory can be put in order; each may be the one in which the ring is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Virtual,
    Physical,
}

/// The memory in `file`; `None` where it is no ELF core of 64 bits, little-endian.
///
/// # Errors
/// Those of reading.
pub(super) fn extents(file: &File, order: Order) -> io::Result<Option<Vec<Extent>>> {
    let file_bytes = file.metadata()?.len();
    let mut header = [0; HEADER_BYTES];
    // Magic, 64 bits, little-endian; a core.
    if read_up_to(file, &mut header, 0)? < HEADER_BYTES
        || header[..6] != *b"\x7fELF\x02\x01"
        || u16_at(&header, 16) != 4
    {
        return Ok(None);
    }
    let (segments_at, sections_at) = (u64_at(&header, 32), u64_at(&header, 40));
    let mut segments = u32::from(u16_at(&header, 56));
    let sections = u16_at(&header, 60).min(MAX_SECTIONS);
    if segments == u32::from(PN_XNUM) {
        segments = table(file, sections_at, SECTION_BYTES, 1)?.first().map_or(0, |section| u32_at(section, 44));
    }
    let mut extents: Vec<Extent> = table(file, segments_at, SEGMENT_BYTES, segments as usize)?
        .iter()
        .filter(|segment| u32_at(&segment[..], 0) == PT_LOAD)
        .map(|segment| Extent {
            address: u64_at(segment, if order == Order::Virtual { 16 } else { 24 }),
            offset: u64_at(segment, 8),
            len: u64_at(segment, 32),
        })
        .collect();
    if extents.is_empty() && order == Order::Physical {
        let sections = table(file, sections_at, SECTION_BYTES, sections.into())?;
        extents = pages(file, &sections, u16_at(&header, 62).into())?;
    }
    extents.retain_mut(|extent| {
        extent.len = extent.len.min(file_bytes.saturating_sub(extent.offset)).min(u64::MAX - extent.address);
        extent.len > 0
    });
    extents.sort_unstable_by_key(|extent| extent.address);
    Ok(Some(extents))
}

/// `count` entries of a table, or as many as the file has.
fn table(file: &File, at: u64, entry_bytes: usize, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut bytes = vec![0; count.min(MAX_EXTENTS) * entry_bytes];
    let got = if at == 0 { 0 } else { read_up_to(file, &mut bytes, at)? };
    Ok(bytes[..got].chunks_exact(entry_bytes).map(<[u8]>::to_vec).collect())
}

/// The pages of `xl dump-core`: the section `.xen_pages` holds them, `.xen_pfn` (or `.xen_p2m`, in pairs) their numbers.
fn pages(file: &File, sections: &[Vec<u8>], names: usize) -> io::Result<Vec<Extent>> {
    let place = |section: &Vec<u8>| (u64_at(section, 24), u64_at(section, 32));
    let Some((names_at, names_bytes)) = sections.get(names).map(place) else { return Ok(Vec::new()) };
    let mut names = vec![0; usize::try_from(names_bytes.min(1 << 16)).unwrap_or(0)];
    let got = read_up_to(file, &mut names, names_at)?;
    let named = |name: &[u8]| {
        sections.iter().find(|section| {
            let at = u32_at(section, 0) as usize;
            names[..got]
                .get(at..)
                .is_some_and(|text| text.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0)))
        })
    };
    let Some((pages_at, pages_bytes)) = named(b".xen_pages").map(place) else { return Ok(Vec::new()) };
    let (numbers, words) = match (named(b".xen_pfn"), named(b".xen_p2m")) {
        (Some(numbers), _) => (place(numbers), 1),
        (None, Some(numbers)) => (place(numbers), 2),
        (None, None) => return Ok(Vec::new()),
    };
    let page = PAGE_BYTES as u64;
    let count = usize::try_from((pages_bytes / page).min(numbers.1 / 8 / words)).unwrap_or(0).min(MAX_EXTENTS);
    let mut list = vec![0; count * 8 * usize::try_from(words).unwrap_or(1)];
    let got = read_up_to(file, &mut list, numbers.0)?;
    let mut extents: Vec<Extent> = Vec::new();
    for (i, entry) in list[..got].chunks_exact(8 * usize::try_from(words).unwrap_or(1)).enumerate() {
        let Some(offset) = pages_at.checked_add(i as u64 * page) else { break };
        let Some(address) = u64_at(entry, 0).checked_mul(page) else { continue };
        let follows = |last: &Extent| {
            last.address.checked_add(last.len) == Some(address) && last.offset.checked_add(last.len) == Some(offset)
        };
        match extents.last_mut() {
            Some(last) if follows(last) => last.len += page,
            _ => extents.push(Extent { address, offset, len: page }),
        }
    }
    Ok(extents)
}
