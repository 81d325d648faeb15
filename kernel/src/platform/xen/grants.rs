//! Grants: leave for another domain to map a page of ours, or to copy from or to it.
//!
//! Invariant: an entry of the table is written once, its flags last, and holds until the domain ends: nothing is taken back,
//! unless somebody tries that out ([`end_all`]).
//!
//! When it is full: the table grows by a frame of 512 entries, until Xen refuses ([`GrantError::Full`]: `max_grant_frames` in
//! the xl.cfg).

#![expect(unsafe_code, reason = "frames of the table are put in the place of pages")]

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use super::hypercall::{self, Refused, Space};
use super::machine::local::Local;
use crate::ring::Page;

/// What an entry permits (`grant_table.h`).
const PERMIT_ACCESS: u16 = 1;
const READ_ONLY: u16 = 4;
const ENTRY_BYTES: usize = 8;
const ENTRIES_PER_FRAME: u32 = 512;
/// The toolstack has used the first ones, for the console and XenStore.
const RESERVED: u32 = 8;

static TABLE: Local<Table> = Local::new(Table { frames: Vec::new(), next: RESERVED });

struct Table {
    frames: Vec<Page>,
    /// Entries from here on were never used.
    next: u32,
}

/// The number by which another domain asks for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrantRef(pub(super) u32);

/// What the other domain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    ReadWrite,
}

/// Why a page was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantError {
    /// Xen gives the table no more frames than so many.
    Full(u32),
    /// The guest has no memory.
    NoMemory,
    /// Xen says no.
    Refused(Refused),
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GrantError::Full(frames) => write!(
                f,
                "the grant table is full at {frames} frames: raise max_grant_frames= in the xl.cfg, or lower ring_mib="
            ),
            GrantError::NoMemory => f.write_str("there is no memory for the grant table: raise memory= in the xl.cfg"),
            GrantError::Refused(refused) => write!(f, "the grant table cannot grow: {refused}"),
        }
    }
}

/// Lets domain `domain` use the page of this number.
pub(super) fn grant(domain: u16, frame: u64, access: Access) -> Result<GrantRef, GrantError> {
    let mut table = TABLE.get();
    let number = table.next_entry()?;
    let (page, at) = table.entry(number);
    let flags = PERMIT_ACCESS | if access == Access::ReadOnly { READ_ONLY } else { 0 };
    // Frames lie below 4 GiB, so their numbers have 20 bits.
    page.word(at + 4).store(u32::try_from(frame).unwrap_or(0), Ordering::Relaxed);
    // Release: pairs with Xen's look at the flags: the frame is there before.
    page.word(at).store(u32::from(flags) | u32::from(domain) << 16, Ordering::Release);
    Ok(GrantRef(number))
}

/// Takes back all leave there is, as a hostile guest may: to try out what becomes of those who use the pages. What they have mapped
/// stays mapped.
pub(super) fn end_all() {
    let table = TABLE.get();
    for number in RESERVED..table.next {
        let (page, at) = table.entry(number);
        page.word(at).store(0, Ordering::Relaxed);
    }
}

impl Table {
    fn entry(&self, number: u32) -> (Page, usize) {
        let frame = self.frames[(number / ENTRIES_PER_FRAME) as usize];
        (frame, (number % ENTRIES_PER_FRAME) as usize * ENTRY_BYTES)
    }

    fn next_entry(&mut self) -> Result<u32, GrantError> {
        let number = self.next;
        if self.frames.len() <= (number / ENTRIES_PER_FRAME) as usize {
            self.grow()?;
        }
        self.next += 1;
        Ok(number)
    }

    fn grow(&mut self) -> Result<(), GrantError> {
        let most = hypercall::most_grant_frames().map_err(GrantError::Refused)?;
        if self.frames.len() >= most as usize {
            return Err(GrantError::Full(most));
        }
        let page = Page::new().ok_or(GrantError::NoMemory)?;
        let index = self.frames.len() as u64;
        // SAFETY: the page is ours, new, and never given back.
        unsafe { hypercall::replace_page(Space::GrantTable, index, page.frame()) }.map_err(GrantError::Refused)?;
        self.frames.push(page);
        Ok(())
    }
}
