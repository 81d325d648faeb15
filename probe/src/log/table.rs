//! Callsites that register at run time: those of `tracing`, which know their fields' types only from the values they see.
//!
//! A callsite's id follows those of the link section. One whose fields change their types, or are absent at times, gets a
//! description, and an id, for each [signature](Signature) that it is seen with.
//!
//! When the table is full, or the description area, or the numbers are used up, a callsite that is new stays out: its
//! records are counted as discarded, and the callsite as a name that was refused.

#![expect(unsafe_code, reason = "a table of references to statics")]

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use fata_wire::describe::{Callsite as Description, Record};
use fata_wire::event::EventId;
use fata_wire::field::{Field, FieldType, Fields, Kind, Level, Unit};
use fata_wire::log::{FIRST_FIELDS, SPAN, SPANS, class_of};
use tracing_core::Metadata;

use super::encode::{Signature, fields};
use super::limit::Bucket;
use super::payload::Missing;
use super::{ids, rules};
use crate::describe::exclusive;
use crate::region::{self, Region};

/// How many callsites find room, each signature counted.
const SITES: usize = if cfg!(feature = "std") { 2048 } else { 512 };

/// In place of a template: there was no room to describe it.
const REFUSED: u32 = 1 << 31;

/// One callsite with one signature. The first of a callsite holds what all of them share.
#[derive(Debug)]
pub(crate) struct Site {
    /// What `tracing` knows of it; null where the place is free.
    meta: AtomicPtr<Metadata<'static>>,
    /// Which fields its events have; meaningful once there is a template.
    signature: AtomicU64,
    /// The upper half of its events' headers; 0 until it is described, and [`REFUSED`] where there is no room for that.
    template: AtomicU32,
    /// Whether its records are made.
    on: AtomicBool,
    level: AtomicU8,
    /// The class of its level and the level's place in it, one above the other.
    class: AtomicU8,
    pub(crate) bucket: Bucket,
}

static TABLE: [Site; SITES] = [const { Site::free() }; SITES];
/// What the table takes.
pub(crate) const BYTES: usize = size_of::<[Site; SITES]>();

impl Site {
    const fn free() -> Self {
        Site {
            meta: AtomicPtr::new(ptr::null_mut()),
            signature: AtomicU64::new(0),
            template: AtomicU32::new(0),
            on: AtomicBool::new(false),
            level: AtomicU8::new(0),
            class: AtomicU8::new(0),
            bucket: Bucket::new(),
        }
    }

    pub(crate) fn meta(&self) -> Option<&'static Metadata<'static>> {
        // Acquire: pairs with the Release in `insert`; the place is filled.
        // SAFETY: null, or stored by `insert` from a reference that lives for ever.
        unsafe { self.meta.load(Ordering::Acquire).cast_const().as_ref() }
    }

    /// Whether it is that of `meta`, which a callsite's own is by its address.
    #[inline(always)]
    pub(crate) fn is_of(&self, meta: &Metadata<'_>) -> bool {
        self.meta.load(Ordering::Acquire).addr() == ptr::from_ref(meta).addr()
    }

    /// Whether its records are made.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// What `level_of` says of it.
    #[inline]
    pub(crate) fn level(&self) -> Level {
        Level::from_u8(self.level.load(Ordering::Relaxed)).unwrap_or(Level::Info)
    }

    /// The class of its level, and the level's place in it.
    #[inline(always)]
    pub(crate) fn class(&self) -> (u32, usize) {
        let class = self.class.load(Ordering::Relaxed);
        (u32::from(class >> 4), usize::from(class & 3))
    }

    /// Its number in the table, from 1 on.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        const _: () = assert!(SITES < 1 << 16, "a grant has 16 bits for it");
        let bytes = ptr::from_ref(self).addr().wrapping_sub(TABLE.as_ptr().addr());
        (bytes / size_of::<Site>()) as u64 + 1
    }

    /// The id by which summaries name it; 0 until it has one.
    pub(crate) fn id(&self) -> u16 {
        EventId((self.template.load(Ordering::Relaxed) & 0x1fff) as u16).callsite()
    }

    /// The template of events with this signature, if it is this place's; [`REFUSED`] where it could not be described.
    #[inline]
    fn template(&self, signature: Signature) -> Option<u32> {
        // Acquire: pairs with the Release in `describe`; the signature is there.
        let template = self.template.load(Ordering::Acquire);
        (template != 0 && self.signature.load(Ordering::Relaxed) == signature.0).then_some(template)
    }
}

/// The place of this number, from 1 on, if there is one.
#[inline(always)]
pub(crate) fn numbered(number: u64) -> Option<&'static Site> {
    TABLE.get(usize::try_from(number).ok()?.wrapping_sub(1))
}

#[inline]
fn hash(meta: &Metadata<'_>) -> usize {
    let address = ptr::from_ref(meta).addr() as u64;
    // Fibonacci hashing: the upper half of the product is well mixed.
    usize::try_from(address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).unwrap_or(0)
}

/// The places where a callsite may be, from the most likely on.
fn places(meta: &Metadata<'_>) -> impl Iterator<Item = &'static Site> {
    let hash = hash(meta);
    (0..SITES).map(move |i| &TABLE[(hash + i) % SITES])
}

/// The callsite's place: `None` before it registers, and where the table is full.
#[inline]
pub(crate) fn find(meta: &Metadata<'_>) -> Option<&'static Site> {
    let likely = &TABLE[hash(meta) % SITES];
    if likely.is_of(meta) { Some(likely) } else { find_further(meta) }
}

#[cold]
#[inline(never)]
fn find_further(meta: &Metadata<'_>) -> Option<&'static Site> {
    places(meta).take_while(|site| !site.meta.load(Ordering::Relaxed).is_null()).find(|site| site.is_of(meta))
}

/// The callsite's place, which it gets now if it has none.
pub(crate) fn register(meta: &'static Metadata<'static>) -> Result<&'static Site, Missing> {
    match find(meta) {
        Some(site) => Ok(site),
        None => exclusive(|| find(meta).or_else(|| insert(meta))).ok_or(Missing::Busy)?.ok_or(Missing::NoRoom),
    }
}

/// Takes the next free place. The caller is inside `exclusive`.
fn insert(meta: &'static Metadata<'static>) -> Option<&'static Site> {
    let Some(site) = places(meta).find(|site| site.meta.load(Ordering::Relaxed).is_null()) else {
        region::all().for_each(Region::count_refused);
        return None;
    };
    site.on.store(rules::is_made(meta.target(), level_of(meta)), Ordering::Relaxed);
    let (class, place) = class_of(level_of(meta));
    site.level.store(level_of(meta) as u8, Ordering::Relaxed);
    site.class.store(u8::from(class == 1) << 4 | place.to_le_bytes()[0], Ordering::Relaxed);
    // Release: pairs with the Acquire in `meta`.
    site.meta.store(ptr::from_ref(meta).cast_mut(), Ordering::Release);
    Some(site)
}

/// The template of events of `site` with this signature, which is described now if it is new.
#[inline]
pub(crate) fn template(
    site: &'static Site,
    meta: &'static Metadata<'static>,
    signature: Signature,
) -> Result<u32, Missing> {
    match site.template(signature) {
        Some(template) if template != REFUSED => Ok(template),
        _ => other_template(site, meta, signature),
    }
}

#[cold]
fn other_template(site: &'static Site, meta: &'static Metadata<'static>, signature: Signature) -> Result<u32, Missing> {
    let known = || {
        places(meta)
            .take_while(|site| !site.meta.load(Ordering::Relaxed).is_null())
            .filter(|site| site.is_of(meta))
            .find_map(|site| site.template(signature))
    };
    let template = match known() {
        Some(template) => template,
        None => exclusive(|| {
            known().unwrap_or_else(|| {
                let fresh = site.template.load(Ordering::Relaxed) == 0;
                let place = if fresh { Some(site) } else { insert(meta) };
                place.map_or(REFUSED, |place| describe(place, meta, signature))
            })
        })
        .ok_or(Missing::Busy)?,
    };
    if template == REFUSED { Err(Missing::NoRoom) } else { Ok(template) }
}

/// Gives `site` an id and writes its description into every region; [`REFUSED`], for good, where one has no room. The caller is
/// inside `exclusive`.
fn describe(site: &Site, meta: &'static Metadata<'static>, signature: Signature) -> u32 {
    site.signature.store(signature.0, Ordering::Relaxed);
    let id = ids::give(|id| region::all().filter(|region| !append(region, id, meta, signature)).count() == 0);
    let template = id.map_or(REFUSED, |id| u32::from(EventId::begin(id).0));
    // Release: pairs with the Acquire in `Site::template`.
    site.template.store(template, Ordering::Release);
    template
}

/// Writes the descriptions of all callsites that have one into a new region. The caller is inside `exclusive`.
pub(crate) fn describe_all(region: &Region) {
    for site in &TABLE {
        if let Some(meta) = site.meta().filter(|_| ![0, REFUSED].contains(&site.template.load(Ordering::Relaxed))) {
            append(region, site.id(), meta, Signature(site.signature.load(Ordering::Relaxed)));
        }
    }
}

fn append(region: &Region, id: u16, meta: &'static Metadata<'static>, signature: Signature) -> bool {
    let kind = signature.kind(kind_of(meta));
    let first = match kind {
        Kind::Log => {
            let mut first = Fields::new(&FIRST_FIELDS);
            first.push(Field { name: SPANS, ty: FieldType::U64, unit: Unit::None });
            first
        }
        Kind::Context => Fields::new(&[Field { name: SPAN, ty: FieldType::Object, unit: Unit::None }]),
        _ => Fields::EMPTY,
    };
    region.append(&Record::Callsite(Description {
        id,
        kind,
        level: level_of(meta),
        line: meta.line().unwrap_or(0),
        category: meta.target(),
        // What `tracing` calls an event without a name is `event file:line`.
        name: meta.name().strip_prefix("event ").unwrap_or(meta.name()),
        file: meta.file().unwrap_or(""),
        fields: fields(meta, signature, first),
    }))
}

fn kind_of(meta: &Metadata<'_>) -> Kind {
    if meta.is_span() { Kind::Span } else { Kind::Log }
}

/// The level of a callsite; records of the targets `app` and `app::…` are the program's own words.
#[inline]
pub(crate) fn level_of(meta: &Metadata<'_>) -> Level {
    let level = *meta.level();
    if level == tracing_core::Level::ERROR {
        Level::Error
    } else if level == tracing_core::Level::WARN {
        Level::Warn
    } else if super::is_app(meta.target()) {
        Level::App
    } else if level == tracing_core::Level::INFO {
        Level::Info
    } else if level == tracing_core::Level::DEBUG {
        Level::Debug
    } else {
        Level::Trace
    }
}

/// The targets of all callsites that have a place.
pub(crate) fn targets() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(|site| site.meta().map(Metadata::target))
}

/// Turns every callsite on or off as the rules say. The caller is inside `exclusive`.
pub(crate) fn apply() {
    for site in &TABLE {
        if let Some(meta) = site.meta() {
            site.on.store(rules::is_made(meta.target(), level_of(meta)), Ordering::Relaxed);
        }
    }
}
