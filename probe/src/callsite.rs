//! Callsites: one static per probe, gathered by the linker into one array.
//!
//! A callsite's id is its index in the section `fata_callsites`, so it is known at link time and nothing is allocated. What
//! a probe looks at is one word, [`Callsite::template`]: 0 while the callsite is off, else the upper half of its event
//! headers. One relaxed load thus answers "enabled?" and gives the id.
//!
//! The types of a callsite's fields are known to the compiler only where the probe is expanded, not where the static is:
//! a callsite with fields therefore writes its description when it is first reached while on ([`UNDESCRIBED`]).
#![expect(unsafe_code, reason = "the linker's section symbols delimit an array of statics")]

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use fata_wire::event::{EventId, FIRST_CALLSITE, MAX_CALLSITES};
use fata_wire::field::{Kind, Level};

/// Set in [`Callsite::template`] while the callsite is on and its description has not been written.
pub(crate) const UNDESCRIBED: u32 = 1 << 31;

/// The static description of one probe. Made by the macros.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Callsite {
    /// Bits 32 to 63 of an event header with `arg` 0, or 0 while off; with [`UNDESCRIBED`] while that is so. The first word:
    /// `__template!` reads it there.
    template: AtomicU32,
    /// A region had no room for its description.
    is_refused: AtomicBool,
    /// The address of the function that knows the field types, once it was reached: see `describe`.
    pub(crate) types: AtomicTypes,
    pub(crate) line: u32,
    pub(crate) kind: Kind,
    pub(crate) level: Level,
    pub(crate) category: &'static str,
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) fields: &'static [&'static str],
}

const _: () = assert!(core::mem::offset_of!(Callsite, template) == 0, "`__template!` reads the first word");

/// A function that gives the types of a callsite's fields, stored once.
#[derive(Debug)]
pub(crate) struct AtomicTypes(core::sync::atomic::AtomicPtr<()>);

pub(crate) type TypesFn = fn(&[&str]) -> crate::value::Types;

impl AtomicTypes {
    pub(crate) fn set(&self, function: TypesFn) {
        // Release: pairs with the Acquire in `get`, though only the function's immutable code is behind it.
        self.0.store(function as *mut (), Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<TypesFn> {
        let pointer = self.0.load(Ordering::Acquire);
        // SAFETY: the only store is in `set`, of a `TypesFn` cast to a pointer of the same size; null means none.
        (!pointer.is_null()).then(|| unsafe { core::mem::transmute::<*mut (), TypesFn>(pointer) })
    }
}

impl Callsite {
    /// A callsite that is off. For the macros: only a static in the section `fata_callsites` may be made of it.
    ///
    /// # Panics
    /// With more fields than the format allows; the macros call it at compile time.
    #[must_use]
    pub const fn new(
        kind: Kind,
        level: Level,
        category: &'static str,
        name: &'static str,
        file: &'static str,
        line: u32,
        fields: &'static [&'static str],
    ) -> Self {
        assert!(fields.len() <= fata_wire::field::MAX_FIELDS, "an event has at most 12 fields");
        Callsite {
            template: AtomicU32::new(0),
            is_refused: AtomicBool::new(false),
            types: AtomicTypes(core::sync::atomic::AtomicPtr::new(core::ptr::null_mut())),
            line,
            kind,
            level,
            category,
            name,
            file,
            fields,
        }
    }

    /// What a probe asks first: the template while the callsite is on, `None` while it is off.
    #[inline(always)]
    #[must_use]
    pub fn enabled(&self) -> Option<u32> {
        // Relaxed: the word is all there is to know; a change that is seen late is seen at the next event.
        match self.template.load(Ordering::Relaxed) {
            0 => None,
            template => Some(template),
        }
    }

    pub(crate) fn set_template(&self, template: u32) {
        self.template.store(template, Ordering::Relaxed);
    }

    /// The id: index in the section, counted from [`FIRST_CALLSITE`]; `None` beyond the format's limit, where a callsite
    /// can never be on.
    pub(crate) fn id(&self) -> Option<u16> {
        let all = all();
        let index = (&raw const *self).addr().checked_sub(all.as_ptr().addr())? / size_of::<Callsite>();
        u16::try_from(index).ok()?.checked_add(FIRST_CALLSITE).filter(|&id| id < MAX_CALLSITES && index < all.len())
    }

    /// The template while on. Log records whose description was refused go the way of undescribed ones, on which they are
    /// counted; other events of such a callsite are off for good.
    pub(crate) fn on_template(&self, id: u16) -> u32 {
        let is_refused = self.is_refused();
        if is_refused && self.kind != Kind::Log {
            return 0;
        }
        let described = self.fields.is_empty() || self.types.get().is_some();
        u32::from(EventId::begin(id).0) | if described && !is_refused { 0 } else { UNDESCRIBED }
    }

    /// Whether a region had no room for its description.
    pub(crate) fn is_refused(&self) -> bool {
        // Relaxed: whoever sees it too late asks under the describing lock.
        self.is_refused.load(Ordering::Relaxed)
    }

    /// A region had no room for its description.
    pub(crate) fn refuse(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }
}

/// A callsite that always exists, so that the linker always makes the section's symbols.
#[used]
#[unsafe(link_section = "fata_callsites")]
static ANCHOR: Callsite = Callsite::new(Kind::Name, Level::Info, "fata", "fata.unnamed", file!(), line!(), &[]);

/// Every callsite of the program, in the order of their ids.
pub(crate) fn all() -> &'static [Callsite] {
    unsafe extern "C" {
        #[link_name = "__start_fata_callsites"]
        static START: u8;
        #[link_name = "__stop_fata_callsites"]
        static STOP: u8;
    }
    let (start, stop) = ((&raw const START).cast::<Callsite>(), &raw const STOP);
    let _keep = &raw const ANCHOR;
    // SAFETY: the linker defines both symbols around the section `fata_callsites`, which holds nothing but `Callsite`
    // statics: only this crate's macros and `ANCHOR` name the section. Each is a multiple of its alignment long and
    // explicitly placed, so they follow one another without padding and form an array; statics live for ever, and what
    // changes in them is atomic.
    unsafe { core::slice::from_raw_parts(start, (stop.addr() - start.addr()) / size_of::<Callsite>()) }
}

/// The part of `name` before its first dot.
#[must_use]
pub const fn category_of(name: &'static str) -> &'static str {
    let bytes = name.as_bytes();
    let mut dot = 0;
    while dot < bytes.len() && bytes[dot] != b'.' {
        dot += 1;
    }
    name.split_at(dot).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_an_array_and_a_callsite_knows_its_place() {
        assert!(all().iter().any(|callsite| callsite.name == "fata.unnamed"));
        for (i, callsite) in all().iter().enumerate() {
            assert_eq!(callsite.id().map(usize::from), Some(i + usize::from(FIRST_CALLSITE)));
        }
    }

    #[test]
    fn a_name_without_a_dot_is_its_own_category() {
        assert_eq!((category_of("net.rx.tcp"), category_of("net")), ("net", "net"));
    }
}
