//! Where guests are: files in the ring directory, one per guest, each holding the guest's memory or just its ring.
//!
//! A file is named `<name>.<pid>.<platform>`; what the three parts promise is checked, never believed: the ring is found by
//! its signature, and the process is the guest's only if it has this very file mapped, so a process id that was used again
//! is not taken for a living guest.
//!
//! ```no_run
//! # fn f() -> Result<(), fata_collector::source::SourceError> {
//! let guest = fata_collector::source::find("http")?;
//! println!("{} is {}", guest.label(), if guest.is_alive() { "alive" } else { "dead" });
//! # Ok(()) }
//! ```

mod elf;
pub mod memory;
pub mod process;
pub mod qemu;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fata_wire::shared::{NAME_BYTES, Platform, SharedError, at, text_at};

use crate::shared::SharedMemory;
use crate::xen::device::{Ending, Life};
use crate::xen::{self, Domain, OpenError, XenError};

/// How long a guest that has no ring yet is left alone, at first and at most: a look at a domain takes dom0 a dozen questions to
/// XenStore.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// Why a guest's memory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No guest of this name: say which there are.
    #[error("no guest {wanted:?} in {dir}: {known}", dir = dir.display())]
    NoSuchGuest {
        /// What was asked for.
        wanted: String,
        /// Where it was looked for.
        dir: PathBuf,
        /// A sentence that lists what is there.
        known: String,
    },
    /// Several guests match: ask for one of them.
    #[error("several guests match {wanted:?}: {matches}; name one of them in full")]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// The labels that match.
        matches: String,
    },
    /// The file could not be opened or mapped.
    #[error("{path}: {source}{}", hint(source), path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A Xen domain that cannot be read.
    #[error(transparent)]
    Xen(#[from] XenError),
    /// The file holds no ring that can be read: wait if it is [`SharedError::NotReady`], else give up.
    #[error("{path}: {source}", path = path.display())]
    Ring {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SharedError,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (the guest belongs to another user: run as that user)",
        io::ErrorKind::NotFound => " (is the guest still there? `fata list` shows all)",
        _ => "",
    }
}

/// The directory of the rings: `$FATA_DIR`, else one directory per user in shared memory.
#[must_use]
pub fn ring_dir() -> PathBuf {
    match std::env::var_os("FATA_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(format!("/dev/shm/fata-{}", rustix::process::getuid().as_raw())),
    }
}

/// Makes the ring directory if it is missing, readable by its owner alone, and refuses one that somebody else owns.
///
/// # Errors
/// Those of the system; `PermissionDenied` for another owner's directory.
pub fn make_ring_dir() -> io::Result<PathBuf> {
    let dir = ring_dir();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let owner = std::fs::metadata(&dir)?.uid();
    if owner != rustix::process::getuid().as_raw() {
        let sentence = format!("{} belongs to user {owner}: set FATA_DIR to a directory of yours", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence));
    }
    Ok(dir)
}

/// How the guest behind a file is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An ordinary process, whose file holds its ring alone.
    Process,
    /// A virtual machine, whose file holds all of its memory.
    Qemu,
    /// A memory image that nobody writes any more.
    Memory,
    /// A Xen domain, whose ring is granted to this one.
    Xen,
}

/// A file that holds a guest's memory.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The file.
    pub path: PathBuf,
    /// The guest's name.
    pub name: String,
    /// The process that runs it, or the domain that it is; 0 where there is none.
    pub pid: u32,
    /// How it is watched.
    pub source: Source,
    inode: u64,
}

impl Guest {
    /// The guest in the file at `path`, which may lie anywhere and have any name.
    ///
    /// # Errors
    /// [`SourceError::Io`] if there is no such file.
    pub fn at(path: &Path) -> Result<Self, SourceError> {
        let io = |source| SourceError::Io { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if metadata.is_dir() {
            return Err(io(io::ErrorKind::IsADirectory.into()));
        }
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (name, pid, source) = match split_name(&file_name) {
            Some((name, pid, source)) => (name.to_owned(), pid, source),
            None => (file_name, 0, Source::Memory),
        };
        Ok(Guest { path: path.to_owned(), name, pid, source, inode: metadata.ino() })
    }

    /// The dead guest whose memory the file at `path` holds, raw or as an ELF core, named by the ring that is in it.
    ///
    /// # Errors
    /// [`SourceError::Io`], and [`SourceError::Ring`] where there is none.
    pub fn in_image(path: &Path) -> Result<Self, SourceError> {
        let mut guest = Guest { source: Source::Memory, pid: 0, ..Guest::at(path)? };
        let page = guest.open(false)?.header_page();
        let name = String::from_utf8_lossy(text_at(&page, at::NAME, NAME_BYTES)).into_owned();
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        if !name.is_empty() {
            guest.name = name;
        }
        Ok(guest)
    }

    /// The guest that `domain` is.
    #[must_use]
    pub fn in_domain(domain: &Domain) -> Self {
        let path = PathBuf::from(format!("/local/domain/{}", domain.id));
        Guest { path, name: domain.name.clone(), pid: domain.id.into(), source: Source::Xen, inode: 0 }
    }

    fn domain(&self) -> Domain {
        Domain { id: u16::try_from(self.pid).unwrap_or(u16::MAX), name: self.name.clone(), has_ring: true }
    }

    /// `name.pid`, by which one guest can be asked for.
    #[must_use]
    pub fn label(&self) -> String {
        match self.source {
            Source::Memory => self.name.clone(),
            _ => format!("{}.{}", self.name, self.pid),
        }
    }

    /// Whether the guest still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.source {
            Source::Process => process::is_alive(self.pid, self.inode),
            Source::Qemu => qemu::is_alive(self.pid, self.inode),
            Source::Memory => memory::is_alive(),
            Source::Xen => u16::try_from(self.pid).is_ok_and(xen::is_alive),
        }
    }

    /// Whether the hypervisor says that the guest has crashed. Of a domain that was destroyed thereupon it does so for as long as
    /// some of its memory is mapped.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.life().and_then(Life::ending) == Some(Ending::Crash)
    }

    /// What Xen says of the domain; `None` where the guest is none, or Xen does not tell.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        let domid = u16::try_from(self.pid).ok().filter(|_| self.source == Source::Xen)?;
        xen::device::life(domid).ok()
    }

    /// Whether the toolstack has made another domain of the guest's name, which may not have come as far as to have a ring.
    #[must_use]
    pub fn is_being_built_anew(&self) -> bool {
        let is_another = |domain: &Domain| domain.name == self.name && u32::from(domain.id) != self.pid;
        self.source == Source::Xen && xen::domains().is_ok_and(|domains| domains.iter().any(is_another))
    }

    /// What the guest is called now, if that is not what it was called when it was found: a domain of Xen can be renamed.
    #[must_use]
    pub fn renamed(&self) -> Option<String> {
        let domid = u16::try_from(self.pid).ok().filter(|_| self.source == Source::Xen)?;
        xen::name(domid).ok()?.filter(|name| *name != self.name)
    }

    /// Whether process `pid` has this guest's memory mapped, as a collector that is attached to it does.
    #[must_use]
    pub fn is_mapped_by(&self, pid: u64) -> bool {
        if self.source == Source::Xen {
            return process::has_mapped(pid, xen::device::GNTDEV);
        }
        u32::try_from(pid).is_ok_and(|pid| process::is_alive(pid, self.inode))
    }

    /// As [`open`](Guest::open), but waits until `until` for a living guest that is still laying out its ring.
    ///
    /// # Errors
    /// As [`open`](Guest::open).
    pub fn open_patiently(&self, writable: bool, until: Instant) -> Result<SharedMemory, SourceError> {
        let mut pause = PAUSE.0;
        loop {
            match self.open(writable) {
                Err(
                    SourceError::Ring { source: SharedError::NotARing | SharedError::NotReady, .. }
                    | SourceError::Xen(XenError::NoRing { .. }),
                ) if Instant::now() < until && self.is_alive() => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE.1);
                }
                result => return result,
            }
        }
    }

    /// Finds the ring in the guest's memory and maps it; with `writable` also its control page.
    ///
    /// # Errors
    /// [`SourceError::Io`] or [`SourceError::Ring`].
    pub fn open(&self, writable: bool) -> Result<SharedMemory, SourceError> {
        let io = |source| SourceError::Io { path: self.path.clone(), source };
        let ring = |source| SourceError::Ring { path: self.path.clone(), source };
        if self.source == Source::Xen {
            return xen::open(&self.domain(), writable).map_err(|error| match error {
                OpenError::Xen(error) => error.into(),
                OpenError::Ring(error) => ring(error),
            });
        }
        let file: File = OpenOptions::new().read(true).write(writable).open(&self.path).map_err(io)?;
        if self.source == Source::Memory {
            let (file, offset, geometry) = memory::open_image(&file).map_err(io)?.map_err(ring)?;
            return SharedMemory::map(&file, offset, geometry, false).map_err(io);
        }
        let (offset, geometry) = memory::locate(&file).map_err(io)?.map_err(ring)?;
        SharedMemory::map(&file, offset, geometry, writable).map_err(io)
    }

    /// The platform that the file's name states.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        match self.source {
            Source::Process => Some(Platform::Host),
            Source::Qemu => Some(Platform::Qemu),
            Source::Memory => None,
            Source::Xen => Some(Platform::Xen),
        }
    }
}

/// `name.pid.platform` taken apart; the name may hold dots itself.
fn split_name(file_name: &str) -> Option<(&str, u32, Source)> {
    let (rest, platform) = file_name.rsplit_once('.')?;
    let (name, pid) = rest.rsplit_once('.')?;
    let source = match platform {
        "host" => Source::Process,
        "qemu" => Source::Qemu,
        _ => return None,
    };
    Some((name, pid.parse().ok()?, source))
}

/// Every guest on this machine, by name and then number: those in the ring directory, and in dom0 the domains that advertise
/// a ring. A directory that is not there holds none.
///
/// # Errors
/// [`SourceError::Io`] if the directory cannot be read. What keeps dom0 from telling of domains is told by [`find`].
pub fn list() -> Result<Vec<Guest>, SourceError> {
    let dir = ring_dir();
    let io = |source| SourceError::Io { path: dir.clone(), source };
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries.filter_map(Result::ok).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io(error)),
    };
    let mut guests: Vec<Guest> = entries
        .into_iter()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| split_name(name).is_some()))
        // A file that went away since the directory was read is no guest any more.
        .filter_map(|entry| Guest::at(&entry.path()).ok())
        .collect();
    let domains = xen::domains().unwrap_or_default();
    guests.extend(domains.iter().filter(|domain| domain.has_ring).map(Guest::in_domain));
    guests.sort_by(|a, b| (&a.name, a.pid).cmp(&(&b.name, b.pid)));
    Ok(guests)
}

/// The guest that `wanted` means: a path, a label, a process or domain id, or a name. Of several with the name, the one that
/// lives. `xen:` before it means domains alone.
///
/// # Errors
/// [`SourceError::NoSuchGuest`], [`SourceError::Ambiguous`] and [`SourceError::Xen`] say what there is instead.
pub fn find(wanted: &str) -> Result<Guest, SourceError> {
    if let Some(wanted) = wanted.strip_prefix("xen:") {
        return Ok(Guest::in_domain(&find_domain(wanted, &xen::domains()?)?));
    }
    if wanted.contains('/') {
        return Guest::at(Path::new(wanted));
    }
    let guests = list()?;
    if let Some(guest) = guests.iter().find(|guest| {
        guest.label() == wanted || wanted.parse() == Ok(guest.pid) || guest.path.file_name() == Some(wanted.as_ref())
    }) {
        return Ok(guest.clone());
    }
    let named: Vec<&Guest> = guests.iter().filter(|guest| guest.name == wanted).collect();
    let living: Vec<&Guest> = named.iter().copied().filter(|guest| guest.is_alive()).collect();
    let labels = |guests: &[&Guest]| guests.iter().map(|guest| guest.label()).collect::<Vec<_>>().join(", ");
    match (living.as_slice(), named.as_slice()) {
        ([one], _) | ([], [one]) => Ok((*one).clone()),
        ([], []) => {
            // In dom0, a domain without a ring is what was meant, and may have one yet.
            match xen::domains() {
                Ok(domains) => {
                    if let Ok(domain) = find_domain(wanted, &domains) {
                        return Ok(Guest::in_domain(&domain));
                    }
                }
                Err(XenError::NoXen) => {}
                Err(error) => return Err(error.into()),
            }
            let known = if guests.is_empty() {
                "there is none at all, and one that was built without the feature `profiling` has no ring; `fata run SAMPLE` starts one".to_owned()
            } else {
                format!("there are {}", labels(&guests.iter().collect::<Vec<_>>()))
            };
            Err(SourceError::NoSuchGuest { wanted: wanted.to_owned(), dir: ring_dir(), known })
        }
        ([], several) | (several, _) => {
            Err(SourceError::Ambiguous { wanted: wanted.to_owned(), matches: labels(several) })
        }
    }
}

/// The domain that `wanted` means: its id, its name, or both as [`Guest::label`] has them.
fn find_domain(wanted: &str, domains: &[Domain]) -> Result<Domain, XenError> {
    let means = |domain: &&Domain| {
        domain.name == wanted || wanted.parse() == Ok(domain.id) || format!("{}.{}", domain.name, domain.id) == wanted
    };
    domains.iter().find(means).cloned().ok_or_else(|| {
        let labels: Vec<String> = domains.iter().map(Domain::label).collect();
        let known = match labels.as_slice() {
            [] => "there is none but dom0; `xl create` starts one".to_owned(),
            labels => format!("there are {}", labels.join(", ")),
        };
        XenError::NoSuchDomain { wanted: wanted.to_owned(), known }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_dots_and_the_last_two_parts_are_never_the_name() {
        assert_eq!(split_name("a.b.12.host"), Some(("a.b", 12, Source::Process)));
        assert_eq!(split_name("http.7.qemu"), Some(("http", 7, Source::Qemu)));
        assert_eq!(split_name("http.7.sock"), None);
        assert_eq!(split_name("http.x.host"), None);
        assert_eq!(split_name("host"), None);
    }

    #[test]
    fn a_domain_is_meant_by_its_name_its_id_or_both() {
        let domain = |id, name: &str| Domain { id, name: name.to_owned(), has_ring: false };
        let domains = [domain(1, "web"), domain(3, "db.2")];
        for (wanted, id) in [("web", 1), ("3", 3), ("web.1", 1), ("db.2.3", 3), ("db.2", 3)] {
            assert_eq!(find_domain(wanted, &domains).unwrap().id, id, "{wanted}");
        }
        let said = find_domain("web.2", &domains).unwrap_err().to_string();
        assert_eq!(said, "no Xen domain \"web.2\": there are web (1), db.2 (3)");
    }

    #[test]
    fn a_process_that_has_not_mapped_the_file_is_not_its_guest() {
        let dir = std::env::temp_dir().join(format!("fata-source-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // Process 1 lives, and so do we, but neither has the file mapped.
        for pid in [1, std::process::id()] {
            let path = dir.join(format!("x.{pid}.host"));
            std::fs::write(&path, [0; 4096]).unwrap();
            assert!(!Guest::at(&path).unwrap().is_alive());
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
