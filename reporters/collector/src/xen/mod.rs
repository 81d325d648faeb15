//! Guests that are Xen domains, seen from dom0: found in XenStore, read through their grants.
//!
//! 1. **Only the kernel's devices.** [`store`] speaks XenStore's protocol over `/dev/xen/xenbus`, [`device`] maps grants, binds
//!    event channels and asks Xen; no library of Xen's is needed.
//! 2. **A domain is never trusted.** What it advertises is text and pages of its own: numbers are parsed strictly, lists of
//!    grants are copied before they are read and bounded by what they claim and by [`MAX_PAGES`], and the memory behind them
//!    is checked like every other guest's.
//! 3. **What is mapped stays readable** when the domain is destroyed: its last packets are read after its death.
//! 4. **A dead domain needs no words.** One that is kept (`on_crash="preserve"`) and cannot be read through its grants is
//!    searched, frame by frame, for its ring (`frames`).
//!
//! A domain whose ring has more than [`MAX_PAGES`] pages is refused with a sentence: dom0 pays for each page that it maps.

pub mod device;
mod frames;
pub mod store;
pub mod vchan;
pub mod wire;

use std::io;

use fata_wire::grants::{self, FOLDER, IndexError, IndexPage, MAX_REFS};
use fata_wire::shared::{Geometry, PAGE_BYTES, SharedError};

use crate::shared::SharedMemory;
use device::{EventChannel, Life, map_grants};
use store::Store;

/// The most pages of one domain that are mapped: 64 MiB of ring, and what belongs to it.
pub const MAX_PAGES: usize = 16 * 1024 + 1024 + 3;
/// The places of all domains.
const DOMAINS: &str = "/local/domain";
/// Domain ids from here on have a meaning of their own (DOMID_FIRST_RESERVED).
const MAX_DOMID: u16 = 0x7ff0;

/// Why a domain cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum XenError {
    /// The machine runs no Xen, or this is no domain with its devices.
    #[error(
        "there is no Xen here (neither /dev/xen/xenbus nor /proc/xen/xenbus): run this in dom0, or load its kernel's modules \
         xenfs, xen_gntdev, xen_evtchn and xen_privcmd"
    )]
    NoXen,
    /// The devices are for root.
    #[error("{path} may not be opened: {source}; Xen's devices are for root in dom0")]
    NoPermission {
        /// The device.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A device refuses what it was asked.
    #[error("{path}: {source}")]
    Device {
        /// The device.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// XenStore does not do as it should.
    #[error("XenStore: {0}")]
    Store(#[source] io::Error),
    /// No domain of this name or id.
    #[error("no Xen domain {wanted:?}: {known}")]
    NoSuchDomain {
        /// What was asked for.
        wanted: String,
        /// A sentence that lists what is there.
        known: String,
    },
    /// The domain exists and says nothing of a ring.
    #[error(
        "domain {domain} advertises no trace ring in XenStore: was it built with the feature `profiling`, and has it started?"
    )]
    NoRing {
        /// Its name and id.
        domain: String,
    },
    /// The domain speaks a later version.
    #[error(
        "domain {domain} advertises its ring in version {version:?}, this program reads {own}: use a later `fata`",
        own = grants::VERSION
    )]
    UnknownVersion {
        /// Its name and id.
        domain: String,
        /// What it says.
        version: String,
    },
    /// The domain is dead, and there is no way to anything that it may have recorded.
    #[error("domain {domain} is dead; {why}, and of its memory: {what}")]
    NothingLeft {
        /// Its name and id.
        domain: String,
        /// Why its grants are no way.
        why: String,
        /// Why its memory is none.
        what: SharedError,
    },
    /// What the domain advertises cannot be.
    #[error("domain {domain} advertises a ring that cannot be: {what}")]
    Lie {
        /// Its name and id.
        domain: String,
        /// What is wrong.
        what: String,
    },
}

impl XenError {
    fn device(path: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::Unsupported => XenError::NoXen,
            io::ErrorKind::PermissionDenied => XenError::NoPermission { path, source },
            _ => XenError::Device { path, source },
        }
    }
}

/// A domain of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its number, which no later domain has.
    pub id: u16,
    /// What the toolstack calls it; may change.
    pub name: String,
    /// Whether it advertises a ring.
    pub has_ring: bool,
}

impl Domain {
    /// Its name and id, for sentences.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} ({})", self.name, self.id)
    }
}

/// Every domain of this machine but this one's dom0, by id.
///
/// # Errors
/// [`XenError::NoXen`], [`XenError::NoPermission`], [`XenError::Store`].
pub fn domains() -> Result<Vec<Domain>, XenError> {
    let mut store = Store::open()?;
    let mut ids: Vec<u16> =
        store.list(DOMAINS)?.iter().filter_map(|id| id.parse().ok()).filter(|&id| id < MAX_DOMID).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut domains = Vec::new();
    for id in ids {
        let has_ring = store.read(&format!("{DOMAINS}/{id}/{FOLDER}/version"))?.is_some();
        let name = name_in(&mut store, id)?.unwrap_or_else(|| format!("domain-{id}"));
        if id != 0 || has_ring {
            domains.push(Domain { id, name, has_ring });
        }
    }
    Ok(domains)
}

/// What the toolstack calls domain `id` now; `None` where it has no name, or is not there any more.
///
/// # Errors
/// As [`domains`].
pub fn name(id: u16) -> Result<Option<String>, XenError> {
    name_in(&mut Store::open()?, id)
}

fn name_in(store: &mut Store, id: u16) -> Result<Option<String>, XenError> {
    let name = store.read(&format!("{DOMAINS}/{id}/name"))?.unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control() && *c != '/').take(64).collect();
    Ok(Some(name).filter(|name| !name.is_empty()))
}

/// Whether domain `id` may still write to its ring.
#[must_use]
pub fn is_alive(id: u16) -> bool {
    match device::life(id) {
        Ok(life) => matches!(life, Life::Runs | Life::Paused),
        // Xen does not tell us: as long as XenStore knows a domain it has not been destroyed.
        Err(_) => Store::open()
            .and_then(|mut store| store.read(&format!("{DOMAINS}/{id}/domid")))
            .is_ok_and(|known| known.is_some()),
    }
}

/// What a domain says of its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Advertised {
    pages: usize,
    index: u32,
    port: u32,
}

/// The outcome of looking for a ring: it may come yet.
pub(crate) enum OpenError {
    /// See [`XenError`].
    Xen(XenError),
    /// See [`SharedError`]; `NotReady` where the domain has not yet said all.
    Ring(SharedError),
}

impl From<XenError> for OpenError {
    fn from(error: XenError) -> Self {
        OpenError::Xen(error)
    }
}

fn advertised(domain: &Domain) -> Result<Advertised, OpenError> {
    let mut store = Store::open()?;
    let mut read = |key: &str| store.read(&format!("{DOMAINS}/{}/{FOLDER}/{key}", domain.id));
    let Some(version) = read("version")? else { return Err(XenError::NoRing { domain: domain.label() }.into()) };
    if version.trim() != grants::VERSION.to_string() {
        let version = version.chars().take(20).collect();
        return Err(XenError::UnknownVersion { domain: domain.label(), version }.into());
    }
    let mut number = |key: &'static str| match read(key)? {
        // Its entries are written one after another.
        None => Err(OpenError::Ring(SharedError::NotReady)),
        Some(text) => text.trim().parse::<u32>().map_err(|_| {
            let what = format!("{FOLDER}/{key} is {:?}, which is no number", text.chars().take(20).collect::<String>());
            XenError::Lie { domain: domain.label(), what }.into()
        }),
    };
    let (pages, index, port) = (number("pages")?, number("ring-ref")?, number("event-channel")?);
    match usize::try_from(pages) {
        Ok(fits) if (4..=MAX_PAGES).contains(&fits) => Ok(Advertised { pages: fits, index, port }),
        _ => {
            let what = format!("it has {pages} pages, and 4 to {MAX_PAGES} are mapped; set ring_mib= to 64 or less");
            Err(XenError::Lie { domain: domain.label(), what }.into())
        }
    }
}

/// Maps the ring of `domain`: through its grants, with `writable` also its control page; and where a domain that is dead and
/// kept cannot be read so, through its memory.
pub(crate) fn open(domain: &Domain, writable: bool) -> Result<SharedMemory, OpenError> {
    let why = match granted(domain, writable) {
        Err(why) if matches!(device::life(domain.id), Ok(Life::Ended(_))) => match why {
            OpenError::Xen(XenError::NoRing { .. }) => "it advertises no ring in XenStore".to_owned(),
            OpenError::Xen(XenError::Lie { what, .. }) => format!("it advertises one that cannot be ({what})"),
            OpenError::Xen(why) => why.to_string(),
            OpenError::Ring(why) => why.to_string(),
        },
        result => return result,
    };
    match frames::find(domain.id)? {
        Ok(memory) => Ok(memory.with_remark(format!("the domain is dead, and this was read from its memory: {why}"))),
        Err(what) => Err(XenError::NothingLeft { domain: domain.label(), why, what }.into()),
    }
}

/// Maps the granted pages, and binds to the domain's bell if nobody else has.
fn granted(domain: &Domain, writable: bool) -> Result<SharedMemory, OpenError> {
    let lie = |what: String| OpenError::Xen(XenError::Lie { domain: domain.label(), what });
    let advertised = advertised(domain)?;
    let refs = listed(domain, &advertised)?;
    let refused = |error: XenError| match error {
        XenError::Device { source, .. } => lie(format!("its pages cannot be mapped: {source}")),
        error => error.into(),
    };
    let ring = map_grants(domain.id, &refs, false).map_err(refused)?;
    let mapped_bytes = (refs.len() * PAGE_BYTES) as u64;
    // It advertises its ring once that is there.
    let geometry = Geometry::parse(&ring.copy_page(0), mapped_bytes).map_err(|error| match error {
        SharedError::NotARing => lie(error.to_string()),
        error => OpenError::Ring(error),
    })?;
    let control_ref = usize::try_from(geometry.control_offset / PAGE_BYTES as u64).ok().and_then(|page| refs.get(page));
    let control = match control_ref.filter(|_| writable) {
        Some(&control) => Some(map_grants(domain.id, &[control], true).map_err(refused)?),
        None => None,
    };
    // Without a bell each looks at the memory every so often.
    let bell = if writable { EventChannel::bind(domain.id, advertised.port).ok() } else { None };
    SharedMemory::granted(ring, control, geometry, bell).map_err(|error| lie(error.to_string()))
}

/// The grants of all pages, in order.
fn listed(domain: &Domain, advertised: &Advertised) -> Result<Vec<u32>, OpenError> {
    let lie = |what: String| OpenError::Xen(XenError::Lie { domain: domain.label(), what });
    let mut refs = Vec::with_capacity(advertised.pages);
    let mut next = Some(advertised.index);
    for _ in 0..advertised.pages.div_ceil(MAX_REFS) {
        let Some(grant) = next else { break };
        let page = match map_grants(domain.id, &[grant], false) {
            Ok(mapping) => mapping.copy_page(0),
            Err(XenError::Device { source, .. }) => {
                return Err(lie(format!("the grant {grant} of its list cannot be mapped: {source}")));
            }
            Err(error) => return Err(error.into()),
        };
        let index = IndexPage::parse(&page).map_err(|error| match error {
            IndexError::UnknownVersion(version) => {
                XenError::UnknownVersion { domain: domain.label(), version: version.to_string() }.into()
            }
            error => lie(error.to_string()),
        })?;
        refs.extend(index.refs());
        next = index.next();
    }
    if refs.len() != advertised.pages || next.is_some() {
        let what = format!("it says that it has {} pages, and lists {}", advertised.pages, refs.len());
        return Err(lie(if next.is_some() { format!("{what} and more") } else { what }));
    }
    Ok(refs)
}
