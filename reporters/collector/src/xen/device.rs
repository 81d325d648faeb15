//! What the kernel of a dom0 offers below `/dev/xen`: mapping granted pages, event channels, and asking Xen itself.
//!
//! Only system calls on the kernel's devices: no library of Xen's is needed. Source of the numbers and structures: Linux,
//! `include/uapi/xen/{gntdev,evtchn,privcmd}.h`; Xen, `xen/include/public/domctl.h`.
#![expect(unsafe_code, reason = "ioctl takes a pointer to a structure that only the kernel's headers describe")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fata_wire::shared::PAGE_BYTES;
use fata_wire::{put_u32, u32_at, u64_at};

use super::XenError;
use crate::shared::{Mapping, WritablePage};

/// The number of an ioctl without a direction: `_IOC(_IOC_NONE, group, number, len)`.
const fn ioctl_number(group: u8, number: u8, len_bytes: usize) -> libc::c_ulong {
    (len_bytes as libc::c_ulong) << 16 | (group as libc::c_ulong) << 8 | number as libc::c_ulong
}

/// Calls the driver of `file` with `argument`, whose length is part of `request` or known to the driver.
fn ioctl(file: &File, request: libc::c_ulong, argument: &mut [u64]) -> io::Result<libc::c_int> {
    // SAFETY: each caller passes words that hold the whole structure of its request, which the driver reads and writes; they
    // are borrowed until the call returns, and what they point at lives at least as long.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, argument.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn open(path: &'static str) -> Result<File, XenError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| XenError::device(path, error))
}

/// The device that maps what other domains grant.
pub(crate) const GNTDEV: &str = "/dev/xen/gntdev";

/// Maps pages that domain `domid` has granted to this one, in the order of `refs`.
///
/// # Errors
/// [`XenError::NoPermission`], and [`XenError::Device`] where one of the grants is none.
pub(crate) fn map_grants(domid: u16, refs: &[u32], writable: bool) -> Result<Mapping, XenError> {
    let (file, offset) = take_grants(domid, refs)?;
    // What was mapped stays so when the file is closed, and is given back when the mapping goes.
    Mapping::new(&file, offset, refs.len() * PAGE_BYTES, writable)
        .map_err(|source| XenError::Device { path: GNTDEV, source })
}

/// Maps one page that domain `domid` has granted to this one, to be written by both.
///
/// # Errors
/// As [`map_grants`].
pub(crate) fn map_writable_page(domid: u16, grant: u32) -> Result<WritablePage, XenError> {
    let (file, offset) = take_grants(domid, &[grant])?;
    WritablePage::new(&file, offset).map_err(|source| XenError::Device { path: GNTDEV, source })
}

/// The device, and where in it the pages behind these grants lie.
fn take_grants(domid: u16, refs: &[u32]) -> Result<(File, u64), XenError> {
    // The number always has the length of the structure for one grant: a count, an index, and a pair of words.
    const MAP_GRANT_REF: libc::c_ulong = ioctl_number(b'G', 0, 24);
    let file = open(GNTDEV)?;
    let mut argument = vec![refs.len() as u64, 0];
    argument.extend(refs.iter().map(|&grant| u64::from(domid) | u64::from(grant) << 32));
    ioctl(&file, MAP_GRANT_REF, &mut argument).map_err(|source| XenError::Device { path: GNTDEV, source })?;
    Ok((file, argument.get(1).copied().unwrap_or(0)))
}

/// The device that asks Xen, and maps the memory of other domains.
const PRIVCMD: &str = "/dev/xen/privcmd";
/// A hypercall: its number, and five arguments.
const HYPERCALL: libc::c_ulong = ioctl_number(b'P', 0, 48);

/// Maps `count` frames of domain `domid` from number `first` on, read-only, and says which of them there are. Of a domain that
/// is dead and kept: whoever lives advertises what may be read.
///
/// # Errors
/// [`XenError::NoPermission`], and [`XenError::Device`] where there is no such domain.
pub(crate) fn map_frames(domid: u16, first: u64, count: usize) -> Result<(Mapping, Vec<bool>), XenError> {
    /// Count and domain, the address, the frames' numbers, and room for what is wrong with each.
    const MMAP_BATCH_V2: libc::c_ulong = ioctl_number(b'P', 4, 32);
    let failed = |source| XenError::Device { path: PRIVCMD, source };
    let file = open(PRIVCMD)?;
    let mapping = Mapping::new(&file, 0, count * PAGE_BYTES, false).map_err(failed)?;
    let frames: Vec<u64> = (first..).take(count).collect();
    let mut errors = vec![0i32; count];
    let words = [
        count as u64 | u64::from(domid) << 32,
        mapping.address() as u64,
        frames.as_ptr().expose_provenance() as u64,
        errors.as_mut_ptr().expose_provenance() as u64,
    ];
    match ioctl(&file, MMAP_BATCH_V2, &mut words.clone()) {
        // Some frames have been put aside, which the errors say too.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(failed(error)),
        _ => Ok((mapping, errors.iter().map(|&error| error == 0).collect())),
    }
}

/// An event channel to a domain: a bell without content.
#[derive(Debug)]
pub struct EventChannel {
    file: File,
    port: u32,
}

impl EventChannel {
    /// Binds to port `remote_port` of domain `domid`. One program at a time can.
    ///
    /// # Errors
    /// [`XenError::Device`] where there is no such port, or somebody has bound to it.
    pub(crate) fn bind(domid: u16, remote_port: u32) -> Result<Self, XenError> {
        const BIND_INTERDOMAIN: libc::c_ulong = ioctl_number(b'E', 1, 8);
        const PATH: &str = "/dev/xen/evtchn";
        let file = open(PATH)?;
        let mut argument = [u64::from(domid) | u64::from(remote_port) << 32];
        let port = ioctl(&file, BIND_INTERDOMAIN, &mut argument)
            .map_err(|source| XenError::Device { path: PATH, source })?
            .unsigned_abs();
        Ok(EventChannel { file, port })
    }

    /// Rings. A bell that does not ring is one that nobody hears: the guest looks every so often anyway.
    pub(crate) fn notify(&self) {
        const NOTIFY: libc::c_ulong = ioctl_number(b'E', 4, 4);
        let _ = ioctl(&self.file, NOTIFY, &mut [u64::from(self.port)]);
    }

    /// Sleeps until the guest rings, but not longer than `pause`; whether it rang.
    pub(crate) fn wait(&self, pause: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = i32::try_from(pause.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: one valid structure, as the count says.
        let heard = unsafe { libc::poll(&raw mut poll, 1, millis) } > 0;
        let mut port = [0; 4];
        if heard && (&self.file).read_exact(&mut port).is_ok() {
            // Writing the port lets it ring again.
            let _ = (&self.file).write_all(&port);
        }
        heard
    }
}

/// What Xen says of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// There is no such domain any more, or only what dom0 still has mapped of it; then Xen still knows why it had shut down,
    /// if it had.
    Gone(Option<Ending>),
    /// It has shut down, for this reason, and is kept.
    Ended(Ending),
    /// It is there and does not run: paused.
    Paused,
    /// It runs, or waits for something.
    Runs,
}

/// Why a domain is not running any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It switched itself off.
    PowerOff,
    /// It is about to be started anew.
    Reboot,
    /// Saved or migrated.
    Suspend,
    /// It crashed.
    Crash,
    /// Another reason, by its number.
    Other(u8),
}

impl Life {
    /// Why the domain is not running any more, as long as Xen knows.
    #[must_use]
    pub const fn ending(self) -> Option<Ending> {
        match self {
            Life::Ended(ending) | Life::Gone(Some(ending)) => Some(ending),
            Life::Gone(None) | Life::Paused | Life::Runs => None,
        }
    }

    /// What the flags of `xen_domctl_getdomaininfo` say.
    fn from_flags(flags: u32) -> Self {
        const DYING: u32 = 1;
        const SHUTDOWN: u32 = 1 << 2;
        const PAUSED: u32 = 1 << 3;
        let ending = (flags & SHUTDOWN != 0).then(|| match flags.to_le_bytes() {
            [_, _, 0, _] => Ending::PowerOff,
            [_, _, 1, _] => Ending::Reboot,
            [_, _, 2, _] => Ending::Suspend,
            [_, _, 3, _] => Ending::Crash,
            [_, _, other, _] => Ending::Other(other),
        });
        if flags & DYING != 0 {
            Life::Gone(ending)
        } else if let Some(ending) = ending {
            Life::Ended(ending)
        } else if flags & PAUSED != 0 {
            Life::Paused
        } else {
            Life::Runs
        }
    }
}

/// Asks Xen about domain `domid`.
///
/// # Errors
/// [`XenError::NoPermission`], and [`XenError::Device`] where Xen speaks a version that this program does not.
pub fn life(domid: u16) -> Result<Life, XenError> {
    Ok(info(domid)?.map_or(Life::Gone(None), |info| Life::from_flags(info.flags)))
}

/// How many frames of memory domain `domid` has; 0 where there is none.
///
/// # Errors
/// As [`life`].
pub(crate) fn frames(domid: u16) -> Result<u64, XenError> {
    Ok(info(domid)?.map_or(0, |info| info.frames))
}

/// What is read of `xen_domctl_getdomaininfo`.
#[derive(Clone, Copy, Debug)]
struct Info {
    flags: u32,
    frames: u64,
}

/// What Xen says of domain `domid`, if there is one.
fn info(domid: u16) -> Result<Option<Info>, XenError> {
    /// Which versions of the structure are tried: those of Xen 4.6 to well after 4.19. The first words are the same in all.
    const VERSIONS: std::ops::RangeInclusive<u32> = 0xb..=0x20;
    /// The version that Xen was found to speak.
    static SPOKEN: AtomicU32 = AtomicU32::new(0x15);
    let file = open(PRIVCMD)?;
    let spoken = SPOKEN.load(Ordering::Relaxed);
    for version in std::iter::once(spoken).chain(VERSIONS.filter(|&version| version != spoken)) {
        match info_in_version(&file, domid, version) {
            Ok(info) => {
                SPOKEN.store(version, Ordering::Relaxed);
                return Ok(info);
            }
            // So Xen says that it does not speak this version.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {}
            Err(source) => return Err(XenError::Device { path: PRIVCMD, source }),
        }
    }
    Err(XenError::Device {
        path: PRIVCMD,
        source: io::Error::other("this Xen speaks no version of domctl that fata knows"),
    })
}

/// The same, in this version of the question.
fn info_in_version(privcmd: &File, domid: u16, version: u32) -> io::Result<Option<Info>> {
    /// The hypercall `domctl`, and its operation `getdomaininfo`.
    const DOMCTL: u64 = 36;
    const GET_DOMAIN_INFO: u32 = 5;
    /// Where the answer begins in the structure.
    const ANSWER: usize = 16;
    // Memory that stays where it is while Xen writes to it.
    let buffer = Locked::new()?;
    let mut request = [0; 24];
    put_u32(&mut request, 0, GET_DOMAIN_INFO);
    put_u32(&mut request, 4, version);
    put_u32(&mut request, 8, u32::from(domid));
    put_u32(&mut request, ANSWER, u32::from(domid));
    buffer.write(&request);
    match ioctl(privcmd, HYPERCALL, &mut [DOMCTL, buffer.address(), 0, 0, 0, 0]) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(error) => return Err(error),
    }
    let answer = buffer.read::<16>(ANSWER);
    // Asked for one that is not there, Xen may tell of the next.
    let found = u32_at(&answer, 0) & 0xffff;
    Ok((found == u32::from(domid)).then(|| Info { flags: u32_at(&answer, 4), frames: u64_at(&answer, 8) }))
}

/// Xen's system time, which is the same for dom0 and for every domain: nanoseconds since the machine was started.
pub(crate) struct SystemClock {
    privcmd: File,
    answer: Locked,
}

impl SystemClock {
    /// # Errors
    /// [`XenError::NoXen`], [`XenError::NoPermission`] and [`XenError::Device`].
    pub(crate) fn open() -> Result<Self, XenError> {
        let answer = Locked::new().map_err(|source| XenError::Device { path: PRIVCMD, source })?;
        Ok(SystemClock { privcmd: open(PRIVCMD)?, answer })
    }

    /// What it reads; `None` where this Xen does not tell.
    pub(crate) fn nanos(&self) -> Option<u64> {
        /// The hypercall `hvm_op`, and its operation `get_time` (`xen/include/public/hvm/hvm_op.h`).
        const HVM_OP: u64 = 34;
        const GET_TIME: u64 = 10;
        ioctl(&self.privcmd, HYPERCALL, &mut [HVM_OP, GET_TIME, self.answer.address(), 0, 0, 0]).ok()?;
        Some(u64::from_le_bytes(self.answer.read(0)))
    }
}

/// A page for Xen to read and write: it must not move, and the kernel must not have put it aside.
struct Locked(memmap2::MmapRaw);

impl Locked {
    fn new() -> io::Result<Self> {
        let options = &mut memmap2::MmapOptions::new();
        options.len(PAGE_BYTES);
        // The device made for it; kernels before 4.18 have none, and there a locked page of our own does.
        if let Ok(file) = OpenOptions::new().read(true).write(true).open("/dev/xen/hypercall") {
            return options.map_raw(&file).map(Locked);
        }
        let page: memmap2::MmapRaw = options.map_anon()?.into();
        page.lock()?;
        Ok(Locked(page))
    }

    fn address(&self) -> u64 {
        self.0.as_ptr().addr() as u64
    }

    fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= PAGE_BYTES, "requests are shorter than a page");
        // SAFETY: the page is ours alone, and as long as asserted.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_mut_ptr(), bytes.len()) };
    }

    fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        assert!(offset + N <= PAGE_BYTES, "answers lie in the page");
        // SAFETY: the bytes lie in the page, which Xen writes only while it is called.
        unsafe { self.0.as_ptr().add(offset).cast::<[u8; N]>().read() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_requests_are_those_of_the_kernels_headers() {
        // Linux, include/uapi/xen: what a C compiler makes of IOCTL_GNTDEV_MAP_GRANT_REF and the others.
        assert_eq!(ioctl_number(b'G', 0, 24), 0x0018_4700);
        assert_eq!(ioctl_number(b'E', 1, 8), 0x0008_4501);
        assert_eq!(ioctl_number(b'P', 0, 48), 0x0030_5000);
        assert_eq!(ioctl_number(b'P', 4, 32), 0x0020_5004);
    }

    #[test]
    fn the_flags_of_a_domain_are_read_in_the_order_of_what_is_final() {
        for (flags, life) in [
            (0b10_0000, Life::Runs),
            (0b1_0000, Life::Runs),
            (0b1000, Life::Paused),
            (0b1100 | 3 << 16, Life::Ended(Ending::Crash)),
            (0b100, Life::Ended(Ending::PowerOff)),
            (0b100 | 9 << 16, Life::Ended(Ending::Other(9))),
            (0b101 | 3 << 16, Life::Gone(Some(Ending::Crash))),
            (0b101 | 1 << 16, Life::Gone(Some(Ending::Reboot))),
            // Destroyed while it ran: the reason that Xen has noted is none.
            (0b1001 | 255 << 16, Life::Gone(None)),
        ] {
            assert_eq!(Life::from_flags(flags), life, "{flags:b}");
        }
    }
}
