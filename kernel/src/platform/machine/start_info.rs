//! What the loader tells the guest: the PVH start information, read with suspicion.
//!
//! Source: Xen, `xen/include/public/arch-x86/hvm/start_info.h`. QEMU and Xen fill in the same structure.
//!
//! The structure is the loader's, but a wrong address in it would make us read a device. So every address must lie in the
//! mapped first 4 GiB, texts and tables are cut at a bound, and what cannot be right is refused with a sentence.

#![expect(unsafe_code, reason = "the loader passes addresses")]

use core::fmt;

/// The first word of the structure.
const MAGIC: u32 = 0x336e_c578;
/// Where the identity map ends.
pub(in crate::platform) const MAPPED_BYTES: u64 = 1 << 32;
/// A longer command line is cut.
pub(in crate::platform) const MAX_COMMAND_LINE_BYTES: usize = 4096;
/// More entries of the memory map are not looked at.
const MAX_MEMORY_ENTRIES: u32 = 128;
/// The type of a range that is free to use.
const RAM: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    // From version 1 on.
    memory_map: u64,
    memory_entries: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MemoryEntry {
    address: u64,
    len_bytes: u64,
    kind: u32,
    reserved: u32,
}

/// Why the guest cannot start with what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::platform) enum StartError {
    /// The address or the first word is not that of the structure.
    NotStartInfo(u64),
    /// The structure comes without a memory map.
    NoMemoryMap(u32),
    /// The table named is outside of what can be read.
    Unreachable(&'static str, u64),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NotStartInfo(address) => {
                write!(f, "no PVH start information at {address:#x}: the image must be booted through its PVH entry")
            }
            StartError::NoMemoryMap(version) => {
                write!(
                    f,
                    "the loader gave no memory map (start information of version {version}): use QEMU 4.0 or later"
                )
            }
            StartError::Unreachable(what, address) => {
                write!(
                    f,
                    "the loader put the {what} at {address:#x}, beyond the first 4 GiB: give the guest less memory"
                )
            }
        }
    }
}

/// The start information. Holding one proves that its tables lie in mapped memory.
pub(in crate::platform) struct StartInfo {
    header: Header,
}

impl StartInfo {
    /// Checks the structure at `address`.
    ///
    /// # Safety
    /// `address` must be what the loader passed in ebx, and the first 4 GiB must be mapped as they are.
    pub(in crate::platform) unsafe fn read(address: u64) -> Result<Self, StartError> {
        if address == 0 || !address.is_multiple_of(4) || !mapped(address, size_of::<Header>() as u64) {
            return Err(StartError::NotStartInfo(address));
        }
        // SAFETY: mapped, as was just checked, and any bytes are a `Header`; `read_unaligned` asks no more.
        let header = unsafe { (address as *const Header).read_unaligned() };
        if header.magic != MAGIC {
            return Err(StartError::NotStartInfo(address));
        }
        if header.version == 0 || header.memory_map == 0 {
            return Err(StartError::NoMemoryMap(header.version));
        }
        let map_bytes = u64::from(header.memory_entries) * size_of::<MemoryEntry>() as u64;
        if !mapped(header.memory_map, map_bytes) {
            return Err(StartError::Unreachable("memory map", header.memory_map));
        }
        if !mapped(header.command_line, MAX_COMMAND_LINE_BYTES as u64) {
            return Err(StartError::Unreachable("command line", header.command_line));
        }
        Ok(StartInfo { header })
    }

    /// The bytes of the command line, without the NUL that ends it; cut at 4 KiB.
    pub(in crate::platform) fn command_line(&self) -> impl Iterator<Item = u8> + '_ {
        let start = self.header.command_line;
        let len = if start == 0 { 0 } else { MAX_COMMAND_LINE_BYTES as u64 };
        // SAFETY: `read` has checked that so many bytes from the start are mapped; a byte has no wrong value.
        (start..start + len).map(|at| unsafe { (at as *const u8).read() }).take_while(|&byte| byte != 0)
    }

    /// The ranges of memory that are free to use, cut at 4 GiB. What the loader itself has put there is not taken out.
    pub(in crate::platform) fn ram(&self) -> impl Iterator<Item = core::ops::Range<u64>> + '_ {
        let entries = u64::from(self.header.memory_entries.min(MAX_MEMORY_ENTRIES));
        (0..entries)
            .map(|index| {
                let at = self.header.memory_map + index * size_of::<MemoryEntry>() as u64;
                // SAFETY: `read` has checked that the whole table is mapped; any bytes are a `MemoryEntry`.
                unsafe { (at as *const MemoryEntry).read_unaligned() }
            })
            .filter(|entry| entry.kind == RAM)
            .map(|entry| {
                let end = entry.address.saturating_add(entry.len_bytes).min(MAPPED_BYTES);
                entry.address.min(end)..end
            })
    }
}

fn mapped(address: u64, len_bytes: u64) -> bool {
    address.checked_add(len_bytes).is_some_and(|end| end <= MAPPED_BYTES)
}
